"""Large values: all of their chunks, or nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.entry import Sealed
from scoutcache.errors import CorruptEntry
from scoutcache.wire.codec import Codec, CodecSettings
from scoutcache.wire.envelope import read_checked

KEY = b"k" * 32


def make(size=1024, **options):
    return Codec(CodecSettings(compression="none", chunk_size=size, **options))


def put(codec, header, value):
    return codec.seal(header, *codec.hold(value))


@settings(deadline=None, max_examples=40)
@given(length=st.integers(500, 6000), size=st.integers(1024, 3000), signed=st.booleans())
def test_every_part_keeps_within_the_chunk_size_and_all_together_are_the_value(length, size, signed, header, ref):
    codec = make(size, signing_keys={"k": KEY} if signed else {})
    sealed = put(codec, header, "x" * length)
    assert all(len(part) <= size for part in sealed)
    assert read_checked(sealed.head).chunks == len(sealed.chunks)
    assert codec.open(ref, sealed).value == "x" * length
    assert codec.header(ref, sealed.head) == header


@pytest.mark.parametrize("keys", [{}, {"k": KEY}])
def test_chunks_that_are_missing_doubled_or_out_of_order_are_corrupt(keys, header, ref):
    codec = make(signing_keys=keys)
    head, chunks = put(codec, header, "abc" * 1000)
    assert len(chunks) >= 3
    wrong = [order for n in range(len(chunks) + 2) for order in itertools.product(chunks, repeat=n) if order != chunks]
    for order in wrong[:500]:
        with pytest.raises(CorruptEntry):
            codec.open(ref, Sealed(head, order))


@pytest.mark.parametrize("keys", [{}, {"k": KEY}])
def test_chunks_of_two_values_do_not_mix(keys, header, ref):
    codec = make(signing_keys=keys)
    one, two = put(codec, header, "a" * 3000), put(codec, header, "b" * 3000)
    assert len(one.chunks) == len(two.chunks)
    with pytest.raises(CorruptEntry, match="belongs elsewhere"):
        codec.open(ref, Sealed(one.head, (two.chunks[0], *one.chunks[1:])))
    with pytest.raises(CorruptEntry):
        codec.open(ref, Sealed(two.head, one.chunks))


def test_the_same_value_cut_otherwise_does_not_mix(header, ref):
    small, large = make(1024), make(1500)
    one, two = put(small, header, "a" * 4000), put(large, header, "a" * 4000)
    with pytest.raises(CorruptEntry):
        small.open(ref, Sealed(one.head, (*two.chunks, *one.chunks[len(two.chunks) :])))


def test_a_flipped_or_lost_byte_in_any_chunk_is_corrupt(header, ref):
    codec = make()
    head, chunks = put(codec, header, "abc" * 500)
    for place, chunk in enumerate(chunks):
        for at in range(len(chunk)):
            changed = chunk[:at] + bytes([chunk[at] ^ 4]) + chunk[at + 1 :]
            for other in (changed, chunk[:at]):
                with pytest.raises(CorruptEntry):
                    codec.open(ref, Sealed(head, (*chunks[:place], other, *chunks[place + 1 :])))


def test_equal_values_give_equal_bytes_and_dice_are_used_where_given(header):
    assert put(make(), header, "a" * 5000) == put(make(), header, "a" * 5000)
    drawn = []
    codec = Codec(CodecSettings(compression="none", chunk_size=1024), token=lambda n: drawn.append(n) or b"t" * n)
    assert all(b"t" * 16 in part for part in put(codec, header, "a" * 5000)[1])
    assert drawn == [16]


def test_fifty_megabytes_come_back_in_chunks_of_at_most_one(header, ref):
    codec = Codec()
    value = bytes(range(256)) * 200_000
    sealed = codec.seal(header, *codec.hold(value))
    assert codec.open(ref, sealed).value == value
    plain = Codec(CodecSettings(compression="none"))
    parts = plain.seal(header, *plain.hold(value))
    assert len(parts.chunks) == 49
    assert max(map(len, parts.chunks)) <= 1 << 20
    assert codec.open(ref, parts).value == value
