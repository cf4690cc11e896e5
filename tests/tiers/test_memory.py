"""The memory tier: limits, deadlines, counters, and the path of a hit."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections import deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scoutcache.entry import MISSING, NAMESPACE_MARK, NEVER, Header, Live, Mark, Ref, Row, Sealed
from scoutcache.eviction import STRATEGIES
from scoutcache.keys import CacheKey
from scoutcache.patterns import Pattern
from scoutcache.tiers.memory import MemoryTier
from scoutcache.tiers.memory.hot import SLACK


class Page:
    """A position that a test can move."""

    def __init__(self):
        self.words = [0, 0]
        self.index = 1


class World:
    """A memory tier, its clock, and short ways to use it."""

    def __init__(self, clock, codec, make_row, **options):
        self.clock, self.make_row = clock, make_row
        self.evicted = []
        self.tier = MemoryTier(
            codec, monotonic=clock.monotonic, wall=clock.wall, on_evict=lambda *left: self.evicted.append(left),
            **options,
        )  # fmt: skip
        self.page = Page()
        self.misses = []
        self.get = self.tier.make_get(self.miss, namespace="default", position=self.page)
        self.peek = self.tier.make_peek(position=self.page)

    def miss(self, key, default, namespace):
        self.misses.append((key, default, namespace))
        return default

    def put(self, key, value="value", *, allow=None, **options):
        return self.tier.write([self.make_row(key, value, **options)], self.clock.wall(), allow)

    def sized(self, key, size, **options):
        """An entry that counts as exactly *size* bytes."""
        row = self.make_row(key, **options)
        return self.tier.write([Row(row.header, Live("v", None, size), row.seal)], self.clock.wall())

    def keys(self):
        return sorted(item.header.ref.key for item in self.tier.scan(None))


@pytest.fixture
def make_world(fake_clock, codec, make_row):
    return lambda **options: World(fake_clock, codec, make_row, **options)


@pytest.fixture
def world(make_world):
    return make_world()


class TestHit:
    def test_it_gives_the_value_and_counts(self, world):
        world.put("llm:a", "answer")
        assert world.get("llm:a") == "answer"
        assert world.get("llm:a", namespace="default") == "answer"
        assert world.peek("default", "llm:a") == "answer"
        assert world.tier.entry(Ref("default", "llm:a")).hits == 3
        assert not world.misses

    def test_an_immutable_value_is_given_by_reference_and_a_mutable_one_is_not(self, world):
        text = "a text " * 100
        world.put("text", text)
        world.put("list", [1])
        assert world.get("text") is text
        assert world.get("list") == [1]
        assert world.get("list") is not world.get("list")
        assert world.peek("default", "list") == [1]

    def test_none_is_a_value(self, world):
        world.put("nothing", None)
        assert world.get("nothing", "default") is None
        assert world.peek("default", "nothing") is None

    def test_what_is_absent_goes_to_the_slow_path_as_it_was_asked(self, world):
        assert world.get("a") is None
        assert world.get("b", 1) == 1
        assert world.get(key="c", default=2, namespace="other") == 2
        assert world.misses == [("a", None, None), ("b", 1, None), ("c", 2, "other")]
        assert world.peek("default", "a") is world.peek("other", "a") is MISSING

    @pytest.mark.parametrize("key", [["unhashable"], 7, None, CacheKey("llm", "a")], ids=repr)
    def test_what_is_no_text_goes_to_the_slow_path(self, world, key):
        world.put("llm:a")
        assert world.get(key, "slow") == "slow"
        assert world.peek("default", key) is MISSING

    def test_a_namespace_that_is_none_of_ours_goes_to_the_slow_path(self, world):
        world.put("a")
        assert world.get("a", "slow", ["unhashable"]) == "slow"

    def test_errors_of_the_slow_path_do_not_speak_of_the_hot_path(self, world):
        def refuse(key, default, namespace):
            raise ValueError(key)

        get = world.tier.make_get(refuse, namespace="default")
        with pytest.raises(ValueError, match="absent") as error:
            get("absent")
        assert error.value.__context__ is None

    def test_a_failing_decoder_is_no_miss(self, world):
        def decode(held):
            raise KeyError(held)

        row = world.make_row("bad")
        world.tier.write([Row(row.header, Live("held", decode, 4), row.seal)], world.clock.wall())
        with pytest.raises(KeyError, match="held"):
            world.get("bad")
        assert not world.misses

    def test_a_namespace_of_its_own_has_keys_of_its_own(self, world):
        world.put("a", "mine")
        world.put("a", "theirs", namespace="tenant")
        get = world.tier.make_get(world.miss, namespace="tenant", position=world.page)
        assert [get("a"), get("a", namespace="default")] == ["theirs", "mine"]
        assert [world.get("a"), world.get("a", namespace="tenant")] == ["mine", "theirs"]

    def test_a_stale_entry_goes_to_the_slow_path_though_it_is_there(self, world):
        world.put("a", ttl=1, stale=10)
        world.clock.advance(2)
        assert world.get("a", "slow") == "slow"
        assert world.peek("default", "a") is MISSING
        assert [row.live.value() for row in world.tier.rows([Ref("default", "a")]).values()] == ["value"]

    def test_the_table_stays_the_same_through_everything(self, world):
        table = world.tier.table("default")
        world.put("a")
        world.tier.clear(None)
        world.tier.prune(world.clock.wall())
        world.put("b", "new")
        assert world.tier.table("default") is table
        assert world.get("b") == "new"


class TestPosition:
    def test_any_announcement_sends_every_hit_to_the_slow_path_until_it_was_applied(self, world):
        world.put("a")
        world.page.words[1] = 100
        assert world.get("a", "slow") == "slow"
        assert world.peek("default", "a") is MISSING
        world.tier.seen(100)
        assert world.get("a") == "value"
        assert world.peek("default", "a") == "value"

    def test_all_closures_of_a_tier_share_what_was_seen(self, world):
        world.put("a", namespace="other")
        other = world.tier.make_get(world.miss, namespace="other", position=world.page)
        world.page.words[1] = 7
        world.tier.seen(7)
        assert other("a") == "value"

    def test_without_a_shared_directory_nothing_is_compared(self, world):
        get = world.tier.make_get(world.miss, namespace="default")
        world.put("a")
        assert get("a") == "value"


class TestDeadline:
    @pytest.mark.parametrize("ttl", [0.001, 0.1, 0.25, 3.3, 86400.0])
    @pytest.mark.parametrize("tick", [False, True])
    def test_a_hit_ends_with_the_time_to_live_to_the_millisecond(self, world, ttl, tick):
        world.put("a", ttl=ttl)
        world.clock.advance(ttl - 0.0005)
        if tick:
            world.tier.tick(world.clock.monotonic())
        assert world.get("a") == world.peek("default", "a") == "value"
        world.clock.advance(0.0005)
        assert world.get("a", "slow") == "slow"
        assert world.peek("default", "a") is MISSING

    @pytest.mark.parametrize("step", [-1e6, -3600.0, 3600.0, 1e6])
    def test_setting_the_wall_clock_neither_revives_nor_kills(self, world, step):
        world.put("a", ttl=10, stale=5)
        world.clock.advance(5)
        world.clock.step_wall(step)
        assert world.get("a") == "value"
        world.clock.advance(5)
        assert world.get("a", "slow") == "slow"
        assert world.tier.read(Ref("default", "a"), world.clock.wall()) is not None
        world.clock.advance(5)
        assert world.tier.read(Ref("default", "a"), world.clock.wall()) is None
        assert world.tier.count(None, None, world.clock.wall()) == 0

    def test_no_clock_is_read_for_a_slot_that_outlives_the_horizon(self, codec, fake_clock, make_row):
        asked = []

        def monotonic():
            asked.append(1)
            return fake_clock.monotonic()

        tier = MemoryTier(codec, monotonic=monotonic, wall=fake_clock.wall)
        tier.write([make_row("long", ttl=60), make_row("short", ttl=1), make_row("ever", ttl=None)], fake_clock.wall())
        get = tier.make_get(lambda *request: "slow", namespace="default")
        asked.clear()
        assert [get("long"), get("short"), get("ever"), len(asked)] == ["value", "value", "value", 3]
        tier.tick(fake_clock.monotonic())
        asked.clear()
        assert [get("long"), get("ever"), len(asked)] == ["value", "value", 0]
        assert [get("short"), len(asked)] == ["value", 1]
        tier.tick(None)
        asked.clear()
        assert [get("long"), len(asked)] == ["value", 1]

    def test_a_starved_ticker_serves_late_by_its_slack_at_most(self, world):
        """What the horizon promises, and what it costs when nobody keeps it."""
        world.put("a", ttl=SLACK)
        world.tier.tick(world.clock.monotonic())
        world.clock.advance(SLACK)
        assert world.get("a", "slow") == "slow"

    def test_the_expiry_is_the_deadline_where_fresh_until_lies_beyond_it(self, world, codec):
        now = world.clock.wall()
        header = Header(ref=Ref("default", "a"), start=1, created=now, fresh_until=NEVER, expires=now + 1)
        world.tier.write([Row(header, Live("v", None, 1), lambda: Sealed(b""))], now)
        assert world.get("a") == "v"
        world.clock.advance(1)
        assert world.get("a", "slow") == "slow"
        assert world.tier.entry(header.ref) is None

    def test_an_expired_entry_with_a_later_start_does_not_keep_a_writer_out(self, world):
        """A start may lie in the future when somebody set the clock back."""
        world.put("key", "future", start=1 << 62, ttl=1)
        world.clock.advance(2)
        assert world.put("key", "now", start=10) == 1
        assert world.get("key") == "now"


class TestCounting:
    def test_a_harvest_gives_each_hit_once_by_namespace_and_prefix(self, world):
        for key, namespace in (("llm:a", "default"), ("llm:b", "default"), ("plain", "default"), ("llm:a", "other")):
            world.put(key, namespace=namespace)
            world.get(key, namespace=namespace)
        world.get("llm:a")
        assert world.tier.harvest().hits == {("default", "llm"): 3, ("default", ""): 1, ("other", "llm"): 1}
        assert world.tier.harvest().hits == {}

    @pytest.mark.parametrize(
        "end", ["remove", "clear", "mark", "pattern", "overwrite", "too large", "evict", "prune", "close"]
    )
    def test_hits_of_what_left_are_harvested_too(self, make_world, end):
        world = make_world(max_entries=1, max_bytes=1000)
        world.put("llm:a", marks=(Mark("tag", 1),), ttl=10)
        world.get("llm:a")
        world.get("llm:a")
        if end == "remove":
            world.tier.remove([Ref("default", "llm:a")])
        elif end == "clear":
            world.tier.clear("default")
        elif end == "mark":
            world.tier.drop_marked("default", ["tag"])
        elif end == "pattern":
            world.tier.remove_matching("default", Pattern.parse("llm:*"))
        elif end == "overwrite":
            world.put("llm:a", "new", start=2)
        elif end == "too large":
            world.put("llm:a", "x" * 2000, start=2)
        elif end == "evict":
            world.put("job:b")
        elif end == "prune":
            world.clock.advance(20)
            world.tier.prune(world.clock.wall())
        else:
            world.tier.close()
        assert world.tier.harvest().hits == {("default", "llm"): 2}
        assert world.tier.harvest().hits == {}

    @pytest.mark.parametrize("strategy", sorted(STRATEGIES))
    def test_no_hit_is_lost_or_counted_twice_while_threads_read_and_write(self, make_world, strategy):
        """Readers count what they got; the harvests of a third thread add up to exactly that."""
        world = make_world(max_entries=4, strategy=strategy)
        done, harvested, got = threading.Event(), [], []
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

        def read():
            hits = 0
            for number in range(6000):
                hits += world.get(f"k:{number % 6}", MISSING) is not MISSING
            got.append(hits)

        def write():
            number = 0
            while not done.is_set():
                number += 1
                world.put(f"k:{number % 6}", start=number)
                harvested.append(world.tier.harvest().hits.get(("default", "k"), 0))

        readers, writer = [threading.Thread(target=read) for _ in range(3)], threading.Thread(target=write)
        try:
            for thread in (writer, *readers):
                thread.start()
            for thread in readers:
                thread.join()
        finally:
            done.set()
            writer.join()
            sys.setswitchinterval(interval)
        assert sum(harvested) + world.tier.harvest().hits.get(("default", "k"), 0) == sum(got)
        assert sum(got) > 0

    def test_a_harvest_knows_what_the_hits_would_have_cost(self, world):
        """Costs differ between entries of one prefix, and some have none."""
        for key, cost in (("llm:a", 0.5), ("llm:b", 2.0), ("llm:c", None), ("job:d", None)):
            world.put(key, cost=cost)
            world.get(key)
        world.get("llm:a")
        world.tier.remove([Ref("default", "llm:a")])
        harvest = world.tier.harvest()
        assert harvest.hits == {("default", "llm"): 4, ("default", "job"): 1}
        assert harvest.costs == {("default", "llm"): (3, 3.0)}
        assert world.tier.harvest() == ({}, {})

    def test_a_live_value_is_given_while_fresh_and_counts(self, world):
        world.put("a", [1], ttl=5, stale=5)
        assert world.tier.live(Ref("default", "a")).value() == [1]
        assert world.tier.live(Ref("default", "b")) is None
        world.clock.advance(5)
        assert world.tier.live(Ref("default", "a")) is None
        assert world.tier.harvest().hits == {("default", ""): 1}

    def test_a_lower_tiers_reader_counts_as_a_hit_and_a_look_does_not(self, world):
        world.put("a")
        world.tier.read(Ref("default", "a"), world.clock.wall())
        world.tier.rows([Ref("default", "a")], count=False)
        assert world.tier.entry(Ref("default", "a")).hits == 1

    def test_an_entry_knows_when_it_was_last_asked_for(self, world):
        world.put("a", ttl=1000)
        came = world.clock.wall()
        world.clock.advance(100)
        world.tier.harvest()
        assert world.tier.entry(Ref("default", "a")).accessed == pytest.approx(came, abs=1)
        world.get("a")
        assert world.tier.entry(Ref("default", "a")).accessed == pytest.approx(came + 100, abs=1)
        world.tier.harvest()
        world.clock.advance(100)
        assert world.tier.entry(Ref("default", "a")).accessed == pytest.approx(came + 100, abs=1)

    def test_the_log_gets_one_record_per_hit(self, world):
        world.put("llm:a", "answer")
        size = world.tier.entry(Ref("default", "llm:a")).size
        log, times = [], iter(range(100, 200))
        get = world.tier.make_get(world.miss, namespace="default", log=log.append, nanoseconds=lambda: next(times))
        peek = world.tier.make_peek(log=log.append, nanoseconds=lambda: next(times))
        assert get("llm:a") == peek("default", "llm:a") == "answer"
        assert get("absent", 1) == 1
        assert get(["unhashable"], 1) == 1
        world.clock.advance(1000)
        assert get("llm:a", 1) == 1
        assert log == [(100, 101, "default", "llm:a", size), (102, 103, "default", "llm:a", size)]
        assert world.tier.harvest().hits == {("default", "llm"): 2}


class TestLimits:
    def test_entries_are_bounded_and_the_leavers_announced(self, make_world):
        world = make_world(max_entries=3, strategy="fifo")
        for number in range(5):
            world.sized(f"k{number}", 10)
        assert world.tier.usage()[:2] == (3, 30)
        assert world.evicted == [(Ref("default", "k0"), "entries", 10), (Ref("default", "k1"), "entries", 10)]

    def test_bytes_are_bounded_too(self, make_world):
        world = make_world(max_bytes=100, strategy="fifo")
        for number in range(5):
            world.sized(f"k{number}", 30)
        assert world.evicted == [(Ref("default", "k0"), "bytes", 30), (Ref("default", "k1"), "bytes", 30)]
        world.sized("large", 100)
        assert world.keys() == ["large"]

    def test_who_had_expired_anyway_leaves_as_expired(self, make_world):
        world = make_world(max_entries=1)
        world.put("a", ttl=1)
        world.clock.advance(2)
        world.put("b")
        assert [(ref.key, why) for ref, why, _ in world.evicted] == [("a", "expired")]

    def test_what_is_larger_than_the_tier_is_refused_and_ends_its_older_entry(self, make_world):
        world = make_world(max_bytes=100)
        world.sized("a", 10)
        world.sized("b", 10)
        assert world.sized("a", 101, start=2) == 0
        assert world.keys() == ["b"]
        assert not world.evicted

    def test_removing_is_no_eviction(self, world):
        for key in "abc":
            world.put(key)
        world.tier.remove([Ref("default", "a")])
        world.tier.clear(None)
        assert not world.evicted

    def test_listeners_may_use_the_tier(self, codec, fake_clock, make_row):
        def forget_another(ref, why, size):
            tier.remove([Ref("default", "b")])

        clocks = {"monotonic": fake_clock.monotonic, "wall": fake_clock.wall}
        tier = MemoryTier(codec, **clocks, max_entries=2, on_evict=forget_another)
        tier.write([make_row(key) for key in "abc"], fake_clock.wall())
        assert tier.usage().entries == 1

    def test_memory_of_what_left_is_freed_at_once(self, make_world):
        """Neither the policy's queues nor a closure keeps a value, and no garbage collection is needed."""

        class Value:
            pass

        world = make_world(max_entries=10)
        gc.disable()
        try:
            watched = []
            for number in range(50):
                value = Value()
                watched.append(weakref.ref(value))
                row = world.make_row(f"k{number}")
                world.tier.write([Row(row.header, Live(value, None, 1), row.seal)], world.clock.wall())
                del value, row
            assert sum(ref() is not None for ref in watched) == 10
            world.tier.clear(None)
            assert sum(ref() is not None for ref in watched) == 0
        finally:
            gc.enable()

    def test_entries_with_equal_marks_share_them(self, world):
        for key in "ab":
            world.put(key, marks=(Mark("tag", 5),))
        first, second = world.tier.table("default").values()
        assert first.marks is second.marks

    def test_sets_of_marks_are_not_remembered_without_end(self, world):
        for number in range(3000):
            world.put("a", marks=(Mark(f"tag{number}", number),), start=number)
        assert len(world.tier._tables._common) <= 1024
        assert world.tier._tables._tagged.keys() == {("default", "tag2999")}


class TestMarks:
    def test_a_tag_ends_what_carries_it_and_nothing_else(self, world):
        world.put("a", marks=(Mark("x", 1),))
        world.put("b", marks=(Mark("x", 2), Mark("y", 1)))
        world.put("c", marks=(Mark("y", 1),))
        world.put("d", marks=(Mark("x", 1),), namespace="other")
        assert world.tier.drop_marked("default", ["x", "unknown"]) == 2
        assert world.keys() == ["c", "d"]
        assert world.tier.drop_marked("default", ["x"]) == 0

    def test_the_mark_of_a_namespace_ends_all_of_it(self, world):
        world.put("a")
        world.put("b", namespace="other")
        assert world.tier.drop_marked("default", [NAMESPACE_MARK]) == 1
        assert world.keys() == ["b"]

    def test_an_overwritten_entry_is_found_by_its_new_tags_only(self, world):
        world.put("a", marks=(Mark("old", 1),))
        world.put("a", marks=(Mark("new", 1),), start=2)
        assert world.tier.drop_marked("default", ["old"]) == 0
        assert world.tier.drop_marked("default", ["new"]) == 1

    def test_no_trace_of_a_tag_is_left_when_its_last_entry_is_gone(self, world):
        world.put("a", marks=(Mark("x", 1),))
        world.tier.remove([Ref("default", "a")])
        assert not world.tier._tables._tagged


class TestMaintenance:
    def test_idle_entries_are_those_nobody_asked_for(self, world):
        for key in "abc":
            world.put(key, ttl=1000)
        world.clock.advance(50)
        world.get("b")
        assert world.tier.idle(world.clock.monotonic(), 60) == []
        world.clock.advance(20)
        assert [row.header.ref.key for row in world.tier.idle(world.clock.monotonic(), 60)] == ["a", "c"]
        assert len(world.tier.idle(world.clock.monotonic(), 60, limit=1)) == 1

    def test_asking_who_is_idle_loses_no_hits(self, world):
        world.put("llm:a")
        world.get("llm:a")
        world.tier.idle(world.clock.monotonic(), 60)
        assert world.tier.harvest().hits == {("default", "llm"): 1}

    def test_an_expired_entry_is_not_idle_but_dead(self, world):
        world.put("a", ttl=10)
        world.clock.advance(100)
        assert world.tier.idle(world.clock.monotonic(), 60) == []

    def test_an_idle_entry_can_be_sealed_and_discarded(self, world, codec):
        world.put("a", {"k": [1]}, ttl=1000)
        world.clock.advance(100)
        rows = world.tier.idle(world.clock.monotonic(), 60)
        assert codec.open(Ref("default", "a"), rows[0].sealed).value == {"k": [1]}
        assert world.tier.discard(rows) == 1
        assert world.keys() == []

    def test_an_entry_written_anew_meanwhile_is_not_discarded(self, world):
        world.put("a", ttl=1000)
        world.clock.advance(100)
        rows = world.tier.idle(world.clock.monotonic(), 60)
        world.put("a", "new", start=2)
        assert world.tier.discard(rows) == 0
        assert world.get("a") == "new"

    def test_pruning_announces_what_left(self, world):
        world.put("short", ttl=1)
        world.sized("large", 1000)
        world.clock.advance(2)
        counts = {"expired": 1, "older": 0, "oversize": 1, "orphaned": 0}
        assert world.tier.prune(world.clock.wall(), max_bytes=500) == counts
        assert [(ref.key, why) for ref, why, _ in world.evicted] == [("short", "expired"), ("large", "pruned")]

    def test_an_empty_namespace_costs_nothing_after_pruning(self, world):
        for number in range(100):
            world.put("a", namespace=f"tenant-{number}")
            world.tier.remove([Ref(f"tenant-{number}", "a")])
        world.tier.prune(world.clock.wall())
        assert set(world.tier._tables.spaces) == {"default"}

    def test_ticking_keeps_the_policy_from_holding_on_to_what_it_was_told(self, make_world):
        world = make_world(strategy="lru")
        world.put("a")
        world.get("a")
        assert len(world.tier._policy._noted) == 1
        world.tier.tick(world.clock.monotonic())
        assert not world.tier._policy._noted

    def test_lru_hears_of_hits_by_either_path(self, make_world):
        world = make_world(strategy="lru", max_entries=3)
        for key in "abc":
            world.put(key)
        world.get("a")
        world.peek("default", "b")
        world.put("d")
        assert world.keys() == ["a", "b", "d"]

    def test_a_closed_tier_gives_nothing(self, world):
        world.put("a")
        world.tier.close()
        assert world.get("a", "slow") == "slow"
        assert world.tier.usage().size_bytes == 0


class TestHeaders:
    @pytest.mark.parametrize("options", [
        {}, {"cost": 0.0}, {"cost": 1.5}, {"provenance": "model:gpt-4"}, {"ttl": None}, {"stale": 3.5},
        {"start": -(1 << 63)}, {"start": 1 << 70}, {"marks": (Mark("t", 1 << 63),)},
    ], ids=repr)  # fmt: skip
    def test_a_header_comes_back_as_it_went_in(self, world, options):
        row = world.make_row("a", **options)
        world.tier.write([row], world.clock.wall())
        assert world.tier.entry(row.header.ref).header == row.header
        assert world.tier.rows([row.header.ref])[row.header.ref].header == row.header
        world.clock.advance(1e6)
        assert (world.tier.entry(row.header.ref) is None) == (row.header.expires != NEVER)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestFork:
    @staticmethod
    def in_child(check):
        """Run *check* in a forked child and return what it gave, 0 to 255."""
        child = os.fork()
        if not child:
            code = 255
            try:
                code = int(check())
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def test_a_child_keeps_the_entries_and_reads_the_clock_itself(self, world):
        world.put("a", ttl=10)
        world.tier.tick(world.clock.monotonic())

        def check():
            fresh = world.get("a") == "value"
            world.clock.advance(10)
            return fresh and world.get("a", "slow") == "slow" and world.put("b") == 1

        assert self.in_child(check) == 1

    def test_a_child_of_a_process_caught_writing_starts_empty_and_does_not_hang(self, world):
        world.put("a")
        writing, go_on = threading.Event(), threading.Event()

        def allow(header):
            writing.set()
            return go_on.wait(10)

        writer = threading.Thread(target=world.put, args=("b",), kwargs={"allow": allow})
        writer.start()
        writing.wait(10)
        try:
            assert self.in_child(lambda: world.keys() == [] and world.put("c") == 1 and world.get("c") == "value") == 1
        finally:
            go_on.set()
            writer.join()
        assert world.keys() == ["a", "b"]


KEYS = st.sampled_from(["llm:a", "llm:b", "job:a", "plain", "é"])
SPACES = st.sampled_from(["default", "tenant"])
TAGS = st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2)


class Model(RuleBasedStateMachine):
    """The tier against a dict that may lose entries to eviction, but only to that."""

    strategy = "adaptive"
    make_world = None

    @initialize(max_entries=st.integers(1, 6), max_bytes=st.integers(50, 300))
    def begin(self, max_entries, max_bytes):
        self.world = type(self).make_world(strategy=self.strategy, max_entries=max_entries, max_bytes=max_bytes)
        self.model, self.start, self.late, self.hits = {}, 0, 0, 0

    def forget_evicted(self):
        """What the tier says left, the dict may no longer expect."""
        for ref, _, _ in self.world.evicted:
            del self.model[ref]
        self.world.evicted.clear()

    def fresh(self, ref):
        entry = self.model.get(ref)
        return entry if entry is not None and entry["dies"] > self.world.clock.monotonic() + 1e-4 else None

    @rule(key=KEYS, space=SPACES, size=st.integers(0, 120), ttl=st.sampled_from([0.5, 2.0, 60.0, NEVER]), tags=TAGS)
    def write(self, key, space, size, ttl, tags):
        self.start += 1
        ref, value = Ref(space, key), f"value {self.start}"
        marks = tuple(Mark(tag, 1) for tag in tags)
        life = None if ttl == NEVER else ttl
        row = self.world.make_row(key, ttl=life, start=self.start, marks=marks, namespace=space)
        taken = self.world.tier.write([Row(row.header, Live(value, None, size), row.seal)], self.world.clock.wall())
        assert taken == (size <= self.world.tier.max_bytes)
        self.model.pop(ref, None)
        if taken:
            self.model[ref] = {"value": value, "dies": self.world.clock.monotonic() + ttl, "tags": tags, "size": size}
        self.forget_evicted()
        assert not taken or ref in self.model, "what was just written was not evicted"

    @rule(key=KEYS, space=SPACES)
    def write_late(self, key, space):
        self.late -= 1
        ref = Ref(space, key)
        taken = self.world.put(key, "late", start=self.late, namespace=space)
        if self.fresh(ref):
            assert taken == 0
        elif taken:
            row = self.world.tier.rows([ref], count=False)[ref]
            dies = self.world.clock.monotonic() + 60
            self.model[ref] = {"value": "late", "dies": dies, "tags": [], "size": row.live.size}
        else:
            self.model.pop(ref, None)
        self.forget_evicted()

    @rule(key=KEYS, space=SPACES, peek=st.booleans())
    def read(self, key, space, peek):
        found = self.world.peek(space, key) if peek else self.world.get(key, MISSING, space)
        entry = self.fresh(Ref(space, key))
        assert found == (MISSING if entry is None else entry["value"])
        self.hits += found is not MISSING

    @rule(key=KEYS, space=SPACES)
    def remove(self, key, space):
        assert self.world.tier.remove([Ref(space, key)]) == (self.model.pop(Ref(space, key), None) is not None)

    @rule(text=st.sampled_from(["llm:*", "*", "*:a", "plain", "zzz*"]), space=SPACES)
    def remove_matching(self, text, space):
        pattern = Pattern.parse(text)
        gone = [ref for ref in self.model if ref.namespace == space and pattern.matches(ref.key)]
        assert self.world.tier.remove_matching(space, pattern) == len(gone)
        for ref in gone:
            del self.model[ref]

    @rule(tag=st.sampled_from(["x", "y", NAMESPACE_MARK]), space=SPACES)
    def drop_marked(self, tag, space):
        here = [ref for ref in self.model if ref.namespace == space]
        gone = [ref for ref in here if tag == NAMESPACE_MARK or tag in self.model[ref]["tags"]]
        assert self.world.tier.drop_marked(space, [tag]) == len(gone)
        for ref in gone:
            del self.model[ref]

    @rule(space=st.none() | SPACES)
    def clear(self, space):
        gone = [ref for ref in self.model if space in {None, ref.namespace}]
        assert self.world.tier.clear(space) == len(gone)
        for ref in gone:
            del self.model[ref]

    @rule(max_bytes=st.none() | st.integers(0, 100))
    def prune(self, max_bytes):
        would = self.world.tier.prune(self.world.clock.wall(), max_bytes=max_bytes, dry_run=True)
        assert self.world.tier.prune(self.world.clock.wall(), max_bytes=max_bytes) == would
        assert len(self.world.evicted) == sum(would.values())
        self.forget_evicted()
        assert max_bytes is None or self.world.tier.usage().size_bytes <= max_bytes

    @rule(seconds=st.sampled_from([0.25, 1.0, 59.0, 100.0]), tick=st.sampled_from(["no", "yes", "never again"]))
    def wait(self, seconds, tick):
        self.world.tier.tick(None)  # nobody ticked while time went by
        self.world.clock.advance(seconds)
        if tick == "yes":
            self.world.tier.tick(self.world.clock.monotonic())

    @rule(seconds=st.sampled_from([-1e5, -1.0, 1.0, 1e5]))
    def set_the_wall_clock(self, seconds):
        self.world.clock.step_wall(seconds)

    @rule()
    def harvest(self):
        assert sum(self.world.tier.harvest().hits.values()) == self.hits
        self.hits = 0

    @invariant()
    def limits_hold_and_nothing_else_is_lost(self):
        usage = self.world.tier.usage()
        assert usage.entries <= usage.max_entries
        assert usage.size_bytes <= usage.max_bytes
        listed = {item.header.ref: item.size for item in self.world.tier.scan(None)}
        assert listed == {ref: entry["size"] for ref, entry in self.model.items()}
        assert (usage.entries, usage.size_bytes) == (len(listed), sum(listed.values()))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_tier_is_a_dict_that_loses_entries_to_its_limits_only(make_world, fake_clock, strategy):
    machine = type("Machine", (Model,), {"strategy": strategy, "make_world": staticmethod(make_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_hot_path_appends_to_any_bounded_log(world):
    log = deque(maxlen=2)
    get = world.tier.make_get(world.miss, namespace="default", log=log.append)
    world.put("a")
    for _ in range(5):
        get("a")
    assert len(log) == 2
    assert all(began <= ended for began, ended, *_ in log)
