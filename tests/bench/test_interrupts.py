from __future__ import annotations

import signal
import tempfile
import threading

import pytest

from scoutcache.assembly.remote import Remote
from scoutcache.bench.interrupts import held_back
from scoutcache.bench.records import BenchOptions
from scoutcache.bench.run import run_bench
from scoutcache.tiers.redis.tier import RedisTier


@pytest.fixture
def interruptible():
    """SIGINT raises, as in a terminal; a test run in the background of a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(done, error=None):
    with held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
        if error is not None:
            raise error


def test_an_interrupt_comes_at_the_end(interruptible):
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(done)
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_is_not_lost_for_an_interrupt(interruptible):
    with pytest.raises(ZeroDivisionError):
        interrupted([], ZeroDivisionError())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_other_handlers_are_left_alone(interruptible):
    seen = []

    def elsewhere():
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back():
        seen.append(signal.getsignal(signal.SIGINT))
    assert seen == [signal.default_int_handler, signal.SIG_IGN]


@pytest.mark.parametrize("use_async", [False, True])
def test_a_benchmark_that_is_interrupted_while_it_opens_leaves_nothing(
    use_async, interruptible, redis_url, redis_server, monkeypatch, isolated_environment
):
    appear = Remote.appear

    def appears(remote):
        appear(remote)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Remote, "appear", appears)
    with pytest.raises(KeyboardInterrupt):
        run_bench(BenchOptions(tiers=("redis",), redis_url=redis_url, keys=10, duration=0.1, use_async=use_async))
    assert redis_server.cli("KEYS", "*") == []


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("tiers", [("redis",), ("redis", "hybrid")])
def test_one_that_is_interrupted_again_while_it_clears_up_leaves_nothing(
    tiers, use_async, interruptible, redis_url, redis_server, monkeypatch, isolated_environment, tmp_path
):
    erase = RedisTier.erase

    def erases(tier):
        signal.raise_signal(signal.SIGINT)
        return erase(tier)

    def interrupts(what, _done, _of):
        if "run 1" in what:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(RedisTier, "erase", erases)
    options = BenchOptions(tiers=tiers, redis_url=redis_url, keys=10, duration=0.1, use_async=use_async)
    with pytest.raises(KeyboardInterrupt):
        run_bench(options, progress=interrupts)
    assert redis_server.cli("KEYS", "*") == []
    assert list(tmp_path.glob("scoutcache-bench-*")) == []
