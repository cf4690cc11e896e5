"""What a filling works on, handed out to all who work on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator

from scoutcache.warming.batches import Batch
from scoutcache.warming.lines import BadLine, Item

__all__ = ["Drawn", "Shared"]

Drawn = Item | BadLine | Batch
"""What is worked on at once."""


class Shared:
    """An iterator that several threads draw from; it ends early once *going* says no.

    What depends on other keys is handed out once all that was drawn before it is done: storing the key that an entry
    depends on ends the entry.  Whoever draws closes its own iterator, whatever becomes of the work.
    """

    def __init__(self, items: Iterator[Drawn], going: Callable[[], bool] = lambda: True) -> None:
        self._items, self._going = items, going
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._under_way: set[int] = set()
        self._drawn = 0
        self.stopped = False

    def __iter__(self) -> Generator[Drawn, None, None]:
        while True:
            with self._lock:
                ended = self.stopped or not self._going()
                item = None if ended else next(self._items, None)
                self._drawn += 1
                number = self._drawn
                with self._changed:
                    self._under_way.add(number)
            try:
                if item is None or not self._await_turn(item, number):
                    return
                yield item
            finally:
                with self._changed:
                    self._under_way.discard(number)
                    self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more; who waits for a turn waits no longer."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def _await_turn(self, item: Drawn, number: int) -> bool:
        if isinstance(item, Item) and item.options.get("depends_on"):
            with self._changed:
                self._changed.wait_for(lambda: self.stopped or min(self._under_way) == number)
                return not self.stopped
        return True
