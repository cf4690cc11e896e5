"""What is done while the server is away, by who has asked it nothing before, is done when it is back."""

from __future__ import annotations

import pytest

from scoutcache import Cache

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
