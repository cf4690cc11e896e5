"""Bytes that nobody vouches for: damaged, cut, moved, forged or made to blow up, they give a value or a named error."""

from __future__ import annotations

import itertools
import tracemalloc

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.entry import Header, Ref, Sealed
from scoutcache.errors import CorruptEntry, IntegrityError
from scoutcache.wire import envelope
from scoutcache.wire.codec import Codec, CodecSettings
from scoutcache.wire.compression import NUMBERS

KEY = b"k" * 32
SERIALIZERS = ("msgpack", "json")


def make(**options) -> Codec:
    return Codec(CodecSettings(**options))


def put(codec: Codec, header: Header, value) -> Sealed:
    return codec.seal(header, *codec.hold(value))


@pytest.mark.parametrize("keys", [{}, {"now": KEY}])
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_change_to_any_byte_is_noticed(serializer, keys, one_of_each, header, ref):
    codec = make(serializer=serializer, signing_keys=keys)
    head = put(codec, header, one_of_each).head
    for at in range(len(head)):
        changed = head[:at] + bytes([head[at] ^ 0x41]) + head[at + 1 :]
        with pytest.raises(CorruptEntry):
            codec.open(ref, Sealed(changed))


def test_an_entry_cut_off_anywhere_or_with_bytes_to_spare_is_corrupt(header, ref, outcome):
    codec = make(threshold=0)
    head = put(codec, header, ["text" * 50]).head
    for at in range(len(head)):
        assert outcome(codec, ref, Sealed(head[:at])) == "corrupt"
    for extra in (b"\0", head, b"x" * 100):
        assert outcome(codec, ref, Sealed(head + extra)) == "corrupt"
        assert outcome(codec, ref, Sealed(extra + head)) == "corrupt"
    assert outcome(codec, ref, Sealed(head, (b"stray",))) == "corrupt"


@given(junk=st.binary(max_size=300))
def test_random_bytes_are_corrupt(junk, ref, outcome):
    assert outcome(make(), ref, Sealed(junk)) == "corrupt"
    assert outcome(make(), ref, Sealed(envelope.MAGIC + junk)) == "corrupt"


def repaired(head: bytearray) -> bytes:
    """The head with its two checksums made right again, as somebody would who wants to be let in."""
    length = int.from_bytes(head[7:11], "big")
    if 8 <= length <= len(head) - 8:
        head[length - 8 : length] = xxhash.xxh3_64_digest(bytes(head[: length - 8]))
    return bytes(head[:-8]) + xxhash.xxh3_64_digest(bytes(head[:-8]))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_behind_a_right_checksum_any_byte_may_be_wrong_and_still_it_is_a_value_or_a_named_error(
    data, one_of_each, header, ref, outcome):
    serializer, compression = data.draw(st.sampled_from([*itertools.product(SERIALIZERS, NUMBERS)]))
    codec = make(serializer=serializer, compression=compression, threshold=0, max_value=1 << 20)
    name = data.draw(st.sampled_from(sorted(one_of_each)))
    head = bytearray(put(codec, header, [one_of_each[name]]).head)
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(0, len(head) - 9))] = data.draw(st.integers(0, 255))
    assert outcome(codec, ref, Sealed(repaired(head))) in {"corrupt", "unknown", "value"}


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=80), number=st.sampled_from([1, 2, 3, 4, 5, 0, 63, 64, 255]))
def test_any_payload_behind_a_right_checksum_is_a_value_or_a_named_error(payload, number, header, ref, outcome):
    head = envelope.write(header, envelope.Body(number, 0, 0, len(payload)), b"", payload)
    assert outcome(make(), ref, Sealed(head + xxhash.xxh3_64_digest(head))) in {"corrupt", "unknown", "value"}


@pytest.mark.parametrize(
    ("serializer", "payload"),
    [
        (1, b"\x91" * 1_000_000 + b"\xc0"),
        (2, b"\x91" * 1_000_000 + b"\xc0"),
        (2, b"\xc7\xff\x01" * 100_000),
        (3, b"[" * 1_000_000 + b"]" * 1_000_000),
        (4, b'{"$":"tuple","v":[' * 100_000 + b"]}" * 100_000),
        (1, b"\xdd\xff\xff\xff\xff" * 1000),
        (1, b"\xdf\xff\xff\xff\xff" * 1000),
        (3, b"1" * 100_000),
        (2, b"\xc7\x09\x09\xa81e999999x"),
    ],
)
def test_a_payload_made_to_blow_up_is_corrupt(serializer, payload, header, ref, forge, outcome):
    assert outcome(make(), ref, forge(header, serializer, payload)) == "corrupt"


def test_a_deep_nest_of_extensions_is_corrupt(header, ref, forge, outcome):
    payload = b"\xc0"
    for _ in range(400):
        payload = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, payload)])
    assert outcome(make(), ref, forge(header, 2, payload)) == "corrupt"


def test_a_number_that_is_not_a_time_is_corrupt(header, ref, forge, outcome):
    for name in ("created", "fresh_until", "expires"):
        broken = header._replace(**{name: float("nan")})
        assert outcome(make(), ref, forge(broken, 1, b"\xc0")) == "corrupt"


@pytest.mark.parametrize(
    "other", [Ref("default", "llm:other"), Ref("tenant", "llm:answer"), Ref("defaultl", "lm:answer")]
)
@pytest.mark.parametrize("keys", [{}, {"now": KEY}])
def test_an_entry_put_under_another_key_or_namespace_is_refused(other, keys, header, ref):
    codec = make(signing_keys=keys)
    sealed = put(codec, header, "secret")
    with pytest.raises(IntegrityError, match="another key"):
        codec.open(other, sealed)
    with pytest.raises(IntegrityError, match="another key"):
        codec.header(other, sealed.head)


@pytest.mark.parametrize("tag", range(1, 30))
@pytest.mark.parametrize("number", [3_339_126_724, True, -1, 1.5])
def test_a_number_in_the_place_of_bytes_makes_no_gigabytes(tag, number, header, ref, outcome):
    """As ``bytes(3339126724)`` would: eleven bytes took three gigabytes and six seconds."""
    payload = msgspec.msgpack.encode(msgspec.msgpack.Ext(tag, msgspec.msgpack.encode(number)))
    covered = envelope.write(header, envelope.Body(2, 0, 0, len(payload)), b"", payload)
    tracemalloc.start()
    try:
        outcome(make(), ref, Sealed(covered + xxhash.xxh3_64_digest(covered)))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
