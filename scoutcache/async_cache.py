"""The face for event loops: the same methods as `Cache`, to be awaited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

from scoutcache.calls import Key, Options, Position, pairs, several
from scoutcache.decorators import AsyncCachedFunction, AsyncDecorator, Keeping
from scoutcache.drive import arun
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import MISSING
from scoutcache.face import Face
from scoutcache.invalidating import Action, Match, invalidate, target_of
from scoutcache.listing import list_keys
from scoutcache.models import CacheEntry, CacheStatistics, InvalidationResult
from scoutcache.reckoning import health_of, statistics_of

__all__ = ["AsyncCache"]

T = TypeVar("T")


class AsyncCache(Face):
    """A tiered cache for event loops; a hit in memory never suspends.

    Blocking writes go to threads; a factory may be a coroutine function or a plain function, which is called on the
    loop.  `on`, `namespace`, `cached` and `position` are not awaited; `keys` is an async iterator.

    >>> import asyncio, tempfile
    >>> async def main():
    ...     async with AsyncCache(directory=tempfile.mkdtemp()) as cache:
    ...         await cache.set("llm:greeting", {"text": "hello"}, ttl="2h")
    ...         return await cache.get("llm:greeting")
    >>> asyncio.run(main())
    {'text': 'hello'}
    """

    async def _run(self, flow: Flow[T]) -> T:
        self._check_open(flow)
        return await arun(flow, self._core.ports)

    async def get(self, key: Key, default: Any = None, namespace: str | None = None) -> Any:
        """The fresh value of *key*, else *default*.  Raises `InvalidKey`."""
        value = self._peek(key, MISSING, namespace)
        if value is not MISSING:
            return value
        return await self._run(self._calls.get(key, default, namespace))

    async def get_entry(self, key: Key, namespace: str | None = None) -> CacheEntry | None:
        """The entry with everything known about it, stale ones too, or None."""
        return await self._run(self._calls.get_entry(key, namespace))

    async def get_many(self, keys: Iterable[Key], namespace: str | None = None) -> dict[str, Any]:
        """The fresh values of those *keys* that are there."""
        wanted = list(several(keys, "keys"))
        found, rest = self._peek_many(wanted, namespace)
        if not rest:
            return found
        found |= await self._run(self._calls.get_many(rest, namespace))
        return {text: found[text] for key in wanted if (text := str(key)) in found}

    async def set(
        self,
        key: Key,
        value: Any,
        *,
        ttl: object = None,
        stale_ttl: object = None,
        tags: Iterable[str] = (),
        depends_on: Iterable[Key] = (),
        namespace: str | None = None,
        cost: float | None = None,
        since: Position | None = None,
    ) -> bool:
        """Store *value*; True if some tier took it.

        *ttl* is seconds, a timedelta, ``"90s"``, ``"2h"``, ``"never"`` or 0 (do not store).  Raises `InvalidKey`,
        `InvalidTTL`, or `SerializationError` naming the path inside the value.
        """
        options = Options(ttl, stale_ttl, tags, depends_on, namespace, cost, since)
        return await self._run(self._calls.set(key, value, options))

    async def set_many(
        self,
        mapping: Mapping[Any, Any],
        *,
        ttl: object = None,
        stale_ttl: object = None,
        tags: Iterable[str] = (),
        depends_on: Iterable[Key] = (),
        namespace: str | None = None,
        cost: float | None = None,
        since: Position | None = None,
    ) -> None:
        """Store all of *mapping* in one transaction per tier; nothing is stored if one value can't be."""
        options = Options(ttl, stale_ttl, tags, depends_on, namespace, cost, since)
        await self._run(self._calls.set_many(pairs(mapping), options))

    async def get_or_compute(
        self,
        key: Key,
        factory: Callable[..., Any],
        *,
        ttl: object = None,
        stale_ttl: object = None,
        tags: Iterable[str] = (),
        depends_on: Iterable[Key] = (),
        namespace: str | None = None,
        cost: float | None = None,
        condition: Callable[[], bool] | None = None,
        store_if: Callable[[Any], bool] | None = None,
    ) -> Any:
        """The value of *key*; when it isn't there *factory* computes it, once however many ask.

        What the factory raises is raised here, to every caller that waited, and is not stored.  Raises `FlightCycle`
        where a factory would have to wait for itself.
        """
        if condition is None and (value := self._peek(key, MISSING, namespace)) is not MISSING:
            return value
        options = Options(ttl, stale_ttl, tags, depends_on, namespace, cost, None, condition, store_if)
        return await self._run(self._calls.get_or_compute(key, factory, options))

    def position(self) -> Position:
        """This moment, to be handed to ``set(since=…)`` after computing outside the cache."""
        return self._calls.position()

    async def exists(self, key: Key, namespace: str | None = None) -> bool:
        """Is there a fresh entry?  Not counted as a request."""
        return await self._run(self._calls.exists(key, namespace))

    async def ttl(self, key: Key, namespace: str | None = None) -> float | None:
        """Seconds the entry stays fresh, None when it is absent, inf when it never expires."""
        return await self._run(self._calls.ttl(key, namespace))

    async def touch(self, key: Key, ttl: object, namespace: str | None = None) -> bool:
        """Let the entry live *ttl* from now; False when it is absent."""
        return await self._run(self._calls.touch(key, ttl, namespace))

    async def delete(self, key: Key, namespace: str | None = None) -> bool:
        """Remove the entry and whatever depends on it; True if it was there."""
        return await self._run(self._calls.delete(key, namespace))

    async def delete_many(self, keys: Iterable[Key], namespace: str | None = None) -> int:
        """Remove entries and whatever depends on them; how many were there."""
        return await self._run(self._calls.delete_many(keys, namespace))

    async def keys(
        self, pattern: str = "*", tag: str | None = None, namespace: str | None = None
    ) -> AsyncIterator[str]:
        """The keys of fresh entries that match, each once, as they are found."""
        found = list_keys(self._calls, pattern, tag, namespace)
        while batch := await self._in_thread(lambda: list(itertools.islice(found, 500))):
            for key in batch:
                yield key

    async def invalidate(
        self,
        *patterns: str,
        keys: Iterable[Key] = (),
        tags: Iterable[str] = (),
        match: Match = "any",
        cascade: bool = True,
        dry_run: bool = False,
        count: bool = False,
        action: Action = "delete",
        reason: str | None = None,
        namespace: str | None = None,
    ) -> InvalidationResult:
        """Remove what matches, in every process; patterns, keys and tags unite, ``match="all"`` intersects them.

        After it has returned nobody reads what was there before it, nor what was computed from before it.  Counts of
        tags are None unless *count* or *dry_run*, which scan.
        """
        target = target_of(self._calls, patterns, keys, tags, match, namespace)
        return await self._run(
            invalidate(self._calls, target, cascade=cascade, dry_run=dry_run, count=count, action=action, reason=reason)
        )

    async def clear(self, namespace: str | None = None, *, reason: str | None = None) -> InvalidationResult:
        """Everything in the namespace is gone."""
        return await self._run(self._calls.clear(namespace, reason=reason))

    def cached(
        self,
        *,
        ttl: object = None,
        key: Key | Callable[..., Key] | None = None,
        tags: Iterable[str] | Callable[..., Iterable[str]] = (),
        condition: Callable[..., bool] | None = None,
        namespace: str | None = None,
        self_in_key: bool = False,
        **more: Any,
    ) -> AsyncDecorator:
        """Keep the results of a function or coroutine function; the options of `get_or_compute` hold too.

        The key is the function's name and its arguments, defaults included, 1 told apart from "1".  The wrapper has
        ``.invalidate(*args)``, ``.refresh(*args)`` and ``.key(*args)``.  A method's ``self`` is not in the key, so all
        objects share results; with *self_in_key* it is, and must be plain data or have a method ``__cache_key__``.  A
        function whose first parameter is named ``ctx`` is passed the context of `get_or_compute` there.

        *condition*, called with the function's arguments, bypasses the cache when it is false.  Raises `CacheError` for
        generators.
        """
        keeping = Keeping(ttl, key, tags, condition, namespace, self_in_key, more)
        return lambda function: AsyncCachedFunction(self, function, keeping)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._run(perform(Work(work)))

    async def stats(self, period: object = None) -> CacheStatistics:
        """What happened in the last *period* (default: all that is kept), in every process that uses this cache."""
        return await self._in_thread(lambda: statistics_of(self._core, period))

    async def health(self) -> dict[str, Any]:
        """Is each tier answering?  ``{"healthy": …, "enabled": …, "tiers": {name: {"ok": …, "error": …, …}}}``."""
        return await self._in_thread(lambda: health_of(self._core))

    async def flush(self) -> None:
        """Write counters and log down now."""
        await self._in_thread(self._core.flush)

    async def close(self) -> None:
        """Write down what is pending and let go of files and threads; idempotent."""
        await asyncio.to_thread(self._core.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
