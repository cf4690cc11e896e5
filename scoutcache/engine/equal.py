"""Which of the keys that are written get the value that was there: whoever computed from it may keep the result.

Rule 1: they are compared before the write.  Somebody else may come in between, so they count as equal only if nothing
        was announced since that names one, asked after the write; who announces later is heard then.
"""

from __future__ import annotations

from collections.abc import Iterable

from scoutcache.engine.world import World
from scoutcache.entry import Ref

__all__ = ["Equal"]


class Equal:
    """Those of one write; *always* says that no other value can have come in between."""

    def __init__(self, world: World, refs: Iterable[Ref] = (), *, always: bool = False) -> None:
        self._world, self._end, self._always = world, world.end(), always
        self.refs = set(refs)
        self.doubtful: set[Ref] = set()
        """Those that seemed equal, and may not be."""

    def settled(self) -> list[str]:
        """The keys that are surely equal; to be called after the write."""
        if self.refs and not self._always and self._world.end() != self._end:
            messages, _ = self._world.since(self._end)
            if messages is None or any(message.is_invalidation for message in messages):
                self.doubtful = self.refs
            else:
                told = {Ref(one.namespace, key) for one in messages for key in one.names if key not in one.same}
                self.doubtful = self.refs & told
            self.refs = self.refs - self.doubtful
        return [ref.key for ref in self.refs]
