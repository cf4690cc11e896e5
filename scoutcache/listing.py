"""What the tiers of a cache hold, listed as a user sees it: valid entries only, each key once."""

from __future__ import annotations

from collections.abc import Iterator

from scoutcache.calls import Calls
from scoutcache.core import Core
from scoutcache.entry import Header, Life, Listed, Ref, life_of
from scoutcache.errors import TierUnavailable
from scoutcache.keys import check_namespace, check_tag
from scoutcache.patterns import Pattern

__all__ = ["is_valid", "life", "list_entries", "list_keys"]


def list_entries(
    core: Core,
    namespace: str | None,
    pattern: Pattern | None = None,
    *,
    tag: str | None = None,
    tier: str | None = None,
    stale: bool = False,
) -> Iterator[Listed]:
    """Valid entries, each once, from the highest tier that has it; *namespace* None is all of them.

    Memory stays flat but for the keys of the memory tier.  Stale entries only with *stale*.  A tier that can't answer
    is left out and told to the hooks.
    """
    core.follower.sync()
    listed: set[Ref] = set()
    for one in core.tiers:
        if tier is not None and one.name != tier:
            continue
        last = one is core.tiers[-1]
        try:
            for entry in one.scan(namespace, pattern):
                ref = entry.header.ref
                if ref in listed or not _wanted(core, entry.header, tag, stale=stale):
                    continue
                if not last:
                    listed.add(ref)
                yield entry
        except TierUnavailable as error:
            core.world.down(one.name, error)


def _wanted(core: Core, header: Header, tag: str | None, *, stale: bool) -> bool:
    until = header.expires if stale else header.fresh_until
    if until <= core.world.now() or (tag is not None and tag not in header.tags):
        return False
    standing = life(core, header)
    return standing == "current" or (stale and standing == "stale")


def is_valid(core: Core, header: Header) -> bool:
    """Is the entry alive by its marks, though it may have been marked stale?"""
    return life(core, header) != "dead"


def life(core: Core, header: Header) -> Life:
    """What the authority says of the entry's marks."""
    versions = core.ports.versions.current(header.ref.namespace, [mark.name for mark in header.marks])
    return life_of(header.marks, versions)


def list_keys(calls: Calls, pattern: str, tag: str | None, namespace: str | None) -> Iterator[str]:
    """The keys of fresh entries that match; arguments are checked at once, not at the first key."""
    name = calls.namespace if namespace is None else check_namespace(namespace)
    wanted, tag = Pattern.parse(pattern), None if tag is None else check_tag(tag)
    entries = list_entries(calls.core, name, wanted, tag=tag) if calls.core.config.enabled else ()
    return (entry.header.ref.key for entry in entries)
