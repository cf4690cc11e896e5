"""Keeping index and entries in agreement: the index lacks no entry, and names none that isn't there.

Rule 1: what a process died over is settled when the index is opened, and looked at: the entries are asked.
Rule 2: an index that is new to this process, or that was marked, is compared with all entries; and so it is, beside the
        calls, when its rows have doubled, for entries expire and are evicted without telling it.
Rule 3: while a tier can't be asked for what it has, nothing is taken for gone; when all answer it is looked at again,
        though not by each call where that fails: of a cluster another node may be away than the one that was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

from scoutcache import events
from scoutcache.answers.readings import Readings
from scoutcache.calls.listing import list_entries
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.meaning.scopes import CHECKS, KEYS, key_of, places_of
from scoutcache.patterns import Pattern
from scoutcache.semantic.index import Index, Place
from scoutcache.semantic.rows import LIVE

__all__ = ["Agreement", "Compared"]

_NEVER: Final = "-"
"""No generation of an index."""

_FOREVER: Final = float("inf")
_REST, _SHARE = 1.0, 9.0
"""Seconds, and how often as long as it took, until a look that failed though all answer is tried again."""


class Compared(NamedTuple):
    """How many entries there are, how many the index lacked, and how many of its rows had no entry.

    Where a tier can't be asked for all it has, it isn't the *whole*, and no row is taken for such a ghost.
    """

    entries: int
    missing: int
    ghosts: int
    whole: bool


class Agreement(Readings):
    """Opens, compares and rebuilds the indexes of one cache."""

    def _index_here(self, namespace: str) -> Index:
        """The index of what must stay in memory, rid from time to time of what memory let go of."""
        index, memory = self.state.here(namespace, make=True), self.core.memory
        assert index is not None
        if memory is not None and index.is_due_to_be_compared():
            generation, places = index.generation(), index.places()
            refs = {place: Ref(namespace, key_of(*place, here=True)) for place in places}
            there = memory.rows(refs.values())
            ghosts = {place: places[place][0] for place, ref in refs.items() if ref not in there}
            index.amend((), ghosts, generation)
        return index

    def opened(self, namespace: str) -> Flow[Index]:
        """The index, agreeing with the entries as far as can be known without looking at all of them."""
        state, index = self.state, self.state.index(namespace)
        began, written = state.now(), state.heard(namespace)
        again = began >= state.in_part.get(namespace, _FOREVER) and (yield from self._all_answer(namespace))
        if again:
            state.settled.pop(namespace, None)
        agrees = namespace in state.settled or (yield from self.settle(namespace))
        if written is None or state.settled.get(namespace, _NEVER) != index.seen:
            whole = written is not None and not again
            if whole:
                whole = yield from self._work(lambda: index.exists() and index.uncompared() is None, otherwise=True)
            if not whole:
                agrees &= (yield from self.compare(namespace)).whole
            state.settled[namespace] = index.seen
            state.in_part.pop(namespace, None)
            if not agrees:
                now = state.now()
                state.in_part[namespace] = now + (_REST + _SHARE * (now - began) if again else 0.0)
        if written:
            yield from self._take_in(namespace, index, written)
        return index

    def _take_in(self, namespace: str, index: Index, keys: Sequence[str]) -> Flow[None]:
        """Put entries that the index lacks into it."""
        missing = yield from self._vectors(namespace, dict.fromkeys(keys))
        if missing:
            yield from self._work(lambda: index.amend(missing, {}))

    def _vectors(self, namespace: str, keys: Iterable[str]) -> Flow[list[tuple[Place, Any]]]:
        """The places and vectors of those answers that are there."""
        entries = []
        for key in keys:
            reading, found = (yield from self._read(Ref(namespace, key), {})), places_of(key)
            if reading is not None and found is not None:
                vector = yield from perform(Work(partial(self.vector_of, reading.answer)))
                entries.append((Place(*found), vector))
        return entries

    @contextmanager
    def _noting_outages(self) -> Iterator[list[object]]:
        """What is told of tiers that can't be asked meanwhile: what they have must not be taken for gone."""
        away: list[object] = []
        take_off = self.core.hooks.add("tier_down", away.append)
        try:
            yield away
        finally:
            take_off()

    def compare(self, namespace: str) -> Flow[Compared]:
        """Compare index and entries, all of them, and make them agree."""
        index = self.state.index(namespace)
        mark = yield from perform(Work(index.uncompared))
        generation = yield from perform(Work(index.generation))
        before = yield from perform(Work(index.places))
        with self._noting_outages() as away:
            keys = yield from perform(Work(lambda: self._keys(namespace)))
        there = {Place(*found): key for key in keys if (found := places_of(key)) is not None}
        missing = [key for place, key in there.items() if place not in before]
        yield from self._take_in(namespace, index, missing)
        if away:
            return Compared(len(there), len(missing), ghosts=0, whole=False)
        # An entry that was being written when the rows were looked at is in neither list, and no ghost.
        ghosts = {place: row for place, (row, state) in before.items() if state == LIVE and place not in there}
        if ghosts:
            yield from perform(Work(lambda: index.amend((), ghosts, generation)))
        if mark is not None:
            yield from perform(Work(partial(index.was_compared, mark)))
        return Compared(len(there), len(missing), len(ghosts), whole=True)

    def _compared(self, namespace: str) -> Flow[None]:
        """Rid the index, beside the calls, of what has expired and was evicted."""
        try:
            yield from self.compare(namespace)
        except (CacheError, OSError) as error:
            self.core.hooks.emit(events.Trouble("semantic", f"index and entries can't be compared: {error!s:.300}"))

    def _keys(self, namespace: str) -> list[str]:
        pattern = Pattern.parse(KEYS)
        return [entry.header.ref.key for entry in list_entries(self.core, namespace, pattern)]

    def rebuild(self, namespace: str | None) -> Flow[int]:
        """Make the index anew from the entries, with the embedder in use; how many it holds."""
        name = self.namespace(namespace)
        keys = yield from perform(Work(lambda: self._keys(name)))
        entries = yield from self._vectors(name, keys)
        index = self.state.index(name)
        yield from perform(Work(lambda: index.replace(entries)))
        compared = yield from self.compare(name)  # what others wrote meanwhile went into the file that was replaced
        self.state.settled[name] = index.seen
        return compared.entries

    def _all_answer(self, namespace: str) -> Flow[bool]:
        """Can every tier below memory be asked now?"""
        try:
            for level in self.core.world.lower:
                yield from effects.read(level, [Ref(namespace, CHECKS)])
        except TierUnavailable:
            return False
        return True

    def settle(self, namespace: str) -> Flow[bool]:
        """Settle what processes died over; whether every tier could be asked for it."""
        index = self.state.index(namespace)
        return (yield from self._settle(index, namespace, (yield from self._work(index.unsettled, []))))

    def _settle(self, index: Index, namespace: str, places: Sequence[Place], *, here: bool = False) -> Flow[bool]:
        """Look whether there are entries at *places*, and tell the index; whether every tier could be asked."""
        there = {}
        with self._noting_outages() as away:
            for place in places:
                there[place] = (yield from self._read(Ref(namespace, key_of(*place, here=here)), {})) is not None
        if away:
            there = {place: is_there for place, is_there in there.items() if is_there}
        if there:
            yield from self._work(lambda: index.settle(there))
        return not away
