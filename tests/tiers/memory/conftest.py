"""A memory tier with its clock, and short ways to use it."""

from __future__ import annotations

import pytest

from scoutcache.entry import MISSING, Live, Row
from scoutcache.tiers.memory import MemoryTier


class Page:
    """A position that a test can move."""

    def __init__(self):
        self.words = [0, 0]
        self.index = 1


class World:
    """A memory tier, its clock, and short ways to use it."""

    def __init__(self, clock, codec, make_row, **options):
        self.clock, self.make_row = clock, make_row
        self.evicted = []
        self.tier = MemoryTier(
            codec, monotonic=clock.monotonic, wall=clock.wall, on_evict=lambda *left: self.evicted.append(left),
            **options,
        )  # fmt: skip
        self.page = Page()
        self.misses = []
        self.get = self.tier.make_get(self.miss, namespace="default", position=self.page)
        self._look = self.tier.make_get(lambda *_: MISSING, namespace="default", position=self.page)

    def peek(self, namespace, key):
        """As a face looks that has its own slow path."""
        return self._look(key, None, namespace)

    def miss(self, key, default, namespace):
        self.misses.append((key, default, namespace))
        return default

    def put(self, key, value="value", *, allow=None, **options):
        return self.tier.write([self.make_row(key, value, **options)], self.clock.wall(), allow)

    def sized(self, key, size, **options):
        """An entry that counts as exactly *size* bytes."""
        row = self.make_row(key, **options)
        return self.tier.write([Row(row.header, Live("v", None, size, size), row.seal)], self.clock.wall())

    def keys(self):
        return sorted(item.header.ref.key for item in self.tier.scan(None))


@pytest.fixture
def make_world(fake_clock, codec, make_row):
    return lambda **options: World(fake_clock, codec, make_row, **options)


@pytest.fixture
def world(make_world):
    return make_world()
