"""Store a value: mark it, seal it once, have it placed, renew what depends on it.

Rule 1: the value is encoded before anything is written, so that a value which can't be stored changes nothing.
Rule 2: a write happens only if no invalidation since it began names the entry, asked inside the write; of two
        writers the later start wins, asked there as well.
Rule 3: how it is put into the tiers, and others are told, `placing` knows.
Rule 4: writing a key others depend on renews its implicit tag, unless the value is equal to the stored one.  It does
        so after the write: whoever computed from the old value in between is refused by the announcement.
        The tier that is the authority renews it with the write as well, should this process be killed between the two.
        Whoever watches the key is told last, on the same condition.
Rule 5: what others announced on a server before a write began may reach this process only with that write's answer.
        Who began with what he was told, a caller's ``set``, begins anew then, once (*anew*).
Rule 6: all of it is one change (`World.changing`): if this process is killed in the middle, everybody drops memory.
Rule 7: what ends a key that others depend on may name its tags, or what it depends on itself, and when they are written
        nothing of that key may be left to say so: it is noted when their computation begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from scoutcache import events
from scoutcache.coherence.messages import Action
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow, Renew
from scoutcache.engine.equal import Equal
from scoutcache.engine.moments import Heard, Known
from scoutcache.engine.placing import Missed, Placing
from scoutcache.engine.reading import Reading
from scoutcache.engine.world import World
from scoutcache.entry import (
    DEPENDED_MARK,
    KEY_MARK,
    NAMESPACE_MARK,
    NEVER,
    UNVERSIONED,
    Encoded,
    Handled,
    Header,
    Live,
    Mark,
    Ref,
    Row,
)
from scoutcache.errors import PolicyError, TierUnavailable
from scoutcache.rules.planning import Change

__all__ = ["Entry", "Lifetime", "Moment", "Writing"]

_DEPENDED = (DEPENDED_MARK,)

class Moment(NamedTuple):
    """When a computation began: its stamp, and the end of the channel then; and what it has been told since."""

    start: int
    end: int
    heard: Known | None = None


class Lifetime(NamedTuple):
    """How long an entry is fresh, and how long it may be served stale after that; in seconds."""

    fresh: float
    stale: float = 0.0


@dataclass(slots=True)
class Entry:
    """A value to store, already encoded if its type needs that, with what the caller said about it."""

    ref: Ref
    live: Live
    encoded: Encoded | None
    lifetime: Lifetime
    cost: float | None = None
    ends: tuple[float, float] | None = None
    """When it ceases to be fresh and when it expires, for an entry that keeps the life of the one it replaces."""
    handled: Handled = field(default_factory=Handled)
    """Says in the end what the codec did with it."""


class Writing:
    """Writes for one cache."""

    def __init__(self, world: World, reading: Reading) -> None:
        self._world = world
        self._reading = reading
        self.placing = Placing(world, reading)

    def moment(self) -> Moment:
        """Now, for a computation that begins.

        The position before the stamp: who writes between the two is the earlier one, and must be heard of.
        """
        moments = self._world.moments
        noted = None if moments is None else moments.noted()
        end = self._world.applied()
        return Moment(self._world.stamp(), end, noted)

    @contextmanager
    def computing(self, refs: Sequence[Ref], depends_on: Sequence[str]) -> Iterator[Moment]:
        """The moment at which a computation of *refs* begins; while it is entered, what it is told is taken down."""
        moments = self._world.moments
        if moments is None:
            yield self.moment()
            return
        heard = moments.begin([*refs, *(Ref(refs[0].namespace, key) for key in depends_on)])
        try:
            yield Moment(self._world.stamp(), heard.end, heard)
        finally:
            moments.end(heard)

    def look_at_sources(self, namespace: str, depends_on: Sequence[str], heard: Known | None) -> Flow[Sequence[str]]:
        """The marks of what a computation that begins depends on, which forbid its result as its own do (Rule 7)."""
        if not isinstance(heard, Heard):
            return ()
        standing = yield from self.standing([Ref(namespace, key) for key in depends_on])
        names = {mark.name for header, _ in standing.values() for mark in header.marks}
        heard.sources = sorted(names - {NAMESPACE_MARK})
        return heard.sources

    def entry(
        self, ref: Ref, value: Any, lifetime: Lifetime, cost: float | None = None, tags: Sequence[str] = ()
    ) -> Entry:
        """*value* made ready to be stored; raises `SerializationError`.

        What it cost is what somebody said, else what a price for its *tags* makes of it, and goes with it from here.
        """
        codec = self._world.codec
        began = codec.clock()
        live, encoded = codec.hold(value)
        if cost is None and tags and self._world.price is not None:
            cost = self._world.price(tags, live.written)
        return Entry(ref, live, encoded, lifetime, cost, None, Handled(ns=codec.clock() - began))

    def store(
        self, entries: Sequence[Entry], began: Moment, *, tags: Iterable[str] = (), depends_on: Sequence[str] = (),
        refused: set[Ref] | None = None, unstored: set[Ref] | None = None, anew: bool = False, replaces: bool = False,
        computed: bool = False,
    ) -> Flow[int]:  # fmt: skip
        """Store *entries* of one namespace; return how many some tier took.  A lifetime of 0 is: do not store.

        *refused* collects those that a policy forbids, *unstored* those that an announcement forbade in every tier;
        with *anew* those begin anew once (Rule 5).  Where they *replace* what is older, that goes even if they are
        forbidden.  What was *computed* need not end what others computed.  Raises `PolicyError` for what must not be
        written in plain.
        """
        kept = [entry for entry in entries if entry.lifetime.fresh > 0]
        if self._world.policy is not None:
            kept = list(self._obeying(kept, set() if refused is None else refused))
        if not kept:
            return 0
        namespace = kept[0].ref.namespace
        depends_on = (yield from self._resolved(namespace, depends_on)) if depends_on else ()
        tags = list(tags)
        names = [NAMESPACE_MARK, *tags]
        if depends_on:
            names += [KEY_MARK + key for key in depends_on]
        try:
            versions = None if depends_on else self._known_versions(namespace, names)
            if versions is None:
                refs = [entry.ref for entry in kept]
                versions = yield from self._versions(namespace, names, refs, depends=bool(depends_on))
        except TierUnavailable as error:
            self._world.down(error.tier, error)
            taken = yield from self._store_apart(kept, began, names, replaces=replaces)
            if taken:
                yield from self._tell_watch(namespace, [entry.ref for entry in kept])
            return taken
        marks = tuple([Mark(name, versions[name]) for name in names])
        rows = [self._row(entry, began, marks, replaces, computed) for entry in kept]
        awaited = self._awaited(rows, versions)
        equal = Equal(self._world) if awaited else None
        changed = [] if equal is None else (yield from self._changed(awaited, equal))
        renewed = [name for ref in changed if (name := KEY_MARK + ref.key) in versions] if changed else []
        renewed += self._unheld(rows, versions)
        for row in rows if renewed else ():
            row.renews = name if (name := KEY_MARK + row.header.ref.key) in renewed else None
        missed = Missed() if unstored is not None or (anew and self._world.tells is not None) else None
        with self._world.changing():
            taken = yield from self._write_and_renew(namespace, rows, began, versions, renewed, missed, equal)
        if changed and taken:
            yield from self._tell_watch(namespace, changed)
        if missed is not None and unstored is not None:
            unstored |= missed.everywhere
        if missed is not None and anew and missed.announced:
            left = [entry for entry in kept if entry.ref in missed.announced]
            taken += yield from self.store(
                left, self.moment(), tags=tags, depends_on=depends_on, replaces=replaces, computed=computed
            )
        return taken

    def _write_and_renew(
        self, namespace: str, rows: Sequence[Row], began: Moment, versions: Mapping[str, int], renewed: list[str],
        missed: Missed | None, equal: Equal | None,
    ) -> Flow[int]:  # fmt: skip
        """Write *rows*, and renew the marks *renewed*: once more, for who took the old version in between (Rule 6)."""
        if renewed and self._world.is_untold(namespace, [row.header.ref.key for row in rows]):
            with suppress(TierUnavailable):  # first, as in `Removing`; then it is tried again below, or owed
                yield from self.renew(namespace, renewed)
        try:
            taken = yield from self.placing.write(rows, began.end, began.heard, missed, equal)
        except TierUnavailable:  # asked for by the user; the other tiers have been written
            yield from self._renew_dependents(namespace, rows, versions, renewed, equal)
            raise
        self._world.hear()  # that somebody depends on one of them may have come with the answer
        if renewed or equal is not None or self._world.known(namespace, _DEPENDED) != {}:
            yield from self._renew_dependents(namespace, rows, versions, renewed, equal)
        return taken

    def _renew_dependents(
        self, namespace: str, rows: Sequence[Row], versions: Mapping[str, int], renewed: list[str],
        equal: Equal | None,
    ) -> Flow[None]:  # fmt: skip
        doubtful = () if equal is None else equal.doubtful
        renewed += [name for ref in doubtful if (name := KEY_MARK + ref.key) in versions]
        unsure = False
        try:
            renewed += yield from self._late_dependents(namespace, rows, versions)
        except TierUnavailable:  # neighbours must hear of all that may have any
            renewed += _unversioned(rows, versions)
            unsure = True
        try:
            if renewed:
                yield from self.renew(namespace, renewed, standing=unsure)
        except TierUnavailable as error:  # what depends on them is in doubt
            self._world.owe(Renew(namespace, renewed))
            self._world.down(error.tier, error)

    def _tell_watch(self, namespace: str, changed: Sequence[Ref]) -> Flow[None]:
        watch = self._world.watch
        keys = [ref.key for ref in changed if watch is not None and watch.watches(ref.key)]
        if watch is not None and keys:
            yield from watch.changed(namespace, Change(tuple(keys)))

    def _obeying(self, entries: Sequence[Entry], refused: set[Ref]) -> Iterator[Entry]:
        """Those of *entries* that the policies let be stored."""
        world = self._world
        for entry in entries:
            said = None if world.policy is None else world.policy(entry.ref)
            if said is not None and said.encrypt_at_rest and any(said.allows(world.names[i]) for i in world.lower):
                raise PolicyError(f"{entry.ref.key!r} must be encrypted at rest, which this version can't do",
                                  hint='allow "memory" only in the policy')  # fmt: skip
            if said is None or said.max_entry_size is None:
                yield entry
                continue
            encoded = entry.encoded or world.codec.encode(entry.live.held)
            size = len(encoded.payload)
            if size <= said.max_entry_size:
                yield replace(entry, encoded=encoded)
                continue
            refused.add(entry.ref)
            world.hooks.emit(events.Refused(*entry.ref, said.sources["max_entry_size"], "too_large", size))

    def _resolved(self, namespace: str, depends_on: Sequence[str]) -> Flow[Sequence[str]]:
        """Those keys, and what they depend on in turn: their entries say all of it, so one look is enough."""
        standing = yield from self.standing([Ref(namespace, key) for key in depends_on])
        further = [key for header, _ in standing.values() for key in header.depends_on]
        return list(dict.fromkeys([*depends_on, *further]))

    def standing(
        self, refs: Sequence[Ref], reasons: dict[Ref, str] | None = None
    ) -> Flow[dict[Ref, tuple[Header, Live | None]]]:
        """What there is of *refs*: in the tiers below memory, or where they don't have it in memory.

        Of a value that this process can't read, None.
        """
        world, unread = self._world, dict[Ref, Header]()
        found = yield from self._reading.find(refs, reasons, promote=False, unread=unread)
        standing: dict[Ref, tuple[Header, Live | None]] = {ref: (header, None) for ref, header in unread.items()}
        standing |= {ref: (one.header, one.live) for ref, one in found.items()}
        unseen = [ref for ref in refs if ref not in standing]
        if unseen and world.memory is not None:
            for ref, sealed in (yield from effects.read(world.memory, unseen)).items():
                opened = world.codec.open(ref, sealed)
                standing[ref] = opened.header, opened.live
        return standing

    def _store_apart(
        self, entries: Sequence[Entry], began: Moment, names: Sequence[str], *, replaces: bool
    ) -> Flow[int]:
        """Store what the authority can't be told of, nor asked what depends on it.

        Where this machine has nothing to go by in their place, only memory may keep it, which is told of each event.
        """
        refs, namespace = [entry.ref for entry in entries], entries[0].ref.namespace
        versions = self._world.without_authority(namespace, names)
        marks = tuple([Mark(name, UNVERSIONED if versions is None else versions[name]) for name in names])
        rows = [self._row(entry, began, marks, replaces) for entry in entries]
        taken = yield from self.placing.write_apart(rows, began.end, began.heard, lasts=versions is not None)
        awaited = [name for ref in refs if self._world.is_remembered(namespace, name := KEY_MARK + ref.key)]
        if any(name.startswith(KEY_MARK) for name in names) and self._world.known(namespace, _DEPENDED) == {}:
            awaited.append(DEPENDED_MARK)  # or who is asked what depends on anything goes on to say that nothing does
        if awaited:
            with suppress(TierUnavailable):  # here it is heard, elsewhere once it is made good
                yield from self.renew(namespace, awaited)
        return taken

    def _known_versions(self, namespace: str, names: Sequence[str]) -> dict[str, int] | None:
        """The versions of *names*, where all are known, and that nobody depends on any key of the namespace."""
        known = self._world.known(namespace, [DEPENDED_MARK, *names])
        return known if known is not None and DEPENDED_MARK not in known and len(known) == len(names) else None

    def _versions(
        self, namespace: str, names: list[str], refs: Sequence[Ref], *, depends: bool
    ) -> Flow[dict[str, int]]:
        """The versions of *names*, and of the implicit tags of *refs* that somebody depends on."""
        depended = yield from self._current(namespace, [DEPENDED_MARK])
        own = (yield from effects.current(namespace, [KEY_MARK + ref.key for ref in refs])) if depended else {}
        if depends and not depended:
            yield from self.say_depended(namespace)
        return own | (yield from self._current(namespace, names, create=True))

    def learn(self, namespace: str, tags: Iterable[str]) -> Flow[None]:
        """Know what is asked for every entry of *namespace* with *tags*, while somebody can say it.

        Else what a neighbour computes while the server is away could not be judged by who had nothing to do with the
        namespace before, nor be kept by it for the others.
        """
        with suppress(TierUnavailable):
            yield from self._current(namespace, [DEPENDED_MARK])
            yield from self._current(namespace, [NAMESPACE_MARK, *tags], create=True)

    def say_depended(self, namespace: str) -> Flow[None]:
        """From now on whoever changes a key of *namespace* asks whether anything depends on it."""
        yield from effects.current(namespace, [DEPENDED_MARK], create=True)
        yield from effects.announce(self._world.message("mark", namespace, [DEPENDED_MARK]))

    def _current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> Flow[dict[str, int]]:
        """`effects.current`, but without asking anybody for what is known: most writes ask for nothing else."""
        known = self._world.known(namespace, names)
        if known is not None and not (create and len(known) < len(names)):
            return known
        return (yield from effects.current(namespace, names, create=create))

    def _row(
        self, entry: Entry, began: Moment, marks: tuple[Mark, ...], replaces: bool = False, computed: bool = False
    ) -> Row:
        now = self._world.now()
        own = KEY_MARK + entry.ref.key  # in a circle of dependencies an entry would die of its own write
        if len(marks) > 1:
            marks = tuple([mark for mark in marks if mark.name != own])
        fresh_until = now + entry.lifetime.fresh
        fresh_until, expires = entry.ends or (fresh_until, fresh_until + entry.lifetime.stale)
        header = Header(
            ref=entry.ref,
            start=began.start,
            created=now,
            fresh_until=fresh_until,
            expires=expires,
            marks=marks,
            cost=entry.cost,
        )
        return Row(
            header, entry.live, lambda: self._world.codec.seal(header, entry.live, entry.encoded, entry.handled),
            replaces=replaces, computed=computed,
        )  # fmt: skip

    def _awaited(self, rows: Sequence[Row], versions: Mapping[str, int]) -> dict[Ref, Row]:
        """Those of *rows* that others depend on or watch."""
        watch = self._world.watch
        return {
            ref: row
            for row in rows
            if KEY_MARK + (ref := row.header.ref).key in versions or (watch is not None and watch.watches(ref.key))
        }

    def _unheld(self, rows: Sequence[Row], versions: Mapping[str, int]) -> list[str]:
        """The implicit tags without a version that something here carries, stored when nobody could be asked."""
        namespace = rows[0].header.ref.namespace
        return [name for name in _unversioned(rows, versions) if self._world.is_remembered(namespace, name)]

    def _changed(self, awaited: Mapping[Ref, Row], equal: Equal) -> Flow[list[Ref]]:
        """Which of those are other values than the stored ones.

        What the authority could not be told counts as changed: there is what depends on another value.
        """
        told = [ref for ref in awaited if not self._world.is_untold(ref.namespace, [ref.key])]
        stored = yield from self.standing(told)
        equal.refs = {ref for ref in stored if ref in awaited and self._equal(stored[ref][1], awaited[ref].live)}
        return [ref for ref in awaited if ref not in equal.refs]

    def _equal(self, stored: Live | None, new: Live) -> bool:
        if stored is None or type(stored.held) is not type(new.held) or stored.held != new.held:
            return False
        if stored.decode != new.decode:  # bytes, and what others are serialized as
            return False
        # 1, 1.0 and True are equal, and so are tuples of them, but not as they are stored.
        nested = isinstance(new.held, tuple | frozenset)
        return not nested or self._world.codec.encode(stored.held) == self._world.codec.encode(new.held)

    def _late_dependents(self, namespace: str, rows: Sequence[Row], versions: Mapping[str, int]) -> Flow[list[str]]:
        """The implicit tags that came into being while *rows* were written: who made them may know the old values."""
        if not (yield from self._current(namespace, [DEPENDED_MARK])):
            return []
        return list((yield from effects.current(namespace, _unversioned(rows, versions))))

    def renew(
        self, namespace: str, names: Sequence[str], reason: str | None = None, action: Action = "delete", *,
        standing: bool = False,
    ) -> Flow[None]:  # fmt: skip
        """Announce, renew, announce again: whatever carries one of the marks *names* is dead, or stale.

        With *standing* no implicit tag is made of those: what nobody depends on there may be depended on elsewhere, by
        who was away, and is told of it.
        """
        message = self._world.message("mark", namespace, names, reason, action)
        with self._world.changing():
            try:
                yield from effects.announce(message.opening)
                if standing:
                    names = yield from self._standing_among(namespace, names)
                if names:
                    yield Renew(namespace, names, soft=action != "delete")
            except TierUnavailable as error:  # it is over, and who began it is left with what it owes
                with suppress(TierUnavailable):
                    yield from effects.announce(self._world.over(message, [error.tier]))
                raise
            yield from effects.announce(message)

    def _standing_among(self, namespace: str, names: Sequence[str]) -> Flow[list[str]]:
        """*names* without the implicit tags that have no version; where nobody says which, all of them."""
        implicit = [name for name in names if name.startswith(KEY_MARK)]
        with suppress(TierUnavailable):
            implicit = list((yield from effects.current(namespace, implicit)))
        return [*(name for name in names if not name.startswith(KEY_MARK)), *implicit]

    def write(self, rows: Sequence[Row], end: int) -> Flow[int]:
        """Write sealed rows from the lowest tier up; return how many some tier took."""
        with self._world.changing():
            equal = Equal(self._world, [row.header.ref for row in rows], always=True)  # they keep value and start
            return (yield from self.placing.write(rows, end, equal=equal))


def _unversioned(rows: Sequence[Row], versions: Mapping[str, int]) -> list[str]:
    """The implicit tags of *rows* that *versions* has nothing of."""
    return [name for row in rows if (name := KEY_MARK + row.header.ref.key) not in versions]


def lifetime(ttl: float, stale: float | None) -> Lifetime:
    """A lifetime from settings: an unlimited ttl can't be stale."""
    return Lifetime(ttl, 0.0 if ttl == NEVER else stale or 0.0)
