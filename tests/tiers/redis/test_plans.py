"""What a write sends, and what becomes of it where others are faster, on a server and where shards have positions."""

from __future__ import annotations

import time

import pytest

from scoutcache.channels.stream import StreamChannel
from scoutcache.coherence.messages import Message
from scoutcache.entry import KEY_MARK, Header, Ref, Row
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Batch, perform, replies
from scoutcache.server.joining import Calls
from scoutcache.server.layout import Layout, start_text
from scoutcache.tiers.redis import plans as module
from scoutcache.tiers.redis.plans import RedisPlans
from scoutcache.tiers.redis.versions import RedisVersions

NOW = time.time()


def said(kind, *keys):
    return Message(kind, "default", keys, 1, "test")


def ref(key):
    return Ref("default", key)


class Machine:
    """Plans, versions and the stream of one cache, as one machine has them; *sharded* on whatever server."""

    def __init__(self, remote, prefix, *, sharded=False):
        self.layout, self.conduit = Layout(prefix, sharded=sharded), remote.conduit
        self.channel = StreamChannel(self.layout, self.conduit, most=1000, now=time.monotonic)
        self.plans = RedisPlans(self.layout, self.channel, stream_length=1000, draw=lambda: 7 << 24)
        self.versions = RedisVersions(self.layout, catch_up=self.channel.catch_up)
        self.do(self.channel.open_plan())

    def do(self, plan):
        return perform(plan, self.conduit)

    def ask(self, *command):
        return self.do(replies(command))[0]

    def write(self, *rows, allow=None, message=None):
        return self.do(self.plans.write(rows, NOW, allow, message))

    def there(self, *keys):
        return [key for key in keys if self.do(self.plans.read(ref(key), NOW)) is not None]

    def hear(self):
        """The messages that are new to it."""
        at = self.channel.end()
        self.do(self.channel.catch_up())
        return self.channel.since(at)[0]


@pytest.fixture
def machines(make_remote, redis_url):
    remote = make_remote(redis_url)
    return Machine(remote, "plans:"), Machine(remote, "plans:")


@pytest.fixture
def sharded(make_remote, redis_url):
    remote = make_remote(redis_url)
    return Machine(remote, "plans:", sharded=True), Machine(remote, "plans:", sharded=True)


@pytest.fixture
def row(codec):
    def make(key="k", *, start=5, replaces=False, renews=None):
        header = Header(ref=ref(key), start=start, created=NOW, fresh_until=NOW + 600, expires=NOW + 600)
        live, encoded = codec.hold(key)
        made = Row(header, live, lambda: codec.seal(header, live, encoded), replaces=replaces)
        made.renews = renews
        return made

    return make


def test_what_is_heard_while_it_is_asked_whether_it_may_be_stored_is_asked_about_again(machines, row):
    one, other = machines
    answers = [True, False]

    def allow(_):
        if len(answers) == 2:
            other.channel.append(said("key", "k"))
            one.hear()
        return answers.pop(0)

    assert one.write(row(), allow=allow) == 0
    assert answers == []
    assert one.there("k") == []


def test_where_others_announce_all_the_time_it_gives_up(machines, row, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    one, other = machines
    for replaces in (False, True):
        other.write(row(start=1))
        assert one.write(row(replaces=replaces), allow=lambda _: bool(other.channel.append(said("key", "l")))) == 0
        assert one.there("k") == ([] if replaces else ["k"])


@pytest.mark.parametrize("replaces", [False, True])
def test_what_must_not_be_stored_ends_what_it_was_to_replace_and_says_so(machines, row, replaces):
    one, other = machines
    other.write(row(start=1))
    other.channel.append(said("key", "k"))
    message = said("written", "k")
    assert one.write(row(replaces=replaces), allow=lambda _: False, message=message) == 0
    assert one.there("k") == ([] if replaces else ["k"])
    assert other.hear() == ([message] if replaces else [])
    assert one.channel.heard() == other.channel.heard(), "who begins anew must know what forbade it"


def test_it_ends_nothing_that_began_later(machines, row):
    one, other = machines
    other.write(row(start=9))
    one.write(row(replaces=True), allow=lambda _: False)
    assert one.there("k") == ["k"]


@pytest.mark.parametrize("sharded", [False, True], ids=["server", "shards"])
@pytest.mark.parametrize("keys", ["k", "kl"], ids=["one", "two"])
def test_a_full_server_ends_what_somebody_set_and_it_does_not_take(make_remote, start_redis, row, keys, sharded):
    """Or other machines go on with the older value, also when there is room again."""
    server = start_redis("--maxmemory-policy", "noeviction")
    one = Machine(make_remote(server.url), "plans:", sharded=sharded)
    for key in "kl":
        one.write(row(key, start=1))
    server.cli("CONFIG", "SET", "maxmemory", "1")
    for replaces in (False, True):
        with pytest.raises(TierUnavailable, match="oom"):
            one.write(*[row(key, replaces=replaces) for key in keys], message=said("written", *keys))
        assert one.there("k", "l") == [key for key in "kl" if key not in keys or not replaces]


def test_what_is_larger_than_a_server_takes_is_not_sent(machines, row, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)
    one, _ = machines
    assert one.write(row()) == 0
    assert one.there("k") == []


@pytest.mark.parametrize("keys", ["a", "ab"])
def test_its_own_message_is_heard_when_it_returns(machines, row, keys):
    one, other = machines
    at = one.channel.end()
    message = said("written", *keys)
    assert one.write(*map(row, keys), message=message) == len(keys)
    assert one.channel.since(at)[0] == other.hear() == [message]
    assert one.ask("GET", one.layout.last) == one.channel.heard()


def test_others_are_told_of_what_was_sent_alone(machines, row):
    one, other = machines
    message = Message("written", "default", ("a", "b", "c"), 1, "test", same=("a", "c"))
    one.write(*map(row, "abc"), allow=lambda header: header.ref.key != "c", message=message)
    assert [(told.names, told.same) for told in other.hear()] == [(("a", "b"), ("a",))]


def test_what_is_large_is_sent_in_parts(row, monkeypatch):
    rows = [row(key) for key in "abc"]
    monkeypatch.setattr(module, "_BYTES", rows[0].sealed.size * 2)
    assert [len(batch) for batch in module._batches(rows)] == [2, 1]
    monkeypatch.setattr(module, "_BYTES", 1)
    assert [len(batch) for batch in module._batches(rows)] == [1, 1, 1]


def test_the_tag_of_a_key_is_renewed_with_the_write_that_is_taken(machines, row):
    one, _ = machines
    name = KEY_MARK + "k"
    before = one.do(one.versions.current("default", [name], create=True))
    one.write(row(renews=name))
    renewed = one.do(one.versions.current("default", [name]))
    assert renewed == {name: 7 << 24} != before
    one.do(one.versions.renew("default", [name]))
    one.write(row(start=1, renews=name))
    assert one.do(one.versions.current("default", [name])) != renewed, "an older one is not taken"


def test_a_position_that_was_lost_is_a_gap_for_all_before_anything_is_written(machines, row):
    one, other = machines
    at = other.channel.end()
    one.ask("UNLINK", one.layout.positions[0])
    assert one.write(row()) == 1
    other.hear()
    assert other.channel.since(at)[0] is None


def together(machine, rows):
    """The answers to the writes of *rows*, each with its message, that leave as one call."""
    seen = machine.channel.seen()
    calls = Calls([machine.plans._command(row, seen, NOW, said("written", row.header.ref.key)) for row in rows])
    (sent,) = calls.sent
    (answer,) = perform(_carried(sent), machine.conduit)
    return calls.spread([answer])


def _carried(command):
    return (yield Batch([command]))


def test_messages_of_writes_that_leave_together_continue_each_other(machines, row):
    one, other = machines
    assert len(together(one, [row("a"), row("b")])) == 2
    assert other.hear() == [said("written", "a"), said("written", "b")]
    other.channel.append(said("key", "c"))
    assert one.hear()[-1] == said("key", "c")


def test_a_write_that_fails_beside_others_fails_alone(machines, row):
    one, _ = machines
    one.ask("LPUSH", one.layout.entry(ref("a")), "no entry")
    failed, _ = together(one, [row("a"), row("b")])
    assert isinstance(failed, Exception)
    assert one.there("b") == ["b"]


# -- where each shard has its own position


def test_of_several_those_are_tried_again_that_were_refused(sharded, row):
    one, other = sharded
    keys = ["a", next(key for key in "bcdefgh" if one.layout.position(ref(key)) != one.layout.position(ref("a")))]
    other.channel.append(said("key", "a"))
    written = []
    plan = one.plans.write([row(key) for key in keys], NOW, lambda header: written.append(header.ref.key) or True)
    assert one.do(plan) == 2
    assert written == [*keys, "a"]


def test_a_mark_in_place_of_a_position_is_no_leave_to_write(sharded, row):
    one, other = sharded
    at, position = other.channel.end(), one.layout.position(ref("k"))
    one.ask("SET", position, "~of one who died")
    assert one.write(row()) == 1
    other.hear()
    assert other.channel.since(at)[0] is None
    assert not one.ask("GET", position).startswith(b"~")


def test_of_what_was_not_taken_nobody_is_told(sharded, row):
    one, other = sharded
    one.write(row(start=9), message=said("written", "k"))
    assert other.hear() == [said("written", "k")]
    assert one.write(row(start=5), message=said("written", "k")) == 0
    assert other.hear() == []


# -- what lies there


@pytest.mark.parametrize("value", [b"!", start_text(int(NOW * 1e9))[:-1]], ids=["lower", "higher"])
def test_what_is_no_entry_is_written_over_and_never_removed_for_an_older_one(machines, row, value):
    """Shorter than a start it says nothing of when it began."""
    one, _ = machines
    name = one.layout.entry(ref("k"))
    one.ask("SET", name, value)
    assert one.do(one.plans.remove_older({ref("k"): 9})) == 0
    assert one.ask("GET", name) == value
    assert one.write(row()) == 1


def test_one_that_began_just_then_is_removed_as_older(machines, row):
    one, _ = machines
    one.write(row(start=5))
    assert one.do(one.plans.remove_older({ref("k"): 4})) == 0
    assert one.do(one.plans.remove_older({ref("k"): 5})) == 1


# -- versions


def test_who_makes_the_tag_of_a_key_has_heard_who_wrote_it(machines):
    """Rule 3: the writer found no tag, and told nobody that what depends on it is dead."""
    one, other = machines
    other.channel.append(said("written", "k"))
    one.do(one.versions.current("default", ["red"], create=True))
    assert one.channel.heard() != other.channel.heard(), "of other tags that needs nobody"
    one.do(one.versions.current("default", [KEY_MARK + "k"], create=True))
    assert one.channel.heard() == other.channel.heard()


def test_of_two_versions_that_are_made_at_once_the_first_one_stands(machines):
    one, other = machines
    making = one.versions.current("default", ["red"], create=True)
    looked = one.conduit.execute(next(making))
    first = other.do(other.versions.current("default", ["red"], create=True))
    with pytest.raises(StopIteration) as made:
        making.send(one.conduit.execute(making.send(looked)))
    assert made.value.value == first


def test_what_is_owed_has_no_version(machines):
    one, _ = machines
    one.versions.owed = lambda namespace, names: "red" in names
    with pytest.raises(TierUnavailable):
        one.do(one.versions.current("default", ["blue", "red"]))
    assert one.do(one.versions.current("default", ["blue"])) == {}


def test_marking_stale_makes_no_version_and_keeps_the_life(machines):
    one, _ = machines
    before = one.do(one.versions.current("default", ["red"], create=True))
    one.do(one.versions.renew("default", ["red", "absent"], soft=True))
    after = one.do(one.versions.current("default", ["red", "absent"]))
    assert after == {"red": before["red"] + 1}


def test_only_a_version_that_is_current_still_is_forgotten(machines):
    one, _ = machines
    known = one.do(one.versions.current("default", ["red", "blue"], create=True))
    one.do(one.versions.renew("default", ["red"]))
    assert one.do(one.versions.forget("default", known)) == 1
    assert one.do(one.versions.current("default", list(known))).keys() == {"red"}
