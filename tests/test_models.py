"""The models of the contract: their fields, and the little they decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from scoutcache import models
from scoutcache.errors import InvalidDeclaration
from scoutcache.models import (
    CacheBackend,
    CacheEntry,
    CacheKey,
    CacheOperation,
    CachePolicy,
    CacheStatistics,
    CacheStrategy,
    CacheTier,
    CompressionType,
    InvalidationResult,
    InvalidationRule,
    SemanticCacheEntry,
    SerializationType,
    WarmingTask,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

CONTRACT = {
    CacheKey: "prefix identifier parameters include_version version hash_parameters",
    CacheEntry: "key value created_at accessed_at expires_at fresh_until access_count size_bytes namespace tags "
    "depends_on invalidation_keys backend compressed compression_type serialization cost",
    CacheStatistics: "period_start period_end total_requests cache_hits cache_misses hit_rate average_hit_latency "
    "p50_hit_latency p95_hit_latency p99_hit_latency average_miss_latency p50_miss_latency p95_miss_latency "
    "p99_miss_latency total_entries total_size_bytes average_entry_size stats_by_namespace stats_by_prefix "
    "most_accessed_keys largest_entries eviction_count evictions_by_reason expirations errors sets deletes "
    "estimated_cost_saved api_calls_saved",
    CacheOperation: "operation_id timestamp operation key namespace success hit reason latency_ms backend_used bytes "
    "error error_type",
    CachePolicy: "policy_id name applies_to priority ttl_seconds refresh_on_access max_entry_size compression_required "
    "allowed_backends preferred_backend invalidation_rules encrypt_at_rest require_authentication require_tls",
    InvalidationRule: "rule_id name trigger_type trigger_config target_pattern target_tags cascade action schedule "
    "last_run event_types total_invalidations",
    WarmingTask: "task_id pattern source run_at_startup schedule status started_at completed_at keys_warmed errors",
    CacheTier: "tier_level backend max_size_bytes max_entries promote_on_hits demote_after_seconds current_size_bytes "
    "current_entries",
    SemanticCacheEntry: "key query response scope created_at use_count last_used similar_queries similarity_scores",
    InvalidationResult: "matched invalidated by_tier sample",
}


@pytest.mark.parametrize("model", CONTRACT, ids=lambda model: model.__name__)
def test_every_field_of_the_contract_is_there(model):
    assert set(CONTRACT[model].split()) <= set(model.model_fields)


def test_names_of_the_enums_follow_the_field():
    assert set(CacheBackend) == {"memory", "redis", "disk", "hybrid"}
    assert set(CacheStrategy) == {
        "adaptive",
        "lru",
        "lfu",
        "ttl",
        "sieve",
        "s3fifo",
        "tinylfu",
        "gdsf",
        "auto",
        "semantic",
        "predictive",
    }
    assert set(SerializationType) == {"json", "msgpack", "pickle", "custom"}
    assert set(CompressionType) == {"none", "lz4", "zstd", "gzip"}


def test_everything_public_can_be_imported_from_models():
    assert all(hasattr(models, name) for name in models.__all__)


def entry(**fields) -> CacheEntry:
    return CacheEntry(key="k", value=1, created_at=NOW, **fields)


def test_an_entry_expires_at_its_time_and_not_before():
    ends = NOW + timedelta(seconds=10)
    assert not entry(expires_at=ends).is_expired(ends - timedelta(microseconds=1))
    assert entry(expires_at=ends).is_expired(ends)
    assert not entry().is_expired(NOW + timedelta(days=10_000))


def test_an_entry_asked_without_a_time_answers_for_the_present():
    assert entry(expires_at=NOW).is_expired()
    assert not CacheEntry(key="k", created_at=NOW, expires_at=datetime(9000, 1, 1, tzinfo=UTC)).is_expired()
    assert entry().is_stale("1s")


def test_an_entry_is_stale_past_an_age_or_past_its_freshness():
    assert entry().is_stale("5s", NOW + timedelta(seconds=6))
    assert not entry().is_stale(5, NOW + timedelta(seconds=5))
    assert entry(fresh_until=NOW).is_stale(now=NOW)
    assert not entry().is_stale(now=NOW)


def test_times_are_utc_and_times_without_a_zone_are_refused():
    away = datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert entry(expires_at=away).expires_at == NOW
    assert entry(expires_at=away).expires_at.tzinfo is UTC
    with pytest.raises(ValidationError):
        CacheEntry(key="k", created_at=NOW.replace(tzinfo=None))


def test_values_and_queries_stay_out_of_reprs():
    assert "secret" not in repr(CacheEntry(key="k", value="secret", created_at=NOW))
    assert "secret" not in repr(SemanticCacheEntry(key="k", query="secret", response="secret", created_at=NOW))


def test_models_are_immutable_and_refuse_unknown_fields():
    with pytest.raises(ValidationError):
        entry().key = "other"
    with pytest.raises(ValidationError):
        entry(tgas=["a"])


def test_a_rate_follows_from_the_counts_and_is_unknown_without_requests():
    period = {"period_start": NOW, "period_end": NOW}
    assert CacheStatistics(**period).hit_rate is None
    counted = CacheStatistics(**period, cache_hits=3, cache_misses=1, total_entries=4, total_size_bytes=10)
    assert (counted.total_requests, counted.hit_rate, counted.average_entry_size) == (4, 0.75, 2.5)
    assert CacheStatistics(**period, total_requests=10, cache_hits=5, hit_rate=0.4).hit_rate == 0.4
    assert counted.estimated_cost_saved is None
    with pytest.raises(ValidationError):
        CacheStatistics(**period, hit_rate=1.5)


def test_a_tier_has_capacity_while_entry_and_bytes_fit():
    tier = CacheTier(
        tier_level=1, backend="memory", max_size_bytes=100, max_entries=2, current_size_bytes=60, current_entries=1
    )
    assert tier.has_capacity(40)
    assert not tier.has_capacity(41)
    assert not tier.model_copy(update={"current_entries": 2}).has_capacity(1)
    assert CacheTier(tier_level=2, backend="disk").has_capacity(10**12)


def test_a_name_serves_as_id_and_an_id_as_name():
    assert CachePolicy(name="answers").policy_id == "answers"
    assert InvalidationRule(rule_id="r", event_types="db.users.updated", target_pattern="user:{id}:*").name == "r"
    assert WarmingTask(name="t", source="keys.jsonl").task_id == "t"
    with pytest.raises(InvalidDeclaration):
        WarmingTask(source="keys.jsonl")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"trigger_type": "time", "target_pattern": "*"}, "schedule"),
        ({"target_pattern": "*"}, "event_types"),
        ({"event_types": ["a"]}, "target_pattern"),
        ({"event_types": ["a"], "target_pattern": "["}, "never closed"),
        ({"event_types": ["a"], "target_tags": ["\x00"]}, "control codes"),
    ],
)
def test_a_rule_that_could_never_work_is_refused(fields, said):
    with pytest.raises(InvalidDeclaration, match=said):
        InvalidationRule(rule_id="r", **fields)


def test_what_is_wrong_with_a_declaration_is_said_in_our_words():
    """Every problem in a line of its own, and no link to somebody else's pages."""
    with pytest.raises(InvalidDeclaration) as caught:
        InvalidationRule(schedule="x", event_tipes=["a"])
    first, second, third = caught.value.problems
    assert (first, third) == ("rule_id: is missing", "event_tipes: unknown setting; did you mean 'event_types'?")
    assert second.startswith("schedule: 'x' is no cron expression (Wrong number of fields); expected five fields")
    assert str(caught.value).startswith("this is no InvalidationRule:\n  - rule_id")
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is None


def test_a_policy_reads_durations_and_sizes_as_people_write_them():
    policy = CachePolicy(policy_id="p", applies_to="llm:*", ttl_seconds="2h", max_entry_size="1MB")
    assert (policy.applies_to, policy.ttl_seconds, policy.max_entry_size) == (("llm:*",), 7200.0, 10**6)
    with pytest.raises(InvalidDeclaration, match="allowed_backends"):
        CachePolicy(policy_id="p", allowed_backends=["memory"], preferred_backend="disk")


def test_json_has_no_infinity():
    assert '"ttl_seconds":"never"' in CachePolicy(policy_id="p", ttl_seconds="never").model_dump_json()
    assert CachePolicy.model_validate_json(CachePolicy(policy_id="p", ttl_seconds="never").model_dump_json())
