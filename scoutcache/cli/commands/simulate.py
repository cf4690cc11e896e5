"""``simulate``: what caches of other sizes and with other policies would have done with one's own requests."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.errors import Usage, did_you_mean
from scoutcache.cli.options import choices, command
from scoutcache.cli.periods import counted_since
from scoutcache.cli.printing.streams import STDIN
from scoutcache.cli.printing.unread import tell_unread, telling_unread
from scoutcache.cli.printing.writing import is_stdout, write_out
from scoutcache.cli.replaying import assumed_rate, counted_in, log_at, tell_left_out
from scoutcache.cli.state import Session
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.insight.simulation.curves import Point
    from scoutcache.insight.simulation.requests import Requests
    from scoutcache.oplog.reading import Problems

app = typer.Typer()

_DEFAULT_POLICIES: Final = ("adaptive", "lru", "tinylfu", "gdsf", "opt")
_COLUMNS: Final = ("policy", "capacity", "unit", "hit_ratio", "byte_hit_ratio")


@command(
    app,
    "simulate",
    examples="""
    scoutcache simulate                                       the log of this cache
    scoutcache simulate requests.csv.gz --size 1% --size 10% --policy lru,adaptive,opt
    scoutcache simulate ./cache --size 64MB,256MB,1GB --policy all --html curves.html
    """,
)
def simulate(
    session: Session,
    source: Annotated[
        str | None,
        typer.Argument(metavar="LOG|TRACE|-", help="A cache's directory, a file or folder of its log, or a CSV (.gz)."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="P", help="Policies, separated by commas, or all."),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="S", help="1% of everything, 1000 entries, or 64MB; several with commas."),
    ] = None,
    by: Annotated[
        str, choices(("entries", "bytes"), "--by", help="What percentages refer to.", show_default=False)
    ] = "entries",
    since: Annotated[
        str | None, typer.Option("--since", metavar="D", help="Of a log, only the last 24h, 7d, …")
    ] = None,
    sample_above: Annotated[
        int, typer.Option("--sample-above", metavar="N", min=1, help="Sample a trace that has more requests.")
    ] = 5_000_000,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes to use. Default: one for each core.")
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page; - prints it.")
    ] = None,
) -> int | None:
    """Replay requests with other policies and sizes, and show the hit ratio that each would have had.

    Figures are exact. From this machine's log, entries expire and are invalidated as they were, and all processes count
    as one cache. A trace is a CSV with the header timestamp,key,size; if it has more requests than --sample-above, keys
    are sampled, and each ratio has its error. opt knows the future: no policy can do better with entries of one size.
    """
    from scoutcache.insight.simulation.curves import DEFAULT_SIZES, as_rows, check_sizes, curves, parse_sizes

    printed = is_stdout(session, "--html", html)
    policies, wanted = _policies(policy), _split(size) or DEFAULT_SIZES
    check_sizes(wanted, by_bytes=by == "bytes")  # before a log is read, which may take long
    requests, name, problems = _requests(session, source, since, sample_above)
    sizes = parse_sizes(wanted, requests, by_bytes=by == "bytes")

    points = curves(requests, policies, sizes, processes=jobs, progress=partial(session.progress, "simulating"))
    session.progress_done()
    about = {
        "source": name, "requests": requests.count, "distinct_keys": requests.distinct,
        "distinct_bytes": requests.distinct_bytes, "sample_rate": requests.rate,
    }  # fmt: skip
    if html is not None:
        from scoutcache.insight.simulation.chart import as_page

        write_out(session, html, as_page(points, about).encode())
    if not printed:
        _show(session, points, as_rows(points), about)
    return tell_unread(session, problems, named=source is not None)


def _show(session: Session, points: list[Point], rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    out = session.out
    if session.form == "json":
        out.record({"results": rows, **about})
        return
    sampled = about["sample_rate"] < 1
    out.rows("results", rows, (*_COLUMNS, "error") if sampled else _COLUMNS)
    if out.fancy:
        from scoutcache.insight.simulation.chart import as_text

        out.write(f"\n{as_text(points)}")
    session.note(f"{counted(about['requests'], 'request')} for {counted(about['distinct_keys'], 'key')} of "
                 f"{counted(about['distinct_bytes'], 'byte')}")
    if sampled:
        share = counted(round(1 / about["sample_rate"]), "key")
        session.note(f"sampled: 1 of {share}; error is 9 of 10 times no larger than said")


def _policies(given: list[str] | None) -> list[str]:
    from scoutcache.insight.simulation.policies import POLICIES

    words = _split(given) or list(_DEFAULT_POLICIES)
    if "all" in words:
        return list(POLICIES)
    for word in words:
        if word not in POLICIES:
            known = f"choose of {', '.join(POLICIES)}, or all"
            hint = did_you_mean(word, (*POLICIES, "all"), known)
            raise Usage(f"there is no policy {word!r} to simulate", hint=hint)
    return list(dict.fromkeys(words))


def _split(given: list[str] | None) -> list[str]:
    words = [word.strip() for text in given or () for word in text.split(",") if word.strip()]
    if given and not words:
        raise Usage("a policy or a size to simulate can't be empty", hint="leave the option out for the defaults")
    return words


def _requests(session: Session, source: str | None, since: str | None, limit: int) -> tuple[Requests, str, Problems]:
    from scoutcache.insight.log.operations import end_of
    from scoutcache.insight.simulation.sources import is_log, requests_of
    from scoutcache.oplog.reading import Problems

    path = log_at(session, source)
    if since is not None and not is_log(path):
        raise Usage("--since is for a log; a trace is simulated as a whole")
    now = time.time()
    start = counted_since(since, now)
    left_out: Counter[str] = Counter()
    problems = Problems()
    with telling_unread(session, problems), session.working("reading"):
        requests = requests_of(path, since=start, namespace=session.namespace, limit=limit, left_out=left_out,
                               problems=problems, assumed=assumed_rate(session, path),
                               counted=counted_in(session, path), until=end_of(start, now))  # fmt: skip
    tell_left_out(session, left_out)
    return requests, STDIN if source == STDIN else str(path), problems
