"""The canonical form of a request to a model: equal for requests that mean the same, different for any two that don't.

What counts as the same:

1. The order of keys in JSON objects; a list and a tuple; 1 and 1.0, as in JSON.
2. Texts in different Unicode normal forms (`scoutcache.chat.texts`).
3. A parameter that is left out and its default, or null, but only where the provider that the model's name tells
   documents it (`scoutcache.chat.defaults`).
4. An image or file as base64, with other line breaks, padding or capitals in its media type: it counts as the digest
   of its bytes.  One that is named by an address counts as that address.  A text that reads like one is a text.
5. A content that is a text, and one that is a list of that text alone; in OpenAI's responses also an input that is a
   text, and one that is a user's message with it.
6. A class that the answer is to be read as (``response_format=Person``), by its name and its JSON schema.
7. What has no part in the answer (``[llm] ignored_fields``: who asks, what is stored at the provider, the price tier),
   what a client leaves out by its own sign for that, and of ``extra_headers`` what is known to say nothing of the
   answer (`scoutcache.chat.headers`).

Everything else matters: the order of messages and tools, blanks, case, parameters that no table knows.  Refused, naming
the place: what JSON can't hold (bytes, sets, objects, NaN, lone surrogates), circles and depths over 100, and more than
64 Mi characters, which no provider takes.  Models of pydantic, as clients return them, stand for their data.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import BaseModel, PydanticUserError, TypeAdapter

from scoutcache.canonical import canonical, digest, shown
from scoutcache.chat.defaults import NULLABLE, NULLABLE_IN_MESSAGE, default_of, provider_of
from scoutcache.chat.headers import is_harmless
from scoutcache.chat.texts import composed
from scoutcache.errors import InvalidKey
from scoutcache.keys import check_tag

__all__ = [
    "MAX_CHARACTERS", "Canonical", "canonical_request", "is_left_out", "model_of", "normalised", "request_digest",
]  # fmt: skip

MAX_CHARACTERS: Final = 64 * 2**20
DIGITS: Final = 32
"""Hex digits of a request's digest in a key: 128 bits."""

_PLAIN: Final = {str, int, float, bool, type(None), dict, list}

_DEEPEST: Final = 90
"""The canonical text takes a hundred levels, of which a request's own ones leave some."""

_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*);base64,", re.IGNORECASE)
_DATA: Final = frozenset({"data:", "DATA:", "Data:"})
_ADDRESSES: Final = frozenset({"url", "image_url", "audio_url", "video_url", "file_url", "file_data"})
"""The fields that an image or file in base64 stands in as an address."""
_HEADERS: Final = "extra_headers"
_BLANKS: Final = str.maketrans("", "", " \t\r\n\f\v")
_TEXT_PARTS: Final = ("text", "input_text")
_BASE64_SLICE: Final = 4 * 16384


Path = tuple["Path", object] | str
"""Where something stands: put into words only for what is refused, which costs more than all the rest."""


def _words(path: Path) -> str:
    parts: list[str] = []
    while isinstance(path, tuple):
        parts.append(f"[{path[1] if isinstance(path[1], int) else shown(path[1])}]")
        path = path[0]
    where = "".join(reversed(parts))
    return path + (where if len(where) <= 200 else f"{where[:100]}…{where[-90:]}")


class _Reading:
    """One request being read: how many characters it has had."""

    def __init__(self) -> None:
        self.characters = 0

    def take(self, text: str, where: Path) -> None:
        self.characters += len(text)
        if self.characters > MAX_CHARACTERS:
            raise InvalidKey(f"{_words(where)}: the request holds over {MAX_CHARACTERS:,} characters, "
                             "which no model takes", hint="name large files by an address or an id")  # fmt: skip


def normalised(options: object) -> Any:
    """*options* in one form for what JSON calls the same.  Raises `InvalidKey`, naming the place."""
    return _value(options, "options", 0, _Reading())


class Canonical(NamedTuple):
    """A request without what makes no difference, and how many characters of text it had."""

    fields: dict[str, Any]
    characters: int
    model: str


def canonical_request(request: object, ignored: Collection[str] = (), provider: str | None = "") -> Canonical:
    """The canonical form.  Raises `InvalidKey` for what is no request.

    *provider* is whose documented defaults hold, None for nobody's; empty: that of the model's name.
    """
    if isinstance(request, BaseModel):
        request = _dumped(request)
    if not isinstance(request, Mapping):
        raise InvalidKey(f"a request is a mapping such as {{'model': …, 'messages': […]}}, not a "
                         f"{type(request).__name__}", hint="for a text and what to do with it: text=…, operation=…")
    kept = {name: value for name, value in request.items() if not (isinstance(name, str) and name in ignored)}
    reading = _Reading()
    whole = _value(kept, "request", 0, reading)
    model = model_of(whole)
    provider = provider_of(model) if provider == "" else provider
    given = {name: value for name, value in whole.items() if not _says_nothing(name, value, provider, whole)}
    _part_by_headers(given)
    for name in ("messages", "input"):
        if isinstance(messages := given.get(name), list):
            given[name] = [_message(message, provider) for message in messages]
    for name, alone in (("system", _content), ("input", _input)):
        if name in given:
            given[name] = alone(given[name])
    if provider == "anthropic" and isinstance(choice := given.get("tool_choice"), dict):
        parallel = choice.get("disable_parallel_tool_use") is False
        given["tool_choice"] = {k: v for k, v in choice.items() if not (parallel and k == "disable_parallel_tool_use")}
    return Canonical(given, reading.characters, model)


def request_digest(request: object) -> str:
    """What stands in a key for a canonical request."""
    return hashlib.sha256(canonical(request, "request").encode()).hexdigest()[:DIGITS]


def model_of(request: Mapping[str, Any]) -> str:
    """The model that is asked; empty where none is named.  Raises `InvalidKey` for what no answer can be found by."""
    model = request.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidKey(f"request['model'] is the name of a model, not {type(model).__name__}")
    if model:
        check_tag(f"model:{model}")
    return model or ""


def is_left_out(value: object) -> bool:
    """Is it a client's sign for a parameter that isn't given (``openai.NOT_GIVEN``, ``openai.omit``)?"""
    kind = type(value)
    if kind in _PLAIN:
        return False
    return kind.__name__ in {"NotGiven", "Omit"} and kind.__module__.partition(".")[0] in {"openai", "anthropic"}


def _says_nothing(name: str, value: Any, provider: str | None, request: Mapping[str, Any]) -> bool:
    if value is None:
        return provider == "openai" and name in NULLABLE
    default = default_of(provider, name, request)
    return default is not ... and type(value) is type(default) and bool(value == default)


def _part_by_headers(given: dict[str, Any]) -> None:
    """Leave of the headers that are sent along only what may have a part in the answer."""
    headers = given.get(_HEADERS)
    if isinstance(headers, dict):
        headers = given[_HEADERS] = {name.lower(): told for name, told in headers.items() if not is_harmless(name)}
    if not headers:
        given.pop(_HEADERS, None)


def _message(message: Any, provider: str | None) -> Any:
    if not isinstance(message, dict):
        return message
    if provider == "openai":
        message = {
            name: value for name, value in message.items() if value is not None or name not in NULLABLE_IN_MESSAGE
        }
    return {**message, "content": _content(message["content"])} if "content" in message else message


def _content(content: Any) -> Any:
    """The text of a list of one text and nothing else."""
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] not in _TEXT_PARTS:
        return content
    return part["text"] if isinstance(part["text"], str) else content


def _input(asked: Any) -> Any:
    """The text of a user's one message and nothing else."""
    if not isinstance(asked, list) or len(asked) != 1 or not isinstance(asked[0], dict):
        return asked
    message = {name: value for name, value in asked[0].items() if (name, value) != ("type", "message")}
    lone = message.keys() == {"role", "content"} and message["role"] == "user" and isinstance(message["content"], str)
    return message["content"] if lone else asked


def _value(value: object, where: Path, depth: int, reading: _Reading) -> Any:
    if value is None or value is True or value is False or type(value) is int:
        return value
    if type(value) is str:
        return _text(value, where, reading)
    if depth > _DEEPEST:
        raise InvalidKey(f"{_words(where)} is nested deeper than {_DEEPEST} levels, or holds itself")
    if isinstance(value, BaseModel):
        value = _dumped(value)
    if isinstance(value, Mapping):
        return _mapping(value, where, depth, reading)
    if isinstance(value, list | tuple):
        return [_value(item, (where, at), depth + 1, reading) for at, item in enumerate(value)]
    return _simple(value, where, reading)


def _simple(value: object, where: Path, reading: _Reading) -> Any:
    if isinstance(value, Enum):
        return _simple(value.value, where, reading)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidKey(f"{_words(where)} is {value!r}, which JSON can't hold")
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    if isinstance(value, str):
        return _text(str(value), where, reading)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, type) and (issubclass(value, BaseModel) or is_dataclass(value)):
        return _class(value, where)
    raise InvalidKey(f"{_words(where)} is of type {type(value).__name__}, which JSON can't hold",
                     hint="a request is what is sent: text, numbers, lists and mappings; files in base64")  # fmt: skip


def _mapping(value: Mapping[Any, object], where: Path, depth: int, reading: _Reading) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidKey(f"{_words(where)} has the key {shown(key)}, which is not text, as JSON requires")
        if is_left_out(item):
            continue
        name = _name(key, where, reading)
        if name in found:
            raise InvalidKey(f"{_words(where)} has the key {shown(key)} twice, in two Unicode forms")
        found[name] = _value(item, (where, key), depth + 1, reading)
    if found.get("type") == "base64" and isinstance(data := value.get("data"), str):
        found["data"] = _bytes_of(data) or found["data"]
        if isinstance(kind := found.get("media_type"), str):
            found["media_type"] = kind.lower()
    return found


def _name(key: str, where: Path, reading: _Reading) -> str:
    reading.take(key, where)
    return key if key.isascii() else composed(key, f"a key of {_words(where)}")


def _text(text: str, where: Path, reading: _Reading) -> Any:
    reading.take(text, where)
    if text[:5] in _DATA and where[1] in _ADDRESSES and (head := _DATA_URL.match(text)) is not None:
        digest = _bytes_of(text, head.end())
        if digest is not None:
            return ((head[1] or "").lower(), head[2].lower(), *digest)
    return text if text.isascii() else composed(text, _words(where))


def _bytes_of(text: str, begin: int = 0) -> tuple[str, str] | None:
    """The digest of what *text* is the base64 of from *begin* on, in slices; None where it isn't base64.

    A tuple: nothing that JSON can hold looks like it.
    """
    sha, held = hashlib.sha256(), ""
    try:
        for at in range(begin, len(text), _BASE64_SLICE):
            held += text[at : at + _BASE64_SLICE].translate(_BLANKS)
            whole = len(held) // 4 * 4 - 4  # the end may be padded, and padding may be missing
            if whole > 0:
                sha.update(binascii.a2b_base64(held[:whole], strict_mode=True))
                held = held[whole:]
        held = held.rstrip("=")
        sha.update(binascii.a2b_base64(held + "=" * (-len(held) % 4), strict_mode=True))
    except ValueError:  # binascii.Error too
        return None
    return "bytes", sha.hexdigest()


def _class(kind: type, where: Path) -> tuple[str, str, str, str]:
    """A class that the answer is read as: its name, and a digest of the schema that is sent for it.

    A tuple, as above.
    """
    if (known := _schemas.get(kind)) is None:
        try:
            known = _schemas[kind] = digest(TypeAdapter(kind).json_schema())
        except PydanticUserError as error:
            raise InvalidKey(f"{_words(where)} is the class {kind.__qualname__}, which has no JSON schema: "
                             f"{error.message.partition(chr(10))[0]}") from None  # fmt: skip
    return "class", kind.__module__, kind.__qualname__, known


_schemas: Final[WeakKeyDictionary[type, str]] = WeakKeyDictionary()


def _dumped(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
