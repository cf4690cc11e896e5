"""The factories that outlive a call, so that a process told to refresh a key can do so: cached functions and sources.

Rule 1: only what lives as long as the program is remembered, never the closure of one call: that would keep alive
        whatever it refers to.
Rule 2: applying a message only notes what is due; the background calls the factories, once for however many messages.
Rule 3: being called is all: the caller's way finds the stale value, begins one refresh, and leases elect one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from scoutcache.coherence.messages import Message, concerns
from scoutcache.entry import Ref

__all__ = ["Factories"]


class Known(NamedTuple):
    """How to ask for a key again: *call*, on *loop* if it is a coroutine function, and the tags of its entry."""

    call: Callable[[], Any]
    tags: tuple[str, ...]
    loop: asyncio.AbstractEventLoop | None


class Factories:
    """The latest *capacity* keys whose factories outlive the call."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._known: dict[Ref, Known] = {}
        self._due: dict[Ref, None] = {}

    def remember(
        self, ref: Ref, call: Callable[[], Any], tags: Iterable[str] = (), loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Calling *call* asks for *ref* again, with its factory."""
        self._known.pop(ref, None)
        while len(self._known) >= self._capacity:
            self._known.pop(next(iter(self._known)), None)
        self._known[ref] = Known(call, tuple(tags), loop)

    def apply(self, message: Message) -> None:
        """Note what *message* asks to be refreshed."""
        if message.action == "refresh":
            for ref, known in list(self._known.items()):
                if concerns(message, ref, known.tags):
                    self._due[ref] = None

    def drop(self) -> None:
        """A message was missed, perhaps one of these; what it named is computed when somebody asks for it."""

    def run_due(self) -> None:
        """Ask again for what is due.  Raises what the factories raise."""
        while self._due:
            ref, _ = self._due.popitem()
            known = self._known.get(ref)
            if known is None:
                continue
            if known.loop is None:
                known.call()
            elif not known.loop.is_closed() and asyncio.iscoroutine(work := known.call()):
                asyncio.run_coroutine_threadsafe(work, known.loop)
