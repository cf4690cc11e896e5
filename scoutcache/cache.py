"""The blocking face: each method drives one flow of `Calls`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

from scoutcache.calls import Key, Options, Position, pairs, several
from scoutcache.decorators import CachedFunction, Decorator, Keeping
from scoutcache.drive import run
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING
from scoutcache.face import Face
from scoutcache.invalidating import Action, Match, invalidate, target_of
from scoutcache.listing import list_keys
from scoutcache.models import CacheEntry, CacheStatistics, InvalidationResult
from scoutcache.reckoning import health_of, statistics_of

__all__ = ["Cache"]

T = TypeVar("T")


class Cache(Face):
    """A tiered cache for blocking code; safe to share between threads.

    >>> import tempfile
    >>> with Cache(directory=tempfile.mkdtemp()) as cache:
    ...     cache.set("llm:greeting", {"text": "hello"}, ttl="2h", tags=["model:small"])
    ...     cache.get("llm:greeting")
    ...     cache.get_or_compute("llm:sum", lambda: 40 + 2)
    True
    {'text': 'hello'}
    42
    """

    def _quicken(self) -> None:
        super()._quicken()
        memory = self._core.memory
        if memory is not None and self.config.enabled and type(self).get is Cache.get:
            # A hit in memory is one Python frame: the closure stands in for the method below, which it calls on a miss.
            vars(self)["get"] = memory.make_get(self._get, **self._hot_options())

    def _run(self, flow: Flow[T]) -> T:
        self._check_open(flow)
        return run(flow, self._core.ports)

    def _get(self, key: Key, default: Any = None, namespace: str | None = None) -> Any:
        return self._run(self._calls.get(key, default, namespace))

    def get(self, key: Key, default: Any = None, namespace: str | None = None) -> Any:
        """The fresh value of *key*, else *default*.  Raises `InvalidKey`."""
        return self._get(key, default, namespace)

    def get_entry(self, key: Key, namespace: str | None = None) -> CacheEntry | None:
        """The entry with everything known about it, stale ones too, or None."""
        return self._run(self._calls.get_entry(key, namespace))

    def get_many(self, keys: Iterable[Key], namespace: str | None = None) -> dict[str, Any]:
        """The fresh values of those *keys* that are there."""
        wanted = list(several(keys, "keys"))
        found, rest = self._peek_many(wanted, namespace)
        if not rest:
            return found
        found |= self._run(self._calls.get_many(rest, namespace))
        return {text: found[text] for key in wanted if (text := str(key)) in found}

    def set(
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
        return self._run(self._calls.set(key, value, options))

    def set_many(
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
        self._run(self._calls.set_many(pairs(mapping), options))

    def get_or_compute(
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
        return self._run(self._calls.get_or_compute(key, factory, options))

    def position(self) -> Position:
        """This moment, to be handed to ``set(since=…)`` after computing outside the cache."""
        return self._calls.position()

    def exists(self, key: Key, namespace: str | None = None) -> bool:
        """Is there a fresh entry?  Not counted as a request."""
        return self._run(self._calls.exists(key, namespace))

    def ttl(self, key: Key, namespace: str | None = None) -> float | None:
        """Seconds the entry stays fresh, None when it is absent, inf when it never expires."""
        return self._run(self._calls.ttl(key, namespace))

    def touch(self, key: Key, ttl: object, namespace: str | None = None) -> bool:
        """Let the entry live *ttl* from now; False when it is absent."""
        return self._run(self._calls.touch(key, ttl, namespace))

    def delete(self, key: Key, namespace: str | None = None) -> bool:
        """Remove the entry and whatever depends on it; True if it was there."""
        return self._run(self._calls.delete(key, namespace))

    def delete_many(self, keys: Iterable[Key], namespace: str | None = None) -> int:
        """Remove entries and whatever depends on them; how many were there."""
        return self._run(self._calls.delete_many(keys, namespace))

    def keys(self, pattern: str = "*", tag: str | None = None, namespace: str | None = None) -> Iterator[str]:
        """The keys of fresh entries that match, each once, as they are found."""
        return list_keys(self._calls, pattern, tag, namespace)

    def invalidate(
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
        return self._run(
            invalidate(self._calls, target, cascade=cascade, dry_run=dry_run, count=count, action=action, reason=reason)
        )

    def clear(self, namespace: str | None = None, *, reason: str | None = None) -> InvalidationResult:
        """Everything in the namespace is gone."""
        return self._run(self._calls.clear(namespace, reason=reason))

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
    ) -> Decorator:
        """Keep the results of a function; the options of `get_or_compute` hold too.

        The key is the function's name and its arguments, defaults included, 1 told apart from "1".  The wrapper has
        ``.invalidate(*args)``, ``.refresh(*args)`` and ``.key(*args)``.  A method's ``self`` is not in the key, so all
        objects share results; with *self_in_key* it is, and must be plain data or have a method ``__cache_key__``.  A
        function whose first parameter is named ``ctx`` is passed the context of `get_or_compute` there.

        *condition*, called with the function's arguments, bypasses the cache when it is false.  Raises `CacheError` for
        generators, and for coroutine functions.
        """
        keeping = Keeping(ttl, key, tags, condition, namespace, self_in_key, more)
        return lambda function: CachedFunction(self, function, keeping)

    def stats(self, period: object = None) -> CacheStatistics:
        """What happened in the last *period* (default: all that is kept), in every process that uses this cache."""
        return statistics_of(self._core, period)

    def health(self) -> dict[str, Any]:
        """Is each tier answering?  ``{"healthy": …, "enabled": …, "tiers": {name: {"ok": …, "error": …, …}}}``."""
        return health_of(self._core)

    def flush(self) -> None:
        """Write counters and log down now."""
        self._core.flush()

    def close(self) -> None:
        """Write down what is pending and let go of files and threads; idempotent."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
