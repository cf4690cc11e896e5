"""``invalidate``, ``clear``, ``prune``, ``verify``: remove what must go, and nothing else.

Rules: naming what to remove never asks.  What sweeps (`clear`, ``invalidate --all``) asks at a terminal and wants
``--yes`` elsewhere.  A dry run removes nothing and counts everything.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from scoutcache.cli.errors import FAILED, PARTLY, UNREACHABLE, CommandError, Usage
from scoutcache.cli.listing import check_tier
from scoutcache.cli.options import choices, command
from scoutcache.cli.state import Session
from scoutcache.cli.text import size
from scoutcache.listing import list_entries
from scoutcache.pruning import change_limit, prune_dead
from scoutcache.ttl import parse_duration, parse_size

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.models import InvalidationResult

app = typer.Typer()

_SAMPLE: Final = 20
_YES: Final = typer.Option("--yes", help="Don't ask.")


_Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="T", help="Entries with this tag; repeatable.")]
_DependsOn = Annotated[
    list[str] | None, typer.Option("--depends-on", metavar="K", help="What depends on this key; repeatable.")
]
_KeysFrom = Annotated[
    str | None, typer.Option("--keys-from", metavar="FILE|-", help="Whole keys, one a line or ended by NUL.")
]
_Action = Annotated[
    str,
    choices(
        ("delete", "refresh", "mark-stale"),
        "--action",
        help="What becomes of them. Default: delete.",
        show_default=False,
    ),
]
_Match = Annotated[
    str,
    choices(("any", "all"), "--match", help="Any of what is named, or all at once. Default: any.", show_default=False),
]
_Wait = Annotated[
    str | None, typer.Option("--wait", metavar="SECONDS", help="Until every live process has applied it.")
]


@command(
    app,
    "invalidate",
    examples="""
    scoutcache invalidate 'llm:*'                      by pattern
    scoutcache invalidate --tag model:gpt-4 --count    by tag, and count what that was
    scoutcache invalidate 'user:7:*' --dry-run         see what it would be
    scoutcache keys --filter 'age>30d' -0 | scoutcache invalidate --keys-from -
    """,
)
def invalidate(
    session: Session,
    patterns: Annotated[list[str] | None, typer.Argument(metavar="PATTERN...", help="Keys that match any.")] = None,
    tag: _Tag = None,
    event: Annotated[str | None, typer.Option("--event", metavar="E", help="What the rules say of this event.")] = None,
    depends_on: _DependsOn = None,
    keys_from: _KeysFrom = None,
    action: _Action = "delete",
    match: _Match = "any",
    no_cascade: Annotated[bool, typer.Option("--no-cascade", help="Spare what depends on the keys.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Count what tags covered, which takes a scan.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show; change nothing.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Goes into the log.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in the namespace.")] = False,
    yes: Annotated[bool, _YES] = False,
    most: Annotated[int | None, typer.Option("--max", metavar="N", min=0, help="Refuse to remove more keys.")] = None,
    wait: _Wait = None,
) -> int | None:
    """Invalidate by pattern, tag, key, dependency or event, in every tier and every process.

    After it has returned nobody reads what was there before. What is named is united; --match all takes only what
    fits everything named. Patterns match whole keys inside one namespace.
    """  # fmt: skip
    named = list(patterns or ())
    if everything and not named:
        named = ["*"]
    _check_sweep(named, everything=everything)
    what: dict[str, Any] = {
        "keys": _keys(keys_from), "tags": tag or (), "match": match, "cascade": not no_cascade,
        "action": action.replace("-", "_"), "reason": reason,
    }  # fmt: skip
    # Only what was asked for is handed on, so that a library without it refuses by name.
    if event is not None:
        what["event"] = event
    if wait is not None:
        what["wait"] = parse_duration(wait)
    if not (named or what["keys"] or what["tags"] or event or depends_on):
        if keys_from is not None:
            session.note("no keys were given")
            session.out.record({"matched": 0, "invalidated": 0, "by_tier": {}, "sample": []})
            return None
        raise Usage("nothing to invalidate was named", hint="name a PATTERN, --tag, --keys-from, --depends-on or --all")
    with session.cache(raising=False) as cache:
        if everything and not dry_run:
            session.confirm(f"invalidate everything in namespace {cache.config.namespace}", yes=yes)
        invalidation = Invalidation(cache, named, what, depends_on or ())
        if most is not None:
            invalidation.check_most(most)
        result = invalidation.run(dry_run=dry_run, count=count)
    return _told(session, result, dry_run=dry_run)


def _check_sweep(patterns: Sequence[str], *, everything: bool) -> None:
    from scoutcache.patterns import Pattern

    for pattern in patterns:
        whole = Pattern.parse(pattern).matches_all
        # What is made of wildcards alone names nothing: it is a sweep too, though it may spare the shortest keys.
        if not everything and not pattern.replace("[^]", "?").strip("*?"):
            what = "is everything in the namespace" if whole else "is wildcards alone and may be everything"
            raise Usage(f"{pattern} {what}", hint="pass --all if that is meant")


class Invalidation:
    """What is to be invalidated, in one or two calls of the library."""

    def __init__(self, cache: Cache, patterns: Sequence[str], what: dict[str, Any], depends_on: Sequence[str]) -> None:
        self._cache, self._patterns, self._what, self._depends_on = cache, patterns, what, depends_on
        if depends_on and what["match"] == "all":
            raise Usage("--depends-on does not go with --match all", hint="name patterns and tags only")

    def check_most(self, most: int) -> None:
        """Refuse when more than *most* keys would go."""
        matched = self.run(dry_run=True, count=False).matched
        if matched is None or matched > most:
            raise CommandError(f"{matched} keys match, more than --max {most}; nothing was invalidated", code=FAILED)

    def run(self, *, dry_run: bool, count: bool) -> InvalidationResult:
        """Do it, or with *dry_run* say what it would be."""
        results = []
        if self._patterns or self._what["keys"] or self._what["tags"] or "event" in self._what:
            call = self._cache.invalidate
            results.append(_call(call, *self._patterns, dry_run=dry_run, count=count, **self._what))
        if self._depends_on:
            results.append(invalidate_dependents(self._cache, self._depends_on, dry_run=dry_run, count=count,
                                                 reason=self._what["reason"]))  # fmt: skip
        return results[0] if len(results) == 1 else _united(results)


def invalidate_dependents(
    cache: Cache, keys: Sequence[str], *, dry_run: bool = False, count: bool = False, reason: str | None = None
) -> InvalidationResult:
    """Invalidate what depends on *keys* and leave the keys themselves.

    One write, whatever the number of entries; how many they are is known only with *count* or *dry_run*, which scan.
    """
    from scoutcache.drive import run
    from scoutcache.entry import KEY_MARK
    from scoutcache.keys import key_text
    from scoutcache.models import InvalidationResult

    core, names = cache._core, [key_text(key) for key in keys]
    found: list[str] | None = None
    if dry_run or count:
        entries = list_entries(core, core.config.namespace, stale=True)
        found = [entry.header.ref.key for entry in entries if set(names) & set(entry.header.depends_on)]
    if not dry_run:
        run(core.removing.tags(core.config.namespace, [KEY_MARK + name for name in names], reason=reason), core.ports)
    matched = None if found is None else len(found)
    return InvalidationResult(
        matched=matched, invalidated=0 if dry_run else matched, sample=tuple(found or ())[:_SAMPLE]
    )


def _united(results: Sequence[InvalidationResult]) -> InvalidationResult:
    from scoutcache.models import InvalidationResult

    def total(counts: Sequence[int | None]) -> int | None:
        return None if None in counts else sum(filter(None, counts))

    tiers = dict.fromkeys(tier for result in results for tier in result.by_tier)
    return InvalidationResult(
        matched=total([result.matched for result in results]),
        invalidated=total([result.invalidated for result in results]),
        by_tier={tier: total([result.by_tier.get(tier) for result in results]) for tier in tiers},
        sample=tuple(dict.fromkeys(key for result in results for key in result.sample))[:_SAMPLE],
        failed={tier: reason for result in results for tier, reason in result.failed.items()},
    )


def _call(method: Any, *arguments: Any, **options: Any) -> InvalidationResult:
    """Call the library; an option it does not take is refused by name instead of as a fault of the program."""
    import inspect

    known = inspect.signature(method).parameters
    for name in options:
        if name not in known:
            raise CommandError(f"--{name.replace('_', '-')} is not available in this version of scoutcache")
    return cast("InvalidationResult", method(*arguments, **options))


def _keys(source: str | None) -> list[str]:
    if source is None:
        return []
    given = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    try:
        content = given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"the keys from {source} are not text: {error}") from error
    keys = content.split("\0") if "\0" in content else content.split("\n")
    return [key for key in keys if key]


def _told(session: Session, result: InvalidationResult, *, dry_run: bool) -> int | None:
    session.out.record(
        {
            "matched": result.matched,
            "invalidated": result.invalidated,
            "by_tier": dict(result.by_tier),
            "sample": list(result.sample),
            **({"dry_run": True} if dry_run else {}),
            **({"failed": dict(result.failed)} if result.failed else {}),
        }
    )
    return _failed(session, result)


def _failed(session: Session, result: InvalidationResult) -> int | None:
    """The exit code when tiers could not be asked; this process's own memory is no tier that counts."""
    for tier, reason in result.failed.items():
        session.warn(f"the {tier} tier could not be asked: {reason}")
    if not result.failed:
        return None
    return PARTLY if set(result.by_tier) - set(result.failed) - {"memory"} else UNREACHABLE


@command(
    app,
    "clear",
    examples="""
    scoutcache clear --yes                       the whole namespace
    scoutcache clear --namespace tenant-a
    scoutcache clear --prefix llm --yes          keys that begin with llm:
    scoutcache clear --tier disk --yes           one tier only
    """,
)
def clear(
    session: Session,
    prefix: Annotated[str | None, typer.Option("--prefix", metavar="P", help="Only keys that begin with P:.")] = None,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only from this tier.")] = None,
    yes: Annotated[bool, _YES] = False,
) -> int | None:
    """Remove everything from a namespace, from a prefix of it, or from one tier.

    Asks at a terminal; elsewhere it needs --yes. Other programs' keys on the same server are never touched.
    """
    with session.core(reading=True) as core:
        check_tier(core, tier)
        if core.memory is not None and tier == core.memory.name:
            raise Usage("memory belongs to each process and can't be cleared from here",
                        hint="clear without --tier, or invalidate, reaches the memory of every process")  # fmt: skip
        namespace = core.config.namespace
    what = f"everything{f' under {prefix}:' if prefix else ''} in namespace {namespace}"
    session.confirm(f"clear {what}{f', tier {tier}' if tier else ''}", yes=yes)
    with session.cache(raising=False) as cache:
        result = cache.clear() if prefix is None and tier is None else _clear_part(cache, prefix, tier)
    # An entry stands in several tiers: there were at least as many as the fullest of them held.
    cleared = (
        max(filter(None, result.by_tier.values()), default=0) if result.invalidated is None else result.invalidated
    )
    session.out.record(
        {"namespace": namespace, "cleared": cleared, "by_tier": dict(result.by_tier), "failed": dict(result.failed)}
    )
    return _failed(session, result)


def _clear_part(cache: Cache, prefix: str | None, tier: str | None) -> InvalidationResult:
    from scoutcache.models import InvalidationResult
    from scoutcache.patterns import Pattern

    pattern = None if prefix is None else f"{_literally(prefix)}:*"
    if tier is None:
        assert pattern is not None
        return cache.invalidate(pattern)
    one = cache._core.tier(tier)
    assert one is not None  # checked before anything was opened for writing
    namespace = cache.config.namespace
    removed = one.clear(namespace) if pattern is None else one.remove_matching(namespace, Pattern.parse(pattern))
    return InvalidationResult(matched=removed, invalidated=removed, by_tier={tier: removed})


def _literally(text: str) -> str:
    return "".join(f"\\{char}" if char in r"*?[]\^-" else char for char in text)


@command(
    app,
    "prune",
    examples="""
    scoutcache prune                        what is expired, dead or orphaned
    scoutcache prune --older-than 30d --dry-run
    scoutcache prune --max-size 500MB
    scoutcache prune --apply-limit          after [disk] max_bytes was changed
    """,
)
def prune(
    session: Session,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="D", help="Also what was stored longer ago: 12h, 30d.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="S", help="Also the least needed beyond this size: 500MB, 2GB.")
    ] = None,
    apply_limit: Annotated[
        bool,
        typer.Option("--apply-limit", help="Make the configured [disk] max_bytes the store's own, and keep to it."),
    ] = False,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count; remove nothing.")] = False,
) -> None:
    """Remove what is expired, dead or orphaned, tier by tier, and give its space back.

    A store records its limit when it is made, and that one applies whatever is configured later, until --apply-limit
    changes it for every process.
    """
    age = None if older_than is None else parse_duration(older_than)
    limit = None if max_size is None else parse_size(max_size)
    with session.core(reading=dry_run) as core:
        check_tier(core, tier)
        if apply_limit:
            before, most = change_limit(core, dry_run=dry_run)
            limit = most if limit is None else min(limit, most)
            now = "would be" if dry_run else "is"
            session.note(f"the limit of the disk tier {now} {size(most)}, it was {size(before)}")
        dead = prune_dead(core, tier=tier, dry_run=dry_run)
        counts = [
            {
                "name": one.name,
                "dead": dead[one.name],
                **one.prune(core.world.now(), older_than=age, max_bytes=limit, dry_run=dry_run),
            }
            for one in core.tiers
            if tier in {None, one.name} and one is not core.memory
        ]
    names = dict.fromkeys(name for row in counts for name in row if name != "name")
    total: dict[str, Any] = {name: sum(cast("int", row.get(name, 0)) for row in counts) for name in names}
    session.out.record({**total, "pruned": sum(total.values()), "dry_run": dry_run, "tiers": counts})


@command(
    app,
    "verify",
    examples="""
    scoutcache verify              read and check every entry
    scoutcache verify --repair     and remove what is damaged
    """,
)
def verify(
    session: Session,
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is damaged.")] = False,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier.")] = None,
) -> int | None:
    """Read every stored entry of every namespace and check that it is whole and its own.

    Exit code 1 when something is damaged and was left.
    """
    rows: list[dict[str, Any]] = []
    with session.core(reading=not repair) as core:
        check_tier(core, tier)
        for one in core.tiers:
            if tier in {None, one.name} and hasattr(one, "verify"):
                rows += [{"name": one.name, **one.verify(repair)}]
    damaged = sum(_damaged(row) for row in rows)
    removed = sum(row["removed"] for row in rows)
    session.out.record(
        {"checked": sum(row["entries"] for row in rows), "damaged": damaged, "removed": removed, "tiers": rows}
    )
    return FAILED if (damaged and not repair) or any(row["integrity"] != "ok" for row in rows) else None


def _damaged(row: dict[str, Any]) -> int:
    """What is wrong in a tier: entries that are none, and rows that belong to nothing."""
    return len(row["corrupt"]) + int(row["foreign"]) + int(row["orphaned"]) + int(row["integrity"] != "ok")
