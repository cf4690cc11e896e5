"""Which rules are in force, and how often each ran in all processes."""

from __future__ import annotations

import inspect
import json
import os
from datetime import UTC, datetime

import pytest

from scoutcache import Cache, CacheError, InvalidationRule
from scoutcache.calls.ruling import AsyncRules, Rules
from scoutcache.errors import ConfigError

USERS = {"rule_id": "users", "event_types": ["db.users.*"], "target_pattern": "user:{id}:*"}
TAGGED = {"rule_id": "tagged", "event_types": ["db.users.deleted"], "target_tags": ["user:{id}"]}
NIGHTLY = {"rule_id": "nightly", "trigger_type": "time", "schedule": "0 3 * * *", "target_pattern": "llm:*"}
RATES = {"rule_id": "rates", "trigger_type": "dependency", "trigger_config": {"keys": ["rate:*"]},
         "target_pattern": "price:*"}  # fmt: skip
DAMAGED = [
    3, {"last_run": "2026-01-01T00:00:00"}, {"last_run": "2026-01-01T00:00:00Z", "runs": -1, "total_invalidations": 0},
    {"last_run": 7, "runs": 1, "total_invalidations": 1},
]  # fmt: skip


def fill(cache, *keys, **more):
    for key in keys:
        cache.set(key, key, **more)


def statistics(cache):
    return {rule.rule_id: (rule.runs, rule.total_invalidations) for rule in cache.rules}


def test_rules_can_be_added_and_removed_at_run_time(ruled):
    cache = ruled(NIGHTLY)
    cache.rules.add(USERS)
    cache.rules.add(InvalidationRule(**RATES))
    assert [rule.rule_id for rule in cache.rules] == ["nightly", "users", "rates"]
    assert len(cache.rules) == 3
    assert "users" in cache.rules
    assert "nightly, users, rates" in repr(cache.rules)
    fill(cache, "user:1:a", "price:1", "rate:1")
    assert cache.get("price:1") is None
    assert cache.emit("db.users.x", id=1).invalidated == 1
    assert [cache.rules.remove("users"), cache.rules.remove("users")] == [True, False]
    assert cache.emit("db.users.x", id=1).rules == ()


def test_views_share_them_and_other_caches_don_t(ruled):
    cache, other = ruled(), ruled()
    cache.namespace("tenant").rules.add(USERS)
    assert (len(cache.rules), len(other.rules)) == (1, 0)


def test_a_wrong_rule_is_refused_with_all_that_is_wrong(ruled):
    rules = ruled(USERS).rules
    with pytest.raises(ConfigError, match=r"schedule: 'often' is no cron"):
        rules.add({**NIGHTLY, "schedule": "often"})
    with pytest.raises(ConfigError, match="expected a table"):
        rules.add("users")
    with pytest.raises(CacheError, match="'users' already"):
        rules.add(USERS)


def test_statistics_of_all_processes_add_up(ruled, fake_clock):
    one, two = ruled(USERS, TAGGED), ruled(USERS, TAGGED)
    for cache in (one, two, one):
        fill(cache, "user:1:a", "user:1:b")
        cache.emit("db.users.x", id=1)
    assert statistics(one)["users"] == (2, 4)
    one.flush(), two.close()
    fake_clock.advance(60)
    one.emit("db.users.deleted", id=1)
    one.flush()
    assert statistics(one) == {"users": (4, 6), "tagged": (1, 0)}
    assert statistics(ruled(USERS, TAGGED)) == statistics(one)


@pytest.mark.parametrize("content", ["[]", "{", *(json.dumps({"default": {"users": kept}}) for kept in DAMAGED)])
def test_a_damaged_record_counts_as_none(content, ruled):
    cache = ruled(USERS)
    cache.emit("db.users.x", id=1)
    cache.flush()
    (cache.core.directory / "rules" / "runs.json").write_text(content)
    assert statistics(cache)["users"] == (0, 0)
    cache.emit("db.users.x", id=1)
    cache.flush()
    assert statistics(cache)["users"] == (1, 0)


def test_what_can_t_be_written_is_kept_and_warned_of_once(ruled, caplog):
    cache = ruled(USERS)
    (cache.core.directory / "rules").write_text("in the way")
    for _ in range(2):
        cache.emit("db.users.x", id=1)
        cache.flush()
    assert caplog.text.count("can't be written") == 1
    (cache.core.directory / "rules").unlink()
    cache.emit("db.users.x", id=1)
    cache.flush()
    assert statistics(cache)["users"] == (3, 0)


def test_both_faces_have_the_same_methods_with_the_same_arguments():
    def public(kind):
        return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}

    ours, theirs = public(Rules), public(AsyncRules)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        mine, other = inspect.signature(method), inspect.signature(theirs[name])
        assert list(mine.parameters.values()) == list(other.parameters.values()), name
        awaited = {"emit", "test", "run", "run_due"}
        assert inspect.iscoroutinefunction(theirs[name]) is (name in awaited)


def test_a_forked_child_counts_its_own_runs_only(tmp_path):
    with Cache(directory=tmp_path / "cache", rules=[USERS]) as cache:
        cache._core.rulebook.ran("default", "users", datetime.now(UTC), 5)
        if (child := os.fork()) == 0:
            code = 1
            try:
                cache._core.rulebook.ran("default", "users", datetime.now(UTC), 1)
                cache._core.rulebook.write()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        cache.flush()
        (rule,) = cache.rules
        assert (rule.runs, rule.total_invalidations) == (2, 6)
