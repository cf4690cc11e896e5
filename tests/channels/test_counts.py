"""Counters on a server: what a process publishes, what another machine reads, and what can't be read."""

from __future__ import annotations

import itertools
import os
import random
import secrets
import threading

import msgspec
import pytest
import redis
import zstandard

from scoutcache.channels.counts import AGAIN, EVERY, KEPT, LARGEST, WAITING, SharedCounts, encode, others, publish
from scoutcache.channels.members import Membership, Process
from scoutcache.entry import Usage
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.process import Segment, Sizes
from scoutcache.oplog.recorder import OplogSettings, Recorder
from scoutcache.oplog.tally import Counted, Spread
from scoutcache.oplog.totals import collect_stats
from scoutcache.server.commands import perform

NOW = 1_800_000_000.0
MINUTE = int(NOW // 60)


@pytest.fixture(params=["server", "cluster"])
def remote(request, make_remote):
    """The way to a server, and to a cluster."""
    if request.param == "server":
        return make_remote(request.getfixturevalue("redis_url"))
    return make_remote(request.getfixturevalue("redis_cluster"))


@pytest.fixture
def alone(make_remote, redis_url):
    """The way to one server."""
    return make_remote(redis_url)


@pytest.fixture
def server(redis_server):
    with redis.Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def machine(fake_clock, tmp_path):
    """Make a process of a machine: its recorder and what it publishes."""
    numbers = itertools.count()

    class Machine:
        def __init__(self, remote, name, directory):
            self.counts = SharedCounts(remote.layout, remote.conduit, name, lambda: self.member.name,
                                       fake_clock.monotonic)  # fmt: skip
            self.member = Membership(remote.layout, lambda: Process(1, "host"), lambda: 1 << 40, lambda: 0,
                                     fake_clock.monotonic)  # fmt: skip
            self.recorder = Recorder(directory, OplogSettings(), wall=fake_clock.wall,
                                     token=lambda: secrets.token_hex(8),
                                     monotonic_ns=fake_clock.monotonic_ns)  # fmt: skip
            self.recorder.sharing, self.directory, self.remote = self.counts, directory, remote

        def miss(self, times=1):
            now = fake_clock.monotonic_ns()
            for _ in range(times):
                self.recorder.record("get", "default", "llm:1", tier=None, outcome="miss", reason="cold", began_ns=now,
                                     ended_ns=now + 5000)  # fmt: skip

        def write(self, entries=0):
            self.recorder.publish({"memory": Usage(entries, 10 * entries, None, None)})

        def live(self):
            perform(self.member.say(), self.remote.conduit)

        def asked(self, period=None):
            return self.counts.ask(period, fake_clock.wall())

        def stats(self, period=None, **more):
            return collect_stats(self.directory, now=fake_clock.wall(), period_s=period, elsewhere=self.asked(period),
                                 **more)  # fmt: skip

    def make(remote, name=None):
        name = name or f"m{next(numbers)}"
        return Machine(remote, name, tmp_path / name)

    return make


def segment(name="seg", *rows, tiers=None, spreads=()):
    counted = list(rows) or [Counted(MINUTE, "default", "llm", "", "get", "miss", "cold", 1)]
    return Segment(name, "p", NOW, NOW, tiers or {}, counted, list(spreads))


def put(remote, value, name="seg"):
    """Publish some bytes as a segment."""
    perform(publish(remote.layout, "other", "process", {name: value}), remote.conduit)


def read(remote, period=None, now=NOW):
    return perform(others(remote.layout, "me", period, now), remote.conduit)


class TestMachines:
    def test_each_counts_what_the_others_did(self, machine, remote):
        one, other, third = machine(remote), machine(remote), machine(remote)
        for number, each in enumerate((one, other, third), 1):
            each.miss(number)
            each.write()
            assert each.counts.deliver()
        for each in (one, other, third):
            found = each.stats()
            assert (found.total.misses, found.machines, found.skipped_segments) == (6, 3, 0)
            assert found.miss.count == 6
        (row,) = one.stats(by="prefix").groups
        assert (row["prefix"], row["misses"]) == ("llm", 6)

    def test_processes_of_one_machine_are_no_others(self, machine, alone):
        one, same = machine(alone, "m"), machine(alone, "m")
        for each in (one, same):
            each.miss()
            each.write()
            each.counts.deliver()
        assert one.stats().total.misses == 2
        assert one.asked().machines == 0

    def test_sizes_are_those_of_living_processes(self, machine, alone):
        one, other, dead = machine(alone), machine(alone), machine(alone)
        for each, entries in ((one, 1), (other, 20), (dead, 300)):
            each.write(entries)
            each.counts.deliver()
        other.live()
        found = one.stats(usages={"memory": None})
        assert (found.tiers[0].entries, found.tiers[0].size_bytes, found.processes) == (21, 210, 2)
        assert found.machines == 3

    def test_the_newest_segment_of_a_process_tells_its_sizes(self, machine, alone, fake_clock):
        one, other = machine(alone), machine(alone)
        other.live()
        for entries in (1, 2, 3):
            other.miss()
            other.write(entries)
            other.counts.deliver()
            fake_clock.advance(601)
            other.write(entries)
        found = one.stats(usages={"memory": None})
        assert (found.total.misses, found.tiers[0].entries, found.processes) == (3, 3, 1)

    def test_a_segment_that_ends_between_two_publications_is_whole(self, machine, alone, fake_clock):
        one, other = machine(alone), machine(alone)
        other.miss()
        other.write()
        other.counts.deliver()
        other.miss(5)
        fake_clock.advance(601)
        other.write()  # the last of it, and the next begins
        other.miss()
        other.write()
        assert one.stats().total.misses == 1
        other.counts.deliver()
        assert one.stats().total.misses == 7
        assert len(one.asked().ended) == 2

    def test_closing_publishes_the_last_numbers(self, machine, remote):
        one, other = machine(remote), machine(remote)
        other.miss(3)
        other.recorder.close({})
        assert one.stats().total.misses == 3

    def test_where_no_file_can_be_written_they_are_published_all_the_same(self, machine, alone):
        one, other = machine(alone), machine(alone)
        other.directory.write_text("in the way")
        other.miss(3)
        other.recorder.close({})
        assert one.stats().total.misses == 3

    def test_a_forked_child_publishes_nothing_of_its_parent(self, machine, alone):
        one, other = machine(alone), machine(alone)
        other.miss()
        other.write()
        child = os.fork()
        if not child:
            os._exit(0 if other.counts.deliver() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert one.asked().machines == 0
        other.counts.deliver()
        assert one.stats().total.misses == 1


class TestPeriods:
    def test_minutes_of_others_are_exact(self, machine, alone, fake_clock):
        one, other = machine(alone), machine(alone)
        for _ in range(5):
            other.miss()
            fake_clock.advance(60)
        other.write()
        other.counts.deliver()
        assert one.stats(150).total.misses == 3
        assert one.stats(3600).total.misses == 5

    def test_only_what_was_written_in_the_period_is_fetched(self, alone, server):
        put(alone, encode("other", segment("new")), "new")
        put(alone, encode("other", segment("old")), "old")
        server.zincrby(alone.layout.counts, -7_200_000, "other.process.old")
        assert [one.id for one in read(alone, 3600).ended] == ["new"]
        assert {one.id for one in read(alone, 3 * 3600).ended} == {"new", "old"}
        assert {one.id for one in read(alone, None).ended} == {"new", "old"}

    def test_a_living_process_that_counted_nothing_since_tells_its_sizes(self, machine, alone, server):
        one, other = machine(alone), machine(alone)
        other.write(7)
        other.counts.deliver()
        other.live()
        (name,) = server.zrange(alone.layout.counts, 0, -1)
        server.zincrby(alone.layout.counts, -7_200_000, name)
        assert one.stats(60, usages={"memory": None}).tiers[0].entries == 7

    def test_what_is_older_than_25_hours_goes(self, alone, server):
        put(alone, encode("other", segment("old")), "old")
        assert 0 < server.pttl(alone.layout.counted("old")) <= KEPT * 1000
        assert 0 < server.pttl(alone.layout.counts) <= KEPT * 1000
        server.zincrby(alone.layout.counts, -KEPT * 1000 - 1, "other.process.old")
        assert read(alone).ended == []
        put(alone, encode("other", segment("new")), "new")
        assert server.zrange(alone.layout.counts, 0, -1) == [b"other.process.new"]

    def test_minutes_older_than_that_don_t_count_though_their_segment_is_new(self, alone):
        rows = [Counted(MINUTE - age, "default", "llm", "", "get", "miss", "cold", 1) for age in (0, 60, 25 * 60 + 2)]
        put(alone, encode("other", segment("seg", *rows)))
        (found,) = read(alone).ended
        assert len(found.counted) == 2


class TestTurns:
    def test_only_what_is_new_is_published_and_not_too_often(self, machine, alone, fake_clock, server):
        one = machine(alone)
        one.write()
        one.counts.turn()
        server.config_resetstat()
        for _ in range(20):
            one.counts.turn()
            fake_clock.advance(0.5)
        assert "cmdstat_set" not in server.info("commandstats"), "nothing was counted"
        for _ in range(20):
            one.miss()
            one.write()
            one.counts.turn()
            fake_clock.advance(0.5)
        assert server.info("commandstats")["cmdstat_set"]["calls"] == 10 / EVERY // 1 + 1

    def test_a_process_at_rest_says_its_sizes_each_hour(self, machine, alone, fake_clock, server):
        one = machine(alone)
        one.write(5)
        one.counts.turn()
        server.unlink(alone.layout.counts)
        fake_clock.advance(AGAIN)
        one.counts.turn()
        assert server.zcard(alone.layout.counts) == 1

    def test_what_a_server_that_is_away_missed_is_published_when_it_is_back(
        self, machine, make_remote, start_proxy, redis_server, redis_url, fake_clock
    ):
        proxy = start_proxy(redis_server.port)
        away, here = make_remote(proxy.url, key_prefix="x:"), make_remote(redis_url, key_prefix="x:")
        one, other = machine(here), machine(away)
        proxy.cut()
        for _ in range(3):
            other.miss()
            other.write()
            other.counts.turn()
            fake_clock.advance(601)
            other.write()
        assert one.asked().machines == 0
        with pytest.raises(TierUnavailable):
            other.asked()
        other.recorder.close({})  # it raises nothing
        proxy.heal()
        away.breaker.answered()
        assert other.counts.deliver()
        assert one.stats().total.misses == 3

    def test_what_waits_is_bounded(self, alone):
        counts = SharedCounts(alone.layout, alone.conduit, "m", lambda: "p", lambda: 0.0)
        for number in range(WAITING + 10):
            counts.take(segment(f"s{number}"))
        counts.deliver()
        found = read(alone)
        assert len(found.ended) == WAITING
        assert "s0" not in {one.id for one in found.ended}

    def test_segments_may_be_taken_while_others_are_sent(self, machine, alone, fake_clock):
        one, other = machine(alone), machine(alone)
        stop = threading.Event()

        def deliver():
            while not stop.is_set():
                other.counts.deliver()

        thread = threading.Thread(target=deliver)
        thread.start()
        for _ in range(200):
            other.miss()
            fake_clock.advance(30)
            other.write()
        stop.set()
        thread.join()
        other.recorder.close({})
        assert one.stats().total.misses == 200


def packed(content):
    return zstandard.ZstdCompressor().compress(content)


def changed(**row):
    """A segment with a counter that is not as it should be."""
    good = Counted(MINUTE, "default", "llm", "", "get", "miss", "cold", 1)
    return encode("other", segment("seg", msgspec.structs.replace(good, **row)))


GOOD = encode("other", segment())
HOSTILE = {
    "nothing": b"",
    "no frame": b"garbage" * 100,
    "cut off": GOOD[:-5],
    "more behind it": GOOD + b"more",
    "no json": packed(b"{" * 1000),
    "deep": packed(b"[" * 100_000),
    "another's": packed(b'["other", 7]'),
    "another machine": encode("third", segment()),
    "another name": encode("other", segment("seg2")),
    "too large": packed(b" " * (LARGEST + 1)),
    "of unknown size": zstandard.ZstdCompressor(write_content_size=False).compress(b"[]"),
    "long": os.urandom(LARGEST + 10),
    "negative": changed(count=-1),
    "negative minute": changed(minute=-1),
    "far future": changed(minute=MINUTE * 2),
    "huge": changed(count=1 << 60),
    "huge size": changed(size=1 << 63),
    "costs": changed(cost=1e300),
    "seconds": changed(seconds=-1e300),
    "more costed than can be": changed(costed=1 << 60),
    "a number without end": packed(b'["other",{"id":"seg","count":' + b"9" * 5000 + b"}]"),
    "size of a tier": encode("other", segment(tiers={"memory": Sizes(-5)})),
    "histogram": encode("other", segment(spreads=[Spread(MINUTE, "default", "", "miss", [1, 1, 1 << 20, 1])])),
    "odd histogram": encode("other", segment(spreads=[Spread(MINUTE, "default", "", "miss", [1])])),
}


class TestHostileBytes:
    @pytest.mark.parametrize("what", HOSTILE)
    def test_what_is_no_segment_is_left_out_and_counted(self, what, alone):
        put(alone, encode("other", segment("good")), "good")
        put(alone, HOSTILE[what])
        found = read(alone)
        assert ([one.id for one in found.ended], found.machines, found.skipped) == (["good"], 1, 1)

    def test_any_change_of_a_byte_gives_a_segment_or_none(self, alone):
        dice = random.Random(7)
        for _ in range(300):
            value = bytearray(GOOD)
            value[dice.randrange(len(value))] = dice.randrange(256)
            put(alone, bytes(value))
            found = read(alone)
            assert len(found.ended) + found.skipped == 1
            stats = collect_stats(None, now=NOW, elsewhere=found)
            msgspec.json.encode(stats.as_dict())

    @pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"a.b", b"a.b.c.d", b"..", b"other.process.*", b"a b.c.d"])
    def test_what_is_no_name_is_left_out_and_counted(self, name, alone, server):
        put(alone, GOOD)
        server.zadd(alone.layout.counts, {name: float("inf")})
        found = read(alone, 60)
        assert (len(found.ended), found.skipped) == (1, 1)

    def test_one_segment_under_two_names_counts_once(self, alone):
        for process in ("one", "two"):
            perform(publish(alone.layout, "other", process, {"seg": GOOD}), alone.conduit)
        found = read(alone)
        assert (len(found.ended), found.skipped) == (1, 1)

    def test_another_kind_of_key_is_left_out(self, alone, server):
        put(alone, GOOD)
        server.unlink(alone.layout.counted("seg"))
        server.lpush(alone.layout.counted("seg"), "x")
        assert read(alone).skipped == 1

    def test_another_kind_of_index_is_a_tier_that_can_t_answer(self, machine, alone, server):
        server.set(alone.layout.counts, "x")
        one = machine(alone)
        one.miss()
        one.recorder.close({})
        with pytest.raises(TierUnavailable, match="has another type"):
            read(alone)

    def test_what_is_too_large_is_not_published(self):
        rows = [Counted(MINUTE, "n" * 1000, f"p{number}", "", "get", "miss", "", 1) for number in range(5000)]
        assert encode("m", segment("seg", *rows)) is None
