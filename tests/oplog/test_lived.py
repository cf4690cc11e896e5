"""What a process counted outlives its segments: an hour by the minute, and all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scoutcache.oplog.lived import HOUR, Lived
from scoutcache.oplog.tally import Tally


def tally(minute, times):
    found = Tally()
    found.add(minute, "default", "llm", "", "get", "miss", "cold", times=times)
    found.spread(minute, "default", "", "miss").add(1000, times)
    return found


def count(found):
    return sum(row.count for row in found.counted()), sum(one.count for one in found.spreads.values())


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 9)), max_size=12), st.integers(1, 9))
def test_all_of_it_is_the_sum_and_an_hour_what_is_in_it(segments, now):
    lived, segments = Lived(), sorted(segments)
    for minute, times in segments:
        lived.keep(tally(minute, times), minute)
    last = max((minute for minute, _ in segments), default=0)
    whole = sum(times for _, times in segments) + now
    assert count(lived.with_([tally(last, now)], None)) == (whole, whole)
    recent = sum(times for minute, times in segments if minute >= last - HOUR) + now
    assert count(lived.with_([tally(last, now)], last - HOUR)) == (recent, recent)


def test_what_is_summed_has_no_minute_so_that_it_does_not_grow():
    lived = Lived()
    for minute in range(500):
        lived.keep(tally(minute, 1), minute)
    assert len(lived.with_([tally(500, 1)], None).counters) == 1
