from __future__ import annotations

import math

import pytest

from scoutcache.cli.errors import Usage
from scoutcache.cli.filters import parse_filter, parse_sort, select
from scoutcache.errors import InvalidSize, InvalidTTL

ROWS = [
    {"key": "a", "tier": "disk", "namespace": "n", "ttl_s": 30.0, "size_bytes": 10, "age_s": 5.0, "hits": 1},
    {"key": "b", "tier": "disk", "namespace": "n", "ttl_s": math.inf, "size_bytes": 2000, "age_s": 90.0, "hits": None},
    {"key": "c", "tier": "memory", "namespace": "n", "ttl_s": 3600.0, "size_bytes": None, "age_s": 1.0, "hits": 0},
]


def keys(filters=(), sort=None, limit=None):
    return [row["key"] for row in select(iter(ROWS), filters, sort, limit)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ttl<60s", ["a"]),
        ("ttl >= 1h", ["b", "c"]),
        ("ttl=never", ["b"]),
        ("size>1KB", ["b"]),
        ("size<=10", ["a"]),
        ("age<10s", ["a", "c"]),
        ("hits=0", ["c"]),
        ("hits==1", ["a"]),
    ],
)
def test_a_filter_keeps_the_rows_that_pass_and_never_the_unknown(text, found):
    assert keys([text]) == found


def test_several_filters_must_all_hold():
    assert keys(["ttl>=1h", "age<10s"]) == ["c"]


@pytest.mark.parametrize("text", ["", "ttl", "ttl<", "ttl~5", "<5", "hits=-1", "hits=1.5"])
def test_an_unreadable_filter_is_refused(text):
    with pytest.raises(Usage):
        parse_filter(text)


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(Usage) as caught:
        parse_filter("tll<5s")
    assert caught.value.hint == "did you mean ttl?"


def test_a_bad_unit_is_refused_with_the_units_there_are():
    with pytest.raises(InvalidTTL):
        parse_filter("ttl<60parsecs")
    with pytest.raises(InvalidTTL):
        parse_filter("ttl<60s; rm")
    with pytest.raises(InvalidSize):
        parse_filter("size<1XB")


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("size", ["a", "b", "c"]),
        ("size:desc", ["b", "a", "c"]),
        ("ttl:desc", ["b", "c", "a"]),
        ("hits:asc", ["c", "a", "b"]),
        ("key:desc", ["c", "b", "a"]),
        ("tier", ["a", "b", "c"]),
    ],
)
def test_sorting_puts_the_unknown_last_either_way(sort, found):
    assert keys(sort=sort) == found
    assert keys(sort=sort, limit=2) == found[:2]


@pytest.mark.parametrize("text", ["sise", "size:down", ":desc"])
def test_an_unknown_order_is_refused(text):
    with pytest.raises(Usage):
        parse_sort(text)


def test_without_an_order_rows_stream():
    def rows():
        yield ROWS[0]
        raise AssertionError("more was read than asked for")

    assert [row["key"] for row in select(rows(), [], None, 1)] == ["a"]


@pytest.mark.parametrize("sort", [None, "key:desc"])
def test_a_limit_may_be_any_number(sort):
    assert len(keys(sort=sort, limit=10**30)) == len(ROWS)
