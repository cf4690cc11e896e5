"""``log``: the operation log itself: its end, its files, and the same in another form."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.errors import PARTLY, CommandError, Usage, did_you_mean
from scoutcache.cli.options import command, group
from scoutcache.cli.periods import begin_of
from scoutcache.cli.printing import text
from scoutcache.cli.printing.streams import file_named
from scoutcache.cli.printing.unread import tell_log_off, tell_unread
from scoutcache.cli.state import Session
from scoutcache.oplog.records import KINDS, OUTCOMES
from scoutcache.wording.nouns import counted
from scoutcache.wording.os_errors import reason_of

if TYPE_CHECKING:
    from scoutcache.cli.printing.output import Output
    from scoutcache.insight.log.ending import Tail
    from scoutcache.oplog.records import Line
    from scoutcache.oplog.sealing import Sealed

app = group(
    "log",
    examples="""
    scoutcache log tail -n 50
    scoutcache log convert ~/.cache/scoutcache -o log.parquet
    scoutcache log rotate                                   seal full files, keep the log within its limits; for cron
    """,
)

POLL_S: Final = 0.5
"""Seconds between two looks at what was written."""
_TAIL: Final = (
    "at", "op", "outcome", "reason", "tier", "namespace", "key", "latency_us", "size_bytes", "stored_bytes", "codec",
    "codec_us", "keygen_us", "wait_us", "factory_s", "cost_usd", "tags", "error", "user", "pid", "command", "process",
)  # fmt: skip
_SHOWN: Final = (*_TAIL[:9], "stored_bytes")
_OF_ERRORS: Final = ("at", "reason", "tier", "namespace", "key", "error")
"""Shown where errors alone are asked for."""
_ROTATED: Final = ("file", "action", "why", "bytes_before", "bytes_after")
_NO_PARQUET: Final = "pyarrow is not installed: files are packed as JSON Lines"
_INSTALL: Final = "pip install 'scoutcache[parquet]' seals them into Parquet, which is smaller, and faster to report on"


@command(
    app,
    "tail",
    short="Show the last operations; --follow shows new ones.",
    examples="""
    scoutcache log tail -n 50
    scoutcache log tail --follow --op invalidate            watch who invalidates what
    scoutcache log tail --key 'llm:*' --outcome miss --json
    """,
)
def tail(
    session: Session,
    number: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many; the latest ones.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Also print new operations, until Ctrl-C.")] = False,
    ops: Annotated[
        list[str] | None,
        typer.Option("--op", metavar="OP", help=f"Only these, separated by commas: {', '.join(KINDS)}."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="PATTERN", help="Only keys that match.")] = None,
    outcomes: Annotated[
        list[str] | None,
        typer.Option("--outcome", metavar="O", help=f"Only these, separated by commas: {', '.join(OUTCOMES)}."),
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="D", help="Only the last 24h, 7d, …")] = None,
) -> int | None:
    """Show the last operations of all processes, oldest first: what was done, the outcome, and the latency.

    The configuration may sample, cap and redact the log. Lines that are no records are left out and named on standard
    error, by file and line; the exit code is then 3.
    """
    from scoutcache.insight.log.ending import Tail
    from scoutcache.insight.log.operations import Operations, end_of

    kinds, ends = _words("--op", ops, KINDS), _words("--outcome", outcomes, OUTCOMES)
    session.look_for_cache()
    now = time.time()
    start = begin_of(since, now)
    if follow and session.form == "json":
        raise Usage("--follow never ends, and JSON is one object", hint="--format jsonl gives one a line")
    operations = Operations(session.place, start, until=end_of(start, now))
    with Tail(operations, _wanted(session.namespace, key, kinds, ends)) as found:
        rowed = _told if session.form == "table" else _row
        rows = [rowed(line) for line in found.last(number)]
        shown = _OF_ERRORS if kinds == ["error"] else _SHOWN
        columns = shown if session.form == "table" else _TAIL
        if not follow:
            session.out.listing("operations", rows, columns)
            if not rows and number:
                session.note("the log holds no such operation")
                tell_log_off(session)
            return tell_unread(session, operations.problems, named=True)
        tell_unread(session, operations.problems, named=True)
        operations.until = None  # what comes from here on comes now, whatever its date
        coming = _endless(rows, found, session.out, rowed)
        if not session.out.fancy:
            session.out.listing("operations", coming, columns)
        for row in coming:  # a drawn table would wait for its end
            session.out.line("  ".join(text.human(name, row[name]) for name in columns))
    return None


def _words(option: str, given: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The words of an option that takes several.  Raises `Usage` for one that no record has."""
    words = [word.strip() for one in given or () for word in one.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise Usage(f"{option}: {word!r:.80} is none of {', '.join(known)}", hint=did_you_mean(word, known))
    return words


def _endless(
    rows: Sequence[Mapping[str, Any]], found: Tail, out: Output, rowed: Callable[[Line], Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """*rows*, and then whatever is written; ends with the interrupt, or when nobody reads any more."""
    yield from rows
    while True:
        out.flush()
        time.sleep(POLL_S)
        if out.is_deserted():
            raise BrokenPipeError
        yield from map(rowed, found.more())


def _wanted(
    namespace: str | None, key: str | None, ops: Sequence[str] | None, outcomes: Sequence[str] | None
) -> Callable[[Line], bool]:
    from scoutcache.patterns import Pattern

    matches = None if key is None else Pattern.parse(key).matches

    def wanted(line: Line) -> bool:
        return (
            (namespace is None or line.namespace == namespace)
            and (not ops or line.op in ops)
            and (not outcomes or line.outcome in outcomes)
            and (matches is None or matches(line.key))
        )

    return wanted


def _row(line: Line) -> dict[str, Any]:
    from datetime import UTC, datetime

    row: dict[str, Any] = {name: getattr(line, name, None) for name in _TAIL}
    at = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
    return row | {
        "at": at, "size_bytes": line.size, "stored_bytes": line.stored, "cost_usd": line.cost, "tags": list(line.tags),
    }  # fmt: skip


def _told(line: Line) -> dict[str, Any]:
    """The same for who looks at it: what failed says so beside its reason, and what has no text has none."""
    row = {name: None if value == "" else value for name, value in _row(line).items()}
    if line.op == "error" or line.error is None:
        return row
    return row | {"reason": ", ".join(filter(None, [line.reason, f"failed: {line.error}"]))}


@command(
    app,
    "convert",
    short="Write log files as one Parquet, JSON Lines or CSV file.",
    examples="""
    scoutcache log convert ~/.cache/scoutcache -o log.parquet
    scoutcache log convert oplog/*.jsonl -o log.csv
    scoutcache log convert log.parquet -o log.jsonl
    """,
)
def convert(
    session: Session,
    sources: Annotated[list[str], typer.Argument(metavar="SRC|-...", help="Log files, or cache directories.")],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT", help="The file to write: .parquet, .jsonl or .csv.")
    ],
    since: Annotated[str | None, typer.Option("--since", metavar="D", help="Only the last 24h, 7d, …")] = None,
) -> int | None:
    """Write log files as one file: one row for each operation, in the order of the files.

    Parquet has plain columns, which pandas, DuckDB and Polars can read; it needs the parquet extra. Unreadable parts
    are left out and named on standard error; the exit code is then 3.
    """
    from scoutcache.insight.log.converting import TARGETS
    from scoutcache.insight.log.converting import convert as write
    from scoutcache.insight.log.operations import Operations, files_of

    if Path(out).suffix not in TARGETS:
        raise Usage(f"the name {out!r} doesn't end in a known format", hint=f"end it in one of {', '.join(TARGETS)}")
    if session.namespace is not None:
        raise Usage("log convert writes every namespace as it is", hint="leave --namespace out: it has a column")
    start = begin_of(since, time.time())
    operations = Operations(Path(), start, files=files_of([file_named(source, "SRC") for source in sources]))
    with session.working("converting"):
        try:
            written = write(operations, Path(out))
        except OSError as error:
            raise CommandError(f"can't write {out}: {reason_of(error)}") from error
    session.out.record({
        "path": out, "rows": written.rows, "size_bytes": written.bytes,
        "bytes_per_row": written.bytes / written.rows if written.rows else None,
        "skipped_lines": operations.skipped_lines, "skipped_files": operations.skipped_files,
        "left_out": dict(operations.left_out),
    })  # fmt: skip
    return tell_unread(session, operations.problems, named=True)


@command(
    app,
    "rotate",
    short="Seal full files, and keep the log within its limits.",
    examples="""
    scoutcache log rotate
    scoutcache log rotate --dry-run      see what would be sealed and removed
    """,
)
def rotate(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
) -> int | None:
    """Seal log files that no process writes any more into Parquet, and remove what exceeds the limits.

    Files under 64 KiB stay lines: Parquet would make them larger. Sealed files count towards the limits (max_age and
    max_bytes in the configuration's oplog section). Without the parquet extra, files are packed instead. A killed run
    loses nothing: the next one finishes what it began.
    """
    from scoutcache.oplog.columns import can_parquet
    from scoutcache.oplog.filing import FOLDER, PARQUET, listed

    session.look_for_cache()
    folder, now = session.own_place() / FOLDER, time.time()
    rows, failed = [], False
    for file in sorted(listed(folder), key=lambda one: one.changed):
        if file.form == PARQUET:
            continue
        try:
            rows.append(_sealed(file.path, now, dry_run))
        except OSError as error:
            failed = True
            rows.append({"file": file.path.name, "action": "failed", "why": reason_of(error),
                         "bytes_before": file.size, "bytes_after": file.size})  # fmt: skip
    rows += _trimmed(session, folder, now, dry_run)
    session.out.rows("files", _folded(rows) if session.form == "table" else rows, _ROTATED, dry_run=dry_run)
    if not rows:
        session.note("there is nothing to seal and nothing to remove")
    if not can_parquet() and any(row["action"] == "packed" for row in rows):
        session.note(_NO_PARQUET)
        session.say_hint(_INSTALL)
    return PARTLY if failed else None


def _folded(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The *rows*, at the end of which those of files that stay as they are for one reason are one."""
    kept: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["action"] == "kept":
            kept.setdefault(row["why"], []).append(row)
    folded = [
        {**same[0], "file": counted(len(same), "file"),
         **{name: sum(row[name] for row in same) for name in ("bytes_before", "bytes_after")}} if same[1:] else same[0]
        for same in kept.values()
    ]  # fmt: skip
    return [*(row for row in rows if row["action"] != "kept"), *folded]


def _sealed(path: Path, now: float, dry_run: bool) -> dict[str, Any]:
    from scoutcache.oplog.filing import PARQUET
    from scoutcache.oplog.sealing import seal

    done: Sealed = seal(path, now, dry_run=dry_run)
    into = None if done.path is None else "sealed" if done.path.suffix == PARQUET else "packed"
    why = "" if into and not done.skipped else f"no record in {counted(done.skipped, 'line')}" if into else done.why
    return {"file": path.name, "action": into or "kept", "why": why, "bytes_before": done.bytes_before,
            "bytes_after": None if into and dry_run else done.bytes_after}  # fmt: skip


def _trimmed(session: Session, folder: Path, now: float, dry_run: bool) -> list[dict[str, Any]]:
    """Remove the oldest files beyond the limits."""
    from scoutcache.oplog.filing import beyond, listed
    from scoutcache.oplog.sealing import clear_drafts

    limits = session.config.oplog
    gone = beyond(listed(folder), now, max_bytes=limits.max_bytes, max_age=limits.max_age)
    for one in gone if not dry_run else ():
        one.path.unlink(missing_ok=True)
    if not dry_run and folder.is_dir():
        clear_drafts(folder, now)
    return [
        {"file": one.path.name, "action": "removed", "why": "beyond max_age or max_bytes", "bytes_before": one.size,
         "bytes_after": 0}
        for one in gone
    ]  # fmt: skip
