"""``@cache.llm.cached``: the arguments of a function that asks a model are the request.

Rules.

1. A request that names its model is asked of that model, whoever asks: functions and objects share its answer, and it
   has the key that `get_or_call` gives it.
2. One that names none is asked of the function: its module and name are part of the key, and the object that it
   belongs to, where ``__cache_key__`` or its value tells that one from others.  Where nothing does, it is refused.
3. The operation and the provider that the decorator is given are part of the key.
4. What a ``functools.partial`` was given beforehand is part of the request.
5. A generator function is asked for a stream, also where its arguments don't say ``stream``; an asynchronous one is
   read by ``async for`` as it was.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from scoutcache.calls.callables import identity_of, is_coroutine_function, name_in_keys
from scoutcache.calls.get_or_compute import options
from scoutcache.chat.request import is_left_out
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.llm.details import Details

if TYPE_CHECKING:
    from scoutcache.llm.async_face import AsyncLlm
    from scoutcache.llm.face import Llm

__all__ = ["decorated", "decorated_async"]

_OWNERS = ("self", "cls")

_ASKED: Final = "@scoutcache.llm.cached"
"""The field of a request under which rules 2 and 3 stand."""


def decorated(llm: Llm, function: Callable[..., Any], how: Mapping[str, Any]) -> Callable[..., Any]:
    """*function*, whose answers are kept; blocking."""
    _check(function, how)
    if is_coroutine_function(function):
        raise CacheError(f"{_name(function)} is a coroutine function, and this cache is blocking",
                         hint="use AsyncCache")  # fmt: skip

    @functools.wraps(function)
    def ask(*args: Any, **kwargs: Any) -> Any:
        request = _request(function, how, args, kwargs)
        return llm.get_or_call(request, _nothing(functools.partial(function, *args, **kwargs)), **how)

    wrapper: Any = ask
    wrapper.key = lambda *args, **kwargs: llm.key(_request(function, how, args, kwargs))
    wrapper.invalidate = lambda *args, **kwargs: llm.delete(
        _request(function, how, args, kwargs), namespace=how.get("namespace")
    )
    return ask


def decorated_async(llm: AsyncLlm, function: Callable[..., Any], how: Mapping[str, Any]) -> Callable[..., Any]:
    """The same, to be awaited; *function* may be either kind."""
    _check(function, how)

    @functools.wraps(function)
    async def ask(*args: Any, **kwargs: Any) -> Any:
        request = _request(function, how, args, kwargs)
        return await llm.get_or_call(request, _nothing(functools.partial(function, *args, **kwargs)), **how)

    @functools.wraps(function)
    def ask_for_chunks(*args: Any, **kwargs: Any) -> Any:
        return _Chunks(functools.partial(ask, *args, **kwargs))

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await llm.delete(_request(function, how, args, kwargs), namespace=how.get("namespace"))

    wrapper: Any = ask_for_chunks if inspect.isasyncgenfunction(function) else ask
    wrapper.key = lambda *args, **kwargs: llm.key(_request(function, how, args, kwargs))
    wrapper.invalidate = invalidate
    return cast("Callable[..., Any]", wrapper)


class _Chunks:
    """A stream that is asked for when it is read; to be awaited as well, for the stream itself."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._ask = ask
        self._read = self._reading()

    async def _reading(self) -> AsyncGenerator[Any]:
        async with aclosing(await self._ask()) as stream:
            async for chunk in stream:
                yield chunk

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._ask().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._read

    async def __anext__(self) -> Any:
        return await anext(self._read)

    async def aclose(self) -> None:
        """Stop: the call is cancelled, and nothing is kept."""
        await self._read.aclose()


_OPTIONS: Final = {*Details.__dataclass_fields__, "operation", "semantic"}
"""What `get_or_call` takes besides the options of `Cache.get_or_compute`."""


def _check(function: object, how: Mapping[str, Any]) -> None:
    options("llm.cached", {name: value for name, value in how.items() if name not in _OPTIONS})
    if not callable(function):
        raise CacheError(f"only what can be called asks a model, not {function!r:.80}",
                         hint="@cache.llm.cached, or @cache.llm.cached(ttl=…)")  # fmt: skip


def _nothing(call: Callable[[], Any]) -> Callable[[], Any]:
    """As one that visibly takes nothing: its own parameters are filled."""
    return lambda: call()


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _request(
    function: Callable[..., Any], how: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Mapping[str, Any]:
    """The request that a call with these arguments puts.

    Raises `TypeError` for those that don't fit, `InvalidKey` where it isn't known who is asked.
    """
    if isinstance(function, functools.partial):
        args, kwargs, function = (*function.args, *args), {**function.keywords, **kwargs}, function.func
    request, owner = _said(function, args, kwargs)
    if "stream" not in request and (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        request = {**request, "stream": True}
    if _ASKED in request:
        raise InvalidKey(f"request[{_ASKED!r}] is the cache's own", hint="give the field another name")
    asked = {name: how[name] for name in ("operation", "provider") if how.get(name) is not None}
    if not _names_model(request):
        asked.update(_asked_of(function, owner))
    return {**request, _ASKED: asked} if asked else request


def _names_model(request: Mapping[str, Any]) -> bool:
    model = request.get("model")
    return model is not None and model != "" and not is_left_out(model)


def _asked_of(function: Any, owner: Any) -> dict[str, Any]:
    """Who is asked where no model is named."""
    asked: dict[str, Any] = {"function": list(name_in_keys(function))}
    if owner is not MISSING:
        try:
            asked["owner"] = identity_of(owner)
        except InvalidKey:
            kind = owner if isinstance(owner, type) else type(owner)
            raise InvalidKey(
                f"a request to {_name(function)} names no model, so two objects of class {kind.__qualname__} would "
                "share their answers", hint="give model= among its arguments, or the class a method __cache_key__",
            ) from None  # fmt: skip
    return asked


def _said(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Mapping[str, Any], Any]:
    """The arguments by their names, and the object that the function belongs to, or `MISSING`."""
    signature = inspect.signature(function)
    owner = getattr(function, "__self__", None) if hasattr(function, "__qualname__") else function
    if owner is None or isinstance(owner, ModuleType):
        owner = MISSING
    bound = signature.bind(*args, **kwargs)
    given = set(bound.arguments)
    bound.apply_defaults()
    named: dict[str, Any] = {}
    for at, (name, parameter) in enumerate(signature.parameters.items()):
        value = bound.arguments[name]
        if at == 0 and name in _OWNERS:
            owner = value
            continue
        if value is None and name not in given:
            continue  # a default of None is how functions say that something is left out
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL or value:
            named[name] = value
    lone = set(named) == {"request"} and isinstance(named["request"], Mapping)
    return named["request"] if lone else named, owner
