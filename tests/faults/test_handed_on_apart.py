"""Processes of one machine, of which one hears of the server what the other doesn't, hand on what they know."""

from __future__ import annotations

import threading

import pytest

from scoutcache.entry import Ref


def token(cache):
    shared = cache._core.ports.versions.stand_ins.shared
    return None if shared is None else shared[0]


def share(*caches):
    tokens = {token(cache) for cache in caches}
    return len(tokens) == 1 and None not in tokens


def test_who_has_heard_more_goes_by_no_stand_ins_of_who_has_not(reached, tmp_path, until):
    (far, _), (a, to_a), (b, to_b) = reached(tmp_path / "far"), reached(), reached()
    to_a.cut()
    to_b.cut()
    until(lambda: share(a, b), "both have looked")
    assert b.get_or_compute("k", lambda: "old", ttl="1h", tags=["T"]) == "old"
    to_a.heal()
    until(lambda: token(a) is None, "it has noticed")
    far.invalidate(tags=["T"])
    until(lambda: a._core.follower._journal.heard() == far._core.follower._journal.heard(), "it has heard")
    to_a.cut()
    until(lambda: token(a), "it has looked")
    assert a.get("k") is None
    until(lambda: share(a, b), "they agree")
    assert a.get("k") is None


def test_who_has_heard_a_little_less_hears_the_rest_and_keeps_what_it_has(reached, tmp_path, until):
    (far, _), (a, to_a), (b, to_b) = reached(tmp_path / "far"), reached(), reached()
    b.set("gone", 1)
    to_b.cut()
    until(lambda: token(b), "it has looked")
    began, go_on = threading.Event(), threading.Event()

    def slow():
        began.set()
        assert go_on.wait(20)
        return "costly"

    thread = threading.Thread(target=lambda: b.get_or_compute("k", slow, ttl="1h", tags=["T"]))
    thread.start()
    assert began.wait(20)
    far.set("theirs", 1)
    far.delete("gone")
    until(lambda: a._core.follower._journal.heard() >= far._core.follower._journal.heard(), "it has heard")
    to_a.cut()
    until(lambda: share(a, b), "they agree")
    go_on.set()
    thread.join()
    assert (b.get("k"), b.get("gone")) == ("costly", None)
    until(lambda: a.get("k") == "costly", "it has heard which version of the namespace the other goes by")


@pytest.mark.parametrize("known", [True, False])
def test_what_was_begun_before_is_not_kept_by_what_somebody_knew_who_has_heard_more(reached, tmp_path, until, known):
    (far, _), (a, to_a), (b, to_b) = reached(tmp_path / "far"), reached(), reached()
    to_b.cut()
    until(lambda: token(b), "it has looked")
    began, go_on = threading.Event(), threading.Event()

    def slow():
        began.set()
        assert go_on.wait(20)
        return "old"

    thread = threading.Thread(target=lambda: b.get_or_compute("k", slow, ttl="1h", tags=["T"]))
    thread.start()
    assert began.wait(20)
    far.invalidate(tags=["T"])
    if known:
        a.set("other", 1, tags=["T"])
    until(lambda: a._core.follower._journal.heard() >= far._core.follower._journal.heard(), "it has heard")
    to_a.cut()
    until(lambda: share(a, b), "they agree")
    go_on.set()
    thread.join()
    assert a.get("k") is None
    to_a.heal()
    to_b.heal()
    until(lambda: token(a) is None and token(b) is None, "the server is back")
    assert (a.get("k"), b.get("k"), far.get("k")) == (None, None, None)


@pytest.mark.parametrize("noticed", [True, False], ids=["cut off before", "cut off just now"])
def test_who_alone_is_cut_off_hears_what_its_neighbours_write(reached, until, noticed):
    (a, _), (b, to_b) = reached(), reached()
    a.set("k", "old")
    until(lambda: b.get("k") == "old" and b._core.memory.look(Ref("default", "k")), "it has it in memory")
    to_b.cut()
    if noticed:
        until(lambda: token(b), "it has looked")
    a.set("k", "new")
    until(lambda: b.get("k") == "new", "it has heard of it")
