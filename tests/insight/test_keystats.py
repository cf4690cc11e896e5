"""Statistics over keys: exact counts, percentiles as good as promised, bounded whatever streams by."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache import Cache
from scoutcache.calls.walking import Walk
from scoutcache.core.core import Clocks
from scoutcache.entry import NEVER, Header, Listed, Ref
from scoutcache.insight.keystats import PREFIXES, SIZES, TIMES, KeyStats, Spread, collect
from scoutcache.insight.log.uses import Uses
from scoutcache.oplog.records import Line
from scoutcache.patterns import Pattern

NOW = 1_800_000_000.0


def entry(key="llm:a", size=100, *, tier="disk", made=NOW - 60, until=NOW + 60, fresh=None, idle=None):
    header = Header(Ref("default", key), 1, made, until if fresh is None else fresh, until)
    return Listed(header, tier, size, None, idle)


def stats_of(*entries, top=10, uses=None):
    stats = KeyStats(now=NOW, top=top, uses=uses)
    for one in entries:
        stats.add(one, dead=False, stale=False)
    return stats


class TestSpread:
    @given(st.lists(st.integers(0, 10**9), min_size=1))
    def test_every_figure_falls_into_one_bucket_whose_ends_hold_it(self, values):
        spread = Spread(SIZES)
        for value in values:
            spread.add(value, value)
        assert sum(row["entries"] for row in spread.rows()) == len(values)
        assert sum(row["size_bytes"] for row in spread.rows()) == sum(values)
        for row in spread.rows():
            low, high = row["above"], math.inf if row["up_to"] is None else row["up_to"]
            inside = [v for v in values if (low < v or (low == 0 == v)) and v <= high]
            assert len(inside) == row["entries"]

    @given(st.lists(st.floats(0, 1e7), min_size=1), st.sampled_from([0.5, 0.95]))
    def test_a_quantile_is_off_by_little(self, values, q):
        spread = Spread(TIMES, 1_000_000)
        for value in values:
            spread.add(value, 1)
        exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
        assert spread.quantile(q) == pytest.approx(exact, rel=0.02, abs=0.002)

    def test_what_never_ends_and_what_is_unknown_is_in_no_bucket_of_time(self):
        spread = Spread(TIMES)
        spread.add(math.inf, 7)
        spread.add(None, 9)
        assert list(spread.rows()) == [{"above": None, "up_to": None, "entries": 1, "size_bytes": 7}]
        assert (spread.quantile(0.5), spread.largest, spread.unknown) == (None, None, 1)


class TestKeyStats:
    def test_each_tier_has_a_row_and_what_is_over_is_counted_apart(self):
        stats = stats_of(entry(size=10), entry("llm:b", 30, until=NEVER), entry("llm:c", 5, until=NOW - 1),
                         entry("llm:d", 7, fresh=NOW - 1), entry(size=11, tier="redis", idle=4.0))  # fmt: skip
        stats.add(entry("llm:e", 1), dead=True, stale=False)
        stats.add(entry("llm:f", 1), dead=False, stale=True)
        disk, redis = stats.as_dict()["keystats"]
        names = ("entries", "size_bytes", "stale", "expired", "dead", "never_expire")
        assert [disk[name] for name in names] == [6, 54, 2, 1, 1, 1]
        assert (redis["entries"], redis["p50_idle_s"]) == (1, 4.0)
        assert disk["p50_idle_s"] is None

    def test_no_key_is_named_that_is_over(self):
        stats = stats_of(entry("gone", 10**6, until=NOW - 1), entry("there", 1))
        assert [row["key"] for row in stats.as_dict()["biggest"]] == ["there"]

    @given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 8))
    def test_the_biggest_are_the_biggest(self, sizes, top):
        stats = stats_of(*[entry(f"k:{at}", size) for at, size in enumerate(sizes)], top=top)
        rows = stats.as_dict()["biggest"]
        assert [row["size_bytes"] for row in rows] == sorted(sizes, reverse=True)[:top]
        assert len({row["key"] for row in rows}) == len(rows)

    def test_prefixes_are_bounded_and_lose_no_entry(self):
        stats = stats_of(*[entry(f"p{number}:x", 1) for number in range(PREFIXES + 50)], top=10**6)
        rows = stats.as_dict()["prefixes"]
        assert len(rows) == PREFIXES + 1
        assert sum(row["entries"] for row in rows) == PREFIXES + 50
        assert next(row for row in rows if row["prefix"] == ":other")["entries"] == 50

    def test_idle_is_since_the_last_use_that_the_log_knows(self):
        uses = Uses([Line(NOW - 500, "set", "a", "default"), Line(NOW - 90, "get", "a", "default", "disk", "hit"),
                     Line(NOW - 80, "get", "a", "default", "disk", "hit"), Line(NOW - 20, "get", "b", "default",
                                                                                None, "miss")])  # fmt: skip
        stats = stats_of(entry("a", made=NOW - 500), entry("b", made=NOW - 300), entry("old", made=NOW - 9999),
                         uses=uses)  # fmt: skip
        found = {row["key"]: (row["idle_s"], row["uses"]) for row in stats.as_dict()["biggest"]}
        assert found == {"a": (80.0, 2), "b": (300.0, 0), "old": (None, 0)}
        assert [row["key"] for row in stats.as_dict()["hottest"]] == ["a"]


class TestUses:
    def test_the_longest_unused_are_forgotten_first(self):
        uses = Uses((Line(float(at), "get", f"k{at}", "n", "disk", "hit") for at in range(101)), most=100)
        assert uses.of("n", "k100") == (1, 100.0)
        assert uses.of("n", "k0") == (0, None)

    def test_a_redacted_log_is_asked_for_the_hash(self):
        from scoutcache.oplog.records import redacted

        line = Line(1.0, "get", redacted("n", "llm:a"), "n", "disk", "hit")
        assert Uses([line], redacts=True).of("n", "llm:a") == (1, 1.0)
        assert Uses([line]).of("n", "llm:a") == (0, None)


def test_a_limit_ends_the_way_so_that_the_rest_follows(tmp_path, fake_clock):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path, clocks=clocks, tiers=["disk"]) as cache:
        cache.set_many({f"n:{number:04}": number for number in range(1200)})
        seen, begin = [], None
        while True:
            walk, stats = Walk(begin), KeyStats(now=fake_clock.wall(), top=0)
            collect(cache._core, stats, namespace="default", pattern=Pattern.parse("n:*"), tier=None, walk=walk,
                    samples=10)  # fmt: skip
            seen.append(stats.entries)
            begin = walk.place
            if begin is None:
                break
    assert sum(seen) == 1200
    assert len(seen) > 1


def test_what_tags_ended_is_dead(tmp_path, fake_clock):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path, clocks=clocks, tiers=["disk"]) as cache:
        cache.set("a", 1, tags=["t"])
        cache.set("b", 1, tags=["u"])
        cache.set("c", 1)
        cache.invalidate(tags=["t"])
        cache.invalidate(tags=["u"], action="mark_stale")
        stats = KeyStats(now=fake_clock.wall(), top=5)
        collect(cache._core, stats, namespace=None, pattern=Pattern.parse("*"), tier=None, walk=Walk())
    (row,) = stats.as_dict()["keystats"]
    assert (row["entries"], row["dead"], row["stale"]) == (3, 1, 1)
