"""``advise``: what to change, with the evidence, from one's own operation log."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from scoutcache.cli.errors import Usage, read
from scoutcache.cli.options import command
from scoutcache.cli.periods import counted_since
from scoutcache.cli.printing import text
from scoutcache.cli.printing.unread import tell_unread, telling_unread
from scoutcache.cli.printing.writing import is_stdout, write_out
from scoutcache.cli.replaying import assumed_rate, counted_in, log_at, tell_left_out
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.insight.advising.advise import Advised

app = typer.Typer()


@command(
    app,
    "advise",
    examples="""
    scoutcache advise --since 7d
    scoutcache advise --budget 2GB --write advised.toml && scoutcache --config advised.toml config validate
    scoutcache advise --json | jq '.advice[] | select(.topic == "ttl")'
    """,
)
def advise(
    session: Session,
    source: Annotated[
        str | None,
        typer.Argument(metavar="LOG|-", help="A cache's directory, a file or folder of its log. Default: this cache."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="SIZE", help="The memory that is available, such as 2GB.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="D", help="Only the last 24h, 7d, …")] = None,
    write: Annotated[
        str | None, typer.Option("--write", metavar="FILE", help="Write the recommended settings, as TOML.")
    ] = None,
) -> int | None:
    """Recommend a size of memory, a strategy, times to live and what not to cache, each with the reason.

    Each piece of advice has its evidence and the expected effect. Sizes and strategies are replayed from this machine's
    log, as simulate does, with all processes as one cache, and compared with the memory limit that binds, bytes or
    entries. Beyond 500,000 operations keys are sampled, and the errors are shown. The log holds keys and no texts, so
    near repeats are known only where keys are readable.
    """
    from scoutcache.insight.advising.advise import advise as ask
    from scoutcache.insight.advising.advise import as_profile
    from scoutcache.insight.log.operations import end_of
    from scoutcache.oplog.reading import Problems

    printed = is_stdout(session, "--write", write)
    room = _room(budget)
    path = log_at(session, source)
    now = time.time()
    start = counted_since(since, now)
    memory = session.config.memory
    left_out, problems = Counter[str](), Problems()
    with telling_unread(session, problems):
        found = ask(
            path, max_bytes=memory.max_bytes, max_entries=memory.max_entries, strategy=memory.strategy.value,
            budget=room, since=start, namespace=session.namespace, left_out=left_out, problems=problems,
            assumed=assumed_rate(session, path), counted=counted_in(session, path), until=end_of(start, now),
        )  # fmt: skip
    tell_left_out(session, left_out)
    if write is not None:
        write_out(session, write, as_profile(found).encode())
    if not printed:
        _show(session, found, write)
    return tell_unread(session, problems, named=source is not None)


def _room(budget: str | None) -> int | None:
    """The bytes of ``--budget``."""
    from scoutcache.insight.advising.rules import LEAST
    from scoutcache.ttl import parse_size

    room = None if budget is None else read("--budget", parse_size, budget)
    if room is not None and room < LEAST:
        raise Usage(f"--budget {budget}: less than {text.size(LEAST)} is no size for memory",
                    hint="write --budget 2GB, or leave it out")  # fmt: skip
    return room


def _show(session: Session, found: Advised, written: str | None) -> None:
    rows = [one._asdict() for one in found.advice]
    if session.form == "json":
        session.out.record({
            "advice": rows, "results": list(found.results), "repeats": found.repeats._asdict(),
            "requests": found.evidence.requests, "hits": found.evidence.hits, "sample_rate": found.sample_rate,
            "written": written,
        })  # fmt: skip
    elif session.form != "table":
        session.out.rows("advice", rows)
    else:
        for one in found.advice:
            told = (f"{one.topic}, {one.about}: {one.advice}", f"evidence: {one.evidence}", f"expected: {one.expected}")
            session.out.write("\n    ".join(map(text.visible, told)) + "\n")
