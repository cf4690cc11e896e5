"""Which levels are passed is decided by figures and levels alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.alerts import EASED, Figures, Level, alerts
from scoutcache.config.sections import AlertsSection

LEVELS = AlertsSection()


def names(figures, standing=()):
    return [(one.name, one.level.name) for one in alerts(figures, LEVELS, standing)]


def test_nothing_known_is_no_alert():
    assert alerts(Figures(), LEVELS) == []
    nothing = Figures(hit_rate=1.0, memory_bytes=0, invalidations=0, errors=0, left_out={"sampled": 9})
    assert alerts(nothing, LEVELS) == []


@pytest.mark.parametrize(
    ("figures", "name", "level", "value", "threshold"),
    [
        ({"memory_bytes": 50_000_000}, "memory", "WARNING", 50_000_000, 50_000_000),
        ({"memory_bytes": 100_000_000}, "memory", "CRITICAL", 100_000_000, 100_000_000),
        ({"hit_rate": 0.25}, "hit_rate", "WARNING", 0.25, 0.5),
        ({"hit_rate": 0.0}, "hit_rate", "WARNING", 0.0, 0.5),
        ({"operations": {"hit": 10.0, "set": 60_000.0, "delete": None}}, "operation", "WARNING", 0.06, 0.05),
        ({"keygen_us": 100_000.0}, "key_generation", "WARNING", 0.1, 0.1),
        ({"invalidations": 50}, "invalidations_per_hour", "WARNING", 50, 50),
        ({"invalidations": 100}, "invalidations_per_hour", "CRITICAL", 100, 100),
        ({"errors": 10}, "errors_per_hour", "ERROR", 10, 10),
        ({"away": {"redis": "no answer"}}, "redis_away", "ERROR", 1, 1),
        ({"fill": {"disk": 0.97, "memory": None}}, "disk_full", "INFO", 0.97, 0.95),
        ({"left_out": {"rate": 3, "sampled": 90}}, "log_incomplete", "INFO", 3, 1),
    ],
)
def test_each_level_of_the_defaults(figures, name, level, value, threshold):
    (found,) = alerts(Figures(**figures), LEVELS)
    assert (found.name, found.level.name, found.value, found.threshold) == (name, level, value, threshold)
    assert found.detail
    assert found.remedy


@pytest.mark.parametrize(
    "figures",
    [{"memory_bytes": 49_999_999}, {"hit_rate": 0.5}, {"operations": {"hit": 49_999.0}}, {"keygen_us": 99_999.0},
     {"invalidations": 49}, {"errors": 9}, {"fill": {"disk": 0.94}}],
)  # fmt: skip
def test_within_its_level_nothing_is(figures):
    assert alerts(Figures(**figures), LEVELS) == []


def test_the_worst_comes_first():
    slow = {"set": 1e6, "hit": 2e6}
    found = names(Figures(hit_rate=0.1, left_out={"rate": 1}, memory_bytes=10**9, errors=99, operations=slow))
    assert found == [("memory", "CRITICAL"), ("errors_per_hour", "ERROR"), ("hit_rate", "WARNING"),
                     ("operation", "WARNING"), ("log_incomplete", "INFO")]  # fmt: skip


def test_an_operation_names_the_slowest():
    (found,) = alerts(Figures(operations={"set": 60_000.0, "hit": 70_000.0}), LEVELS)
    assert "of a hit is 70000 us" in found.detail


def test_what_the_log_lacks_is_told_with_its_causes_and_what_helps_against_each():
    (rate,) = alerts(Figures(left_out={"rate": 3}), LEVELS)
    assert rate.detail.startswith("the log lacks 3 records (came faster than [oplog] max_records_per_s)")
    assert rate.remedy == "raise [oplog] max_records_per_s"
    (full,) = alerts(Figures(left_out={"unwritable": 129}), LEVELS)
    assert "129 records (could not be written)" in full.detail
    assert "max_records_per_s" not in full.remedy
    assert "is writable and has space" in full.remedy
    (both,) = alerts(Figures(left_out={"overflow": 1, "unwritable": 1290}), LEVELS)
    assert "1,291 records (1 came faster than they could be recorded, 1,290 could not be written)" in both.detail
    assert both.remedy.startswith("make sure that the cache's directory")


def test_no_error_is_none_whatever_the_level():
    levels = AlertsSection(errors_per_hour=0, invalidations_per_hour={"warn": 0, "critical": 0})
    assert alerts(Figures(errors=0, invalidations=0), levels) == []
    assert [one.level for one in alerts(Figures(errors=1, invalidations=1), levels)] == [Level.CRITICAL, Level.ERROR]


def test_one_that_stands_ends_only_well_inside_its_level():
    stood = alerts(Figures(hit_rate=0.4, memory_bytes=100_000_000), LEVELS)
    assert names(Figures(hit_rate=0.51, memory_bytes=96_000_000), stood) == [
        ("memory", "CRITICAL"), ("hit_rate", "WARNING")]  # fmt: skip
    assert names(Figures(hit_rate=0.51, memory_bytes=96_000_000)) == [("memory", "WARNING")]
    assert names(Figures(hit_rate=0.53, memory_bytes=94_000_000), stood) == [("memory", "WARNING")]
    assert names(Figures(hit_rate=0.53, memory_bytes=46_000_000), stood) == []


@given(st.integers(0, 300_000_000), st.integers(0, 300), st.floats(0, 1))
def test_what_stands_and_has_not_changed_goes_on(size, count, rate):
    figures = Figures(memory_bytes=size, invalidations=count, hit_rate=rate, errors=count)
    stood = alerts(figures, LEVELS)
    assert alerts(figures, LEVELS, stood) == stood


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_more_is_never_less_bad(small, large):
    small, large = sorted((small, large))
    level = [max((one.level for one in alerts(Figures(memory_bytes=size), LEVELS)), default=0)
             for size in (small, large)]  # fmt: skip
    assert level[0] <= level[1]
    assert 0 < EASED < 1
