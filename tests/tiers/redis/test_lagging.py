"""Where replicas are asked, what the tier says may be old, and the cache knows it."""

from __future__ import annotations

import pytest

from scoutcache.assembly.remote import Remote
from scoutcache.config import CacheConfig

SENTINELS = {"sentinel": ["127.0.0.1:1"], "sentinel_service": "main"}
CLUSTER = {"nodes": ["127.0.0.1:1"]}


@pytest.mark.parametrize(
    ("section", "lags"),
    [
        ({"url": "redis://127.0.0.1:1"}, False),
        (SENTINELS, False),
        (SENTINELS | {"read_from": "replica"}, True),
        (SENTINELS | {"read_from": "any"}, True),
        (CLUSTER | {"read_from": "primary"}, False),
        (CLUSTER | {"read_from": "replica"}, True),
        (CLUSTER | {"read_from": "any"}, True),
    ],
)
def test_a_tier_lags_where_replicas_answer(tmp_path, codec, fake_clock, section, lags):
    config = CacheConfig(directory=tmp_path, tiers=["memory", "redis"], redis=section)
    assert Remote(config, tmp_path, fake_clock.monotonic).make_tier(codec).lags is lags
