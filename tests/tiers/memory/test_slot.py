"""An entry as the memory tier keeps it: what went in comes out."""

from __future__ import annotations

import pytest

from scoutcache.entry import MISSING, NEVER, Mark, Ref


class TestHeaders:
    @pytest.mark.parametrize("options", [
        {}, {"cost": 0.0}, {"cost": 1.5}, {"provenance": "model:gpt-4"}, {"ttl": None}, {"stale": 3.5},
        {"start": -(1 << 63)}, {"start": 1 << 70}, {"marks": (Mark("t", 1 << 63),)},
    ], ids=repr)  # fmt: skip
    def test_a_header_comes_back_as_it_went_in(self, world, options):
        row = world.make_row("a", **options)
        world.tier.write([row], world.clock.wall())
        assert world.tier.entry(row.header.ref).header == row.header
        assert world.tier.rows([row.header.ref])[row.header.ref].header == row.header
        world.clock.advance(1e6)
        assert (world.tier.entry(row.header.ref) is None) == (row.header.expires != NEVER)


class TestToldFrom:
    """From a certain time on, hits of an entry have to be told."""

    @pytest.mark.parametrize("options", [{}, {"stale": 3.5}, {"provenance": "model:gpt-4"}], ids=repr)
    def test_nothing_else_about_the_entry_changes(self, make_world, options):
        world = make_world(told_from=lambda header: header.created + 6)
        row = world.make_row("a", ttl=60, cost=1.5, **options)
        world.tier.write([row], world.clock.wall())
        assert world.tier.entry(row.header.ref).header == row.header
        world.clock.advance(59.9)
        assert world.tier.live(row.header.ref).value() == "value"
        world.clock.advance(0.2)
        assert world.tier.live(row.header.ref) is None
        assert world.tier.why_absent(row.header.ref) == "expired"
        assert (world.tier.entry(row.header.ref) is None) == ("stale" not in options)

    def test_until_then_hits_take_the_short_way_and_after_it_none_does(self, make_world):
        world = make_world(told_from=lambda header: header.created + 6)
        world.put("a", ttl=60)
        world.clock.advance(5.9)
        assert world.get("a", "slow") == world.peek("default", "a") == "value"
        world.clock.advance(0.2)
        assert world.get("a", "slow") == "slow"
        assert world.peek("default", "a") is MISSING
        assert world.tier.live(Ref("default", "a")).value() == "value"

    @pytest.mark.parametrize("when", [None, NEVER], ids=repr)
    def test_an_entry_of_which_nobody_wants_to_know_stays_on_the_short_way(self, make_world, when):
        world = make_world(told_from=lambda _: when)
        world.put("a", ttl=60)
        world.clock.advance(59.9)
        assert world.get("a") == "value"

    def test_an_entry_written_again_with_other_times_keeps_its_hits(self, make_world):
        world = make_world(told_from=lambda header: header.created + 6)
        world.put("a")
        world.get("a"), world.get("a")
        world.clock.advance(7)
        world.put("a")
        world.get("a")
        assert world.tier.entry(Ref("default", "a")).hits == 3
        assert world.tier.harvest().hits == {("default", ""): 3}
        world.put("a", start=2)
        assert world.tier.entry(Ref("default", "a")).hits == 0
