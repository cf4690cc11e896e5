"""A server that comes back with less than it had taken: an older snapshot, or a replica that was behind."""

from __future__ import annotations

import itertools
import logging
import time

import pytest

from scoutcache import Cache
from scoutcache.tiers.disk.holder import heard_before

TIERS = ["memory", "redis", "disk"]
KEYS = ["deleted", "matched", "tagged", "overwritten", "child", "other"]


@pytest.fixture
def server(start_redis):
    return start_redis("--dbfilename", "snapshot.rdb")


@pytest.fixture
def opened(server, tmp_path):
    caches, numbers = [], itertools.count()

    def open_one(directory=None):
        directory = directory or tmp_path / str(next(numbers))
        caches.append(Cache(tiers=TIERS, directory=directory, redis={"url": server.url}))
        return caches[-1]

    yield open_one
    for cache in caches:
        cache.close()


def goes_back(server, change):
    """It is restarted as it was before *change*; when it was."""
    server.cli("SAVE")
    change()
    server.kill()
    server.restart()
    return time.time()


def fill(cache):
    for key in KEYS[:4]:
        cache.set(key, "old", tags=["T"] if key == "tagged" else ())
    cache.set("child", "old", depends_on=["deleted"])
    cache.set("other", "kept")


def invalidate(cache):
    cache.delete("deleted")
    cache.invalidate("match*")
    cache.invalidate(tags=["T"])
    cache.set("overwritten", "new")


@pytest.mark.parametrize("others", [False, True])
def test_what_was_invalidated_since_is_invalidated_again(opened, server, until, others):
    one, far = opened(), opened()
    fill(one)
    assert far.get_many(KEYS[:5]) == dict.fromkeys(KEYS[:5], "old")
    back = goes_back(server, lambda: invalidate(far if others else one))
    for cache in (one, far):
        until(lambda cache=cache: int(cache._core.journal.heard().split(b"-")[0]) >= int(back * 1000), "it has heard")
    for cache in (one, far):
        until(lambda cache=cache: is_as_it_was(cache), "it is made good")
    found = opened().get_many(KEYS)
    assert found.pop("overwritten", "new") == "new"
    assert found == {"other": "kept"}, "what nobody invalidated stays"


def is_as_it_was(cache):
    found = cache.get_many(KEYS)
    return found.pop("overwritten", "new") == "new" and found == {"other": "kept"} and not cache._core.world.untold


@pytest.mark.parametrize("alone", [False, True])
def test_where_nobody_knows_any_more_what_it_was_everything_ends(opened, server, until, tmp_path, alone):
    """But that something was is known: the disk had heard of it."""
    first = opened(tmp_path / "known")
    fill(first)

    def change():
        invalidate(first)
        heard = first._core.journal.heard
        until(lambda: heard_before(tmp_path / "known").identity == heard(), "the disk has heard of it")
        first.close()

    goes_back(server, change)
    cache = opened(tmp_path / "known")
    assert cache.get_many(KEYS) == {}
    assert (cache if alone else opened()).get_many(KEYS) == {}
    assert cache.set("k", 1)
    assert cache.get("k") == 1


def test_an_emptied_server_is_none_of_these(opened, server, until):
    cache = opened()
    cache.set("k", 1)
    server.cli("FLUSHALL")
    until(lambda: cache.get("k") is None, "it has heard")
    assert cache.set("k", 2)
    assert cache.get("k") == 2
    assert not cache._core.world.untold


@pytest.mark.parametrize("other", ["server", "prefix"])
def test_another_server_or_another_prefix_for_the_same_directory_has_lost_nothing(
    opened, server, start_redis, tmp_path, until, other
):
    """What is there was invalidated longer ago than what the directory has heard of elsewhere."""
    there = {"url": start_redis().url} if other == "server" else {"url": server.url, "key_prefix": "other:"}
    with Cache(tiers=TIERS, directory=tmp_path / "far", redis=there) as far:
        far.delete("gone")
        far.set("k", 1)
    first = opened(tmp_path / "both")
    first.delete("k")
    heard = first._core.journal.heard()
    until(lambda: heard_before(tmp_path / "both").identity == heard, "the disk has heard of it")
    first.close()
    with Cache(tiers=TIERS, directory=tmp_path / "both", redis=there) as cache:
        assert cache.get("k") == 1
        cache.delete("gone")
    with Cache(tiers=TIERS, directory=tmp_path / "far", redis=there) as far:
        assert far.get("k") == 1
    with opened(tmp_path / "both") as cache:
        assert cache.get("k") is None
        assert not cache._core.world.untold


def test_who_goes_on_hears_that_everything_ended(opened, server, until, tmp_path):
    """Else it would go by the versions that it remembers, and others by new ones."""
    far, first = opened(), opened(tmp_path / "known")
    far.set("k", 1)
    first.set("a", 1)

    def change():
        first.delete("a")
        heard = first._core.journal.heard
        until(lambda: heard_before(tmp_path / "known").identity == heard(), "the disk has heard of it")
        first.close()

    back = goes_back(server, change)
    until(lambda: int(far._core.journal.heard().split(b"-")[0]) >= int(back * 1000), "it has heard")
    far.set("k", 2)
    second = opened(tmp_path / "known")
    assert second.get("k") is None, "nobody knows"
    until(lambda: far.get("k") is None, "it has heard that it ended")
    far.set("k", 3)
    assert second.get("k") == 3
    assert second.set("k", 4)
    until(lambda: far.get("k") == 4, "and the other way round")


def test_each_name_counts_once_of_all_that_was_said_of_it(opened, server, until):
    """A removal is said when it begins and when it is over: of many that are too many by half everything would end."""
    one, keys = opened(), [f"k{number}" for number in range(600)]
    one.set_many(dict.fromkeys(keys, "old"))
    one.set("other", "kept")
    back = goes_back(server, lambda: [one.delete(key) for key in keys])
    until(lambda: int(one._core.journal.heard().split(b"-")[0]) >= int(back * 1000), "it has heard")
    until(lambda: not one._core.world.untold and not opened().get_many(keys), "it is made good")
    assert one.get("other") == "kept"


class Asking(logging.Handler):
    """Asks the cache whether it has told of this lately."""

    def __init__(self, cache):
        super().__init__()
        self.cache, self.told = cache, []

    def emit(self, record):
        if self.cache.set(f"told:{record.getMessage()}", 1, ttl="1h"):
            self.told.append(record.getMessage())


def test_who_is_told_of_it_may_use_the_cache(opened, server, until):
    cache = opened()
    handler = Asking(cache)
    logging.getLogger("scoutcache").addHandler(handler)
    try:
        cache.set("k", 1)
        goes_back(server, lambda: cache.delete("k"))
        until(lambda: any("came back with less" in text for text in handler.told), "it is told")
        until(lambda: not cache._core.world.untold, "it is made good")
    finally:
        logging.getLogger("scoutcache").removeHandler(handler)
    assert cache.get("k") is None
