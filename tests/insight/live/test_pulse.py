"""Rates are differences of counters over the time it took to count them, whatever comes, goes or begins anew."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.insight.live.pulse import Look, Process, look, pulse
from scoutcache.oplog.elsewhere import Elsewhere
from scoutcache.oplog.process import Segment
from scoutcache.oplog.tally import Tally

NOW = 1_800_000_000.0
MINUTE = int(NOW // 60)


def tally(*counts):
    """A tally of (minute, hits, misses)."""
    found = Tally()
    for minute, hits, misses in counts:
        if hits:
            found.add(MINUTE + minute, "default", "llm", "memory", "get", "hit", times=hits)
            found.spread(MINUTE + minute, "default", "memory", "hit").add(1000, hits)
        if misses:
            found.add(MINUTE + minute, "default", "job", "", "get", "miss", "cold", times=misses)
            found.spread(MINUTE + minute, "default", "", "miss").add(500_000, misses)
    return found


def seen(at, *counts, written=None, segment="s1", started=NOW - 100, rest=(), name="p1", machines=1):
    """A look at one process that counted *counts*, and at what others counted that are gone."""
    own = tally(*counts)
    whole = tally(*counts, *rest)
    process = Process(segment, started, NOW + at if written is None else written, own, 3, 100)
    return Look(1000.0 + at, NOW + at, whole, {name: process}, machines)


def nobody(at, *rest, machines=1):
    return Look(1000.0 + at, NOW + at, tally(*rest), {}, machines)


def test_a_rate_is_the_difference_over_the_time_between_the_writings():
    found = pulse(seen(0, (0, 100, 50), written=NOW - 0.2), seen(2, (0, 130, 60), written=NOW + 1.9))
    assert found.total.requests == pytest.approx(40 / 2.1)
    assert found.total.hits == pytest.approx(30 / 2.1)
    assert found.total.hit_rate == pytest.approx(0.75)
    assert found.processes["p1"] == found.total
    assert found.tiers == {"memory": pytest.approx(30 / 2.1)}
    assert {name: rates.requests for name, rates in found.prefixes.items()} == {
        "llm": pytest.approx(30 / 2.1), "job": pytest.approx(10 / 2.1)}  # fmt: skip


def test_one_that_rested_for_long_did_not_count_all_that_time():
    found = pulse(seen(0, (0, 100, 0), written=NOW - 60), seen(2, (0, 130, 0), written=NOW + 2))
    assert found.total.requests == pytest.approx(30 / 3)


def test_at_rest_nothing_happens_and_there_is_no_hit_rate():
    found = pulse(seen(0, (0, 5, 5)), seen(2, (0, 5, 5)))
    assert (found.total.requests, found.total.hit_rate, found.quantile("hit", 0.5)) == (0, None, None)
    assert found.prefixes == {}


def test_the_next_minute_counts_from_nothing():
    found = pulse(seen(0, (0, 100, 0)), seen(2, (0, 101, 0), (1, 9, 0)))
    assert found.total.requests == pytest.approx(5)


def test_counters_that_fell_count_as_nothing():
    found = pulse(seen(0, (0, 100, 0)), seen(2, (0, 3, 0), segment="s1"))
    assert found.total.requests == 0
    assert found.latencies == {}


def test_a_segment_that_is_over_loses_nothing():
    before = seen(0, (0, 100, 0), segment="s1")
    after = seen(2, (0, 4, 0), segment="s2", started=NOW + 1, rest=((0, 106, 0),))
    assert pulse(before, after).total.requests == pytest.approx(5)


def test_a_process_that_began_meanwhile_counts_over_the_whole_interval():
    found = pulse(nobody(0), seen(2, (0, 10, 0), started=NOW + 1.9))
    assert found.total.requests == pytest.approx(5)


def test_one_that_ended_meanwhile_counts_in_the_whole_alone():
    found = pulse(seen(0, (0, 10, 0)), nobody(2, (0, 16, 0)))
    assert found.total.requests == pytest.approx(3)
    assert found.processes == {}


def test_a_machine_that_could_not_be_asked_before_makes_no_peak():
    found = pulse(nobody(0), seen(2, (0, 10_000, 0), started=NOW - 500, rest=((0, 5000, 0),), machines=2))
    assert found.total.requests == 0
    assert found.processes == {}


def test_latencies_are_those_of_the_time_between():
    before, after = seen(0, (0, 1000, 0)), seen(2, (0, 1000, 0), (0, 0, 8))
    found = pulse(before, after)
    assert found.quantile("hit", 0.5) is None
    assert found.quantile("miss", 0.5) == pytest.approx(500, rel=0.02)


def test_of_one_namespace():
    after = seen(2, (0, 10, 0), started=NOW + 1)
    after.tally.add(MINUTE, "other", "x", "memory", "get", "hit", times=50)
    found = pulse(nobody(0), after, "default")
    assert found.total.requests == pytest.approx(5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=10),
       st.floats(0.1, 100))  # fmt: skip
def test_what_is_shown_adds_up_to_what_was_counted(steps, interval):
    """However the counts fall on minutes, the sum of rate times time is what was counted."""
    counted, looks = [], []
    for number, step in enumerate(steps):
        counted.append(step)
        looks.append(seen(number * interval, *counted))
    shown = sum(pulse(one, two).total.requests * interval for one, two in pairwise(looks))
    # Times since the epoch are known to 0.2 microseconds.
    assert shown == pytest.approx(sum(hits + misses for _, hits, misses in steps[1:]), rel=1e-5)


def test_the_files_are_read_and_other_machines_added(recorder, say, directory, fake_clock):
    before = look(directory, at=fake_clock.monotonic(), now=fake_clock.wall())
    assert before.processes == {}
    say("get", "miss", reason="cold")
    say("get", "miss", reason="cold")
    recorder.publish({})
    away = Tally()
    away.add(int(fake_clock.wall() // 60), "default", "llm", "memory", "get", "hit", times=8)
    other = Segment.of(away, id="o", process="other", started=fake_clock.wall(), written=fake_clock.wall(), usages={})
    after = look(directory, at=fake_clock.monotonic(), now=fake_clock.wall(), elsewhere=Elsewhere([other], machines=0))
    found = pulse(before, after)
    assert len(after.processes) == 2
    assert found.total.requests * found.seconds == pytest.approx(10)


def test_of_no_directory_there_is_nothing(tmp_path):
    one, two = (look(tmp_path / "none", at=at, now=NOW + at) for at in (0.0, 1.0))
    assert pulse(one, two).total.requests == 0
