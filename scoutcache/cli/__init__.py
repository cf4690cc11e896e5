"""The command line: each command parses its options, calls one thing of the library, and prints what came back.

    main              finds the command, loads its module alone, runs it, gives the exit code
    table             which commands there are
    commands          one module for each, or for each group of them
    options           what all of them share
    state             what one run works with: the options, the configuration, the cache
    opening           caches as commands open them: to change something, or only to look
    errors            what went wrong, in two lines, and the exit code
    printing          everything that is printed
    checks            what `doctor` looks at
    warming           what `warm` and `tasks` are made of
    filters           the little language of `keys`
    periods           what `--since` and `--period` mean
    resuming          long listings and removals, to be taken up again by a cursor
    waiting           `--wait`
    looking           one entry, tier by tier
    gathering         the figures of all processes and tiers
    replaying         which log is replayed
    calibrating       labelled pairs, measured
    semantic_options  how a query is asked
    password          asked for on a terminal
    trust             configuration files that were found, not named
    collecting        how garbage is collected while a command runs
    reference         the reference in the README
"""
