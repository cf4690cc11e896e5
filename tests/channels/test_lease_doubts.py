"""Leases that may stand for nobody are let go of until they can't any more, and aren't remembered for ever."""

from __future__ import annotations

import pytest

from scoutcache.channels import lease_doubts
from scoutcache.channels.lease_doubts import Doubts
from scoutcache.channels.lease_plans import LIFE

A, B = (b"a", b"1"), (b"b", b"2")


@pytest.fixture
def doubts(fake_clock):
    return Doubts(fake_clock.monotonic)


def test_one_is_let_go_of_until_its_life_is_over_since_the_server_answered(doubts, fake_clock):
    doubts.add(A)
    fake_clock.advance(10 * LIFE)
    assert doubts.all() == [A], "the server is away, and may carry it out when it is back"
    doubts.let_go([A])
    fake_clock.advance(LIFE - 0.1)
    doubts.let_go([A])
    assert doubts.all() == [A]
    fake_clock.advance(0.1)
    doubts.let_go([A])
    assert doubts.all() == []


def test_each_has_a_life_of_its_own(doubts, fake_clock):
    doubts.add(A)
    doubts.let_go([A])
    fake_clock.advance(LIFE)
    doubts.add(B)
    doubts.add(A)
    doubts.let_go([A, B])
    assert doubts.all() == [B]


def test_what_nobody_doubted_is_nothing(doubts):
    doubts.let_go([A])
    assert doubts.all() == []


def test_beyond_a_number_the_first_are_remembered(doubts, monkeypatch):
    monkeypatch.setattr(lease_doubts, "MOST", 1)
    doubts.add(A)
    doubts.add(B)
    assert doubts.all() == [A]
