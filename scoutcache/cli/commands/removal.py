"""``clear``, ``prune``, ``verify``: remove what must go, and nothing else.

Rules: what sweeps (`clear`) asks at a terminal and wants ``--yes`` elsewhere.  A dry run removes nothing and counts
everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from scoutcache.calls.pruning import change_limit, forget_unused_tags, prune_dead, prune_forbidden, prune_tier
from scoutcache.cli.commands.keys import check_tier
from scoutcache.cli.errors import FAILED, Usage, read
from scoutcache.cli.opening import answered, failures, part
from scoutcache.cli.options import command
from scoutcache.cli.printing.removed import failed, warn_of
from scoutcache.cli.printing.telling import unverified
from scoutcache.cli.printing.text import size
from scoutcache.cli.state import Session
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.ttl import parse_duration, parse_size
from scoutcache.wire.unknown import Unverified

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.core.core import Core
    from scoutcache.models import InvalidationResult
    from scoutcache.tiers.base import Tier

app = typer.Typer()

_COUNTED: Final = ("dead", "forbidden", "expired", "older", "oversize", "orphaned")
"""What ``prune`` counts, of however few tiers."""
_YES: Final = typer.Option("--yes", help="Don't ask for confirmation.")


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
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier.")] = None,
    yes: Annotated[bool, _YES] = False,
) -> int | None:
    """Remove everything from a namespace, from a prefix of it, or from one tier.

    Asks for confirmation at a terminal; elsewhere it needs --yes. Other programs' keys on the same server are never
    touched.
    """
    prefix = None if prefix is None else _prefix(prefix)
    _check_clearable(session, tier)
    session.trust()  # what the configuration may do is asked before what is to be done
    namespace = session.config.namespace
    what = f"everything{'' if prefix is None else f' under {prefix}:'} in namespace {namespace}"
    session.confirm(f"clear {what}{f', tier {tier}' if tier else ''}", yes=yes)
    with session.cache(raising=False) as cache:
        result = cache.clear() if prefix is None and tier is None else _clear_part(cache, prefix, tier)
        session.said.update(result.failed.values())  # it is told below
    # An entry stands in several tiers: there were at least as many as the fullest of them held.
    cleared = (
        max(filter(None, result.by_tier.values()), default=0) if result.invalidated is None else result.invalidated
    )
    session.out.record(
        {"namespace": namespace, "cleared": cleared, "by_tier": dict(result.by_tier), "failed": dict(result.failed)}
    )
    return failed(session, result.failed, result.by_tier)


def _prefix(text: str) -> str:
    """The prefix meant: ``llm:`` is ``llm``.  Raises `Usage` for what no key's prefix can be."""
    prefix = text.removesuffix(":")
    if not prefix or ":" in prefix:
        raise Usage(f"{text!r} is no prefix: a prefix is the part before a key's first colon",
                    hint="scoutcache invalidate 'a:b:*' matches any beginning")  # fmt: skip
    return prefix


def _check_clearable(session: Session, tier: str | None) -> None:
    """Refuse a tier that isn't there, or is this process's own; none is opened for that but those of other makers."""
    session.look_for_cache()
    names = session.config.tiers
    if tier == "memory" and tier in names:
        raise Usage("memory belongs to each process and can't be cleared from here",
                    hint="clear without --tier, or invalidate, reaches the memory of every process")  # fmt: skip
    if tier not in {None, *names}:
        with session.core() as core:
            check_tier(core, tier)


def _clear_part(cache: Cache, prefix: str | None, tier: str | None) -> InvalidationResult:
    from scoutcache.models import InvalidationResult
    from scoutcache.patterns import Pattern

    pattern = None if prefix is None else f"{_literally(prefix)}:*"
    if tier is None:
        assert pattern is not None
        return cache.invalidate(pattern)
    one = cache._core.tier(tier)
    assert one is not None  # checked before anything was opened for writing
    core, namespace = cache._core, cache.config.namespace
    began = core.clocks.monotonic_ns()
    removed = one.clear(namespace) if pattern is None else one.remove_matching(namespace, Pattern.parse(pattern))
    # Named by its tier: no message tells of it, for what others hold in memory lives on.
    cache._calls.recording.done(
        "invalidate", Ref(namespace, pattern or "*"), began, tier=tier, reason=f"tier {tier} alone",
        outcome="cleared" if pattern is None else "invalidated",
    )  # fmt: skip
    return InvalidationResult(matched=removed, invalidated=removed, by_tier={tier: removed})


def _literally(text: str) -> str:
    return "".join(f"\\{char}" if char in r"*?[]\^-" else char for char in text)


@command(
    app,
    "prune",
    examples="""
    scoutcache prune                        expired, dead, orphaned and forbidden entries
    scoutcache prune --older-than 30d --dry-run
    scoutcache prune --max-size 500MB
    scoutcache prune --apply-limit          after disk.max_bytes was changed
    """,
)
def prune(
    session: Session,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="D", help="Also entries stored longer ago: 12h, 30d; 30 alone is seconds."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="S", help="Also the least needed entries beyond this size: 500MB, 2GB."),
    ] = None,
    apply_limit: Annotated[
        bool,
        typer.Option("--apply-limit", help="Set the store's limit to the configured disk.max_bytes, and shrink to it."),
    ] = False,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count; remove nothing.")] = False,
) -> int | None:
    """Remove expired, dead, orphaned and forbidden entries, tier by tier, and give back their space.

    Dead entries were invalidated by a tag, a dependency or a clear. Forbidden entries were stored before a policy
    (allowed_backends) excluded them from that tier. A store keeps the size limit it was made with, whatever is
    configured later, until --apply-limit changes it for every process. A server removes expired entries itself. Exit
    code 3 when a tier could not be asked or did only a part (a full one can't record which tags are forgotten), 10 when
    none could be asked.
    """
    age = None if older_than is None else read("--older-than", parse_duration, older_than)
    limit = None if max_size is None else read("--max-size", parse_size, max_size)
    with session.core(reading=dry_run, raising=False) as core, failures(core) as away:
        check_tier(core, tier)
        if apply_limit:
            before, most = change_limit(core, dry_run=dry_run)
            limit = most if limit is None else min(limit, most)
            now = "would be" if dry_run else "is"
            session.note(f"the limit of the disk tier {now} {size(most)}, it was {size(before)}")
        dead = prune_dead(core, tier=tier, dry_run=dry_run)
        counts = [
            {"name": one.name, "dead": dead[one.name], **found}
            for one in core.tiers
            if tier in {None, one.name} and one is not core.memory
            and (found := _pruned(core, one, older_than=age, max_bytes=limit, dry_run=dry_run)) is not None
        ]  # fmt: skip
        code = answered(core, away, tier)
        tags = forget_unused_tags(core, dry_run=dry_run) if tier is None and not away else 0
        code = code or part(away)
        session.said.update(away.values())  # it is told below
    names = dict.fromkeys([*_COUNTED, *(name for row in counts for name in row if name != "name")])
    total: dict[str, Any] = {name: sum(cast("int", row.get(name, 0)) for row in counts) for name in names}
    session.out.record(
        {**total, "pruned": sum(total.values()), "unused_tags": tags, "dry_run": dry_run, "tiers": counts,
         **({"failed": dict(away)} if away else {})}
    )  # fmt: skip
    for name, reason in away.items():
        warn_of(session, name, reason)
    return code


def _pruned(core: Core, tier: Tier, **how: Any) -> dict[str, int] | None:
    """What was removed, None from a tier that can't answer."""
    try:
        return {"forbidden": prune_forbidden(core, tier, dry_run=how["dry_run"]), **prune_tier(core, tier, **how)}
    except TierUnavailable as error:
        core.world.down(tier.name, error)
        return None


@command(
    app,
    "verify",
    examples="""
    scoutcache verify              read and check every entry
    scoutcache verify --repair     and remove damaged ones
    """,
)
def verify(
    session: Session,
    repair: Annotated[bool, typer.Option("--repair", help="Remove damaged entries.")] = False,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier.")] = None,
) -> int | None:
    """Read every stored entry of every namespace and check that it is intact and belongs to its key.

    Entries that are signed with a key that isn't configured here, or unsigned where one is, can't be checked: they are
    counted and stay. Exit code 1 when damaged entries were left, 3 when a tier could not be asked, 10 when none could.
    """
    rows: list[dict[str, Any]] = []
    with session.core(reading=not repair, raising=False) as core, failures(core) as away:
        check_tier(core, tier)
        for one in core.tiers:
            if tier in {None, one.name} and hasattr(one, "verify"):
                try:
                    rows += [{"name": one.name, **one.verify(repair)}]
                except TierUnavailable as error:
                    core.world.down(one.name, error)
        code = answered(core, away, tier)
    damaged = sum(_damaged(row) for row in rows)
    removed = sum(row["removed"] for row in rows)
    session.out.record(
        {"checked": sum(row["entries"] for row in rows), "damaged": damaged, "removed": removed, "tiers": rows,
         **({"failed": dict(away)} if away else {})}
    )  # fmt: skip
    if kept := sum(row.get("unverified", 0) for row in rows):
        session.warn(f"not checked: {unverified(kept)}")
        session.say_hint(Unverified.remedy)
    if (damaged and not repair) or any(row["integrity"] != "ok" for row in rows):
        return FAILED
    return code


def _damaged(row: dict[str, Any]) -> int:
    """What is wrong in a tier: entries that are none, and rows that belong to nothing."""
    return len(row["corrupt"]) + int(row["foreign"]) + int(row["orphaned"]) + int(row["integrity"] != "ok")
