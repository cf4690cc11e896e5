"""Store a value: mark it, seal it once, write it from the lowest tier up, tell the others.

Rule 1: the value is encoded before anything is written, so that a value which can't be stored changes nothing.
Rule 2: the lowest tier first, memory last: what memory has, the tiers below it had at that moment too.  Where memory
        may not take it, it loses what it has.
Rule 3: a write happens only if no invalidation since it began names the entry, asked inside the write; of two
        writers the later start wins, asked there as well.
Rule 4: whoever holds an older copy is told after the shared tiers have the new one.
Rule 5: writing a key others depend on renews its implicit tag, unless the value is equal to the stored one.  It does
        so after the write: whoever computed from the old value in between is refused by the announcement (rule 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scoutcache import events
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow, Remove, Renew
from scoutcache.engine.reading import Reading
from scoutcache.engine.world import World
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, NEVER, Encoded, Header, Live, Mark, Ref, Row
from scoutcache.errors import TierUnavailable

__all__ = ["Entry", "Lifetime", "Moment", "Writing"]

UNVERSIONED = 0
"""The version of a mark when the authority can't be asked; no authority ever gives it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a computation began: its stamp, and the end of the channel then."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an entry is fresh, and how long it may be served stale after that; in seconds."""

    fresh: float
    stale: float = 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A value to store, already encoded if its type needs that, with what the caller said about it."""

    ref: Ref
    live: Live
    encoded: Encoded | None
    lifetime: Lifetime
    cost: float | None = None


class Writing:
    """Writes for one cache."""

    def __init__(self, world: World, reading: Reading) -> None:
        self._world = world
        self._reading = reading

    def moment(self) -> Moment:
        """Now, for a computation that begins.

        The position before the stamp: who writes between the two is the earlier one, and must be heard of.
        """
        end = self._world.applied()
        return Moment(self._world.stamp(), end)

    def entry(self, ref: Ref, value: Any, lifetime: Lifetime, cost: float | None = None) -> Entry:
        """*value* made ready to be stored; raises `SerializationError`."""
        live, encoded = self._world.codec.hold(value)
        return Entry(ref, live, encoded, lifetime, cost)

    def store(
        self, entries: Sequence[Entry], began: Moment, *, tags: Iterable[str] = (), depends_on: Sequence[str] = ()
    ) -> Flow[int]:
        """Store *entries* of one namespace; return how many some tier took.  A lifetime of 0 is: do not store."""
        kept = [entry for entry in entries if entry.lifetime.fresh > 0]
        if not kept:
            return 0
        namespace = kept[0].ref.namespace
        depends_on = (yield from self._resolved(namespace, depends_on)) if depends_on else ()
        names = [NAMESPACE_MARK, *tags, *(KEY_MARK + key for key in depends_on)]
        try:
            refs = [entry.ref for entry in kept]
            versions = yield from self._versions(namespace, names, refs, depends=bool(depends_on))
        except TierUnavailable as error:
            self._world.down(error.tier, error)
            return (yield from self._store_in_memory(kept, began, names))
        marks = tuple([Mark(name, versions[name]) for name in names])
        rows = [self._row(entry, began, marks) for entry in kept]
        changed = yield from self._changed_for_dependents(rows, versions)
        taken = yield from self.write(rows, began.end)
        try:
            changed += yield from self._late_dependents(namespace, rows, versions)
            if changed:
                yield from self.renew(namespace, changed)
        except TierUnavailable as error:
            self._world.down(error.tier, error)
        return taken

    def _resolved(self, namespace: str, depends_on: Sequence[str]) -> Flow[Sequence[str]]:
        """Those keys, and what they depend on in turn: their entries say all of it, so one look is enough."""
        standing = yield from self.standing([Ref(namespace, key) for key in depends_on])
        further = [key for header, _ in standing.values() for key in header.depends_on]
        return list(dict.fromkeys([*depends_on, *further]))

    def standing(self, refs: Sequence[Ref]) -> Flow[dict[Ref, tuple[Header, Live]]]:
        """What there is of *refs*: in the tiers below memory, or where they don't have it in memory."""
        world = self._world
        found = yield from self._reading.find(refs, promote=False)
        standing = {ref: (one.header, one.live) for ref, one in found.items()}
        unseen = [ref for ref in refs if ref not in standing]
        if unseen and world.memory is not None:
            for ref, sealed in (yield from effects.read(world.memory, unseen)).items():
                opened = world.codec.open(ref, sealed)
                standing[ref] = opened.header, opened.live
        return standing

    def _store_in_memory(self, entries: Sequence[Entry], began: Moment, names: Sequence[str]) -> Flow[int]:
        """Without the authority there are no versions: only memory, which is told of each event, may keep it."""
        if self._world.memory is None:
            return 0
        marks = tuple([Mark(name, UNVERSIONED) for name in names])
        rows = [self._row(entry, began, marks) for entry in entries]
        return (yield from self._write_level(self._world.memory, rows, began.end))

    def _versions(
        self, namespace: str, names: list[str], refs: Sequence[Ref], *, depends: bool
    ) -> Flow[dict[str, int]]:
        """The versions of *names*, and of the implicit tags of *refs* that somebody depends on."""
        depended = yield from effects.current(namespace, [DEPENDED_MARK])
        own = (yield from effects.current(namespace, [KEY_MARK + ref.key for ref in refs])) if depended else {}
        if depends and not depended:
            yield from effects.current(namespace, [DEPENDED_MARK], create=True)
            yield from effects.announce(self._world.message("mark", namespace, [DEPENDED_MARK]))
        return own | (yield from effects.current(namespace, names, create=True))

    def _row(self, entry: Entry, began: Moment, marks: tuple[Mark, ...]) -> Row:
        now = self._world.now()
        own = KEY_MARK + entry.ref.key  # in a circle of dependencies an entry would die of its own write
        if len(marks) > 1:
            marks = tuple([mark for mark in marks if mark.name != own])
        header = Header(
            ref=entry.ref,
            start=began.start,
            created=now,
            fresh_until=now + entry.lifetime.fresh,
            expires=now + entry.lifetime.fresh + entry.lifetime.stale,
            marks=marks,
            cost=entry.cost,
        )
        return Row(header, entry.live, lambda: self._world.codec.seal(header, entry.live, entry.encoded))

    def _changed_for_dependents(self, rows: Sequence[Row], versions: Mapping[str, int]) -> Flow[list[str]]:
        """The implicit tags to renew once *rows* are written."""
        awaited = {row.header.ref: row for row in rows if KEY_MARK + row.header.ref.key in versions}
        stored = (yield from self.standing(list(awaited))) if awaited else {}
        return [
            KEY_MARK + ref.key
            for ref, row in awaited.items()
            if ref not in stored or not self._equal(stored[ref][1], row.live)
        ]

    def _equal(self, stored: Live, new: Live) -> bool:
        if type(stored.held) is not type(new.held) or stored.held != new.held:
            return False
        # 1, 1.0 and True are equal, and so are tuples of them, but not as they are stored.
        nested = isinstance(new.held, tuple | frozenset)
        return not nested or self._world.codec.encode(stored.held) == self._world.codec.encode(new.held)

    def _late_dependents(self, namespace: str, rows: Sequence[Row], versions: Mapping[str, int]) -> Flow[list[str]]:
        """The implicit tags that came into being while *rows* were written: who made them may know the old values."""
        names = [name for row in rows if (name := KEY_MARK + row.header.ref.key) not in versions]
        if not (yield from effects.current(namespace, [DEPENDED_MARK])):
            return []
        return list((yield from effects.current(namespace, names)))

    def renew(self, namespace: str, names: Sequence[str], reason: str | None = None) -> Flow[None]:
        """Announce, renew, announce again: whatever carries one of the marks *names* is dead."""
        message = self._world.message("mark", namespace, names, reason)
        yield from effects.announce(message)
        yield Renew(namespace, names)
        yield from effects.announce(message)

    def write(self, rows: Sequence[Row], end: int) -> Flow[int]:
        """Write sealed rows from the lowest tier up; return the most any tier took."""
        world = self._world
        taken: dict[int, int] = {}
        for level in reversed(world.lower):
            taken[level] = yield from self._write_level(level, rows, end)
        if any(taken.values()) and world.shared:
            yield from self._tell(rows)
        if world.memory is not None:
            refused: list[Ref] = []
            taken[world.memory] = yield from self._write_level(world.memory, rows, end, refused)
            if refused:
                # What a reader promoted between the write below and its announcement is older than what is there.
                yield Remove(world.memory, refused)
        self._say_stored(rows, [world.names[level] for level in sorted(taken) if taken[level]])
        return max(taken.values(), default=0)

    def _say_stored(self, rows: Sequence[Row], tiers: Sequence[str]) -> None:
        hooks = self._world.hooks
        if tiers and hooks.wants("stored"):
            for row in rows:
                header = row.header
                ttl = header.fresh_until - header.created
                hooks.emit(events.Stored(*header.ref, tuple(tiers), row.live.size, ttl))

    def _tell(self, rows: Sequence[Row]) -> Flow[None]:
        world = self._world
        message = world.message("written", rows[0].header.ref.namespace, [row.header.ref.key for row in rows])
        try:
            yield from effects.announce(message)
        except TierUnavailable as error:
            world.down("journal", error)

    def _write_level(self, level: int, rows: Sequence[Row], end: int, refused: list[Ref] | None = None) -> Flow[int]:
        """Write to one tier; *refused* collects what an announcement forbade, not what was older than the tier's."""
        allow = self._reading.unless_announced(level, end)

        def ask(header: Header) -> bool:
            allowed = allow(header)
            if not allowed and refused is not None:
                refused.append(header.ref)
            return allowed

        doubt = self._world.doubts[level]
        try:
            taken = yield from effects.write(level, rows, allow if refused is None else ask)
        except TierUnavailable as error:
            if level != self._world.memory:  # or an older entry there would answer for these
                spaces = {row.header.ref.namespace for row in rows}
                doubt.about([row.header.ref for row in rows], [effects.Clear(level, space) for space in spaces])
            self._world.down(self._world.names[level], error)
            return 0
        if doubt and taken == len(rows):
            doubt.settle([row.header.ref for row in rows])
        return taken


def lifetime(ttl: float, stale: float | None) -> Lifetime:
    """A lifetime from settings: an unlimited ttl can't be stale."""
    return Lifetime(ttl, 0.0 if ttl == NEVER else stale or 0.0)
