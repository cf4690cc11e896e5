"""Answers as they are stored, and as `cache.llm.get_entry` tells of them.

Rule 1: what comes back is of the type that went in.  Models of pydantic, as clients return them, are stored as their
        data and the name of their class, and rebuilt only where that class is loaded already; a process that doesn't
        have it asks anew.  One that would come back different is not stored.
Rule 2: bytes that were stored by something else, or by a later version, are no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel

from scoutcache.entry import MISSING
from scoutcache.errors import CorruptEntry, SerializationError
from scoutcache.wire.classes import find, is_findable, registered
from scoutcache.wire.unknown import UnknownType

__all__ = [
    "AsyncReplay", "Chunks", "LlmAnswer", "Replay", "is_stream", "opened", "pack_chunk", "packed", "packed_stream",
    "told", "unpacked",
]  # fmt: skip

FORM: Final = 1


@dataclass(frozen=True, slots=True)
class LlmAnswer:
    """An answer and what is known of it: None where nobody said.  *cached_at* is UTC, *cost* US dollars."""

    key: str
    response: Any
    request_id: str | None
    provider: str | None
    model: str | None
    operation: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    sources: tuple[str, ...]
    cached_at: datetime
    streamed: bool


class Chunks(list[Any]):
    """The chunks of a recorded stream: a whole answer may be a list too."""


class Replay:
    """A recorded stream, to be read as the first one was: by `for`, with `close`, in a `with`.  *cached* is True."""

    cached = True

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._chunks)

    def close(self) -> None:
        """Stop; there is nothing behind it to be let go of."""
        self._chunks = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncReplay:
    """The same for `async for`."""

    cached = True

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> AsyncReplay:
        return self

    async def __anext__(self) -> Any:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop; there is nothing behind it to be let go of."""
        self._chunks = iter(())

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def is_stream(value: object) -> bool:
    """Is it something whose chunks come one after the other?"""
    return not isinstance(value, BaseModel) and (hasattr(value, "__next__") or hasattr(value, "__anext__")
                                                 or _iterates_once(value))  # fmt: skip


def _iterates_once(value: object) -> bool:
    """The streams of some clients are iterable and no iterators."""
    plain = isinstance(value, str | bytes | bytearray | Mapping | list | tuple | set | frozenset | range)
    return not plain and (hasattr(value, "__aiter__") or (hasattr(value, "__iter__") and hasattr(value, "close")))


def packed(response: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer as it is stored.  Raises `SerializationError` for one that can't be."""
    return {"llm": FORM, "whole": _packed(response), "meta": dict(meta)}


def packed_stream(chunks: Iterable[Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded stream as it is stored; its chunks come from `pack_chunk`."""
    return {"llm": FORM, "chunks": list(chunks), "meta": dict(meta)}


def _packed(value: Any) -> list[Any]:
    """The value and the name of its class, None for what stores itself."""
    if not isinstance(value, BaseModel) or registered(type(value)) is not None:
        return [value, None]
    kind = _named(type(value))
    if not is_findable(kind):
        raise SerializationError(f"{kind.__name__} can't be found by its name, so it could not be rebuilt",
                                 hint="define it in a module, or store response.model_dump()")  # fmt: skip
    beside = _beside(value)
    for build, taken in _WAYS.items():
        try:
            body = [taken(value), [kind.__module__, kind.__qualname__, build, *([beside] if beside else [])]]
            if _unpacked(body) == value:
                return body
        except (ValueError, TypeError, AttributeError):
            continue
    raise SerializationError(f"a {kind.__name__} would come back different from what it is",
                             hint="store response.model_dump()")  # fmt: skip


pack_chunk = _packed


def _named(kind: type[BaseModel]) -> type[BaseModel]:
    """The class that *kind* is found by: of a generic one whose parameters stand for nothing, that without them."""
    generic = kind.__pydantic_generic_metadata__
    origin = generic["origin"]
    return kind if origin is None or not all(isinstance(one, TypeVar) for one in generic["args"]) else origin


def _beside(value: BaseModel) -> dict[str, Any]:
    """What a client notes on its models beside their fields, such as the id of the request."""
    return {name: one for name, one in vars(value).items() if _is_beside(name) and type(one) in _NOTED}


def _is_beside(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


_NOTED: Final = (str, int, type(None))


def _dumped(value: BaseModel) -> Any:
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def _fields(value: BaseModel) -> Any:
    """Each by itself: what was parsed for the user is of a class that the field doesn't tell."""
    given = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
    return {name: _part(one) for name, one in {**given, **(value.model_extra or {})}.items()}


def _part(value: Any) -> list[Any]:
    if type(value) is list:
        return [[_part(one) for one in value], _LIST]
    if type(value) is dict:
        return [{name: _part(one) for name, one in value.items()}, _DICT]
    return _packed(value)


_LIST: Final = "list"
_DICT: Final = "dict"
_WAYS: Final[Mapping[str, Callable[[BaseModel], Any]]] = {"validate": _dumped, "construct": _dumped, "fields": _fields}
"""How a model may be taken apart, by the way in which it is built again."""


_construct: Final = vars(BaseModel)["model_construct"].__func__
"""Pydantic's own: that of a client would look into what is whole."""


def _built(kind: type[BaseModel], data: Any, how: str) -> BaseModel:
    # Clients make their models without checks, since a provider may say more than they know; theirs does so all the way
    # down, pydantic's own for the outermost only.
    if how == "validate":
        return kind.model_validate(data)
    if how == "fields":
        parts = {name: _unpacked(part) for name, part in data.items()}
        made: BaseModel = _construct(kind, **parts)
        return made
    return kind.model_construct(**data)


def _unpacked(body: Any) -> Any:
    data, name = body
    if name is None:
        return data
    if name == _LIST:
        return [_unpacked(one) for one in data]
    if name == _DICT:
        return {key: _unpacked(one) for key, one in data.items()}
    kind = find(name[0], name[1])
    if not issubclass(kind, BaseModel):
        raise UnknownType(f"{name[0]}.{name[1]} is no model of pydantic in this process")
    made = _built(kind, data, name[2])
    for beside in name[3:]:
        vars(made).update((key, one) for key, one in beside.items() if _is_beside(key))
    return made


def unpacked(stored: Any) -> Any:
    """The answer that was packed: a value, or the `Chunks` of a stream.

    Raises `UnknownType` where its class isn't loaded, `CorruptEntry` for what `packed` didn't make.
    """
    if not isinstance(stored, dict) or stored.get("llm") != FORM or not isinstance(stored.get("meta"), dict):
        raise CorruptEntry("that is no answer of a model")
    try:
        return _unpacked(stored["whole"]) if "whole" in stored else Chunks(map(_unpacked, stored["chunks"]))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CorruptEntry(f"that is no answer of a model: {type(error).__name__}") from None


def opened(stored: Any) -> Any:
    """The answer in *stored*; `MISSING` where there is none that this process could give."""
    if stored is MISSING:
        return MISSING
    try:
        return unpacked(stored)
    except (UnknownType, CorruptEntry):
        return MISSING


def told(key: str, stored: dict[str, Any], response: Any) -> LlmAnswer:
    """What is known of a stored answer."""
    meta = stored["meta"]
    return LlmAnswer(
        key, response, meta.get("request_id"), meta.get("provider"), meta.get("model"), meta.get("operation"),
        meta.get("input_tokens"), meta.get("output_tokens"), meta.get("cost"), tuple(meta.get("sources", ())),
        datetime.fromtimestamp(meta.get("at", 0.0), UTC), "chunks" in stored,
    )  # fmt: skip
