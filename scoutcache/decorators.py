"""Caching a function: the key is its module, its qualified name and its arguments as bound, defaults included.

Arguments are told apart by type (1 is not "1" and not True).  For a method the first parameter, called ``self`` or
``cls``, is left out of the key.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scoutcache.errors import CacheError
from scoutcache.keys import CacheKey, key_text

__all__ = ["CachedFunction", "Keeping"]

Key = str | CacheKey


@dataclass(frozen=True)
class Keeping:
    """How the results of a function are kept: the arguments of ``@cache.cached``."""

    ttl: object = None
    key: Key | Callable[..., Key] | None = None
    tags: Iterable[str] | Callable[..., Iterable[str]] = ()
    condition: Callable[..., bool] | None = None
    namespace: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


class CachedFunction:
    """A function and how its results are kept.  Raises `CacheError` for a generator, which has no result."""

    def __init__(self, function: Callable[..., Any], keeping: Keeping) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise CacheError(
                f"{function.__qualname__} is a generator: it has no result to cache",
                hint="cache a function that returns a list",
            )
        self.function = function
        self.keeping = keeping
        self._signature = inspect.signature(function)

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key under which the result for these arguments is kept."""
        key = self.keeping.key
        if callable(key):
            key = key(*args, **kwargs)
        return self._own_key(args, kwargs) if key is None else key_text(key)

    def _own_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        if (first := next(iter(arguments), None)) in {"self", "cls"}:
            del arguments[first]
        function = self.function
        return CacheKey(prefix=function.__module__, identifier=function.__qualname__, parameters=arguments).generate()

    def factory(self, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """The call that computes the result."""
        return functools.partial(self.function, *args, **kwargs)

    def options(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The options of ``get_or_compute`` for these arguments."""
        keeping = self.keeping
        condition = keeping.condition
        return {
            "ttl": keeping.ttl,
            "tags": keeping.tags(*args, **kwargs) if callable(keeping.tags) else keeping.tags,
            "namespace": keeping.namespace,
            "condition": None if condition is None else functools.partial(condition, *args, **kwargs),
            **keeping.more,
        }
