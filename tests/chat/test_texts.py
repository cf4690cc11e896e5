"""Texts: one form, a digest in slices, sizes."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.chat import texts
from scoutcache.chat.texts import composed, text_digest, text_size
from scoutcache.errors import InvalidKey

COMBINING = "aeo\u0301\u0308\u0327\u1100\u1161\u11a8\u0338= \u4e00\u3042\u3099\u0915\u093c"
PIECES = st.lists(st.text(COMBINING, max_size=6) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4))


@settings(max_examples=50)
@given(PIECES)
def test_a_text_in_chunks_is_the_whole_text_in_its_composed_form(chunks):
    whole = "".join(chunks)
    plain = hashlib.sha256(unicodedata.normalize("NFC", whole).encode()).hexdigest()
    assert text_digest(chunks) == text_digest(whole) == (plain, len(whole))


@settings(max_examples=50)
@given(st.text(COMBINING, max_size=40))
def test_slices_make_no_difference(text):
    before = texts._SLICE
    texts._SLICE = 3
    try:
        assert text_digest(text)[0] == hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()
    finally:
        texts._SLICE = before


def test_no_character_that_is_cut_before_composes_with_what_stands_before_it():
    """Over all of Unicode: what `_APART` matches changes nothing before it, and nothing before changes it."""
    before = ["a", "e\u0301", "\u1100", "\u1100\u1161", "\u0915", "\u3042", "\u4e00", "="]
    for code in [*range(0x80), *range(0x3400, 0x4DC0, 7), *range(0x4E00, 0xA000, 7)]:
        assert texts._APART.match(chr(code))
        for text in before:
            assert unicodedata.normalize("NFC", text + chr(code)) == unicodedata.normalize("NFC", text) + chr(code)


def test_a_lone_surrogate_and_bytes_are_refused():
    with pytest.raises(InvalidKey, match=r"text holds the lone surrogate U\+DC80 at character 2"):
        text_digest("a\udc80")
    with pytest.raises(InvalidKey, match="not bytes"):
        text_digest([b"x"])
    assert composed("e\u0301", "x") == "\u00e9"


@pytest.mark.parametrize(
    ("length", "tiers", "name"),
    [(0, (5,), "small"), (5, (5,), "small"), (6, (5,), "medium"), (6, (1, 2, 3), "huge"), (3, (1, 2, 3), "large"),
     (9, (1, 2, 3, 4, 5), "huge"), (9, (), "small")],
)  # fmt: skip
def test_sizes_have_names(length, tiers, name):
    assert text_size(length, tiers) == name


def test_bytes_are_named_as_such():
    with pytest.raises(InvalidKey, match="not bytes"):
        text_digest(b"abc")
