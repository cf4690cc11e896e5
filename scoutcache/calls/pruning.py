"""What ``prune`` does beyond what a tier does by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from scoutcache.calls.listing import forbidden, is_valid
from scoutcache.core.core import Core
from scoutcache.core.telling import tell_left
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.tiers.base import Tier, Versions

__all__ = ["change_limit", "forget_unused_tags", "prune_dead", "prune_forbidden", "prune_tier"]

BATCH = 500
"""Entries removed at a time, so that memory stays flat and no lock is held for long."""


def prune_dead(core: Core, *, tier: str | None = None, dry_run: bool = False) -> dict[str, int]:
    """Remove every entry one of whose marks is no longer current; how many, by tier."""
    core.follower.sync()
    pruned = {}
    authority = _authority(core)
    for one in core.tiers:
        if one is not core.memory and tier in {None, one.name}:
            pruned[one.name] = 0
            try:
                if one is authority and hasattr(one, "reclaim"):  # its rows and its versions in one snapshot
                    pruned[one.name] = one.reclaim(dry_run=dry_run)
                    continue
                for refs in _batches(_dead(core, one.name)):
                    pruned[one.name] += len(refs) if dry_run else one.remove(refs)
            except TierUnavailable as error:  # the tier, or the authority that would know what is dead in it
                core.world.down(error.tier, error)
    return pruned


def prune_forbidden(core: Core, tier: Tier, *, dry_run: bool = False) -> int:
    """Remove what the policies keep out of *tier*; how many.  Raises `TierUnavailable`."""
    return sum(len(refs) if dry_run else tier.remove(refs) for refs in _batches(forbidden(core, tier)))


def _authority(core: Core) -> Any:
    """The tier that knows what is dead: a server's knows for all machines."""
    candidates = [one for one in core.tiers if isinstance(one, Versions)]
    return next((one for one in candidates if one.name == "redis"), next(iter(candidates), None))


def prune_tier(
    core: Core, tier: Tier, *, older_than: float | None, max_bytes: int | None, dry_run: bool
) -> dict[str, int]:
    """`Tier.prune`; what was removed counts as expired and evicted (``older``, ``oversize``).

    What is ``orphaned`` was no entry, and belongs to neither.  Raises `TierUnavailable`.
    """
    counts = tier.prune(core.world.now(), older_than=older_than, max_bytes=max_bytes, dry_run=dry_run)
    if not dry_run:
        tell_left(core.recorder, core.hooks, tier.name, {name: counts[name] for name in counts if name != "orphaned"})
    return counts


def forget_unused_tags(core: Core, *, dry_run: bool = False) -> int:
    """Let the authority forget the versions that no entry carries any more; how many.

    Announced as the invalidation that it is for whatever carries one all the same, in some process's memory perhaps.
    Where it can't, or can't be told (a full server takes no announcement), the hooks are told, and the rest stays.
    """
    authority, number = _authority(core), 0
    try:
        for namespace, part in _unused(authority):
            number += len(part) if dry_run else _forget(core, authority, namespace, part)
    except TierUnavailable as error:
        core.world.down(error.tier, error)
    return number


def _unused(authority: Any) -> Iterator[tuple[str, dict[str, int]]]:
    """Versions that no entry carries, some at a time, each time of one namespace."""
    for batch in authority.unused_versions() if hasattr(authority, "unused_versions") else ():
        for namespace, some in groupby(sorted(batch.items()), key=lambda item: item[0][0]):
            versions = [(name, version) for (_, name), version in some]
            for at in range(0, len(versions), BATCH):
                yield namespace, dict(versions[at : at + BATCH])


def _forget(core: Core, authority: Any, namespace: str, versions: dict[str, int]) -> int:
    message = core.world.message("mark", namespace, list(versions), "unused")
    core.follower.announce(message.opening)
    try:
        number: int = authority.forget_versions(namespace, versions)
    finally:
        core.follower.announce(message)
    return number


def change_limit(core: Core, *, dry_run: bool = False) -> tuple[int, int]:
    """Make the configured size of the disk tier the one its store records; the size it had, and the one it has.

    Raises `CacheError` where there is no such tier, `TierUnavailable`.
    """
    disk, wanted = core.tier("disk"), core.config.disk.max_bytes
    if disk is None or not hasattr(disk, "change_limit"):
        raise CacheError("this cache has no disk tier, so there is no limit to change")
    before = disk.usage().max_bytes
    if not dry_run:
        disk.change_limit(wanted)
    return wanted if before is None else before, wanted


def _dead(core: Core, name: str) -> Iterator[Ref]:
    tier = core.tier(name)
    for entry in tier.scan(None) if tier is not None else ():
        if not is_valid(core, entry.header):
            yield entry.header.ref


def _batches(refs: Iterator[Ref]) -> Iterator[list[Ref]]:
    batch: list[Ref] = []
    for ref in refs:
        batch.append(ref)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
