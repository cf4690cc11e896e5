"""What a tier is: a place that keeps entries as bytes, does as it is told, and decides nothing.

A tier never raises for what it finds: bytes that are not an entry are handed up as they are (the codec says
`CorruptEntry`), and a store that can't answer raises `TierUnavailable` and nothing else.

What a tier may do beyond `Tier` is looked for by its name, and one of a user's own does well without:

    remove_each(refs)                     as `remove`, answered by those that were there
    ready(), make_ready(thread)           would this thread read without waiting for anybody; let another one
    on_loop(plan), close_on_loop()        performs what `plans` and `version_plans` give, on an event loop
    maintain(now), take_left()            work beside the calls; how many entries left since, by reason
    verify(repair)                        reads every entry, for ``verify`` and ``doctor``
    pace, tells_idle                      how its scans are paced (`walking`); whether they say what rests
    reclaim(dry_run)                      removes what died by a tag, as the authority over versions
    unused_versions(), forget_versions()  of that authority: the versions that nothing carries any more
    differences, change_limit(max_bytes)  where the store's own limit is another one; records one
    conduit                               the way to its server, and the breaker there
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from scoutcache.entry import Header, Listed, Ref, Row, Sealed, Usage
from scoutcache.patterns import Pattern

if TYPE_CHECKING:
    from scoutcache.server.breaker import Breaker

__all__ = ["AHEAD", "Allow", "Tier", "Versions", "breaker_of", "outranks"]

AHEAD: Final = 2.0
"""Seconds that a start may lie ahead of the clock without saying that the clock was set back."""


def outranks(there: int, start: int, now: float) -> bool:
    """Whether the entry there, by its start, stays where one with *start* is written: the later one wins.

    One that lies in the future was taken before the clock was set back, and gives way to any that does not.
    """
    return there > start and not (there > (now + AHEAD) * 1e9 >= start)


Allow = Callable[[Header], bool]
"""Asked inside the write, with the store's write lock held: may this entry still be kept?"""


@runtime_checkable
class Tier(Protocol):
    """One tier.  Times are seconds since the epoch; *now* is always the caller's."""

    name: str
    blocking: bool
    """True when a write may wait for another process's lock: an event loop hands it to a thread."""

    def read(self, ref: Ref, now: float) -> Sealed | None:
        """The entry, or None when it is absent or expired."""

    def read_many(self, refs: Sequence[Ref], now: float) -> dict[Ref, Sealed]:
        """Those that are there, in as few round trips as the store can do."""

    def write(self, rows: Sequence[Row], now: float, allow: Allow | None = None) -> int:
        """Store them in one transaction and return how many were taken.

        An entry there with a later `Header.start` stays (see `outranks`); an entry that *allow* refuses isn't written.
        """

    def remove(self, refs: Sequence[Ref]) -> int:
        """Remove them and return how many were there."""

    def remove_matching(self, namespace: str, pattern: Pattern) -> int:
        """Remove every key that matches and return how many; memory stays flat."""

    def clear(self, namespace: str | None) -> int:
        """Remove a whole namespace, or everything for None."""

    def scan(self, namespace: str | None, pattern: Pattern | None = None) -> Iterator[Listed]:
        """List entries (expired ones too) in key order or any other, without reading values."""

    def count(self, namespace: str | None, pattern: Pattern | None, now: float) -> int:
        """How many unexpired entries match."""

    def prune(self, now: float, *, older_than: float | None = None, max_bytes: int | None = None,
              dry_run: bool = False) -> dict[str, int]:  # fmt: skip
        """Remove what is expired, created more than *older_than* seconds ago, or too much for *max_bytes*.

        Returns counts: ``{"expired": …, "older": …, "oversize": …, "orphaned": …}``.
        """

    def usage(self) -> Usage:
        """How full it is."""

    def close(self) -> None:
        """Let go of files and connections; idempotent."""


def breaker_of(tier: Tier) -> Breaker | None:
    """The breaker of the tier's server; None where there is none."""
    return getattr(getattr(tier, "conduit", None), "breaker", None)


@runtime_checkable
class Versions(Protocol):
    """The one authority over tag versions of a cache.  Versions are random, so none is ever used twice."""

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """The versions there are; with *create* those missing are made."""

    def names(self, namespace: str, prefix: str) -> list[str]:
        """The names that begin with *prefix* and have a version."""

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """Give each name a new version, in one write: whatever carries the old one is dead.

        With *soft* it is the next one of the same life (`softened`), for those that have one: what carries it is stale.
        """
