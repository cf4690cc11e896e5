"""Filling a cache ahead of need: from JSON Lines, through a function, or by the tasks of the configuration.

`fill.warm_from` fills from one source, `tasks.list_tasks` and `tasks.due_tasks` tell what the configuration plans, and
`tasks.run_tasks` does it.  One filling runs at a time in a directory; all return plain records and print nothing.
"""
