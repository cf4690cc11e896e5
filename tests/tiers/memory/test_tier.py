"""The memory tier: limits, marks, maintenance, and what a forked child makes of it."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from scoutcache.entry import NAMESPACE_MARK, Live, Mark, Ref, Row
from scoutcache.tiers.memory import MemoryTier


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

    @pytest.mark.parametrize("asked", ["live", "look"])
    def test_who_is_found_past_its_time_leaves_as_expired(self, world, asked):
        world.put("stale", ttl=1, stale=100)
        world.put("over", ttl=1)
        world.clock.advance(2)
        refs = [Ref("default", key) for key in ("stale", "over", "over")]
        assert [getattr(world.tier, asked)(ref) is None for ref in refs[1:]] == [True, True]
        getattr(world.tier, asked)(refs[0])
        assert [(ref.key, why) for ref, why, _ in world.evicted] == [("over", "expired")]
        assert world.tier.why_absent(refs[1]) == "expired"
        assert world.keys() == ["stale"]

    def test_who_was_pruned_for_its_time_is_known_to_have_expired(self, world):
        world.put("a", ttl=1)
        world.clock.advance(2)
        world.tier.prune(world.clock.wall())
        assert world.tier.why_absent(Ref("default", "a")) == "expired"

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


@pytest.mark.parametrize("step", [500.0, 5000.0, -500.0])
def test_what_is_marked_stale_expires_when_it_would_have_though_somebody_set_the_clock(world, step):
    world.put("k", ttl=100, stale=1000)
    world.clock.step_wall(step)
    world.tier.age([Ref("default", "k")])
    assert world.get("k") is None
    for seconds, there in ((1090, True), (20, False)):
        world.clock.advance(seconds)
        assert (world.tier.look(Ref("default", "k")) is not None) is there
