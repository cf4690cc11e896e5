"""Policies that can't be obeyed are wrong, those that contradict each other are told, protection is never skipped."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.config import CacheConfig
from scoutcache.entry import Ref
from scoutcache.errors import ConfigError
from scoutcache.policies import CachePolicy
from scoutcache.policies.book import SETTINGS, PolicyBook
from scoutcache.policies.checks import conflicts, unprotected


def policy(name="p", **said):
    return CachePolicy(policy_id=name, **said)


# -- wrong settings


@pytest.mark.parametrize(
    ("said", "config", "expected"),
    [
        ({"allowed_backends": ["redis"]}, {}, "'p' allows redis, but the tiers are memory, disk"),
        ({"allowed_backends": ["disk"]}, {"tiers": ["memory"]}, "'p' allows disk, but the tiers are memory"),
        ({"allowed_backends": []}, {}, "'p' allows no tier"),
        ({"compression_required": True}, {"compression": {"type": "none"}}, "'p' requires compression, but"),
        ({"invalidation_rules": ["gone"]}, {}, "'p' names the rule 'gone', which is not among the rules (none)"),
        ({"allowed_backends": ["tape"]}, {}, "policies[0].allowed_backends"),
        ({"preferred_backend": "tape"}, {}, "policies[0].preferred_backend: expected one of memory, redis, disk"),
        ({"max_entry_size": "huge"}, {}, "policies[0].max_entry_size"),
        ({"max_entry_size": -1}, {}, "policies[0].max_entry_size"),
        ({"ttl_seconds": "-5s"}, {}, "policies[0].ttl_seconds"),
        ({"namespaces": [""]}, {}, "policies[0].namespaces"),
        ({"applies_to": ["a[b"]}, {}, "policies[0].applies_to"),
        ({"refresh_on_acces": True}, {}, "did you mean 'refresh_on_access'"),
    ],
)
def test_a_policy_that_cannot_be_obeyed_is_a_wrong_setting(said, config, expected):
    with pytest.raises(ConfigError) as caught:
        CacheConfig(policies=[{"policy_id": "p", **said}], **config)
    assert expected in str(caught.value)


def test_every_wrong_policy_is_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        CacheConfig(
            policies=[
                {"policy_id": "a", "allowed_backends": ["redis"]},
                {"policy_id": "a", "invalidation_rules": ["x", "y"]},
            ]
        )
    assert len(caught.value.problems) == 4


def test_what_has_no_effect_is_not_wrong():
    """Compression where only memory may hold it; a preference for a tier that is not there."""
    rule = {"rule_id": "r", "trigger_type": "manual", "target_pattern": "a:*"}
    CacheConfig(
        tiers=["memory"],
        compression={"type": "none"},
        rules=[rule],
        policies=[
            {"policy_id": "a", "compression_required": True, "preferred_backend": "disk", "invalidation_rules": ["r"]}
        ],
    )


# -- conflicts


def test_two_policies_that_never_meet_are_no_conflict():
    for apart in (
        [policy("a", applies_to="llm:*", ttl_seconds=1), policy("b", applies_to="job:*", ttl_seconds=2)],
        [policy("a", namespaces="s", ttl_seconds=1), policy("b", namespaces="t", ttl_seconds=2)],
        [policy("a", priority=1, ttl_seconds=1), policy("b", ttl_seconds=2)],
        [policy("a", ttl_seconds=60), policy("b", ttl_seconds="1m")],
        [policy("a", ttl_seconds=1), policy("b", max_entry_size=2)],
        [policy("a", encrypt_at_rest=True), policy("b", encrypt_at_rest=False)],
    ):
        assert conflicts(apart) == []


def test_a_conflict_names_both_what_they_say_and_where_they_meet():
    [found] = conflicts(
        [
            policy("b", applies_to=["job:*", "llm:*"], ttl_seconds="2h"),
            policy("a", applies_to="*:gpt", ttl_seconds=5, allowed_backends="disk"),
        ]
    )
    assert (found.winner, found.loser, found.setting, found.values) == ("b", "a", "ttl_seconds", (7200.0, 5.0))
    assert found.pattern == ("job:*", "*:gpt")
    assert "policies 'b' and 'a' conflict" in str(found)
    assert "'b', the first, wins" in str(found)


def test_a_prefix_meets_the_pattern_of_its_keys():
    [found] = conflicts([policy("a", applies_to="llm", ttl_seconds=1), policy("b", applies_to="llm:*", ttl_seconds=2)])
    assert found.pattern == ("llm:*", "llm:*")


_SCOPES = {
    "applies_to": st.lists(st.sampled_from(["*", "a*", "*b", "?", "ab", "c[ab]"]), min_size=1, max_size=2),
    "namespaces": st.lists(st.sampled_from("st"), max_size=2),
    "priority": st.integers(0, 1),
}
_SAID = {"ttl_seconds": st.integers(1, 2), "refresh_on_access": st.booleans()}
_REFS = [Ref(namespace, key) for namespace in "stu" for key in ("", "a", "b", "ab", "ca", "cb", "axb", "zzb", "ab:")]


@given(st.lists(st.fixed_dictionaries(_SCOPES, optional=_SAID), min_size=2, max_size=3))
@settings(max_examples=80)
def test_where_no_conflict_is_told_the_order_of_equal_policies_decides_nothing(rows):
    policies = [policy(f"p{at}", **row) for at, row in enumerate(rows)]
    forward, backward = PolicyBook(policies), PolicyBook(policies[::-1])
    differs = {
        setting
        for ref in _REFS
        for setting in SETTINGS
        if (one := forward.of(ref)) is not None and getattr(one, setting) != getattr(backward.of(ref), setting)
    }
    assert differs <= {conflict.setting for conflict in conflicts(policies)}


# -- protection


def test_a_policy_whose_entries_stay_in_memory_needs_no_encryption():
    assert unprotected([policy(encrypt_at_rest=True, allowed_backends="memory")], "encrypt_at_rest", ["disk"]) == []
    assert unprotected([policy(encrypt_at_rest=True)], "encrypt_at_rest", []) == []
    assert unprotected([policy(allowed_backends="disk")], "encrypt_at_rest", ["disk"]) == []


def test_what_may_reach_a_tier_without_protection_is_named():
    secret = policy("secret", applies_to="key:*", encrypt_at_rest=True)
    assert unprotected([secret], "encrypt_at_rest", ["disk"]) == ["secret"]


def test_another_policy_that_decides_first_where_the_entries_stand_is_seen():
    secret = policy("secret", applies_to="key:*", encrypt_at_rest=True, allowed_backends=["memory"])
    elsewhere = policy("all", priority=1, applies_to="*:old", allowed_backends=["disk"])
    apart = policy("apart", priority=1, applies_to="job:*", allowed_backends=["disk"])
    lower = policy("lower", priority=-1, allowed_backends=["disk"])
    assert unprotected([secret, elsewhere], "encrypt_at_rest", ["disk"]) == ["secret"]
    assert unprotected([secret, apart, lower], "encrypt_at_rest", ["disk"]) == []


_PROTECTED = {"encrypt_at_rest": st.booleans(), "allowed_backends": st.sampled_from([["memory"], ["disk"], "hybrid"])}


@given(st.lists(st.fixed_dictionaries(_SCOPES, optional=_PROTECTED), min_size=1, max_size=3))
@settings(max_examples=80)
def test_what_is_not_named_never_reaches_an_exposed_tier(rows):
    policies = [policy(f"p{at}", **row) for at, row in enumerate(rows)]
    if unprotected(policies, "encrypt_at_rest", ["disk"]):
        return
    book = PolicyBook(policies)
    for found in filter(None, map(book.of, _REFS)):
        assert not (found.encrypt_at_rest and found.allows("disk"))
