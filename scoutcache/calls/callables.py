"""What a callable is called in a key, and which of its arguments are part of it.

Rules.

- The name is the module and the qualified name.  A lambda, which has none of its own, is told apart by its code; what
  is defined inside a function by the plain values (numbers, text, dates, enumerations, tuples of them) that it closes
  over when it is decorated.  Other objects it closes over are not looked at, just as globals are not.
- Arguments are those of the call with the defaults filled in; a `functools.partial` counts as the call it stands for.
- The object or class that a method belongs to is left out unless asked for.  An object that is itself what is called
  is part of the key: without it, two of a class would share results.
- An object with a method ``__cache_key__`` stands in keys as its class and what that method returns.
- A generator has no result to cache.
"""

from __future__ import annotations

import datetime as dt
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import CodeType
from typing import Any, Final
from uuid import UUID

from scoutcache.canonical import digest
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.keys import DIGITS, CacheKey

__all__ = ["Described", "identity_of", "is_coroutine_function", "name_in_keys"]

_PLAIN: Final = (
    str, bytes, int, float, complex, type(None), Decimal, UUID, Enum, dt.date, dt.time, dt.timedelta, PurePath,
)  # fmt: skip
_SELF_EVIDENT: Final = {str, bytes, int, float, bool, type(None), list, tuple, dict}
_TOLD_APART: Final = 12
"""Hex digits that tell lambdas and closures of one name apart."""

_OWNERS: Final = {"self", "cls"}


@dataclass(frozen=True)
class Identified:
    """An object that names itself, as it stands in a key."""

    kind: str
    key: object


class Described:
    """A callable, taken apart.  Raises `CacheError` for one whose results can't be cached.

    *own_key* says that whoever decorates makes the keys, so the callable needs no name.
    """

    def __init__(self, target: Any, *, self_in_key: bool = False, own_key: bool = False) -> None:
        self.kind = type(target) if isinstance(target, classmethod | staticmethod) else None
        self.target = target.__func__ if self.kind is not None else target
        if not callable(self.target):
            raise CacheError(f"only what can be called has results to cache, not {target!r}")
        self._refuse_generator()
        self.function, self._lead, self._named = _taken_apart(self.target)
        self._self_in_key = self_in_key
        self._signature = _signature_of(self.function)
        self.is_method = self.kind is classmethod or self._seems_method()
        self._settle()
        self._head = "" if own_key else self._head_text()

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return getattr(self.function, "__qualname__", None) or type(self.function).__qualname__

    @property
    def is_coroutine(self) -> bool:
        """Must its result be awaited?"""
        return is_coroutine_function(self.target)

    def adopt(self, owner: type, name: str) -> None:
        """It was assigned to *name* in the class *owner*: there it is a method, if that is where it was defined."""
        if self.kind is None and f"{owner.__qualname__}.{name}" == getattr(self.function, "__qualname__", None):
            self.is_method = True
            self._settle()

    def signature(self) -> inspect.Signature | None:
        """What a caller passes: without the context, which the cache passes."""
        try:
            signature = inspect.signature(self.target)
        except (TypeError, ValueError):
            return None
        parameters = list(signature.parameters.values())
        if self._context_at is not None:
            del parameters[self._context_at]
        return signature.replace(parameters=parameters)

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The key of a call.  Raises `InvalidKey`, or TypeError for arguments the callable doesn't take."""
        arguments = self._arguments(args, kwargs)
        if not arguments:
            return self._head
        try:
            return f"{self._head}:{digest(arguments, 'arguments')[:DIGITS]}"
        except InvalidKey as error:
            hint = "give its class a method __cache_key__, or give key= a function of the arguments"
            raise InvalidKey(f"a call of {self.name} has no key: {error}", hint=hint) from None

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """The call, as a factory: it takes nothing, or the context as ``ctx``."""
        target, at = self.target, self._context_at
        if at is None:
            return lambda: target(*args, **kwargs)  # a partial's first free parameter might be called ctx
        return lambda ctx: target(*args[:at], ctx, *args[at:], **kwargs)

    # -- taking apart

    def _refuse_generator(self) -> None:
        for one in (self.target, _called(self.target)):
            if inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one):
                raise CacheError(f"{_name_of(self.target)} is a generator: it has no result to cache",
                                 hint="cache a function that returns a list")

    def _seems_method(self) -> bool:
        """A bound method, or a function defined in a class whose first parameter is called as in a method."""
        if inspect.ismethod(self._named):
            return True
        if self.kind is staticmethod or self._signature is None:
            return False
        scope = getattr(self.function, "__qualname__", "").split(".")[-2:-1]
        return scope not in ([], ["<locals>"]) and next(iter(self._signature.parameters), None) in _OWNERS

    def _settle(self) -> None:
        """What each call needs to know of the parameters."""
        parameters = {} if self._signature is None else dict(self._signature.parameters)
        names, at, given = list(parameters), 1 if self.is_method else 0, len(self._lead.args)
        self._context_at = at - given if names[at : at + 1] == ["ctx"] and given <= at else None
        """Which parameter of a call is the context: the first, after a method's own."""
        self._first = names[0] if names else None
        self._names = set(names)
        self._plain: list[str] | None = names
        """The names of the parameters where a call can be bound without asking `inspect`, at a tenth of the price."""
        kinds = {one.kind for one in parameters.values()}
        if self._context_at is not None or kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD}:
            self._plain = None
        self._defaults = {name: one.default for name, one in parameters.items() if one.default is not one.empty}

    def _head_text(self) -> str:
        function = self.function
        module, name = name_in_keys(function)
        if not hasattr(function, "__qualname__"):
            name += f"~{self._identity_digest(function)}"
        return CacheKey(prefix=module, identifier=name).generate()

    def _identity_digest(self, called: object) -> str:
        try:
            return identity_of(called)
        except InvalidKey as error:
            raise CacheError(
                f"two objects of class {type(called).__qualname__} would share their results: {error}",
                hint="give the class a method __cache_key__, or give key= a function of the arguments",
            ) from None

    # -- arguments

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        args, kwargs = (*self._lead.args, *args), {**self._lead.keywords, **kwargs}
        found = {"args": args, **kwargs} if self._signature is None else self._bound(args, kwargs)
        if self.is_method:
            self._settle_owner(found)
        return {name: value if type(value) in _SELF_EVIDENT else _identified(value) for name, value in found.items()}

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        assert self._signature is not None
        if self._plain is not None and len(args) <= len(self._plain):
            found = {**self._defaults, **dict(zip(self._plain, args, strict=False)), **kwargs}
            if found.keys() == self._names and kwargs.keys().isdisjoint(self._plain[: len(args)]):
                return found
        at = self._context_at
        if at is not None:
            at += len(self._lead.args)
            args = (*args[:at], None, *args[at:])
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = dict(bound.arguments)
        if at is not None:
            del found["ctx"]
        return found

    def _settle_owner(self, found: dict[str, Any]) -> None:
        first = self._first if self._signature is not None else "args"
        if first not in found or first is None or self._self_in_key:
            return
        parameter = self._signature and self._signature.parameters[first]
        if parameter and parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            found[first] = found[first][1:]
        else:
            del found[first]


def name_in_keys(function: Any) -> tuple[str, str]:
    """The module and the name of a function, with what tells it from others of that name."""
    name = getattr(function, "__qualname__", None) or f"{type(function).__qualname__}.__call__"
    apart = _told_apart(function)
    return getattr(function, "__module__", None) or type(function).__module__, f"{name}~{apart}" if apart else name


def identity_of(value: object) -> str:
    """A digest of what an object is, as keys have it.  Raises `InvalidKey` for one that nothing tells from its like."""
    return digest(_identified(value), "it")[:DIGITS]


def is_coroutine_function(target: Any) -> bool:
    """Does calling it give a coroutine, as far as can be told without?"""
    called = target.func if isinstance(target, functools.partial) else target
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(_called(called))


def _called(target: Any) -> Any:
    """What runs when an object is called that is no function."""
    if isinstance(target, functools.partial):
        return _called(target.func)
    return None if isinstance(target, type) or inspect.isroutine(target) else type(target).__call__


def _taken_apart(target: Any) -> tuple[Any, functools.partial[Any], Any]:
    """The function itself, the arguments it was given beforehand, and what a partial stands for."""
    lead = target if isinstance(target, functools.partial) else functools.partial(target)
    function = lead.func
    if inspect.ismethod(function):
        lead = functools.partial(function.__func__, function.__self__, *lead.args, **lead.keywords)
    return lead.func, lead, function


def _signature_of(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None


def _name_of(target: Any) -> str:
    while isinstance(target, functools.partial):
        target = target.func
    return getattr(target, "__qualname__", None) or type(target).__qualname__


def _identified(value: Any) -> object:
    """*value* as it stands in a key: a class by its name, an object with ``__cache_key__`` by that."""
    if isinstance(value, type):
        return Identified("class", f"{value.__module__}.{value.__qualname__}")
    naming = getattr(type(value), "__cache_key__", None)
    if naming is None:
        return value
    return Identified(f"{type(value).__module__}.{type(value).__qualname__}", naming(value))


# -- functions that share a name


def _told_apart(function: Any) -> str:
    """What tells a lambda or closure from others of its name; empty for what its name tells."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
    plain = {name: content for name, cell in cells if _is_plain(content := _content(cell))}
    own = _fingerprint(code) if code.co_name == "<lambda>" else ""
    return digest([own, plain])[:_TOLD_APART] if own or plain else ""


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # assigned after the decoration
        return cell


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _fingerprint(code: CodeType) -> str:
    """The same wherever the same text stands: no addresses, no places."""
    constants = [_fingerprint(one) if isinstance(one, CodeType) else one for one in code.co_consts]
    shown = [one if _is_plain(one) else repr(one) for one in constants]
    return digest([code.co_code, shown, code.co_names, code.co_varnames])
