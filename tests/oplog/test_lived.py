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


def test_a_recorder_tells_what_it_counted_before_its_segment_was_over(make_recorder, miss, fake_clock):
    recorder = make_recorder()
    for _ in range(3):
        miss(recorder)
        recorder.publish({})
        fake_clock.advance(700)
    miss(recorder)
    minute = int(fake_clock.wall() // 60)
    assert sum(row.count for row in recorder.lived().counted()) == 4
    assert sum(row.count for row in recorder.lived(minute).counted()) == 1
    assert sum(row.count for row in recorder.lived(minute - 60).counted()) == 4


def test_while_a_segment_is_written_for_the_last_time_nothing_falls(make_recorder, miss, fake_clock, monkeypatch):
    recorder, seen = make_recorder(), []
    miss(recorder)
    recorder.publish({})
    put = recorder._put
    count_now = lambda: sum(row.count for row in recorder.lived().counted())  # noqa: E731
    monkeypatch.setattr(recorder, "_put", lambda *given: (seen.append(count_now()), put(*given)))
    fake_clock.advance(700)
    recorder.publish({})
    assert seen
    assert {*seen, count_now()} == {1}


def test_what_could_not_be_written_is_counted_once(make_recorder, miss, fake_clock, monkeypatch):
    recorder = make_recorder()
    miss(recorder)
    recorder.publish({})
    fake_clock.advance(700)
    miss(recorder)

    def refused(*_):
        raise OSError(28, "full")

    monkeypatch.setattr(recorder, "_put", refused)
    recorder.publish({})
    assert sum(row.count for row in recorder.lived().counted()) == 2
