"""The policies that can be simulated, by name, and one simulation of one of them."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Final

from scoutcache.insight.simulation.base import Model
from scoutcache.insight.simulation.future import replay_opt
from scoutcache.insight.simulation.ghosted import AdaptiveS3Fifo, Arc, S3Fifo
from scoutcache.insight.simulation.queues import Fifo, Lru, Sieve
from scoutcache.insight.simulation.ranked import Gdsf, GdsfByBytes, Lfu
from scoutcache.insight.simulation.replay import Found, replay
from scoutcache.insight.simulation.requests import Requests
from scoutcache.insight.simulation.windowed import TinyLfu

__all__ = ["MODELS", "OPT", "POLICIES", "simulate_one"]

OPT: Final = "opt"
MODELS: Final[Mapping[str, type[Model]]] = {
    model.name: model for model in (AdaptiveS3Fifo, Lru, TinyLfu, Gdsf, S3Fifo, Arc, Sieve, Lfu, Fifo)
}
POLICIES: Final = (*MODELS, OPT)
"""Their names; all but ``arc`` and ``opt`` can be configured."""


def simulate_one(requests: Requests, policy: str, capacity: int, *, by_bytes: bool) -> Found:
    """What *policy* misses with *capacity* entries, or bytes."""
    rooms = requests.sizes if by_bytes else [1] * requests.distinct
    # What is made here holds numbers and no circles; looking for them a hundred times costs a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        if policy == OPT:
            return replay_opt(capacity, rooms, requests)
        model = GdsfByBytes if by_bytes and policy == Gdsf.name else MODELS[policy]
        return replay(model(capacity, rooms, requests.costs), requests)
    finally:
        if collecting:
            gc.enable()
