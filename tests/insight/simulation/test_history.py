"""The operation log as requests."""

from __future__ import annotations

from math import inf

import pytest

from scoutcache.insight.log.operations import in_order
from scoutcache.insight.simulation.history import as_requests
from scoutcache.insight.simulation.policies import POLICIES, simulate_one
from scoutcache.insight.simulation.requests import DROP, READ, WRITE
from scoutcache.keys import prefix_of
from scoutcache.oplog.records import Line


class Log:
    """Lines a second apart."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.now = 1000.0

    def __call__(self, op: str, key: str, outcome: str, *, after: float = 1.0, **more) -> None:
        self.now += after
        self.lines.append(Line(self.now, op, key, more.pop("namespace", "default"), outcome=outcome, **more))

    def miss(self, key: str, **more) -> None:
        self("get", key, "miss", reason="cold", **more)

    def hit(self, key: str, **more) -> None:
        self("get", key, "hit", tier="memory", **more)

    def set(self, key: str, **more) -> None:
        self("set", key, "stored", **{"size": 10, **more})


@pytest.fixture
def log() -> Log:
    return Log()


def acts(log):
    found = as_requests(in_order(log.lines))
    return [(found.names[key], act) for key, act in zip(found.keys, found.acts, strict=True)]


def test_a_write_after_a_miss_is_its_answer_and_another_one_is_a_write(log):
    log.miss("a")
    log.set("a", ttl=60.0)
    log.hit("a")
    log.set("a", ttl=60.0)
    assert acts(log) == [("a", READ), ("a", READ), ("a", WRITE)]


def test_a_refresh_and_the_write_it_ends_with_are_one(log):
    log.miss("a")
    log.set("a", ttl=60.0)
    log("refresh", "a", "stored", factory_s=0.1)
    log.set("a", ttl=90.0, after=0)
    found = as_requests(in_order(log.lines))
    assert (list(found.acts), list(found.ttls)) == ([READ, WRITE], [60.0, 90.0])


def test_what_failed_is_asked_for_and_not_stored(log):
    log("compute", "a", "miss", reason="cold", error="KeyError")
    log("compute", "a", "miss", reason="cold", factory_s=0.1)
    log.set("a", ttl=60.0)
    log.hit("a")
    found = as_requests(in_order(log.lines))
    assert list(found.acts) == [READ, READ, READ]
    assert simulate_one(found, "lru", 10, by_bytes=False).misses == 2


def test_without_ttls_writes_and_removals_there_are_only_requests(log):
    log.miss("a")
    log.set("a")
    log.hit("a")
    found = as_requests(log.lines)
    assert (found.acts, found.count, found.sizes) == (b"", 2, [10])


def test_what_is_no_request_of_the_caller_is_none(log):
    log("get", "a", "miss", reason="cold", tier="memory")
    log("get", "a", "miss", reason="bypassed")
    log("evict", "a", "done", tier="memory")
    log("set", "a", "refused")
    assert as_requests(log.lines).count == 0


@pytest.mark.parametrize(
    ("op", "target", "gone"),
    [
        ("delete", "llm:a", ["llm:a"]),
        ("invalidate", "llm:a", ["llm:a"]),
        ("invalidate", "llm:*", ["llm:a", "llm:b"]),
        ("invalidate", "*b", ["llm:b"]),
        ("invalidate", "tag:m", ["llm:b", "job:c"]),
        ("invalidate", "tag:none", []),
        ("invalidate", "[", []),
    ],
)
def test_an_invalidation_removes_what_it_hits_once(log, op, target, gone):
    log.set("llm:a")
    log.set("llm:b", tags=("m",))
    log.set("job:c", tags=("m",))
    log.set("llm:a", namespace="other", tags=("m",))
    for _ in range(2):
        log(op, target, "deleted" if op == "delete" else "invalidated")
    assert sorted(name for name, act in acts(log) if act == DROP) == sorted(gone)


def test_clearing_a_namespace_removes_all_of_it(log):
    log.set("a")
    log.hit("found")
    log.set("a", namespace="other")
    log("invalidate", "*", "cleared")
    assert sorted(name for name, act in acts(log) if act == DROP) == ["a", "found"]


def test_what_depends_on_a_key_goes_with_it(log):
    log.set("a")
    log.set("b", depends_on=("a",))
    log.set("c", depends_on=("b",))
    log.set("a")
    assert [name for name, act in acts(log) if act == DROP] == ["b", "c"]


def test_a_key_lives_as_long_as_it_was_last_given_and_before_that_as_at_first(log):
    log.hit("llm:a")
    log.set("llm:a", ttl=5.0)
    log.hit("llm:a")
    log.set("llm:a", ttl=9.0)
    log.hit("llm:b")
    log.miss("llm:never")
    found = as_requests(log.lines)
    assert list(found.ttls) == [5.0, 5.0, 5.0, 9.0, 5.0, 0.0]


def test_expired_entries_are_missed_and_others_hit(log):
    log.miss("a")
    log.set("a", ttl=10.0)
    log.hit("a", after=5)
    log.miss("a", after=6)
    log.set("a", ttl=10.0)
    log.hit("a", after=1)
    requests = as_requests(log.lines)
    for policy in POLICIES:
        assert simulate_one(requests, policy, 10, by_bytes=False).misses == 2, policy


def test_what_was_never_stored_is_never_hit(log):
    for _ in range(3):
        log.miss("a")
    log.miss("b")
    log.set("b", ttl=inf)
    for policy in POLICIES:
        assert simulate_one(as_requests(log.lines), policy, 10, by_bytes=False).misses == 4, policy


def test_a_removal_makes_the_next_request_a_miss_for_every_policy(log):
    log.miss("a")
    log.set("a")
    log.hit("a")
    log("delete", "a", "deleted")
    log.miss("a")
    log.set("a")
    log.hit("a")
    for policy in POLICIES:
        assert simulate_one(as_requests(log.lines), policy, 1, by_bytes=False).misses == 2, policy


def test_sizes_and_costs_unknown_are_the_average_of_the_prefix(log):
    log.set("llm:a", size=100, cost=1.0)
    log.set("llm:b", size=300, cost=3.0)
    log.set("llm:c", size=None)
    log.set("job:d", size=None)
    found = as_requests(log.lines)
    assert found.sizes == [100, 300, 200, 200]
    assert found.costs == [1.0, 3.0, 2.0, 2.0]


def test_seconds_stand_for_costs_where_no_money_is_known(log):
    log("compute", "a", "miss", reason="cold", factory_s=2.0)
    log.set("a")
    assert as_requests(log.lines).costs == [2.0]


def test_a_prefix_is_what_stands_before_the_first_colon():
    assert [prefix_of(key) for key in ("a:b:c", "a", ":a", "")] == ["a", "", "", ""]
