"""Who starts while the server is away goes by what its neighbours knew; for what is new all have the same stand-ins."""

from __future__ import annotations

import asyncio

import pytest

from scoutcache import AsyncCache, Cache
from tests.servers.proxy import Proxy

TIERS = ["memory", "redis", "disk"]


@pytest.fixture
def server(start_redis):
    one = start_redis()
    yield one
    one.resume()


@pytest.fixture
def opened(tmp_path, server):
    caches = []

    def open_one(directory=tmp_path, url=None, **redis):
        caches.append(Cache(tiers=TIERS, directory=directory, redis={"url": url or server.url, **redis}))
        return caches[-1]

    yield open_one
    server.resume()
    for cache in caches:
        cache.close()


@pytest.fixture
def gone(server, tmp_path, until):
    """The server goes, and whoever is there has noticed."""

    def go():
        server.pause()
        until((tmp_path / "versions").exists, "what is known has been handed on")

    return go


def share(*caches):
    """Do they go by the same stand-ins, and versions?"""
    versions = [cache._core.ports.versions for cache in caches]
    shared, known = [one.stand_ins.shared for one in versions], [one.known() for one in versions]
    return None not in shared and len({token for token, _ in shared}) == 1 and known == known[:1] * len(known)


def never():
    pytest.fail("it was there")


def asked(cache, key, value="new", **options):
    """What *cache* answers, and whether it was computed for that."""
    calls = []
    answer = cache.get_or_compute(key, lambda: calls.append(key) or value, ttl="1h", **options)
    return answer, bool(calls)


def test_it_is_served_what_lies_on_the_disk(opened, gone, server, tmp_path, until):
    a = opened()
    a.set("plain", 1)
    a.set("tagged", 2, tags=["T"])
    gone()
    late = opened()
    assert (late.get("plain"), late.get("tagged")) == (1, 2)
    assert late.get_or_compute("tagged", never, tags=["T"]) == 2
    server.resume()
    until(lambda: not (tmp_path / "versions").exists(), "it is of no use any more")
    until(lambda: not a.invalidate(tags=["T"]).failed, "the server has heard")
    assert late.get("tagged") is None
    assert late.get("plain") == 1


def test_so_is_an_event_loops(opened, gone, server, tmp_path):
    opened().set("tagged", 2, tags=["T"])
    gone()

    async def other():
        async with AsyncCache(tiers=TIERS, directory=tmp_path, redis={"url": server.url}) as late:
            return await late.get_or_compute("tagged", never, tags=["T"])

    assert asyncio.run(other()) == 2


@pytest.mark.parametrize("handed_on_first", [True, False])
@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear", "written"])
def test_it_is_not_served_what_was_changed_meanwhile(opened, gone, until, way, handed_on_first):
    a, b = opened(), opened()
    a.set("k", "old", tags=["T"])
    assert b.get("k") == "old"
    gone()
    if handed_on_first:
        until(lambda: share(a, b), "both have looked")
        assert opened().get("k") == "old"
    {
        "delete": lambda: a.delete("k"),
        "pattern": lambda: a.invalidate("k*"),
        "tag": lambda: a.invalidate(tags=["T"]),
        "clear": a.clear,
        "written": lambda: a.set("k", "new", tags=["T"]),
    }[way]()
    expected = "new" if way == "written" else None
    assert [cache.get("k") for cache in (a, b, opened())] == [expected] * 3


def test_what_one_computes_with_a_new_tag_the_others_find(opened, gone, server, until):
    a, b = opened(), opened()
    a.set("k", 1)
    gone()
    until(lambda: share(a, b), "both have looked")
    assert asked(a, "new", tags=["fresh"]) == ("new", True)
    assert asked(b, "new", "other", tags=["fresh"]) == ("new", False)
    assert asked(opened(), "new", "other", tags=["fresh"]) == ("new", False)
    server.resume()
    far = opened(directory=b._core.directory / "far")
    until(lambda: far.get("new") == "new", "it was given to the server")
    far.invalidate(tags=["fresh"])
    until(lambda: [a.get("new"), b.get("new")] == [None, None], "it dies like any other")
    assert opened().get("new") is None


def test_a_new_tag_that_is_invalidated_meanwhile_ends_what_carries_it(opened, gone, until):
    a, b = opened(), opened()
    a.set("k", 1)
    gone()
    until(lambda: share(a, b), "both have looked")
    assert asked(a, "new", tags=["fresh"]) == ("new", True)
    assert asked(b, "new", tags=["fresh"]) == ("new", False)
    b.invalidate(tags=["fresh"])
    assert [cache.get("new") for cache in (a, b, opened())] == [None] * 3


def test_it_ends_too_when_another_machine_invalidated_the_tag(opened, server, tmp_path, until):
    """Which this one hears when the server is back, and never has been given what the disk has."""
    proxy = Proxy(server.address[1])
    try:
        far, a = opened(directory=tmp_path / "far"), opened(url=proxy.url)
        far.set("theirs", 1, tags=["T"])
        proxy.cut()
        until((tmp_path / "versions").exists, "it has noticed")
        until(lambda: share(a), "it has looked")
        assert asked(a, "k", "old", tags=["T"]) == ("old", True)
        late = opened(url=proxy.url)
        assert asked(late, "k", tags=["T"]) == ("old", False)
        far.invalidate(tags=["T"])
        proxy.heal()
        until(lambda: [a.get("k"), late.get("k")] == [None, None], "they have heard of it")
        assert far.get("k") is None
        assert opened().get("k") is None
    finally:
        proxy.close()


def test_what_is_older_than_may_be_bridged_is_not_handed_on(opened, gone, until):
    a = opened(max_offline=0.5)
    a.set("k", 1)
    gone()
    until(lambda: a.get("k") is None, "it is too old")
    assert opened(max_offline=0.5).get("k") is None


def test_nor_is_it_to_a_cache_of_another_server(opened, gone, start_redis):
    opened().set("k", 1)
    gone()
    other = start_redis()
    other.pause()
    try:
        assert opened(url=other.url).get("k") is None
    finally:
        other.resume()
