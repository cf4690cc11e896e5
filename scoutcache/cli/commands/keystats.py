"""``keystats``: how large, how old, how long unused the keys are, and which stand out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.commands.keys import check_namespaces, check_tier
from scoutcache.cli.opening import answered, failures
from scoutcache.cli.options import command
from scoutcache.cli.printing.unread import read_uses
from scoutcache.cli.resuming import UNPACED, Cursor, Everywhere, HeldBy, Interval, Matching, check_same, ended, walking
from scoutcache.cli.state import Session
from scoutcache.patterns import Pattern
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scoutcache.calls.walking import Walk

app = typer.Typer()

_TIERS: Final = ("tier", "entries", "size_bytes", "stale", "expired", "dead", "never_expire", "p50_size_bytes",
                 "p95_size_bytes", "max_size_bytes", "p50_ttl_s", "p50_age_s", "p50_idle_s", "p95_idle_s")  # fmt: skip
_KEYS: Final = ("key", "tier", "size_bytes", "ttl_s", "idle_s", "uses", "namespace")
_BUCKETS: Final = ("tier", "above", "up_to", "entries", "size_bytes")
_TITLES: Final = {"size_bytes": "sizes", "ttl_s": "time left", "age_s": "age", "idle_s": "idle time"}


@command(
    app,
    "keystats",
    examples="""
    scoutcache keystats                        every key of the namespace, tier by tier
    scoutcache keystats 'llm:*' --top 20
    scoutcache keystats --tier redis --samples 100000
    scoutcache keystats --json | jq .biggest
    """,
)
def keystats(
    session: Session,
    pattern: Matching = "*",
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="Length of each list.")] = 10,
    tier: HeldBy = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", "--limit", metavar="N", min=1, help="Stop after the batch that reaches N keys."),
    ] = None,
    all_namespaces: Everywhere = False,
    cursor: Cursor = None,
    interval: Interval = UNPACED,
) -> int | None:
    """Show how sizes, times left, ages and idle times of keys are spread in each tier, and the largest and most used.

    Memory use doesn't grow with the number of keys. Ctrl-C ends the command after the current batch: it shows what it
    has seen, prints the --cursor for the rest and exits with 130. Expired and invalidated entries take room and are
    counted separately. Idle is the time since a key was last requested. A server reports it, and this command resets
    it; elsewhere it comes from this machine's log, as do the most used keys. A disk is read in the order of keys, a
    server in none, so --samples of a disk are its first keys. Exit code 3 when a tier could not be asked.
    """
    from scoutcache.insight.keystats import KeyStats, collect

    check_namespaces(session, all_namespaces=all_namespaces)
    wanted = Pattern.parse(pattern)
    with session.core(raising=False) as core, failures(core) as away, walking(cursor, interval) as walk:
        check_tier(core, tier)
        namespace = None if all_namespaces else core.config.namespace
        check_same(walk, namespace, [pattern])
        resumed = walk.begin is not None
        stats = KeyStats(now=core.world.now(), top=top, uses=read_uses(session, core))
        collect(core, stats, namespace=namespace, pattern=wanted, tier=tier, walk=walk, samples=samples,
                met=lambda number: session.progress(counted(number, "key")))  # fmt: skip
        session.progress_done()
        part = answered(core, away, tier)
    sampled = samples is not None and stats.entries >= samples
    _print(session, {**stats.as_dict(), **_how_far(walk, stats.entries, resumed=resumed, part=part is not None)})
    if tier == "memory":
        session.note("the memory of running processes can't be listed from here")
    code = ended(session, walk, "keystats", pattern, top=str(top), tier=tier,
                 samples=None if samples is None else str(samples), all_namespaces=all_namespaces,
                 interval=interval)  # fmt: skip
    return part if sampled or code is None else code


def _how_far(walk: Walk, entries: int, *, resumed: bool, part: bool) -> dict[str, Any]:
    return {
        "entries": entries, "complete": not (resumed or part) and walk.place is None, "resumed": resumed,
        "cursor": None if walk.place is None else walk.place.text(),
    }  # fmt: skip


def _print(session: Session, fields: Mapping[str, Any]) -> None:
    out = session.out
    if out.form != "table":
        out.record(fields, main="keystats")
        return
    out.rows("keystats", fields["keystats"], _TIERS)
    for of, title in _TITLES.items():
        found = [row for row in fields["histograms"] if row["of"] == of]
        if found:
            rows = [_as_of(row, of) for row in found]
            out.section(title, rows, tuple(rows[0]))
    out.section("prefixes", fields["prefixes"], ("prefix", "tier", "entries", "size_bytes"))
    out.section("biggest", fields["biggest"], _KEYS)
    out.section("most used", fields["hottest"], _KEYS)


def _as_of(row: Mapping[str, Any], of: str) -> dict[str, Any]:
    """The bucket with its ends under names that say their unit."""
    unit = "_bytes" if of == "size_bytes" else "_s"
    return {f"{name}{unit}" if name in {"above", "up_to"} else name: row[name] for name in _BUCKETS}
