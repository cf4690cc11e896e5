"""A hit renews the life of an entry that slides, seldom enough, and never against an invalidation or a later writer."""

from __future__ import annotations

import pytest

from scoutcache.engine.effects import Write
from scoutcache.engine.renewing import due_from
from scoutcache.entry import NEVER, Header, Ref

REF = Ref("ns", "k")
BORN = 1_800_000_000.0


def header(life, *, renewed=0.0):
    """An entry that was given *life* at its birth, and perhaps the same again some time later."""
    until = BORN + renewed + life
    return Header(REF, start=1, created=BORN, fresh_until=until, expires=until)


@pytest.mark.parametrize(
    ("life", "renewed", "after", "ttl", "expected"),
    [
        (100, 0, 50, 100, True),
        (100, 0, 9.9, 100, False),
        (100, 0, 10.1, 100, True),
        (100, 60, 65, 100, False),
        (100, 60, 75, 100, True),
        (100, 0, 100, 100, False),
        (50, 0, 40, 100, False),
        (500, 0, 40, 100, False),
        (500, 0, 450, 100, True),
        (0.1 + 0.2, 0, 0.2, 0.3, True),
        (100, 0, 50, NEVER, False),
        (NEVER, 0, 50, 100, False),
        (100, 0, 50, 0, False),
    ],
)
def test_a_life_is_due_after_a_tenth_of_it_unless_it_is_a_shorter_one_of_its_own(life, renewed, after, ttl, expected):
    entry, now = header(life, renewed=renewed), BORN + after
    start = due_from(entry, ttl)
    assert (start is not None and start <= now < entry.fresh_until) is expected


@pytest.fixture
def sliding(world):
    """A world whose entries slide by a minute."""
    world.world.sliding = lambda _: 60.0
    return world


def life_left(world, tier):
    return tier.rows[world.ref("k")].header.fresh_until - world.now


def hit_in_memory(world):
    row = world.memory.rows[world.ref("k")]
    here = world.world.here()
    return world.reading.renewing.after_hit(0, row.header, row.live, here)


def test_a_hit_below_memory_renews_there_and_promotes_what_was_renewed(sliding):
    sliding.put("k", "v", ttl=60, stale=5)
    sliding.memory.rows.clear()
    sliding.now += 50
    found = sliding.find("k")
    assert (found.value, found.header.fresh_until - sliding.now) == ("v", 60)
    assert (life_left(sliding, sliding.disk), len(sliding.memory.rows)) == (60, 0)
    sliding.now += 1
    sliding.find("k")
    assert life_left(sliding, sliding.memory) == 59
    [row] = sliding.memory.rows.values()
    assert row.header.expires - row.header.fresh_until == 5


def test_a_look_that_is_no_request_renews_nothing(sliding):
    sliding.put("k", "v", ttl=60)
    sliding.now += 50
    sliding.find("k", promote=False)
    assert life_left(sliding, sliding.disk) == 10


def test_a_hit_in_memory_renews_below_first(sliding):
    sliding.put("k", "v", ttl=60)
    sliding.now += 50
    sliding.effects.clear()
    sliding.drive(hit_in_memory(sliding))
    assert [effect.level for effect in sliding.effects if isinstance(effect, Write)] == [1, 0]
    assert life_left(sliding, sliding.disk) == life_left(sliding, sliding.memory) == 60
    assert len(sliding.messages) == 1  # that of the first write


def test_nobody_renews_an_entry_that_somebody_is_renewing(sliding):
    sliding.put("k", "v", ttl=60)
    sliding.now += 50
    first = hit_in_memory(sliding)
    effect = next(first)
    sliding.effects.clear()
    assert sliding.drive(hit_in_memory(sliding)) is None
    assert sliding.effects == []
    assert sliding.finish(first, effect) is not None
    sliding.now += 50
    assert sliding.drive(hit_in_memory(sliding)) is not None


def test_what_was_invalidated_since_the_hit_stays_dead(sliding):
    sliding.put("k", "v", ttl=60, tags=["red"])
    sliding.now += 50
    flow = hit_in_memory(sliding)
    effect = next(flow)
    sliding.disk.rows.clear()
    sliding.hear("key", "k")
    sliding.finish(flow, effect)
    assert not sliding.disk.rows
    assert not sliding.memory.rows


def test_a_later_writer_s_value_stays(sliding):
    sliding.put("k", "old", ttl=60)
    sliding.now += 50
    flow = hit_in_memory(sliding)
    effect = next(flow)
    sliding.put("k", "new", ttl=60)
    sliding.finish(flow, effect)
    assert {tier.rows[sliding.ref("k")].live.held for tier in sliding.tiers} == {"new"}


def test_a_tier_that_is_away_loses_the_renewal_and_nothing_else(sliding):
    sliding.put("k", "v", ttl=60)
    sliding.now += 50
    sliding.disk.down = True
    sliding.drive(hit_in_memory(sliding))
    assert life_left(sliding, sliding.memory) == 60
    assert "tier_down" in sliding.names_told()
    sliding.disk.down = False
    assert sliding.find("k").value == "v"


def test_what_a_tier_that_lags_says_is_not_renewed(sliding):
    """It may have been removed, or replaced by what began earlier by another clock."""
    sliding.put("k", "v", ttl=60)
    sliding.disk.raw[sliding.ref("k")] = sliding.disk.rows.pop(sliding.ref("k")).sealed
    sliding.memory.rows.clear()
    sliding.world.lagging = frozenset({1})
    sliding.now += 50
    assert sliding.find("k").value == "v"
    assert not sliding.disk.rows
