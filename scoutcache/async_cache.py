"""The face for event loops: the same methods as `Cache`, to be awaited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from scoutcache.calls.calls import Key, Options, Position, pairs, several
from scoutcache.calls.get_or_compute import How, obtain, obtain_many, options
from scoutcache.calls.invalidating import Match, SpelledAction, clear
from scoutcache.calls.listing import list_keys
from scoutcache.calls.preloading import preload_async
from scoutcache.calls.reckoning import health_of, statistics_of
from scoutcache.calls.ruling import AsyncRules, emit, invalidate_named
from scoutcache.decorators import AsyncCachedFunction, AsyncDecorator, Keeping, refuse_bare
from scoutcache.drive.loops import arun
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import MISSING
from scoutcache.face import Face
from scoutcache.idioms.checking import get_checked, get_or_reload
from scoutcache.idioms.fields import AsyncHash
from scoutcache.idioms.through import AsyncThrough, Source
from scoutcache.idioms.versioned import AsyncVersioned
from scoutcache.models import CacheEntry, CacheStatistics, EmitResult, InvalidationResult, WarmedKey

if TYPE_CHECKING:
    from scoutcache.answers.faces import AsyncSemantic
    from scoutcache.idioms.behind import AsyncBehind
    from scoutcache.llm import AsyncLlm

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

    def _quicken(self) -> None:
        super()._quicken()
        self._quicken_compute(AsyncCache.get_or_compute)

    def _run(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        self._check_open(flow)
        return arun(flow, self._core.ports)

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
        tags: Iterable[str] | None = (),
        depends_on: Iterable[Key] | None = (),
        namespace: str | None = None,
        cost: float | None = None,
        since: Position | None = None,
    ) -> bool:
        """Store *value*; True if some tier took it.

        *ttl* is seconds, a timedelta, ``"90s"``, ``"2h"``, ``"never"`` or 0 (do not store); *tags* and
        *depends_on* None are none.  Raises `InvalidKey`, `InvalidTTL`, or `SerializationError` naming the path inside
        the value.
        """
        options = Options(ttl, stale_ttl, tags, depends_on, namespace, cost, since)
        return await self._run(self._calls.set(key, value, options))

    async def set_many(
        self,
        mapping: Mapping[Any, Any],
        *,
        ttl: object = None,
        stale_ttl: object = None,
        tags: Iterable[str] | None = (),
        depends_on: Iterable[Key] | None = (),
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
        tags: Iterable[str] | None = (),
        depends_on: Iterable[Key] | None = (),
        namespace: str | None = None,
        cost: float | None = None,
        condition: Callable[[], bool] | None = None,
        store_if: Callable[[Any], bool] | None = None,
        validate: Callable[[Any], bool] | None = None,
        refresh_ahead: float | None = None,
        soft_timeout: object = None,
        hard_timeout: object = None,
        negative_ttl: object = None,
        jitter: float | None = None,
        error_ttl: object = None,
    ) -> Any:
        """The value of *key*; when it isn't there *factory* computes it, once however many ask, in any process.

        *factory* takes nothing, or a context if its first parameter is named ``ctx``: ``ctx.stale`` is the value that
        has outlived its time (`MISSING` without one), ``return ctx.not_modified()`` keeps it for another life, and
        ``ctx.ttl``, ``ctx.tags``, ``ctx.depends_on``, ``ctx.cost`` and ``ctx.store = False`` say how the result is
        kept.  What it raises is raised here, to every caller that waited, and is not stored.

        - *stale_ttl*: for so long after *ttl* the old value is served at once while one refresh runs, and when that
          fails; *soft_timeout*: wait so long for the fresh one first (``"never"``: until it comes or fails).
        - *refresh_ahead*: a hit after this part of the ttl (such as 0.8) starts a refresh as well.
        - *hard_timeout*: after it serves the stale value, or raises `FactoryTimeout`; the late result is still stored.
        - *negative_ttl*: the ttl of None, which is then never served stale.  *jitter*: the part of the ttl that chance
          takes off.
        - *error_ttl*: raise the same error again for so long without asking the factory.
        - *condition()* false: neither read nor store.  *store_if(value)* false: don't store.  *validate(value)* false:
          a cached value is dropped and computed anew.

        Raises `InvalidKey`, `InvalidTTL`, and `FlightCycle` where a factory would have to wait for itself; a fresh
        value in memory is given before the options are looked at.
        """
        at_once = condition is None and validate is None and refresh_ahead is None
        if at_once and (value := self._peek_settled(key, MISSING, namespace)) is not MISSING:
            return value
        how = How(
            ttl, stale_ttl, tags, depends_on, namespace, cost, condition, store_if, validate, refresh_ahead,
            soft_timeout, hard_timeout, negative_ttl, jitter, error_ttl,
        )  # fmt: skip
        return await self._run(obtain(self._calls, key, factory, how))

    async def get_or_compute_many(
        self, keys: Iterable[Key], factory: Callable[[list[str]], Any], **how: Any
    ) -> dict[str, Any]:
        """The values of *keys* by their texts; *factory* takes the list of keys that are missing and returns a mapping.

        It is called once, and not for keys that somebody computes already: those are waited for.  Keys that it leaves
        out are left out here.  *how* are the options of `get_or_compute`; there is no ``ctx``.
        """
        return await self._run(obtain_many(self._calls, keys, factory, options("get_or_compute_many", how)))

    async def get_with_validation(
        self,
        key: Key,
        validate: Callable[[Any], bool],
        factory: Callable[..., Any] | None = None,
        default: Any = None,
        **how: Any,
    ) -> Any:
        """The cached value if ``validate(value)`` accepts it; one that it refuses is removed.

        Then *factory* computes another, with the options of `get_or_compute` in *how*; without one it is *default*.
        """
        return await self._run(get_checked(self._calls, key, validate, factory, default, how))

    async def get_or_reload(
        self,
        key: Key,
        loader: Callable[..., Any],
        exists: Callable[[str], Any] | None = None,
        default: Any = None,
        **how: Any,
    ) -> Any:
        """The value of *key*, which ``loader(key)`` loads when it isn't there, with the options of `get_or_compute`.

        Before a cached value is served, ``exists(key)`` asks the source cheaply whether it still has it; where it
        hasn't, the entry is removed and *default* returned.  A loader that returns `MISSING` has nothing to store.
        """
        return await self._run(get_or_reload(self._calls, key, loader, exists, default, how))

    def through(
        self,
        *,
        loader: Callable[..., Any] | None = None,
        writer: Callable[[str, Any], Any] | None = None,
        deleter: Callable[[str], Any] | None = None,
        ttl: object = None,
        tags: Iterable[str] | None = (),
        namespace: str | None = None,
        **how: Any,
    ) -> AsyncThrough:
        """This cache in front of a source: ``get``, ``get_many``, ``set`` and ``delete`` that ask it.

        A miss calls ``loader(key)``, once however many ask, with the options of `get_or_compute` in *how*; a write
        calls ``writer(key, value)`` first and ``deleter(key)`` a deletion, and leaves the cache as it is when they
        fail.
        """
        return AsyncThrough(self, Source(loader, writer, deleter, ttl, tags, namespace, how))

    def behind(
        self,
        *,
        writer: Callable[[list[tuple[str, Any]]], Any],
        batch_size: int = 100,
        interval: object = 1.0,
        name: str = "default",
        ttl: object = None,
        tags: Iterable[str] | None = (),
        namespace: str | None = None,
        attempts: int = 8,
        backoff: object = 1.0,
        max_backoff: object = 300.0,
        drain_timeout: object = 10.0,
    ) -> AsyncBehind:
        """Writes that reach a source later: ``set`` returns once the write is safe in a queue on disk, and cached.

        ``writer([(key, value), …])`` gets at most *batch_size* of them, once there are so many or after *interval*
        seconds, each key once with its last value.  When it raises they are tried again after *backoff* seconds, then
        twice as long up to *max_backoff*; after so many *attempts* they are kept as ``dead_letters()``.  It may get
        writes twice whose list was under way when a process died.  The queue *name* belongs to the cache directory and
        namespace: one process at a time delivers for all.  Closing delivers what it can within *drain_timeout* seconds.

        Raises `CacheError` where there can be no queue.
        """
        from scoutcache.idioms.behind import AsyncBehind, Delivery

        delivery = Delivery.of(
            writer, batch_size, name, attempts,
            interval=interval, backoff=backoff, max_backoff=max_backoff, drain_timeout=drain_timeout,
        )  # fmt: skip
        return AsyncBehind(self, delivery, Options(ttl, tags=tags, namespace=namespace))

    def hash(
        self, key: Key, *, ttl: object = None, tags: Iterable[str] | None = (), namespace: str | None = None
    ) -> AsyncHash:
        """The fields of the mapping that *key* holds: ``get_field``, ``set_field``, ``get_all``, ``set_fields``.

        A change of a field leaves the others and the entry's time as they are, and no two changes lose each other's,
        in any process.  *ttl* and *tags* are for an entry that isn't there yet.
        """
        return AsyncHash(self, key, Options(ttl, tags=tags, namespace=namespace))

    @property
    def semantic(self) -> AsyncSemantic:
        """Answers to queries that mean what an answered one meant: ``get``, ``add``, ``remove``, ``feedback``, ….

        Needs ``scoutcache[semantic]``, and the model of ``[semantic]`` or a function: ``semantic.use(embed)``.
        """
        from scoutcache.answers.faces import AsyncSemantic

        return AsyncSemantic(self)

    def versioned(self, name: str, *, namespace: str | None = None) -> AsyncVersioned:
        """Keys with a version that all processes share: ``key(identifier)``, and ``bump()`` to leave all behind.
        """
        return AsyncVersioned(self, name, namespace)

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
        action: SpelledAction = "delete",
        reason: str | None = None,
        namespace: str | None = None,
        event: str | None = None,
    ) -> InvalidationResult:
        """Remove what matches, in every process; patterns, keys and tags unite, ``match="all"`` intersects them.

        After it has returned nobody reads what was there before it, nor what was computed from before it.  Counts of
        tags are None unless *count* or *dry_run*, which scan.  *event* adds what `emit` would do, for events without
        fields; *action* is for what is named, rules have their own: ``refresh`` marks stale, and has functions under
        `cached` run anew in every process, where the factory of any other call is left to the next reader.
        """
        flow = invalidate_named(
            self._calls, patterns, keys, tags, match, namespace, event,
            cascade=cascade, dry_run=dry_run, count=count, action=action, reason=reason,
        )  # fmt: skip
        return await self._run(flow)

    async def emit(self, event: str, /, **fields: Any) -> EmitResult:
        """Tell that something happened: the rules that *event* sets off are run, with *fields* in their targets.

        Which rules those are is this process's configuration; what they invalidate is gone in every process.  An event
        that no rule listens to is an answer with no rules.  Raises `InvalidKey`, naming rule and field, where a field
        is missing; then nothing was touched.
        """
        return await self._run(emit(self._calls, event, fields))

    @property
    def rules(self) -> AsyncRules:
        """The invalidation rules of this process, to be listed, added, removed, tried and run."""
        return AsyncRules(self._calls, self._run)

    @property
    def llm(self) -> AsyncLlm:
        """Answers of language models, kept under what was asked; in this namespace."""
        from scoutcache.llm import AsyncLlm

        return AsyncLlm(self)

    async def clear(
        self, namespace: str | None = None, *, dry_run: bool = False, count: bool = False, reason: str | None = None
    ) -> InvalidationResult:
        """Everything in the namespace is gone, by one write; how much is None without *count* or *dry_run*, which scan.
        """
        return await self._run(clear(self._calls, namespace, dry_run=dry_run, count=count, reason=reason))

    def cached(
        self,
        bare: None = None,
        /,
        *,
        ttl: object = None,
        key: Key | Callable[..., Key] | None = None,
        tags: Iterable[str] | Callable[..., Iterable[str] | None] | None = (),
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
        refuse_bare(bare)
        keeping = Keeping(ttl, key, tags, condition, namespace, self_in_key, more)
        return lambda function: AsyncCachedFunction(self, function, keeping)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await arun(perform(Work(work)), self._core.ports)  # a closed cache still tells what it counted

    async def warm(
        self, keys: Iterable[Key], loader: Callable[..., Any], *, only_missing: bool = False, concurrency: int = 4,
        **how: Any,
    ) -> dict[str, WarmedKey]:  # fmt: skip
        """Load *keys* ahead of need: the value of each is what ``loader(key)`` gives; the result says how each went.

        A key that fails (the loader raised, or no tier took the value) doesn't end the others.  What is there is loaded
        anew unless *only_missing*.  *loader* may be a coroutine function; *concurrency* keys are loaded at once.  *how*
        are the options of `get_or_compute`.
        """
        return await preload_async(self, keys, loader, how, only_missing=only_missing, concurrency=concurrency)

    async def stats(self, period: object = None) -> CacheStatistics:
        """What happened in the last *period* (default: all that is kept), in every process that uses this cache.

        A view (`namespace`) tells of its own namespace alone, and not how many entries that has.  Of other machines
        that share a server the last 25 hours are known at most.
        """
        return await self._in_thread(lambda: statistics_of(self._core, period, self._of_view))

    async def health(self) -> dict[str, Any]:
        """Is each tier answering?  ``{"healthy": …, "enabled": …, "tiers": {name: {"ok": …, "error": …, …}}}``."""
        return await self._in_thread(lambda: health_of(self._core))

    async def flush(self) -> None:
        """Write counters and log down now."""
        await self._in_thread(self._core.flush)

    async def close(self) -> None:
        """Write down what is pending and let go of files and threads; idempotent."""
        try:
            await asyncio.to_thread(self._core.close)
        finally:
            await self._core.ports.close_on_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
