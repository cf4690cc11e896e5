"""What one process owes the server is not settled by what another one makes good of what it owed before."""

from __future__ import annotations

import pytest


def heard(cache):
    return cache._core.follower._journal.heard()


def owes(cache):
    return cache._core.world.doubts[1].is_owing


@pytest.mark.parametrize("whose", ["another machine's", "a neighbour's"])
def test_what_was_made_good_of_before_leaves_what_is_owed_later(reached, tmp_path, until, whose):
    (far, to_far), (a, to_a), (b, to_b), (c, _) = reached(tmp_path / "far"), reached(), reached(), reached()
    other, way, writer = (far, to_far, c) if whose == "another machine's" else (b, to_b, far)
    other.set("k", 0)
    way.cut()
    other.delete("k")
    assert owes(other)
    writer.set("k", "old")
    to_a.cut()
    a.delete("k")
    assert owes(a)
    assert c.get("k") is None
    way.heal()
    until(lambda: not owes(other), "it has made good what it owed")
    until(lambda: heard(c) >= heard(other), "all have heard of it")
    assert (c.get("k"), b.get("k")) == (None, None)
    to_a.heal()
    until(lambda: not owes(a), "it has made good what it owed")
    assert far.get("k") is None
