"""Serializers by their number on the wire.

MessagePack and JSON each have two numbers.  Plain data takes the first and is decoded by the bound C method of a
msgspec decoder, with nothing of ours in between; a value with other types inside takes the second.

Rules:
- Which one decodes follows from the number in a verified envelope; a number nobody registered is `UnknownType`.
- pickle is there only when it was switched on, and then only for signed entries: unpickling runs code.
- A decoder may raise anything; whoever calls it for untrusted bytes turns that into `CorruptEntry`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from scoutcache.entry import Encoded
from scoutcache.errors import CacheError, ConfigError, CorruptEntry, SerializationError
from scoutcache.wire.tags import BY_CODE, BY_NAME, Tag
from scoutcache.wire.unknown import UnknownType
from scoutcache.wire.walk import TAG, Walk, is_plain

__all__ = ["Serializers", "name_of", "number_of", "register_serializer"]

MSGPACK, MSGPACK_TAGGED, JSON, JSON_TAGGED, PICKLE = 1, 2, 3, 4, 5
FIRST_CUSTOM, LAST_CUSTOM = 64, 255
Decode = Callable[[Any], Any]

_MSGPACK_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_JSON_SCALARS: Final = _MSGPACK_SCALARS - {bytes}
_TOO_BIG_OR_NOT_TEXT: Final = (OverflowError, ValueError)
"""What msgspec says of an int beyond 64 bits and of a lone surrogate (UnicodeEncodeError is a ValueError)."""


# -- MessagePack


def _no_extension(code: int, _: memoryview) -> Any:
    raise CorruptEntry(f"an extension of type {code} where plain data was announced")


def _give_extension(code: int, data: memoryview) -> Any:
    give = BY_CODE.get(code)
    if give is None:
        raise CorruptEntry(f"an extension of the unknown type {code}")
    return give(_decode_tagged_msgpack(data))


_pack: Final = msgspec.msgpack.Encoder().encode
_decode_msgpack: Final[Decode] = msgspec.msgpack.Decoder(ext_hook=_no_extension).decode
_decode_tagged_msgpack: Final[Decode] = msgspec.msgpack.Decoder(ext_hook=_give_extension).decode


def _wrap_msgpack(tag: Tag, content: Any) -> Any:
    return msgspec.msgpack.Ext(tag.code, _pack(content))


def _encode_msgpack(value: Any) -> Encoded:
    if is_plain(value, _MSGPACK_SCALARS, finite=False):
        try:
            return Encoded(MSGPACK, _pack(value))
        except _TOO_BIG_OR_NOT_TEXT:
            pass  # an int or a str of unusual kind: the walk tags it
    return Encoded(MSGPACK_TAGGED, _pack(Walk(_wrap_msgpack, binary=True).node(value)))


# -- JSON

_write: Final = msgspec.json.Encoder().encode
_decode_json: Final[Decode] = msgspec.json.Decoder().decode


def _wrap_json(tag: Tag, content: Any) -> Any:
    return {TAG: tag.name, "v": content}


def _encode_json(value: Any) -> Encoded:
    if is_plain(value, _JSON_SCALARS, finite=True):
        try:
            return Encoded(JSON, _write(value))
        except _TOO_BIG_OR_NOT_TEXT:
            pass
    return Encoded(JSON_TAGGED, _write(Walk(_wrap_json, binary=False).node(value)))


def _decode_tagged_json(payload: bytes) -> Any:
    return _give_tags(_decode_json(payload))


def _give_tags(node: Any) -> Any:
    kind = type(node)
    if kind is list:
        return [_give_tags(item) for item in node]
    if kind is not dict:
        return node
    items = {key: _give_tags(item) for key, item in node.items()}
    if TAG not in items:
        return items
    give = BY_NAME.get(items[TAG])
    if give is None or items.keys() != {TAG, "v"}:
        raise CorruptEntry("an object is tagged with an unknown name")
    return give(items["v"])


# -- pickle


def _encode_pickle(value: Any) -> Encoded:
    import pickle

    return Encoded(PICKLE, pickle.dumps(value, protocol=5))


def _decode_pickle(payload: bytes) -> Any:
    import pickle

    try:
        return pickle.loads(payload)  # noqa: S301 - reached only for bytes signed with the user's own key
    except (AttributeError, ImportError) as error:
        raise UnknownType(f"the entry holds a class that isn't known in this process: {error}") from error


# -- custom


class _Custom(NamedTuple):
    name: str
    number: int
    encode: Callable[[Any], bytes]
    decode: Decode


_CUSTOM: dict[str, _Custom] = {}


def register_serializer(
    name: str, encode: Callable[[Any], bytes], decode: Callable[[Any], Any], *, number: int = FIRST_CUSTOM
) -> None:
    """Add a serializer to every cache of this process that is opened afterwards, to be chosen by *name*.

    ``serializer.type`` in a configuration knows one such name: ``custom``.
    *number* (64 to 255) stands in the stored entries: every process must use the same for the same serializer.
    Registering a name again replaces it.  Raises `ConfigError` for a name or a number that is taken.
    """
    if name in _BUILT_IN or any(each.number == number and each.name != name for each in _CUSTOM.values()):
        raise ConfigError(f"register_serializer: {name!r:.40} or the number {number} is taken")
    if not FIRST_CUSTOM <= number <= LAST_CUSTOM:
        raise ConfigError(f"register_serializer: the number must be {FIRST_CUSTOM} to {LAST_CUSTOM}, not {number}")
    _CUSTOM[name] = _Custom(name, number, encode, decode)


def _encode_custom(name: str) -> Callable[[Any], Encoded]:
    def encode(value: Any) -> Encoded:
        custom = _CUSTOM[name]
        payload = custom.encode(value)
        if type(payload) is not bytes:
            raise SerializationError(f"the serializer {name} gave {type(payload).__name__}, not bytes")
        return Encoded(custom.number, payload)

    return encode


# -- the table

_BUILT_IN: Final = {"msgpack": _encode_msgpack, "json": _encode_json, "pickle": _encode_pickle}
_NAMES: Final = {MSGPACK: "msgpack", MSGPACK_TAGGED: "msgpack", JSON: "json", JSON_TAGGED: "json", PICKLE: "pickle"}
_DECODERS: Final[dict[int, Decode]] = {
    MSGPACK: _decode_msgpack,
    MSGPACK_TAGGED: _decode_tagged_msgpack,
    JSON: _decode_json,
    JSON_TAGGED: _decode_tagged_json,
}


class Serializers:
    """The configured serializer for writing, all of them for reading; pickle only when *pickle* is true.

    *decoders* are the built-in ones by their numbers.
    """

    def __init__(self, name: str, *, pickle: bool) -> None:
        if name not in _BUILT_IN and name not in _CUSTOM:
            known = ", ".join([*_BUILT_IN, *_CUSTOM])
            raise ConfigError(f"serializer.type: {str(name)!r:.40} is not registered; there are {known}", hint=(
                "before the cache is opened, in each process: from scoutcache.wire.codec import register_serializer; "
                f"register_serializer({str(name)!r:.40}, encode, decode)"
            ))  # fmt: skip
        if name == "pickle" and not pickle:
            raise ConfigError("serializer: pickle has to be switched on with allow_pickle, and needs a signing key")
        self._encode = _BUILT_IN.get(name) or _encode_custom(name)
        self.decoders: dict[int, Decode] = _DECODERS | ({PICKLE: _decode_pickle} if pickle else {})

    def encode(self, value: Any) -> Encoded:
        """The value as bytes.  Raises `SerializationError` naming the place inside the value."""
        try:
            return self._encode(value)
        except CacheError:
            raise
        except RecursionError as error:
            raise SerializationError("value is nested too deep to be stored from here") from error
        except Exception as error:
            raise SerializationError(f"value can't be stored: {type(error).__name__}: {error}") from error

    def decoder(self, number: int) -> Decode:
        """What decodes payloads of that number.  Raises `UnknownType`, or `CorruptEntry` for pickle switched off."""
        decode = self.decoders.get(number)
        if decode is not None:
            return decode
        if number == PICKLE:
            raise CorruptEntry("the entry is pickled, and pickle is switched off")
        for custom in _CUSTOM.values():
            if custom.number == number:
                return custom.decode
        if number >= FIRST_CUSTOM:
            raise UnknownType(f"the serializer {number} isn't registered in this process")
        raise CorruptEntry(f"the serializer {number} doesn't exist")

    def number(self, decode: Decode) -> int:
        """The number of a decoder that `decoder` gave."""
        for number, each in (*self.decoders.items(), *((each.number, each.decode) for each in _CUSTOM.values())):
            if each == decode:
                return number
        raise SerializationError("the value was encoded by a serializer that isn't registered any more")


def name_of(number: int) -> str:
    """The serializer's name for people; its number where it isn't registered here."""
    return _NAMES.get(number) or next((each.name for each in _CUSTOM.values() if each.number == number), str(number))


def number_of(name: str) -> int:
    """The number of a serializer's plain form, by its name."""
    return _CUSTOM[name].number if name in _CUSTOM else next(n for n, known in _NAMES.items() if known == name)
