"""W-TinyLFU: who is asked for often stays, and a newcomer gets in only for one who is asked for less.

Einziger, Eizenberg, Friedman, Manes, "Adaptive Software Cache Management", Middleware 2018.  Newcomers wait in a
window; its last competes with the last of main by how often either was asked for lately (`Sketch`, which also knows
those that left).  Main is two lists: those who got in, and those asked for again since, which may fill 80 % of it.  The
window's share grows and shrinks by what did the hit ratio good.  Strong on loops, long scans and steady favourites,
where recency says nothing; weak where what is new matters.  It must hear of every hit, as `Lru`, by the same bounded
buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from math import inf
from typing import Final

from scoutcache.eviction.base import Chain, Node, Policy, ghost_name
from scoutcache.eviction.climbing import PROTECTED, SAMPLE, START, STEP, climbed
from scoutcache.eviction.sketch import Sketch

__all__ = ["TinyLfu"]

_BUFFER: Final = 4096


class TinyLfu(Policy):
    """The last of the window or the last of main leaves, whichever was asked for less."""

    name = "tinylfu"

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._noted: deque[Node] = deque(maxlen=_BUFFER)
        self.note = self._noted.append
        self._window, self._probation, self._protected = Chain(), Chain(), Chain()
        self._sketch = Sketch()
        self._start()

    def _start(self) -> None:
        self.share = START
        """The window's part of the capacity."""
        self._hits, self._before, self._step = 0, 0.0, STEP

    def reset(self) -> None:
        for queue in (self._window, self._probation, self._protected):
            queue.reset()
        self._sketch.reset()
        self._noted.clear()
        self._start()
        self.entries = self.size_bytes = 0

    def nodes(self) -> Iterator[Node]:
        self.settle()
        return chain(self._probation, self._window, self._protected)

    def settle(self) -> None:
        noted, protected, probation = self._noted, self._protected, self._probation
        while noted:
            node = noted.popleft()
            self._sketch.add(ghost_name(node.key, node.space))
            self._hits += 1
            home = node.home
            if home is probation:
                probation.remove(node)
                protected.push(node)
                self._demote()
            elif home is not None:  # else it left since
                home.renew(node)

    def _demote(self) -> None:
        """Those of the protected that are too many go back on probation."""
        queue = self._protected
        entries = PROTECTED * (1 - self.share) * self._most_entries
        room = PROTECTED * (1 - self.share) * self._most_bytes
        while (node := queue.oldest) is not None and (queue.count > entries or queue.size_bytes > room):
            queue.remove(node)
            self._probation.push(node)

    def _greet(self, node: Node) -> None:
        self.settle()
        sketch = self._sketch
        sketch.make_room(self.entries)
        sketch.add(ghost_name(node.key, node.space))
        if sketch.added >= SAMPLE * max(self.entries, 1):
            self._climb(self._hits / sketch.added)
            self._hits = 0
            sketch.halve()

    def _climb(self, ratio: float) -> None:
        """Move the window's share on in the same direction as long as that is for the better."""
        self.share, self._step = climbed(self.share, self._step, ratio - self._before)
        self._before = ratio

    def _enter(self, node: Node) -> None:
        window = self._window
        window.push(node)
        entries = max(1, self._part(self._most_entries))
        room = max(node.size, self._part(self._most_bytes))
        while (oldest := window.oldest) is not None and (window.count > entries or window.size_bytes > room):
            window.remove(oldest)
            self._probation.push(oldest)

    def _part(self, capacity: float) -> float:
        """The window's share of a limit, in whole entries or bytes; of no limit none."""
        return capacity if capacity == inf else int(self.share * capacity)

    def _choose(self) -> Node:
        self.settle()
        window = self._window
        candidate, victim = window.oldest, self._probation.oldest or self._protected.oldest
        if candidate is not None and victim is not None and self._window_is_full():
            if self._count(candidate) > self._count(victim):
                window.remove(candidate)
                self._probation.push(candidate)
            else:
                victim = candidate
        leaver = victim or candidate
        assert leaver is not None
        assert leaver.home is not None
        leaver.home.remove(leaver)
        return leaver

    def _window_is_full(self) -> bool:
        window = self._window
        return window.count >= self._part(self._most_entries) or window.size_bytes >= self._part(self._most_bytes)

    def _count(self, node: Node) -> int:
        return self._sketch.count(ghost_name(node.key, node.space))
