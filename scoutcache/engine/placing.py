"""Put rows into the tiers and tell the others: the second half of a write.

Rule 1: the lowest tier first, memory last: what memory has, the tiers below it had at that moment too.  A tier that
        others share, and that announces what it takes, goes before those of this machine: it alone knows of every
        invalidation and every writer.  Where a tier may not take it, it loses what it has.
Rule 2: whoever holds an older copy is told after the shared tiers have the new one; a tier that can tells them with
        the write itself.  What was computed, and only memory may keep, says nothing of what others hold: it is as good
        as what they computed, and who dropped that would compute it anew, and have it dropped here, time and again.
Rule 3: a tier that isn't allowed is never read here, but an older entry there, from before its policy, is read by who
        goes by none: whoever sets a value looks for it, and removes it.  Who computes one leaves it till it expires.
Rule 4: a tier that can't take what it should is not believed about it from then on, until it takes what is no older.
Rule 5: where the authority can't be asked what depends on what is written, it isn't given it either: back by then, it
        would tell others, who believe it from then on, of what depends on the old values as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace as replace_fields

from scoutcache import events
from scoutcache.coherence.messages import Message
from scoutcache.engine import effects
from scoutcache.engine.effects import Allow, Flow, Remove, Write
from scoutcache.engine.equal import Equal
from scoutcache.engine.moments import Known
from scoutcache.engine.reading import Reading, Watch
from scoutcache.engine.world import World
from scoutcache.entry import STAND_INS, Header, Ref, Row
from scoutcache.errors import TierUnavailable

__all__ = ["Missed", "Placing"]


@dataclass(slots=True)
class Missed:
    """What announcements forbade in every tier; and what of that where they are made (`World.tells`)."""

    everywhere: set[Ref] = field(default_factory=set)
    announced: set[Ref] = field(default_factory=set)


class Placing:
    """Places rows for one cache."""

    def __init__(self, world: World, reading: Reading) -> None:
        self._world, self._reading = world, reading

    def write(
        self, rows: Sequence[Row], end: int, heard: Known | None = None, missed: Missed | None = None,
        equal: Equal | None = None,
    ) -> Flow[int]:  # fmt: skip
        """Write sealed *rows* that nothing since *end* forbids; how many some tier took.

        *heard* is what their computation was told, and *equal* says which keep their values.  Where the user asked for
        an exception when a tier is away, it comes when the others have been written, and whoever has a copy was told.
        """
        world, failed = self._world, list[TierUnavailable]()
        placed = self._placed(rows)
        taken: dict[int, int] = {}
        forbidden: dict[int | None, list[Ref]] = {level: [] for level in placed}
        for level in world.written_in_order:
            if taken and self._is_outrun(rows, placed, taken):
                taken[level] = 0
                yield from self._let_go(level, rows)
                continue
            try:
                taken[level] = yield from self.write_level(
                    level, placed[level], end, None if missed is None else forbidden[level], heard,
                    self._told_with(level, placed[level], equal),
                )  # fmt: skip
            except TierUnavailable as error:
                failed.append(error)
                taken[level] = 0
        unwritten = world.policy is not None and any(len(placed[level]) < len(rows) for level in world.lower)
        told = world.tells is not None and taken.get(world.tells) == len(rows)
        ended = rows[0].replaces and any(taken[level] < len(placed[level]) for level in taken)
        concerned = self._concerning_others(rows)
        if concerned and (unwritten or ended or any(taken.values())) and not (told and self._may_tell_with(equal)):
            yield from self._tell(concerned, () if equal is None else equal.settled())
        if unwritten:
            levels = [level for level in world.lower if len(placed[level]) < len(rows)]
            yield from self._end_older(rows, levels)
            yield from self._end_forbidden(rows, levels)
        if world.memory is not None:
            yield from self._write_memory(world.memory, rows, placed, taken, forbidden[world.memory], end, heard)
        if len(concerned) < len(rows) and world.moments is not None:
            world.moments.wrote_here({row.header.ref for row in rows} - {row.header.ref for row in concerned})
        self._say_stored(rows, taken)
        if missed is not None:
            self._note_missed(missed, rows, placed, taken, forbidden)
        if failed:
            raise failed[0]
        return _count(rows, placed, taken)

    def write_apart(self, rows: Sequence[Row], end: int, heard: Known | None, *, lasts: bool) -> Flow[int]:
        """Write sealed *rows* without the authority (Rule 5); how many some tier took.

        Where it *lasts*, which their marks say, the tiers of this machine keep it.  Else what they have is older: it
        goes, or they aren't believed about it, and only memory keeps it.  Of that others are told if it replaces what
        they have (Rule 2); so of what carries stand-ins, which not all may go by yet.
        """
        world, refs = self._world, [row.header.ref for row in rows]
        taken: dict[int, int] = {}
        for level in world.lower:
            world.doubts[level].about(refs, rows[0].header.start)
            if level != world.tells:
                kept = lasts and level != world.authority
                taken[level] = yield from self._write_or_remove(level, rows if kept else (), refs, end, heard)
        for_all = all(mark.version < STAND_INS for mark in rows[0].header.marks)
        if world.shared and (rows[0].replaces or (for_all and any(taken.values()))):
            yield from self._tell(rows)
        if world.memory is not None:
            allowed = [row for row in rows if world.allows(world.memory, row.header.ref)]
            taken[world.memory] = yield from self.write_level(world.memory, allowed, end, None, heard)
        self._say_stored(rows, taken)
        return max(taken.values(), default=0)

    def _write_or_remove(
        self, level: int, rows: Sequence[Row], refs: Sequence[Ref], end: int, heard: Known | None
    ) -> Flow[int]:
        """Write *rows* to a tier, or remove *refs*: a neighbour, whom nothing tells to doubt it, would find the old."""
        doubt = self._world.doubts[level]
        placed = [row for row in rows if self._world.writes_to(level, row.header.ref)]
        taken = yield from self.write_level(level, placed, end, None, heard)
        if taken < len(refs):
            known = doubt.known(refs)
            with suppress(TierUnavailable):
                yield Remove(level, refs)
                doubt.settle(known)
        return taken

    def _write_memory(
        self, memory: int, rows: Sequence[Row], placed: Mapping[int, Sequence[Row]], taken: dict[int, int],
        refused: list[Ref], end: int, heard: Known | None,
    ) -> Flow[None]:  # fmt: skip
        if self._is_outrun(rows, placed, taken):
            yield from self._let_go(memory, rows)
            return
        taken[memory] = yield from self.write_level(memory, placed[memory], end, refused, heard)
        if refused:
            # What a reader promoted between the write below and its announcement is older than what is there.
            yield Remove(memory, refused)
        if len(placed[memory]) < len(rows):
            yield from self._end_older(rows, [memory])

    def _note_missed(
        self, missed: Missed, rows: Sequence[Row], placed: Mapping[int, Sequence[Row]], taken: Mapping[int, int],
        forbidden: Mapping[int | None, Sequence[Ref]],
    ) -> None:  # fmt: skip
        refs = {level: {row.header.ref for row in placed[level]} for level in taken if taken[level]}
        kept = [refs[level].difference(forbidden[level]) for level in refs]
        missed.everywhere = {row.header.ref for row in rows}.difference(*kept)
        missed.announced = missed.everywhere.intersection(forbidden.get(self._world.tells, ()))

    def _is_outrun(
        self, rows: Sequence[Row], placed: Mapping[int, Sequence[Row]], taken: Mapping[int, int]
    ) -> bool:
        """Did the tier that tells others refuse it?  Then nobody hears of it, and memory must not take it.

        A later writer was faster, whose value memory may have let go of; or invalidations came all the time.
        """
        level = self._world.tells
        if level is None or len(rows) != 1 or not placed[level] or taken.get(level, 1):
            return False
        return not self._world.doubts[level].covers(rows[0].header.ref)

    def _let_go(self, level: int, rows: Sequence[Row]) -> Flow[None]:
        """What a tier has may be older than what was to be written, and nobody else removes it (Rule 1)."""
        refs = [row.header.ref for row in rows]
        try:
            yield Remove(level, refs)
        except TierUnavailable as error:
            self._world.doubts[level].about(refs, rows[0].header.start)
            self._world.down(error.tier, error)

    def _concerning_others(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Those of *rows* that others are to hear of (Rule 2)."""
        if not self._world.shared:
            return ()
        if self._world.policy is None or not rows[0].computed:
            return rows
        return [row for row in rows if self._world.may_lie_below(row.header.ref)]

    def _may_tell_with(self, equal: Equal | None) -> bool:
        """May others be told by the write itself?  Not where it shows only after it which keys kept their values."""
        return equal is None or not equal.refs

    def _told_with(self, level: int, rows: Sequence[Row], equal: Equal | None) -> Message | None:
        """What the tier at *level* announces with the write (Rule 2); None where that is done after it."""
        if level != self._world.tells or not rows or not self._may_tell_with(equal):
            return None
        return self._written(rows)

    def _written(self, rows: Sequence[Row]) -> Message:
        """That *rows* were written, which began when it is stamped."""
        refs, began = [row.header.ref for row in rows], min([row.header.start for row in rows])
        return self._world.message("written", refs[0].namespace, [ref.key for ref in refs], stamp=began)

    def _placed(self, rows: Sequence[Row]) -> dict[int, Sequence[Row]]:
        """The rows that a write puts into each tier."""
        world = self._world
        levels = range(len(world.names))
        if world.policy is None:
            return dict.fromkeys(levels, rows)
        return {level: [row for row in rows if world.writes_to(level, row.header.ref)] for level in levels}

    def _end_older(self, rows: Sequence[Row], levels: Sequence[int]) -> Flow[None]:
        """Remove from *levels* what they may have of *rows* and were not given (Rule 3)."""
        world = self._world
        for level in levels:
            refs = [ref for row in rows if world.allows(level, ref := row.header.ref) > world.writes_to(level, ref)]
            try:
                if refs:
                    yield Remove(level, refs)
            except TierUnavailable as error:
                start = max([row.header.start for row in rows])
                world.doubts[level].about(refs, start)
                world.down(world.names[level], error)

    def _end_forbidden(self, rows: Sequence[Row], levels: Sequence[int]) -> Flow[None]:
        """Remove from *levels* what they have of those *rows* that may not be there (Rule 3).

        Hardly ever is anything there, so it is looked for first: that takes no lock.
        """
        for level in levels:
            refs = [row.header.ref for row in rows if not (row.computed or self._world.allows(level, row.header.ref))]
            with suppress(TierUnavailable):  # nobody here reads it
                if refs and (there := (yield from effects.read(level, refs))):
                    yield Remove(level, list(there))

    def _say_stored(self, rows: Sequence[Row], taken: Mapping[int, int]) -> None:
        world = self._world
        if not world.hooks.wants("stored"):
            return
        levels = [level for level in sorted(taken) if taken[level]]
        for row in rows:
            header = row.header
            tiers = tuple([world.names[level] for level in levels if world.writes_to(level, header.ref)])
            if tiers:
                ttl = header.fresh_until - header.created
                world.hooks.emit(events.Stored(*header.ref, tiers, row.live.size, ttl))

    def _tell(self, rows: Sequence[Row], same: Sequence[str] = ()) -> Flow[None]:
        """Announce that *rows* were written, or are owed; those keys that are the *same* kept their values."""
        message = self._written(rows)
        message = replace_fields(message, same=tuple([key for key in same if key in message.names]))
        if not self._are_there([row.header.ref for row in rows]):
            message = replace_fields(message.owing, stamp=self._world.stamp())
        try:
            yield from effects.announce(message)
        except TierUnavailable as error:
            self._world.down(error.tier, error)

    def _are_there(self, refs: Sequence[Ref]) -> bool:
        """Has the tier that tells nothing older of *refs*, as far as is known?"""
        tells = self._world.tells
        return tells is None or not self._world.doubts[tells].known(refs)

    def write_level(
        self, level: int, rows: Sequence[Row], end: int, refused: list[Ref] | None = None, heard: Known | None = None,
        message: Message | None = None,
    ) -> Flow[int]:  # fmt: skip
        """Write to one tier; *refused* collects what an announcement forbade, not what was older than the tier's."""
        if not rows:
            return 0
        allow = self._reading.unless_announced(level, end, heard=heard)
        allow.prepare(rows)
        doubt = self._world.doubts[level]
        known = doubt.known([row.header.ref for row in rows]) if doubt.refs else {}
        try:
            taken: int = yield Write(level, rows, allow if refused is None else _collecting(allow, refused), message)
        except TierUnavailable as error:
            if level != self._world.memory:  # or an older entry there would answer for these
                for row in rows:
                    doubt.about([row.header.ref], row.header.start)
            self._world.down(self._world.names[level], error)
            return 0
        if known and taken == len(rows):
            starts = {row.header.ref: row.header.start for row in rows}
            doubt.settle({ref: start for ref, start in known.items() if start <= starts[ref]})
        return taken


def _collecting(allow: Watch, refused: list[Ref]) -> Allow:
    """*allow*, which adds to *refused* what it forbids."""

    def ask(header: Header) -> bool:
        allowed = allow(header)
        if not allowed:
            refused.append(header.ref)
        return allowed

    return ask


def _count(rows: Sequence[Row], placed: Mapping[int, Sequence[Row]], taken: Mapping[int, int]) -> int:
    """How many rows some tier took: tiers tell numbers, so it is the least that is sure."""
    if (most := max(taken.values(), default=0)) == len(rows):
        return most
    sure = {row.header.ref for level, rows in placed.items() if taken.get(level) == len(rows) for row in rows}
    return max([len(sure), *taken.values()])
