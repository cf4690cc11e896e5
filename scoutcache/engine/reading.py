"""Look into the tiers from the highest down, judge what was found, and promote what is asked for again.

Rule 1: an entry answers only if it is whole, unexpired, and every mark it carries is current at the authority.  Where
        one was only softened since (`same_life`), the entry is stale.
Rule 2: bytes that are not an entry are a miss, are reported, and are removed; an entry of a type this process doesn't
        know, or signed with a key it hasn't, is a miss with a warning, and stays.  Who asks for no value is told of it
        as of any other (*unread*).
Rule 3: a promotion is a write.  What was applied of the channel is noted before the lower tier is read, and the copy
        goes up only if nothing since then names it, be it a write of this very process; otherwise a slow reader would
        bring a dead value back to life.
Rule 4: promotion carries the remaining time to live, because it copies the header.
Rule 5: from a tier that lags behind the messages nothing goes up, and nothing is renewed: what it says may be dead,
        and nobody will say so again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from scoutcache import events
from scoutcache.coherence.messages import Message, invalidates
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow, ReadOne
from scoutcache.engine.moments import Here, Known, Told
from scoutcache.engine.renewing import Renewing
from scoutcache.engine.world import Warmth, World
from scoutcache.entry import Header, Life, Ref, Row, Sealed, life_of
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.wire.codec import Opened
from scoutcache.wire.unknown import UnknownType

__all__ = ["Found", "Reading"]


Found = Opened
"""A valid entry, stale ones too, and the tier that had it."""


class Reading:
    """Reads for one cache."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._warmth = Warmth()
        self.renewing = Renewing(world, self)

    def find_one(self, ref: Ref, reasons: dict[Ref, str] | None = None, *, promote: bool = True) -> Flow[Found | None]:
        """The valid entry of *ref* below memory; *reasons* is told why it missed."""
        world = self._world
        here = world.here()
        for level in world.lower:
            if (doubt := world.doubts[level]) and doubt.covers(ref):
                continue
            if world.policy is not None and not world.allows(level, ref):
                continue
            try:
                sealed: Sealed | None = yield ReadOne(level, ref)
            except TierUnavailable as error:
                self._missed_out(error, [ref], reasons, world.names[level])
                continue
            if sealed is None:
                continue
            found = self._sound(level, ref, sealed) or (yield from self._judge(level, ref, sealed, reasons))
            if found is not None:
                if promote and world.sliding is not None:
                    found, sealed = yield from self._renew(level, found, sealed, here)
                if promote and level and level not in world.lagging:
                    yield from self._promote(level, found, sealed, here)
                return found
        return None

    def _sound(self, level: int, ref: Ref, sealed: Sealed) -> Found | None:
        """What was found, if it is whole, unexpired and known to be current; else `_judge` must look closer.

        Most entries are, and for them a flow of its own would cost a third of the whole read.
        """
        world = self._world
        try:
            found = world.codec.open(ref, sealed, world.names[level])
        except (CorruptEntry, UnknownType):
            return None
        header = found.header
        if header.expires <= world.now() or not world.is_current(ref[0], header.marks):
            return None
        return None if world.is_owed(ref[0], header.marks) else found

    def find(
        self, refs: Sequence[Ref], reasons: dict[Ref, str] | None = None, *, promote: bool = True,
        unread: dict[Ref, Header] | None = None,
    ) -> Flow[dict[Ref, Found]]:  # fmt: skip
        """The valid entries among *refs* below memory, in as few round trips as the tiers can do.

        *unread* takes the headers of those whose values this process can't read, for who needs no values.
        """
        world = self._world
        here = world.here()
        found: dict[Ref, Found] = {}
        wanted = list(dict.fromkeys(refs))
        for level in world.lower:
            held = (yield from self._read_level(level, wanted, reasons)) if wanted else {}
            for ref, sealed in held.items():
                one = self._sound(level, ref, sealed) or (yield from self._judge(level, ref, sealed, reasons, unread))
                if one is not None:
                    stored = sealed
                    if promote and world.sliding is not None:
                        one, stored = yield from self._renew(level, one, sealed, here)
                    found[ref] = one
                    if promote and level and level not in world.lagging:
                        yield from self._promote(level, one, stored, here)
            wanted = [ref for ref in wanted if ref not in found]
        return found

    def _read_level(
        self, level: int, refs: Sequence[Ref], reasons: dict[Ref, str] | None
    ) -> Flow[dict[Ref, Sealed]]:
        doubt = self._world.doubts[level]
        believed = [ref for ref in refs if not doubt.covers(ref)] if doubt else refs
        if self._world.policy is not None:
            believed = [ref for ref in believed if self._world.allows(level, ref)]
        if not believed:
            return {}
        try:
            return (yield from effects.read(level, believed))
        except TierUnavailable as error:
            self._missed_out(error, believed, reasons, self._world.names[level])
            return {}

    def _missed_out(
        self, error: TierUnavailable, refs: Iterable[Ref], reasons: dict[Ref, str] | None, tier: str
    ) -> None:
        """A tier that may have *refs* could not be asked for them, or whether they are still valid."""
        for ref in refs:
            _note(reasons, ref, "unavailable")
        self._world.down(tier, error)

    def _judge(
        self, level: int, ref: Ref, sealed: Sealed, reasons: dict[Ref, str] | None,
        unread: dict[Ref, Header] | None = None,
    ) -> Flow[Found | None]:  # fmt: skip
        world = self._world
        tier = world.names[level]
        try:
            found = world.codec.open(ref, sealed, tier)
        except CorruptEntry as error:
            _note(reasons, ref, "corrupt")
            world.hooks.emit(events.Corrupt(*ref, tier, str(error)))
            yield from self.remove_corrupt(level, ref)
            return None
        except UnknownType as error:
            if unread is not None and error.unread is not None:
                header = yield from self._alive(error.unread.header, reasons)
                unread.update({} if header is None else {ref: header})
                return None
            _note(reasons, ref, error.reason)
            world.hooks.emit(events.Unreadable(*ref, tier, str(error), error.remedy))
            return None
        header = yield from self._alive(found.header, reasons)
        return found if header is found.header else None if header is None else found._replace(header=header)

    def _alive(self, header: Header, reasons: dict[Ref, str] | None) -> Flow[Header | None]:
        """The header of what was found, if it may be served, stale perhaps."""
        world, ref = self._world, header.ref
        if header.expires <= world.now():
            _note(reasons, ref, "expired")
            return None
        if world.is_owed(ref.namespace, header.marks):
            _note(reasons, ref, "unavailable")
            return None
        try:
            life = yield from self._life(header)
        except TierUnavailable as error:  # what can't be checked can't be served
            self._missed_out(error, [ref], reasons, error.tier)
            return None
        if life == "current":
            return header
        if life == "dead" or header.fresh_until > world.now():  # else its time was over before
            _note(reasons, ref, "invalidated")
        return None if life == "dead" else header.aged(world.now())

    def remove_corrupt(self, level: int, ref: Ref) -> Flow[None]:
        """Take damaged bytes out of the way; a tier that can't is no reason to fail a read."""
        try:
            yield effects.Remove(level, [ref])
        except TierUnavailable as error:
            self._world.down(self._world.names[level], error)

    def _life(self, header: Header) -> Flow[Life]:
        """What the authority says of the marks of an entry.  Raises `TierUnavailable`."""
        world, namespace = self._world, header.ref.namespace
        if world.is_current(namespace, header.marks):
            return "current"
        versions = yield from effects.current(namespace, [mark.name for mark in header.marks])
        return life_of(header.marks, versions)

    def _renew(self, level: int, found: Found, sealed: Sealed, here: Here) -> Flow[tuple[Found, Sealed]]:
        """Renew the life of what was found if its policy says so; what was found as it is now."""
        row = yield from self.renewing.after_hit(level, found.header, found.live, here)
        return (found, sealed) if row is None else (found._replace(header=row.header), row.sealed)

    def _promote(self, level: int, found: Found, sealed: Sealed, here: Here) -> Flow[None]:
        ref = found.header.ref
        if self._warmth.hit(ref) < self._world.promote_on_hits:
            return
        self._warmth.forget(ref)
        row = Row(found.header, found.live, lambda: sealed)
        for above in range(level):
            if not self._world.allows(above, ref):
                continue
            allow = self.unless_announced(above, here.end, own=False, heard=here.noted)
            try:
                if (yield from effects.write(above, [row], allow)):
                    self._world.hooks.emit(events.Promoted(*ref, found.tier, self._world.names[above]))
            except TierUnavailable as error:
                self._world.down(self._world.names[above], error)

    def unless_announced(self, level: int, end: int, *, own: bool = True, heard: Known | None = None) -> Watch:
        """The question a tier asks inside the write: was nothing that forbids it announced after *end*?

        An invalidation that names the entry forbids it everywhere, and so does a write of a key it depends on.  A write
        of the key itself forbids only the copy in memory: the lower tiers compare starts themselves, but memory can't
        see what they kept.  With *own* this process's writes don't: the caller's is among them.  What *heard* was told
        already is not read again.
        """
        return Watch(self._world, end, in_memory=level == self._world.memory, own=own, heard=heard)


_MUCH: Final = 1 << 16
"""Bytes of messages."""


class Watch:
    """Which entries messages after *end* forbid.  Each message is read once, however many entries are asked for."""

    def __init__(self, world: World, end: int, *, in_memory: bool, own: bool, heard: Known | None = None) -> None:
        self._world, self._began, self._in_memory = world, end, in_memory
        self._read_to = end
        self._own_source = world.source if own else None
        self._gap = False
        self._invalidations: list[Message] = []
        self._matched: dict[Ref, int] = {}
        """How many of them don't name an entry that was asked for before."""
        self._written: set[Ref] = set()
        self._overwritten: set[Ref] = set()
        """Of those written, the ones whose copy in memory may be older than what the lower tiers kept."""
        self._heard = heard
        self._known: frozenset[Ref] | None = None
        """Whose writes were heard of; None: everything's, as far as it was read."""
        if heard is not None and (told := heard.told()) is not None:
            self._take_over(heard, told)

    def _take_over(self, heard: Known, told: Told) -> None:
        self._read_to, self._invalidations, self._known = told.end, told.invalidations, heard.refs
        self._written.update(told.changed)
        self._overwritten.update([ref for ref, sources in told.written.items() if sources != {self._own_source}])

    def prepare(self, rows: Sequence[Row]) -> None:
        """Look before the write at what may be much, so that inside it there is little left to look at."""
        if self._heard is not None or self._world.end() - self._read_to > _MUCH:
            for row in rows:
                self(row.header)

    def __call__(self, header: Header) -> bool:
        """May the entry of *header* be kept?"""
        depends = header.depends_on if len(header.marks) > 1 else ()
        end = self._world.end()
        if end < self._read_to or (end if self._in_memory or depends else self._world.invalidated()) > self._read_to:
            self._read()
        return not (
            self._gap
            or (self._in_memory and header.ref in self._overwritten)
            or (depends and self._changed([Ref(header.ref.namespace, key) for key in depends]))
            or (self._invalidations and self._is_named(header))
        )

    def _changed(self, refs: Sequence[Ref]) -> bool:
        """Was any of what an entry depends on written?"""
        if self._heard is not None:
            if self._heard.wrote_here(refs):
                return True
            if self._known is not None and not self._known.issuperset(refs):
                self._read_all()
        return self._gap or not self._written.isdisjoint(refs)

    def _is_named(self, header: Header) -> bool:
        checked = self._matched.get(header.ref, 0)
        sources = () if self._heard is None else self._heard.sources
        if any(invalidates(message, header, sources) for message in self._invalidations[checked:]):
            return True
        self._matched[header.ref] = len(self._invalidations)
        return False

    def _read_all(self) -> None:
        """The computation looked at more than it had said: the journal knows who wrote that."""
        self._read_to, self._known = self._began, None
        self._read()

    def _read(self) -> None:
        messages, end = self._world.since(self._read_to)
        if messages is None:
            self._gap = True
            return
        for message in messages:
            if message.is_invalidation:
                self._invalidations.append(message)
                continue
            refs = [Ref(message.namespace, key) for key in message.names]
            self._written.update([ref for ref in refs if ref.key not in message.same])
            if message.source != self._own_source:
                self._overwritten.update(refs)
        self._read_to = end


def _note(reasons: dict[Ref, str] | None, ref: Ref, reason: str) -> None:
    if reasons is not None:
        reasons.setdefault(ref, reason)
