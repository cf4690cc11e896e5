"""Each hit is counted once, whoever reads, writes or evicts meanwhile."""

from __future__ import annotations

import sys
import threading

import pytest

from scoutcache.entry import MISSING, Mark, Ref
from scoutcache.eviction import STRATEGIES
from scoutcache.patterns import Pattern


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

    def test_what_the_engine_reads_for_itself_is_no_hit(self, world):
        world.put("a")
        world.tier.read(Ref("default", "a"), world.clock.wall())
        world.tier.rows([Ref("default", "a")])
        assert world.tier.entry(Ref("default", "a")).hits == 0

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
        size = len("answer")
        log, times = [], iter(range(100, 200))
        get = world.tier.make_get(world.miss, namespace="default", log=log.append, nanoseconds=lambda: next(times))
        assert get("llm:a") == get("llm:a", None, "default") == "answer"
        assert get("absent", 1) == 1
        assert get(["unhashable"], 1) == 1
        world.clock.advance(1000)
        assert get("llm:a", 1) == 1
        assert log == [(100, 101, "default", "llm:a", size), (102, 103, "default", "llm:a", size)]
        assert world.tier.harvest().hits == {("default", "llm"): 2}
