"""The factories that outlive a call, so that a process told to refresh a key can do so: those of cached functions.

Rule 1: only what lives as long as the program is remembered, never the closure of one call, such as that given to
        `get_or_compute`: it would keep alive whatever it refers to, or, held weakly, be gone at once.
Rule 2: applying a message only notes what is due; a thread of its own calls the factories, once for however many
        messages: they may take their time, or hang, and nothing else must wait for that.
Rule 3: being called is all: the caller's way finds the stale value, begins one refresh, and leases elect one process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from scoutcache.coherence.messages import Message, concerns
from scoutcache.entry import Ref

if TYPE_CHECKING:
    import asyncio

__all__ = ["Factories"]


class Known(NamedTuple):
    """How to ask for a key again: *call*, on *loop* if it is a coroutine function, and the tags of its entry.

    *anew* computes it though it is there; None where nobody knows how.
    """

    call: Callable[[], Any]
    tags: tuple[str, ...]
    loop: asyncio.AbstractEventLoop | None
    anew: Callable[[], Any] | None = None


class Factories:
    """The latest *capacity* keys whose factories outlive the call."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._known: dict[Ref, Known] = {}
        self._due: dict[Ref, None] = {}
        self._lock = threading.Lock()

    def remember(
        self, ref: Ref, call: Callable[[], Any], tags: Iterable[str] = (),
        loop: asyncio.AbstractEventLoop | None = None, anew: Callable[[], Any] | None = None,
    ) -> None:  # fmt: skip
        """Calling *call* asks for *ref* again, with its factory; *anew* computes it though it is there."""
        with self._lock:
            self._known.pop(ref, None)
            while len(self._known) >= self._capacity:
                self._known.pop(next(iter(self._known)))
            self._known[ref] = Known(call, tuple(tags), loop, anew)

    def known(self) -> dict[Ref, Known]:
        """Those that are remembered now."""
        with self._lock:
            return dict(self._known)

    def apply(self, message: Message) -> None:
        """Note what *message* asks to be refreshed."""
        if message.action == "refresh":
            with self._lock:
                named = [ref for ref, known in self._known.items() if concerns(message, ref, known.tags)]
                self._due.update(dict.fromkeys(named))

    def drop(self) -> None:
        """A message was missed, perhaps one of these; what it named is computed when somebody asks for it."""

    def renew_lock(self) -> None:
        """Called in a forked child."""
        self._lock = threading.Lock()

    def begin_due(self, failed: Callable[[Exception], None]) -> threading.Thread | None:
        """Ask again for what is due, in a thread; *failed* is told what the factories raise."""
        with self._lock:
            due = [self._known[ref] for ref in self._due if ref in self._known]
            self._due.clear()
        if not due:
            return None
        thread = threading.Thread(target=_ask, args=(due, failed), name="scoutcache-refresh", daemon=True)
        thread.start()
        return thread


def _ask(due: Iterable[Known], failed: Callable[[Exception], None]) -> None:
    import asyncio

    for known in due:
        try:
            if known.loop is None:
                known.call()
            elif not known.loop.is_closed() and asyncio.iscoroutine(work := known.call()):
                asyncio.run_coroutine_threadsafe(work, known.loop)
        except Exception as error:  # noqa: BLE001  # a factory raises what it likes, and the next one must be asked
            failed(error)
