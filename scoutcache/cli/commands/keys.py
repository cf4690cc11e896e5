"""``keys``, ``inspect``, ``explain``: look at entries without touching them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli import filters
from scoutcache.cli.errors import NOT_FOUND, CommandError, Usage
from scoutcache.cli.opening import answered, check_absence, failures, part
from scoutcache.cli.options import command
from scoutcache.cli.printing.unread import read_uses, tell_log_off, tell_unread
from scoutcache.cli.resuming import UNPACED, Cursor, Everywhere, HeldBy, Interval, Matching, check_same, ended, walking
from scoutcache.cli.state import Session
from scoutcache.keys import check_tag
from scoutcache.patterns import Pattern

if TYPE_CHECKING:
    from scoutcache.calls.walking import Walk
    from scoutcache.core.core import Core
    from scoutcache.insight.log.uses import Uses

app = typer.Typer()

COLUMNS: Final = ("key", "tier", "size_bytes", "ttl_s", "tags", "namespace")


@command(
    app,
    "keys",
    examples="""
    scoutcache keys 'llm:*'                         every key that begins with llm:
    scoutcache keys --filter 'ttl<60s' --json       those about to expire
    scoutcache keys --sort size:desc --limit 10     the largest
    scoutcache keys 'tmp:*' -0 | xargs -0 -r scoutcache delete
    """,
)
def keys(
    session: Session,
    pattern: Matching = "*",
    tag: Annotated[str | None, typer.Option("--tag", metavar="T", help="Only keys with this tag.")] = None,
    tier: HeldBy = None,
    chosen: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="F", help="By ttl, age, size or hits, such as 'ttl<60s'. Repeatable."),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="FIELD:asc|desc", help="By key, size, ttl, age, hits, tier, namespace."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=0, help="At most this many.")] = None,
    null: Annotated[bool, typer.Option("-0", "--null", help="Print keys only, each followed by a NUL.")] = False,
    all_namespaces: Everywhere = False,
    cursor: Cursor = None,
    interval: Interval = UNPACED,
) -> int | None:
    """List keys that can still be read, each once, from the highest tier that has it.

    Keys are printed as they are found, except with --sort. Off a terminal a line holds key, tier, bytes, seconds to
    live, tags and namespace, separated by tabs; with --quiet only the key. Ctrl-C ends the command after the current
    batch: it prints the --cursor to continue from and exits with 130. A tier that can't answer is left out, with a
    warning and exit code 3. Hits come from this machine's log; a key that the log doesn't know passes no filter on hits
    and is sorted last.
    """
    check_namespaces(session, all_namespaces=all_namespaces)
    wanted = Pattern.parse(pattern)
    if tag is not None:
        check_tag(tag)
    if null and session.form != "table":
        raise Usage(f"--null can't be used with --format {session.form}", hint="leave one of them out")
    for text in chosen or ():
        filters.parse_filter(text)
    if sort is not None:
        filters.parse_sort(sort)
        if cursor is not None:
            raise Usage("--cursor can't be used with --sort", hint="sorting reads all keys before it prints the first")
    with session.core(raising=False) as core, failures(core) as away, walking(cursor, interval) as walk:
        check_tier(core, tier)
        namespace = None if all_namespaces else core.config.namespace
        check_same(walk, namespace, [pattern])
        uses = None
        if filters.ask_for("hits", chosen or (), sort):
            uses = read_uses(session, core)
            tell_log_off(session)
        rows = _rows(core, namespace, wanted, tag, tier, walk, uses)
        _print(session, filters.select(rows, chosen or (), sort, limit), null=null)
        code = answered(core, away, tier)
        if tier == "memory":
            session.note("the memory of running processes can't be listed from here")
    return code if walk.place is None else ended(
        session, walk, "keys", pattern, tag=tag, tier=tier, filter=chosen, null=null, all_namespaces=all_namespaces,
        interval=interval,
    )  # fmt: skip


def _print(session: Session, found: Iterable[Mapping[str, Any]], *, null: bool) -> None:
    if null:
        for row in found:
            session.out.write(f"{row['key']}\0")
    else:
        bare = session.quiet and session.form == "table"
        session.out.listing("keys", found, ("key",) if bare else COLUMNS)


def check_namespaces(session: Session, *, all_namespaces: bool) -> None:
    """Refuse to look at one namespace and at all of them."""
    if all_namespaces and session.namespace is not None:
        raise Usage("--all-namespaces can't be used with --namespace", hint="leave one of them out")


def check_tier(core: Core, tier: str | None) -> None:
    """Refuse a tier that this cache does not have."""
    names = [one.name for one in core.tiers]
    if tier is not None and tier not in names:
        raise Usage(f"no such tier: {tier}", hint=f"the tiers are {', '.join(names)}")


def _rows(
    core: Core, namespace: str | None, pattern: Pattern, tag: str | None, tier: str | None, walk: Walk,
    uses: Uses | None,
) -> Iterator[Any]:  # fmt: skip
    from scoutcache.calls.listing import list_entries

    now = core.world.now()
    for entry in list_entries(core, namespace, pattern, tag=tag, tier=tier, unchecked=True, walk=walk):
        header = entry.header
        yield {
            "key": header.ref.key,
            "tier": entry.tier,
            "size_bytes": entry.size,
            "ttl_s": round(header.fresh_until - now, 3) if math.isfinite(header.fresh_until) else math.inf,
            "tags": header.tags,
            "namespace": header.ref.namespace,
            "age_s": now - header.created,
            "hits": None if uses is None else uses.times(header.ref),
        }


@command(
    app,
    "inspect",
    examples="""
    scoutcache inspect llm:greeting
    scoutcache inspect llm:greeting --json
    """,
)
def inspect(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The exact key.")],
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Look only in this tier.")] = None,
) -> int | None:
    """Show where a key is, how long it lives, what it depends on, whether it is valid, and if not, why.

    The reason names the tag, dependency or clear that ended the entry and, if the log knows, when and by whom. get no
    longer returns a stale entry; get_or_compute may. Hits come from this machine's log. Exit code 4 when no tier has
    the key, 3 when a tier could not be asked.
    """
    from scoutcache.cli.looking import look_at
    from scoutcache.entry import Ref
    from scoutcache.keys import key_text

    ref = Ref(session.config.namespace, key_text(key))
    with session.core(raising=False) as core, failures(core) as away:
        check_tier(core, tier)
        found = look_at(core, ref, tier)
        if not any(one["present"] for one in found["tiers"]):
            check_absence(f"no tier that can answer has {key}", {} if tier == "memory" else away)
    # The memory of other processes can't be seen: asked about that alone, there is no saying that it isn't there.
    lower = [one for one in found["tiers"] if one["name"] != "memory"]
    if not any(one["present"] for one in lower) and tier != "memory":
        raise CommandError(f"no such key: {key}", code=NOT_FOUND, hint=f"{session.again('explain', key)} says why")
    found["hits"] = read_uses(session, core, ref.key).times(ref)
    if session.form != "json":
        found["why"] = [one["told"] for one in found["why"]]
    remedies = dict.fromkeys(one.pop("remedy") for one in found["tiers"])
    session.out.record(found)
    for remedy in filter(None, remedies):
        session.say_hint(remedy)
    return part(away)


_MISSED: Final = ("at", "reason", "op", "error", "by")
_ANSWERED: Final = ("at", "reason", "op", "tier", "latency_us", "wait_us", "factory_s", "error", "by")


@command(
    app,
    "explain",
    examples="""
    scoutcache explain llm:greeting
    scoutcache explain llm:greeting --hits           answers too: from which tier, and how long they took
    scoutcache explain llm:greeting --limit 100 --json
    """,
)
def explain(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The exact key.")],
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many, the latest first.")] = 20,
    hits: Annotated[bool, typer.Option("--hits", help="Also show requests that were answered.")] = False,
) -> None:
    """Say why the last misses of a key were misses, from the operation log of this machine.

    A miss whose computation failed names the type of the error. These are the reasons that stats counts. For a miss
    counted as cold, explain may find a better reason in the log: expiry, an invalidation, or evictions since the entry
    was stored.

    cold: never stored, or the log doesn't know what became of it. expired. evicted: also pruned on request.
    invalidated: by whom, if the log knows; also marked stale, replaced by a value that is not kept, or cleared from a
    tier. refused: by a check such as validate. corrupt: damaged, or in a database that was set aside as damaged.
    unknown_type: of a class that this process doesn't know. unverified: signed with a key that this process wasn't
    given, or unsigned where it has one. unavailable: a tier that may have it could not be asked. failed: the call got
    the error of a computation it waited for, or of one that error_ttl keeps. bypassed: a condition was false, or the
    cache was switched off.

    --hits also shows fresh, stale (expired, but served while a refresh ran or because it failed) and joined (waited for
    another caller's computation), each with the tier that answered, the latency, and how much of it was waiting. If the
    log is sampled, it knows sampled requests only, but all invalidations.
    """
    from scoutcache.cli.printing.telling import act
    from scoutcache.insight.reasons import Story
    from scoutcache.keys import key_text
    from scoutcache.oplog.reading import Problems

    session.look_for_cache()
    problems = Problems()
    story = Story.of(session.place, session.config.namespace, key_text(key), problems, hits=limit if hits else 0,
                     now=time.time())  # fmt: skip
    outcomes = story.last(limit, hits=hits)
    if session.form == "json":
        session.out.record({"key": key, "namespace": session.config.namespace, "outcomes": outcomes})
    else:
        shown = [{**one, "by": None if one["by"] is None else act(one["by"])} for one in outcomes]
        session.out.rows("outcomes", shown, _ANSWERED if hits else _MISSED)
    tell_log_off(session)
    tell_unread(session, problems, named=False)
    if not outcomes and not hits:
        ended = "" if story.by is None else f"; it was removed at {story.by['at']}: {act(story.by)}"
        session.note(f"the log holds no miss of {key}{ended}")
