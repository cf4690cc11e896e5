"""Cron expressions: what is one, and what is due by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from scoutcache.schedules import check_schedule, due_by, following

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0 3 * * *", "*/15 * * * *", "0 0 1 JAN MON", "30 0 3 * * *", "0 0 L * *"])
def test_an_expression_is_taken_as_it_is(text):
    assert check_schedule(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "daily", "* * * *", "61 * * * *", "0 0 31 2 *", "@reboot", "1/0 * * * *", "9" * 5000 + " * * * *",
     "1-0 * * * *", "\x1b[2J", "* * * * * * *", "1#2/3 * * * *", "* * * * 5L/2"],
)  # fmt: skip
def test_what_is_none_is_refused_with_what_was_expected(text):
    with pytest.raises(ValueError, match=r"expected five fields in UTC|longer than any") as caught:
        check_schedule(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "next_run"),
    [
        ("@hourly", datetime(2026, 3, 1, 13, tzinfo=UTC)), ("@daily", datetime(2026, 3, 2, tzinfo=UTC)),
        ("@midnight", datetime(2026, 3, 2, tzinfo=UTC)), ("@weekly", datetime(2026, 3, 8, tzinfo=UTC)),
        ("@monthly", datetime(2026, 4, 1, tzinfo=UTC)), ("@yearly", datetime(2027, 1, 1, tzinfo=UTC)),
        ("@annually", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_the_names_that_crontabs_know(name, next_run):
    assert following(check_schedule(name), NOON) == next_run


def test_times_are_utc_whatever_zone_is_asked_in():
    after = NOON.astimezone(timezone(timedelta(hours=5)))
    assert following("0 13 * * *", after) == NOON + timedelta(hours=1)


def test_without_a_schedule_nothing_is_ever_due():
    assert due_by(None, None, NOON) == (False, None)


def test_what_never_ran_is_due_at_once():
    assert due_by("0 3 * * *", None, NOON) == (True, NOON)


@pytest.mark.parametrize(
    ("last", "due"),
    [
        (NOON, False), (NOON - timedelta(minutes=1), True), (NOON - timedelta(days=30), True),
        (NOON + timedelta(seconds=30), False), (NOON + timedelta(minutes=5), True), (NOON + timedelta(days=1), True),
        (NOON + timedelta(days=400), True),
    ],
)  # fmt: skip
def test_it_is_due_when_a_time_has_passed_since_it_last_ran(last, due):
    """A last run in the future was written by a wrong clock; one just ahead by one that was set back a little."""
    assert due_by("0 * * * *", last, NOON).now is due


def test_the_next_time_is_told():
    assert due_by("0 * * * *", NOON, NOON) == (False, NOON + timedelta(hours=1))
