"""The processes of one machine beside their server: what they say, what of it is news, and what the stream repeats."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from scoutcache.channels.heard import Heard, position_of
from scoutcache.channels.journal import Journal
from scoutcache.channels.neighbours import Neighbours, said_before, said_instead
from scoutcache.channels.page import END
from scoutcache.channels.private import PrivateJournal
from scoutcache.coherence.messages import encode
from scoutcache.errors import TierUnavailable

A, B = b"1800000000000-0", b"1800000000005-0"


@pytest.fixture
def other(directory):
    """A neighbour."""
    journal = Journal(directory)
    yield Neighbours(journal)
    journal.close()


@pytest.fixture
def here(journal):
    return Neighbours(journal)


@pytest.fixture
def heard(here):
    return Heard(here, kept=50_000, known=None)


def news(here):
    messages, here.read = here.news()
    return messages


def stream(identity, before, message):
    return identity, [b"p", before, b"m", encode(message)]


@pytest.fixture
def at_ease(monkeypatch):
    """An outage is over for all as soon as it is over."""
    monkeypatch.setattr("scoutcache.channels.neighbours._UNEASY", 0.0)


def test_what_a_neighbour_said_is_news_once(here, other, said):
    other.tell(said("a"))
    assert here.is_ahead
    assert news(here) == [said("a")]
    assert not here.is_ahead


def test_what_it_said_itself_is_none(here, other, said):
    here.tell(said("mine"))
    other.tell(said("a"))
    here.tell(said("mine too"))
    assert news(here) == [said("a")]


def test_the_same_words_of_a_neighbour_are(here, other, said):
    here.tell(said("a"))
    other.tell(said("a"))
    assert news(here) == [said("a")]


def test_what_it_could_not_say_leaves_nothing_to_be_passed_over(here, other, said, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError

    with monkeypatch.context() as refusing:
        refusing.setattr(here.journal, "append", refuse)
        with pytest.raises(BlockingIOError):
            here.tell(said("a"), wait=False)
    other.tell(said("a"))
    assert news(here) == [said("a")]


def test_a_journal_that_cannot_be_written_is_no_failure(here, said):
    here.journal.close()
    here.tell(said("a"))


def test_what_was_lost_is_a_gap(directory, said):
    journal = Journal(directory, limit=200)
    here, other = Neighbours(journal), Neighbours(Journal(directory, limit=200))
    for n in range(200):
        other.tell(said(str(n)))
    assert news(here) is None
    assert news(here) == []
    for one in (journal, other.journal):
        one.close()


@pytest.mark.parametrize("kind", ["key", "written"])
def test_who_is_told_what_before_the_server_and_instead_of_it(said, kind):
    """Rules 1 and 2: once, and nobody is told of an opening that it is over."""
    message = said("a", kind=kind)
    assert said_before(message) == (message if kind == "key" else None)
    assert said_instead(message) == message.owing
    assert said_before(message.owing) == message.owing
    assert said_instead(message.owing) is None
    assert said_instead(said("a").opening) is None


def test_copies_that_never_come_are_forgotten(here, said, monkeypatch):
    monkeypatch.setattr("scoutcache.channels.neighbours._COPIES", 2)
    for name in "abc":
        here.expect(said(name))
    assert [here.has_heard(said(name)) for name in "abc"] == [False, True, True]


def test_who_must_not_wait_does_not(here, journal, said, monkeypatch):
    def refuse(_, *, wait):
        assert not wait
        raise BlockingIOError

    monkeypatch.setattr(journal, "append", refuse)
    monkeypatch.setattr("scoutcache.channels.neighbours.time.sleep", lambda _: pytest.fail("it waits"))
    with pytest.raises(BlockingIOError):
        here.tell(said("a"), wait=False)


def test_in_a_directory_made_anew_nothing_is_news_yet_and_nothing_its_own(here, other, said, directory):
    here.tell(said("a"))
    shutil.rmtree(directory)
    here.reopen()
    assert not here.is_ahead
    other.reopen()
    other.tell(said("a"))
    assert news(here) == [said("a")]


def test_a_child_forked_while_its_parent_speaks_can_speak(said, in_child):
    here = Neighbours(PrivateJournal())
    heard = Heard(here, kept=50_000, known=None)

    def work():
        heard.renew_mutex()
        here.tell(said("mine"))
        assert news(here) == []

    with here.journal._mutex, here._lock:
        assert in_child(work) == 0


def test_a_forked_child_hears_its_parent(here, said, in_child):
    here.tell(said("mine"))

    def work():
        here.renew()
        assert news(here) == [said("mine")]

    assert in_child(work) == 0


# -- as part of what was heard


def test_it_is_heard_by_whoever_asks_for_the_end(heard, other, said):
    at = heard.end()
    other.tell(said("a"))
    assert heard.since(heard.end() - 1)[0] == [said("a")]
    assert heard.end() == heard.invalidated() == at + 1


def test_it_is_heard_by_whoever_asks_only_for_what_was_invalidated(heard, other, said):
    """As a write does, inside the tier."""
    at = heard.end()
    other.tell(said("a"))
    assert heard.invalidated() == at + 1


def test_its_copy_in_the_stream_says_nothing_new(heard, other, said):
    other.tell(said("a"))
    at = heard.end()
    heard.feed([stream(A, b"0-0", said("a")), stream(B, A, said("b"))])
    assert heard.since(at) == ([said("b")], position_of(B))
    assert heard.heard() == B


def test_what_was_said_twice_has_two_copies(heard, other, said):
    """As where entries are marked stale: before and after it with the same words."""
    other.tell(said("a"))
    other.tell(said("a"))
    heard.feed([stream(A, b"0-0", said("a")), stream(B, A, said("a"))])
    assert heard.since(0)[0] == [said("a"), said("a")]


def test_a_copy_alone_moves_the_position_and_forbids_nothing(heard, other, said):
    other.tell(said("a"))
    invalidated = heard.end()
    heard.feed([stream(A, b"0-0", said("a"))])
    assert (heard.end(), heard.invalidated(), heard.heard()) == (position_of(A), invalidated, A)
    assert heard.announced() == position_of(A), "who waits at the server is told at once"


def test_the_stream_is_not_heard_before_the_neighbour_whom_it_repeats(heard, other, said):
    """Who announces has told the neighbours before."""
    other.tell(said("a"))
    heard.feed([stream(A, b"0-0", said("a"))])
    assert heard.since(0)[0] == [said("a")]


@pytest.mark.parametrize("kind", ["key", "written"])
def test_what_the_server_heard_and_did_not_do_is_not_over_for_neighbours(heard, other, said, kind):
    message = said("a", kind=kind)
    other.tell(message.owing)
    heard.feed([stream(A, b"0-0", message)])
    assert heard.since(0)[0] == [message.owing]


@pytest.fixture
def lose(here, said, monkeypatch):
    """Something that a neighbour said is missed."""

    def lose_one():
        with monkeypatch.context() as losing:
            losing.setattr(here.journal, "since", lambda *_: (None, here.journal.end()))
            here.journal.append(said("lost"))
            yield

    return contextmanager(lose_one)


def test_a_gap_among_neighbours_is_a_gap(heard, lose, said):
    heard.feed([stream(A, b"0-0", said("a"))])
    at = position_of(A)
    with lose():
        assert heard.end() > at
    assert heard.since(at)[0] is None


def test_a_gap_among_neighbours_is_none_of_the_stream(heard, lose, said):
    """The disk they share drops nothing for it: they did themselves what they said."""
    heard.feed([stream(A, b"0-0", said("a"))])
    seen = heard.end()
    with lose():
        assert heard.end() > seen
    assert not heard.missed_of_stream(seen)
    heard.feed([stream(B, b"1800000000001-0", said("b"))])
    assert heard.missed_of_stream(seen)
    assert not heard.missed_of_stream(heard.end())


def test_what_was_lost_with_ones_own_words_is_news_when_a_neighbour_says_the_same(here, other, lose, said):
    here.tell(said("mine"))
    with lose():
        assert news(here) is None
    other.tell(said("mine"))
    assert news(here) == [said("mine")]


def test_hits_may_compare_what_was_applied_and_nothing_else(heard, other, journal, said):
    told = []
    heard.settle(heard.end(), told.append)
    assert told == [journal.words[END]]
    heard.note(said("noted"))
    assert told[-1] == -1
    heard.settle(heard.end() - 1, told.append)
    assert told[-1] == -1, "it was heard, and is not applied"
    heard.settle(heard.end(), told.append)
    assert told[-1] == journal.words[END]
    other.tell(said("a"))
    assert told[-1] != journal.words[END]
    heard.settle(heard.end(), told.append)
    assert told[-1] == journal.words[END]


def test_hits_go_the_short_way_after_what_it_said_itself(heard, here, journal, said):
    told = []
    here.tell(said("mine"))
    heard.settle(heard.end(), told.append)
    assert told == [journal.words[END]]
    at = heard.end()
    here.tell(said("mine too"))
    heard.settle(at, told.append)
    assert told[-1] == journal.words[END]


def test_it_has_not_read_what_is_not_noted_yet(heard, here, other, said, monkeypatch):
    """Who finds it read, while another thread is about to note it, would take what it names for valid."""
    other.tell(said("a"))
    asked, note = [], heard._note
    monkeypatch.setattr(heard, "_note", lambda message: (asked.append(here.is_ahead), note(message)))
    heard.end()
    assert asked == [True]


def test_a_directory_that_cannot_be_made_anew_is_no_failure(here, journal, said, monkeypatch):
    def refuse():
        raise TierUnavailable("journal", "read-only")

    monkeypatch.setattr(journal, "reopen", refuse)
    here.reopen()
    here.tell(said("a"))
    assert not here.journal.replaced()


@pytest.fixture
def slept(monkeypatch):
    """Seconds that were waited; the clock moves by nothing else."""
    naps = []

    class Time:
        monotonic = staticmethod(lambda: sum(naps))
        sleep = staticmethod(naps.append)

    monkeypatch.setattr("scoutcache.channels.neighbours.time", Time)
    return naps


def busy(journal, monkeypatch, *, times):
    """Somebody else speaks, for as many tries."""
    append, left = journal.append, [None] * times

    def refuse(message, *, wait=True):
        if left:
            left.pop()
            raise BlockingIOError
        return append(message, wait=wait)

    monkeypatch.setattr(journal, "append", refuse)


def test_a_busy_neighbour_is_waited_for(here, other, journal, said, slept, monkeypatch):
    """What an invalidation names is gone for all of the machine when it returns, also where many processes speak."""
    busy(journal, monkeypatch, times=200)
    here.tell(said("a"))
    assert 0.3 < sum(slept) < 0.5
    assert news(other) == [said("a")]


def test_a_neighbour_that_stopped_while_it_spoke_holds_each_up_once(here, other, journal, said, slept, monkeypatch):
    busy(journal, monkeypatch, times=10_000)
    here.tell(said("a"))
    assert not here._own
    once = sum(slept)
    here.tell(said("b"))
    assert sum(slept) == once < 1.1
    monkeypatch.undo()
    here.tell(said("c"))
    assert news(other) == [said("c")]


def test_who_spoke_again_waits_again(here, journal, said, slept, monkeypatch):
    busy(journal, monkeypatch, times=600)
    here.tell(said("a"))
    once = sum(slept)
    while not here._awaits_turn:
        here.tell(said("b"))
    busy(journal, monkeypatch, times=10)
    here.tell(said("c"))
    assert sum(slept) > once


def test_what_the_server_cannot_be_told_is_waited_for(here, journal, said, monkeypatch):
    """Nobody else tells it; on a busy machine who speaks may be kept from it for longer than a tenth of a second."""
    waits = []
    monkeypatch.setattr(journal, "append", lambda _, *, wait=True: waits.append(wait))
    here.tell(said("a"))
    here.tell(said("a").owing)
    here.tell(said("a").owing, wait=False)
    assert waits == [False, True, False]


def test_what_nobody_could_be_told_is_a_gap(here, other, journal, said, monkeypatch):
    monkeypatch.setattr("scoutcache.channels.exclusion.PATIENCE", 0.01)
    with journal._locked().held():
        here.tell(said("a").owing)
    here.tell(said("b"))
    assert news(other) is None
    assert not here._own or news(here) is None


def test_who_comes_later_hears_of_debts_and_of_what_was_done_about_them(here, other, said):
    here.tell(said("a"))
    assert other.lately() == []
    here.tell(said("b").owing)
    assert other.lately() == [said("a"), said("b").owing]


def test_a_segment_without_debts_is_not_read(here, other, said, journal, monkeypatch):
    journal._segment = other.journal._segment = 100
    here.tell(said("a" * 100).owing)
    here.tell(said("b"))
    monkeypatch.setattr(other.journal, "_part", lambda *_: pytest.fail("it reads"))
    assert other.lately() == []


@pytest.mark.usefixtures("at_ease")
def test_a_write_that_was_owed_is_told_when_it_is_done_and_once(here, other, said):
    def written(*names):
        return said(*names, kind="written")

    here.written(written("a"))
    here.tell(written("a", "b").owing)
    here.written(written("c"))
    here.written(written("a"))
    later = replace(written("a"), stamp=2)
    here.written(later)
    here.written(later)
    assert news(other) == [written("a", "b").owing, later]


@pytest.mark.usefixtures("at_ease")
def test_what_cannot_be_told_to_be_done_is_told_the_next_time(here, other, said, monkeypatch):
    owed = said("a", kind="written").owing
    message = replace(said("a", kind="written"), stamp=2)
    here.tell(owed)

    def refuse(*_, **__):
        raise BlockingIOError

    with monkeypatch.context() as refusing:
        refusing.setattr(here.journal, "append", refuse)
        here.written(message)
    here.written(message)
    assert news(other) == [owed, message]


def test_of_a_flood_of_debts_not_all_are_remembered(here, said, monkeypatch):
    monkeypatch.setattr("scoutcache.channels.neighbours._OWING", 2)
    for name in "abcd":
        here.tell(said(name, kind="written").owing)
    assert len(here._owing) == 2


@pytest.mark.usefixtures("at_ease")
@pytest.mark.parametrize("kind", ["key", "written"])
@pytest.mark.parametrize("how", ["news", "lately"])
def test_what_somebody_else_owed_is_told_when_it_is_done_and_once(here, other, said, kind, how):
    """Or who starts later would owe it for ever."""
    debt, done = replace(said("a", "b", kind=kind), stamp=5).owing, replace(said("a", kind="written"), stamp=6)
    other.tell(debt)
    news(here) if how == "news" else here.lately()
    here.written(replace(done, stamp=4))
    assert news(other) == []
    here.written(done)
    here.written(done)
    other.written(done)
    assert news(other) == [done]
    other.written(done)
    here.written(replace(done, names=("b",)))
    assert news(other) == [replace(done, names=("b",))]


@pytest.mark.usefixtures("at_ease")
def test_what_was_removed_after_all_is_not_told_to_be_written(here, other, said):
    here.tell(said("a").owing)
    done = replace(said("a"), stamp=2)
    here.tell(done.opening)
    assert here._owing
    here.tell(done)
    here.written(replace(said("a", kind="written"), stamp=3))
    assert news(other) == [said("a").owing, done.opening, done]


@pytest.fixture
def written_lately(here, said, monkeypatch):
    """Written at times that are told, with stamps beside."""

    def write(at, stamp, *names, same=()):
        monkeypatch.setattr("scoutcache.channels.neighbours.time.monotonic", lambda: at)
        here.written(replace(said(*names, kind="written"), stamp=stamp, same=same))

    return write


def test_what_was_written_lately_is_said_again_once_as_one(here, other, written_lately):
    written_lately(3.0, 30, "long ago")
    written_lately(5.0, 50, "a", "b")
    written_lately(5.5, 20, "c", "d", same=("c",))
    here.say_again(1.0)
    (message,) = news(other)
    assert (message.kind, message.names, message.stamp, message.owed) == ("written", ("a", "b", "d"), 20, False)
    here.say_again(1.0)
    assert not news(other)


def test_of_equal_values_nothing_is_said_again(here, other, written_lately):
    written_lately(5.0, 50, "c", same=("c",))
    here.say_again(1.0)
    assert not news(other)


@pytest.mark.parametrize("how", ["said", "heard", "gone", "back"])
def test_after_an_outage_writes_are_told_until_all_have_noticed(here, other, said, monkeypatch, how):
    """What a neighbour stored meanwhile has no version that could be renewed, and the stream is read a moment later."""
    now = [100.0]
    monkeypatch.setattr("scoutcache.channels.neighbours.time.monotonic", lambda: now[0])
    here.written(said("early", kind="written"))
    if how == "said":
        here.tell(said("k", kind="written").owing)
    elif how == "heard":
        other.tell(said("k", kind="written").owing)
        news(here)
    elif how == "gone":
        here.say_again(0.0)
    else:
        here.be_uneasy()
    news(other)
    here.written(said("a", kind="written"))
    assert [message.names for message in news(other)] == [("a",)]
    now[0] += 6
    here.written(said("b", kind="written"))
    assert not news(other)


def test_who_is_cut_off_alone_is_told_what_was_written_just_before_and_from_then_on(here, other, said):
    here.written(said("before", kind="written"))
    here.answer()
    assert news(other) == []
    other.ask("other")
    assert [message.names for message in news(here)] == [()]
    here.written(said("after", kind="written"))
    here.answer()
    here.answer()
    assert [message.names for message in news(other)] == [("after",), ("before", "after")]


def test_one_asks_for_all_and_no_more_often_than_need_be(here, other):
    here.ask("here")
    here.ask("here")
    assert len(news(other)) == 1
    other.ask("other")
    assert news(here) == []
