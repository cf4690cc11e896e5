"""What runs beside the calls: counters are written down when there may be some, and not by looking for them."""

from __future__ import annotations

import pytest

from scoutcache import Cache, background
from scoutcache.core import Clocks


class Processor:
    """What `time` says of the processor."""

    def __init__(self):
        self.process = self.thread = 0

    def process_time_ns(self):
        return self.process

    def thread_time_ns(self):
        return self.thread

    def background_works(self, nanoseconds):
        self.thread += nanoseconds
        self.process += nanoseconds


@pytest.fixture
def processor(monkeypatch):
    processor = Processor()
    monkeypatch.setattr(background, "time", processor)
    return processor


@pytest.fixture
def turn(tmp_path, fake_clock, processor):
    """Take the step that writes counters down; true if it did."""
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path, clocks=clocks) as cache:
        core, own = cache._core, cache._core.background
        own._ticking = True  # there is no thread all the same: it would have begun with the cache
        background._at_work.add(own)
        flushes = []
        core.flush = lambda: flushes.append(processor.process)

        def turn():
            before = len(flushes)
            own._write_down(core)
            return len(flushes) > before

        yield turn
        background._at_work.discard(own)
        own._ticking = False
        del core.flush


def test_while_only_the_background_works_nothing_is_looked_for(turn, processor):
    processor.process += 10**9
    assert turn()
    for _ in range(20):
        processor.background_works(10**6)
        assert not turn()


def test_whoever_did_anything_is_counted_with_the_next_turn(turn, processor):
    turn()
    processor.process += background.IDLE_NS
    assert turn()
    assert not turn()


def test_little_by_little_is_something_as_well(turn, processor):
    turn()
    done = []
    for _ in range(10):
        processor.process += background.IDLE_NS // 5
        done.append(turn())
    assert done == [False] * 4 + [True] + [False] * 4 + [True]


def test_next_to_nothing_waits_no_longer_than_half_a_minute(turn, processor):
    processor.process += 10**9
    assert turn()
    processor.process += 1
    assert [turn() for _ in range(background.FLUSH_EVERY)].index(True) == background.FLUSH_EVERY - 1
    assert background.FLUSH_EVERY * background.INTERVAL == 30
