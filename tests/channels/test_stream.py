"""The stream as a channel: what is heard, what is missed for good, what is lost and noticed."""

from __future__ import annotations

import pytest

from scoutcache.channels.heard import AMONG, id_text, position_of
from scoutcache.channels.stream import StreamChannel
from scoutcache.coherence.messages import Message, encode
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import perform
from scoutcache.server.faults import Fault, Kind, unavailable
from scoutcache.server.layout import Layout


def said(*names, kind="key", source="test"):
    return Message(kind, "default", names, 1, source)


def entry(identity, before, message, *, mapping=False):
    """As XRANGE gives it: a flat list with RESP2, a mapping with RESP3."""
    fields = {b"p": before, b"m": encode(message)}
    return identity, fields if mapping else [part for pair in fields.items() for part in pair]


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


