"""Taking plain lines apart at once: the same as one by one, and only where lines are plain."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.insight.simulation.blocks import DIGITS, WIDEST, take_apart

KEYS = st.one_of(
    st.text("ab", min_size=1, max_size=3),
    st.text("aé:7 '.\x01", min_size=1, max_size=12),
    st.integers(0, 10**20).map(str),
    st.integers(1, WIDEST).map("k".__mul__),
)
TIMES = st.one_of(
    st.integers(0, 10**6).map(str), st.floats(0, 10**6).map("{:.6f}".format), st.sampled_from(["1.", ".5"])
)
ROWS = st.lists(st.tuples(TIMES, KEYS, st.integers(0, 10**DIGITS - 1)), min_size=1, max_size=40)


def spread(rows):
    """The name and the size of each request, by the place of its key."""
    places = range(len(rows.names)) if rows.places is None else rows.places.tolist()
    return [(rows.names[place], rows.sizes[place]) for place in places]


@given(ROWS)
def test_it_is_what_is_read_line_by_line(rows):
    block = "".join(f"{time},{key},{size}\n" for time, key, size in rows).encode()
    found = take_apart(block)
    assert found is not None
    read = [(key.encode(), int(size)) for _, key, size in csv.reader(block.decode().splitlines())]
    first = dict(reversed(read))
    short = all(len(key) <= 8 for key, _ in read)
    assert spread(found) == ([(key, first[key]) for key, _ in read] if short else read)
    if short:
        assert found.names == list(dict.fromkeys(key for key, _ in read)), "in the order in which they appear"


@pytest.mark.parametrize(
    "line",
    [
        "0,a", "0,a,1,2", "", "0,,1", ",a,1", "0,a,", '0,"a",1', "0,a,1\r", "0,a\0,1", "0,a,-1", "0,a,1.5", "0,a,x",
        "x,a,1", "-1,a,1", "1e3,a,1", "nan,a,1", ".,a,1", "1.2.3,a,1", "1_0,a,1", "0,a,1_0",
        f"0,{'k' * (WIDEST + 1)},1", f"0,a,{'1' * (DIGITS + 1)}", f"{'1' * (DIGITS + 1)},a,1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", [("", ""), ("0,b,1\n", "1,c,2\n")])
def test_a_line_that_is_not_plain_is_left_to_others(line, around):
    before, after = around
    assert take_apart(f"{before}{line}\n{after}".encode()) is None
