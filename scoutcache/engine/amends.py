"""Make good what a tier could not be told while it could not answer.

Rule 1: a tier that others share is given what it could not take, as far as this process still has it: what others wrote
        there since stays, if they began later.  Of everything else the older entry is removed.
Rule 2: all of it is announced, as it would have been then.  What is removed from where writes compare positions is
        announced as an invalidation: that moves them, so that a write which was in flight there when it went away, and
        is carried out now, is refused.
        It says nothing of what is owed later, perhaps in the meantime: neighbours would believe the tier of that, too.
Rule 3: what fails once more is still owed.
Rule 4: while the tier that tells takes no writes, nothing is tried that is announced as an invalidation: neighbours
        would hear of each attempt, and drop what they computed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from scoutcache.coherence.messages import Kind
from scoutcache.engine import effects
from scoutcache.engine.debts import Debt
from scoutcache.engine.effects import Clear, Erase, Flow, Remove, RemoveOlder, Renew, Work
from scoutcache.engine.moments import Known
from scoutcache.engine.reading import Reading
from scoutcache.engine.removing import Removed, Removing
from scoutcache.engine.world import World
from scoutcache.engine.writing import Writing
from scoutcache.entry import (
    DEPENDED_MARK,
    KEY_MARK,
    STAND_INS,
    UNVERSIONED,
    Encoded,
    Header,
    Live,
    Mark,
    Ref,
    Row,
    Sealed,
)
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.wire.unknown import UnknownType

__all__ = ["Amends"]

_AT_ONCE: Final = 100
"""Entries that are written at once."""
_ATTEMPTS: Final = 20


class Amends:
    """What one cache owes its tiers."""

    def __init__(self, world: World, reading: Reading, writing: Writing, removing: Removing) -> None:
        self._world, self._reading, self._writing, self._removing = world, reading, writing, removing

    def make(self, level: int) -> Flow[None]:
        """Try again what a tier could not be told."""
        doubt = self._world.doubts[level]
        known = dict(doubt.refs)  # what comes into doubt meanwhile, once more perhaps, is looked at the next time
        tells = level == self._world.tells
        may_tell = (yield from effects.perform(Work(self._world.takes_writes))) if tells or doubt.owed else True
        if tells and not may_tell:
            return
        if tells and known and not (yield from self._give(level, known)):
            return
        began = self._world.stamp()
        left = {ref: start for ref, start in known.items() if doubt.refs.get(ref) == start}
        for namespace in {ref.namespace for ref in left}:
            some = {ref: start for ref, start in left.items() if ref.namespace == namespace}
            yield from self._remove(level, some, began)
        for kind in (Renew, Erase, Clear) if may_tell else ():  # one that fails keeps none of another kind waiting
            for debt in [debt for debt in doubt.owed if isinstance(debt, kind)]:
                with doubt.trying(debt):
                    removed = yield from self._made_good(debt)
                if removed.failed:
                    break

    def _made_good(self, owed: Debt) -> Flow[Removed]:
        match owed:
            case Erase():
                return (yield from self._removing.pattern(owed.namespace, owed.pattern))
            case Clear():
                return (yield from self._removing.clear(owed.namespace))
            case Renew():
                return (yield from self._renewed(owed))

    def _renewed(self, owed: Renew) -> Flow[Removed]:
        """Renew what is owed; `DEPENDED_MARK` among it stands for whatever depends on anything."""
        names = list(owed.names)
        if DEPENDED_MARK in names:
            try:
                names += [KEY_MARK + key for key in (yield from self._removing.depended_on(owed.namespace))]
            except TierUnavailable as error:
                return Removed(failed=self._removing.owe(owed, error))
        return (yield from self._removing.renew(owed.namespace, names, None, standing=True))

    def _give(self, level: int, known: Mapping[Ref, int]) -> Flow[bool]:
        """Write what others share and could not take (Rule 1); whether the tier answered."""
        world, doubt = self._world, self._world.doubts[level]
        moments = world.moments
        noted = None if moments is None else moments.noted()
        end = world.applied()
        for refs in _some(known):
            began = world.stamp()  # before what there is is read: what is owed after that, this doesn't tell
            try:
                rows = yield from self._held_beside(level, {ref: known[ref] for ref in refs})
            except TierUnavailable as error:
                world.down(error.tier, error)
                return False
            for namespace in {ref.namespace for ref in rows}:
                mine = [row for ref, row in rows.items() if ref.namespace == namespace]
                keys = [row.header.ref.key for row in mine]
                if (yield from self._removing.cascade(namespace, keys, None)).failed:  # before others hear it is told
                    return False
                try:
                    left = yield from self._hand_over(level, mine, began, end, noted)
                    for other in range(len(world.names)) if left else ():  # what others can't be given nobody keeps
                        if other != level:
                            yield Remove(other, left)
                except TierUnavailable as error:
                    world.down(error.tier, error)
                    return False
                if (yield from self._removing.cascade(namespace, keys, None)).failed:
                    return False
                doubt.settle({row.header.ref: known[row.header.ref] for row in mine if row.header.ref not in left})
        return True

    def _hand_over(
        self, level: int, rows: Sequence[Row], began: int, end: int, noted: Known | None
    ) -> Flow[list[Ref]]:
        """Write *rows* of one namespace, read after *began*; those of which the tier has nothing as late even so.

        Others that make good what they owe have it refuse whole batches, until they are through; and what was
        invalidated since is refused each time.
        """
        for _ in range(_ATTEMPTS):
            refs = [row.header.ref for row in rows]
            message = self._world.message("written", refs[0].namespace, [ref.key for ref in refs], stamp=began)
            allow = self._reading.unless_announced(level, end, heard=noted)
            if (yield from effects.write(level, rows, allow, message)) == len(rows):
                return []
            standing = yield from effects.read(level, refs)
            rows = [row for row in rows if self._is_later(row, standing.get(row.header.ref))]
            if not rows:
                return []
        return [row.header.ref for row in rows]

    def _is_later(self, row: Row, standing: Sealed | None) -> bool:
        """Did *row* begin after what stands there?"""
        try:
            return standing is None or self._world.codec.header(row.header.ref, standing.head).start < row.header.start
        except CorruptEntry:
            return True

    def _held_beside(self, level: int, starts: Mapping[Ref, int]) -> Flow[dict[Ref, Row]]:
        """What could not be told at *starts*, as the tiers beside *level* have it, from the highest down.

        They may have what it replaces, where the write is under way that failed here, and what was ended since by a
        mark that is yet to be renewed.
        """
        world, rows, doubt = self._world, dict[Ref, Row](), self._world.doubts[level]
        for other in range(len(world.names)):
            wanted = [ref for ref in starts if ref not in rows and not world.doubts[other].covers(ref)]
            if other == level or not wanted:
                continue
            try:
                found = yield from effects.read(other, wanted)
            except TierUnavailable:
                continue
            for ref, sealed in found.items():
                try:
                    header, live, encoded = world.codec.anew(ref, sealed)
                except (CorruptEntry, UnknownType):
                    continue
                if not doubt.is_told_by(header, starts[ref]):
                    continue
                if not all(UNVERSIONED < mark.version < STAND_INS for mark in header.marks):
                    if other == world.memory:
                        rows[ref] = yield from self._versioned(header, live, encoded)
                elif not world.is_owed(ref.namespace, header.marks):
                    rows[ref] = _as_it_is(header, live, sealed)
        return rows

    def _versioned(self, header: Header, live: Live, encoded: Encoded | None) -> Flow[Row]:
        """What was stored when nobody could tell the versions of its marks, with those of now.

        Whatever ended one of them since it began was heard of, and has taken it from memory, though not from elsewhere.
        """
        namespace, names = header.ref.namespace, [mark.name for mark in header.marks]
        if header.depends_on and not (yield from effects.current(namespace, [DEPENDED_MARK])):
            yield from self._writing.say_depended(namespace)
        versions = yield from effects.current(namespace, names, create=True)
        marked = header._replace(marks=tuple([Mark(name, versions[name]) for name in names]))
        return Row(marked, live, lambda: self._world.codec.seal(marked, live, encoded), replaces=True)

    def _remove(self, level: int, starts: Mapping[Ref, int], began: int) -> Flow[None]:
        """Remove entries of one namespace, owed before *began*, from one tier, and whatever depends on them.

        From a tier that others share only what began no later than what could not be told, by a neighbour perhaps, who
        goes by what this says: a later writer's stays.

        Of another tier what this process's memory has of them is newer and stays; others drop theirs, as after a write.
        """
        refs, tells = list(starts), level == self._world.tells
        namespace, keys = refs[0].namespace, [ref.key for ref in refs]
        since = self._world.doubts[level].since
        doom = RemoveOlder(level, {ref: max(starts[ref], since(ref)) for ref in refs}) if tells else Remove(level, refs)
        if level == self._world.authority and (yield from self._removing.cascade(namespace, keys, None)).failed:
            return  # before others hear that it is told
        kind: Kind = "key" if tells else "written"
        yield from self._removing.announced(kind, namespace, keys, None, [doom], stamp=began)
        failed = (yield from self._removing.cascade(namespace, keys, None)).failed
        if failed and tells:  # of another tier it is gone; for what depends on it that is owed
            self._world.doubts[level].about_each(starts)


def _as_it_is(header: Header, live: Live, sealed: Sealed) -> Row:
    return Row(header, live, lambda: sealed, replaces=True)


def _some(refs: Iterable[Ref]) -> Iterator[list[Ref]]:
    left = list(refs)
    for at in range(0, len(left), _AT_ONCE):
        yield left[at : at + _AT_ONCE]
