"""How one process keeps up: what is applied, in which order, and what happens when something was missed."""

from __future__ import annotations

import shutil
import threading

import pytest
from msgspec.structs import replace

from scoutcache.channels.follower import Follower
from scoutcache.channels.journal import Journal
from scoutcache.channels.page import END
from scoutcache.channels.private import PrivateJournal
from scoutcache.channels.stream import StreamChannel
from scoutcache.entry import KEY_MARK
from scoutcache.errors import TierUnavailable
from scoutcache.server.faults import Fault, Kind, unavailable
from scoutcache.server.layout import Layout


class Answering:
    """A conduit with its answers ready."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def execute(self, _):
        return self.answers.pop(0)


class Refusing:
    """A conduit to a server that is away."""

    def __init__(self, error):
        self.error = error

    def execute(self, _):
        raise self.error


class Holding:
    """Keeps what it was told."""

    def __init__(self):
        self.told, self.drops = [], 0

    def apply(self, message):
        self.told += message.names

    def drop(self):
        self.drops += 1


@pytest.fixture
def holding():
    return Holding()


@pytest.fixture
def positions():
    return []


@pytest.fixture
def follower(journal, holding, positions):
    return Follower(journal, "me", [holding], positions.append)


def test_what_others_announced_is_applied_once(follower, journal, holding, said):
    journal.append(said("a", source="you"))
    follower.sync()
    follower.sync()
    assert holding.told == ["a"]
    assert follower.seen == journal.end()


def test_what_was_announced_before_it_began_is_not_its_concern(journal, holding, said):
    journal.append(said("a"))
    Follower(journal, "me", [holding], lambda _: None).sync()
    assert holding.told == []


def test_its_own_announcement_is_applied_at_once(follower, holding, positions, journal, said):
    follower.announce(said("a", source="me"))
    assert holding.told == ["a"]
    assert positions[-1] == journal.end()


def test_its_own_announcement_waits_for_what_came_before(follower, journal, holding, said):
    journal.append(said("a", source="you"))
    follower.announce(said("b", source="me"))
    assert holding.told == ["a", "b"]


def test_its_own_writes_are_left_to_the_engine_but_watchers_hear_of_them(journal, holding, said):
    """And of what depends on them all hear."""
    watching = Holding()
    follower = Follower(journal, "me", [holding], lambda _: None, watchers=[watching])
    follower.announce(said("a", source="me", kind="written"))
    journal.append(said("b", source="you", kind="written"))
    follower.sync()
    assert holding.told == [KEY_MARK + "a", "b"]
    assert watching.told == ["a", "b"]


def test_of_anothers_writes_only_what_concerns_what_is_held_is_applied(follower, journal, holding, said):
    follower.of_written = lambda message: replace(message, names=message.names[1:])
    journal.append(said("mine", source="you"))
    journal.append(replace(said("mine", source="you", kind="written"), names=("mine", "yours")))
    follower.sync()
    assert holding.told == ["mine", "yours"]


def test_the_position_moves_only_after_everything_was_applied(journal, said):
    positions = []

    class Watching(Holding):
        def apply(self, message):
            super().apply(message)
            assert positions[-1] == before

    follower = Follower(journal, "me", [Watching()], positions.append)
    before = journal.end()
    journal.append(said("a"))
    follower.sync()
    assert positions == [before, journal.end()]


def test_a_gap_drops_everything(directory, holding, said):
    journal = Journal(directory, limit=200)
    follower = Follower(journal, "me", [holding], lambda _: None)
    for i in range(20):
        journal.append(said(f"{i}"))
    follower.sync()
    assert holding.drops == 1
    assert holding.told == []
    assert follower.seen == journal.end()


def lose(journal):
    """Everybody has missed something."""
    with journal._lock.held():
        journal._gap()


def test_a_gap_is_told_to_watchers_too(journal, holding):
    watching = Holding()
    follower = Follower(journal, "me", [holding], lambda _: None, watchers=[watching])
    lose(journal)
    follower.sync()
    assert (holding.drops, watching.drops) == (1, 1)


def test_what_is_under_way_counts_as_not_begun(journal, follower, said):
    """Rule 4: who begins meanwhile may look at what is about to go."""
    before = journal.end()
    journal.append(said("a", source="you").opening)
    journal.append(said("b", source="another"))
    follower.sync()
    assert follower.noted() == before < follower.seen
    journal.append(said("a", source="you"))
    follower.sync()
    assert follower.noted() == follower.seen


def test_after_a_gap_is_under_way_what_the_channel_still_knows_of(journal, follower, said, monkeypatch):
    journal.append(said("forgotten", source="you").opening)
    follower.sync()
    known = said("known", source="you").opening
    monkeypatch.setattr(journal, "recent", lambda: ([known], follower.seen))
    lose(journal)
    follower.sync()
    assert follower.opened.messages() == [known]


def test_of_its_own_writes_that_are_owed_what_depends_on_them_goes(follower, holding, said):
    follower.announce(said("a", source="me", kind="written").owing)
    assert holding.told == [KEY_MARK + "a"]


def test_running_computations_are_told_of_a_position_before_anybody_else(journal, holding, said):
    order = []
    follower = Follower(journal, "me", [holding], lambda _: order.append("moved"),
                        settled=lambda _: order.append("settled"))  # fmt: skip
    follower.applied = lambda _: order.append("applied")
    order.clear()
    follower.announce(said("a", source="me"))
    assert order == ["settled", "applied", "moved"]


def test_who_writes_all_the_time_keeps_nobody_for_ever(journal, follower, said, monkeypatch):
    asked, since = [], journal.since

    def writing(*given):
        asked.append(given)
        answer = since(*given)
        if len(asked) < 20:
            journal.append(said("more", source="you"))
        return answer

    monkeypatch.setattr(journal, "since", writing)
    journal.append(said("a", source="you"))
    follower.sync()
    assert len(asked) == 1


def test_while_somebody_watches_hits_no_position_is_told(journal, holding, said):
    watched, positions = [False], []
    follower = Follower(journal, "me", [holding], positions.append, watched=lambda: watched[0])
    watched[0] = True
    follower.say_position()
    journal.append(said("a"))
    follower.sync()
    assert positions[1:] == [-1, -1]
    watched[0] = False
    follower.say_position()
    assert positions[-1] == journal.end()


class Looking:
    """Looks at the journal's page."""

    def __init__(self, journal):
        self.journal = journal
        self.look_anew()

    def look_anew(self):
        self.words = self.journal.words


def test_a_replaced_journal_is_opened_anew_and_whoever_looks_at_its_page_looks_at_the_new_one(
    follower, journal, holding, positions, said
):
    looking, gone = Looking(journal), Looking(journal)
    old = journal.words
    follower.on_reopen(looking.look_anew)
    follower.on_reopen(gone.look_anew)
    del gone
    assert not follower.reopen_if_replaced()
    shutil.rmtree(journal.directory)
    before = len(positions)
    assert follower.reopen_if_replaced()
    assert holding.drops >= 1
    assert positions[before] == -1, "until everybody does"
    assert looking.words is journal.words
    assert positions[-1] == journal.end() != old[END]
    Journal(journal.directory).append(said("b", source="you"))
    follower.sync()
    assert holding.told == ["b"]
    assert positions[-1] == looking.words[END]


def test_what_is_put_into_memory_while_a_journal_is_opened_anew_is_dropped_as_well(
    follower, journal, holding, monkeypatch
):
    drops, reopen = [], journal.reopen

    def reopening():
        drops.append(holding.drops)
        reopen()

    monkeypatch.setattr(journal, "reopen", reopening)
    shutil.rmtree(journal.directory)
    assert follower.reopen_if_replaced()
    assert [*drops, holding.drops] == [1, 2]


def test_while_a_replaced_journal_is_opened_nobody_waits_for_it(follower, journal, positions, monkeypatch):
    def reopen(reopen=journal.reopen):
        reading = threading.Thread(target=follower.sync)
        journal.words[END] += 1  # the old page's
        reading.start()
        reading.join(20)
        assert not reading.is_alive()
        assert positions[-1] == -1
        reopen()

    monkeypatch.setattr(journal, "reopen", reopen)
    shutil.rmtree(journal.directory)
    assert follower.reopen_if_replaced()
    assert positions[-1] == journal.end()


def test_while_a_replaced_journal_cannot_be_opened_hits_ask(follower, journal, positions):
    shutil.rmtree(journal.directory)
    journal.directory.write_text("in the way")
    with pytest.raises(TierUnavailable):
        follower.reopen_if_replaced()
    assert positions[-1] == -1


def test_a_process_that_can_share_nothing_talks_to_itself(said):
    journal, holding = PrivateJournal(capacity=3), Holding()
    follower = Follower(journal, "me", [holding], lambda _: None)
    start = journal.end()
    follower.announce(said("a"))
    assert holding.told == ["a"]
    assert journal.invalidated() == journal.end() == start + 1
    for key in "bcd":
        follower.announce(said(key))
    assert journal.since(start)[0] is None, "more than it keeps"
    assert [message.names[0] for message in journal.since(start + 1)[0]] == ["b", "c", "d"]


def test_a_process_that_slept_applies_what_it_missed_in_pieces(
    journal, holding, positions, follower, said, monkeypatch
):
    monkeypatch.setattr("scoutcache.channels.follower._AT_ONCE", 200)
    for i in range(40):
        journal.append(said(f"{i}"))
    told = len(positions)
    follower.sync()
    assert holding.told == [f"{i}" for i in range(40)]
    assert positions[-1] == journal.end()
    assert len(positions) - told > 5


def test_its_own_announcement_passes_over_nothing_that_was_noted_meanwhile(holding, said):
    """By a neighbour, or by tracking: that stands between what it had applied and what it appended."""
    channel = StreamChannel(Layout("app:"), Answering([[b"0-0", b"1800000000000-0"]]), most=10, now=lambda: 0.0)
    follower = Follower(channel, "me", [holding], lambda _: None)
    channel.note(said("noted", source="you"))
    follower.announce(said("mine", source="me"))
    assert holding.told == ["noted", "mine"]
    assert follower.seen == channel.end()


def test_what_could_not_be_announced_is_applied_here_all_the_same(holding, said):
    away = unavailable(Fault(Kind.TIMEOUT, "no answer", None, away=True))
    channel = StreamChannel(Layout("app:"), Refusing(away), most=10, now=lambda: 0.0)
    follower = Follower(channel, "me", [holding], lambda _: None)
    with pytest.raises(TierUnavailable):
        follower.announce(said("mine", source="me"))
    assert holding.told == ["mine"]


def test_who_waits_for_what_has_been_applied_is_told_no_position_where_there_is_more(holding, said):
    channel = StreamChannel(Layout("app:"), Answering(), most=10, now=lambda: 0.0)
    follower = Follower(channel, "me", [holding], lambda _: None)
    told = []
    follower.applied = told.append
    channel.note(said("noted", source="you"))
    follower.say_here()
    assert told == []
    follower.sync()
    assert told == [channel.beside.read]


def test_a_child_forked_while_its_parent_announces_can_announce(holding, said, in_child):
    journal = PrivateJournal()
    follower = Follower(journal, "me", [holding], lambda _: None)

    def child():
        follower.announce(said("a"))
        assert holding.told == ["a"]

    with journal._mutex, follower._lock:
        assert in_child(child) == 0
