"""``bench``: latency, throughput and compression on this machine, and whether they got worse."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.bench.records import TIERS
from scoutcache.cli.collecting import as_usual
from scoutcache.cli.errors import MISSED, Usage, did_you_mean, read
from scoutcache.cli.options import choices, command, group
from scoutcache.cli.printing.streams import STDIN, file_named
from scoutcache.cli.state import Session
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.bench.compression import Samples
    from scoutcache.bench.records import BenchOptions

_LINES: Final = ".jsonl"
_COLUMNS: Final = ("tier", "operation", "ops_per_s", "p50_us", "p95_us", "p99_us", "p999_us", "max_us", "errors")


def _bench(
    session: Session,
    tier: Annotated[
        list[str] | None, choices(TIERS, "--tier", help="What to measure; repeatable. Default: memory, disk, hybrid.")
    ] = None,
    workload: Annotated[
        str, typer.Option("--workload", metavar="W", help="zipf:1.0, uniform or trace:FILE|- (CSV, gzip).")
    ] = "zipf:1.0",
    keys: Annotated[int, typer.Option("--keys", metavar="N", help="How many keys zipf and uniform have.")] = 10_000,
    value_size: Annotated[str, typer.Option("--value-size", metavar="B", help="Size of each value.")] = "1024",
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="FILE|-", help="Your own values; .jsonl and stdin hold one per line."),
    ] = None,
    ratio: Annotated[str, typer.Option("--ratio", metavar="R:W", help="Ratio of reads to writes.")] = "9:1",
    clients: Annotated[int, typer.Option("--clients", metavar="N", help="Threads, or tasks with --async.")] = 1,
    use_async: Annotated[bool, typer.Option("--async", help="Measure AsyncCache.")] = False,
    duration: Annotated[str, typer.Option("--duration", metavar="S", help="Length of each run of each tier.")] = "2",
    warmup: Annotated[
        str, typer.Option("--warmup", metavar="S", help="Warm-up before each run, not measured.")
    ] = "0.5",
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs per tier; figures are their medians.")] = 3,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="R", help="Operations per second (open loop). Default: closed loop."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same operations.")] = 1,
    save: Annotated[
        str | None, typer.Option("--save", metavar="NAME", help="Keep the result for bench compare.")
    ] = None,
) -> None:
    """Measure latency and throughput of the tiers on this machine, in a cache of its own.

    A server is measured under a key prefix of the benchmark's own, which is cleared at the end, also after Ctrl-C.

    Runs are warmed up, interleaved and repeated. With --rate the latency of an operation counts from when it was due,
    so a stall counts for every operation that had to wait for it.
    """
    from scoutcache.bench.records import BenchOptions
    from scoutcache.bench.run import run_bench
    from scoutcache.bench.store import check_name
    from scoutcache.ttl import parse_duration, parse_size

    if save is not None:
        check_name(save)
    server = _server(session)
    options = BenchOptions(
        tiers=tuple(tier or ("memory", "disk", "hybrid")), workload=_workload(workload), keys=keys,
        value_size=read("--value-size", parse_size, value_size),
        values=None if values is None else str(file_named(values, "--values", _LINES)), ratio=_ratio(ratio),
        clients=clients, use_async=use_async, duration=read("--duration", parse_duration, duration),
        warmup=read("--warmup", parse_duration, warmup), runs=runs, rate=rate, seed=seed, redis_url=server,
    )  # fmt: skip
    _run(session, options, save, run_bench)


def _workload(given: str) -> str:
    kind, _, file = given.partition(":")
    return f"trace:{file_named(file, '--workload trace:')}" if (kind, file) == ("trace", STDIN) else given


def _server(session: Session) -> str | None:
    """The address of the configured server, without secrets; None for none."""
    if not session.config.redis.configured:
        return None
    from scoutcache.server.connecting import server_name

    session.ask_password()
    return server_name(session.config.redis)


def _run(session: Session, options: BenchOptions, save: str | None, run_bench: Any) -> None:
    from scoutcache.bench.store import save as keep
    from scoutcache.cli.opening import speaking

    with speaking(verbose=session.verbose, said=session.said):
        as_usual()
        result = run_bench(options, base=session.config, progress=session.progress)
    session.progress_done()
    told = result.as_dict()
    rows = told.pop("results")
    if session.form == "json":
        session.out.record({"results": rows, **told})
    else:
        session.out.rows("results", rows, _COLUMNS)
    for note in result.notes:
        session.note(f"note: {note}")
    if save is not None:
        session.note(f"saved as {save} in {keep(result, save)}")


def _ratio(text: str) -> tuple[int, int]:
    reads, _, writes = text.partition(":")
    if not (reads.isdecimal() and writes.isdecimal()):
        raise Usage(f"{text!r} is no ratio", hint="write reads:writes, such as 9:1")
    return int(reads), int(writes)


app = group(
    "bench",
    examples="""
    scoutcache bench --tier memory --duration 5
    scoutcache bench --tier hybrid --workload trace:requests.csv.gz --clients 4
    scoutcache bench --save before        …change something…        scoutcache bench --save after
    scoutcache bench compare before after --fail p99:10%
    """,
    alone=_bench,
)


@command(
    app,
    "compression",
    short="Measure codecs on your own values.",
    examples="""
    scoutcache bench compression answers.jsonl page.html
    scoutcache bench compression --pattern 'llm:*'          on live entries
    scoutcache bench compression answers.jsonl --codec zstd --train-dictionary
    """,
)
def compression(
    session: Session,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE|-...", help="Values; a .jsonl and stdin hold one per line.")
    ] = None,
    codec: Annotated[
        list[str] | None, choices(("none", "lz4", "zstd", "gzip"), "--codec", help="Only this codec; repeatable.")
    ] = None,
    level: Annotated[
        list[int] | None, typer.Option("--level", metavar="N", help="Only this level; repeatable.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", metavar="P", help="Measure live entries of the cache that match.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train-dictionary", help="Also zstd with a dictionary trained on the values.")
    ] = False,
) -> None:
    """Measure how small the codecs make values, and how fast: on files, live entries or shipped samples."""
    from scoutcache.bench.compression import bench_compression

    samples = _samples(session, files, pattern)
    more: dict[str, Any] = {"codecs": tuple(codec)} if codec else {}
    result = bench_compression(samples, levels=level or None, train=train, progress=session.progress, **more)
    session.progress_done()
    told = asdict(result)
    rows = told.pop("results")
    if session.form == "json":
        session.out.record({"results": rows, **told})
    else:
        session.out.rows("results", rows)
    taken = f"{counted(result.samples, 'value')}, {counted(result.total_bytes, 'byte')}"
    session.note(f"measured on {taken}: {result.origin}")
    for note in result.notes:
        session.note(f"note: {note}")


def _samples(session: Session, files: list[str] | None, pattern: str | None) -> Samples:
    from scoutcache.bench import compression as measuring

    if files and pattern is not None:
        raise Usage("both files and --pattern were given", hint="measure on one of them")
    if files:
        return measuring.samples_from_files([file_named(one, "FILE", _LINES) for one in files])
    if pattern is None:
        return measuring.shipped_samples()
    with session.cache(reading=True) as cache:
        return measuring.samples_from_cache(cache, pattern)


@command(
    app,
    "compare",
    short="Compare two saved results; a regression gate.",
    examples="""
    scoutcache bench compare before after
    scoutcache bench compare before after --fail p99:10% --fail ops:5%     exit 99 when worse
    """,
)
def compare(
    session: Session,
    before: Annotated[str, typer.Argument(metavar="A", help="A saved name, a .json file, or - for stdin.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The one to judge against A.")],
    fail: Annotated[
        list[str] | None,
        typer.Option("--fail", metavar="METRIC:PERCENT", help="How much worse METRIC may get; repeatable."),
    ] = None,
) -> int | None:
    """Compare two saved benchmarks; exit with 99 when a figure is worse than allowed.

    A change within the spread of the runs is noise and never fails.
    """
    from scoutcache.bench import compare as comparing
    from scoutcache.bench.store import load

    before, after = (str(file_named(STDIN, "compare", ".json")) if one == STDIN else one for one in (before, after))
    for name in (before, after):
        if not name.endswith(".json"):
            _check_saved(name)
    found = comparing.compare(load(before), load(after), fail or None)
    rows = [asdict(change) for change in found.changes]
    session.out.rows("changes", rows, () if session.form == "json" else _CHANGE, warnings=list(found.warnings))
    for warning in found.warnings:
        session.note(f"warning: {warning}")
    for change in found.missed:
        session.note(f"missed: {change.tier} {change.operation} {change.metric} is {change.worse_percent:.1f} % worse")
    return MISSED if found.missed else None


def _check_saved(name: str) -> None:
    """Refuse a name that nothing was saved as."""
    from scoutcache.bench.store import check_name, saved_names

    check_name(name)
    if name not in (known := saved_names()):
        saved = f"saved: {', '.join(known) or 'none yet'}; `bench --save NAME` saves one"
        raise Usage(f"there is no saved benchmark {name!r}", hint=did_you_mean(name, known, saved))


_CHANGE: Final = ("tier", "operation", "metric", "before", "after", "worse_percent", "noise", "missed")
