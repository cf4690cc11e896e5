"""What could not be announced, because somebody held the journal's lock too long, is a gap as soon as it can be."""

from __future__ import annotations

import pytest

from scoutcache.channels.exclusion import Exclusion
from scoutcache.channels.follower import Follower
from scoutcache.channels.journal import Journal
from scoutcache.errors import TierUnavailable


@pytest.fixture
def locked(monkeypatch):
    """While it is entered, another process has the lock; nobody waits for it."""
    others = Exclusion._try

    def lock():
        monkeypatch.setattr("scoutcache.channels.exclusion.PATIENCE", 0.0)
        monkeypatch.setattr(Exclusion, "_try", lambda self, byte: byte != 0 and others(self, byte))

    return lock


def fail(journal, message):
    with pytest.raises(TierUnavailable):
        journal.append(message)


@pytest.fixture
def unsaid(journal, said, locked, monkeypatch):
    """The position before a message that could not be announced; the lock is free again."""
    start = journal.end()
    locked()
    fail(journal, said("a", kind="written"))
    fail(journal, said("b", kind="written"))
    assert not journal.recover(), "the lock is somebody else's"
    monkeypatch.undo()
    return start


def test_the_next_turn_makes_a_gap_of_it_once(journal, unsaid):
    assert journal.recover()
    assert journal.since(unsaid)[0] is None
    assert not journal.recover()
    assert not any(journal.words[64:]), "the change is over"


def test_the_next_message_comes_after_a_gap(journal, unsaid, said):
    before, after = journal.append(said("c"))
    assert journal.since(unsaid)[0] is None
    assert [one.names for one in journal.since(before)[0]] == [("c",)]
    assert journal.end() == after
    assert not journal.recover()


def test_a_closed_cache_leaves_it_to_the_others_of_its_process(journal, directory, unsaid):
    other = Journal(directory)
    journal.close()
    assert other.recover()
    assert other.since(unsaid)[0] is None
    other.close()


def interrupt(journal):
    with pytest.raises(KeyboardInterrupt), journal.changing():
        raise KeyboardInterrupt


def test_a_change_that_is_interrupted_is_a_gap_at_once(journal, said):
    before, _ = journal.append(said("k"))
    interrupt(journal)
    assert journal.since(before)[0] is None
    assert not any(journal.words[64:]), "the change is over"


def test_it_is_one_later_where_the_lock_is_somebody_elses(journal, locked, monkeypatch):
    start = journal.end()
    locked()
    interrupt(journal)
    assert journal.end() == start
    monkeypatch.undo()
    assert journal.recover()
    assert journal.since(start)[0] is None


def test_a_tier_that_is_away_is_no_interruption(journal):
    start = journal.end()
    with pytest.raises(TierUnavailable), journal.changing():
        raise TierUnavailable("disk", "full")
    assert journal.end() == start
    assert not any(journal.words[64:])


def test_a_process_that_dies_before_it_leaves_it_to_the_others(journal, directory, said, in_child, locked):
    start = journal.end()

    def work():
        locked()
        fail(journal, said("a", kind="written"))

    assert in_child(work) == 0
    assert journal.recover()
    assert journal.since(start)[0] is None


def test_everybody_drops_what_they_hold(journal, directory, unsaid, said):
    class Holder:
        dropped = 0

        def apply(self, message):
            pass

        def drop(self):
            self.dropped += 1

    mine, theirs = Holder(), Holder()
    other = Journal(directory)
    followers = [Follower(journal, "me", [mine], lambda _: None), Follower(other, "you", [theirs], lambda _: None)]
    followers[0].announce(said("c", source="me"))
    followers[1].sync()
    assert (mine.dropped, theirs.dropped) == (1, 1)
    other.close()
