"""The stream as a channel: what is heard, what is missed for good, what is lost and noticed."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from scoutcache.channels.heard import AMONG, id_text, position_of
from scoutcache.channels.journal import Journal
from scoutcache.channels.neighbours import Neighbours
from scoutcache.channels.stream import StreamChannel
from scoutcache.channels.stream_scripts import BUMP, MARK, REPLACE
from scoutcache.coherence.messages import Message, encode
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import perform, replies
from scoutcache.server.faults import Fault, Kind, unavailable
from scoutcache.server.layout import Layout


def said(*names, kind="key", source="test"):
    return Message(kind, "default", names, 1, source)


def entry(identity, before, message, *, mapping=False):
    """As XRANGE gives it: a flat list with RESP2, a mapping with RESP3."""
    fields = {b"p": before, b"m": encode(message)}
    return identity, fields if mapping else [part for pair in fields.items() for part in pair]


AWAY = unavailable(Fault(Kind.TIMEOUT, "no answer", None, away=True))


class Answering:
    """A conduit with its answers ready."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []

    def execute(self, batch):
        self.sent += batch.commands
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def channel(fake_clock):
    return StreamChannel(Layout("app:"), Answering(), most=1000, now=fake_clock.monotonic)


def heard(channel, position=0):
    messages, end = channel.since(position)
    return None if messages is None else [message.names for message in messages], end


A, B, C = b"1800000000000-0", b"1800000000000-1", b"1800000000005-0"


# -- plans


def test_its_own_message_is_in_the_buffer_when_the_call_returns(channel):
    channel.conduit = Answering([[b"0-0", A]])
    assert channel.append(said("mine")) == (0, position_of(A))
    assert heard(channel)[0] == [("mine",)]


def test_where_others_came_in_between_all_are_heard_before_it_returns(channel):
    channel.conduit = Answering([[A, B]], [[entry(A, b"0-0", said("theirs")), entry(B, A, said("mine"))]])
    assert channel.append(said("mine")) == (AMONG, position_of(B))
    assert heard(channel)[0] == [("theirs",), ("mine",)]


def test_who_must_not_wait_is_told_to(channel):
    with pytest.raises(BlockingIOError):
        channel.append(said("mine"), wait=False)


def test_an_invalidation_that_could_not_be_announced_is_heard_here_at_least(channel):
    channel.conduit = Answering(unavailable(Fault(Kind.TIMEOUT, "no answer", None, away=True)))
    with pytest.raises(TierUnavailable):
        channel.append(said("mine"))
    assert heard(channel)[0] == [("mine",)]


def test_what_depends_on_a_write_that_could_not_be_announced_is_owed(channel):
    """The write itself this process knows of."""
    channel.conduit = Answering(AWAY)
    with pytest.raises(TierUnavailable):
        channel.append(said("mine", kind="written"))
    assert channel.since(0)[0] == [said("mine", kind="written").owing]


def test_a_new_stream_whose_id_was_heard_before_is_a_gap_for_who_stands_there(channel):
    """Within one millisecond the new one may give the id that the old one ended with."""
    channel.feed([entry(A, b"0-0", said("a"))])
    channel._opened = True
    channel.conduit = Answering([[], channel.name, 0], [A])
    at = channel.end()
    perform(channel.check(), channel.conduit)
    assert channel.since(at)[0] is None
    assert channel.heard() == A


@pytest.mark.parametrize("newest", [A, C])
def test_another_stream_behind_the_same_address_is_a_gap_and_has_lost_nothing(channel, newest):
    """Nor is anything said to those who hear it."""
    channel.feed([entry(A, b"0-0", said("a")), entry(B, A, said("b"))])
    channel._opened, channel.name, told, at = True, b"one", [], channel.end()
    channel.went_back = told.append
    channel.conduit = Answering([[[newest, []]], b"another", 1])
    perform(channel.check(), channel.conduit)
    assert channel.since(at)[0] is None
    assert channel.heard() == newest
    assert told == []
    at = channel.end()
    channel.feed([entry(b"1900000000000-0", newest, said("c"))])
    assert heard(channel, at)[0] == [("c",)]


# -- beside the stream


@pytest.fixture
def beside(journal, fake_clock):
    """A channel with neighbours."""
    return StreamChannel(Layout("app:"), Answering(), most=1000, now=fake_clock.monotonic, beside=Neighbours(journal))


@pytest.fixture
def neighbour(directory):
    journal = Journal(directory)
    neighbour = Neighbours(journal)

    def news():
        messages, neighbour.read = neighbour.news()
        return messages

    yield news
    journal.close()


def test_neighbours_are_told_before_the_server_is(beside, neighbour):
    """Rule 5: with what is owed, of which the server is told all the same."""

    class Asking(Answering):
        def execute(self, batch):
            self.told = neighbour()
            return super().execute(batch)

    message = said("a", kind="written").owing
    beside.conduit = Asking([[b"0-0", A]])
    beside.append(message)
    assert beside.conduit.told == [message]
    assert encode(message.plain) in beside.conduit.sent[0]


def test_of_a_write_they_are_told_by_the_server_alone(beside, neighbour):
    beside.conduit = Answering([[b"0-0", A]])
    beside.append(said("a", kind="written"))
    assert neighbour() == []


def test_they_are_told_what_the_server_could_not_be(beside, neighbour):
    beside.conduit = Answering(AWAY, AWAY)
    for kind in ("key", "written"):
        message = said("a", kind=kind)
        with pytest.raises(TierUnavailable):
            beside.append(message)
        assert neighbour() == ([message] if kind == "key" else []) + [message.owing]


def test_what_neighbours_said_before_their_directory_was_made_anew_is_missed(beside, directory):
    beside.feed([entry(A, b"0-0", said("a"))])
    at = beside.end()
    shutil.rmtree(directory)
    beside.reopen()
    assert beside.since(at)[0] is None


def test_an_invalidation_that_was_interrupted_ends_there(beside):
    """Rule 4: also one of which only neighbours had been told."""
    opening = said("a").opening
    beside.tell_neighbours(opening)
    beside.conduit = Answering([[b"0-0", A]])
    at = beside.end()
    beside.broken_off()
    assert encode(opening.undone) in beside.conduit.sent[0]
    assert beside.since(at)[0] is None
    beside.broken_off()
    assert len(beside.conduit.sent) == 1, "it is over"


def test_whoever_is_interrupted_ends_nothing_of_other_threads(channel):
    other = threading.Thread(target=channel.tell_neighbours, args=[said("a").opening])
    other.start()
    other.join()
    channel.broken_off()
    assert channel.conduit.sent == []


def test_a_forked_child_ends_nothing_of_its_parents(channel):
    channel.tell_neighbours(said("a").opening)
    channel.renew_mutex()
    channel.broken_off()
    assert channel.conduit.sent == []


def test_that_the_server_cannot_be_told_of_an_end_is_no_failure(channel):
    channel.tell_neighbours(said("a").opening)
    channel.conduit = Answering(AWAY)
    at = channel.end()
    channel.broken_off()
    assert channel.since(at)[0] is None


# -- what happens at once on the server


@pytest.fixture
def called(make_remote, redis_url):
    """What a script answers about the key ``k``, and what stands there then."""
    conduit = make_remote(redis_url).conduit

    def call(script, *args):
        (answer,) = perform(replies(script.call(["k"], *args)), conduit)
        return answer, *perform(replies(("GET", "k")), conduit)

    yield call
    perform(replies(("DEL", "k")), conduit)


def test_a_position_is_only_raised_and_made_where_none_is_by_whoever_lost_it(called):
    """Rule 2, on a cluster."""
    assert called(BUMP, "2") == (0, None), "whoever needs it makes it"
    assert called(MARK, "~mine") == (1, b"~mine")
    assert called(REPLACE, "~other", "1") == (0, b"~mine")
    assert called(MARK, "~other") == (1, b"~other"), "one who was killed left it there"
    assert called(REPLACE, "~mine", "1") == (0, b"~other")
    assert called(REPLACE, "~other", "1") == (1, b"1")
    assert called(MARK, "~mine") == (0, b"1")
    assert called(BUMP, "3") == (1, b"3")
    assert called(BUMP, "2") == (0, b"3")


def test_an_invalidation_takes_a_mark_away(called):
    """Or the position that was asked for before it would be put in its place."""
    called(MARK, "~mine")
    assert called(BUMP, "2") == (1, None)
    assert called(REPLACE, "~mine", "1") == (0, None)


def test_the_id_of_the_last_message_is_that_of_the_last(make_remote, redis_url):
    """Who appends after it names it, and where that is wrong everybody has a gap."""
    remote = make_remote(redis_url)
    for name in "ab":
        remote.channel.append(said(name))
        assert do(remote, "GET", remote.layout.last) == remote.channel.heard()


def test_who_opens_sets_no_position_back(make_remote, redis_url):
    """Between his look and his answer to it somebody else may have announced."""
    remote = make_remote(redis_url)
    do(remote, "UNLINK", remote.layout.positions[0])
    late = StreamChannel(remote.layout, remote.conduit, most=1000, now=time.monotonic)
    opening = late.open_plan()
    looked = remote.conduit.execute(next(opening))
    remote.channel.append(said("a"))
    remote.conduit.execute(opening.send(looked))
    opening.close()
    assert do(remote, "GET", remote.layout.positions[0]) == remote.channel.seen()


@pytest.mark.parametrize("known", ["before", "gone"])
def test_who_opens_hears_what_came_since_it_last_heard(make_remote, redis_url, known):
    remote = make_remote(redis_url)
    remote.channel.append(said("a"))
    last = remote.channel.heard() if known == "before" else b"2000000000000-0"
    remote.channel.append(said("b"))
    late = StreamChannel(remote.layout, remote.conduit, most=1000, now=time.monotonic, known=last)
    perform(late.open_plan(), remote.conduit)
    assert late.heard() == remote.channel.heard()
    if known == "before":
        assert heard(late, position_of(last))[0] == [("b",)]
    else:
        assert late.since(position_of(last))[0] is None


# -- with servers


@pytest.fixture(params=["server", "cluster"])
def where(request):
    """A server's URL or a cluster."""
    return request.getfixturevalue("redis_url" if request.param == "server" else "redis_cluster")


@pytest.fixture
def machine(make_remote, where):
    """Channels of one stream, as of several machines."""
    prefixes = {}

    def make(**settings):
        prefix = prefixes.setdefault("one", None)
        made = make_remote(where, **settings) if prefix is None else make_remote(where, key_prefix=prefix, **settings)
        prefixes["one"] = made.layout.prefix
        return made

    return make


def hear(remote):
    perform(remote.channel.check(), remote.conduit)


def do(remote, *command):
    (answer,) = remote.conduit.execute(batch(command))
    if isinstance(answer, Exception):
        raise answer
    return answer


def batch(command):
    from scoutcache.server.commands import Batch

    return Batch([command])


def test_what_one_says_the_others_hear_in_the_same_order(machine):
    one, other = machine(), machine()
    for n in range(5):
        one.channel.append(said(str(n)))
    mine = other.channel.append(said("other"))
    hear(one)
    in_order = [*[(str(n),) for n in range(5)], ("other",)]
    assert heard(one.channel, 0)[0][-6:] == heard(other.channel, 0)[0][-6:] == in_order
    assert mine[0] == AMONG
    assert one.channel.end() == other.channel.end() == mine[1]


def test_an_invalidation_moves_the_positions_that_it_concerns_and_a_write_moves_none(machine):
    one = machine()
    before = [do(one, "GET", name) for name in one.layout.positions]
    one.channel.append(said("a", kind="written"))
    assert [do(one, "GET", name) for name in one.layout.positions] == before
    one.channel.append(said("a"))
    moved = [do(one, "GET", name) for name in one.layout.positions]
    assert sum(new != old for new, old in zip(moved, before, strict=True)) == 1
    assert max(moved) == one.channel.seen()
    one.channel.append(said("a*", kind="pattern"))
    assert {do(one, "GET", name) for name in one.layout.positions} == {one.channel.seen()}


def test_who_hears_late_but_in_time_misses_nothing(machine):
    one, other = machine(), machine()
    at = other.channel.end()
    for n in range(2500):
        one.channel.append(said(str(n), kind="written"))
    hear(other)
    assert heard(other.channel, at)[0] == [(str(n),) for n in range(2500)]


@pytest.mark.parametrize("lost", ["trimmed", "stream", "everything"])
def test_what_was_lost_is_a_gap_for_who_had_not_heard_it(machine, where, lost):
    one, other = machine(), machine()
    for n in range(5):
        one.channel.append(said(str(n)))
    hear(other)
    at = other.channel.end()
    one.channel.append(said("missed"))
    match lost:
        case "trimmed":
            do(one, "XTRIM", one.layout.events, "MAXLEN", 0)
            one.channel.append(said("after", kind="written"))
        case "stream":
            do(one, "UNLINK", one.layout.events)
        case "everything":
            flush(one, where)
    hear(other)
    assert other.channel.since(at)[0] is None
    hear(one)
    assert goes_on(one, other)


def flush(remote, where):
    if isinstance(where, str):
        do(remote, "FLUSHALL")
    else:
        where.flush()


def goes_on(one, other):
    """What is said afterwards is heard by all, and writes compare a position that they have heard."""
    hear(one), hear(other)
    at = other.channel.end()
    one.channel.append(said("again"))
    hear(other)
    standing = [do(one, "GET", name) for name in one.layout.positions]
    newest = max(filter(None, standing), default=b"")
    return heard(other.channel, at)[0] == [("again",)] and newest <= other.channel.seen()


def test_a_server_that_lost_the_stream_and_whose_clock_is_behind_is_noticed(machine, where):
    """The ids of a server that begins anew may be smaller than those that were heard."""
    one, other = machine(), machine()
    ahead = f"{2_000_000_000_000}-0"
    do(one, "XADD", one.layout.events, ahead, "p", "0-0", "m", encode(said("ahead")))
    hear(one), hear(other)
    at = other.channel.end()
    do(one, "UNLINK", one.layout.events, *([one.layout.positions[0]] if isinstance(where, str) else []))
    hear(other)
    assert other.channel.since(at)[0] is None
    assert goes_on(one, other)


def test_a_position_that_was_lost_is_a_gap_for_all_and_comes_back(machine):
    one, other = machine(), machine()
    one.channel.append(said("a"))
    hear(other)
    at = other.channel.end()
    name = one.layout.positions[0]
    do(one, "UNLINK", name)
    perform(one.channel.lose(name), one.conduit)
    assert do(one, "GET", name) == one.channel.seen()
    hear(other)
    assert other.channel.since(at)[0] is None
    perform(one.channel.lose(name), one.conduit)
    assert do(one, "XREVRANGE", one.layout.events, "+", "-", "COUNT", 1)[0][0] == id_text(other.channel.end()).encode()


def test_who_opens_hides_no_loss_of_a_position(machine):
    """A position made anew at nought would let a write pass that began before an invalidation it has not heard of."""
    one, other = machine(), machine()
    at = other.channel.end()
    one.channel.append(said("a"))
    do_each(one, "UNLINK")
    machine()
    standing = [value for value in do_each(one, "GET") if value is not None]
    assert standing
    assert all(value > other.channel.seen() for value in standing)
    hear(other)
    assert other.channel.since(at)[0] is None
    assert goes_on(one, other)


def test_who_only_reads_notices_that_the_position_is_gone(machine, where):
    if not isinstance(where, str):
        pytest.skip("on a cluster those notice it who write or open")
    one, other = machine(), machine()
    one.channel.append(said("a"))
    hear(one), hear(other)
    at = one.channel.end(), other.channel.end()
    do_each(one, "UNLINK")
    hear(other), hear(one)
    assert (one.channel.since(at[0])[0], other.channel.since(at[1])[0]) == (None, None)
    assert do_each(one, "GET") == [one.channel.seen()]
    assert goes_on(one, other)
    at = other.channel.end()
    hear(other)
    assert other.channel.since(at)[0] == [], "it is told once"


def do_each(remote, command):
    return [do(remote, command, name) for name in remote.layout.positions]


def test_a_write_that_finds_its_position_gone_restores_it_and_is_taken(machine, fake_clock):
    from scoutcache.entry import Header, Ref, Row
    from scoutcache.wire.codec import Codec, CodecSettings

    codec = Codec(CodecSettings())
    one, other = machine(), machine()
    ref, now = Ref("default", "k"), fake_clock.wall()
    header = Header(ref=ref, start=1, created=now, fresh_until=now + 60, expires=now + 60)
    live, encoded = codec.hold("value")
    row = Row(header, live, lambda: codec.seal(header, live, encoded))
    do(one, "UNLINK", one.layout.position(ref))
    at = other.channel.end()
    assert one.make_tier(codec).write([row], now) == 1
    assert do(one, "EXISTS", one.layout.position(ref)) == 1
    hear(other)
    assert other.channel.since(at)[0] is None


def test_a_server_that_was_restarted_empty_is_a_gap_for_all(start_redis, make_remote):
    server = start_redis()
    one, other = make_remote(server.url, key_prefix="a:"), make_remote(server.url, key_prefix="a:")
    one.channel.append(said("a"))
    hear(other)
    at = one.channel.end(), other.channel.end()
    server.kill()
    server.restart()
    for remote in (one, other):
        remote.conduit._drop_idle()
    hear(one), hear(other)
    assert (one.channel.since(at[0])[0], other.channel.since(at[1])[0]) == (None, None)
    assert goes_on(one, other)


def test_a_forked_child_hears_on_its_own(machine, where, in_child):
    if not isinstance(where, str):
        pytest.skip("redis-py's cluster client knows of forks itself")
    one, other = machine(), machine()
    at = one.channel.end()

    def child():
        one.channel.renew_mutex()
        one.channel.append(said("child"))
        assert heard(one.channel, at)[0] == [("child",)]

    assert in_child(child) == 0
    assert heard(one.channel, at)[0] == []
    hear(one), hear(other)
    assert heard(one.channel, at)[0] == heard(other.channel, at)[0] == [("child",)]


def test_a_child_forked_while_the_clusters_client_is_locked_asks_the_cluster(redis_cluster, make_remote, in_child):
    remote = make_remote(redis_cluster)
    breaker = remote.breakers.of(remote.conduit.nodes()[0])

    def child():
        remote.breakers.restart()
        remote.conduit.after_fork()
        breaker.failed(Fault(Kind.TIMEOUT, "no answer", None, away=True))
        breaker.answered()
        assert remote.conduit.node_of("k") is not None
        remote.channel.append(said("child"))

    with remote.conduit.client.nodes_manager._lock, breaker._lock:
        assert in_child(child) == 0


