"""A directory that was used without a server, when a command first names one."""

from __future__ import annotations

from scoutcache import Cache


def test_what_was_never_known_to_the_server_is_not_there(cli, workplace, start_redis):
    """It is removed as soon as an application opens the cache: nothing has yet to be made good."""
    place = workplace / "cache"
    with Cache(directory=place) as cache:
        cache.set("k", 1)
    ran = cli("--directory", str(place), "--redis-url", start_redis().url, "get", "k")
    assert (ran.code, ran.err.count("no such key")) == (4, 1)
