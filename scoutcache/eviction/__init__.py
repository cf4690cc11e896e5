"""Eviction policies: who leaves a bounded cache.  Pure mechanism, behind one contract (`scoutcache.eviction.base`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scoutcache.errors import ConfigError
from scoutcache.eviction.adaptive import AdaptiveS3Fifo
from scoutcache.eviction.auto import Auto
from scoutcache.eviction.base import Node, Policy
from scoutcache.eviction.fifo import Fifo
from scoutcache.eviction.gdsf import Gdsf
from scoutcache.eviction.lfu import Lfu
from scoutcache.eviction.lru import Lru
from scoutcache.eviction.s3fifo import S3Fifo
from scoutcache.eviction.sieve import Sieve
from scoutcache.eviction.tinylfu import TinyLfu

__all__ = ["DEFAULT", "STRATEGIES", "Node", "Policy", "make_policy"]

DEFAULT: Final = "adaptive"

STRATEGIES: Final[Mapping[str, type[Policy]]] = {
    "adaptive": AdaptiveS3Fifo,
    "s3fifo": S3Fifo,
    "sieve": Sieve,
    "lru": Lru,
    "lfu": Lfu,
    "fifo": Fifo,
    "ttl": Fifo,
    "tinylfu": TinyLfu,
    "gdsf": Gdsf,
    "auto": Auto,
}
"""The policies by the name they are configured with."""


def make_policy(strategy: str, max_entries: int | None, max_bytes: int | None) -> Policy:
    """The policy called *strategy*; ``None`` for a limit is none.  Raises `ConfigError` for a name there isn't."""
    try:
        policy = STRATEGIES[strategy]
    except KeyError:
        # An enum's own repr would name its class and not what to write.
        known, name = ", ".join(sorted(STRATEGIES)), getattr(strategy, "value", strategy)
        raise ConfigError(f"no eviction strategy is called {name!r}", hint=f"choose one of: {known}") from None
    return policy(max_entries, max_bytes)
