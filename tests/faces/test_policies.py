"""What a policy says holds for every entry it speaks of, whichever call writes or reads it, through both faces."""

from __future__ import annotations

import logging

import pytest

from scoutcache import Cache, CachePolicy
from scoutcache.entry import Ref
from scoutcache.errors import ConfigError, PolicyError

BOTH = ["memory", "disk"]


def ref(key, namespace="default"):
    return Ref(namespace, key)


def places(cache, key, namespace="default"):
    """The tiers that hold an entry."""
    now = cache.core.world.now()
    return [tier.name for tier in cache.core.tiers if tier.read(Ref(namespace, key), now) is not None]


# -- the time to live


def test_a_time_to_live_comes_from_the_caller_else_the_policy_else_the_configuration(with_policies):
    cache = with_policies({"applies_to": "llm:*", "ttl_seconds": "90s"}, ttl={"llm": "2h", "job": "3h"})
    cache.set("llm:a", 1)
    cache.set("llm:told", 1, ttl=5)
    cache.set("job:a", 1)
    cache.set("other", 1)
    lives = [cache.ttl(key) for key in ("llm:a", "llm:told", "job:a", "other")]
    assert lives == pytest.approx([90, 5, 10800, 3600])


def test_a_time_to_live_goes_by_namespace(with_policies):
    cache = with_policies({"namespaces": "tenant-a", "ttl_seconds": 7})
    cache.set("k", 1, namespace="tenant-a")
    cache.set("k", 1)
    assert cache.ttl("k", namespace="tenant-a") == pytest.approx(7)
    assert cache.ttl("k") == pytest.approx(3600)


def test_computed_values_live_as_their_policy_says_each_by_its_own(with_policies):
    cache = with_policies({"applies_to": "a:*", "ttl_seconds": 7}, {"applies_to": "b:*", "ttl_seconds": 8})
    cache.get_or_compute("a:0", lambda: 1)
    cache.get_or_compute_many(["a:1", "b:1", "c:1"], lambda keys: dict.fromkeys(keys, 1))
    assert [cache.ttl(key) for key in ("a:0", "a:1", "b:1", "c:1")] == pytest.approx([7, 7, 8, 3600])
    assert cache.touch("c:1", 4)
    assert cache.touch("b:1", None)
    assert [cache.ttl(key) for key in ("b:1", "c:1")] == pytest.approx([8, 4])


def test_a_policy_may_say_that_nothing_is_stored(with_policies):
    cache = with_policies({"applies_to": "now:*", "ttl_seconds": 0})
    assert cache.set("now:a", 1) is False
    assert cache.get_or_compute("now:a", lambda: 2) == 2
    assert cache.exists("now:a") is False


# -- the size


def test_a_value_that_is_too_large_is_not_stored_and_ends_the_older_one(with_policies, caplog):
    cache = with_policies({"applies_to": "small:*", "max_entry_size": 100})
    told = []
    cache.on("refused", told.append)
    assert cache.set("small:a", "x" * 90) is True
    assert cache.set("dependent", 1, depends_on=["small:a"])
    with caplog.at_level(logging.WARNING, "scoutcache"):
        assert cache.set("small:a", "y" * 101) is False
        assert cache.set("small:b", {"a": b"z" * 200}) is False
    assert places(cache, "small:a") == places(cache, "small:b") == []
    assert cache.get("dependent") is None
    assert cache.set("large", "y" * 1000) is True
    assert [(one.key, one.policy, one.reason, one.size_bytes > 100) for one in told] == [
        ("small:a", "p0", "too_large", True), ("small:b", "p0", "too_large", True),
    ]  # fmt: skip
    assert [record.message for record in caplog.records if "more than the policy 'p0' allows" in record.message]


def test_the_limit_is_of_the_value_as_serialized(with_policies):
    cache = with_policies({"max_entry_size": 102})
    assert cache.set("text", "x" * 100)  # MessagePack adds two bytes, Python's own object fifty
    assert not cache.set("more", "x" * 101)
    assert not cache.set("wide", "語" * 34)


def test_a_computed_value_that_is_too_large_is_returned_unstored(with_policies):
    cache = with_policies({"max_entry_size": 100})
    calls = []

    def compute():
        calls.append(1)
        return "x" * 1000

    assert cache.get_or_compute("a", compute) == cache.get_or_compute("a", compute) == "x" * 1000
    assert len(calls) == 2
    many = cache.get_or_compute_many(["b", "c"], lambda keys: {"b": "x" * 1000, "c": "y"})
    assert many == {"b": "x" * 1000, "c": "y"}
    assert (cache.get("b"), cache.get("c")) == (None, "y")


def test_the_log_says_why_a_value_was_not_stored(with_policies):
    from scoutcache.insight.log.operations import read_operations

    cache = with_policies({"max_entry_size": 100})
    cache.set_many({"a": "x" * 1000, "b": 1})
    cache.close()
    lines = [line for line in read_operations(cache.core.directory) if line.op == "set"]
    assert {(line.key, line.outcome, line.reason) for line in lines} == {
        ("a", "refused", "too_large"), ("b", "stored", None),
    }  # fmt: skip


# -- compression


def test_required_compression_holds_below_the_threshold_and_where_it_does_not_pay(with_policies):
    cache = with_policies({"applies_to": "packed:*", "compression_required": True}, compression={"type": "zstd"})
    cache.set_many({"packed:a": [1, 2], "plain:a": [1, 2]})
    stored = {key: cache.tier("disk").read(ref(key), cache.core.world.now()) for key in ("packed:a", "plain:a")}
    packed = {key: cache.core.world.codec.open(ref(key), sealed).compression for key, sealed in stored.items()}
    assert packed == {"packed:a": "zstd", "plain:a": "none"}
    cache.tier("memory").clear(None)
    assert cache.get("packed:a") == [1, 2]


# -- the tiers


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ({"allowed_backends": ["memory"]}, ["memory"]),
        ({"allowed_backends": ["disk"]}, ["disk"]),
        ({"allowed_backends": ["redis", "disk"]}, ["disk"]),
        ({"allowed_backends": "hybrid"}, BOTH),
        ({"preferred_backend": "memory"}, BOTH),
        ({"preferred_backend": "disk"}, ["disk"]),
        ({"preferred_backend": "redis"}, BOTH),
    ],
)
def test_a_write_goes_to_the_tiers_of_its_policy(with_policies, said, written):
    cache = with_policies({"applies_to": "p:*", **said})
    stored = []
    cache.on("stored", stored.append)
    assert cache.set("p:set", 1)
    cache.set_many({"p:many": [1], "other": 2})
    assert cache.get_or_compute("p:computed", lambda: 3) == 3
    for key in ("p:set", "p:many", "p:computed"):
        assert places(cache, key) == written
    assert places(cache, "other") == BOTH
    assert {record.key: list(record.tiers) for record in stored} == {
        "p:set": written, "p:many": written, "p:computed": written, "other": BOTH,
    }  # fmt: skip
    assert [cache.get(key) for key in ("p:set", "p:many", "p:computed", "other")] == [1, [1], 3, 2]


def test_what_is_preferred_on_disk_may_be_promoted_and_what_is_only_allowed_there_may_not(with_policies):
    cache = with_policies(
        {"applies_to": "preferred:*", "preferred_backend": "disk"},
        {"applies_to": "only:*", "allowed_backends": ["disk"]},
    )
    cache.set_many({"preferred:a": 1, "only:a": 2})
    for _ in range(4):
        assert cache.get_many(["preferred:a", "only:a"]) == {"preferred:a": 1, "only:a": 2}
        assert cache.get("only:a") == 2
    assert (places(cache, "preferred:a"), places(cache, "only:a")) == (BOTH, ["disk"])


def test_a_write_that_passes_a_tier_by_ends_what_it_has(with_policies):
    cache = with_policies({"preferred_backend": "disk"})
    cache.set("a", "old")
    cache.get("a"), cache.get("a")
    assert places(cache, "a") == BOTH
    cache.set("a", "new")
    assert places(cache, "a") == ["disk"]
    assert cache.get("a") == "new"


def test_what_a_tier_had_before_the_policy_is_not_read_from_it(with_policies, open_cache):
    before = open_cache(BOTH)
    before.set("secret:a", "in plain")
    before.close()
    cache = with_policies({"applies_to": "secret:*", "allowed_backends": ["memory"]})
    assert cache.get("secret:a") is None
    assert cache.get_many(["secret:a"]) == {}
    cache.set("secret:a", "new")
    cache.tier("memory").clear(None)
    assert cache.get("secret:a") is None


def test_who_sets_a_value_removes_what_lies_where_the_policy_keeps_it_out(with_policies, open_cache):
    """A process that goes by no such policy would go on reading the older one there."""
    before = open_cache(BOTH)
    cache = with_policies({"applies_to": "secret:*", "allowed_backends": ["memory"]})
    before.set_many({"secret:a": "in plain", "secret:b": "in plain", "secret:c": "in plain"})
    cache.set("secret:a", "new")
    cache.set_many({"secret:b": "new", "other": "new"})
    cache.get_or_compute("secret:c", lambda: "computed")
    assert before.get_many(["secret:a", "secret:b", "secret:c"]) == {"secret:c": "in plain"}
    assert cache.get_many(["secret:a", "secret:b", "secret:c"]) == {
        "secret:a": "new", "secret:b": "new", "secret:c": "computed"}  # fmt: skip


def test_what_lies_where_the_policy_keeps_it_out_is_not_listed(with_policies, open_cache):
    before = open_cache(BOTH)
    before.set_many({"secret:a": "in plain", "other": 1})
    before.close()
    cache = with_policies({"applies_to": "secret:*", "allowed_backends": ["memory"]})
    assert list(cache.keys()) == ["other"]


def test_a_write_to_memory_only_ends_the_copies_of_other_processes(with_policies):
    """They can't see the new value, but must not serve the older one."""
    policy = {"allowed_backends": ["memory"]}
    cache, other = with_policies(policy), with_policies(policy)
    cache.set("a", 1)
    other.set("a", 2)
    assert (cache.get("a"), other.get("a")) == (None, 2)


def test_computing_what_only_memory_keeps_leaves_the_copies_of_other_processes(with_policies):
    """They computed theirs as well, and would drop each other's with every computation."""
    policy = {"applies_to": "secret:*", "allowed_backends": ["memory"]}
    caches, computed = [with_policies(policy) for _ in range(3)], []
    keys = ["secret:1", "secret:2", "plain"]
    for cache in caches * 3:
        cache.get_or_compute("secret:0", lambda: computed.append("secret:0") or 0)
        cache.get_or_compute_many(keys, lambda wanted: computed.extend(wanted) or dict.fromkeys(wanted, 1))
    assert sorted(computed) == sorted(["secret:0", "secret:1", "secret:2"] * 3 + ["plain"])


def test_what_another_process_has_replaced_is_no_cold_miss(with_policies):
    policy = {"applies_to": "secret:*", "allowed_backends": ["memory"]}
    cache, other = with_policies(policy), with_policies(policy)
    missed = []
    cache.on("miss", missed.append)
    cache.set("secret:a", 1)
    cache.set("plain", 1)
    other.set("secret:a", 2)
    other.set("plain", 2)
    other.tier("disk").remove([ref("plain")])
    assert cache.get_many(["secret:a", "secret:b", "plain"]) == {}
    assert [miss.reason for miss in missed] == ["invalidated", "cold", "cold"]


def test_demotion_goes_only_where_the_policy_allows(with_policies, fake_clock):
    cache = with_policies({"applies_to": "here:*", "allowed_backends": ["memory"]}, placement={"demote_after": "60s"})
    cache.set("here:a", 1, ttl="1h")
    cache.set("other", 2, ttl="1h")
    fake_clock.advance(70)
    cache.turn()
    assert (places(cache, "here:a"), places(cache, "other")) == (["memory"], ["disk"])


def test_invalidation_reaches_entries_wherever_their_policy_keeps_them(with_policies):
    cache = with_policies(
        {"applies_to": "m:*", "allowed_backends": ["memory"]}, {"applies_to": "d:*", "allowed_backends": "disk"}
    )
    for remove in (
        lambda: cache.invalidate("*:a"),
        lambda: cache.invalidate(tags=["red"]),
        lambda: cache.delete_many(["m:a", "d:a"]),
        lambda: cache.clear(),
    ):
        cache.set_many({"m:a": 1, "d:a": 2}, tags=["red"])
        assert cache.get_many(["m:a", "d:a"]) == {"m:a": 1, "d:a": 2}
        remove()
        assert cache.get_many(["m:a", "d:a"]) == {}


# -- protection


def test_encryption_at_rest_is_refused_where_an_entry_could_reach_the_disk(with_policies):
    with pytest.raises(PolicyError, match="'p0' requires encryption at rest") as caught:
        with_policies({"applies_to": "secret:*", "encrypt_at_rest": True})
    assert "allowed_backends" in caught.value.hint


def test_what_must_be_encrypted_at_rest_stays_in_memory(with_policies, fake_clock, tmp_path):
    cache = with_policies(
        {"applies_to": "secret:*", "encrypt_at_rest": True, "allowed_backends": ["memory"]},
        placement={"demote_after": "60s"},
    )
    cache.set("secret:a", "the plain words", tags=["t"])
    cache.get_or_compute("secret:b", lambda: "the plain words")
    cache.touch("secret:a", "2h")
    fake_clock.advance(70)
    cache.turn()
    assert cache.get("secret:a") == cache.get("secret:b") == "the plain words"
    cache.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"the plain words" in path.read_bytes()]


def test_what_must_be_encrypted_at_rest_does_not_wait_in_a_queue_on_disk(with_policies, tmp_path):
    cache = with_policies({"applies_to": "secret:*", "encrypt_at_rest": True, "allowed_backends": ["memory"]})
    behind = cache.cache.behind(writer=lambda batch: None)
    put = cache._blocking(behind.set_many)
    with pytest.raises(PolicyError, match="'secret:a' must be encrypted at rest"):
        put({"other": 1, "secret:a": "the plain words"})
    assert cache.get("other") is None
    put({"other": 1})
    assert cache.get("other") == 1


def test_authentication_is_required_of_a_redis_tier_only(with_policies, tmp_path):
    required = {"require_authentication": True}
    with_policies(required)
    for url in ("redis://server/0", "redis://user@server/0", "unix:///run/redis.sock"):
        with pytest.raises(PolicyError, match="'p0' requires authentication"):
            with_policies(required, tiers=["memory", "redis", "disk"], redis={"url": url})
    (tmp_path / "secret").write_text("word\n")
    away = "redis://127.0.0.1:1"
    for server in ({"url": "redis://:word@127.0.0.1:1"}, {"url": away, "password_file": tmp_path / "secret"}):
        cache = with_policies(required, tiers=["memory", "redis", "disk"], redis=server)
        assert [tier.name for tier in cache._core.tiers] == ["memory", "redis", "disk"]


# -- conflicts


def test_a_cache_with_conflicting_policies_opens_with_one_warning_and_the_first_wins(with_policies, caplog):
    with caplog.at_level(logging.WARNING, "scoutcache"):
        cache = with_policies({"ttl_seconds": 5, "max_entry_size": 10}, {"ttl_seconds": 6, "max_entry_size": 20})
    warned = [record.message for record in caplog.records if "conflict" in record.message]
    assert len(warned) == 1
    assert "policies 'p0' and 'p1' conflict" in warned[0]
    assert "and 1 more" in warned[0]
    cache.set("a", 1)
    assert cache.ttl("a") == pytest.approx(5)


def test_policies_are_made_in_code_as_well(open_cache):
    cache = open_cache(BOTH, policies=[CachePolicy(policy_id="p", ttl_seconds="2m")])
    cache.set("a", 1)
    assert cache.ttl("a") == pytest.approx(120)


def test_a_strategy_of_policies_is_none_of_eviction(tmp_path):
    with pytest.raises(ConfigError, match=r"memory\.strategy: .*'semantic'") as told:
        Cache(directory=tmp_path, memory={"strategy": "semantic"})
    assert "strategies of policies" in told.value.hint
