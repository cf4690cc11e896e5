"""Bad days of a server in their short form; `redis_campaign.py` is the long one, with figures of latency.

SCOUTCACHE_FAULT_SECONDS says how long each fault lasts (0.3); with it all faults are tried, without it those that
differ the most.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [path for path in [str(Path(__file__).resolve().parents[2])] if path not in sys.path]

from tests.faults import redis_campaign as campaign
from tests.faults.redis_lab import FAULTS

SECONDS = os.environ.get("SCOUTCACHE_FAULT_SECONDS")
FEW = [
    "frozen", "killed", "oom", "min-replicas", "loading", "password-changed", "acl-get", "misconf", "tls-host", "dns",
    "cut", "garbage",
]  # fmt: skip


def check(cases):
    """Each case is well; what it found is said where it isn't."""
    found = list(cases)
    for name, report, wrong in found:
        assert wrong == [], (name, json.dumps(report, default=str))
    return {name: report for name, report, _ in found}


@pytest.mark.parametrize("name", FAULTS if SECONDS else FEW)
def test_a_fault_raises_nothing_serves_nothing_wrong_is_named_and_is_over_in_time(name):
    if name.startswith("tls-"):
        pytest.importorskip("trustme")
    report = campaign.fault(name, float(SECONDS or 0.3))
    assert campaign.is_wrong_fault(name, report, timed=False) == [], json.dumps(report, default=str)


@pytest.mark.parametrize("neighbours", [False, True])
def test_machines_that_were_apart_say_the_same_and_kept_little_to_make_good(neighbours):
    check(campaign.run_machines(2.0, 12_000, 1_000, None, neighbours=neighbours))


def test_what_is_too_old_is_not_served_while_the_server_is_away():
    check(campaign.run_machines(3.0, 4_000, 200, 1.0))


@pytest.mark.parametrize("number", [1, 100, 301])
def test_who_missed_messages_serves_nothing_stale_when_he_is_back(number):
    check(campaign.run_missed([number], 200))


def test_nothing_crosses_between_tenants():
    check(campaign.run_tenants(1_500))


def test_cancelled_calls_harm_nobody():
    check(campaign.run_cancelled(800))
