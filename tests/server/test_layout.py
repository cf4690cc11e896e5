"""Names on a server, and the frame around an entry's bytes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from scoutcache.entry import NEVER, Header, Ref, Sealed
from scoutcache.errors import CorruptEntry
from scoutcache.keys import HASHED, physical_key
from scoutcache.patterns import Pattern
from scoutcache.server.layout import (
    FRAME,
    SHARDS,
    Layout,
    expiry_of,
    frame,
    head_of,
    position_text,
    shard_tags,
    start_text,
    unframe,
)
from scoutcache.wire.codec import Codec, CodecSettings

CODEC = Codec(CodecSettings())
PLAIN, SHARDED = Layout("app:"), Layout("app:", sharded=True)
LAYOUTS = pytest.mark.parametrize("layout", [PLAIN, SHARDED, Layout("[a]*?\\:é")], ids=["plain", "sharded", "odd"])

KEYS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=300).filter(lambda key: len(key) > 0)
SPACES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=30)
START = st.integers(0, (1 << 63) - 1)


def header(start=1, expires=2.0):
    return Header(ref=Ref("default", "k"), start=start, created=1.0, fresh_until=expires, expires=expires)


# -- the frame


@given(st.binary(max_size=400))
def test_any_bytes_give_an_entry_or_something_that_the_codec_refuses(value):
    assert isinstance(expiry_of(value), float)
    head_of(value)
    sealed = unframe(value)
    with pytest.raises(CorruptEntry):
        CODEC.open(Ref("default", "k"), sealed)


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), max_size=5))
def test_lengths_that_lie_give_nothing(rest, number, lengths):
    said = b"".join(length.to_bytes(4, "big") for length in lengths)
    value = bytes(FRAME) + b"\0" + number.to_bytes(4, "big") + said + rest
    with pytest.raises(CorruptEntry):
        CODEC.open(Ref("default", "k"), unframe(value))
    head_of(value)


HEADS = st.binary(min_size=1, max_size=100).filter(lambda head: head[0] != 0)


@given(START, st.floats(0, 1e12) | st.just(NEVER), HEADS, st.lists(st.binary(max_size=100), max_size=5))
def test_what_was_framed_comes_out_again(start, expires, head, chunks):
    sealed = Sealed(head, tuple(chunks))
    value = frame(header(start=start, expires=expires), sealed)
    assert unframe(value) == sealed
    assert expiry_of(value) == expires
    assert value[:16] == start_text(start)
    assert head_of(value).startswith(head)


@given(st.integers(1, 4000), st.integers(0, 4000))
def test_the_beginning_of_a_value_has_the_beginning_of_its_head(chunk, cut):
    sealed = Sealed(b"head" * 100, (b"c" * chunk, b"d"))
    value = frame(header(), sealed)
    assert (sealed.head + b"c" * chunk + b"d").startswith(head_of(value[:cut]))


@given(HEADS, st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4), st.data())
def test_a_value_of_chunks_that_was_cut_short_is_none(head, chunks, data):
    value = frame(header(), Sealed(head, tuple(chunks)))
    cut = data.draw(st.integers(FRAME, len(value) - 1))
    with pytest.raises(CorruptEntry):
        CODEC.open(Ref("default", "k"), unframe(value[:cut]))


@given(START, START)
def test_starts_sort_as_text_as_they_do_as_numbers(one, other):
    assert (start_text(one) < start_text(other)) == (one < other)


def test_a_start_from_before_the_epoch_is_its_beginning():
    assert start_text(-5) == start_text(0) == b"0" * 16


@given(st.tuples(st.integers(0, 2**42), st.integers(0, 2**31)), st.tuples(st.integers(0, 2**42), st.integers(0, 2**31)))
def test_positions_sort_as_text_as_ids_do(one, other):
    assert (position_text(*one) < position_text(*other)) == (one < other)


# -- names


def test_each_sharding_tag_lies_in_its_part_of_the_slots():
    width = 16384 // SHARDS
    assert [key_slot(tag.encode()) // width for tag in shard_tags()] == list(range(SHARDS))


@given(SPACES, KEYS)
def test_on_a_cluster_an_entry_and_its_position_share_a_slot(space, key):
    ref = Ref(space, key)
    entry, position = SHARDED.entry(ref).encode(), SHARDED.position(ref).encode()
    assert key_slot(entry) == key_slot(position)
    assert position.decode() == SHARDED.positions[SHARDED.shard(ref)]


@given(st.sampled_from([PLAIN, SHARDED, Layout("{braces}:")]), SPACES, KEYS)
def test_the_physical_key_is_read_from_the_name(layout, space, key):
    assert layout.physical(layout.entry(Ref(space, key)).encode()) == physical_key(Ref(space, key))


@given(st.sampled_from([PLAIN, SHARDED]), st.tuples(SPACES, KEYS), st.tuples(SPACES, KEYS))
def test_two_entries_have_two_names(layout, one, other):
    assert (layout.entry(Ref(*one)) == layout.entry(Ref(*other))) == (one == other)


@LAYOUTS
def test_every_name_begins_with_the_prefix_and_is_like_no_other(layout):
    ref = Ref("default", "k")
    names = [layout.events, layout.wakes, layout.entry(ref), layout.versions("default"), layout.lease(ref),
             *layout.positions]  # fmt: skip
    assert all(name.startswith(layout.prefix) for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("sharded", [False, True])
def test_two_caches_share_no_name_even_where_one_prefix_begins_with_what_the_other_makes(sharded):
    one, other = Layout("app:", sharded=sharded), Layout("app:e:", sharded=sharded)
    ref = Ref("default", "k")
    names = [other.entry(ref), other.versions("default"), other.events, other.lease(ref), *other.positions[:3]]
    assert server_matches(one.glob(None), one.entry(ref))
    assert not any(server_matches(one.glob(glob), name) for glob in (None, "default") for name in names)


# -- what SCAN is asked for


def server_matches(glob, name):
    """As a server does: `stringmatchlen` knows bytes; latin-1 makes each of them a character."""
    return Pattern.parse(glob.encode().decode("latin-1")).matches(name.encode().decode("latin-1"))


PIECES = st.lists(st.sampled_from(["a", "b", ":", "é", "*", "?", "[ab]", "[^a]", "\\*", "\\[", "[a-c]"]), max_size=6)


@LAYOUTS
@given(pieces=PIECES, key=st.text("ab:é*[c", min_size=1, max_size=6) | KEYS, space=st.sampled_from(["default", "é[*]"]))
def test_whatever_a_pattern_matches_its_glob_finds(layout, pieces, key, space):
    pattern = Pattern.parse("".join(pieces) or "*")
    name = layout.entry(Ref(space, key))
    if pattern.matches(key):
        assert server_matches(layout.glob(space, pattern), name)
        assert server_matches(layout.glob(None, pattern), name)
    assert server_matches(layout.glob(space), name)
    assert not server_matches(layout.glob("another"), name)


@LAYOUTS
@pytest.mark.parametrize("length", [150, 300, 600, 5000])
def test_a_long_keys_glob_finds_it_though_its_name_is_hashed(layout, length):
    key = "k" * length + "é"
    name = layout.entry(Ref("default", key))
    assert (HASHED in name) == (length > 500)
    for text in (key, key[:100] + "*", key[:-10] + "*", "*é", "k" * 250 + "*"):
        pattern = Pattern.parse(text)
        assert pattern.matches(key) == server_matches(layout.glob("default", pattern), name) or not pattern.matches(key)


@LAYOUTS
def test_no_glob_finds_what_is_no_entry(layout):
    lease = layout.lease(Ref("default", "k"))
    others = [layout.events, layout.wakes, layout.versions("default"), lease, *layout.positions[:3]]
    assert not any(server_matches(layout.glob(None), name) for name in others)
    assert not any(re.match(re.escape(layout.entries), name) for name in others)
