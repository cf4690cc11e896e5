"""What was heard of a stream: what continues it, what is missed for good, what only this process was told."""

from __future__ import annotations

import pytest

from scoutcache.channels.heard import AMONG, LOST, Heard, id_text, position_of
from scoutcache.channels.neighbours import Neighbours
from scoutcache.channels.private import PrivateJournal
from scoutcache.coherence.messages import Message, encode
from scoutcache.server.layout import position_text


def said(*names, kind="key", source="test"):
    return Message(kind, "default", names, 1, source)


def entry(identity, before, message, *, mapping=False):
    """As XRANGE gives it: a flat list with RESP2, a mapping with RESP3."""
    fields = {b"p": before, b"m": encode(message)}
    return identity, fields if mapping else [part for pair in fields.items() for part in pair]


@pytest.fixture
def channel():
    return Heard(Neighbours(PrivateJournal()), kept=50_000, known=None)


def heard(channel, position=0):
    messages, end = channel.since(position)
    return None if messages is None else [message.names for message in messages], end


A, B, C = b"1800000000000-0", b"1800000000000-1", b"1800000000005-0"


# -- positions


@pytest.mark.parametrize("identity", [A, B, C, b"1577836800001-1023", b"0-0"])
def test_an_id_is_read_from_its_position(identity):
    assert id_text(position_of(identity)).encode() == identity


def test_positions_sort_as_ids_do():
    assert 0 == position_of(b"0-0") < position_of(A) < position_of(B) < position_of(C)


# -- feeding


@pytest.mark.parametrize("mapping", [False, True])
def test_what_continues_what_was_heard_is_there_and_end_covers_it(channel, mapping):
    channel.feed([entry(A, b"0-0", said("a"), mapping=mapping), entry(B, A, said("b"), mapping=mapping)])
    assert heard(channel) == ([("a",), ("b",)], position_of(B))
    assert heard(channel, position_of(A)) == ([("b",)], position_of(B))
    assert heard(channel, position_of(B)) == ([], position_of(B))
    assert channel.seen() == position_text(1800000000000, 1)


def test_what_is_known_already_is_passed_over(channel):
    for _ in range(3):
        channel.feed([entry(A, b"0-0", said("a")), entry(B, A, said("b"))])
    assert heard(channel)[0] == [("a",), ("b",)]


def test_a_message_that_does_not_continue_is_a_gap(channel):
    """Rule 1: whoever asks from before it is told that something is gone, and from it on everything is there."""
    channel.feed([entry(A, b"0-0", said("a"))])
    channel.feed([entry(C, B, said("c"))])
    assert heard(channel, position_of(A)) == (None, position_of(C))
    assert heard(channel, position_of(C)) == ([], position_of(C))
    assert channel.invalidated() == position_of(C)


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", encode(said("[", kind="pattern")), b"\x93"])
def test_a_message_that_can_not_be_read_is_a_gap(channel, payload):
    channel.feed([(A, [b"p", b"0-0", b"m", payload])])
    assert heard(channel) == (None, position_of(A))


@pytest.mark.parametrize("fields", [[], [b"p"], {}, [b"m", b"x"], ["p", "0-0"], None])
def test_fields_of_a_foreigner_are_a_gap_and_no_error(channel, fields):
    channel.feed([(A, fields if fields is not None else [])])
    assert heard(channel) == (None, position_of(A))


def test_a_position_that_was_never_said_is_a_gap(channel):
    channel.feed([entry(A, b"0-0", said("a"))])
    assert channel.since(position_of(C)) == (None, position_of(A))


def test_only_invalidations_move_what_was_invalidated(channel):
    channel.feed([entry(A, b"0-0", said("a"))])
    channel.feed([entry(B, A, said("b", kind="written"))])
    assert (channel.invalidated(), channel.end()) == (position_of(A), position_of(B))


def test_of_more_than_are_kept_the_older_half_is_a_gap():
    channel = Heard(Neighbours(PrivateJournal()), kept=10, known=None)
    ids = [b"%d-0" % (1_800_000_000_000 + n) for n in range(25)]
    for n, identity in enumerate(ids):
        channel.feed([entry(identity, ids[n - 1] if n else b"0-0", said(str(n)))])
    assert heard(channel)[0] is None
    assert heard(channel, position_of(ids[20]))[0] == [(str(n),) for n in range(21, 25)]


def test_of_more_than_are_kept_nobody_misses_a_message_unnoticed():
    channel = Heard(Neighbours(PrivateJournal()), kept=4, known=None)
    ids = [b"%d-0" % (1_800_000_000_000 + n) for n in range(5)]
    for n, identity in enumerate(ids):
        channel.feed([entry(identity, ids[n - 1] if n else b"0-0", said(str(n)))])
    found = [heard(channel, position_of(identity))[0] for identity in ids]
    assert found == [None, *([(str(n),) for n in range(after + 1, 5)] for after in range(1, 5))]


def test_it_says_whether_any_was_news(channel):
    """Who listens rests longer where it was only what this process had written."""
    assert channel.feed([entry(A, b"0-0", said("a"))])
    assert not channel.feed([entry(A, b"0-0", said("a"))])


def test_what_writes_compare_moves_last():
    """Rule 2: a write that names a message as heard must find what it forbids."""

    moved = []

    class Watched(Heard):
        def __setattr__(self, name, value):
            moved.append(name)
            super().__setattr__(name, value)

    channel = Watched(Neighbours(PrivateJournal()), kept=50_000, known=None)
    moved.clear()
    channel.feed([entry(A, b"0-0", said("a"))])
    assert [name for name in moved if name in {"_end", "_invalidated", "_last"}] == [
        "_end", "_invalidated", "_last",
    ]  # fmt: skip


def test_a_message_of_ones_own_without_a_position_of_its_own_is_not_taken_for_the_last_one(channel):
    """Beyond the last number of a millisecond: who took it for heard would never hear of it."""
    last, beyond = b"1800000000000-1023", b"1800000000000-1024"
    channel.feed([entry(last, b"0-0", said("a"))])
    assert channel.told(said("mine"), last, beyond) is None


def test_more_in_a_millisecond_than_there_are_positions_are_a_gap_and_never_unheard(channel):
    """A server whose clock was set back numbers on within the millisecond that it had reached."""
    ids = [b"1800000000000-%d" % n for n in range(1020, 1030)]
    for n, identity in enumerate(ids):
        at = channel.end()
        channel.feed([entry(identity, ids[n - 1] if n else b"0-0", said(str(n)))])
        assert channel.end() > at
        assert heard(channel, at)[0] == ([(str(n),)] if n < 4 else None)
        assert channel.seen() == position_text(1800000000000, 1020 + n)
    assert channel.told(said("mine"), ids[-1], b"1800000000000-1030") is None, "it is read like another's"
    channel.feed([entry(C, ids[-1], said("c"))])
    assert channel.end() == position_of(C)


# -- what only this process was told


def test_what_was_noted_stands_behind_what_was_heard_and_before_what_comes(channel):
    channel.feed([entry(A, b"0-0", said("a"))])
    channel.note(said("noted"))
    assert heard(channel, position_of(A))[0] == [("noted",)]
    assert channel.seen() == position_text(1800000000000, 0)
    channel.feed([entry(B, A, said("b"))])
    assert heard(channel, position_of(A))[0] == [("noted",), ("b",)]


def test_who_appended_a_message_is_told_the_end_before_it_and_not_where_the_stream_ended(channel):
    """Or he would pass over what was noted in between."""
    channel.feed([entry(A, b"0-0", said("a"))])
    channel.note(said("noted"))
    assert channel.told(said("mine"), A, B) == position_of(A) + 1
    assert channel.told(said("mine"), A, B) == AMONG
    assert channel.told(said("other"), A, C) is None


def test_more_notes_than_there_are_numbers_drop_everything_and_lose_nothing(channel):
    channel.feed([entry(A, b"0-0", said("a"))])
    before = channel.end()
    channel._end += (1 << 30) - 50  # notes, each of which takes a while
    for n in range(100):
        at = channel.end()
        channel.note(said(str(n)))
        messages, _ = channel.since(at)
        assert messages is None or [message.names for message in messages] == [(str(n),)], n
        assert channel.end() > at
    assert channel.since(before)[0] is None
    end = channel.end()
    channel.feed([entry(C, A, said("c"))])
    assert channel.since(end)[0] in (None, [said("c")])
    assert channel.end() == position_of(C)


def test_what_a_write_said_beside_others_is_noted_until_the_stream_brings_it(channel):
    """Who reads an older value from then on must know."""
    channel.feed([entry(A, b"0-0", said("a"))])
    at = channel.end()
    channel.wrote(said("mine", kind="written"), B, C)
    assert heard(channel, at)[0] == [("mine",)]
    assert channel.heard() == A
    at = channel.end()
    channel.wrote(said("next", kind="written"), A, C)
    assert heard(channel, at) == ([("next",)], position_of(C))


def test_it_begins_behind_what_was_said_before_with_that_at_hand(channel):
    channel.begin(C, [entry(B, A, said("b")), entry(C, B, said("c"))])
    assert heard(channel, position_of(A)) == ([("b",), ("c",)], position_of(C))
    assert channel.heard() == C


def test_it_begins_behind_what_others_lost(channel):
    channel.begin(C, [entry(B, LOST, said("b")), entry(C, B, said("c"))])
    assert heard(channel, position_of(C)) == ([], position_of(C))
    assert channel.heard() == C


def test_it_begins_where_it_is_told_to_though_that_was_trimmed_away(channel):
    channel.begin(C, [entry(B, A, said("b"))])
    assert heard(channel, position_of(B)) == (None, position_of(C))
    assert channel.heard() == C


@pytest.fixture
def waiting():
    """It knows of the stream up to B, and its server is away."""
    return Heard(Neighbours(PrivateJournal()), kept=50_000, known=B)


def names_after(channel, position):
    found = channel.since(position)[0]
    return None if found is None else [message.names[0] for message in found]


def test_what_was_noted_before_it_began_stays_where_it_was(waiting):
    """Else who noted a position while the server was away would not hear of what came behind it."""
    seen = []
    for name in "vwx":
        waiting.note(said(name))
        seen.append(waiting.end())
    invalidated = waiting.invalidated()
    waiting.begin(B, [entry(A, b"0-0", said("a")), entry(B, A, said("b"))])
    assert (waiting.end(), waiting.invalidated()) == (seen[-1], invalidated)
    waiting.note(said("y"))
    waiting.feed([entry(C, B, said("c"))])
    assert [names_after(waiting, position) for position in seen] == [["w", "x", "y", "c"], ["x", "y", "c"], ["y", "c"]]
    assert names_after(waiting, position_of(A)) == ["b", "v", "w", "x", "y", "c"]


def test_what_was_missed_before_it_began_stays_missed(waiting):
    waiting.note(said("v"))
    position = waiting.end()
    waiting.miss()
    after = waiting.end()
    waiting.begin(B, [entry(B, A, said("b"))])
    assert waiting.end() == waiting.invalidated() == after
    assert [names_after(waiting, one) for one in (position_of(B), position, after)] == [None, None, []]


@pytest.mark.parametrize("before", [[entry(A, b"0-0", said("a")), entry(B, A, said("b"))], []])
def test_who_noted_a_position_before_anything_was_known_has_missed_something(channel, before):
    channel.note(said("v"))
    position = channel.end()
    channel.note(said("w"))
    channel.begin(B, before)
    channel.feed([entry(C, B, said("c"))])
    assert names_after(channel, position) is None
    assert names_after(channel, position_of(B)) == ["c"]


def test_a_stream_that_began_anew_behind_what_was_heard_was_missed(channel):
    channel.feed([entry(C, b"0-0", said("c"))])
    seen = channel.end()
    assert not channel.missed_of_stream(seen)
    channel.begin(A, [])
    assert channel.missed_of_stream(seen)


def test_what_was_half_kept_at_a_fork_is_a_gap_for_the_child(channel, in_child):
    channel.feed([entry(A, b"0-0", said("a"))])

    def child():
        channel.renew_mutex()
        assert heard(channel, position_of(A))[0] is None
        channel.feed([entry(B, A, said("b")), entry(C, B, said("c"))])
        assert heard(channel, channel._base) == ([("b",), ("c",)], position_of(C))

    with channel._lock:
        channel._positions.append(position_of(B))  # as far as `_keep` has come
        assert in_child(child) == 0
        channel._positions.pop()
    channel.renew_mutex()
    assert heard(channel) == ([("a",)], position_of(A))


def test_the_word_for_lost_is_no_id():
    assert not LOST[:1].isdigit()


# -- a server that has lost what it had taken


LATER = b"1800000000009-0"


@pytest.mark.parametrize("how", ["another's message", "said so"])
def test_what_was_heard_and_the_server_has_lost_is_told(waiting, how):
    """It goes on from A, and had given B and C."""
    told = []
    waiting.went_back = told.append
    waiting.begin(A, [entry(A, b"0-0", said("a"))])
    waiting.feed([entry(B, A, said("b")), entry(C, B, said("c"))])
    waiting.feed([entry(LATER, A, said("d")) if how == "another's message" else (LATER, [b"p", LOST, b"m", A])])
    assert [[message.names[0] for message in lost] for lost in told] == [["b", "c"]]
    assert waiting.since(position_of(C))[0] is None, "and a gap it is"


def test_of_what_was_heard_too_long_ago_nobody_can_say_what_it_was(waiting):
    told = []
    waiting.went_back = told.append
    waiting.feed([entry(C, A, said("c"))])
    assert told == [None]


@pytest.mark.parametrize("payload", [b"0-0", b"", B, C, b"x"])
def test_who_lost_nothing_older_is_told_nothing(waiting, payload):
    told = []
    waiting.went_back = told.append
    waiting.feed([(LATER, [b"p", LOST, b"m", payload])])
    assert told == []


# -- what a neighbour was told


def test_what_a_neighbour_was_told_beyond_is_heard_as_if_the_stream_had_told_it(channel):
    other = Heard(Neighbours(PrivateJournal()), kept=50_000, known=None)
    channel.feed([entry(A, b"0-0", said("a"))])
    other.feed([entry(A, b"0-0", said("a")), entry(B, A, said("b"))])
    other.told(said("c"), B, C)
    assert channel.retell(other.told_lately(), C)
    assert heard(channel, position_of(A)) == ([("b",), ("c",)], position_of(C))
    assert channel.heard() == C


@pytest.mark.parametrize("known", [b"0-0", b"1800000000000-2"], ids=["some are gone", "of another past"])
def test_what_does_not_continue_what_was_heard_is_not(channel, known):
    channel.feed([entry(known, b"0-0", said("a"))])
    assert not channel.retell([(B, A, said("b")), (C, B, said("c"))], C)
    assert not channel.retell([], C)
    assert channel.heard() == known
