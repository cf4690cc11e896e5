"""Advice and its evidence, from logs that were made to deserve it."""

from __future__ import annotations

import random
import tomllib

import pytest

from scoutcache.errors import ConfigError
from scoutcache.insight.advising.advise import advise, as_profile
from scoutcache.insight.advising.evidence import gather
from scoutcache.insight.advising.repeats import repeats
from scoutcache.insight.advising.rules import advice, duration_text, size_text
from scoutcache.insight.advising.sizing import Sizing, sampled
from scoutcache.insight.log.operations import read_operations
from scoutcache.insight.simulation.curves import Point, curves, parse_sizes
from scoutcache.insight.simulation.history import as_requests
from scoutcache.insight.simulation.requests import Requests
from scoutcache.insight.units import percent
from scoutcache.oplog.records import Line, kept_at
from scoutcache.ttl import parse_duration, parse_size


@pytest.fixture
def busy(recorder, say, fake_clock, directory):
    """A log of two days: questions that expire too early, jobs nobody reads again, a tag that is never read."""
    dice = random.Random(5)
    for turn in range(400):
        key = f"llm:q:{dice.randrange(40)}"
        outcome = "miss" if dice.random() < 0.5 else "hit"
        if outcome == "miss":
            say("compute", "miss", key, reason="expired" if turn > 100 else "cold", factory_s=2.0, cost=0.01, size=5000)
            say("set", "stored", key, size=5000, ttl=60.0)
        else:
            say("get", "hit", key, tier="disk", size=5000)
        say("compute", "miss", f"job:{turn}", reason="cold", factory_s=0.00002, size=90_000)
        say("set", "stored", f"job:{turn}", size=90_000, ttl=86_400.0, tags=("user:1",))
        if turn % 20 == 0:
            say("invalidate", "invalidated", "tag:user:1")
        fake_clock.advance(30)
    recorder.close({})
    return directory


def ask(directory, **more):
    return advise(directory, **{"max_bytes": 100_000_000, "max_entries": 100_000, "strategy": "adaptive", **more})


def of(found, topic):
    return [one for one in found.advice if one.topic == topic]


def test_each_piece_has_its_evidence_and_what_to_expect(busy):
    found = ask(busy)
    assert all(one.evidence and one.expected and one.advice for one in found.advice)
    topics = {one.topic for one in found.advice}
    assert topics >= {"size", "policy", "ttl", "not_worth_caching", "tag", "repeats", "cost"}


def test_what_was_spent_is_what_was_computed_and_not_what_hits_saved(recorder, say, directory):
    for number in range(100):
        say("compute", "miss", f"p:{number}", reason="cold", factory_s=0.1, cost=0.002, size=100)
        say("set", "stored", f"p:{number}", size=100, cost=0.002)
        say("compute", "hit", f"p:{number}", tier="disk", cost=0.002, size=100)
        say("compute", "hit", f"p:{number}", reason="joined", cost=0.002)
        say("refresh", "stored", f"p:{number}", factory_s=0.1, cost=0.002, size=100)
    recorder.close({})
    (cost,) = of(ask(directory), "cost")
    assert cost.evidence == "200 computations took 20.0 s of 20.0 s, 0.40 USD"


@pytest.mark.parametrize(
    ("ratios", "said", "expected"),
    [((0.660, 0.669), "without losing hits", "100MB to 1MB, hit ratio +0.0 points"),
     ((0.660, 0.666), "and lose a point of hits at most", "100MB to 1MB, hit ratio -0.3 points")],
)  # fmt: skip
def test_what_a_size_gives_is_said_of_the_size_that_is_advised(busy, ratios, said, expected):
    """No smaller memory than a megabyte is advised, whatever a smaller one would give."""
    points = [Point("adaptive", size, "bytes", share, 999, ratio, ratio, None)
              for size, share, ratio in ((90_000, 0.1, ratios[0]), (900_000, 1.0, ratios[1]))]  # fmt: skip
    now = Point("adaptive", 100_000_000, "bytes", 100.0, 999, 0.669, 0.669, None)
    requests = as_requests(list(read_operations(busy)))
    sizing = Sizing(now, points[0], points[1], points, 1.0)
    size, *_ = advice(gather(list(read_operations(busy))), repeats([]), sizing, requests, 100_000)
    assert (said in size.advice, size.expected, size.value) == (True, expected, "1MB")


def test_what_expired_before_it_was_asked_for_again_should_live_longer(busy):
    (one,) = [one for one in of(ask(busy), "ttl") if one.about == "llm"]
    assert one.setting == "ttl.llm"
    assert parse_duration(one.value) > 60
    assert "misses had expired (ttl 1m)" in one.evidence
    assert "more hits of 400 requests" in one.expected


def test_what_nobody_reads_again_is_not_worth_caching(busy):
    (one,) = of(ask(busy), "not_worth_caching")
    assert (one.about, one.setting) == ("job", None)
    assert "0 hits of 400 requests; never read: 400 of 400 entries" in one.evidence


def test_what_is_written_and_never_asked_for_is_not_worth_caching(recorder, say, fake_clock, directory):
    for turn in range(150):
        say("get", "hit", "llm:q", tier="disk", size=10)
        say("set", "stored", f"dump:{turn}", size=1000, ttl=3600.0)
        fake_clock.advance(30)
    recorder.close({})
    (one,) = of(ask(directory), "not_worth_caching")
    assert one.about == "dump"
    assert "0 hits of 0 requests; never read: 150 of 150 entries" in one.evidence


def test_a_tag_invalidated_more_than_read_is_named(busy):
    (one,) = of(ask(busy), "tag")
    assert one.about == "user:1"
    assert one.evidence == "invalidated 20 times, read 0 times, written 400 times"


def test_memory_is_sized_within_the_budget(busy):
    found = ask(busy, max_bytes=10_000, budget=120_000)
    size = of(found, "size")[0]
    assert size.setting == "memory.max_bytes"
    assert "replay of 800 requests" in size.evidence
    assert all(row["capacity"] <= 120_000 for row in found.results)
    assert {row["policy"] for row in found.results} >= {"adaptive", "lru", "tinylfu", "gdsf", "opt"}


def test_more_entries_are_allowed_where_their_number_would_bind(busy):
    assert [one.value for one in of(ask(busy, max_entries=3), "size") if one.setting == "memory.max_entries"]


@pytest.mark.parametrize("strategy", ["adaptive", "lru"])
def test_of_both_limits_of_memory_the_one_that_binds_is_the_present_one(
    strategy, recorder, say, fake_clock, directory
):
    dice = random.Random(3)
    for _ in range(3000):
        say("get", "hit", f"llm:{dice.randrange(1000)}", tier="disk", size=500)
    recorder.close({})
    requests = as_requests(list(read_operations(directory)))
    (truth,) = curves(requests, [strategy], parse_sizes(["200"], requests))
    few, enough = (ask(directory, max_entries=number, strategy=strategy) for number in (200, 5000))
    (size,) = of(few, "size")
    assert (size.setting, size.value >= 1000) == ("memory.max_entries", True)
    assert f"{percent(truth.hit_ratio)} hits with 200 entries (max_entries) ({strategy})" in size.evidence
    assert "large enough" not in size.advice
    assert "Memory is large enough" in of(enough, "size")[0].advice
    both = of(ask(directory, max_entries=200, max_bytes=10_000, strategy=strategy), "size")
    assert [one.setting for one in both] == ["memory.max_bytes", "memory.max_entries"]
    assert "with 10KB" in both[0].evidence


def test_memory_that_its_number_of_entries_binds_is_not_said_to_be_too_large(recorder, say, directory):
    dice = random.Random(1)
    for _ in range(8000):
        say("get", "hit", f"p:{min(int(dice.paretovariate(0.9)), 400)}", tier="disk", size=100)
    recorder.close({})
    found = ask(directory, max_entries=150)
    (size,) = of(found, "size")
    assert "the number of entries limits it" in size.advice
    assert "with 150 entries (max_entries)" in size.evidence
    assert size.setting == "memory.max_entries"
    assert isinstance(size.value, int)
    assert 150 < size.value < 400
    assert "max_bytes" not in as_profile(found)


def test_the_profile_is_a_configuration_that_is_right(busy, tmp_path):
    from scoutcache.settings import load_config

    file = tmp_path / "advised.toml"
    file.write_text(as_profile(ask(busy)))
    settings = tomllib.loads(file.read_text())
    assert settings["memory"]["strategy"]
    assert settings["ttl"]["llm"] == of(ask(busy), "ttl")[0].value
    assert load_config(file=file).config.memory.max_bytes == parse_size(settings["memory"]["max_bytes"])
    assert "# job: Don't cache these." in file.read_text()


def test_a_short_life_is_named_as_it_is(recorder, say, fake_clock, directory):
    for number in range(160):
        say("get", "miss", f"llm:{number}", reason="expired")
        say("set", "stored", f"llm:{number}", size=500, ttl=0.3)
        fake_clock.advance(-0.1)
        say("get", "miss", f"llm:{number}", reason="expired")
    recorder.close({})
    (one,) = of(ask(directory), "ttl")
    assert "had expired (ttl 300ms)" in one.evidence


@pytest.mark.parametrize(("ttl", "advised"), [(3600.0, 1), (86_400.0, 0)], ids=["seen whole", "never seen ending"])
def test_a_shorter_life_is_advised_by_who_saw_whole_ones_only(recorder, say, fake_clock, directory, ttl, advised):
    for number in range(200):
        say("set", "stored", f"llm:{number}", size=500, ttl=ttl)
        fake_clock.advance(2)
        say("get", "hit", f"llm:{number}", tier="disk", size=500)
        fake_clock.advance(20)
    recorder.close({})
    assert len(of(ask(directory), "ttl")) == advised


def test_names_from_outside_stay_in_their_place(recorder, say, fake_clock, directory, hostile):
    for number in range(300):
        key = f"{hostile[number % len(hostile)][:40]}:{number % 30}"
        say("get", "hit" if number % 2 else "miss", key, tier="disk" if number % 2 else None, reason="expired")
        say("set", "stored", key, size=10, ttl=2.0, tags=(key,))
        say("invalidate", "invalidated", f"tag:{key}")
        fake_clock.advance(20)
    recorder.close({})
    tomllib.loads(as_profile(ask(directory)))


def test_of_a_few_requests_nothing_follows(recorder, say, directory):
    for number in range(20):
        say("get", "hit", f"llm:{number % 3}", tier="disk", size=5)
    recorder.close({})
    found = ask(directory)
    assert [one.evidence for one in found.advice] == ["20 requests, at least 100 wanted"]
    assert tomllib.loads(as_profile(found)) == {}


def test_a_log_without_requests_is_refused(directory, tmp_path):
    with pytest.raises(ConfigError, match="there is no cache in"):
        ask(tmp_path / "nothing")
    directory.mkdir(exist_ok=True)
    (directory / "counters").mkdir()
    with pytest.raises(ConfigError, match="holds no requests"):
        ask(directory)


def line(key, op="get", outcome="miss", **more):
    return Line(1.0, op, key, "default", outcome=outcome, **more)


def test_repeats_are_told_apart():
    found = repeats([
        line("llm:ask:What is a cache?"), line("llm:ask:What is a cache?"), line("job:Report 7"),
        line("job:report, 7!"), line("llm:ask:How?"), line("llm:sum:0123456789abcdef"),
    ])  # fmt: skip
    assert (found.requests, found.exact, found.prefix, found.near) == (6, 1 / 6, 1 / 6, 1 / 6)
    assert found.without_text == 1 / 6
    assert "nobody can tell" in found.how


def test_near_repeats_of_hashes_are_unknown():
    found = repeats([line(f"llm:{number:016x}") for number in range(9)])
    assert (found.near, found.without_text) == (None, 1.0)


def test_ages_are_counted_from_the_last_write():
    lines = [
        Line(10.0, "set", "a", outcome="stored", ttl=5.0), Line(12.0, "get", "a", outcome="hit", tier="disk"),
        Line(18.0, "get", "a", outcome="miss", reason="expired"), Line(19.0, "get", "b", outcome="hit", tier="disk"),
    ]  # fmt: skip
    found = gather(lines).prefixes[""]
    assert (found.read_at, found.expired_at, found.ttl) == ([2.0], [8.0], 5.0)
    assert (found.requests, found.hits, found.missed, found.keys) == (3, 2, 1, 2)


def test_what_the_log_sampled_is_sampled_further():
    names = [name for number in range(4000) if kept_at(name := f"k{number}") < 0.5]
    few = sampled(Requests(list(range(len(names))), [1] * len(names), names, rate=0.5), len(names) // 2 + 200)
    assert (few.rate, few.names) == (0.25, [name for name in names if kept_at(name) < 0.25])


def test_a_sample_keeps_all_of_a_key_or_nothing():
    keys = [number % 500 for number in range(5000)]
    whole = Requests(keys, [1] * 500, [f"k{number}" for number in range(500)])
    part = sampled(whole, 1000)
    assert part.rate in {0.125, 0.25}
    assert {part.keys.count(key) for key in range(part.distinct)} == {10}
    assert sampled(whole, 5000) is whole


@pytest.mark.parametrize("seconds", [0.001, 0.3, 1, 1.5, 59, 60, 90, 3600, 86_400, 100_000])
def test_durations_and_sizes_are_written_as_they_are_read(seconds):
    assert parse_duration(duration_text(seconds)) == seconds
    assert parse_size(size_text(seconds * 1000)) >= seconds * 1000
