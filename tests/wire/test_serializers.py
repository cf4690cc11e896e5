"""Serializers by number: plain data stays plain, everything else is tagged."""

from __future__ import annotations

import msgspec
import pytest

from scoutcache.errors import CorruptEntry
from scoutcache.wire.serializers import JSON, JSON_TAGGED, MSGPACK, MSGPACK_TAGGED, Serializers


@pytest.mark.parametrize(
    ("name", "plain", "tagged"), [("msgpack", MSGPACK, MSGPACK_TAGGED), ("json", JSON, JSON_TAGGED)]
)
def test_plain_data_takes_the_plain_number_and_is_readable_by_anybody(name, plain, tagged):
    serializers = Serializers(name, pickle=False)
    value = {"a": [1, -2.5, None, True, {"$": "x"}], "b": {}}
    encoded = serializers.encode(value)
    assert encoded.serializer == plain
    assert getattr(msgspec, name).decode(encoded.payload) == value
    assert serializers.decoder(plain).__self__.__class__ is getattr(msgspec, name).Decoder
    for other in ((1,), {1: 2}, [10**5000], ["\ud800"], [{1}], [{"a": b"x", "$": ()}]):
        assert serializers.encode(other).serializer == tagged
    assert {serializers.number(serializers.decoder(number)) for number in range(1, 5)} == {1, 2, 3, 4}


@pytest.mark.parametrize("value", [[float("nan")], [float("inf")], [b"x"], {"a": [-float("inf")]}, float("nan")])
def test_json_loses_no_float_and_no_bytes(value):
    encoded = Serializers("json", pickle=False).encode(value)
    assert encoded.serializer == JSON_TAGGED
    assert b"null" not in encoded.payload


def test_a_dict_of_the_users_that_looks_like_a_tag_comes_back_as_it_is():
    serializers = Serializers("json", pickle=False)
    value = [({"$": "set", "v": [1]},), {"$": {"$": b"x"}}]
    encoded = serializers.encode(value)
    assert serializers.decoder(encoded.serializer)(encoded.payload) == value


@pytest.mark.parametrize(
    "payload", [b'{"$":"no","v":1}', b'{"$":"set"}', b'{"$":"set","v":[],"w":1}', b'{"$":[],"v":1}']
)
def test_an_object_that_is_no_tag_of_ours_fails(payload):
    with pytest.raises((CorruptEntry, TypeError)):
        Serializers("json", pickle=False).decoder(JSON_TAGGED)(payload)


def test_an_extension_amid_plain_data_fails():
    decode = Serializers("msgpack", pickle=False).decoder(MSGPACK)
    with pytest.raises(CorruptEntry, match="plain data"):
        decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(1, b"")))


def test_a_dict_with_a_key_and_no_value_fails():
    decode = Serializers("msgpack", pickle=False).decoder(MSGPACK_TAGGED)
    with pytest.raises(CorruptEntry, match="key without a value"):
        decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(5, msgspec.msgpack.encode([1]))))
