"""Values that are looked at before they are served: by a check of their own, or by asking whether the source has them.

The check comes after the look into the cache and before the value is given out, so it should be cheap; it is made for
each call.  What fails it is removed, in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from scoutcache.calls.callables import is_coroutine_function
from scoutcache.calls.calls import Calls, Key
from scoutcache.calls.get_or_compute import obtain, options
from scoutcache.engine.effects import Call, Flow, perform
from scoutcache.engine.flights import Flight
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError
from scoutcache.keys import making_us

__all__ = ["get_checked", "get_or_reload"]


def get_checked(
    calls: Calls,
    key: Key,
    validate: Callable[[Any], bool],
    factory: Callable[..., Any] | None,
    default: Any,
    how: Mapping[str, Any],
) -> Flow[Any]:
    """The cached value if *validate* accepts it, else what *factory* computes, or *default* without one."""
    _check_callable("validate", validate)
    if is_coroutine_function(validate):
        raise CacheError("validate has to answer at once, so it can't be a coroutine function")
    if factory is not None:
        return (yield from obtain(calls, key, factory, options("get_with_validation", {**how, "validate": validate})))
    if how.keys() - {"namespace"}:
        raise CacheError(f"{', '.join(how)}: without a factory nothing is stored")
    return (yield from calls.get_accepted(key, validate, default, how.get("namespace")))


def get_or_reload(
    calls: Calls,
    key: Key,
    loader: Callable[..., Any],
    exists: Callable[[str], Any] | None,
    default: Any,
    how: Mapping[str, Any],
) -> Flow[Any]:
    """The cached value if *exists* finds the key at its source still, else *default*; on a miss what *loader* gives."""
    _check_callable("loader", loader)
    if exists is not None:
        _check_callable("exists", exists)
    given = options("get_or_reload", how)
    ref, began = calls.ref(key, given.namespace), calls.core.clocks.monotonic_ns()
    if exists is not None and (yield from calls.exists(key, given.namespace)):
        there = yield from perform(Call(partial(exists, ref.key), Flight([ref], calls.core.world.loop())))
        if not there:
            yield from calls.refuse(ref, began, making_us(key))
            return default
    value = yield from obtain(calls, key, partial(loader, ref.key), given)
    return default if value is MISSING else value


def _check_callable(name: str, given: object) -> None:
    if not callable(given):
        raise CacheError(f"{name} is a function, not {given!r:.80}")
