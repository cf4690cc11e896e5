"""What a model of a policy is: the policy over numbered keys, without entries, without a lock, as fast as Python gets.

They do what the policies of `scoutcache.eviction` do, and are tested against them; those carry entries that others
read meanwhile, these only say who would have been there.

Rule 1: ``held[key]`` says whether a key is there.  The loop that replays requests
        (`scoutcache.insight.simulation.replay`) reads it, the model alone changes it.
Rule 2: on a hit the loop calls `touch`, or adds one to ``count[key]`` where that is None.
Rule 3: `admit` is called for absent keys that fit into an empty cache, `remove` for keys that are there.
Rule 4: a key has one size.  Reference figures do the same, and a policy is judged by whom it keeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

__all__ = ["Model"]


class Model(ABC):
    """A policy over the keys that *rooms* gives the sizes of; all that is held needs at most *capacity*.

    *costs* are what recomputing each key costs, empty where nobody knows.
    """

    name: ClassVar[str]
    greets: ClassVar[bool] = False
    touch: Callable[[int], object] | None = None

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:  # noqa: ARG002  # one wants them
        self.capacity = capacity
        self.rooms = rooms
        self.used = 0
        self.held = [False] * len(rooms)
        self.count = [0] * len(rooms)

    def admit(self, key: int) -> None:
        """Store *key*, and let others leave for it."""
        # A call costs as much as all else here, so `gone` stands in place, and who has no ghosts isn't asked.
        rooms, held = self.rooms, self.held
        if self.greets:
            self.greet(key)
        most = self.capacity - rooms[key]
        while self.used > most:
            victim = self.evict()
            self.used -= rooms[victim]
            held[victim] = False
        held[key] = True
        self.used += rooms[key]
        self.enter(key)

    def remove(self, key: int) -> None:
        """Let go of *key*, which somebody deleted or which expired."""
        self.leave(key)
        self.gone(key)

    def gone(self, key: int) -> None:
        """Note that *key* is absent."""
        self.used -= self.rooms[key]
        self.held[key] = False

    def greet(self, key: int) -> None:  # noqa: B027  # only some do
        """Look at a newcomer before anybody leaves for it, where the policy *greets*."""

    @abstractmethod
    def enter(self, key: int) -> None:
        """Put it into a queue."""

    @abstractmethod
    def evict(self) -> int:
        """Take the one that leaves out of its queue and return it."""

    @abstractmethod
    def leave(self, key: int) -> None:
        """Take it out of its queue."""
