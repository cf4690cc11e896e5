"""When a cache is little asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError
from scoutcache.warming.quiet import is_off_peak, quiet_hours


def at(hour, minute=0):
    return datetime(2026, 3, 1, hour, minute, tzinfo=UTC).timestamp()


def test_quiet_hours_have_less_than_half_of_the_mean():
    busy = [10.0] * 8 + [100.0] * 16
    assert quiet_hours(busy, 7) == frozenset(range(8))
    assert quiet_hours([5.0] * 24, 7) == frozenset()


def test_a_short_log_says_nothing_about_the_hours_it_has_not_seen():
    assert quiet_hours([0.0] * 20 + [9.0] * 4, 0.2) == frozenset()
    assert quiet_hours([0.0] * 24, 30) == frozenset()


@pytest.mark.parametrize(
    ("setting", "moment", "expected"),
    [
        ("always", at(12), True), ("01:00-05:00", at(1), True), ("01:00-05:00", at(4, 59), True),
        ("01:00-05:00", at(5), False), ("01:00-05:00", at(0, 59), False), ("22:30-04:00", at(23), True),
        ("22:30-04:00", at(3), True), ("22:30-04:00", at(12), False),
    ],
)  # fmt: skip
def test_a_window_of_the_day_ends_before_its_end_and_may_lie_across_midnight(setting, moment, expected):
    assert is_off_peak(setting, moment, [0.0] * 24, 0) is expected


def test_auto_goes_by_the_log():
    busy = [10.0] * 8 + [100.0] * 16
    assert is_off_peak("auto", at(3), busy, 7)
    assert not is_off_peak("auto", at(12), busy, 7)


@pytest.mark.parametrize("setting", ["", "1-5", "01:00", "25:00-05:00", "01:00-01:00", "01:60-02:00", "never"])
def test_what_is_no_window_is_a_wrong_setting(setting):
    with pytest.raises(ConfigError, match=r"warming\.off_peak: .*is no time of the day"):
        CacheConfig(warming={"off_peak": setting})
