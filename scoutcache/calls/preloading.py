"""Filling keys ahead of need: ``cache.warm(keys, loader)``, the same for both faces.

- Each key's value is what ``loader(key)`` gives; what was kept stays until then, and if the loader raises.
- One key that fails is told in its result, and the others are done.  Only impossible arguments raise.
- An invalidation that comes while the loader runs wins over what it loads: then that key failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from scoutcache.calls.callables import is_coroutine_function
from scoutcache.calls.calls import Calls, several
from scoutcache.calls.get_or_compute import How, options, recipe_of, record_anew
from scoutcache.engine.effects import Flow
from scoutcache.entry import Ref
from scoutcache.errors import CacheError
from scoutcache.models import WarmedKey

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["preload", "preload_async"]

_NOT_KEPT: Final = "not stored: invalidated meanwhile, a ttl of 0, or no tier could store it"


class _Preload:
    """What is to be loaded; raises for arguments that no key could be loaded with."""

    def __init__(
        self, calls: Calls, keys: Iterable[Any], loader: Callable[..., Any], how: dict[str, Any], *,
        only_missing: bool, concurrency: int, is_async: bool,
    ) -> None:  # fmt: skip
        if not callable(loader):
            raise CacheError(f"the loader is called for each value, so it can't be {loader!r:.80}")
        if not is_async and is_coroutine_function(loader):
            raise CacheError("the loader is a coroutine function, and this cache is blocking", hint="use AsyncCache")
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise CacheError(f"concurrency: expected 1 or more keys at once, not {concurrency!r:.80}")
        self._calls, self._loader, self._only_missing = calls, loader, only_missing
        self._how: How = options("warm", how)
        self.concurrency = concurrency
        self.refs: Sequence[Ref] = list(
            dict.fromkeys(calls.ref(key, self._how.namespace) for key in several(keys, "keys"))
        )
        for ref in self.refs[:1]:
            recipe_of(calls, ref, loader, self._how)

    def one(self, ref: Ref) -> Flow[WarmedKey]:
        """Load one key."""
        calls, core = self._calls, self._calls.core
        if not core.config.enabled:
            return WarmedKey(key=ref.key, outcome="skipped", error="the cache is switched off")
        try:
            if self._only_missing and (yield from calls.exists(ref.key, ref.namespace)):
                return WarmedKey(key=ref.key, outcome="skipped")
            outcome = yield from self._load(ref)
        except Exception as error:  # noqa: BLE001  # a loader raises what it likes, and the next key must be loaded
            told = str(error) if isinstance(error, CacheError) else f"{type(error).__name__}: {error}"
            return WarmedKey(key=ref.key, outcome="failed", error=told)
        return WarmedKey(key=ref.key, outcome="warmed" if outcome else "failed", error=None if outcome else _NOT_KEPT)

    def _load(self, ref: Ref) -> Flow[bool]:
        calls, core = self._calls, self._calls.core
        core.follower.sync()  # or what was announced before it would seem to have come after
        recipe = recipe_of(calls, ref, partial(self._loader, ref.key), self._how)
        began, start = core.clocks.monotonic_ns(), calls.position().start
        outcome = yield from core.computing.anew(ref, recipe)
        record_anew(calls, ref, began, outcome)
        if not outcome.stored:  # what was kept before is older; a later writer's stands
            yield from calls.delete_older(ref, start)
            core.world.codec.hold(outcome.value)  # raises for what can't be stored anywhere
            return False
        return True


def preload(
    cache: Cache, keys: Iterable[Any], loader: Callable[..., Any], how: dict[str, Any], *, only_missing: bool,
    concurrency: int,
) -> dict[str, WarmedKey]:  # fmt: skip
    """Load *keys* in so many threads, or here for one at a time."""
    work = _Preload(cache._calls, keys, loader, how, only_missing=only_missing, concurrency=concurrency, is_async=False)

    def load(ref: Ref) -> WarmedKey:
        return cache._run(work.one(ref))

    at_once = min(work.concurrency, len(work.refs))
    if at_once <= 1:
        return {ref.key: load(ref) for ref in work.refs}
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="scoutcache-warm")
    try:
        # In the caller's context: a loader that waits for what the caller computes is a circle, and seen as one.
        loads = [threads.submit(copy_context().run, load, ref) for ref in work.refs]
        return {ref.key: done.result() for ref, done in zip(work.refs, loads, strict=True)}
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


async def preload_async(
    cache: AsyncCache, keys: Iterable[Any], loader: Callable[..., Any], how: dict[str, Any], *, only_missing: bool,
    concurrency: int,
) -> dict[str, WarmedKey]:  # fmt: skip
    """Load *keys*, so many at once on the running loop."""
    import asyncio

    work = _Preload(cache._calls, keys, loader, how, only_missing=only_missing, concurrency=concurrency, is_async=True)
    waiting = iter(work.refs)
    done: dict[str, WarmedKey] = {}

    async def load() -> None:
        for ref in waiting:
            done[ref.key] = await cache._run(work.one(ref))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(work.concurrency, len(work.refs))):
            group.create_task(load())
    return {ref.key: done[ref.key] for ref in work.refs}
