"""What the policies say of an entry together: the highest priority first, setting by setting."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.entry import Ref
from scoutcache.patterns import Pattern
from scoutcache.policies import CachePolicy
from scoutcache.policies import book as policy_book
from scoutcache.policies.book import Effective, PolicyBook


def policy(name="p", **said):
    return CachePolicy(policy_id=name, **said)


def of(policies, key="llm:a", namespace="default"):
    return PolicyBook(policies).of(Ref(namespace, key))


def test_of_an_entry_that_no_policy_speaks_of_there_is_nothing_to_say():
    assert of([]) is None
    assert of([policy(applies_to="job:*")]) is None
    assert of([policy(namespaces=["tenant-a"])]) is None


def test_a_policy_speaks_of_its_patterns_in_its_namespaces():
    book = PolicyBook([policy(applies_to=["llm:*", "job:?"], namespaces=["a", "b"], ttl_seconds=5)])
    speaks = {(ns, key): book.of(Ref(ns, key)) is not None for ns in "abc" for key in ("llm:x", "job:1", "job:12")}
    assert [pair for pair, found in speaks.items() if found] == [
        ("a", "llm:x"), ("a", "job:1"), ("b", "llm:x"), ("b", "job:1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("applies_to", "spoken_of", "others"),
    [
        ("llm", ["llm", "llm:", "llm:a", "llm:a:b"], ["llmx", "llmx:a", "x:llm", "LLM:a"]),
        (r"a\*", ["a*", "a*:b"], ["ab", "ab:c", r"a\*"]),
        ("llm:a", ["llm:a"], ["llm:a:b", "llm:b"]),
        ("llm?", ["llmx"], ["llm:a", "llmx:a"]),
    ],
)
def test_a_plain_name_is_a_prefix_as_well(applies_to, spoken_of, others):
    book = PolicyBook([policy(applies_to=["job:*", applies_to], ttl_seconds=5)])
    assert [key for key in spoken_of + others if book.of(Ref("default", key)) is not None] == spoken_of


def test_each_setting_comes_from_the_highest_priority_that_says_it():
    found = of(
        [
            policy("general", ttl_seconds="1h", max_entry_size="1MB", encrypt_at_rest=True),
            policy("narrow", applies_to="llm:*", priority=5, ttl_seconds="2h"),
        ]
    )
    assert (found.ttl_seconds, found.max_entry_size, found.encrypt_at_rest) == (7200.0, 10**6, True)
    assert dict(found.sources) == {
        "ttl_seconds": "narrow", "max_entry_size": "general", "encrypt_at_rest": "general",
    }  # fmt: skip


def test_of_equal_priorities_the_first_wins():
    assert of([policy("a", ttl_seconds=1), policy("b", ttl_seconds=2)]).ttl_seconds == 1
    assert of([policy("a", ttl_seconds=1), policy("b", ttl_seconds=2, priority=1)]).ttl_seconds == 2
    assert of([policy("a", ttl_seconds=1, priority=-1), policy("b", ttl_seconds=2)]).ttl_seconds == 2


def test_what_is_not_set_says_nothing_and_what_is_set_says_no():
    sliding = policy("general", refresh_on_access=True)
    assert of([sliding, policy("silent", priority=1)]).refresh_on_access
    assert not of([sliding, policy("fixed", priority=1, refresh_on_access=False)]).refresh_on_access


def test_a_requirement_holds_whatever_a_higher_policy_says():
    for requirement in policy_book.REQUIREMENTS:
        asks, denies = policy("a", **{requirement: True}), policy("b", priority=9, **{requirement: False})
        assert getattr(of([asks, denies]), requirement)


def test_rules_of_all_policies_add_up():
    assert of([policy("a", invalidation_rules=["x"]), policy("b", priority=1, invalidation_rules="y")]) == Effective(
        invalidation_rules=frozenset("xy")
    )


def test_hybrid_allows_every_tier_and_prefers_none():
    found = of([policy(allowed_backends=["hybrid"], preferred_backend="hybrid")])
    assert (found.allowed_backends, found.preferred_backend) == (None, None)
    assert found.allows("disk")
    assert found.allows("a tier of one's own")


TIERS = ("memory", "redis", "disk")


@pytest.mark.parametrize(
    ("said", "allowed", "written"),
    [
        ({}, TIERS, TIERS),
        ({"allowed_backends": ["memory"]}, ("memory",), ("memory",)),
        ({"allowed_backends": ["disk", "memory"]}, ("memory", "disk"), ("memory", "disk")),
        ({"preferred_backend": "memory"}, TIERS, TIERS),
        ({"preferred_backend": "redis"}, TIERS, ("redis", "disk")),
        ({"preferred_backend": "disk"}, TIERS, ("disk",)),
        ({"allowed_backends": "hybrid", "preferred_backend": "disk"}, TIERS, ("disk",)),
    ],
)
def test_a_write_begins_at_the_preferred_tier_and_goes_to_no_other_than_the_allowed(said, allowed, written):
    found = of([policy(**said)])
    assert tuple(tier for tier in TIERS if found.allows(tier)) == allowed
    assert tuple(tier for tier in TIERS if found.writes_to(tier, TIERS)) == written


def test_a_preference_counts_for_nothing_where_the_tier_is_not_there_or_not_allowed():
    assert of([policy(preferred_backend="disk")]).writes_to("memory", ["memory"])
    narrow = policy("b", priority=1, allowed_backends=["memory"])
    assert of([policy("a", preferred_backend="disk"), narrow]).writes_to("memory", TIERS)


def test_answers_are_remembered_within_limits(monkeypatch):
    monkeypatch.setattr(policy_book, "REMEMBERED", 3)
    book = PolicyBook([policy(ttl_seconds=5)])
    found = [book.of(Ref("default", f"k:{number}")) for number in range(10)]
    assert all(one is found[0] for one in found)
    assert len(book._known) <= 3


# -- against the plainest reading of the rules

_PATTERNS = ["*", "a*", "b*", "*:x", "a:?", "a:[xy]", "c"]
_KEYS = ["a", "a:x", "a:y", "a:z", "b:x", "c", "zz"]
_SAID = {
    "ttl_seconds": st.integers(1, 3),
    "refresh_on_access": st.booleans(),
    "max_entry_size": st.integers(1, 3),
    "preferred_backend": st.sampled_from(["memory", "disk"]),
    "allowed_backends": st.sampled_from([["memory"], ["disk", "memory"]]),
    "compression_required": st.booleans(),
}
_POLICIES = st.lists(
    st.builds(
        lambda said, **scope: {**said, **scope},
        st.fixed_dictionaries({}, optional=_SAID),
        applies_to=st.lists(st.sampled_from(_PATTERNS), min_size=1, max_size=2),
        namespaces=st.lists(st.sampled_from("st"), max_size=1),
        priority=st.integers(0, 2),
    ),
    max_size=5,
)


def naive(rows, ref, setting):
    """Look at every policy for each question, the highest first."""
    for priority in (2, 1, 0):
        for row in rows:
            speaks = (not row["namespaces"] or ref.namespace in row["namespaces"]) and any(
                Pattern.parse(text).matches(ref.key) for text in row["applies_to"]
            )
            if row["priority"] == priority and speaks and setting in row:
                return row[setting]
    return None


@given(_POLICIES)
@settings(max_examples=80)
def test_the_book_says_what_asking_every_policy_in_turn_says(rows):
    rows = [row for row in rows if (row.get("allowed_backends"), row.get("preferred_backend")) != (["memory"], "disk")]
    book = PolicyBook([policy(f"p{at}", **row) for at, row in enumerate(rows)])
    for ref in (Ref(namespace, key) for namespace in "stu" for key in _KEYS):
        found = book.of(ref)
        for setting in ("ttl_seconds", "max_entry_size", "preferred_backend"):
            assert naive(rows, ref, setting) == (None if found is None else getattr(found, setting))
        allowed = naive(rows, ref, "allowed_backends")
        assert (allowed and set(allowed)) == (None if found is None else found.allowed_backends)
        assert bool(naive(rows, ref, "refresh_on_access")) == (found is not None and found.refresh_on_access)
        assert book.of(ref) is found
