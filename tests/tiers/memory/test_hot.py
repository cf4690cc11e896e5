"""The path of a hit: what it answers, what it counts, what it leaves to the slow path."""

from __future__ import annotations

from collections import deque

import pytest

from scoutcache.entry import MISSING, NEVER, Header, Live, Ref, Row, Sealed
from scoutcache.keys import CacheKey
from scoutcache.tiers.memory import MemoryTier
from scoutcache.tiers.memory.hot import SLACK


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


def test_the_hot_path_appends_to_any_bounded_log(world):
    log = deque(maxlen=2)
    get = world.tier.make_get(world.miss, namespace="default", log=log.append)
    world.put("a")
    for _ in range(5):
        get("a")
    assert len(log) == 2
    assert all(began <= ended for began, ended, *_ in log)
