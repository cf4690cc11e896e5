"""Processes of one directory that have not the same server don't hear each other, and are told so."""

from __future__ import annotations

import pytest

from scoutcache import Cache

TIERS = ["memory", "redis", "disk"]


@pytest.fixture
def opened(tmp_path):
    caches = []

    def open_one(server=None, directory=tmp_path, **redis):
        there = {} if server is None else {"tiers": TIERS, "redis": {"url": getattr(server, "url", server), **redis}}
        caches.append(Cache(directory=directory, **there))
        return caches[-1]

    yield open_one
    for cache in reversed(caches):
        cache.close()


def test_of_one_place_nobody_is_a_stranger(opened, start_redis, caplog):
    server = start_redis()
    assert [opened(server)._core.strangers for _ in range(2)] == [[], []]
    assert not caplog.records


def test_nor_is_who_names_the_server_otherwise(opened, start_redis):
    server = start_redis()
    opened(server.url.replace("127.0.0.1", "localhost"))
    assert opened(server)._core.strangers == []


@pytest.mark.parametrize("other", ["nowhere", "server", "prefix"])
def test_who_has_another_place_is_told_and_named(opened, start_redis, caplog, other):
    server = start_redis()
    opened(server)
    late = {
        "nowhere": lambda: opened(),
        "server": lambda: opened(start_redis()),
        "prefix": lambda: opened(server, key_prefix="other:"),
    }[other]()
    assert len(late._core.strangers) == 1
    assert f"{server.url} and the prefix scoutcache:, and by this process" in caplog.text
    assert "they don't hear each other's changes" in caplog.text


def test_who_came_first_without_a_server_is_one(opened, start_redis, caplog):
    opened()
    assert len(opened(start_redis())._core.strangers) == 1
    assert "without a server" in caplog.text


def test_who_has_another_directory_is_none(opened, start_redis, tmp_path):
    opened(start_redis())
    assert opened(directory=tmp_path / "other")._core.strangers == []
