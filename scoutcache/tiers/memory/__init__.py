"""The memory tier: live values in this process, bounded by entries and by bytes."""

from __future__ import annotations

from scoutcache.tiers.memory.hot import Position
from scoutcache.tiers.memory.slot import Detail
from scoutcache.tiers.memory.tier import MemoryTier

__all__ = ["Detail", "MemoryTier", "Position"]
