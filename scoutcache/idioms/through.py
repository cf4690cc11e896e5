"""Read-through and write-through: a cache in front of a source, which is asked first whenever something changes.

Rules.

- A miss calls the loader, once per key however many ask.  A loader that returns `MISSING` has nothing there: nothing
  is stored.
- A write goes to the source first.  When that fails the cache is untouched and the error is the caller's; when it
  succeeds and the cache can't keep the value, the cache forgets the old one.
- Writes and deletions of one key go one after the other, in every process, so that source and cache see them in one
  order.  A value that was loaded before a write loses against it: of two writers the later start wins.
- A value that can't be stored is refused before the source is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from scoutcache.calls.callables import is_coroutine_function
from scoutcache.calls.calls import Calls, Key, Options, tag_names
from scoutcache.calls.get_or_compute import options
from scoutcache.drive.loops import to_its_end
from scoutcache.engine.effects import Call, Flow, perform
from scoutcache.engine.flights import Flight
from scoutcache.entry import MISSING, Ref
from scoutcache.errors import CacheError
from scoutcache.idioms.alone import alone

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["AsyncThrough", "Source", "Through"]


class Source(NamedTuple):
    """What stands behind a cache, and how long what it says is kept: the arguments of `Cache.through`."""

    loader: Callable[..., Any] | None
    writer: Callable[[str, Any], Any] | None
    deleter: Callable[[str], Any] | None
    ttl: object
    tags: Iterable[str] | None
    namespace: str | None
    more: Mapping[str, Any]

    def how(self) -> dict[str, Any]:
        """The options of `get_or_compute`."""
        return {"ttl": self.ttl, "tags": self.tags, "namespace": self.namespace, **self.more}

    def checked(self, calls: Calls, *, is_async: bool) -> Source:
        """The same; raises `CacheError` for what no cache of that face can call."""
        for name in ("loader", "writer", "deleter"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise CacheError(f"{name} is a function, not {given!r:.80}")
            if given is not None and not is_async and is_coroutine_function(given):
                raise CacheError(f"{name} is a coroutine function, and this cache is blocking", hint="use AsyncCache")
        if not any(self[:3]):
            raise CacheError("a cache in front of a source needs a loader, a writer, or both")
        options("through", self.more)
        calls.lifetime(calls.ref("k", self.namespace), self.ttl)
        return self._replace(tags=tag_names(self.tags))


class _Writes:
    """The flows of both faces that change the source."""

    def __init__(self, calls: Calls, source: Source) -> None:
        self._calls, self._source = calls, source
        self._options = Options(source.ttl, tags=source.tags, namespace=source.namespace)

    def set(self, key: Key, value: Any) -> Flow[bool]:
        """Hand *value* to the writer, then to the cache; True if the cache took it."""
        writer = self._needed("writer", "cache.set stores a value in the cache only")
        ref = self._calls.ref(key, self._source.namespace)
        self._calls.core.world.codec.hold(value)  # what can't be stored is refused before the source is asked

        def write(flight: Flight) -> Flow[bool]:
            yield from perform(Call(partial(writer, ref.key, value), flight))
            taken = yield from self._calls.set(ref.key, value, self._options._replace(namespace=ref.namespace))
            if not taken:
                yield from self._forget(ref)
            return taken

        return (yield from alone(self._calls.core, ref, write))

    def delete(self, key: Key) -> Flow[bool]:
        """Hand *key* to the deleter, then remove it from the cache; True if the cache had it."""
        deleter = self._needed("deleter", "cache.delete removes the copy in the cache only")
        ref = self._calls.ref(key, self._source.namespace)

        def remove(flight: Flight) -> Flow[bool]:
            yield from perform(Call(partial(deleter, ref.key), flight))
            return (yield from self._forget(ref))

        return (yield from alone(self._calls.core, ref, remove))

    def _forget(self, ref: Ref) -> Flow[bool]:
        return (yield from self._calls.delete(ref.key, ref.namespace))

    def _needed(self, name: str, hint: str) -> Callable[..., Any]:
        found: Callable[..., Any] | None = getattr(self._source, name)
        if found is None:
            raise CacheError(f"no {name} was given to cache.through", hint=hint)
        return found


class Through:
    """A cache in front of a source; see `Cache.through`."""

    def __init__(self, cache: Cache, source: Source) -> None:
        self._cache, self._source = cache, source.checked(cache._calls, is_async=False)
        self._writes = _Writes(cache._calls, self._source)

    def get(self, key: Key, default: Any = None) -> Any:
        """The value of *key*, loaded when it isn't there; *default* where the source has none either."""
        loader, source = self._source.loader, self._source
        if loader is None:
            return self._cache.get(key, default, source.namespace)
        value = self._cache.get_or_compute(key, partial(loader, self._cache.key(key)), **source.how())
        return default if value is MISSING else value

    def get_many(self, keys: Iterable[Key]) -> dict[str, Any]:
        """The values of *keys* by their texts; those missing are loaded one after the other."""
        loader, source = self._source.loader, self._source
        if loader is None:
            return self._cache.get_many(keys, source.namespace)

        def load(missing: list[str]) -> dict[str, Any]:
            return _there({key: loader(key) for key in missing})

        return self._cache.get_or_compute_many(keys, load, **source.how())

    def set(self, key: Key, value: Any) -> bool:
        """Write *value* to the source, then to the cache; True if the cache took it.

        What the writer raises is raised here, and the cache is untouched.  Raises `SerializationError` before anything
        is written.
        """
        return self._cache._run(self._writes.set(key, value))

    def delete(self, key: Key) -> bool:
        """Delete *key* at the source, then from the cache; True if the cache had it."""
        return self._cache._run(self._writes.delete(key))


class AsyncThrough:
    """A cache in front of a source; see `AsyncCache.through`.  Its functions may be coroutine functions."""

    def __init__(self, cache: AsyncCache, source: Source) -> None:
        self._cache, self._source = cache, source.checked(cache._calls, is_async=True)
        self._writes = _Writes(cache._calls, self._source)

    async def get(self, key: Key, default: Any = None) -> Any:
        """The value of *key*, loaded when it isn't there; *default* where the source has none either."""
        loader, source = self._source.loader, self._source
        if loader is None:
            return await self._cache.get(key, default, source.namespace)
        value = await self._cache.get_or_compute(key, partial(loader, self._cache.key(key)), **source.how())
        return default if value is MISSING else value

    async def get_many(self, keys: Iterable[Key]) -> dict[str, Any]:
        """The values of *keys* by their texts; those missing are loaded at once."""
        loader, source = self._source.loader, self._source
        if loader is None:
            return await self._cache.get_many(keys, source.namespace)

        async def load(missing: list[str]) -> dict[str, Any]:
            import asyncio

            values = await asyncio.gather(*(_awaited(loader, key) for key in missing))
            return _there(dict(zip(missing, values, strict=True)))

        return await self._cache.get_or_compute_many(keys, load, **source.how())

    async def set(self, key: Key, value: Any) -> bool:
        """Write *value* to the source, then to the cache; True if the cache took it.

        What the writer raises is raised here, and the cache is untouched.  Raises `SerializationError` before anything
        is written.  Once begun it goes on to its end, though the caller is cancelled.
        """
        return await to_its_end(self._cache._run(self._writes.set(key, value)))

    async def delete(self, key: Key) -> bool:
        """Delete *key* at the source, then from the cache; True if the cache had it."""
        return await to_its_end(self._cache._run(self._writes.delete(key)))


def _there(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not MISSING}


async def _awaited(function: Callable[[str], Any], key: str) -> Any:
    value = function(key)
    return await value if inspect.isawaitable(value) else value
