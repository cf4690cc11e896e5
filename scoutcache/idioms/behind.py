"""Write-behind on both faces: writes that are safe on this machine's disk at once and reach their source later.

How they are queued and delivered, and what is promised, stands in `delivering`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scoutcache.calls.calls import Key, Options, pairs
from scoutcache.drive.loops import to_its_end
from scoutcache.idioms.delivering import Line
from scoutcache.idioms.delivery import DeadLetter, Delivery

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["AsyncBehind", "Behind", "DeadLetter", "Delivery"]


class Behind:
    """Writes that reach their source a little later; see `Cache.behind`."""

    def __init__(self, cache: Cache, delivery: Delivery, options: Options) -> None:
        self._cache, self._line = cache, Line(cache._calls, delivery, options, is_async=False)

    def set(self, key: Key, value: Any) -> None:
        """Write *value*: when this returns it is safe on the disk, and the cache has it.

        Raises `SerializationError` for what can't be stored, and `CacheError` when the queue can't take it.
        """
        self._cache._run(self._line.put([(key, value)]))

    def set_many(self, mapping: Mapping[Any, Any]) -> None:
        """Write all of *mapping* in one transaction: all of it is acknowledged, or nothing is."""
        self._cache._run(self._line.put(pairs(mapping)))

    def get(self, key: Key, default: Any = None) -> Any:
        """The value that is pending, else the one that the cache has; else *default*."""
        return self._cache._run(self._line.find(key, default))

    def pending(self) -> int:
        """How many writes have not reached their source, dead letters not counted."""
        return self._line.queue.count()

    def flush(self, timeout: float = 10.0) -> bool:
        """Have all delivered now; False when something is pending still after *timeout* seconds.

        No longer is waited, even for a writer that hangs: it runs in the thread that delivers.  0 wakes that only.
        """
        return self._line.drain(timeout)

    def dead_letters(self) -> list[DeadLetter]:
        """What the writer refused too often, oldest first."""
        return self._line.dead_letters()

    def retry_dead(self, *keys: Key) -> int:
        """Put dead letters (of *keys*, or all) back in line; how many.  Superseded ones are left where they are."""
        return self._line.queue.revive(self._line.texts(keys))

    def discard_dead(self, *keys: Key) -> int:
        """Throw dead letters (of *keys*, or all) away; how many."""
        return self._line.queue.discard(self._line.texts(keys))

    def close(self, timeout: float | None = None) -> None:
        """Deliver what can be within *timeout* seconds, and let go; closing the cache does it too.  Idempotent."""
        self._line.close(timeout)


class AsyncBehind:
    """Writes that reach their source a little later; see `AsyncCache.behind`."""

    def __init__(self, cache: AsyncCache, delivery: Delivery, options: Options) -> None:
        self._cache, self._line = cache, Line(cache._calls, delivery, options, is_async=True)

    async def set(self, key: Key, value: Any) -> None:
        """Write *value*: when this returns it is safe on the disk, and the cache has it.

        Raises `SerializationError` for what can't be stored, and `CacheError` when the queue can't take it.
        """
        await to_its_end(self._cache._run(self._line.put([(key, value)])))

    async def set_many(self, mapping: Mapping[Any, Any]) -> None:
        """Write all of *mapping* in one transaction: all of it is acknowledged, or nothing is."""
        await to_its_end(self._cache._run(self._line.put(pairs(mapping))))

    async def get(self, key: Key, default: Any = None) -> Any:
        """The value that is pending, else the one that the cache has; else *default*."""
        return await self._cache._run(self._line.find(key, default))

    async def pending(self) -> int:
        """How many writes have not reached their source, dead letters not counted."""
        return await asyncio.to_thread(self._line.queue.count)

    async def flush(self, timeout: float = 10.0) -> bool:  # noqa: ASYNC109  # the same as of the blocking face
        """Have all delivered now; False when something is pending still after *timeout* seconds.

        No longer is waited, even for a writer that hangs: it runs in the thread that delivers.  0 wakes that only.
        """
        return await asyncio.to_thread(self._line.drain, timeout)

    async def dead_letters(self) -> list[DeadLetter]:
        """What the writer refused too often, oldest first."""
        return await asyncio.to_thread(self._line.dead_letters)

    async def retry_dead(self, *keys: Key) -> int:
        """Put dead letters (of *keys*, or all) back in line; how many.  Superseded ones are left where they are."""
        return await asyncio.to_thread(self._line.queue.revive, self._line.texts(keys))

    async def discard_dead(self, *keys: Key) -> int:
        """Throw dead letters (of *keys*, or all) away; how many."""
        return await asyncio.to_thread(self._line.queue.discard, self._line.texts(keys))

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # the same as of the blocking face
        """Deliver what can be within *timeout* seconds, and let go; closing the cache does it too.  Idempotent."""
        await asyncio.to_thread(self._line.close, timeout)
