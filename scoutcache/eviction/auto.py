"""The policy that finds out which policy suits: shadow caches replay a sample of what is asked for, and the best leads.

Rule 1: it begins as the default.  As soon as somebody has to leave, a shadow for each candidate is kept: an empty cache
        of hashes and sizes, smaller than the real one by the rate at which keys are sampled (by their hash, so that all
        requests of a key are in it or none), with about `SHADOW` entries, whatever the real cache has.
Rule 2: hits cost what they cost `Lru`: an append to a bounded buffer.  Shadows learn of them when it is worked off,
        before somebody leaves or by the background's tick; of very many hits between two of these, of the last ones.
Rule 3: what counts is the cost of what was answered, where entries have costs, else the number.  Judged by rounds, old
        ones fading; the first, in which shadows fill, counts for nothing.  Another leads only when it is better by a
        margin, several rounds in a row; the default leads again by a small one at once.
Rule 4: a change moves every node from the one policy to the other: about 2 µs for each, under the owner's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from scoutcache.eviction.adaptive import AdaptiveS3Fifo
from scoutcache.eviction.base import Node, Policy, ghost_name
from scoutcache.eviction.gdsf import Gdsf
from scoutcache.eviction.lru import Lru
from scoutcache.eviction.tinylfu import TinyLfu

__all__ = ["CANDIDATES", "Auto"]

Maker = Callable[[int | None, int | None], Policy]
CANDIDATES: Final[Mapping[str, Maker]] = {"adaptive": AdaptiveS3Fifo, "lru": Lru, "tinylfu": TinyLfu, "gdsf": Gdsf}
_DEFAULT: Final = "adaptive"
SHADOW: Final = 1024
_BUFFER: Final = 4096
_ROUND: Final = 4
"""A round is so many sampled requests per entry of a shadow, and `_SHORTEST` at least."""
_SHORTEST: Final = 1000
_FADING: Final = 0.8
_PATIENCE: Final = 4
"""So many rounds, one after the other, the same one has to be best by the margin before it leads."""
_MARGIN: Final = 0.01
"""Part of what was asked for that another has to answer more than the one in charge."""
_MARGIN_BACK: Final = 0.002


class _Asked(Node):
    """A sampled key in a shadow."""

    __slots__ = ("value",)

    def __init__(self, name: int, size: int, value: float | None) -> None:
        super().__init__(name, size)
        self.value = value

    @property
    def cost(self) -> float | None:
        return self.value


class _Shadow:
    """A candidate with a cache of its own that holds nothing."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._largest = policy.max_bytes
        self._nodes: dict[int, Node] = {}
        self.won = 0.0
        self.score = 0.0

    def ask(self, name: int, size: int, cost: float | None) -> None:
        """A request for *name*; a miss is stored, if it fits."""
        node = self._nodes.get(name)
        if node is not None:
            node.hits += 1
            self.won += 1.0 if cost is None else cost
            if self._policy.note is not None:
                self._policy.note(node)
        elif self._largest is None or size <= self._largest:
            self._nodes[name] = node = _Asked(name, size, cost)
            for victim in self._policy.admit(node):
                assert isinstance(victim.key, int)
                del self._nodes[victim.key]


class Auto(Policy):
    """Leads as one of `CANDIDATES` does, whichever would have answered most of late."""

    name = "auto"

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._noted: deque[Node] = deque(maxlen=_BUFFER)
        self.note = self._noted.append
        self._start()

    def _start(self) -> None:
        self.leader = _DEFAULT
        """Which candidate decides at present."""
        self._policy: Policy = CANDIDATES[_DEFAULT](self.max_entries, self.max_bytes)
        self._shadows: dict[str, _Shadow] = {}
        self._one_in = 1
        self._round = self._left = 0
        self._rounds = 0
        self._asked = self._asked_before = 0.0
        self._best, self._times = _DEFAULT, 0

    def reset(self) -> None:
        self._noted.clear()
        self._start()
        self.entries = self.size_bytes = 0

    def nodes(self) -> Iterator[Node]:
        self.settle()
        return self._policy.nodes()

    def settle(self) -> None:
        noted, note = self._noted, self._policy.note
        while noted:
            node = noted.popleft()
            if note is not None and node.home is not None:
                note(node)
            if self._shadows:
                self._learn(node)
        self._policy.settle()
        if self._shadows and self._left <= 0:
            self._judge()

    def _greet(self, node: Node) -> None:
        self.settle()
        if self._shadows:
            self._learn(node)
        self._policy._greet(node)

    def _enter(self, node: Node) -> None:
        self._policy._enter(node)
        self._policy.entries += 1
        self._policy.size_bytes += node.size

    def _choose(self) -> Node:
        if not self._shadows:
            self._begin()
        node = self._policy._choose()
        self._policy.entries -= 1
        self._policy.size_bytes -= node.size
        return node

    def _leave(self, node: Node) -> None:
        self._policy._leave(node)
        self._policy.entries -= 1
        self._policy.size_bytes -= node.size

    def _swap(self, old: Node, new: Node) -> None:
        self._policy._swap(old, new)
        self._policy.size_bytes += new.size - old.size

    def _begin(self) -> None:
        """Make the shadows, in proportion to what is held now that it is full."""
        while self.entries // self._one_in > SHADOW:
            self._one_in *= 2
        entries, room = (
            None if limit is None else max(1, limit // self._one_in) for limit in (self.max_entries, self.max_bytes)
        )
        self._shadows = {name: _Shadow(make(entries, room)) for name, make in CANDIDATES.items()}
        self._round = self._left = max(_SHORTEST, _ROUND * (self.entries // self._one_in))

    def _learn(self, node: Node) -> None:
        """Let the shadows answer a request, if its key is in the sample."""
        name = ghost_name(node.key, node.space)
        if ((name * 0x9E37_79B1) >> 12) % self._one_in:
            return
        cost = node.cost
        self._left -= 1
        self._asked += 1.0 if cost is None else cost
        for shadow in self._shadows.values():
            shadow.ask(name, node.size, cost)

    def _judge(self) -> None:
        """A round is over."""
        self._left = self._round
        self._rounds += 1
        if self._rounds > 1:
            self._asked_before = _FADING * self._asked_before + self._asked
            for shadow in self._shadows.values():
                shadow.score = _FADING * shadow.score + shadow.won
            self._elect()
        self._asked = 0.0
        for shadow in self._shadows.values():
            shadow.won = 0.0

    def _elect(self) -> None:
        scores = {name: shadow.score / (self._asked_before or 1.0) for name, shadow in self._shadows.items()}
        best = max(scores, key=lambda name: scores[name])
        better = scores[best] - scores[self.leader]
        if best == self.leader or better < (_MARGIN_BACK if best == _DEFAULT else _MARGIN):
            self._times = 0
            return
        self._times = self._times + 1 if best == self._best else 1
        self._best = best
        if best == _DEFAULT or self._times >= _PATIENCE:
            self._times = 0
            self._follow(best)

    def _follow(self, name: str) -> None:
        """From now on the candidate *name* decides; the nodes come to it in the order in which they would leave."""
        old, new = self._policy, CANDIDATES[name](self.max_entries, self.max_bytes)
        nodes = list(old.nodes())
        for node in nodes:
            new.admit(node)
        if new.note is not None:
            for node in nodes:
                if node.hits > node.mark:
                    new.note(node)
                    new.settle()
        self._policy, self.leader = new, name
