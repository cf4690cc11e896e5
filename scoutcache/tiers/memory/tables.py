"""The memory tier's tables: slots by namespace and key, by tag, and the hits of those that left.

Nothing here locks: whoever writes holds the tier's lock.  Readers without one see a slot or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from scoutcache.entry import KEY_MARK, NAMESPACE_MARK, UNVERSIONED, Mark, Ref
from scoutcache.keys import prefix_of
from scoutcache.tiers.memory.slot import Slot

__all__ = ["Harvest", "Tables", "excess_of", "sorted_out"]

_COMMON: Final = 1024
"""So many sets of marks are remembered, so that entries with the same can share them."""


class Harvest(NamedTuple):
    """Hits by (namespace, prefix), and of how many of them the entry's cost is known, with the sum of those costs."""

    hits: dict[tuple[str, str], int]
    costs: dict[tuple[str, str], tuple[int, float]]


class Tables:
    """Every slot, findable by key and by tag."""

    def __init__(self) -> None:
        self.spaces: dict[str, dict[str, Slot]] = {}
        self._pinned: set[str] = set()
        self._tagged: dict[tuple[str, str], set[Slot]] = {}
        self._departed: Counter[tuple[str, str]] = Counter()
        self._costs: dict[tuple[str, str], tuple[int, float]] = {}
        self._common: dict[tuple[Mark, ...], tuple[Mark, ...]] = {}
        self.unversioned: set[Slot] = set()
        """Those that depend on keys by marks whose versions nobody could tell."""

    def shared(self, marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
        """The same marks, one object for all entries that carry them: 130 bytes a mark otherwise."""
        if len(self._common) >= _COMMON:
            self._common.clear()
        return self._common.setdefault(marks, marks)

    def pin(self, namespace: str) -> dict[str, Slot]:
        """The table of *namespace*, the same object for ever."""
        self._pinned.add(namespace)
        return self.spaces.setdefault(namespace, {})

    def get(self, namespace: str, key: str) -> Slot | None:
        """The slot, fresh or not."""
        table = self.spaces.get(namespace)
        return None if table is None else table.get(key)

    def slots(self, namespace: str | None = None) -> Iterator[Slot]:
        """Those there were when each table was reached; the copying of a table is atomic."""
        if namespace is not None:
            yield from list(self.spaces.get(namespace, {}).values())
            return
        for table in list(self.spaces.values()):
            yield from list(table.values())

    def tagged(self, namespace: str, names: Sequence[str]) -> set[Slot]:
        """Those that carry one of these marks; the namespace's own mark is on all of them."""
        if NAMESPACE_MARK in names:
            return set(self.slots(namespace))
        return set().union(*(self._tagged.get((namespace, name), ()) for name in names))

    @property
    def carried(self) -> Mapping[tuple[str, str], set[Slot]]:
        """The slots by namespace and the name of each mark they carry, but for the namespace's own; it stays alive."""
        return self._tagged

    def put(self, slot: Slot) -> None:
        """Add *slot*; one of the same key leaves in the same moment."""
        table = self.spaces.setdefault(slot.space, {})
        old = table.get(slot.key)
        table[slot.key] = slot
        if old is not None:
            self._see_off(old)
        for mark in slot.marks:
            if mark.name != NAMESPACE_MARK:
                self._tagged.setdefault((slot.space, mark.name), set()).add(slot)
                if mark.version == UNVERSIONED and mark.name.startswith(KEY_MARK):
                    self.unversioned.add(slot)

    def take(self, slot: Slot) -> None:
        """Remove *slot*, which is in its table."""
        del self.spaces[slot.space][slot.key]
        self._see_off(slot)

    def _see_off(self, slot: Slot) -> None:
        """It is out of its table, so that no hit comes any more: count those it had."""
        self._count(slot)
        self.unversioned.discard(slot)
        for mark in slot.marks:
            slots = self._tagged.get((slot.space, mark.name))
            if slots is not None:
                slots.discard(slot)
                if not slots:
                    del self._tagged[slot.space, mark.name]

    def collect(self, now: float) -> None:
        """Count the hits since the last time; who had some was used by *now*."""
        for table in self.spaces.values():
            for slot in table.values():
                if slot.hits != slot.told:
                    self._count(slot)
                    slot.used = now

    def _count(self, slot: Slot) -> None:
        hits = slot.hits
        new = hits - slot.told
        if new:
            slot.told = hits
            self.count(slot.ref, slot.cost, new)

    def count(self, ref: Ref, cost: float | None, hits: int = 1) -> None:
        """Count hits of an entry, whether it is here or not; *cost* is what computing it cost."""
        pair = ref.namespace, prefix_of(ref.key)
        self._departed[pair] += hits
        if cost is not None:
            known, usd = self._costs.get(pair, (0, 0.0))
            self._costs[pair] = known + hits, usd + cost * hits

    def harvest(self) -> Harvest:
        """The hits collected since the last harvest."""
        collected = Harvest(dict(self._departed), self._costs)
        self._departed, self._costs = Counter(), {}
        return collected

    def restart(self) -> None:
        """Be empty, whatever state anything is in; tables stay the objects they are."""
        for table in self.spaces.values():
            table.clear()
        self._tagged.clear()
        self.unversioned.clear()

    def sweep(self) -> None:
        """Let go of empty tables, and of the room that tables kept for entries that left."""
        for namespace, table in list(self.spaces.items()):
            if not table:
                table.clear()  # gives back what a dict emptied one by one still holds
                if namespace not in self._pinned:
                    del self.spaces[namespace]


def sorted_out(slots: Iterable[Slot], clock: float, before: float | None) -> tuple[list[Slot], list[Slot], set[Slot]]:
    """Those that are expired, those of the others that were created before that time, and the rest."""
    expired: list[Slot] = []
    older: list[Slot] = []
    rest = set()
    for slot in slots:
        if slot.expired(clock):
            expired.append(slot)
        elif before is not None and slot.header.created < before:
            older.append(slot)
        else:
            rest.add(slot)
    return expired, older, rest


def excess_of(slots: set[Slot], order: Iterable[Slot], max_bytes: int) -> list[Slot]:
    """Those among *slots* to let go, in that *order*, so that the others fit into *max_bytes*."""
    excess: list[Slot] = []
    left = sum(slot.size for slot in slots)
    for slot in order:
        if left <= max_bytes:
            break
        if slot in slots:
            left -= slot.size
            excess.append(slot)
    return excess
