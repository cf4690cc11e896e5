"""The grammar of patterns is that of Redis, over characters, and matching never explodes."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scoutcache.errors import InvalidKey
from scoutcache.patterns import MAX_WILDCARDS, Pattern, escape


def reference(pattern: str, key: str) -> bool:
    """Redis' own algorithm, as a recursion over what is left: exponential, but plainly right."""
    if not pattern:
        return not key
    sign, rest = pattern[0], pattern[1:]
    if sign == "*":
        return any(reference(rest, key[at:]) for at in range(len(key) + 1))
    if not key:
        return False
    if sign == "?":
        return reference(rest, key[1:])
    if sign == "[":
        inside, rest = in_class(rest, key[0])
        return inside and reference(rest, key[1:])
    if sign == "\\":
        sign, rest = rest[0], rest[1:]
    return sign == key[0] and reference(rest, key[1:])


def in_class(rest: str, letter: str) -> tuple[bool, str]:
    negated = rest.startswith("^")
    rest = rest[negated:]
    found = False
    while rest[0] != "]":
        if rest[0] == "\\" and len(rest) >= 2:
            found |= rest[1] == letter
            rest = rest[2:]
        elif len(rest) >= 3 and rest[1] == "-":
            found |= min(rest[0], rest[2]) <= letter <= max(rest[0], rest[2])
            rest = rest[3:]
        else:
            found |= rest[0] == letter
            rest = rest[1:]
    return found != negated, rest[1:]


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("llm:*", "llm:a:b", True),
        ("llm:*", "llm:", True),
        ("llm:*", "LLM:a", False),
        ("*", "", True),
        ("*", "any:thing\n", True),
        ("**", "x", True),
        ("?", "é", True),
        ("?", "", False),
        ("?", "\n", True),
        ("a?c", "abc", True),
        ("h[ae]llo", "hallo", True),
        ("h[ae]llo", "hillo", False),
        ("h[^e]llo", "hallo", True),
        ("h[^e]llo", "hello", False),
        ("h[a-c]llo", "hbllo", True),
        ("h[c-a]llo", "hbllo", True),
        ("h[a-c]llo", "hdllo", False),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"\?", "?", True),
        (r"\[x]", "[x]", True),
        (r"[\]]", "]", True),
        (r"[\-a]", "-", True),
        ("[]", "a", False),
        ("[^]", "a", True),
        ("a.c", "abc", False),
        ("a*b", "ab", True),
        ("a*b", "a:x:b", True),
        ("a*ba", "aba", True),
        ("ab*ba", "aba", False),
        ("*a*b*", "xxaxxbxx", True),
        ("a]", "a]", True),
        ("user:[0-9]*", "user:7:x", True),
        ("user:[0-9]*", "user:x", False),
        ("😀?", "😀x", True),
    ],
)
def test_the_grammar(pattern, key, expected):
    assert Pattern.parse(pattern).matches(key) is expected


@pytest.mark.parametrize(
    ("pattern", "prefix", "literal", "matches_all"),
    [
        ("llm:*", "llm:", None, False),
        ("*", "", None, True),
        ("***", "", None, True),
        ("a:b", "a:b", "a:b", False),
        (r"a\*b*", "a*b", None, False),
        (r"a\*b", "a*b", "a*b", False),
        ("x?y", "x", None, False),
        ("x[yz]", "x", None, False),
        ("?*", "", None, False),
    ],
)
def test_what_stores_need_to_know(pattern, prefix, literal, matches_all):
    parsed = Pattern.parse(pattern)
    assert (parsed.prefix, parsed.literal, parsed.matches_all) == (prefix, literal, matches_all)


@pytest.mark.parametrize(
    "pattern", ["", "[abc", "x[", "[^", "[a-]", "x\\", "[\\]", None, 5, b"x*", "?" * (MAX_WILDCARDS + 1), "x" * 200_000,
                "\udcff", "a*\ud800", "[\ud800-\udfff]"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(InvalidKey):
        Pattern.parse(pattern)


PATTERNS = st.text(alphabet="ab:*?[]^-\\", max_size=9)
KEYS = st.text(alphabet="ab:-^]\\\n", max_size=8)


@settings(max_examples=400)
@given(PATTERNS, KEYS)
def test_it_matches_what_the_reference_matches(text, key):
    try:
        pattern = Pattern.parse(text)
    except InvalidKey:
        assume(False)
    assert pattern.matches(key) == reference(text, key)
    if pattern.matches(key):
        assert key.startswith(pattern.prefix)
        assert pattern.literal in (None, key)
    if pattern.matches_all:
        assert pattern.matches(key)


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_escaped_text_matches_itself_alone(text, other):
    assume(text)
    assert Pattern.parse(escape(text)).literal == text
    assert Pattern.parse(escape(text) + "*").matches(text + other)
    assert Pattern.parse(escape(text)).matches(other) == (text == other)


def test_nested_stars_over_a_long_key_come_to_an_end():
    """With a backtracking matcher this takes longer than the universe has."""
    key = "a" * 60_000
    assert not Pattern.parse("a*" * 40 + "b").matches(key)
    assert not Pattern.parse("*[ab]?" * 40 + "c").matches(key)
    assert Pattern.parse("a*" * 40).matches(key)


def test_equal_texts_are_equal_patterns():
    assert Pattern.parse("a*") == Pattern.parse("a*") != Pattern.parse("a**")
    assert len({Pattern.parse("a*"), Pattern.parse("a*")}) == 1


def test_a_real_server_agrees(redis_url):
    """The same patterns over the same keys as KEYS of a server, where one can be started."""
    redis = pytest.importorskip("redis")
    keys = ["a", "ab", "abc", "a:b", "a*b", "[x]", "]", "-", "^", "a-b", "ba", "a\\b", "aXb", "A", "user:1", "user:12"]
    patterns = [
        "*",
        "a*",
        "a?",
        "a??",
        "?",
        "[ab]*",
        "[^a]*",
        "a\\*b",
        "[a-c]",
        "[c-a]?",
        "[\\]]",
        "[]",
        "[^]",
        "a\\\\b",
        "*b*",
        "user:[0-9]",
        "user:[0-9]*",
        "[\\^]",
        "[x^]",
        "a]",
        "**b",
        "[a\\-c]",
        "\\[x]",
    ]
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    try:
        client.mset({f"p:{key}": "1" for key in keys})
        for pattern in patterns:
            ours = {key for key in keys if Pattern.parse(f"p:{pattern}").matches(f"p:{key}")}
            assert {f"p:{key}" for key in ours} == set(client.keys(f"p:{pattern}")), pattern
    finally:
        client.close()
