"""Cached functions: what ``@cache.cached`` makes of a function, on either face.

The key is the function's name and its arguments as bound, defaults included and told apart by type (1 is not "1" and
not True); `callables` says how they are found.  On a method the wrapper is bound as methods are, so
``service.answer.invalidate(2)`` needs no mention of the object.
"""

from __future__ import annotations

import functools
import inspect
import re
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

from scoutcache.calls.callables import Described
from scoutcache.calls.calls import tag_names
from scoutcache.calls.get_or_compute import How, obtain_anew, options
from scoutcache.drive.blocking import running_loop
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.keys import CacheKey, check_namespace, key_text

if TYPE_CHECKING:
    import asyncio

    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache
    from scoutcache.face import Face

__all__ = ["AsyncCachedFunction", "AsyncDecorator", "CachedFunction", "Decorator", "Keeping", "refuse_bare"]

Key = str | CacheKey
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741  # what invalidate gives


@dataclass(frozen=True)
class Keeping:
    """How the results of a function are kept: the arguments of ``@cache.cached``."""

    ttl: object = None
    key: Key | Callable[..., Key] | None = None
    tags: Iterable[str] | Callable[..., Iterable[str] | None] | None = ()
    condition: Callable[..., bool] | None = None
    namespace: str | None = None
    self_in_key: bool = False
    more: dict[str, Any] = field(default_factory=dict)


def refuse_bare(function: object) -> None:
    """Raise `CacheError` for ``@cache.cached`` without parentheses, which passes the function where nothing goes."""
    if function is not None:
        raise CacheError("cached is called before it decorates: write @cache.cached()", hint="or @cache.cached(ttl=…)")


_FILLED_IN: Final = re.compile(r"\{(\w+)[^{}]*\}")


def _checked(cache: Face, keeping: Keeping, signature: inspect.Signature | None) -> Keeping:
    """The same; what no call could be made with fails at the decoration."""
    options("cached", keeping.more)
    if keeping.ttl is not None:
        cache.config.ttl.read(keeping.ttl)
    if keeping.namespace is not None:
        check_namespace(keeping.namespace)
    if keeping.key is not None and not callable(keeping.key):
        key_text(keeping.key)
    if not callable(keeping.tags):
        keeping = replace(keeping, tags=tag_names(keeping.tags))
    _refuse_templates(keeping, signature)
    return keeping


def _refuse_templates(keeping: Keeping, signature: inspect.Signature | None) -> None:
    """Raise `InvalidKey` for ``key="user:{id}"`` on a function of ``id``: every call would get the first one's result.

    Nothing fills it in, and a tag that looks so would never be found by the name that was meant.
    """
    parameters = () if signature is None else signature.parameters
    tags = () if callable(keeping.tags) else keeping.tags or ()
    for what, text in [("key", keeping.key), *(("tags", tag) for tag in tags)]:
        for name in _FILLED_IN.findall(text) if isinstance(text, str) else ():
            if name in parameters:
                raise InvalidKey(f"{what}: {text!r:.80} is the same for every call: nothing stands in for {{{name}}}",
                                 hint=f"give {what}= a function of the arguments")  # fmt: skip


class _Wrapper:
    """What the wrappers of both faces are the same in."""

    _cache: Face

    def __init__(self, cache: Face, function: Any, keeping: Keeping) -> None:
        self._described = Described(function, self_in_key=keeping.self_in_key, own_key=keeping.key is not None)
        signature = self._described.signature()
        self._cache, self._keeping = cache, _checked(cache, keeping, signature)
        functools.update_wrapper(cast("Any", self), self._described.target)
        if signature is not None:
            self.__signature__ = signature

    def __set_name__(self, owner: type, name: str) -> None:
        self._described.adopt(owner, name)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return str(vars(self)["__qualname__"])  # as functions do: by name, so that pools of processes can call it

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<cached {self._described.name}>"

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        key = self._keeping.key
        if callable(key):
            key = key(*args, **kwargs)
        return self._described.key(args, kwargs) if key is None else key_text(key)

    def _options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        keeping = self._keeping
        condition = keeping.condition
        return {
            "ttl": keeping.ttl,
            "tags": keeping.tags(*args, **kwargs) if callable(keeping.tags) else keeping.tags,
            "namespace": keeping.namespace,
            "condition": None if condition is None else functools.partial(condition, *args, **kwargs),
            **keeping.more,
        }

    def _computed_anew(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[Any]:
        key, call = self._key(args, kwargs), self._described.call(args, kwargs)
        return obtain_anew(self._cache._calls, key, call, How(**self._options(args, kwargs)))

    def _in_memory(self, key: str) -> Any:
        """The result if memory has it and nothing else need be asked."""
        keeping = self._keeping
        if keeping.condition is not None or keeping.more:
            return MISSING
        return self._cache._peek_settled(key, MISSING, keeping.namespace)

    def _remember(
        self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:  # fmt: skip
        """So that a process that is told to refresh *key* can; not for methods, whose objects it would keep alive."""
        if self._described.is_method:
            return
        wrapper = weakref.ref(self)  # the cache must not keep alive what keeps the cache alive

        def again() -> Any:
            return None if (alive := wrapper()) is None else alive(*args, **kwargs)  # type: ignore[operator]  # both faces' are callable

        def anew() -> Any:
            return None if (alive := wrapper()) is None else alive.refresh(*args, **kwargs)  # type: ignore[attr-defined]  # both faces' have it

        core = self._cache._core
        ref = self._cache._calls.ref(key, options["namespace"])
        core.factories.remember(ref, again, options["tags"] or (), loop, anew)

    def _owner(self, instance: object, owner: type | None) -> object:
        """What a call through *instance* or its class passes first; `MISSING` for nothing."""
        kind = self._described.kind
        if kind is classmethod:
            return owner if owner is not None else type(instance)
        return MISSING if kind is staticmethod or instance is None else instance


class CachedFunction(_Wrapper, Generic[P, R]):
    """A function whose results are kept in a `Cache`."""

    _cache: Cache

    def __init__(self, cache: Cache, function: Any, keeping: Keeping) -> None:
        super().__init__(cache, function, keeping)
        if self._described.is_coroutine:
            raise CacheError(f"{self._described.name} is a coroutine function, and this cache is blocking",
                             hint="use AsyncCache")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key = self._key(args, kwargs)
        value = self._in_memory(key)
        if value is MISSING:
            call, options = self._described.call(args, kwargs), self._options(args, kwargs)
            value = self._cache.get_or_compute(key, call, **options)
            self._remember(key, args, kwargs, options)
        return value  # type: ignore[no-any-return]  # what the function returned

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        return self._key(args, kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result for these arguments; True if it was there."""
        return self._cache.delete(self._key(args, kwargs), self._keeping.namespace)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the result anew; what is kept stays until then, and if the function raises."""
        return cast("R", self._cache._run(self._computed_anew(args, kwargs)))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> Bound[Q, R, bool]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        first = self._owner(instance, owner)
        return self if first is MISSING else Bound(self, first)


class AsyncCachedFunction(_Wrapper, Generic[P, R]):
    """A function or coroutine function whose results are kept in an `AsyncCache`; calls are awaited."""

    _cache: AsyncCache

    def __init__(self, cache: AsyncCache, function: Any, keeping: Keeping) -> None:
        super().__init__(cache, function, keeping)
        _mark_coroutine_function(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key = self._key(args, kwargs)
        value = self._in_memory(key)
        if value is MISSING:
            call, options = self._described.call(args, kwargs), self._options(args, kwargs)
            value = await self._cache.get_or_compute(key, call, **options)
            self._remember(key, args, kwargs, options, running_loop())
        return value  # type: ignore[no-any-return]  # what the function returned

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        return self._key(args, kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result for these arguments; True if it was there."""
        return await self._cache.delete(self._key(args, kwargs), self._keeping.namespace)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the result anew; what is kept stays until then, and if the function raises."""
        return cast("R", await self._cache._run(self._computed_anew(args, kwargs)))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncCachedFunction[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> AsyncBound[Q, R]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        first = self._owner(instance, owner)
        return self if first is MISSING else AsyncBound(self, first)


class Bound(Generic[P, R, I]):
    """A cached method of one object, or of one class."""

    __slots__ = ("__self__", "_cached")

    def __init__(self, cached: Any, owner: object) -> None:
        self._cached, self.__self__ = cached, owner

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._cached(self.__self__, *args, **kwargs)  # type: ignore[no-any-return]  # of the wrapper's type

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""
        return str(self._cached.key(self.__self__, *args, **kwargs))

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> I:
        """Remove the result for these arguments; True if it was there."""
        return self._cached.invalidate(self.__self__, *args, **kwargs)  # type: ignore[no-any-return]  # of the wrapper's type

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the result anew; what is kept stays until then, and if the function raises."""
        return self._cached.refresh(self.__self__, *args, **kwargs)  # type: ignore[no-any-return]  # of the wrapper's type

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self._cached)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cached, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__self__, self._cached.__name__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return other._cached is self._cached and other.__self__ is self.__self__

    def __hash__(self) -> int:
        return hash((id(self._cached), id(self.__self__)))

    def __repr__(self) -> str:
        return f"<bound {self._cached!r} of {self.__self__!r}>"


class AsyncBound(Bound[P, Coroutine[Any, Any, R], Coroutine[Any, Any, bool]]):
    """The same for an `AsyncCache`; calls are awaited."""

    __slots__ = ()

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", await self._cached(self.__self__, *args, **kwargs))


def _mark_coroutine_function(wrapper: object) -> None:
    """Frameworks ask before they call whether a function must be awaited."""
    if (mark := getattr(inspect, "markcoroutinefunction", None)) is not None:
        mark(wrapper)
    else:
        import asyncio

        vars(wrapper)["_is_coroutine"] = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # before 3.12


class Decorator(Protocol):
    """What ``Cache.cached`` gives: the function keeps its signature."""

    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]:
        """The cached function."""


class AsyncDecorator(Protocol):
    """What ``AsyncCache.cached`` gives: the function keeps its signature, and is awaited."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncCachedFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> AsyncCachedFunction[P, R]: ...
