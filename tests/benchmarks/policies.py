"""What policies cost whom: `python tests/benchmarks/policies.py [--rounds 15]`.

Caches without policies and with them take turns, memory only; each figure is the median of the ratios of the rounds, so
that it holds on a busy machine.  Only entries that slide may cost more, and only when they are hit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from statistics import median

from scoutcache import Cache
from scoutcache.config import CacheConfig

KEYS = [f"llm:{number:04d}" for number in range(500)]
SLIDING = [f"session:{number:04d}" for number in range(500)]
POLICIES = [
    {"policy_id": "answers", "applies_to": "llm:*", "ttl_seconds": "2h", "max_entry_size": "1MB"},
    {"policy_id": "sessions", "applies_to": "session:*", "ttl_seconds": "1h", "refresh_on_access": True},
    {"policy_id": "jobs", "namespaces": ["jobs"], "priority": 1, "ttl_seconds": "24h"},
]


def open_cache(directory: str, policies: list[dict[str, object]]) -> Cache:
    cache = Cache(CacheConfig(tiers=["memory"], directory=directory, policies=policies, oplog={"enabled": False}))
    for key in (*KEYS, *SLIDING):
        cache.set(key, f"a value of {key}")
    return cache


def timed(call: Callable[[str], object], keys: list[str], times: int) -> float:
    """Nanoseconds per call."""
    began = time.perf_counter_ns()
    for _ in range(times):
        for key in keys:
            call(key)
    return (time.perf_counter_ns() - began) / (times * len(keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        open_cache(one, []) as without,
        open_cache(other, POLICIES) as under,
    ):
        work: dict[str, tuple[Callable[[str], object], Callable[[str], object], list[str], int]] = {
            "hit in memory": (without.get, under.get, KEYS, 20),
            "hit of an entry that slides": (without.get, under.get, SLIDING, 5),
            "set": (lambda key: without.set(key, key), lambda key: under.set(key, key), KEYS, 1),
        }
        for name, (plain, ruled, keys, times) in work.items():
            pairs = [(timed(plain, keys, times), timed(ruled, keys, times)) for _ in range(rounds + 2)][2:]
            ratio, at = median(b / a for a, b in pairs), median(a for a, _ in pairs)
            print(f"{name:30}{ratio:6.2f} x  of {at:7.0f} ns without policies")


if __name__ == "__main__":
    main()
