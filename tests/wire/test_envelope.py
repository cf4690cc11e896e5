"""The head: the format of the docstring, byte by byte."""

from __future__ import annotations

import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.entry import NEVER, Header, Mark, Ref
from scoutcache.errors import CorruptEntry, IntegrityError
from scoutcache.wire import envelope
from scoutcache.wire.envelope import CHUNKED, SIGNED, Body


def sealed(head: bytes) -> bytes:
    """The header with its check made right."""
    return head[:-8] + xxhash.xxh3_64_digest(head[:-8])


def test_the_layout_is_the_documented_one_and_stays_so():
    header = Header(Ref("ns", "kéy"), 5, 1.5, 2.5, NEVER, (Mark("tag", 9),), 0.25, "src")
    head = envelope.write(header, Body(2, 1, 77, 1000, 600, SIGNED), b"id")
    assert head[:8] == b"SCE\x01" + bytes([1 | 4 | 8, 2, 1, 2])
    assert struct.unpack(">IIIII", head[8:28]) == (len(head), 2, 4, 3, 1)
    assert struct.unpack(">qdddd", head[28:68]) == (5, 1.5, 2.5, NEVER, 0.25)
    assert struct.unpack(">QQQ", head[68:92]) == (77, 1000, 600)
    assert head[92:-8] == b"id" + b"ns" + "kéy".encode() + b"src" + struct.pack(">IQ", 3, 9) + b"tag"
    assert head[-8:] == xxhash.xxh3_64_digest(head[:-8])


@given(data=st.data())
def test_what_was_written_is_read_whatever_follows_it(headers, data):
    header = data.draw(headers)
    numbers = st.integers(0, (1 << 64) - 1)
    body = Body(*(data.draw(each) for each in (st.integers(0, 255), st.integers(0, 255), numbers, numbers, numbers)))
    head = envelope.write(header, body, data.draw(st.binary(max_size=255)))
    frame = envelope.read_checked(head + data.draw(st.binary(max_size=9)))
    assert frame.header == header
    assert frame[1:6] == body[:5]
    assert frame.start == envelope.header_length(head[:12]) == len(head)
    assert envelope.read(head, header.ref) == frame


def test_a_header_is_read_without_its_payload_and_refused_when_itself_is_cut(header):
    head = envelope.write(header, Body(1, 0, 0, 10, 10), b"")
    assert envelope.read_checked(head).header == header
    for at in range(len(head)):
        with pytest.raises(CorruptEntry):
            envelope.read_checked(head[:at])


def test_a_flipped_byte_in_the_header_is_noticed_by_its_own_check(header):
    head = envelope.write(header, Body(1, 0, 0, 10, 10), b"key")
    for at in range(len(head)):
        with pytest.raises(CorruptEntry):
            envelope.read_checked(head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :])


@pytest.mark.parametrize(("at", "size"), [(7, 1), (12, 4), (16, 4), (20, 4), (24, 4)])
def test_a_length_that_lies_is_corrupt_even_behind_a_right_check(at, size, header):
    head = envelope.write(header, Body(1, 0, 0, 10, 10), b"")
    true = int.from_bytes(head[at : at + size], "big")
    for lie in {0, true + 1, 2 ** (8 * size) - 1} - {true}:
        changed = sealed(head[:at] + lie.to_bytes(size, "big") + head[at + size :])
        with pytest.raises(CorruptEntry):
            envelope.read(changed, header.ref)


def test_unknown_flags_are_corrupt(header):
    head = envelope.write(header, Body(1, 0, 0, 10, 10), b"")
    with pytest.raises(CorruptEntry, match="flags"):
        envelope.read_checked(sealed(head[:4] + b"\x80" + head[5:]))


def test_another_version_of_the_format_is_not_guessed_at(header):
    head = envelope.write(header, Body(1, 0, 0, 10, 10), b"")
    with pytest.raises(CorruptEntry, match="begin"):
        envelope.read_checked(sealed(b"SCE\x02" + head[4:]))


def test_text_that_is_not_utf_8_is_corrupt():
    head = envelope.write(Header(Ref("n", "kk"), 0, 0.0, 0.0, 0.0), Body(1, 0, 0, 0, 0), b"")
    changed = sealed(head.replace(b"kk", b"\xff\xfe"))
    with pytest.raises(CorruptEntry, match="unreadable"):
        envelope.read_checked(changed)
    with pytest.raises(IntegrityError):
        envelope.read(changed, Ref("n", "kk"))


@pytest.mark.parametrize(
    "marks",
    [
        b"", b"\0\0\0\1", struct.pack(">IQ", 5, 1) + b"abcd", struct.pack(">IQ", 1, 1) + b"\xff",
        struct.pack(">IQ", 0, 1) * 2,
    ],
)  # fmt: skip
def test_marks_that_are_not_as_many_or_as_long_as_they_say_are_corrupt(marks):
    header = Header(Ref("n", "k"), 0, 0.0, 0.0, 0.0, (Mark("x", 1),))
    head = envelope.write(header, Body(1, 0, 0, 0, 0), b"")
    length = 94 + len(marks) + 8
    changed = head[:8] + length.to_bytes(4, "big") + head[12:94] + marks + bytes(8)
    with pytest.raises(CorruptEntry):
        envelope.read(sealed(changed), header.ref)


def test_a_head_says_how_many_chunks_lie_beside_it(header):
    head = envelope.write(header, Body(1, 0, 0, 10, 10, CHUNKED), b"") + bytes(16) + b"\0\0\0\x05"
    assert envelope.chunk_count(head) == 5
    assert envelope.chunk_count(envelope.write(header, Body(1, 0, 0, 10, 10), b"")) == 0
    for cut in (b"", head[:11], head[:-1]):
        with pytest.raises(CorruptEntry):
            envelope.chunk_count(cut)


def test_the_key_id_is_found_without_parsing(header):
    assert envelope.key_id(envelope.write(header, Body(1, 0, 0, 0, 0, SIGNED), b"now")) == b"now"
    assert envelope.key_id(envelope.write(header, Body(1, 0, 0, 0, 0), b"")) is None
    with pytest.raises(CorruptEntry):
        envelope.key_id(b"SCE\x01")
