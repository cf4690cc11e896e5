"""How messages travel between processes: by the journal of one machine, by the stream of a server, and by both.

    follower       how a process keeps up, and applies what was said to what it holds
    journal        the channel of one machine: files and a page of numbers
    page           that page
    segment        a piece of it that is kept open
    exclusion      who may write to it, and who is in the middle of a change
    changes        how an interrupted change is judged
    private        the channel of a process that can share none
    placeless      what such channels have nothing to do about
    stream         the channel of a server
    stream_scripts what must happen at once there
    heard          what was heard of it
    lately         the last of that, for who has heard less
    neighbours     the processes of one machine beside their server
    handed_on      what they know of it, for those that start while it is away
    listener       the thread that hears the stream
    foreign        the thread that hears other applications
    tracking       what a server tells of entries that somebody changed
    members        which processes live with a cache, on all machines
    counts         counters of other machines
    leasing        what a cache asks of its leases
    leases         those of one machine
    remote_leases  those of a server
    lease_plans    what they are there
    lease_keeper   the thread that renews them
    lease_doubts   those that may stand for nobody
    lease_flows    how what is done about them is driven
    circles        who waits for whom
    locking        a lock that its holder's death gives up
"""
