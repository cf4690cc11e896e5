"""Requests to simulate, and policies of the cache itself to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from scoutcache.eviction import make_policy
from scoutcache.insight.simulation.requests import Requests

from ...eviction.replaying import replay  # noqa: TID252 - tests are no package


def numbered(keys: Sequence[int], sizes: Sequence[int] | None = None) -> Requests:
    """Requests for *keys*, renumbered by first appearance; *sizes* by the key as given."""
    numbers = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    return Requests(
        [numbers[key] for key in keys],
        [1 if sizes is None else sizes[key] for key in numbers],
        [str(key) for key in numbers],
    )


@pytest.fixture
def as_requests() -> Callable[..., Requests]:
    """Make requests of a list of keys."""
    return numbered


@pytest.fixture
def misses_of_policy() -> Callable[..., int]:
    """How often a policy of the cache itself misses."""

    def misses(name: str, capacity: int, requests: Requests, *, by_bytes: bool = False) -> int:
        limits = (None, capacity) if by_bytes else (capacity, None)
        asked = [(key, requests.sizes[key] if by_bytes else 1) for key in requests.keys]
        return len(asked) - replay(make_policy(name, *limits), asked).hits

    return misses
