"""The disk tier: entries in a SQLite database of diskcache's shape, opened so that nothing in it is obeyed."""

from __future__ import annotations

from scoutcache.tiers.disk.tier import DiskTier

__all__ = ["DiskTier"]
