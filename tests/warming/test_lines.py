from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.entry import MISSING
from scoutcache.warming.lines import BadLine, Item, read_lines


def one(line):
    (item,) = read_lines([line])
    return item


def test_an_object_is_a_key_with_its_value_and_options():
    line = '{"key": "llm:a", "value": {"text": "hi"}, "ttl": "2h", "tags": ["x"], "cost": 0.5}'
    assert one(line) == Item(1, "llm:a", {"text": "hi"}, {"ttl": "2h", "tags": ["x"], "cost": 0.5})


def test_null_is_a_value_and_no_value_is_none():
    assert one('{"key": "a", "value": null}').value is None
    assert one('{"key": "a"}').value is MISSING
    assert one('{"key": "a", "ttl": null}').options == {}


def test_any_other_line_is_a_key_as_it_stands():
    assert list(read_lines(["plain\n", "with spaces \r\n", '"quoted"', "[x]", "ключ"])) == [
        Item(1, "plain"), Item(2, "with spaces "), Item(3, '"quoted"'), Item(4, "[x]"), Item(5, "ключ")]  # fmt: skip


def test_a_bare_line_is_bad_in_json_lines_that_no_function_is_called_for():
    lines = ["before", "{torn", "after"]
    assert [type(item) for item in read_lines(lines, called=False)] == [Item, BadLine, BadLine]
    assert [type(item) for item in read_lines(lines, called=False, json_lines=True)] == [BadLine] * 3
    assert [type(item) for item in read_lines(lines, json_lines=True)] == [Item, BadLine, Item]


def test_blank_lines_count_for_nothing_but_their_number():
    assert list(read_lines(["\n", "  \n", "a"])) == [Item(3, "a")]


def test_bytes_are_utf_8_and_a_byte_order_mark_is_no_part_of_the_first_key():
    assert list(read_lines(["\ufeffa".encode(), "é".encode()])) == [Item(1, "a"), Item(2, "é")]


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        (b"\xff\xfe", None, "not UTF-8: byte 0xff at position 0"),
        ('{"key": "a"', None, "not JSON"),
        ('{"key": "a", "value": NaN}', None, "NaN"),
        ('{"key": "a", "value": [1e400]}', None, "1e400 is larger than any number here"),
        ('{"key": "a", "value": 1, "cost": -1e999}', None, "-1e999 is larger"),
        ('{"key": "a", "value": ' + "9" * 5000 + "}", None, "a number of 5000 digits is larger"),
        ('{"key": "a", "value": 1, "key": "b"}', None, "the field 'key' appears twice"),
        ('{"key": "a", "value": {"x": 1, "x": 2}}', None, "the field 'x' appears twice"),
        ('{"value": 1}', None, "no field 'key'"),
        ('{"key": 3}', None, "key"),
        ('{"key": ""}', "", "key"),
        ('{"key": "a\\u0000"}', "a\0", "key"),
        ('{"key": "a", "vlaue": 1}', "a", "'vlaue'"),
        ('{"key": "a", "ttl": "soon"}', "a", "soon"),
        ('{"key": "a", "ttl": -1}', "a", "-1"),
        ('{"key": "a", "ttl": true}', "a", "True"),
        ('{"key": "a", "tags": "x"}', "a", "tags: expected a list"),
        ('{"key": "a", "tags": [1]}', "a", "tags: expected a list"),
        ('{"key": "a", "cost": "much"}', "a", "cost"),
        ("a\x1b[2J", "a\x1b[2J", "key"),
        ('{"key": "a", "value": ' + "[" * 100_000 + "}", None, "nested too deeply"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_next_is_read(line, key, said):
    first, bad, last = read_lines(["before", line, "after"])
    assert (first, last) == (Item(1, "before"), Item(3, "after"))
    assert isinstance(bad, BadLine)
    assert (bad.line, bad.key) == (2, key)
    assert said in bad.error


@given(st.lists(st.one_of(st.binary(max_size=60), st.text(max_size=60), st.builds(json.dumps, st.dictionaries(
    st.sampled_from(["key", "value", "ttl", "tags", "cost", "else"]), st.one_of(st.none(), st.text(), st.integers())))),
    max_size=5))  # fmt: skip
def test_whatever_the_lines_each_is_an_item_or_a_bad_line(lines):
    for item in read_lines(lines):
        assert isinstance(item, Item | BadLine)
        assert 1 <= item.line <= len(lines)
