"""What an invalidation is aimed at, and which entries that is.

Patterns, keys and tags unite; ``match="all"`` intersects them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple

from scoutcache.calls.calls import Calls, Key, several, tag_names
from scoutcache.calls.listing import is_valid
from scoutcache.core.core import Core
from scoutcache.entry import Header
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.keys import check_namespace, key_text
from scoutcache.patterns import Pattern, escape
from scoutcache.tiers.base import Tier

__all__ = [
    "BATCH", "SAMPLE", "Match", "Survey", "Target", "fresh_keys", "sample_of", "some_keys", "survey_of", "target_of",
]  # fmt: skip

Match = Literal["any", "all"]

SAMPLE = 20
"""How many keys a result names."""

LOOKED = 10_000
"""How many entries of a tier are looked at for a pattern to name some keys: some hundredths of a second on disk."""

BATCH = 500
"""How many keys an intersection removes at a time, so that memory stays flat."""


MANY = 16
"""Keys up to which each is looked for by itself, beside one pattern; more are found by one scan."""


class Target(NamedTuple):
    """What is to die, checked."""

    namespace: str
    patterns: tuple[Pattern, ...]
    keys: frozenset[str]
    tags: tuple[str, ...]
    match: Match

    @property
    def wider(self) -> Target:
        """Of an intersection one part, which can be told to a tier that nobody can search for all of them."""
        if self.keys:
            return self._replace(patterns=(), tags=(), match="any")
        if self.tags:
            return self._replace(patterns=(), tags=self.tags[:1], match="any")
        return self._replace(patterns=self.patterns[:1], match="any")

    def takes(self, header: Header) -> bool:
        """Is this entry one of them?"""
        key = header.ref.key
        says = [*(pattern.matches(key) for pattern in self.patterns), *(tag in header.tags for tag in self.tags)]
        if self.keys:
            says.append(key in self.keys)
        return bool(says) and (all(says) if self.match == "all" else any(says))


@dataclass(slots=True)
class Survey:
    """What a scan found.  None is unknown: of a tier that could not be counted, and in all where none could be."""

    matched: int | None = 0
    by_tier: dict[str, int | None] = field(default_factory=dict)
    sample: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def more(self) -> dict[str, Any]:
        """What a result takes over as it is."""
        return {"by_tier": self.by_tier, "sample": tuple(self.sample), "failed": self.failed}


def target_of(
    calls: Calls,
    patterns: Iterable[str],
    keys: Iterable[Key] = (),
    tags: Iterable[str] = (),
    match: Match = "any",
    namespace: str | None = None,
) -> Target:
    """The target as the caller wrote it, checked; raises `InvalidKey` or `CacheError`."""
    if match not in ("any", "all"):
        raise CacheError(f"match is 'any' or 'all', not {match!r}")
    target = Target(
        calls.namespace if namespace is None else check_namespace(namespace),
        tuple(dict.fromkeys([Pattern.parse(text) for text in several(patterns, "patterns")])),
        frozenset(key_text(key) for key in several(keys, "keys")),
        tuple(tag_names(several(tags, "tags"))),  # None would be less than was meant, or more
        match,
    )
    if not (target.patterns or target.keys or target.tags):
        raise CacheError("nothing to invalidate was named", hint="name a pattern, a key or a tag")
    return target


def some_keys(core: Core, target: Target, most: int = BATCH, failed: dict[str, str] | None = None) -> list[str]:
    """At most so many keys of entries of *target*; *failed* takes the tiers that could not be searched, and why."""
    keys: dict[str, None] = {}
    for _, header in _matching(core, target, {} if failed is None else failed, unchecked=True):
        keys[header.ref.key] = None
        if len(keys) == most:
            break
    return list(keys)


def sample_of(core: Core, target: Target) -> list[str]:
    """Up to `SAMPLE` keys that the patterns of *target* match, among the first `LOOKED` that may be there."""
    found: dict[str, None] = {}
    for tier in core.tiers:
        for pattern in target.patterns:
            for key in _looked_at(core, tier, target.namespace, pattern):
                found[key] = None
                if len(found) == SAMPLE:
                    return list(found)
    return list(found)


def _looked_at(core: Core, tier: Tier, namespace: str, pattern: Pattern) -> Iterator[str]:
    # By the beginning alone a tier hands up what doesn't match as well, so that what is looked at is bounded.
    beginning, now = Pattern.parse(f"{escape(pattern.prefix)}*"), core.world.now()
    try:
        for entry in islice(tier.scan(namespace, beginning), LOOKED):
            header = entry.header
            if pattern.matches(header.ref.key) and header.expires > now and is_valid(core, header):
                yield header.ref.key
    except TierUnavailable:
        return  # the removal itself says so


def survey_of(core: Core, target: Target) -> Survey:
    """Count the entries of *target*, by a scan over the tiers."""
    survey = Survey()
    above: set[str] = set()
    last = core.tiers[-1].name
    matched, by_tier, uncounted = 0, dict[str, int](), set[str]()
    for tier, header in _matching(core, target, survey.failed, uncounted):
        by_tier[tier] = by_tier.get(tier, 0) + 1
        key = header.ref.key
        if key not in above:
            matched += 1
            if len(survey.sample) < SAMPLE:
                survey.sample.append(key)
        if tier != last:
            above.add(key)
    survey.by_tier = {tier.name: None if tier.name in uncounted else by_tier.get(tier.name, 0) for tier in core.tiers}
    shared = {tier.name for tier in core.tiers if tier is not core.memory}
    survey.matched = None if shared and shared <= uncounted else matched
    return survey


def _matching(
    core: Core, target: Target, failed: dict[str, str], uncounted: set[str] | None = None, *, unchecked: bool = False
) -> Iterator[tuple[str, Header]]:
    """The entries of *target* in each tier; *uncounted* takes the tiers of which it is not known what is valid.

    Those *unchecked* for their authority is away, too, if wanted: they may be valid when it is back.
    """
    core.follower.sync()
    now, scans = core.world.now(), _scans(target)
    for tier in core.tiers:
        try:
            for header in _scanned(tier, target.namespace, scans):
                if header.expires > now and target.takes(header):
                    valid = _checked(core, header, failed)
                    if valid is None and uncounted is not None:
                        uncounted.add(tier.name)
                    if unchecked if valid is None else valid:
                        yield tier.name, header
        except TierUnavailable as error:
            failed[error.tier] = error.reason
            if uncounted is not None:
                uncounted.add(tier.name)


def _checked(core: Core, header: Header, failed: dict[str, str]) -> bool | None:
    """Is it valid?  None where the authority can't be asked, which *failed* takes."""
    try:
        return is_valid(core, header)
    except TierUnavailable as error:
        failed[error.tier] = error.reason
        return None


def _scanned(tier: Tier, namespace: str, scans: Sequence[Pattern | None]) -> Iterator[Header]:
    """What the *scans* of a tier bring up, none of it twice."""
    for number, pattern in enumerate(scans):
        for entry in tier.scan(namespace, pattern):
            key = entry.header.ref.key
            if not any(one is None or one.matches(key) for one in scans[:number]):
                yield entry.header


def _scans(target: Target) -> list[Pattern | None]:
    """The patterns one of which every match satisfies, so that a tier needn't list the rest; None lists all.

    Of patterns with wildcards there is one: for each of them a server walks over all that it has.
    """
    keys = [Pattern.parse(escape(key)) for key in islice(target.keys, MANY + 1)]
    if target.match == "all":
        narrow = list(target.patterns[:1] or keys)
    else:
        narrow = [] if target.tags else [*target.patterns, *keys]
    wild = sum(one.literal is None for one in narrow)
    return [*narrow] if 0 < len(narrow) <= MANY and wild <= 1 else [None]


def fresh_keys(core: Core, target: Target, failed: dict[str, str]) -> Iterator[str]:
    """The keys of fresh entries of *target*, as they are found; some may come twice."""
    now = core.world.now()
    for _, header in _matching(core, target, failed, unchecked=True):
        if header.fresh_until > now:
            yield header.ref.key
