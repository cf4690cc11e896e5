from __future__ import annotations

import pytest

from scoutcache.errors import ConfigError
from scoutcache.warming.pace import Pace


def test_turns_are_evenly_spaced_over_all_who_ask(fake_clock):
    pace = Pace(4.0, fake_clock.monotonic)
    assert [pace.wait() for _ in range(3)] == pytest.approx([0.0, 0.25, 0.5])


def test_after_a_pause_there_is_no_burst(fake_clock):
    pace = Pace(10.0, fake_clock.monotonic)
    pace.wait()
    fake_clock.advance(60)
    assert [pace.wait(), pace.wait()] == pytest.approx([0.0, 0.1])


def test_without_a_rate_nobody_waits(fake_clock):
    pace = Pace(None, fake_clock.monotonic)
    assert [pace.wait() for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ConfigError, match="rate"):
        Pace(rate)
