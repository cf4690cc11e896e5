"""The options of ``warm``: their names, what they take, and what help says of them."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str | None, typer.Option("--from", metavar="FILE|-|URL", help="JSON Lines with values, or keys for --call.")
]
FromCache = Annotated[
    str | None,
    typer.Option("--from-cache", metavar="DIR|URL", help="The entries of another cache or server, of one namespace."),
]
Frequent = Annotated[
    int | None, typer.Option("--frequent", metavar="N", min=1, help="The keys asked for most often, by the log.")
]
Expiring = Annotated[
    str | None, typer.Option("--expiring", metavar="D", help="The keys in use that end within D, by the log.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="D", help="So much of the log counts. Default: 24h; 14d to predict."),
]
Matching = Annotated[
    str | None, typer.Option("--pattern", metavar="P", help="Only keys that match. A task has its own pattern.")
]
Call = Annotated[
    str | None,
    typer.Option("--call", metavar="MODULE:FUNCTION", help="Gives the value of a key; a generator gives pairs."),
]
Http = Annotated[
    str | None, typer.Option("--http", metavar="URL", help="Fetch the value of a key: https://host/path/{key}.")
]
Task = Annotated[list[str] | None, typer.Option("--task", metavar="NAME", help="This task, due or not.")]
Due = Annotated[bool, typer.Option("--due", help="The tasks that are due; so does warm alone.")]
Predict = Annotated[bool, typer.Option("--predict", help="What the log says will be asked for next.")]
Horizon = Annotated[
    str | None,
    typer.Option("--horizon", metavar="D", help="How far ahead --predict looks: until the next run. Default: 10m."),
]
Likely = Annotated[
    float | None,
    typer.Option("--likely", metavar="P", min=0, max=1, help="With --predict: the least chance, 0 to 1. Default: 0.4."),
]
Evaluate = Annotated[
    bool, typer.Option("--evaluate", help="With --predict: replay the log, and compare with popularity alone.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Of the log's keys or predicted ones: print which, and why; compute nothing.")
]
OffPeak = Annotated[bool, typer.Option("--off-peak", help="Do nothing outside of the times of warming.off_peak.")]
OnlyMissing = Annotated[bool, typer.Option("--only-missing", help="Leave alone what is there and fresh.")]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, max=1024, help="Keys at once.")]
Rate = Annotated[
    float | None, typer.Option("--rate", metavar="R", help="Keys a second at most. Default: no limit.")
]
Retries = Annotated[
    int, typer.Option("--retries", metavar="N", min=0, help="Ask again for a key that failed, each time later.")
]
Budget = Annotated[
    str | None, typer.Option("--budget", metavar="N|$N", help="So many calls at most, or so much money: '$5'.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Leave out what the run before did that was broken off or failed in part.")
]
LockTimeout = Annotated[
    str, typer.Option("--lock-timeout", metavar="S", help="Wait so long for another filling of the directory to end.")
]
PromTextfile = Annotated[
    str | None, typer.Option("--prom-textfile", metavar="FILE", help="Write how it went, for Prometheus.")
]
