"""Mark stale: announce, make what is there stale, announce again.

Rule 1: what is marked stale may still be served where a stale value may (`get_or_compute`), until it expires.
Rule 2: for tags it is one write at the authority, the next version of the same life.  For keys and patterns the entries
        below memory are written again, fresh until now; memory does the same when it hears of it, in every process.
Rule 3: it beats a computation that began before it, as an invalidation does.
Rule 4: an entry is written again only as long as nothing was announced since it was read.  Where that fails time and
        again, because others are at the same key, it is removed: that is the stronger word.  So it is in a tier that
        lags, where what is read may have been removed before and would come back.
Rule 5: so it is where a tier can't be told: the tier isn't believed, and what it has is removed when it answers.
Rule 6: what this process can't read others may: it is written again as it is, or removed where it can't be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from scoutcache.coherence.messages import Action, Message
from scoutcache.engine import effects
from scoutcache.engine.effects import Erase, Flow, Remove, Renew
from scoutcache.engine.reading import Reading
from scoutcache.engine.removing import Removing
from scoutcache.engine.world import World
from scoutcache.engine.writing import Writing
from scoutcache.entry import KEY_MARK, Encoded, Header, Live, Ref, Row
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.patterns import Pattern
from scoutcache.wire.unknown import UnknownType

__all__ = ["Staling"]

_ATTEMPTS = 3


class Staling:
    """Marks entries of one cache stale."""

    def __init__(self, world: World, reading: Reading, writing: Writing, removing: Removing) -> None:
        self._world, self._reading, self._writing, self._removing = world, reading, writing, removing

    def announce(self, messages: Sequence[Message], unmarked: Collection[str] = ()) -> Flow[dict[str, str]]:
        """Say what is going to be, or has been, marked, if not in *unmarked*; what could not be told, and why."""
        failed: dict[str, str] = {}
        for message in messages:
            failed |= (yield from self._removing.announce(self._world.over(message, unmarked))).failed
        return failed

    def tags(
        self, namespace: str, tags: Sequence[str], action: Action, *, cascade: bool, reason: str | None
    ) -> Flow[dict[str, str]]:
        """Every entry that carries one of *tags* is stale, and with *cascade* whatever depends on one.

        The tier that could not be told, and why.
        """
        if not cascade:
            return (yield from self._renew(namespace, tags, action, reason))
        removing, failed = self._removing, dict[str, str]()
        try:
            keys = yield from removing.depended_on(namespace)
            names = yield from removing.with_dependents(namespace, tags, keys)
            failed |= yield from self._renew(namespace, names, action, reason)
            names = yield from removing.late_dependents(namespace, keys)
        except TierUnavailable:
            unmarked = yield from self._renew(namespace, removing.unresolved(namespace, tags), action, reason)
            if not unmarked:
                yield from removing.tell_unresolved(namespace, tags, reason, action)
            return failed | unmarked
        return failed | (yield from self._renew(namespace, names, action, reason))

    def dependents(
        self, namespace: str, keys: Sequence[str], action: Action, reason: str | None
    ) -> Flow[dict[str, str]]:
        """Whatever depends on one of *keys* is stale; the tier that could not be told, and why."""
        names = [KEY_MARK + key for key in keys]
        with suppress(TierUnavailable):  # then it is all of them
            names = list((yield from effects.current(namespace, names)))
        return (yield from self._renew(namespace, names, action, reason))

    def _renew(
        self, namespace: str, names: Sequence[str], action: Action, reason: str | None
    ) -> Flow[dict[str, str]]:
        try:
            if names:
                yield from self._writing.renew(namespace, names, reason, action)
        except TierUnavailable as error:
            return self._removing.owe(Renew(namespace, names), error)
        return {}

    def mark(self, refs: Sequence[Ref]) -> Flow[dict[str, str]]:
        """Write *refs* again below memory, fresh until now; the tiers that could not, and why.

        To be called between the two announcements.
        """
        failed: dict[str, str] = {}
        for level in self._world.lower:
            try:
                yield from self._mark(level, refs)
            except TierUnavailable as error:
                self._removing.doubt(Remove(level, refs))  # Rule 5
                self._world.down(error.tier, error)
                failed[error.tier] = error.reason
        return failed

    def unread(self, tiers: Collection[str], namespace: str, patterns: Sequence[Pattern], keys: Iterable[str]) -> None:
        """*tiers* could not be searched for what was to be marked, so they owe its removal (Rule 5)."""
        refs = [Ref(namespace, key) for key in keys]
        for level in self._world.lower:
            if self._world.names[level] in tiers:
                for pattern in patterns:
                    self._removing.doubt(Erase(level, namespace, pattern))
                self._removing.doubt(Remove(level, refs))

    def _mark(self, level: int, refs: Sequence[Ref]) -> Flow[None]:
        if level in self._world.lagging:
            yield Remove(level, list(refs))
            return
        for _ in range(_ATTEMPTS):
            end = self._world.applied()
            rows, unknown = yield from self._fresh_rows(level, refs)
            if unknown:
                yield Remove(level, unknown)
            if not rows:
                return
            self._world.ended([row.header.ref for row in rows])
            yield from effects.write(level, rows, self._reading.unless_announced(level, end))
            refs = [row.header.ref for row in rows]
        rows, unknown = yield from self._fresh_rows(level, refs)
        if unknown or rows:
            yield Remove(level, [*unknown, *(row.header.ref for row in rows)])

    def _fresh_rows(self, level: int, refs: Sequence[Ref]) -> Flow[tuple[list[Row], list[Ref]]]:
        """Those that are still fresh, as they are to be; and those that can't be written again."""
        now, rows, unknown = self._world.now(), list[Row](), list[Ref]()
        for ref, sealed in (yield from effects.read(level, refs)).items():
            try:
                header, live, encoded = self._world.codec.anew(ref, sealed)
            except CorruptEntry:
                continue  # nobody can be served it
            except UnknownType:
                unknown.append(ref)
                continue
            if header.fresh_until > now:
                rows.append(self._row(header.aged(now), live, encoded))
        return rows, unknown

    def _row(self, header: Header, live: Live, encoded: Encoded | None) -> Row:
        return Row(header, live, lambda: self._world.codec.seal(header, live, encoded))
