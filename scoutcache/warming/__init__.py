"""Filling a cache ahead of need, and foreseeing what will be needed.

`fill.warm_from` fills from one source (`sources`, `web`, `lines`), which several `workers` share (`shared`), each key
by the steps of a `job`, many values by one write (`batches`), with limits (`pace`, `budget`), and goes on after it was
broken off (`resume`).  `tasks.list_tasks` and `tasks.due_tasks` tell what the configuration plans, and
`tasks.run_tasks` does it.  `predict.predict` names what will be asked for next; `predict_replay.evaluate` tells from a
log how good that would have been.  `attendant` does all of it beside the calls of an application.

One filling runs at a time in a directory; all return plain records and print nothing.
"""
