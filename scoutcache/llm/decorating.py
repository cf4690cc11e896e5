"""``@cache.llm.cached``: the arguments of a function that asks a model are the request."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scoutcache.callables import is_coroutine_function
from scoutcache.errors import CacheError

if TYPE_CHECKING:
    from scoutcache.llm.async_face import AsyncLlm
    from scoutcache.llm.face import Llm

__all__ = ["decorated", "decorated_async"]

_OWNERS = ("self", "cls")


def decorated(llm: Llm, function: Callable[..., Any], how: Mapping[str, Any]) -> Callable[..., Any]:
    """*function*, whose answers are kept; blocking."""
    _check(function)
    if is_coroutine_function(function):
        raise CacheError(f"{_name(function)} is a coroutine function, and this cache is blocking",
                         hint="use AsyncCache")  # fmt: skip

    @functools.wraps(function)
    def ask(*args: Any, **kwargs: Any) -> Any:
        request = _request(function, args, kwargs)
        return llm.get_or_call(request, _nothing(functools.partial(function, *args, **kwargs)), **how)

    wrapper: Any = ask
    wrapper.key = lambda *args, **kwargs: llm.key(_request(function, args, kwargs))
    wrapper.invalidate = lambda *args, **kwargs: llm.delete(
        _request(function, args, kwargs), namespace=how.get("namespace")
    )
    return ask


def decorated_async(llm: AsyncLlm, function: Callable[..., Any], how: Mapping[str, Any]) -> Callable[..., Any]:
    """The same, to be awaited; *function* may be either kind."""
    _check(function)

    @functools.wraps(function)
    async def ask(*args: Any, **kwargs: Any) -> Any:
        request = _request(function, args, kwargs)
        return await llm.get_or_call(request, _nothing(functools.partial(function, *args, **kwargs)), **how)

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await llm.delete(_request(function, args, kwargs), namespace=how.get("namespace"))

    wrapper: Any = ask
    wrapper.key = lambda *args, **kwargs: llm.key(_request(function, args, kwargs))
    wrapper.invalidate = invalidate
    return ask


def _check(function: object) -> None:
    if not callable(function):
        raise CacheError(f"only what can be called asks a model, not {function!r:.80}",
                         hint="@cache.llm.cached, or @cache.llm.cached(ttl=…)")  # fmt: skip


def _nothing(call: Callable[[], Any]) -> Callable[[], Any]:
    """As one that visibly takes nothing: its own parameters are filled."""
    return lambda: call()


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _request(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    """The request that a call with these arguments puts; raises `TypeError` for those that don't fit."""
    signature = inspect.signature(function)
    bound = signature.bind(*args, **kwargs)
    given = set(bound.arguments)
    bound.apply_defaults()
    named: dict[str, Any] = {}
    for at, (name, parameter) in enumerate(signature.parameters.items()):
        value = bound.arguments[name]
        if (at == 0 and name in _OWNERS) or (value is None and name not in given):
            continue  # a default of None is how functions say that something is left out
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL or value:
            named[name] = value
    return named["request"] if set(named) == {"request"} and isinstance(named["request"], Mapping) else named
