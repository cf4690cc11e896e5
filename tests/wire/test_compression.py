"""Compression: kept when it pays, and never a bomb."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
import zlib

import lz4.block
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.errors import ConfigError, CorruptEntry
from scoutcache.wire.compression import GZIP, LEVELS, LZ4, NAMES, NONE, NUMBERS, ZSTD, Compressor

PACKED = [name for name in NUMBERS if name != "none"]
BOMB = bytes(64 << 20)
"""64 MiB of nothing: 64 KiB and less when packed."""


def make(name, level=None, threshold=0):
    return Compressor(name, level, threshold, ())


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.binary(max_size=500) | st.binary(max_size=20).map(lambda unit: unit * 100))
def test_what_was_compressed_expands_to_itself(name, data):
    compressor = make(name)
    packed = compressor.compress(data)
    assert len(packed.payload) <= len(data)
    assert compressor.expand(packed.number, packed.payload, len(data), packed.dictionary) == data


@pytest.mark.parametrize(("name", "level"), [(name, level) for name in PACKED for level in LEVELS[name]])
def test_every_level_of_the_range_works(name, level):
    compressor = make(name, level)
    packed = compressor.compress(b"words " * 500)
    assert NAMES[packed.number] == name
    assert compressor.expand(*packed[:2], 3000, 0) == b"words " * 500


@pytest.mark.parametrize("name", PACKED)
def test_it_is_kept_only_from_the_threshold_on_and_when_it_pays(name):
    compressor = make(name, threshold=1000)
    assert compressor.compress(b"a" * 999).number == NONE
    assert compressor.compress(b"a" * 1000).number == NUMBERS[name]
    noise = os.urandom(5000)
    assert compressor.compress(noise) == (NONE, noise, 0)


@pytest.mark.parametrize("name", PACKED)
@settings(max_examples=200)
@given(data=st.data())
def test_damaged_bytes_and_wrong_sizes_are_corrupt_or_another_value_of_that_size(name, data):
    compressor = make(name)
    packed = bytearray(compressor.compress(b"some words, some words, and others " * 20).payload)
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.sampled_from([700, 0, 1, 699, 701, 10_000]))
    with contextlib.suppress(CorruptEntry):
        assert len(compressor.expand(NUMBERS[name], bytes(packed), size, 0)) == size


@given(data=st.binary(max_size=60), number=st.integers(1, 3), size=st.integers(0, 5000))
def test_random_bytes_are_corrupt_or_a_value_of_that_size(data, number, size):
    with contextlib.suppress(CorruptEntry):
        assert len(make("lz4").expand(number, data, size, 0)) == size


@pytest.mark.parametrize("name", PACKED)
@given(payload=st.binary(max_size=300))
def test_where_compression_is_required_size_and_saving_do_not_matter(name, payload):
    packed = make(name).compress(payload, always=True)
    assert packed.number == NUMBERS[name]
    assert make("none").expand(packed.number, packed.payload, len(payload), 0) == payload


BOMBS = {
    "lz4": (LZ4, lz4.block.compress(BOMB, store_size=False)),
    "zstd that states its size": (ZSTD, zstandard.ZstdCompressor().compress(BOMB)),
    "zstd that does not": (ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress(BOMB)),
    "gzip": (GZIP, zlib.compress(BOMB, wbits=31)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_corrupt_and_takes_no_memory(bomb):
    number, packed = BOMBS[bomb]
    compressor = make("lz4")
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntry):
            compressor.expand(number, packed, 1000, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("number", [LZ4, ZSTD, GZIP])
def test_a_size_that_the_bytes_cannot_fill_is_corrupt_before_memory_is_taken(number):
    packed = make(NAMES[number]).compress(b"a" * 1000).payload
    with pytest.raises(CorruptEntry):
        make("lz4").expand(number, packed, 1 << 40, 0)


@pytest.mark.parametrize("name", PACKED)
def test_bytes_after_the_end_are_corrupt(name):
    packed = make(name).compress(b"a" * 1000)
    with pytest.raises(CorruptEntry):
        make(name).expand(packed.number, packed.payload + b"x", 1000, 0)


def test_an_unknown_compression_is_corrupt_and_unknown_settings_are_named():
    with pytest.raises(CorruptEntry, match="9"):
        make("lz4").expand(9, b"", 0, 0)
    with pytest.raises(ConfigError, match="brotli"):
        make("brotli")
    with pytest.raises(ConfigError, match="1 to 9"):
        make("gzip", 10)
