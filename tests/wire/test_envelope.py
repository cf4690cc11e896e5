"""The head: the format of the docstring, byte by byte."""

from __future__ import annotations

import contextlib
import math
import tracemalloc

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.entry import NEVER, Header, Mark, Ref
from scoutcache.errors import CorruptEntry
from scoutcache.wire import envelope
from scoutcache.wire.envelope import Body


def sealed(header: bytes) -> bytes:
    """The header with its check made right."""
    return header[:-8] + xxhash.xxh3_64_digest(header[:-8])


def header_of(head: bytes) -> bytes:
    return head[: envelope.header_length(head)]


def test_the_layout_is_the_documented_one_and_stays_so():
    header = Header(Ref("ns", "kéy"), 5, 1.5, 2.5, NEVER, (Mark("tag", 9),), 0.25, "src")
    head = envelope.write(header, Body(2, 1, 77, 1000, 3), b"id", b"payload")
    assert head[:7] == b"\x9b\xa4SCE\x02\xce"
    length = int.from_bytes(head[7:11], "big")
    assert head[11:15] == b"\xc4\x02id"
    parts = [["ns", "kéy"], 5, 1.5, 2.5, NEVER, [["tag", 9]], 0.25, "src"]
    rest = [parts, 2, 1, 77, 1000, 3]
    assert head[15 : length - 10] == b"".join(map(msgspec.msgpack.encode, rest))
    assert head[length - 10 : length] == b"\xc4\x08" + xxhash.xxh3_64_digest(head[: length - 8])
    assert head[length:] == b"\xc4\x07payload"
    assert msgspec.msgpack.decode(head) == ["SCE\2", length, b"id", *rest, head[length - 8 : length], b"payload"]


@given(data=st.data())
def test_what_was_written_is_read_whatever_follows_it(headers, data):
    header = data.draw(headers)
    numbers = st.integers(0, (1 << 64) - 1)
    body = Body(*(data.draw(each) for each in (st.integers(0, 255), st.integers(0, 255), numbers, numbers, numbers)))
    key_id, payload = data.draw(st.binary(max_size=255)), data.draw(st.binary(max_size=300))
    head = envelope.write(header, body, key_id, payload)
    length = envelope.header_length(head[:11])
    for beginning in (head, head[:length], head + b"more"):
        assert envelope.read_checked(beginning) == (header, *body)
    fields = envelope.parse_head(head)
    envelope.check(head, fields, header.ref)
    assert (fields[2], *fields[3:9], fields[10]) == (key_id, header, *body, payload)


def test_a_header_is_read_without_its_payload_and_refused_when_itself_is_cut(header):
    head = header_of(envelope.write(header, Body(1, 0, 0, 10), b"", b"payload"))
    assert envelope.read_checked(head).header == header
    for at in range(len(head)):
        with pytest.raises(CorruptEntry):
            envelope.read_checked(head[:at])


def test_a_flipped_byte_in_the_header_is_noticed_by_its_own_check(header):
    head = header_of(envelope.write(header, Body(1, 0, 0, 10), b"key", b"payload"))
    for at in range(len(head)):
        with pytest.raises(CorruptEntry):
            envelope.read_checked(head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :])


@given(data=st.data())
@settings(max_examples=300)
def test_behind_a_right_check_any_bytes_are_a_header_or_corrupt(header, data):
    head = bytearray(header_of(envelope.write(header, Body(1, 0, 0, 10), b"", b"")))
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(11, len(head) - 9))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptEntry):
        read = envelope.read_checked(sealed(bytes(head)))
        assert not any(map(math.isnan, read.header[2:5]))
        assert all(type(number) is int and number >= 0 for number in read[1:])


@pytest.mark.parametrize("lie", [0, 12, 20, 1 << 10, (1 << 32) - 1, None])
def test_a_length_that_lies_is_corrupt(lie, header):
    head = envelope.write(header, Body(1, 0, 0, 10), b"", b"payload")
    length = len(header_of(head)) + 1 if lie is None else lie
    with pytest.raises(CorruptEntry):
        envelope.read_checked(head[:7] + length.to_bytes(4, "big") + head[11:])


@pytest.mark.parametrize("claim", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
                                   b"\xdb\xff\xff\xff\xff"])  # fmt: skip
@pytest.mark.parametrize("place", range(3, 11))
def test_an_element_that_claims_more_than_is_there_is_refused_before_memory_is_taken(claim, place, header):
    elements = [envelope.NAME, 1, b"", header, 1, 0, 0, 10, 0, b"checksum", b"payload"]
    packed = [*map(msgspec.msgpack.encode, elements)]
    for made in (claim, packed[3].replace(b"\x92\x92", b"\x92" + claim)):  # the marks' array as well
        packed[place] = made
        tracemalloc.start()
        try:
            with pytest.raises(envelope.UNREADABLE):
                envelope.parse_head(b"\x9b" + b"".join(packed))
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("version", [b"\x01", b"\x03"])
def test_another_version_of_the_format_is_not_guessed_at(version, header, ref):
    head = envelope.write(header, Body(1, 0, 0, 10), b"", b"").replace(b"SCE\x02", b"SCE" + version)
    with pytest.raises(CorruptEntry, match="begin"):
        envelope.read_checked(head)
    with pytest.raises(CorruptEntry, match="begin"):
        envelope.check(head, envelope.parse_head(head), ref)


def test_text_that_is_not_utf_8_is_corrupt():
    head = envelope.write(Header(Ref("n", "kk"), 0, 0.0, 0.0, 0.0), Body(1, 0, 0, 0), b"", b"")
    changed = head.replace(b"kk", b"\xff\xfe")
    with pytest.raises(CorruptEntry, match="unreadable"):
        envelope.read_checked(sealed(header_of(changed)))
    with pytest.raises(envelope.UNREADABLE):
        envelope.parse_head(changed)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_time_that_is_no_number_is_corrupt(at, header, ref):
    fields = list(header)
    fields[at] = math.nan
    head = envelope.write(Header(*fields), Body(1, 0, 0, 0), b"", b"")
    with pytest.raises(CorruptEntry, match="times"):
        envelope.read_checked(head)
    with pytest.raises(CorruptEntry, match="times"):
        envelope.check(head, envelope.parse_head(head), ref)


def test_a_head_says_how_many_chunks_lie_beside_it(header):
    head = envelope.write(header, Body(1, 0, 0, 10, 5), b"", bytes(16))
    assert envelope.read_checked(head).chunks == 5
    assert envelope.read_checked(envelope.write(header, Body(1, 0, 0, 10), b"", b"payload")).chunks == 0
    for cut in (b"", head[:10], header_of(head)[:-1]):
        with pytest.raises(CorruptEntry):
            envelope.read_checked(cut)


def test_the_key_id_is_found_without_parsing(header):
    assert envelope.key_id(envelope.write(header, Body(1, 0, 0, 0), b"now", b"")) == b"now"
    assert envelope.key_id(envelope.write(header, Body(1, 0, 0, 0), b"", b"")) is None
    for other in (b"", envelope.MAGIC, envelope.MAGIC + bytes(6), b"SCE\x01" + bytes(20)):
        with pytest.raises(CorruptEntry):
            envelope.key_id(other)
