"""What the tiers of a cache hold, listed as a user sees it: valid entries only, each key once.

What a policy keeps out of the tier it lies in, which it may from before that policy, is not read there, nor listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from scoutcache.calls.calls import Calls
from scoutcache.core.core import Core
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow
from scoutcache.engine.reading import Found
from scoutcache.entry import UNVERSIONED, Header, Life, Listed, Ref, life_of
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.keys import asked_for, check_namespace, check_tag
from scoutcache.patterns import Pattern
from scoutcache.wire.unknown import UnknownType

if TYPE_CHECKING:
    from scoutcache.calls.walking import Walk
    from scoutcache.tiers.base import Tier

__all__ = ["forbidden", "is_valid", "known", "life", "list_entries", "list_keys", "scanned", "tiers_with"]


def tiers_with(core: Core, ref: Ref, since: float, without: str | None = None) -> list[str]:
    """The tiers below memory that have what was written of *ref* since then; *without* one that failed."""
    found = []
    for tier in core.tiers:
        if tier is core.memory or tier.name == without:
            continue
        with suppress(TierUnavailable):
            sealed = tier.read(ref, since)
            if sealed is not None and core.world.codec.open(ref, sealed).header.created >= since:
                found.append(tier.name)
    return found


def known(calls: Calls, ref: Ref) -> Flow[Found | None]:
    """The entry of *ref*; where nobody can say whether it is valid, what the tiers that answer have all the same.

    For counts, which nothing invalidates.
    """
    found = yield from calls.find(ref.key, ref.namespace)
    if found is not None:
        return found
    world, reasons = calls.core.world, dict[Ref, str]()
    yield from calls.core.reading.find_one(ref, reasons, promote=False)
    for level in world.lower if reasons.get(ref) == "unavailable" else ():
        with suppress(TierUnavailable, CorruptEntry, UnknownType):
            if (sealed := (yield from effects.read(level, [ref])).get(ref)) is not None:
                return world.codec.open(ref, sealed, world.names[level])
    return None


def list_entries(
    core: Core,
    namespace: str | None,
    pattern: Pattern | None = None,
    *,
    tag: str | None = None,
    tier: str | None = None,
    stale: bool = False,
    unchecked: bool = False,
    walk: Walk | None = None,
) -> Iterator[Listed]:
    """Valid entries, each once, from the highest tier that has it; *namespace* None is all of them.

    Memory stays flat but for the keys of the upper tiers.  Stale entries only with *stale*.  A tier that can't answer
    is left out and told to the hooks; where that is the authority over versions, what others hold is listed only with
    *unchecked*.  A *walk* paces the listing, begins where it says, and may break it off.
    """
    core.follower.sync()
    wanted = _Wanted(core, tag, stale=stale, unchecked=unchecked)
    names = [one.name for one in core.tiers]
    resumed = walk is not None and walk.begin is not None
    listed: set[Ref] = set()
    for one in core.tiers:
        if tier not in {None, one.name} or (walk is not None and not walk.enters(one.name, names)):
            continue
        last, level = one is core.tiers[-1], names.index(one.name)
        above = [other for other in core.tiers[:level] if other is not core.memory]
        try:
            for batch in _batches(scanned(one, namespace, pattern, walk), 500 if resumed and above else 1):
                there = _listed_before(core, above, batch) if resumed and tier is None else listed
                for entry in batch:
                    ref = entry.header.ref
                    if ref in there or ref in listed or not core.world.allows(level, ref):
                        continue
                    if wanted(entry.header):
                        if not last:
                            listed.add(ref)
                        yield entry
        except TierUnavailable as error:
            core.world.down(error.tier, error)


def scanned(tier: Tier, namespace: str | None, pattern: Pattern | None, walk: Walk | None) -> Iterator[Listed]:
    """What one tier holds, dead and expired entries too, paced by *walk*.  Raises `TierUnavailable`."""
    if walk is None:
        yield from tier.scan(namespace, pattern)
    elif hasattr(tier, "pace"):
        tier.pace = walk
        yield from tier.scan(namespace, pattern)
    elif tier.name == "disk":
        yield from _disk_pages(tier, namespace, pattern, walk)
    else:
        yield from tier.scan(namespace, pattern)


def forbidden(core: Core, tier: Tier) -> Iterator[Ref]:
    """What *tier* holds though its policy keeps it out of there, from before that policy.  Raises `TierUnavailable`."""
    level = core.tiers.index(tier)
    for entry in () if core.world.policy is None or tier is core.memory else tier.scan(None):
        if not core.world.allows(level, entry.header.ref):
            yield entry.header.ref


def _disk_pages(tier: Any, namespace: str | None, pattern: Pattern | None, walk: Walk) -> Iterator[Listed]:
    from scoutcache.tiers.disk.paging import pages

    what = asked_for(namespace, None if pattern is None else pattern.text)
    begin = walk.from_(tier.name, what, [""])
    for found, last in pages(tier, namespace, pattern, begin[1]) if begin is not None else ():
        yield from found
        if last is None or not walk.goes_on(tier.name, what, "", last):
            return


def _listed_before(core: Core, above: Sequence[Tier], batch: Sequence[Listed]) -> set[Ref]:
    """Those that an upper tier has: they were listed before the walk was broken off."""
    refs, now = [entry.header.ref for entry in batch], core.world.now()
    found: set[Ref] = set()
    for tier in above:
        try:
            found.update(tier.read_many(refs, now))
        except TierUnavailable as error:
            core.world.down(error.tier, error)
    return found


def _batches(entries: Iterator[Listed], size: int) -> Iterator[Sequence[Listed]]:
    if size == 1:
        yield from ((entry,) for entry in entries)
        return
    while batch := list(islice(entries, size)):
        yield batch


class _Wanted:
    """Is an entry to be listed?"""

    def __init__(self, core: Core, tag: str | None, *, stale: bool, unchecked: bool) -> None:
        self._core, self._tag, self._stale = core, tag, stale
        self._unchecked, self._unknown = unchecked, False

    def __call__(self, header: Header) -> bool:
        until = header.expires if self._stale else header.fresh_until
        if until <= self._core.world.now() or (self._tag is not None and self._tag not in header.tags):
            return False
        standing = self._standing(header)
        return standing == "current" or (self._stale and standing == "stale")

    def _standing(self, header: Header) -> Life:
        if self._unknown:
            return "current"
        try:
            return life(self._core, header)
        except TierUnavailable:
            if not self._unchecked:
                raise
            self._unknown = True  # once is enough: the next answer would cost a timeout again
            return "current"


def is_valid(core: Core, header: Header) -> bool:
    """Is the entry alive by its marks, though it may have been marked stale?"""
    return life(core, header) != "dead"


def life(core: Core, header: Header) -> Life:
    """What the authority says of the entry's marks; memory may have one that it was never asked about."""
    if any(mark.version == UNVERSIONED for mark in header.marks):
        return "current"  # what ended it would have been heard of, and have taken it from there
    if core.ports.versions.are_current(header.ref.namespace, header.marks):
        return "current"
    versions = core.ports.versions.current(header.ref.namespace, [mark.name for mark in header.marks])
    return life_of(header.marks, versions)


def list_keys(calls: Calls, pattern: str, tag: str | None, namespace: str | None) -> Iterator[str]:
    """The keys of fresh entries that match; arguments are checked at once, not at the first key."""
    calls.core.check_open()
    name = calls.namespace if namespace is None else check_namespace(namespace)
    wanted, tag = Pattern.parse(pattern), None if tag is None else check_tag(tag)
    entries = list_entries(calls.core, name, wanted, tag=tag) if calls.core.config.enabled else ()
    return (entry.header.ref.key for entry in entries)
