"""Texts with fields: what may stand in braces, and that no value of a field is ever a wildcard."""

from __future__ import annotations

import enum
import re
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scoutcache.errors import InvalidKey
from scoutcache.patterns import Pattern
from scoutcache.patterns.templates import Template


class Color(str, enum.Enum):  # noqa: UP042  # whose str() is its name
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("text", "texts", "fields"),
    [
        ("user:{id}:*", ("user:", ":*"), ("id",)),
        ("{a}{b}", ("", "", ""), ("a", "b")),
        ("{{x}}", ("{x}",), ()),
        ("{{{x}}}", ("{", "}"), ("x",)),
        ("plain", ("plain",), ()),
        ("", ("",), ()),
        ("{größe}", ("", ""), ("größe",)),
    ],
)
def test_a_text_is_taken_apart(text, texts, fields):
    assert Template.parse(text) == (texts, fields)


@pytest.mark.parametrize(
    "text",
    ["{id:>3}", "{id!r}", "{user.id}", "{ids[0]}", "{0}", "{}", "{ id}", "{id\n}", "{a b}", "{id", "id}", "{{id}"],
)
def test_anything_but_a_name_in_braces_is_refused(text):
    with pytest.raises(InvalidKey, match=r"is no field|has no other"):
        Template.parse(text)


@pytest.mark.parametrize("text", ["[{id}]", "[a{id}]", r"\{id}", r"\{{{id}[", "a[{x}-z]", r"a*[^\]{x}]", "[", "{id}["])
def test_a_field_can_t_stand_where_it_would_change_the_pattern_around_it(text):
    with pytest.raises(InvalidKey):
        Template.pattern(text)


def test_braces_may_stand_in_classes_and_behind_backslashes():
    assert Template.pattern(r"[{{}}]:\{{{id}").fill_pattern({"id": "x"}) == r"[{}]:\{x"


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), ("a", "a"), (UUID(int=5), str(UUID(int=5))), (Color.RED, "red"), (Level.HIGH, "3"), (-1, "-1")],
)
def test_a_value_stands_there_as_in_a_key(value, text):
    assert Template.parse("k:{v}").fill({"v": value}) == f"k:{text}"


@pytest.mark.parametrize("value", [True, None, 1.5, b"x", [], "", object()])
def test_a_value_that_can_t_stand_in_a_key_is_refused(value):
    with pytest.raises(InvalidKey, match="the field 'id' is"):
        Template.parse("user:{id}").fill({"id": value})


def test_a_missing_field_is_named_with_those_that_are_there():
    with pytest.raises(InvalidKey, match="the field 'id' is missing; given: 'name'"):
        Template.parse("user:{id}").fill({"name": "x"})


def test_tags_take_values_as_they_are():
    assert Template.parse("user:{id}").fill({"id": "*[x]\\"}) == "user:*[x]\\"


tricky = st.text(alphabet="ab*?[]\\^-:{}", min_size=1, max_size=6)
wild = st.lists(st.sampled_from(["a", "b", ":", "*", "?"]), max_size=4).map("".join)


def as_regex(text: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in text)


@settings(max_examples=400)
@given(before=wild, between=wild, after=wild, one=tricky, two=tricky, key=tricky, filling=tricky)
@example(before="user:", between=":", after="*", one="*", two="?", key="user:7:x", filling="z")
def test_a_field_matches_its_own_value_and_nothing_else(before, between, after, one, two, key, filling):
    template = Template.pattern(f"{before}{{one}}{between}{{two}}{after}")
    pattern = Pattern.parse(template.fill_pattern({"one": one, "two": two}))
    expected = re.compile(
        as_regex(before) + re.escape(one) + as_regex(between) + re.escape(two) + as_regex(after), re.DOTALL
    )
    wildcards_filled = [text.replace("*", filling).replace("?", "b") for text in (before, between, after)]
    near = wildcards_filled[0] + one + wildcards_filled[1] + two + wildcards_filled[2]
    for candidate in (key, near, near.replace(one, key, 1), near + key, key + near, near.replace("*", "x")):
        assert pattern.matches(candidate) == bool(expected.fullmatch(candidate)), (pattern.text, candidate)
    assert pattern.matches(near)
