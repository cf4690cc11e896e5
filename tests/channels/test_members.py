"""Who lives with a cache, and up to where each process has applied the stream."""

from __future__ import annotations

import os

import msgspec
import pytest
import redis

from scoutcache import Cache
from scoutcache.assembly.remote import _this_process
from scoutcache.channels.heard import id_text, position_of
from scoutcache.channels.members import AT_ONCE, DEAD, SAY_EVERY, Membership, Process, gone, members
from scoutcache.config.sections import RedisSection
from scoutcache.oplog.who import numbered_by
from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import perform
from scoutcache.server.connecting import Source
from scoutcache.server.direct import Direct
from scoutcache.server.layout import Layout

LAYOUT = Layout("test:")
ME = Process(7, "here", "alice", "worker")
FIRST, SECOND = position_of(b"1700000000000-0"), position_of(b"1700000000000-7")


@pytest.fixture
def conduit(redis_url):
    source = Source(RedisSection(url=redis_url))
    direct = Direct(source, Breaker("the server", lambda: 0.0, lambda _: None))
    yield direct
    direct.close()


@pytest.fixture
def server(redis_server):
    with redis.Redis(port=redis_server.port) as client:
        yield client


class Standing:
    """A process's position, set by hand."""

    def __init__(self, clock, who=ME):
        self.applied = self.invalidated = FIRST
        self.member = Membership(LAYOUT, lambda: who, lambda: self.applied, lambda: self.invalidated, clock.monotonic)


def known(conduit):
    return {one.name: one for one in perform(members(LAYOUT), conduit)}


def test_it_says_who_it_is_and_where_it_stands_in_the_stream(conduit, fake_clock):
    one = Standing(fake_clock)
    one.applied = SECOND + 3  # of which the last three only this process was told
    perform(one.member.say(), conduit)
    found = known(conduit)[one.member.name]
    assert found.position == SECOND
    assert found.who == ME
    assert str(ME) == "process 7 (worker) on here"
    assert id_text(found.position) == "1700000000000-7"


def test_an_invalidation_is_said_at_once_and_otherwise_a_sign_of_life_is(conduit, fake_clock):
    one = Standing(fake_clock)
    assert one.member.rest() == 0
    perform(one.member.say(), conduit)
    assert one.member.rest() == SAY_EVERY
    fake_clock.advance(AT_ONCE)
    one.applied = SECOND
    assert one.member.rest() > SAY_EVERY / 2, "writes are no reason"
    one.invalidated = SECOND
    assert one.member.rest() == 0
    perform(one.member.say(), conduit)
    fake_clock.advance(SAY_EVERY)
    assert one.member.rest() == 0


def test_who_heard_of_an_invalidation_and_has_not_applied_it_says_nothing_of_it(conduit, fake_clock):
    one = Standing(fake_clock)
    perform(one.member.say(), conduit)
    one.invalidated = SECOND
    assert one.member.rest() > AT_ONCE


def test_who_leaves_is_a_member_no_more(conduit, fake_clock, server):
    one, other = Standing(fake_clock), Standing(fake_clock)
    for standing in (one, other):
        perform(standing.member.say(), conduit)
    for _ in range(2):
        perform(one.member.leave(), conduit)
    assert list(known(conduit)) == [other.member.name]
    perform(other.member.leave(), conduit)
    assert server.keys("test:*") == []


def test_who_was_silent_for_too_long_is_dead_and_removed(conduit, fake_clock, server):
    one, other = Standing(fake_clock), Standing(fake_clock)
    for standing in (one, other):
        perform(standing.member.say(), conduit)
    said = server.hget(LAYOUT.members, one.member.name)
    milliseconds, _, text = said.partition(b" ")
    server.hset(LAYOUT.members, one.member.name, b"%d %s" % (int(milliseconds) - 1000 * DEAD - 1, text))
    assert list(known(conduit)) == [other.member.name]
    assert server.hkeys(LAYOUT.members) == [other.member.name.encode()]


def named(**differing):
    mine = _this_process()
    return msgspec.structs.replace(mine, **differing)


@pytest.mark.skipif(numbered_by() is None, reason="the system tells nothing of when a process began")
@pytest.mark.parametrize(("who", "lives"), [
    (named(), True),
    (named(since=1), False),  # the number was given again
    (named(pid=2**22 + 1), False),
    (named(pid=10**30, since=1), True),  # no number of a process: nothing is known of it
    (named(since=1, numbered="another machine"), True),
    (named(since=1, numbered=None), True),
    (named(since=None), True),
])  # fmt: skip
def test_who_is_known_to_have_ended_is_no_member(conduit, fake_clock, who, lives):
    one = Standing(fake_clock, who)
    perform(one.member.say(), conduit)
    assert (one.member.name in known(conduit)) is lives


@pytest.mark.skipif(numbered_by() is None, reason="the system tells nothing of when a process began")
@pytest.mark.parametrize(("who", "ended"), [
    (named(), False), (named(since=1), True), (named(since=1, numbered="another machine"), False),
    (named(since=None), False),
])  # fmt: skip
def test_only_of_the_own_machine_it_is_known_who_has_ended(conduit, fake_clock, who, ended):
    one, other = Standing(fake_clock, who), Standing(fake_clock, named(since=1))
    for standing in (one, other):
        perform(standing.member.say(), conduit)
    assert perform(gone(LAYOUT, {one.member.name, "nobody"}), conduit) == ({one.member.name} if ended else set())


def test_the_hash_ends_with_its_members(conduit, fake_clock, server):
    perform(Standing(fake_clock).member.say(), conduit)
    assert 0 < server.ttl(LAYOUT.members) <= 2 * DEAD


@pytest.mark.parametrize("rubbish", [b"", b"{", b'{"position":7}', os.urandom(64),
                                     b'{"position":"abc","who":{"pid":1,"host":"h"}}'],
                         ids=["nothing", "torn", "nobody", "noise", "no position"])  # fmt: skip
def test_what_cant_be_read_has_applied_nothing(conduit, server, rubbish):
    server.hset(LAYOUT.members, "\x1b[2J", b"9999999999999 " + rubbish)
    (found,) = known(conduit).values()
    assert (found.position, found.who) == (0, None)


def test_rubbish_in_place_of_a_time_is_removed(conduit, server):
    server.hset(LAYOUT.members, "x", b"soon")
    assert known(conduit) == {}
    assert not server.exists(LAYOUT.members)


def test_an_open_cache_is_a_member_and_a_closed_one_isnt(conduit, redis_url, tmp_path, server, until):
    with Cache(directory=tmp_path / "a", redis_url=redis_url) as cache:
        layout, channel = cache._core.journal.layout, cache._core.journal
        (name,) = server.hkeys(layout.members)
        assert name.decode() == cache._core.background.heard_as
        with Cache(directory=tmp_path / "b", redis_url=redis_url) as other:
            assert server.hlen(layout.members) == 2
            other.invalidate("x*")
            end = id_text(other._core.journal.invalidated())

            def stands():
                return [id_text(one.position) for one in perform(members(layout), channel.conduit)]

            until(lambda: min(stands()) >= end, "both have said so", seconds=0.5)
        assert server.hlen(layout.members) == 1
    assert not server.exists(layout.members)


def test_a_forked_child_is_a_member_of_its_own(redis_url, tmp_path, server, until, in_child):
    with Cache(directory=tmp_path, redis_url=redis_url) as cache:
        layout, own = cache._core.journal.layout, cache._core.background.heard_as

        def work():
            mine = cache._core.background.heard_as
            assert mine != own
            with redis.Redis.from_url(redis_url) as asked:
                until(lambda: asked.hexists(layout.members, mine), "it says so")
                cache.close()
                assert not asked.hexists(layout.members, mine)

        assert in_child(work) == 0
        assert server.hkeys(layout.members) == [own.encode()]


def test_who_was_refused_a_sign_of_life_tries_again_no_sooner_than_with_the_next(fake_clock):
    """A server that takes no writes would be asked fifty times a second while others invalidate."""
    one = Standing(fake_clock)
    one.member.refused()
    one.applied = one.invalidated = SECOND
    assert one.member.rest() == SAY_EVERY
    fake_clock.advance(SAY_EVERY)
    assert one.member.rest() == 0
