"""The policy that finds out which one suits."""

from __future__ import annotations

import random

import pytest

from scoutcache.eviction import Node, make_policy
from scoutcache.eviction import auto as module
from scoutcache.eviction.auto import CANDIDATES, SHADOW

from .replaying import replay


def loop(distinct, times):
    return [(key, 1) for _ in range(times) for key in range(distinct)]


def popular(number, seed=3):
    dice = random.Random(seed)
    return [(int(dice.paretovariate(0.8)), 1) for _ in range(number)]


def test_it_follows_the_one_that_does_well_in_a_loop():
    policy = make_policy("auto", 100, None)
    assert policy.leader == "adaptive"
    found = replay(policy, loop(130, 200))
    assert policy.leader == "tinylfu"
    assert found.hit_ratio > replay(make_policy("adaptive", 100, None), loop(130, 200)).hit_ratio + 0.2


def test_it_turns_away_again_when_the_loop_is_over():
    recent = [(1000 + number // 2 - 40 * (number % 2), 1) for number in range(30_000)]
    policy = make_policy("auto", 100, None)
    replay(policy, [*loop(130, 60), *recent])
    assert policy.leader != "tinylfu"


def test_it_stays_where_it_is_when_nothing_is_better():
    policy = make_policy("auto", 50, None)
    requests = popular(20_000)
    found = replay(policy, requests)
    assert found.hit_ratio >= replay(make_policy("adaptive", 50, None), requests).hit_ratio - 0.005


def test_shadows_stay_small_whatever_the_cache_holds():
    policy = make_policy("auto", 10_000, None)
    replay(policy, [(key, 1) for key in range(30_000)])
    assert policy._one_in == 16
    for shadow in policy._shadows.values():
        assert 0 < len(shadow._nodes) <= SHADOW
        assert all(type(node.key) is int for node in shadow._nodes.values()), "hashes, no keys"


def test_nobody_pays_for_shadows_before_somebody_has_to_leave():
    policy = make_policy("auto", 100, None)
    replay(policy, loop(100, 50))
    assert not policy._shadows


@pytest.mark.parametrize("name", sorted(CANDIDATES))
def test_a_change_of_leader_loses_nobody(name):
    policy = make_policy("auto", 40, 400)
    replay(policy, [(key, 1 + key % 20) for key, _ in popular(3000)])
    before = {node.key for node in policy.nodes()}
    entries, size = policy.entries, policy.size_bytes
    policy._follow(name)
    assert {node.key for node in policy.nodes()} == before
    assert (policy._policy.entries, policy._policy.size_bytes) == (entries, size)
    for key in range(100_000, 100_100):
        policy.admit(Node(key, 5))
        assert policy.entries == policy._policy.entries <= 40
        assert policy.size_bytes == policy._policy.size_bytes <= 400


def test_what_is_answered_counts_by_its_cost(monkeypatch):
    monkeypatch.setattr(module, "_SHORTEST", 50)

    class Priced(Node):
        __slots__ = ()

        @property
        def cost(self):
            return 100.0 if self.key < 5 else 0.01

    policy = make_policy("auto", 10, None)
    nodes = {}
    dice = random.Random(1)
    for _ in range(6000):
        key = dice.randrange(5) if dice.random() < 0.1 else 5 + dice.randrange(60)
        if key in nodes:
            nodes[key].hits += 1
            policy.note(nodes[key])
        else:
            nodes[key] = Priced(key)
            for victim in policy.admit(nodes[key]):
                del nodes[victim.key]
    assert policy.leader == "gdsf"
