"""The log is followed for predictive policies, and asked only in their time and of their entries."""

from __future__ import annotations

import os

import pytest

from scoutcache import Cache
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks
from scoutcache.oplog.recorder import OplogSettings, Recorder
from scoutcache.warming.foresight import Foresight, life_in
from scoutcache.warming.predict import Life
from scoutcache.warming.predict_history import Name


@pytest.fixture
def clocks(fake_clock):
    return Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)


@pytest.fixture
def write(tmp_path, fake_clock):
    """Let keys of two namespaces be asked for every hour, so many times."""

    def write(times):
        recorder = Recorder(tmp_path, OplogSettings(), wall=fake_clock.wall, monotonic_ns=fake_clock.monotonic_ns,
                            token=lambda: os.urandom(8).hex())  # fmt: skip
        for _ in range(times):
            now = fake_clock.monotonic_ns()
            for namespace, key in (("default", "llm:a"), ("default", "job:b"), ("tenant", "llm:a")):
                recorder.record("get", namespace, key, tier=None, outcome="miss", reason="cold", began_ns=now,
                                ended_ns=now)  # fmt: skip
            fake_clock.advance(3600)
        recorder.close({})

    return write


def config_of(tmp_path, **policy):
    return CacheConfig(directory=tmp_path, default_ttl=60, warming={"horizon": 300},
                       policies=[{"name": "p", "strategy": "predictive", **policy}])  # fmt: skip


def look(config, clocks, fake_clock, foresight=None):
    with Cache(config, clocks=clocks) as cache:
        foresight = foresight or Foresight(config, config.directory)
        return sorted((one.namespace, one.key) for one in foresight.look(fake_clock.wall(), cache, lambda: True))


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"applies_to": "llm:*"}, [("default", "llm:a"), ("tenant", "llm:a")]),
        ({"namespaces": "default"}, [("default", "job:b"), ("default", "llm:a")]),
        ({"namespaces": "tenant", "applies_to": "job:*"}, []),
    ],
)
def test_only_entries_of_the_policy_are_foreseen(tmp_path, clocks, fake_clock, write, policy, named):
    write(20)
    fake_clock.advance(-30)
    assert look(config_of(tmp_path, **policy), clocks, fake_clock) == named


def test_without_a_predictive_policy_nothing_is_wanted(tmp_path):
    assert not Foresight(CacheConfig(directory=tmp_path), tmp_path).wanted


def test_what_was_read_is_not_read_again(tmp_path, clocks, fake_clock, write):
    write(20)
    config = config_of(tmp_path)
    foresight = Foresight(config, tmp_path)
    look(config, clocks, fake_clock, foresight)
    look(config, clocks, fake_clock, foresight)
    assert foresight._history.keys[Name("default", "llm:a")].seen == 20
    write(3)
    look(config, clocks, fake_clock, foresight)
    assert foresight._history.keys[Name("default", "llm:a")].seen == 23


def test_what_the_cache_has_of_a_key_and_how_long_another_would_live(tmp_path, clocks, fake_clock):
    config = CacheConfig(directory=tmp_path, default_ttl=60, ttl={"llm": 500})
    with Cache(config, clocks=clocks) as cache:
        cache.set("llm:a", 1, ttl=100)
        life = life_in(cache)
        assert life(Name("default", "llm:a")).fresh_until == pytest.approx(fake_clock.wall() + 100)
        assert life(Name("default", "llm:a")).ttl == 500
        assert life(Name("tenant", "x")) == Life(0.0, 60)
