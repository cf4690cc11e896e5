"""What expires by the server's own clock is gone for counts, listings and sizes."""

from __future__ import annotations

import time

import pytest

from scoutcache.entry import NEVER, Header, Ref, Row


@pytest.fixture(params=["server", "cluster"])
def tier(request, make_remote, codec):
    where = request.getfixturevalue("redis_url" if request.param == "server" else "redis_cluster")
    return make_remote(where).make_tier(codec)


def row(codec, key, ttl):
    now = time.time()
    ends = NEVER if ttl is None else now + ttl
    header = Header(ref=Ref("default", key), start=1, created=now, fresh_until=ends, expires=ends)
    live, encoded = codec.hold("value")
    return Row(header, live, lambda: codec.seal(header, live, encoded))


def test_what_has_expired_is_neither_counted_nor_listed(tier, codec, until):
    tier.write([row(codec, "short", 0.05), row(codec, "long", 60), row(codec, "never", None)], time.time())
    until(lambda: tier.count(None, None, time.time()) == 2, "it expires", seconds=5)
    assert sorted(one.header.ref.key for one in tier.scan(None)) == ["long", "never"]
    assert tier.usage().entries == 2
    assert tier.prune(time.time())["expired"] == 0


def test_what_expires_at_once_leaves_nothing(tier, codec, until):
    tier.write([row(codec, "past", -1.0)], time.time())
    until(lambda: tier.usage().entries == 0, "it is gone", seconds=5)


def test_an_older_entry_that_expired_keeps_nobody_from_writing(tier, codec, until):
    tier.write([row(codec, "k", 0.05)], time.time())
    until(lambda: tier.usage().entries == 0, "it expires", seconds=5)
    assert tier.write([row(codec, "k", 60)], time.time()) == 1
