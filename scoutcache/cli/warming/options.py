"""The options of ``warm``: their names, what they take, and what help says of them."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE|-|URL", help="JSON Lines with values, or keys for --call or --http."),
]
FromCache = Annotated[
    str | None,
    typer.Option(
        "--from-cache", metavar="DIR|URL", help="Copy the entries of another cache or server, of one namespace."
    ),
]
Frequent = Annotated[
    int | None, typer.Option("--frequent", metavar="N", min=1, help="The N keys requested most often, by the log.")
]
Expiring = Annotated[
    str | None, typer.Option("--expiring", metavar="D", help="The keys in use that expire within D, by the log.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="D", help="How much of the log counts. Default: 24h; with --predict 14d."),
]
Matching = Annotated[
    str | None, typer.Option("--pattern", metavar="P", help="Only keys that match. A task has its own pattern.")
]
Call = Annotated[
    str | None,
    typer.Option("--call", metavar="MODULE:FUNCTION", help="Computes the value of a key; a generator yields pairs."),
]
Http = Annotated[
    str | None, typer.Option("--http", metavar="URL", help="Fetch the value of a key: https://host/path/{key}.")
]
Task = Annotated[
    list[str] | None, typer.Option("--task", metavar="NAME", help="Run this task, due or not. Repeatable.")
]
Due = Annotated[bool, typer.Option("--due", help="Run the tasks that are due, as warm without options does.")]
Predict = Annotated[bool, typer.Option("--predict", help="The keys that the log expects to be requested next.")]
Horizon = Annotated[
    str | None,
    typer.Option(
        "--horizon", metavar="D", help="How far ahead --predict looks, such as to the next run. Default: 10m."
    ),
]
Likely = Annotated[
    float | None,
    typer.Option(
        "--likely", metavar="P", min=0, max=1, help="With --predict: the lowest probability, 0 to 1. Default: 0.4."
    ),
]
Evaluate = Annotated[
    bool, typer.Option("--evaluate", help="With --predict: replay the log and compare with popularity alone.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the log's keys, or the predicted ones and why; compute nothing.")
]
OffPeak = Annotated[bool, typer.Option("--off-peak", help="Do nothing outside the times of warming.off_peak.")]
OnlyMissing = Annotated[bool, typer.Option("--only-missing", help="Skip keys that are stored and fresh.")]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, max=1024, help="Keys at the same time.")]
Rate = Annotated[
    float | None, typer.Option("--rate", metavar="R", help="At most R keys per second. Default: no limit.")
]
Retries = Annotated[
    int, typer.Option("--retries", metavar="N", min=0, help="Retry a failed key up to N times, with growing pauses.")
]
Budget = Annotated[
    str | None, typer.Option("--budget", metavar="N|$N", help="At most N calls, or at most so much money: '$5'.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Skip keys that the previous run, interrupted or partly failed, has done.")
]
LockTimeout = Annotated[
    str, typer.Option("--lock-timeout", metavar="S", help="How long to wait for another run in the directory to end.")
]
PromTextfile = Annotated[
    str | None, typer.Option("--prom-textfile", metavar="FILE", help="Write the outcome of the run, for Prometheus.")
]
