"""The last messages of the stream."""

from __future__ import annotations

from scoutcache.channels.lately import MESSAGES, NAMES, Lately
from scoutcache.coherence.messages import Message


def told(lately):
    return [int(identity) for identity, _, _ in lately.all()]


def add(lately, number, names):
    lately.add(b"%d" % number, b"%d" % (number - 1), Message("written", "ns", ("k",) * names, 0, "source"))


def test_the_oldest_go_where_they_are_too_many():
    lately = Lately()
    for number in range(MESSAGES + 2):
        add(lately, number, 1)
    assert told(lately) == list(range(2, MESSAGES + 2))


def test_and_where_they_name_too_much():
    lately = Lately()
    for number in range(5):
        add(lately, number, NAMES // 4)
    assert told(lately) == [1, 2, 3, 4]
    add(lately, 5, NAMES)
    assert told(lately) == [5]


def test_one_that_names_too_much_alone_is_not_kept():
    lately = Lately()
    add(lately, 1, NAMES + 1)
    assert told(lately) == []
    add(lately, 2, 1)
    assert told(lately) == [2]
