"""Two patterns overlap when some key matches both, and only then."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.patterns import Pattern
from scoutcache.patterns.overlap import overlap

CASES = [
    ("*", "*", True),
    ("llm:*", "llm:gpt:*", True),
    ("llm:*", "job:*", False),
    ("llm:*", "*:tmp", True),
    ("a*b", "a*c", False),
    ("*a*", "*b*", True),
    ("user:?", "user:??", False),
    ("user:[0-4]", "user:[4-9]", True),
    ("user:[0-4]", "user:[5-9]", False),
    ("[^a]x", "ax", False),
    ("[^a]x", "[^b]x", True),
    ("[]*", "*", False),
    ("[^]", "é", True),
    (r"\*", "*", True),
    (r"\*", "a", False),
    (r"a\*b*", "a[*]b", True),
    ("a", "a", True),
    ("a", "b", False),
    ("a?*", "a", False),
    ("**a**", "*?a", True),
]


@pytest.mark.parametrize(("one", "other", "expected"), CASES)
def test_two_patterns_overlap_where_a_key_matches_both(one, other, expected):
    assert overlap(Pattern.parse(one), Pattern.parse(other)) is expected
    assert overlap(Pattern.parse(other), Pattern.parse(one)) is expected


# Two letters, every piece of the grammar; whatever matches two patterns of so few pieces does so within seven letters.
_PIECES = st.sampled_from(["a", "b", "*", "?", "[ab]", "[^a]", "[b]", "[]"])
_TEXTS = st.lists(_PIECES, min_size=1, max_size=4).map("".join)
_KEYS = ["".join(letters) for size in range(8) for letters in itertools.product("abc", repeat=size)]


@given(_TEXTS, _TEXTS)
@settings(max_examples=60)
def test_the_answer_is_that_of_trying_every_short_key(one, other):
    left, right = Pattern.parse(one), Pattern.parse(other)
    assert overlap(left, right) == any(left.matches(key) and right.matches(key) for key in _KEYS)


def test_of_very_long_patterns_it_is_said_that_they_may():
    one, other = Pattern.parse("a*" * 1000), Pattern.parse("a*" * 999 + "b")
    assert overlap(one, other)
    assert not overlap(one, Pattern.parse("b" + "*c" * 1000))
