"""Durations and sizes as people write them."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.errors import CacheError, InvalidSize, InvalidTTL
from scoutcache.ttl import LONGEST, parse_duration, parse_size, parse_ttl


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        (0, 0.0),
        ("0", 0.0),
        ("90", 90.0),
        ("0.25", 0.25),
        (".5s", 0.5),
        ("1e3", 1000.0),
        ("500ms", 0.5),
        ("90s", 90.0),
        ("30m", 1800.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1w", 604800.0),
        ("1h30m", 5400.0),
        ("1 h 30 min", 5400.0),
        (" 2H ", 7200.0),
        ("2 hours", 7200.0),
        ("1.5h", 5400.0),
        (timedelta(minutes=5), 300.0),
        (Fraction(1, 2), 0.5),
    ],
)
def test_accepted_forms_are_read_as_seconds(written, seconds):
    assert parse_ttl(written) == parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["never", "NEVER", " never ", math.inf, sys.maxsize, 10**400, LONGEST * 2])
def test_never_and_a_thousand_years_have_no_end(written):
    assert parse_ttl(written) == math.inf


@pytest.mark.parametrize(
    "written",
    [
        "soon",
        "",
        " ",
        "-1",
        "-5s",
        "5 parsecs",
        "s",
        "1h-30m",
        "h1",
        "1.2.3s",
        "nan",
        "inf",
        "infinity",
        "٣s",
        "1_000",
        -1,
        -0.001,
        math.nan,
        -math.inf,
        -(10**400),
        timedelta(seconds=-1),
        True,
        False,
        None,
        [],
        {},
        b"90s",
        1j,
        "9" * 1000,
    ],
)
def test_what_is_no_time_is_refused_and_named(written):
    with pytest.raises(InvalidTTL) as caught:
        parse_ttl(written)
    assert isinstance(caught.value, ValueError)
    assert "2h" in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(InvalidTTL):
        parse_duration(written)


@pytest.mark.parametrize("written", ["never", math.inf, 10**400])
def test_a_duration_is_finite(written):
    with pytest.raises(InvalidTTL):
        parse_duration(written)


def test_a_message_shows_no_control_codes():
    with pytest.raises(InvalidTTL) as caught:
        parse_ttl("\x1b[31mred")
    assert "\x1b" not in str(caught.value)


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.timedeltas() | st.binary())
def test_whatever_is_given_a_time_comes_back_or_invalid_ttl(value):
    with suppress(InvalidTTL):
        assert parse_ttl(value) >= 0.0


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1048576, 1048576),
        (0, 0),
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("500KB", 500_000),
        ("100MB", 10**8),
        ("1 GB", 10**9),
        ("2tb", 2 * 10**12),
        ("64MiB", 2**26),
        ("1.5GiB", 3 * 2**29),
        ("1k", 1000),
        ("10_000", 10_000),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes_are_read_as_bytes(written, size):
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written", ["", "MB", "-1", "1XB", "1 2", "lots", -1, 1.5, True, None, 2**63, "9" * 100, [], b"1"]
)
def test_what_is_no_size_is_refused(written):
    with pytest.raises(InvalidSize) as caught:
        parse_size(written)
    assert isinstance(caught.value, CacheError)
    assert "100MB" in str(caught.value)


@pytest.mark.parametrize("value", ["soon", -1, True, [], {}])
def test_a_timedelta_is_only_spoken_of_to_who_could_have_written_one(value):
    for read in (parse_ttl, parse_duration):
        with pytest.raises(InvalidTTL) as caught:
            read(value)
        assert "timedelta" not in str(caught.value)
    with pytest.raises(InvalidTTL, match="timedelta"):
        parse_ttl(object())
