"""How one talks to a Redis or Valkey server, a cluster of them, or one behind sentinels.

    commands     what is sent: commands, scripts, and plans that yield them and are told the replies
    layout       under which names a cache's things lie on a server, and how an entry's bytes are framed
    connecting   the client library's connections, with every option set
    ending       keeps threads out of TLS when the process ends
    direct       performs plans for threads, one connection each
    room         how many connections there are at a time
    coalescing   performs plans on an event loop: one batch in flight, the rest buffers
    patience     how long an event loop waits for a server
    joining      makes one call of a script of those that leave together
    replicas     the same two where what only reads goes to a replica
    cluster      the same two for a cluster
    nodes        which nodes of a cluster answer, and who looks at those that don't
    breaker      keeps calls fast while a server is away
    stepping     how a plan is driven: blocking, or awaited
    faults       what an error means, and what to do about it
"""
