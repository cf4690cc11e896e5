"""Processes of one machine that have a server: each hears the others at once, and while the server is away too.

Where one of them is deaf to the server, with no thread that listens, it is the journal alone that it hears.
"""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.coherence.messages import Message
from scoutcache.core.core import Clocks
from scoutcache.engine.entrusted import GRACE
from scoutcache.entry import DEPENDED_MARK
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import perform

TIERS = ["memory", "redis", "disk"]


@pytest.fixture
def server(start_redis):
    one = start_redis()
    yield one
    one.resume()


@pytest.fixture
def opened(tmp_path, server):
    """Opens caches over one directory; with *deaf* one that has no thread to hear the server."""
    caches = []

    def open_one(*, deaf=False, directory=tmp_path, **settings):
        clocks = Clocks(time.time, time.monotonic, time.monotonic_ns, ticking=False)
        caches.append(Cache(tiers=TIERS, directory=directory, redis={"url": server.url},
                            clocks=clocks if deaf else None, **settings))  # fmt: skip
        return caches[-1]

    yield open_one
    server.resume()
    for cache in caches:
        cache.close()


def kept(cache, key="k", value="old"):
    """See that *cache* has it in memory."""
    for _ in range(4):
        assert cache.get(key) == value
    assert cache._core.memory.look(cache._calls.ref(key, None)) is not None


INVALIDATIONS = {
    "delete": lambda cache: cache.delete("k"),
    "pattern": lambda cache: cache.invalidate("k*"),
    "tag": lambda cache: cache.invalidate(tags=["T"]),
    "clear": lambda cache: cache.clear(),
    "stale": lambda cache: cache.invalidate("k", action="mark_stale"),
}


@pytest.mark.parametrize("way", INVALIDATIONS)
def test_an_invalidation_is_heard_when_it_has_returned(opened, way):
    a, b = opened(), opened(deaf=True)
    a.set("k", "old", tags=["T"])
    kept(b)
    INVALIDATIONS[way](a)
    assert b.get("k") is None


def test_an_event_loops_invalidation_is_heard_when_it_has_returned(opened, server, tmp_path):
    b = opened(deaf=True)
    b.set("k", "old")
    kept(b)

    async def other():
        async with AsyncCache(tiers=TIERS, directory=tmp_path, redis={"url": server.url}) as a:
            await a.invalidate("k")
            assert b.get("k") is None

    asyncio.run(other())


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear"])
def test_an_invalidation_is_heard_while_the_server_is_away(opened, server, way):
    a, b = opened(), opened(deaf=True)
    a.set("k", "old", tags=["T"])
    kept(b)
    server.pause()
    INVALIDATIONS[way](a)
    assert b.get("k") is None


def test_a_write_is_heard_while_the_server_is_away(opened, server):
    a, b = opened(), opened(deaf=True)
    a.set("k", "old")
    kept(b)
    server.pause()
    a.set("k", "new")
    assert b.get("k") == "new"


@pytest.mark.parametrize("many", [False, True])
def test_what_was_written_just_before_the_server_went_is_heard_of(opened, server, many):
    """The stream was not read any more, and in the outage the older value would be served to its end."""
    a, b = opened(), opened(deaf=True)
    a.set("k", "old")
    kept(b)
    a.set_many({"k": "new", "l": 1}) if many else a.set("k", "new")
    server.pause()
    assert a.get("something") is None
    assert b.get("k") == "new"


def test_what_was_computed_before_a_neighbours_invalidation_is_not_kept(opened):
    a, b = opened(), opened(deaf=True)

    def compute():
        a.invalidate("k")
        return "old"

    assert b.get_or_compute("k", compute) == "old"
    assert b.get("k") is None


def test_what_was_computed_after_it_is_kept_though_the_server_tells_of_it_later(opened):
    a, b = opened(), opened(deaf=True)
    a.set("k", "old")
    kept(b)
    a.invalidate("k")
    assert b.get("k") is None

    def compute():
        b._core.background.turn()  # hears the server
        return "new"

    assert b.get_or_compute("k", compute) == "new"
    assert b.get("k") == a.get("k") == "new"
    b._core.background.turn()
    assert b.get("k") == "new"


def hears(cache, until):
    """Wait until one without a thread has heard the server again."""
    until(lambda: cache._core.background._keep_up(cache._core) is None, "it hears", ignoring=(TierUnavailable,))


def test_what_was_computed_before_an_invalidation_in_an_outage_is_not_kept_after_it(opened, server, until):
    """By a process that was opened in the outage, and has the stream's history only now."""
    with opened() as first:
        first.set("k", "old")
    server.pause()
    a, b = opened(deaf=True), opened(deaf=True)
    a.delete_many([f"other{number}" for number in range(3)])
    assert b.get("other") is None
    began = b.position()
    a.delete("k")
    assert b.get("k") is None
    server.resume()
    hears(b, until)
    for number in range(20):
        a.delete(f"more{number}")
    b.set("k", "old", since=began)
    assert b.get("k") is None


def test_who_was_opened_in_an_outage_keeps_what_its_machine_has(opened, server, until):
    with opened() as first:
        first.set("k", "kept")
    server.pause()
    a, b = opened(deaf=True), opened(deaf=True)
    a.delete("other")
    assert b.get("other") is None
    server.resume()
    hears(b, until)
    disk = b._core.tier("disk")
    assert disk.read(b._calls.ref("k", None), time.time()) is not None


def hung(monkeypatch, *caches):
    """For these the server is away."""
    def ask(_):
        raise TierUnavailable("redis", "no answer in time")

    for cache in caches:
        monkeypatch.setattr(cache._core.journal.conduit, "execute", ask)


def test_of_two_writes_that_were_made_apart_the_later_one_stays(opened, monkeypatch, tmp_path):
    """Though it hears of the other before it can give its own."""
    here, beside, far = opened(deaf=True), opened(deaf=True), opened(deaf=True, directory=tmp_path / "far")
    far.set("k", "old")
    assert [cache.get("k") for cache in (here, beside)] == ["old", "old"]
    with monkeypatch.context() as meanwhile:
        hung(meanwhile, here, beside)
        far.set("k", "theirs")
        here.set("k", "later")
        assert beside.get("k") == "later"
    for cache in (beside, here, far):
        cache._core.background._keep_up(cache._core)
        cache._core.background._make_good(cache._core)
    assert [cache.get("k") for cache in (here, beside, far)] == ["later"] * 3
    with monkeypatch.context() as meanwhile:
        hung(meanwhile, here)
        here.set("k", "ours")
        far.set("k", "last")
    for cache in (here, beside, far):
        cache._core.background._keep_up(cache._core)
        cache._core.background._make_good(cache._core)
    assert [cache.get("k") for cache in (here, beside, far)] == ["last"] * 3


def test_of_what_two_computed_apart_one_is_kept(opened, monkeypatch):
    """They depend on a key that nothing depended on before, so that neither could let the other have it."""
    both = opened(deaf=True), opened(deaf=True)
    with monkeypatch.context() as meanwhile:
        hung(meanwhile, *both)
        for number, cache in enumerate(both):
            assert cache.get_or_compute("k", lambda number=number: number, depends_on=["new"]) == number
    for _ in range(2):
        for cache in both:
            cache._core.background._keep_up(cache._core)
            cache._core.background._make_good(cache._core)
    assert both[0].get("k") == both[1].get("k") is not None


def test_what_another_machine_says_is_heard_beside_it(opened, tmp_path):
    a, b, far = opened(), opened(deaf=True), opened(directory=tmp_path / "far")
    for key in ("k", "l"):
        a.set(key, "old")
        kept(b, key)
    a.invalidate("k")
    far.invalidate("l")
    b._core.background.turn()
    assert (b.get("k"), b.get("l")) == (None, None)


def test_hits_go_the_short_way_again_afterwards(opened):
    a, b = opened(), opened(deaf=True)
    a.set("k", "old")
    kept(b)
    a.invalidate("other")
    assert b.get("k") == "old"
    pulse, journal = b._core.memory._pulse, b._core.journal
    assert pulse.seen == journal.words[journal.index]


def test_it_is_heard_in_a_directory_that_was_made_anew(opened, tmp_path):
    a, b = opened(), opened(deaf=True)
    shutil.rmtree(tmp_path)
    for cache in (a, b):
        cache._core.background.turn()
    a.set("k", "old")
    b._core.background.turn()
    kept(b)
    a.invalidate("k")
    assert b.get("k") is None


def test_a_journal_that_cannot_be_written_is_no_failure(opened, until, tmp_path):
    """The server tells the others then."""
    a, b = opened(), opened()
    a.set("k", "old")
    kept(b)
    a._core.journal.beside.journal.close()
    assert not a.invalidate("k").failed
    until(lambda: b.get("k") is None, "the server has told it")


@pytest.mark.parametrize("way", ["delete", "tag", "clear"])
def test_neighbours_do_not_make_each_other_compute_while_the_server_is_away(opened, server, way):
    a, b = opened(), opened(deaf=True)
    a.set("k", "old", tags=["T"])
    server.pause()
    INVALIDATIONS[way](a)
    computed = []
    for _ in range(5):
        for cache in (a, b):
            cache.get_or_compute("k", lambda cache=cache: computed.append(cache) or "new", tags=["T"])
    assert len(computed) <= 2


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear"])
@pytest.mark.parametrize("trouble", ["away", "full"])
def test_what_is_owed_is_not_told_again_and_again(opened, server, way, trouble):
    """Or neighbours would drop what they have computed since, twice a second."""
    a, b = opened(deaf=True), opened(deaf=True)
    a.set("k", "old", tags=["T"])
    server.pause() if trouble == "away" else server.cli("CONFIG", "SET", "maxmemory", "1")
    INVALIDATIONS[way](a)
    computed = []
    for _ in range(4):
        b.get_or_compute("k", lambda: computed.append(1) or "new", tags=["T"])
        a._core.background.turn()
    assert a._core.world.doubts[1]
    assert len(computed) == 1


def test_nor_do_those_that_start_meanwhile(opened, server):
    server.pause()
    a, b = opened(), opened()
    computed = []
    for _ in range(5):
        for cache in (a, b):
            cache.get_or_compute("k", lambda cache=cache: computed.append(cache) or "new")
    assert len(computed) <= 2


# -- what they could not tell the server


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear"])
def test_what_a_neighbour_owed_that_has_ended_is_made_good(opened, server, until, tmp_path, way):
    a, b, far = opened(), opened(), opened(directory=tmp_path / "far")
    a.set("k", "old", tags=["T"])
    kept(b)
    kept(far)
    server.pause()
    INVALIDATIONS[way](a)
    a.close()
    assert b.get("k") is None
    server.resume()
    until(lambda: far.get("k") is None, "the other machine has heard of it", seconds=15)
    assert b.get("k") is None
    assert opened(directory=tmp_path / "third").get("k") is None


def test_what_a_neighbour_wrote_that_has_ended_reaches_the_server(opened, server, until, tmp_path):
    a, b, far = opened(), opened(), opened(directory=tmp_path / "far")
    a.set("k", "old")
    kept(b)
    kept(far)
    server.pause()
    a.set("k", "new")
    a.close()
    assert b.get("k") == "new"
    server.resume()
    until(lambda: far.get("k") == "new", "the other machine has it", seconds=15)
    assert b.get("k") == "new"


DELETES_WHEN_TOLD = """
import sys
from scoutcache import Cache
cache = Cache(tiers=["memory", "redis", "disk"], directory=sys.argv[1], redis={"url": sys.argv[2]})
assert cache.get("k") == "old"
print("ready", flush=True)
sys.stdin.readline()
cache.delete("k")
print("deleted", flush=True)
sys.stdin.readline()
"""


def test_what_a_hung_server_begins_for_one_that_has_ended_is_owed_as_before(
    opened, server, until, run_python, tmp_path
):
    """It carries out the opening when it goes on, and not the removal: whoever ends that knows of nothing done."""
    b = opened()
    b.set("k", "old")
    other = run_python(DELETES_WHEN_TOLD, tmp_path, server.url)
    assert other.stdout.readline() == "ready\n"
    server.pause()
    other.stdin.write("now\n")
    other.stdin.flush()
    assert other.stdout.readline() == "deleted\n"
    other.kill()
    other.wait()
    channel = b._core.journal
    (owed,) = [message for message in channel.beside.lately() if message.owed and message.kind == "key"]
    server.resume()
    perform(channel._announce(owed.plain.opening), channel.conduit)
    seen = set()

    def is_paid():
        seen.add(b.get("k"))
        return not [key for key in server.cli("KEYS", "*") if key.endswith(b":k")]

    until(is_paid, "the server's entry goes", seconds=20)
    assert seen == {None}


def test_the_server_is_not_believed_before_a_debt_was_paid(opened, server, until):
    a, b = opened(), opened()
    a.set("k", "old")
    server.pause()
    a.delete("k")
    a.close()
    b.get("other")  # hears of it
    server.resume()
    until(lambda: b._core.world.doubts[1].also._is_back, "it is back")
    assert b.get("k") is None


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear"])
def test_who_starts_while_the_server_is_away_owes_what_was_owed_before(opened, server, until, way):
    """The one that could not tell it may have ended: a command, or a worker that was restarted."""
    a = opened(deaf=True)
    a.set("k", "old", tags=["T"])
    server.pause()
    INVALIDATIONS[way](a)
    a.close()
    b = opened()
    server.resume()
    until(lambda: b._core.world.doubts[1].also._is_back, "it is back")
    assert b.get("k") is None
    until(lambda: not b._core.world.doubts[1], "it is made good", seconds=15)
    assert b.get("k") is None


END = {**INVALIDATIONS, "source": lambda cache: cache.delete("source")}


@pytest.mark.parametrize("way", END)
def test_who_starts_when_the_server_is_back_and_nobody_has_paid_does_not_believe_it(opened, server, way):
    a = opened(deaf=True)
    a.set("source", 1)
    a.set("k", "old", tags=["T"], depends_on=["source"])
    server.pause()
    END[way](a)
    server.resume()
    b = opened(deaf=True)
    assert b.get("k") is None


@pytest.mark.parametrize("way", END)
def test_a_gap_in_what_was_heard_loses_no_debt(opened, server, way):
    a, b = opened(deaf=True), opened(deaf=True)
    a.set("source", 1)
    a.set("k", "old", tags=["T"], depends_on=["source"])
    server.pause()
    END[way](a)
    b._core.journal.end()  # it has heard of it, and not applied it
    b._core.journal.miss()
    server.resume()
    assert b.get("k") is None


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear", "set"])
@pytest.mark.parametrize("trouble", ["away", "none"])
def test_who_starts_later_does_not_owe_what_was_made_good(opened, server, until, way, trouble):
    """Or all that was written since would go with it."""
    a = opened()
    a.set("k", "old", tags=["T"])
    server.pause()
    a.set("k", "new") if way == "set" else INVALIDATIONS[way](a)
    server.resume()
    until(lambda: not (a._core.world.doubts[1] or a._core.follower.opened.messages()), "it is made good and told")
    a.set("other", "new", tags=["T"])
    if trouble == "away":
        server.pause()
    b = opened()
    assert not b._core.world.doubts[1]


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear"])
def test_a_full_server_is_owed_by_one_of_them(opened, server, until, way):
    a, b = opened(deaf=True), opened()
    entrusted = b._core.world.doubts[1].also
    until(lambda: entrusted._is_back, "it knows that the server is there")
    a.set("k", "old", tags=["T"])
    server.cli("CONFIG", "SET", "maxmemory", "1")
    INVALIDATIONS[way](a)
    time.sleep(GRACE + 1.0)
    assert entrusted
    assert not b._core.world.doubts[1].is_owing
    server.cli("CONFIG", "SET", "maxmemory", "0")
    a._core.background.turn()
    until(lambda: not b._core.world.doubts[1], "who owed it has made it good")


CHANGES = {
    "set": lambda cache: cache.set("parent", 2),
    "pattern": lambda cache: cache.invalidate("par*"),
    "tag": lambda cache: cache.invalidate(tags=["T"]),
}


@pytest.mark.parametrize("way", CHANGES)
def test_what_depends_on_what_a_neighbour_changed_is_not_served_while_the_server_is_away(opened, server, way):
    """Though nobody can be asked what depends on it."""
    a, b = opened(), opened(deaf=True)
    b.set("parent", 1, tags=["T"])
    b.set("k", "old", depends_on=["parent"])
    kept(b)
    server.pause()
    CHANGES[way](a)
    assert b.get("k") is None


MAKING = Message("mark", "default", (DEPENDED_MARK,), 1, "somebody")
"""Somebody is making it known that anything depends on a key."""


@pytest.mark.parametrize("late", [False, True])
def test_what_depends_on_what_was_written_as_the_server_went_is_not_served(opened, server, monkeypatch, late):
    """It took the write, and could not be asked any more what depends on that."""
    a, b = opened(deaf=True), opened(deaf=True)
    b.set("parent", 1)

    def depend():
        b.set("k", "old", depends_on=["parent"])
        kept(b)

    if not late:
        depend()
    write = a._core.tiers[1].write

    def and_go(*given):
        if late:  # by then it has been asked for the last time
            depend()
        taken = write(*given)
        server.pause()
        return taken

    monkeypatch.setattr(a._core.ports.versions, "under_way", lambda: [MAKING])  # so it doesn't remember that
    monkeypatch.setattr(a._core.tiers[1], "write", and_go)
    a.set("parent", 2)
    assert b.get("k") is None


REMOVALS = {"key": lambda cache: cache.delete("parent"), "pattern": lambda cache: cache.invalidate("par*"),
            "mark": lambda cache: cache.invalidate(tags=["T"])}  # fmt: skip


@pytest.mark.parametrize("kind", REMOVALS)
def test_what_depends_on_what_was_removed_as_the_server_went_is_not_served(opened, server, until, monkeypatch, kind):
    """That was announced and done, and then nobody could be asked what depends on it."""
    a, b = opened(), opened(deaf=True)
    b.set("parent", 1, tags=["T"])
    b.set("k", "old", depends_on=["parent"])
    kept(b)
    append = a._core.journal.append

    def and_go(message, **named):
        positions = append(message, **named)
        if message.kind == kind and not message.opens:
            server.pause()
        return positions

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(a._core.ports.versions, "under_way", lambda: [MAKING])
        meanwhile.setattr(a._core.follower._journal, "append", and_go)
        REMOVALS[kind](a)
    assert b.get("k") is None
    server.resume()
    until(lambda: a.health()["healthy"], "it has it back")
    until(lambda: a._core.background.turn() or a._core.world.untold is None, "it is made good")
    for cache in (b, opened(deaf=True)):
        assert cache.get("k") is None


@pytest.mark.parametrize("end", [lambda cache: cache.delete("parent"), lambda cache: cache.invalidate("par*"),
                                 lambda cache: cache.set("parent", 2)], ids=["delete", "pattern", "set"])  # fmt: skip
def test_what_was_stored_while_nobody_told_versions_dies_with_what_it_depends_on(opened, server, until, end):
    """Nobody else knows that anything does, and so renews nothing."""
    a, b = opened(), opened(deaf=True)
    a.set("parent", 1)
    server.pause()
    b.set("k", "old", depends_on=["parent"])
    assert b.get("k") == "old"
    server.resume()
    until(lambda: a.health()["healthy"], "the other one has it back")
    end(a)
    if b._core.journal.end() == b._core.follower.seen:  # a write is heard by the stream alone
        hears(b, until)
    assert b.get("k") is None


def refuse(*_, **__):
    raise TierUnavailable("redis", "no answer in time")


def test_what_is_stored_without_versions_while_its_source_is_written_is_not_served(opened, monkeypatch):
    """By two threads of one process: neither can know of the other when it asks."""
    cache = opened(deaf=True)
    cache.set("other", 1, depends_on=["parent"])  # so whoever writes there asks what depends on it
    cache.set("source", 1)
    tier, versions = cache._core.tiers[1], cache._core.ports.versions
    write = tier.write

    def meanwhile(*given):
        monkeypatch.setattr(tier, "write", write)
        with monkeypatch.context() as away:
            away.setattr(versions, "current", refuse)
            away.setattr(versions, "answers", lambda *_, **__: False)
            cache.set("k", "old", depends_on=["source"])
        assert cache.get("k") == "old"
        return write(*given)

    monkeypatch.setattr(tier, "write", meanwhile)
    cache.set("source", 2)
    assert cache.get("k") is None


def refuse_once(method):
    refused = []

    def ask(*given, **named):
        if not refused:
            refused.append(given)
            refuse()
        return method(*given, **named)

    return ask


@pytest.mark.parametrize(
    ("way", "method"),
    [("delete", "remove"), ("pattern", "remove_matching"), ("tag", "version_plans.renew"), ("set", "write"),
     ("clear", "clear"), ("stale", "write")],
)  # fmt: skip
def test_what_the_server_heard_of_and_did_not_do_is_owed_by_neighbours_too(opened, until, monkeypatch, way, method):
    a, b = opened(deaf=True), opened()
    until(lambda: b._core.world.doubts[1].also._is_back, "it knows that the server is there")
    a.set("k", "old", tags=["T"])
    kept(b)
    tier, (*holder, name) = a._core.tiers[1], method.split(".")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(getattr(tier, *holder) if holder else tier, name, refuse)
        a.set("k", "new") if way == "set" else INVALIDATIONS[way](a)
    assert b.get("k") in {None, "new"}
    with Cache(tiers=["redis"], redis={"url": a.config.redis.url}, directory=a.config.directory) as third:
        third._core.background.turn()
        until(lambda: third.get("k") != "old", "a neighbour pays", seconds=15)


def test_of_what_is_marked_stale_neighbours_owe_nothing_that_was(opened, monkeypatch):
    """They can only remove it."""
    a, b = opened(deaf=True), opened(deaf=True)
    entrusted = b._core.world.doubts[1].also
    entrusted.turn(answers=True)
    a.set_many({f"k{number}": number for number in range(6)}, tags=["T"])
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("scoutcache.calls.mark_stale.BATCH", 2)
        meanwhile.setattr(a._core.tiers[1], "write", refuse_once(a._core.tiers[1].write))
        a.invalidate("k*", tags=["T"], match="all", action="mark_stale")
    b.get("other")
    owed = {ref for number in range(6) if entrusted.covers(ref := a._calls.ref(f"k{number}", None))}
    assert owed <= a._core.world.doubts[1].refs.keys()


def test_what_was_removed_and_could_not_be_announced_before_is_owed(opened, until, monkeypatch):
    """A write in flight may have brought it back."""
    a, b = opened(deaf=True), opened()
    until(lambda: b._core.world.doubts[1].also._is_back, "it knows that the server is there")
    a.set("k", "old")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(a._core.journal, "announce", refuse_once(a._core.journal.announce))
        a.delete("k")
    ref = a._calls.ref("k", None)
    assert ref in a._core.world.doubts[1].refs
    b.get("other")
    assert b._core.world.doubts[1].covers(ref)


# -- what a reading of the protocol found


@pytest.mark.parametrize("tiers", [["memory", "disk", "redis"], ["disk", "redis"], ["redis"]], ids="+".join)
def test_a_server_may_stand_anywhere_among_the_tiers(tmp_path, server, tiers):
    with Cache(tiers=tiers, directory=tmp_path, redis={"url": server.url}) as cache:
        cache.set("k", 1)
        assert cache.get("k") == 1


def test_the_machines_outage_clears_nothing_for_others(opened, server, until, tmp_path):
    a, b, far = opened(), opened(), opened(directory=tmp_path / "far")
    far.set("before", 1)
    server.pause()
    for at in range(0, 12_000, 1_000):
        (a, b)[at // 1000 % 2].set_many({f"k{n}": n for n in range(at, at + 1_000)})
    server.resume()
    until(lambda: a.health()["healthy"] and b.health()["healthy"], "it is back")
    until(lambda: not any(cache._core.world.doubts[1] for cache in (a, b)), "all is made good", seconds=60)
    assert far.get("before") == 1


def test_a_gap_among_neighbours_leaves_the_disk_alone(opened, until):
    a, b = opened(), opened()
    a.set_many({f"k{n}": n for n in range(20)})
    journal = a._core.journal.beside.journal
    with journal._lock.held():
        journal._gap()
    until(lambda: all(one._core.journal.beside.read == journal.end() for one in (a, b)), "both have noticed")
    b._core.background.turn()
    assert a._core.tiers[2].count(None, None, time.time()) == 20


CHANGES_OF_SOURCE = {
    "set": lambda cache: cache.set("source", 2),
    "delete": lambda cache: cache.delete("source"),
    "pattern": lambda cache: cache.invalidate("sour*"),
    "stale": lambda cache: cache.invalidate("source", action="mark_stale"),
}


def back(server, cache):
    """The server answers again, and *cache* knows."""
    server.resume()
    cache._core.journal.conduit.breaker.answered()


@pytest.fixture
def dependent(opened):
    """What depends on ``source``, of which the other processes of the machine remember nothing."""
    with Cache(tiers=TIERS, directory=opened().config.directory, redis={"url": opened().config.redis.url}) as cache:
        cache.set("source", 1)
        cache.set("k", "old", depends_on=["source"])


@pytest.mark.usefixtures("dependent")
@pytest.mark.parametrize("way", CHANGES_OF_SOURCE)
def test_what_depends_on_what_could_not_be_told_is_not_served_before_that_is_made_good(opened, server, way):
    a = opened(deaf=True)
    server.pause()
    CHANGES_OF_SOURCE[way](a)
    back(server, a)
    for _ in range(3):
        assert a.get("k") is None


@pytest.mark.usefixtures("dependent")
@pytest.mark.parametrize("way", CHANGES_OF_SOURCE)
def test_nor_by_who_makes_it_good_for_a_neighbour(opened, server, until, way):
    a, b = opened(deaf=True), opened(deaf=True)
    server.pause()
    CHANGES_OF_SOURCE[way](a)
    a.close()
    assert b.get("k") is None
    back(server, b)
    entrusted = b._core.world.doubts[1].also
    entrusted.turn(answers=True)
    entrusted._make_own(time.monotonic())
    assert not entrusted
    assert b.get("k") is None


@pytest.mark.usefixtures("dependent")
def test_what_is_set_again_before_it_was_made_good_ends_what_depends_on_it(opened, server):
    """It has the value that memory has, and not the one from which that was computed."""
    a = opened(deaf=True)
    server.pause()
    a.set("source", 2)
    back(server, a)
    a.set("source", 2)
    assert a.get("k") is None
    assert opened(deaf=True).get("k") is None


def test_an_older_write_is_no_reason_to_forget_what_is_owed(opened, server, tmp_path):
    """Of two writers the later start wins, though the server could not be told of it in time."""
    a = opened(deaf=True)

    def compute():
        server.pause()
        a.set("k", "new")
        back(server, a)
        return "old"

    a.get_or_compute("k", compute)
    a._core.background.turn()
    assert not a._core.world.doubts[1]
    assert opened(deaf=True, directory=tmp_path / "far").get("k") == a.get("k") == "new"


@pytest.mark.parametrize("end", [lambda cache: cache.delete("source"), lambda cache: cache.invalidate("sour*")],
                         ids=["delete", "pattern"])  # fmt: skip
def test_what_depends_on_it_ends_before_a_tier_that_is_away_raises(opened, monkeypatch, end):
    a = opened(deaf=True, raise_errors=True)
    a.set("source", 1)
    a.set("k", "old", depends_on=["source"])
    with monkeypatch.context() as meanwhile:
        for name in ("remove", "remove_each", "remove_matching"):
            meanwhile.setattr(a._core.tiers[2], name, refuse)
        with pytest.raises(TierUnavailable):
            end(a)
    assert a.get("k") is None


def test_who_starts_later_does_not_owe_what_was_made_good_for_one_that_had_ended(opened, server):
    a, b = opened(deaf=True), opened(deaf=True)
    a.set("k", "old")
    kept(b)
    server.pause()
    a.set("k", "new")
    a.close()
    assert b.get("k") == "new"
    back(server, b)
    entrusted = b._core.world.doubts[1].also
    entrusted.turn(answers=True)
    entrusted._make_own(time.monotonic())
    for _ in range(3):  # the disk has heard of it by then
        b._core.background.turn()
    assert not b._core.world.doubts[1]
    assert not opened(deaf=True)._core.world.doubts[1]


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear", "set"])
def test_what_was_paid_before_a_neighbour_saw_that_the_server_is_back_is_not_paid_twice(opened, server, way):
    a, b = opened(deaf=True), opened(deaf=True)
    a.set("k", "old", tags=["T"])
    server.pause()
    a.set("k", "new", tags=["T"]) if way == "set" else INVALIDATIONS[way](a)
    b.get("k")
    entrusted = b._core.world.doubts[1].also
    entrusted.turn(answers=False)
    assert entrusted
    back(server, a)
    a._core.background.turn()
    b.get("k")  # hears of it
    back(server, b)
    entrusted.turn(answers=True)
    assert not entrusted


@pytest.mark.parametrize("way", END)
def test_who_starts_after_a_gap_knows_what_is_owed(opened, server, way):
    """A worker was killed in the middle of a change while the server was away, and is started anew."""
    a = opened(deaf=True)
    a.set("source", 1)
    a.set("k", "old", tags=["T"], depends_on=["source"])
    server.pause()
    END[way](a)
    journal = a._core.journal.beside.journal
    with journal._lock.held():
        journal._gap()
    server.resume()
    b = opened(deaf=True)
    assert b.get("k") is None


@pytest.mark.parametrize("way", ["delete", "pattern", "clear"])
def test_what_a_hung_server_was_asked_to_end_is_kept_again_when_that_is_over(opened, server, until, tmp_path, way):
    """It carries out late what nobody waited for: that an invalidation begins, of which it would never hear the end."""
    a, far = opened(), opened(directory=tmp_path / "far")
    INVALIDATIONS[way](a)  # or it would not know the script
    a.set("k", "old")
    server.pause()
    INVALIDATIONS[way](a)
    server.resume()
    until(lambda: not a._core.world.doubts[1], "it is made good", seconds=15)
    for cache in (a, far):
        until(lambda cache=cache: cache.set("k", "new") and cache.get("k") == "new", "it is kept", seconds=10)


@pytest.mark.parametrize("way", ["delete", "pattern", "tag", "clear"])
def test_what_had_begun_as_the_server_went_is_kept_again_when_it_is_back(
    opened, server, until, tmp_path, monkeypatch, way
):  # fmt: skip
    """It had told all that an invalidation begins, and could not be told that it was over."""
    a, far = opened(), opened(directory=tmp_path / "far")
    a.set("k", "old", tags=["T"])
    append = a._core.journal.append

    def and_go(message, **named):
        positions = append(message, **named)
        if message.opens:
            server.pause()
        return positions

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(a._core.follower._journal, "append", and_go)
        INVALIDATIONS[way](a)
    server.resume()
    until(lambda: not a._core.world.doubts[1], "it is made good", seconds=15)
    for cache in (a, far):
        until(lambda cache=cache: cache.set("k", "new", tags=["T"]) and cache.get("k") == "new", "it is kept",
              seconds=10)  # fmt: skip


def test_a_disk_above_the_server_is_believed_no_sooner(server, tmp_path):
    """What depends on a tagged key lies there, too, with the versions that the server has not renewed."""
    clocks = Clocks(time.time, time.monotonic, time.monotonic_ns, ticking=False)
    with Cache(tiers=["disk", "redis"], directory=tmp_path, redis={"url": server.url}, clocks=clocks) as cache:
        cache.set("source", 1, tags=["T"])
        cache.set("k", "old", depends_on=["source"])
        server.pause()
        cache.invalidate(tags=["T"])
        back(server, cache)
        assert cache.get("k") is None
