"""What is done while the server is away, by who has asked it nothing before, is done when it is back."""

from __future__ import annotations

import socket

import pytest

from scoutcache import Cache
from scoutcache.tiers.redis.scripts import MOVED

TIERS = ["memory", "redis", "disk"]


@pytest.fixture
def machines(tmp_path, start_redis):
    """A server of the test's own, and a function that opens a cache on one more machine."""
    server, opened = start_redis(), []

    def machine(name, **settings):
        opened.append(Cache(tiers=TIERS, directory=tmp_path / name, redis={"url": server.url}, **settings))
        return opened[-1]

    yield server, machine
    server.resume()
    for cache in opened:
        cache.close()


def test_a_tag_is_invalidated_at_last_by_who_never_wrote(machines, until):
    server, machine = machines
    a, b = machine("a"), machine("b")
    a.set("k", "old", tags=["T"])
    for _ in range(3):
        assert b.get("k") == "old"
    server.pause()
    assert b.invalidate(tags=["T"]).failed
    assert b.get("k") is None
    server.resume()
    until(lambda: a.get("k") is None, "the other machine has heard of it")
    assert machine("c").get("k") is None
    assert b.get("k") is None


@pytest.mark.parametrize("tags", [(), ("T",)], ids=["untagged", "tagged"])
def test_a_value_is_given_to_the_server_by_who_knew_no_versions(machines, until, tags):
    server, machine = machines
    a, b = machine("a"), machine("b")
    server.pause()
    assert b.set("k", "new", tags=tags)
    assert b.get("k") == "new"
    server.resume()
    until(lambda: a.get("k") == "new", "the other machine finds it")
    assert b.get("k") == "new"
    a.invalidate(tags=["T"]) if tags else a.delete("k")
    until(lambda: b.get("k") is None, "it dies like any other")


def test_what_others_keep_the_server_from_taking_is_given_to_it_at_last(machines, until, monkeypatch):
    """Each of their invalidations has it refuse what comes with an older position, whole batches at a time."""
    server, machine = machines
    a, b = machine("a"), machine("b")
    keys = [f"k{n}" for n in range(20)]
    server.pause()
    b.set_many(dict.fromkeys(keys, "new"))
    plans, refused = b._core.tiers[1].plans, []
    sent = plans._sent

    def busy(rows, *rest):
        if len(refused) < 7:
            refused.append(rows)
            return [MOVED] * len(rows)
        return (yield from sent(rows, *rest))

    monkeypatch.setattr(plans, "_sent", busy)
    server.resume()
    until(lambda: a.get_many(keys) == dict.fromkeys(keys, "new"), "the other machine finds them")
    assert b.get_many(keys) == dict.fromkeys(keys, "new")


@pytest.mark.parametrize("action", ["delete", "mark_stale", "clear"])
def test_what_carries_a_tag_is_stored_again_once_the_server_answers(machines, until, action):
    """An invalidation that failed half-way is over: what it named would not be kept as long as one may take."""
    server, machine = machines
    a = machine("a")
    a.set("k", "old", tags=["T"])
    server.pause()
    if action == "clear":
        a.clear()
    else:
        assert a.invalidate(tags=["T"], action=action).failed
    server.resume()
    until(lambda: not any(a._core.world.doubts), "it is made good")
    assert a.set("k", "new", tags=["T"])
    assert [a.get_or_compute("other", lambda n=n: n, tags=["T"]) for n in range(3)] == [0, 0, 0]
    assert machine("b").get("k") == "new"


def test_what_lies_on_a_disk_outlives_a_server_that_never_answers(tmp_path, refused):
    values = {f"k:{number}": number for number in range(20)}
    with Cache(directory=tmp_path) as cache:
        cache.set_many(values)
    with Cache(directory=tmp_path, redis={"url": refused}) as cache:
        assert cache.get("k:1") is None  # whether it is valid only a server can say
        cache.set("other", 1)
        cache.invalidate("k:2")
    with Cache(directory=tmp_path) as cache:
        assert cache.get_many(values) == {key: value for key, value in values.items() if key != "k:2"}


def test_the_first_word_of_a_server_empties_the_disk_of_what_it_cannot_know(tmp_path, redis_url):
    with Cache(directory=tmp_path) as cache:
        cache.set("k", 1)
    with Cache(directory=tmp_path, redis={"url": redis_url}) as cache:
        assert cache.get("k") is None
    with Cache(directory=tmp_path) as cache:
        assert list(cache.keys()) == []


@pytest.fixture
def refused():
    """The address of a server that isn't there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{probe.getsockname()[1]}/0"
