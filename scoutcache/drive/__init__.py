"""How a flow of the engine is driven.

    blocking   by a thread
    loops      by an event loop
    ports      what its effects are performed on
    waits      which of them may wait, and so are not for a loop's thread
    awaiting   which of them a loop awaits of a server itself
    taking     leases, and saying to other processes what is waited for
"""
