"""What is done to a key while the server is away ends what depends on it: here at once, everywhere when it is back."""

from __future__ import annotations

import time

import pytest

from scoutcache import Cache
from scoutcache.core.core import Clocks
from scoutcache.errors import TierUnavailable

WAYS = {
    "set": lambda one: one.set("source", "new"),
    "set_many": lambda one: one.set_many({"source": "new", "other": 1}),
    "delete": lambda one: one.delete("source"),
    "delete_many": lambda one: one.delete_many(["source", "other"]),
    "pattern": lambda one: one.invalidate("sour*"),
    "tag of the source": lambda one: one.invalidate(tags=["t"]),
    "mark_stale": lambda one: one.invalidate(keys=["source"], action="mark_stale"),
    "mark_stale pattern": lambda one: one.invalidate("sour*", action="mark_stale"),
    "mark_stale tag of the source": lambda one: one.invalidate(tags=["t"], action="mark_stale"),
    "mark_stale own tag": lambda one: one.invalidate(tags=["own"], action="mark_stale"),
}


@pytest.fixture
def pair(tmp_path, start_redis):
    """A server of the test's own, and two machines that have in memory what depends on a key."""
    server = start_redis()
    both = [Cache(directory=tmp_path / name, redis={"url": server.url}) for name in "ab"]
    both[0].set("source", "old", tags=["t"])
    both[0].set("k", "of the old", tags=["own"], depends_on=["source"])
    for one in both:
        assert [one.get("k") for _ in range(3)] == ["of the old"] * 3
    yield server, *both
    server.resume()
    for one in both:
        one.close()


@pytest.mark.parametrize("fault", ["away", "full"])
@pytest.mark.parametrize("way", WAYS)
def test_what_depends_on_it_ends(pair, until, way, fault):
    server, one, other = pair
    if fault == "away":
        server.pause()
    else:
        server.cli("CONFIG", "SET", "maxmemory", "1")
    WAYS[way](one)
    assert one.get("k") is None
    if fault == "away":
        server.resume()
    else:
        server.cli("CONFIG", "SET", "maxmemory", "0")
    until(lambda: other.get("k") is None, "the other machine hears of it", seconds=10)
    until(lambda: not any(one._core.world.doubts), "it is made good", seconds=10)
    assert [one.get("k"), other.get("k")] == [None, None]


@pytest.fixture
def lone(tmp_path, start_redis):
    """A server of the test's own, and one machine, in whose namespace nothing depends on anything."""
    server = start_redis()
    with Cache(directory=tmp_path, redis={"url": server.url}) as one:
        assert one.set("other", 1)
        yield server, one
        server.resume()


@pytest.mark.parametrize("before", ["depended on before", "never depended on"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_meanwhile_ends_as_well_each_time(lone, way, before):
    server, one = lone
    if before == "depended on before":
        one.set("source", "old", tags=["t"])
        one.set("k", "of the old", tags=["own"], depends_on=["source"])
    server.pause()
    for number in range(3):
        assert one.set("source", number, tags=["t"])
        assert one.set("k", number, tags=["own"], depends_on=["source"])
        assert one.get("k") == number
        WAYS[way](one)
        assert one.get("k") is None


@pytest.mark.parametrize("way", WAYS)
def test_what_was_written_meanwhile_ends_as_well_when_it_is_back(lone, until, way):
    server, one = lone
    assert one.set("source", "old", tags=["t"])
    server.pause()
    assert one.set("k", "of the old", tags=["own"], depends_on=["source"])
    server.resume()
    until(lambda: not any(one._core.world.doubts), "it is made good", seconds=10)
    assert one.get("k") == "of the old"
    WAYS[way](one)
    assert one.get("k") is None


OF_THE_SOURCE = {way: act for way, act in WAYS.items() if way != "mark_stale own tag"}


@pytest.mark.parametrize("way", OF_THE_SOURCE)
def test_what_was_written_meanwhile_ends_by_what_others_did_meanwhile(tmp_path, start_redis, until, way):
    server = start_redis()
    with (Cache(directory=tmp_path / "a", redis={"url": server.url}) as one,
          Cache(directory=tmp_path / "b", redis={"url": server.url}) as other):  # fmt: skip
        one.set("source", "old", tags=["t"])
        assert [other.get("source") for _ in range(3)] == ["old"] * 3
        server.pause()
        assert one.set("k", "of the old", depends_on=["source"])
        OF_THE_SOURCE[way](other)
        server.resume()
        until(lambda: not any(one._core.world.doubts) and not any(other._core.world.doubts), "all is made good")
        until(lambda: [one.get("k"), other.get("k")] == [None, None], "both have heard of it")


def test_what_is_written_meanwhile_is_listed_as_it_is_read(pair):
    server, one, _ = pair
    server.pause()
    assert one.set("meanwhile", 1, tags=["new"])
    assert one.get("meanwhile") == 1
    assert sorted(one.keys()) == ["k", "meanwhile", "source"]
    assert list(one.keys(tag="new")) == ["meanwhile"]
    assert one.invalidate("mean*", dry_run=True).matched == 1
    assert one.delete("meanwhile")
    assert sorted(one.keys()) == ["k", "source"]


BY_TAG = {"tag of the source", "mark_stale tag of the source", "mark_stale own tag"}


@pytest.mark.parametrize("way", WAYS)
def test_the_disk_is_believed_about_what_nobody_changed(pair, way):
    server, one, _ = pair
    others = {f"o{number}": number for number in range(50)}
    one.set_many(others)
    one.set("tagged", 1, tags=["green"])
    one.set("dependent", 1, depends_on=["o1"])
    assert one.get("tagged") == one.get("dependent") == 1
    server.pause()
    WAYS[way](one)
    one._core.memory.clear(None)
    assert one.get_many([*others, "tagged"]) == {**others, "tagged": 1}
    # What depends on an entry with a tag nobody can say while the server is away.
    assert one.get("dependent") == (None if way in BY_TAG else 1)
    assert one.get("k") is None


@pytest.fixture
def neighbours(tmp_path, start_redis):
    """A server of the test's own, and two processes of one machine that know what is in use."""
    server = start_redis()
    both = [Cache(directory=tmp_path, redis={"url": server.url}) for _ in "ab"]
    both[0].set("source", "old", tags=["t"])
    both[0].set("child", "of the old", depends_on=["source"])
    for one in both:
        assert [one.get(key) for key in ("source", "child")] == ["old", "of the old"]
    yield server, *both
    server.resume()
    for one in both:
        one.close()


KNOWN = {"plain": {}, "tag": {"tags": ["t"]}, "dependency": {"depends_on": ["source"]}}


@pytest.mark.parametrize("more", KNOWN.values(), ids=KNOWN)
def test_what_one_process_of_a_machine_computes_the_others_find_on_disk(neighbours, until, more):
    """Also where some key has dependents: nobody can be asked whether this one has."""
    server, one, other = neighbours
    server.pause()
    assert one.get_or_compute("k", lambda: "computed", **more) == "computed"
    assert other.get_or_compute("k", lambda: "computed again", **more) == "computed"
    one.set("k2", "set", **more)
    assert other.get("k2") == "set"
    server.resume()
    until(lambda: not any(one._core.world.doubts), "it is made good", seconds=10)
    assert [other.get("k"), other.get("k2")] == ["computed", "set"]


@pytest.mark.parametrize("way", ["set", "set_many"])
def test_what_depends_on_what_is_written_ends_for_neighbours_too(neighbours, until, way):
    server, one, other = neighbours
    server.pause()
    if way == "set":
        one.set("source", "new", tags=["t"])
    else:
        one.set_many({"source": "new", "unrelated": 1}, tags=["t"])
    assert [one.get("child"), other.get("child")] == [None, None]
    assert [one.get("source"), other.get("source")] == ["new", "new"]
    server.resume()
    until(lambda: not any(one._core.world.doubts), "it is made good", seconds=10)
    assert [one.get("child"), other.get("child")] == [None, None]
    assert [one.get("source"), other.get("source")] == ["new", "new"]


def nothing_given(_):
    return
    yield


@pytest.fixture
def stored_without_versions(tmp_path, start_redis):
    """A server that is just back, and two processes of a machine that have in memory what depends on a new key."""
    server = start_redis()
    clocks = Clocks(time.time, time.monotonic, time.monotonic_ns, ticking=False)
    both = [Cache(directory=tmp_path, redis={"url": server.url}, clocks=clocks) for _ in "ab"]
    for one in both:
        assert one.set("other", 1)
    server.pause()
    for one in both:
        assert one.get_or_compute("k", lambda: "of the old", depends_on=["source"]) == "of the old"
        one._core.amends.make = nothing_given
    server.resume()
    yield both
    for one in both:
        one.close()


@pytest.mark.parametrize("way", ["set", "set_many", "delete", "pattern"])
def test_it_ends_when_what_it_depends_on_is_changed_before_it_was_given(stored_without_versions, until, way):
    """Nobody knows of a mark to renew: here it is carried, and elsewhere it is told of in time."""
    one, other = stored_without_versions

    def answers():
        one._core.background.turn()
        return one._core.ports.versions.current("default", ["other"]) is not None

    until(answers, "the server is heard of again", seconds=10, ignoring=(TierUnavailable,))
    WAYS[way](one)
    assert [one.get("k"), other.get("k")] == [None, None]
