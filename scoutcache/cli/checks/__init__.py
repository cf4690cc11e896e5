"""The checks of ``doctor``: each looks at one thing, changes nothing, and says what to do.

    findings    what a check found, in words
    local       the installation, the directory, the configuration
    available   what a configuration asks for and can't have
    server      whether it can be reached and used, how far away it is, how it is set up
    semantic    libraries, model, index
    queues      what write-behind has not delivered
"""
