"""A stream that reaches its first reader while it is recorded, and whoever else asks once it is whole.

Rules.

1. The computation, and with it the one flight per key among all processes, runs beside the reader: in a thread of its
   own, or in a task.  What it reads is handed on at once; the stream ends for its reader when the recording is stored.
2. A reader that stops early ends the call as well, and nothing is kept: a recording is stored when its reader has
   come to the end (or has held it for `PATIENCE` seconds without).  Who waited for one that was broken off makes the
   call itself.  A reader that closes when it has had all there is, as far as the computation knows, came to the end.
3. Whether the reader hears a stream or is given a recording is decided by what comes first.  A refresh of a stale
   recording that begins beside it may be the first; then its reader hears the fresh one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, NamedTuple, Self

from scoutcache.entry import MISSING

__all__ = ["AsyncLiveStream", "LiveStream", "Recorded", "Recording", "afollow", "follow"]


PATIENCE: Final = 1.0
"""Seconds that a complete recording waits for a slow reader: others may be waiting for it, and it has been paid for."""


_OVER: Final = ("value", None)
"""Said again at the end, for others who read the same stream and wait for its next chunk."""


class Recorded(NamedTuple):
    """There is no stream to be heard: this is the value."""

    value: Any


class Recording:
    """The side of the computation: what it reads goes to *say*, as long as somebody listens."""

    def __init__(self, say: Callable[[tuple[str, Any]], None], at_end: Any) -> None:
        self._say, self._at_end = say, at_end
        self._heard = True
        self.abandoned = False
        """The reader has stopped: the computation returns `MISSING`, and nothing is kept."""
        self.whole = False
        """What was said is all there is, though the end has not been seen yet."""
        self._said = self._read = 0

    def begin(self, head: Any = None) -> None:
        """The call was answered and a stream begins."""
        if self._heard:
            self._say(("begin", head))

    def chunk(self, chunk: Any) -> None:
        """The next piece."""
        self._said += 1
        if self._heard:
            self._say(("chunk", chunk))

    def read(self, chunk: Any) -> Any:
        """The reader has had *chunk*."""
        self._read += 1
        return chunk

    def closed(self) -> bool:
        """The reader reads no more: had it all there is?"""
        self.reached(end=self.whole and self._read == self._said)
        return not self.abandoned

    def end(self) -> None:
        """That was the last piece; waits until it has been read."""
        self.whole = True
        if self._heard:
            self._say(("end", None))
            self._at_end.wait(PATIENCE)

    async def aend(self) -> None:
        """The same for an event loop."""
        self.whole = True
        if self._heard:
            self._say(("end", None))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._at_end.wait(), PATIENCE)

    def mute(self) -> None:
        """The reader was given a recording and hears nothing."""
        self._heard = False
        self._at_end.set()

    def reached(self, *, end: bool) -> None:
        """The reader has come to the *end*, or stopped before."""
        self.abandoned = self.abandoned or not end
        self._at_end.set()


class LiveStream:
    """A stream as it comes; to be read by `for`, closed with `close` or by `with`.  *cached* is False."""

    cached = False

    def __init__(self, said: queue.SimpleQueue[tuple[str, Any]], recording: Recording, head: Any) -> None:
        self._said, self._recording, self.head = said, recording, head
        self._over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def _is_over(self) -> bool:
        return self._over

    def __next__(self) -> Any:
        if self._is_over():
            raise StopIteration
        kind, what = self._said.get()
        if self._is_over():  # by another one who reads it
            self._said.put(_OVER)
            raise StopIteration
        if kind == "end":
            self._recording.reached(end=True)
            kind, what = self._said.get()
        if kind == "chunk":
            return self._recording.read(what)
        self._over = True
        self._said.put(_OVER)
        if kind == "error":
            raise what
        raise StopIteration

    def close(self) -> None:
        """Stop: the call ends with its next piece, and nothing is kept."""
        if not self._over:
            self._over = True
            self._recording.closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def follow(compute: Callable[[Recording], Any]) -> Recorded | LiveStream:
    """Have *compute* run in a thread, and give what it says first: the beginning of a stream, or its value.

    What it raises before is raised here, and what it raises later to who reads on.
    """
    said: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    recording = Recording(said.put, threading.Event())

    def run() -> None:
        try:
            while (value := compute(recording)) is MISSING and not recording.abandoned:
                pass  # it waited for a recording whose reader stopped: now it is its turn, or another one's
            said.put(("value", value))
        except BaseException as error:  # noqa: BLE001  # it belongs to the reader, whatever it is
            said.put(("error", error))

    threading.Thread(target=copy_context().run, args=(run,), name="scoutcache-stream", daemon=True).start()
    try:
        kind, what = said.get()
    except BaseException:
        recording.reached(end=False)
        raise
    if kind == "begin":
        return LiveStream(said, recording, what)
    recording.mute()
    if kind == "error":
        raise what
    return Recorded(what)


class AsyncLiveStream:
    """The same for `async for`."""

    cached = False

    def __init__(self, said: asyncio.Queue[tuple[str, Any]], recording: Recording, head: Any,
                 task: asyncio.Task[None]) -> None:  # fmt: skip
        self._said, self._recording, self.head, self._task = said, recording, head, task
        self._over = False

    def __aiter__(self) -> AsyncLiveStream:
        return self

    def _is_over(self) -> bool:
        return self._over

    async def __anext__(self) -> Any:
        if self._is_over():
            raise StopAsyncIteration
        kind, what = await self._said.get()
        if self._is_over():  # by another one who reads it
            self._said.put_nowait(_OVER)
            raise StopAsyncIteration
        if kind == "end":
            self._recording.reached(end=True)
            kind, what = await self._said.get()
        if kind == "chunk":
            return self._recording.read(what)
        self._over = True
        self._said.put_nowait(_OVER)
        if kind == "error":
            raise what
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop: the call is cancelled, and nothing is kept."""
        if not self._over:
            self._over = True
            if not self._recording.closed():
                self._task.cancel()
                await asyncio.wait([self._task])

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        loop = self._task.get_loop()
        if not self._over and not loop.is_closed():
            loop.call_soon_threadsafe(_stop, self._recording, self._task)


def _stop(recording: Recording, task: asyncio.Task[None]) -> None:
    """Nobody can read on."""
    if not recording.closed():
        task.cancel()


_running: set[asyncio.Task[None]] = set()
"""A loop keeps only weak references to its tasks."""


async def afollow(compute: Callable[[Recording], Coroutine[Any, Any, Any]]) -> Recorded | AsyncLiveStream:
    """`follow` on an event loop, in a task."""
    said: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    recording = Recording(said.put_nowait, asyncio.Event())

    async def run() -> None:
        try:
            while (value := await compute(recording)) is MISSING and not recording.abandoned:
                pass
            said.put_nowait(("value", value))
        except BaseException as error:
            said.put_nowait(("error", error))
            if isinstance(error, asyncio.CancelledError):
                raise

    task = asyncio.create_task(run(), name="scoutcache-stream")
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        kind, what = await said.get()
    except BaseException:
        recording.reached(end=False)
        task.cancel()
        raise
    if kind == "begin":
        return AsyncLiveStream(said, recording, what, task)
    recording.mute()
    if kind == "error":
        raise what
    return Recorded(what)
