"""What a running computation is told while it runs: nothing is lost, whenever it begins, and little is kept."""

from __future__ import annotations

import contextlib
import threading

import pytest

from scoutcache.channels.journal import Journal
from scoutcache.coherence.messages import Message
from scoutcache.engine.moments import Moments
from scoutcache.entry import Ref

K, PARENT, OTHER = Ref("ns", "k"), Ref("ns", "parent"), Ref("ns", "other")


def message(kind, *names, source="you"):
    return Message(kind, "ns", names, 1, source)


@pytest.fixture
def moments():
    moments = Moments(threading.Lock())
    moments.applied(10)
    return moments


@pytest.fixture
def hear(moments):
    """The follower applies messages and then says up to which position."""

    def hear(end, *messages):
        for one in messages:
            moments.apply(one)
        moments.applied(end)

    return hear


def names(told):
    return [name for message in told.invalidations for name in message.names]


def test_it_is_told_of_every_invalidation_since_it_began_and_of_writes_of_what_it_looks_at(moments, hear):
    hear(20, message("key", "before"))
    heard = moments.begin([K, PARENT])
    assert heard.end == 20
    hear(30, message("mark", "red"), message("written", "parent", "else"))
    hear(40, message("pattern", "x:*"), message("written", "k", source="me"))
    told = heard.told()
    assert told.end == 40
    assert names(told) == ["red", "x:*"]
    assert told.written == {PARENT: {"you"}, K: {"me"}}


@pytest.mark.parametrize("kind", ["key", "written"])
def test_what_is_being_applied_while_it_begins_is_heard(moments, hear, kind):
    """Its position is the one before such a message, so whoever reads from there on must be told of it."""
    other = moments.begin([OTHER])
    for someone_runs in (True, False):
        if not someone_runs:
            moments.end(other)
        moments.apply(message(kind, "k"))
        heard = moments.begin([K])
        before = heard.end
        hear(before + 10, message("mark", "red"))
        told = heard.told()
        assert names(told) == (["k", "red"] if kind == "key" else ["red"])
        assert told.written == ({K: {"you"}} if kind == "written" else {})
        moments.end(heard)


def test_a_missed_message_is_a_gap_for_all_that_run(moments, hear):
    heard = moments.begin([K])
    moments.drop()
    hear(30)
    assert heard.told() is None
    assert moments.begin([K]).told() is not None


def test_a_computation_of_a_minute_beside_many_writes_keeps_little(moments, hear):
    """60 s of 2,000 sets and 20 invalidations a second."""
    heard = moments.begin([K])
    for second in range(60):
        hear(100 + second, *[message("written", f"{second}.{n}") for n in range(2000)],
             *[message("key", f"{second}.{n}") for n in range(20)])  # fmt: skip
    told = heard.told()
    assert len(told.invalidations) == 1200
    assert told.written == {}
    moments.end(heard)
    hear(1000, message("key", "a"))
    assert moments.since(1201) == []
    assert moments.since(0) is None, "nobody needs those any more"
    assert len(moments) == 0


def test_invalidations_from_before_the_oldest_that_runs_are_let_go_of(moments, hear):
    running = moments.begin([K])
    for end in range(5000):
        hear(100 + end, message("key", f"{end}"))
        if end % 500 == 0:
            moments.end(running)
            running = moments.begin([K])
    assert names(running.told()) == [f"{end}" for end in range(4501, 5000)]
    assert len(moments._log[1]) <= 3000


def test_one_that_ends_leaves_those_of_the_others(moments, hear):
    first, second = moments.begin([K, PARENT]), moments.begin([PARENT])
    moments.end(first)
    moments.end(first)
    hear(30, message("written", "parent"))
    assert second.told().written == {PARENT: {"you"}}
    assert first.told().written == {}
    moments.end(second)
    assert moments._awaited == {}


def test_what_a_cache_that_shares_nothing_writes_is_noted_though_never_announced(moments, monkeypatch):
    moments.wrote_here([PARENT])
    heard = moments.begin([K])
    assert not heard.wrote_here([PARENT])
    moments.wrote_here([PARENT])
    assert heard.wrote_here([OTHER, PARENT])
    assert not heard.wrote_here([OTHER])
    monkeypatch.setattr("scoutcache.engine.moments._MANY", 0)
    moments.wrote_here([K])
    assert heard.wrote_here([OTHER]), "what was forgotten may have been it"
    moments.end(heard)
    assert moments._here == {}


def test_in_a_forked_child_nothing_runs(moments):
    heard = moments.begin([K])
    moments.restart(contextlib.nullcontext())
    moments.end(heard)
    assert len(moments) == 0


def test_beginnings_in_many_threads_lose_nothing(tmp_path):
    """Each computation invalidates its own key while it runs; it must be told of that."""
    from scoutcache.channels.follower import Follower

    moments = Moments(threading.Lock())
    journal = Journal(tmp_path / "j")
    follower = Follower(journal, "me", [], lambda _: None, watchers=[moments], settled=moments.applied)
    missed = []

    def work(who):
        for n in range(200):
            ref = Ref("ns", f"{who}.{n}")
            heard = moments.begin([ref])
            follower.announce(message("key", ref.key))
            follower.announce(message("written", ref.key))
            told = heard.told()
            if ref.key not in names(told) or ref not in told.written or told.end < heard.end:
                missed.append(ref)
            moments.end(heard)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert missed == []
    assert moments._awaited == {}


def test_what_was_under_way_when_it_began_counts_as_come_after_it(moments):
    """Rule 4."""
    under_way = message("key", "k").opening
    moments.opened = lambda: [under_way]
    heard, noted = moments.begin([K]), moments.noted()
    moments.opened = list
    assert heard.told().invalidations == noted.told().invalidations == [under_way]
    assert moments.noted() is None


def test_a_write_that_is_applied_just_before_it_is_registered_is_before_it(hear):
    """Rule 1: it must not be told to begin before what it has not heard of."""

    @contextlib.contextmanager
    def entering():
        moments.apply(message("written", "k"))
        moments.applied(20)
        yield

    moments = Moments(contextlib.nullcontext())
    moments.applied(10)
    moments._lock = entering()
    heard = moments.begin([K])
    assert heard.end == 20


def test_who_gets_the_value_he_had_has_changed_nothing(moments, hear):
    heard = moments.begin([K, PARENT])
    hear(20, Message("written", "ns", ("k", "parent"), 1, "you", same=("k",)))
    assert heard.told().written.keys() == {K, PARENT}
    assert heard.told().changed == {PARENT}


def test_what_ends_while_a_moment_is_noted_is_read_after_it(moments):
    def opened():
        moments.applied(20)
        return [message("key", "k").opening]

    moments.opened = opened
    assert moments.noted().end == 10


def test_it_is_told_a_position_that_what_it_is_told_covers(moments, hear, monkeypatch):
    """Or whoever reads on from there would pass over what came meanwhile."""
    heard, since = moments.begin([K]), moments.since

    def meanwhile(first):
        found = list(since(first))
        hear(30, message("key", "k"))
        return found

    monkeypatch.setattr(moments, "since", meanwhile)
    told = heard.told()
    assert told.end == 10
    assert told.invalidations == []
