"""Events and rules through both faces: what is set off is gone, nothing else is, and it is known why."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from scoutcache import CacheError
from scoutcache.channels.locking import held
from scoutcache.errors import InvalidKey, LockTimeout, TierUnavailable

USERS = {"rule_id": "users", "event_types": ["db.users.*"], "target_pattern": "user:{id}:*"}
TAGGED = {"rule_id": "tagged", "event_types": ["db.users.deleted"], "target_tags": ["user:{id}"]}
NIGHTLY = {"rule_id": "nightly", "trigger_type": "time", "schedule": "0 3 * * *", "target_pattern": "llm:*"}
RATES = {"rule_id": "rates", "trigger_type": "dependency", "trigger_config": {"keys": ["rate:*"]},
         "target_pattern": "price:*"}  # fmt: skip


def fill(cache, *keys, **more):
    for key in keys:
        cache.set(key, key, **more)


def left(cache):
    return sorted(cache.keys())


def statistics(cache):
    return {rule.rule_id: (rule.runs, rule.total_invalidations) for rule in cache.rules}


class TestEvents:
    def test_an_event_takes_what_its_rules_say_and_nothing_else(self, ruled, tiers):
        cache = ruled(USERS, tiers=tiers)
        fill(cache, "user:1:a", "user:1:b", "user:12:a", "user:2:a", "users")
        result = cache.emit("db.users.updated", id=1)
        assert left(cache) == ["user:12:a", "user:2:a", "users"]
        (rule,) = result.rules
        assert (rule.rule_id, rule.matched, rule.invalidated, rule.target_pattern) == ("users", 2, 2, "user:1:*")
        assert (result.event, result.matched, result.invalidated) == ("db.users.updated", 2, 2)

    @pytest.mark.parametrize("value", ["*", "?", "[12]", "\\", "1:a\\", "[^x]"])
    def test_a_field_s_value_is_never_a_wildcard(self, value, ruled):
        cache = ruled(USERS)
        fill(cache, "user:1:a", "user:2:a", f"user:{value}:a")
        cache.emit("db.users.updated", id=value)
        assert left(cache) == ["user:1:a", "user:2:a"]

    def test_tags_have_fields_too_and_are_counted_only_when_that_is_asked_for(self, ruled, ask):
        cache = ruled(TAGGED)
        fill(cache, "a", "b", tags=["user:7"])
        fill(cache, "c", tags=["user:8"])
        assert ask(cache, "test", "db.users.deleted", id=7).matched == 2
        assert cache.emit("db.users.deleted", id=7).invalidated is None
        assert left(cache) == ["c"]
        assert ask(cache, "emit", "db.users.deleted", {"id": 8}, count=True).invalidated == 1
        assert left(cache) == []

    def test_an_event_that_nobody_listens_to_is_an_answer(self, ruled):
        result = ruled(USERS).emit("deploy.finished", version="2")
        assert (result.rules, result.matched, result.invalidated) == ((), 0, 0)

    def test_a_missing_field_is_told_before_anything_is_touched(self, ruled):
        cache = ruled({**TAGGED, "target_tags": ["all"], "priority": 9}, USERS)
        told = []
        cache.on_event("*", told.append)
        fill(cache, "a", tags=["all"])
        with pytest.raises(InvalidKey, match="rule 'users': the field 'id' is missing"):
            cache.emit("db.users.deleted")
        assert (left(cache), told, statistics(cache)) == (["a"], [], {"tagged": (0, 0), "users": (0, 0)})

    def test_fields_may_be_called_as_arguments_are(self, ruled):
        cache = ruled({"rule_id": "r", "event_types": "e", "target_pattern": "{event}:{self}:{namespace}"})
        fill(cache, "1:2:3")
        assert cache.emit("e", event=1, self=2, namespace=3).invalidated == 1

    def test_a_view_s_event_stays_in_its_namespace(self, ruled):
        cache = ruled(USERS)
        view = cache.namespace("tenant")
        fill(cache, "user:1:a"), fill(view, "user:1:a")
        assert view.emit("db.users.x", id=1).invalidated == 1
        assert (left(cache), left(view)) == (["user:1:a"], [])
        assert statistics(cache)["users"] == (0, 0)
        assert statistics(view)["users"] == (1, 1)

    def test_another_process_s_memory_hears_of_it(self, ruled):
        cache, other = ruled(USERS), ruled()
        fill(other, "user:1:a")
        assert other.get("user:1:a") == "user:1:a"
        cache.emit("db.users.x", id=1)
        assert other.get("user:1:a") is None

    @pytest.mark.parametrize("action", ["mark_stale", "refresh"])
    def test_marking_stale_leaves_the_value_for_those_who_ask_for_it(self, action, ruled):
        cache = ruled({**USERS, "action": action})
        cache.set("user:1:a", 1, ttl="1h", stale_ttl="1h")
        result = cache.emit("db.users.x", id=1)
        assert (result.rules[0].action, result.invalidated) == (action, 1)
        assert cache.get("user:1:a") is None
        assert cache.get_entry("user:1:a").value == 1

    @pytest.mark.parametrize(("cascade", "gone"), [(True, True), (False, False)])
    def test_what_depends_on_a_target_goes_along_unless_the_rule_spares_it(self, cascade, gone, ruled):
        cache = ruled({**USERS, "cascade": cascade})
        fill(cache, "user:1:a")
        cache.set("report", 1, depends_on=["user:1:a"])
        cache.emit("db.users.x", id=1)
        assert (cache.get("report") is None) is gone

    def test_the_reason_in_records_and_in_the_log_is_the_rule_the_event_and_the_user_s_own(self, ruled, ask):
        cache, told = ruled({**USERS, "priority": 1}, {**USERS, "rule_id": "more", "priority": 2}), []
        cache.on("invalidated", told.append)
        ask(cache, "emit", "db.users.x", {"id": 1}, reason="ticket 12")
        reasons = ["rule:more event:db.users.x ticket 12", "rule:users event:db.users.x ticket 12"]
        assert [record.reason for record in told] == reasons
        assert {record.event for record in told} == {"db.users.x"}
        cache.flush()
        lines = "".join(path.read_text() for path in (cache.core.directory / "oplog").rglob("*.jsonl"))
        assert [one["reason"] for one in map(json.loads, lines.splitlines()) if one.get("reason")] == reasons

    def test_one_rule_that_can_t_be_run_keeps_no_other_from_it(self, ruled, monkeypatch):
        from scoutcache.calls import ruling

        cache = ruled({**USERS, "rule_id": "bad", "priority": 1, "target_pattern": "x:{id}"}, USERS)
        fill(cache, "user:1:a")
        real = ruling.invalidate

        def failing(calls, target, **more):
            if target.patterns[0].text.startswith("x:"):
                raise CacheError("no")
            return real(calls, target, **more)

        monkeypatch.setattr(ruling, "invalidate", failing)
        with pytest.raises(CacheError, match=r"event db\.users\.x: rule bad: no"):
            cache.emit("db.users.x", id=1)
        assert left(cache) == []


class TestInvalidate:
    def test_an_event_adds_to_what_is_named(self, ruled):
        cache = ruled({"rule_id": "r", "event_types": "deploy", "target_pattern": "llm:*"})
        fill(cache, "llm:a", "llm:b", "job:1", "job:2")
        assert cache.invalidate("job:1", event="deploy", dry_run=True).matched == 3
        result = cache.invalidate("job:1", event="deploy")
        assert (result.matched, result.invalidated, left(cache)) == (3, 3, ["job:2"])

    def test_an_event_alone_is_enough_and_one_that_nobody_listens_to_takes_nothing(self, ruled):
        cache = ruled({"rule_id": "r", "event_types": "deploy", "target_tags": ["model"]})
        fill(cache, "a", tags=["model"])
        result = cache.invalidate(event="other")
        assert (result.matched, result.invalidated, left(cache)) == (0, 0, ["a"])
        assert cache.invalidate(event="deploy", count=True).invalidated == 1

    def test_names_are_not_touched_when_the_event_can_t_be(self, ruled):
        cache = ruled(USERS)
        fill(cache, "job:1")
        for options in ({"event": "db.users.x"}, {"event": "db.*"}, {"event": "deploy", "match": "all"}):
            with pytest.raises(CacheError):
                cache.invalidate("job:1", **options)
        assert left(cache) == ["job:1"]

    def test_without_anything_named_it_is_still_refused(self, ruled):
        with pytest.raises(CacheError, match="nothing to invalidate"):
            ruled(USERS).invalidate()


class TestHooks:
    def test_hooks_get_the_event_after_its_rules_have_been_run(self, ruled):
        cache, told = ruled(USERS), []
        fill(cache, "user:1:a")
        cache.on_event("db.*", lambda event: told.append((event, cache.core.tiers[1].usage().entries)))
        cache.on_event("other", told.append)
        cache.namespace("tenant").emit("db.users.x", id=1)
        cache.emit("db.users.y", id=1, by="me")
        (first, _), (second, entries) = told
        assert (first.name, first.fields, first.namespace) == ("db.users.x", {"id": 1}, "tenant")
        assert (second.name, second.fields, second.namespace) == ("db.users.y", {"id": 1, "by": "me"}, "default")
        assert entries == 0

    def test_a_hook_can_be_taken_off(self, ruled):
        cache, told = ruled(), []
        take_off = cache.on_event("e", told.append)
        take_off(), take_off()
        cache.emit("e")
        assert told == []

    def test_a_hook_that_raises_is_reported_and_harms_nobody(self, ruled, caplog):
        cache, told = ruled(), []
        cache.on_event("e", lambda _: 1 / 0)
        cache.on_event("e", told.append)
        with caplog.at_level(logging.ERROR, logger="scoutcache"):
            cache.emit("e")
        assert len(told) == 1
        assert "raised on 'e'" in caplog.text

    def test_what_can_t_be_a_hook_is_refused(self, ruled):
        async def hook(_):
            """Nobody would await it."""

        for wrong in (hook, "print", None):
            with pytest.raises(CacheError, match="a plain function"):
                ruled().on_event("e", wrong)
        with pytest.raises(InvalidKey):
            ruled().on_event("[", print)

    def test_trying_an_event_tells_nobody_and_changes_nothing(self, ruled, ask):
        cache, told = ruled(USERS), []
        fill(cache, "user:1:a")
        cache.on_event("*", told.append)
        result = ask(cache, "test", "db.users.x", id=1)
        assert (result.matched, result.invalidated, result.rules[0].sample) == (1, 0, ("user:1:a",))
        assert (told, left(cache), statistics(cache)["users"]) == ([], ["user:1:a"], (0, 0))


class TestChanges:
    """Rules of type dependency."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda cache: cache.set("rate:eur", 2),
            lambda cache: cache.set_many({"x": 1, "rate:usd": 2}),
            lambda cache: cache.delete("rate:eur"),
            lambda cache: cache.invalidate("rate:e*"),
            lambda cache: cache.invalidate(keys=["rate:eur"]),
            lambda cache: cache.get_or_compute("rate:usd", lambda: 3),
            lambda cache: cache.touch("rate:eur", 0),
        ],
    )
    def test_whatever_changes_a_watched_key_sets_the_rule_off(self, change, ruled, tiers):
        cache = ruled(RATES, tiers=tiers)
        cache.set("rate:eur", 1)
        fill(cache, "price:1", "user:1")
        change(cache)
        assert cache.get("price:1") is None
        assert cache.get("user:1") == "user:1"

    @pytest.mark.parametrize(
        "change",
        [
            lambda cache: cache.set("rate:eur", 1),
            lambda cache: cache.set("other", 1),
            lambda cache: cache.get("rate:eur"),
            lambda cache: cache.touch("rate:eur", "2h"),
            lambda cache: cache.invalidate("rate:*", dry_run=True),
            lambda cache: cache.invalidate("other:*"),
            lambda cache: cache.set("rate:usd", 1, ttl=0),
            lambda cache: cache.set("rate:eur", 2, namespace="tenant"),
        ],
    )
    def test_what_changes_nothing_of_it_does_not(self, change, ruled, tiers):
        cache = ruled(RATES, tiers=tiers)
        cache.set("rate:eur", 1)
        fill(cache, "price:1")
        change(cache)
        assert cache.get("price:1") == "price:1"

    def test_rules_that_rules_set_off_run_once_each_also_in_a_circle(self, ruled):
        ring = [
            {**RATES, "rule_id": f"r{n}", "trigger_config": {"keys": [f"k{n}"]}, "target_pattern": f"k{(n + 1) % 10}"}
            for n in range(10)
        ]
        cache = ruled(*ring, {"rule_id": "e", "event_types": "go", "target_pattern": "k3"})
        fill(cache, *(f"x{n}" for n in range(3)))
        result = cache.emit("go")
        assert [rule.rule_id for rule in result.rules] == ["e", *(f"r{n % 10}" for n in range(3, 13))]
        assert set(statistics(cache).values()) == {(1, 0)}

    def test_a_rule_that_fails_is_reported_and_the_write_is_done(self, ruled, monkeypatch):
        from scoutcache.calls import ruling

        cache, told = ruled(RATES), []
        cache.on("trouble", told.append)

        def failing(*_, **__):
            raise CacheError("no")

        monkeypatch.setattr(ruling, "invalidate", failing)
        assert cache.set("rate:eur", 1) is True
        assert [record.problem for record in told] == ["rule rates: no"]

    def test_what_depends_on_rules_is_in_the_log_without_the_key(self, ruled):
        cache, told = ruled(RATES), []
        cache.on("invalidated", told.append)
        cache.set("rate:secret", 1)
        assert [record.reason for record in told] == ["rule:rates dependency"]


class TestTime:
    def start(self, cache):
        return datetime.fromtimestamp(cache.core.clocks.wall(), UTC)

    def test_a_missed_run_is_made_once_and_not_repeated(self, ruled, ask):
        cache = ruled(NIGHTLY)
        fill(cache, "llm:a", "job:1")
        now = self.start(cache)
        assert [one.rule_id for one in ask(cache, "run_due", now)] == ["nightly"]
        assert left(cache) == ["job:1"]
        assert ask(cache, "run_due", now + timedelta(hours=1)) == []
        assert len(ask(cache, "run_due", now + timedelta(days=9))) == 1

    def test_the_last_run_outlives_the_process(self, ruled, ask, fake_clock):
        first = ruled(NIGHTLY)
        ask(first, "run_due")
        second = ruled(NIGHTLY)
        assert ask(second, "run_due") == []
        (rule,) = second.rules
        assert (rule.last_run, rule.runs) == (self.start(first), 1)
        fake_clock.advance(86400)
        assert len(ask(second, "run_due")) == 1
        assert ask(first, "run_due") == []

    @pytest.mark.parametrize("again", ["the same process", "another"])
    def test_a_run_that_a_clock_ahead_noted_delays_none(self, ruled, ask, fake_clock, again):
        first = ruled(NIGHTLY)
        fake_clock.step_wall(86400)
        ask(first, "run_due")
        fake_clock.step_wall(-86400)
        cache = first if again == "the same process" else ruled(NIGHTLY)
        assert len(ask(cache, "run_due")) == 1
        assert ask(cache, "run_due") == []
        (rule,) = ruled(NIGHTLY).rules
        assert (rule.last_run, rule.runs) == (self.start(cache), 2)

    def test_nothing_runs_by_itself(self, ruled, fake_clock):
        cache = ruled(NIGHTLY)
        fill(cache, "llm:a", ttl="never")
        for _ in range(3):
            fake_clock.advance(86400)
            cache.turn()
        assert left(cache) == ["llm:a"]

    def test_one_runs_at_a_time(self, ruled, ask):
        cache = ruled(NIGHTLY, USERS)
        with held(cache.core.directory / "rules" / "running"), pytest.raises(LockTimeout):
            ask(cache, "run_due")
        assert len(ask(cache, "run_due")) == 1
        with held(cache.core.directory / "rules" / "running"):
            assert ask(cache, "run_due") == []
            assert cache.emit("db.users.x", id=1).rules

    def test_a_run_that_a_tier_missed_is_due_again(self, ruled, ask, monkeypatch):
        cache = ruled(NIGHTLY)

        def down(*_):
            raise TierUnavailable("disk", "locked")

        with monkeypatch.context() as patch:
            patch.setattr(type(cache.tier("disk")), "remove_matching", down)
            (result,) = ask(cache, "run_due")
        assert result.failed == {"disk": "locked"}
        assert [one.failed for one in ask(cache, "run_due")] == [{}]
        assert ask(cache, "run_due") == []

    def test_rules_can_be_run_by_hand_due_or_not(self, ruled, ask):
        cache = ruled(NIGHTLY, USERS, {"rule_id": "hand", "trigger_type": "manual", "target_pattern": "job:*"})
        fill(cache, "llm:a", "job:1")
        assert ask(cache, "run", "hand", dry_run=True)[0].matched == 1
        assert [one.invalidated for one in ask(cache, "run", "nightly", "hand", "hand")] == [1, 1]
        with pytest.raises(InvalidKey, match="rule 'users': the field 'id' is missing"):
            ask(cache, "run", "users")
        with pytest.raises(CacheError, match="there is no rule 'nihgtly'") as caught:
            ask(cache, "run", "nihgtly")
        assert "nightly" in caught.value.hint

    def test_a_time_without_its_zone_is_refused(self, ruled, ask):
        with pytest.raises(CacheError, match="zone"):
            ask(ruled(NIGHTLY), "run_due", datetime(2026, 1, 1))  # noqa: DTZ001  # that is the mistake

    def test_a_closed_cache_runs_nothing(self, ruled, ask):
        cache = ruled(NIGHTLY)
        cache.close()
        with pytest.raises(CacheError, match="closed"):
            ask(cache, "run_due")
