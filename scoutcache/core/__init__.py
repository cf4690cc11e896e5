"""What one open cache is made of.

    core        the parts, which both faces and the operator's commands work on
    keeping     what the policies come to
    rulebook    the invalidation rules in force
    run_state   what became of runs that cron starts
    factories   functions that can be asked again when a key is to be refreshed
    alarms      alerts while the process runs
    telling     what happens of its own accord: to the operation log, and to the program's
"""
