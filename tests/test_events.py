"""Records of what happened, and the hooks that are told."""

from __future__ import annotations

import pytest

from scoutcache import events
from scoutcache.errors import CacheError
from scoutcache.events import EVENT_NAMES, Event, Hit, Hooks, Miss

HIT, MISS = Hit("n", "k", "memory"), Miss("n", "k", "cold")


@pytest.fixture
def failures():
    return []


@pytest.fixture
def hooks(failures):
    return Hooks(lambda *failure: failures.append(failure))


def test_a_hook_is_told_of_its_own_records_only(hooks):
    told = []
    hooks.add("hit", told.append)
    hooks.emit(MISS)
    hooks.emit(HIT)
    assert told == [HIT]


def test_a_star_hears_everything_and_in_order(hooks):
    told = []
    hooks.add("*", told.append)
    hooks.emit(MISS)
    hooks.emit(HIT)
    assert told == [MISS, HIT]


def test_a_hook_that_raises_breaks_neither_the_caller_nor_its_neighbours(hooks, failures):
    told = []

    def bad(record: Event) -> None:
        raise KeyError(record.name)

    hooks.add("hit", bad)
    hooks.add("hit", told.append)
    hooks.emit(HIT)
    assert told == [HIT]
    assert [(hook, record, type(error)) for hook, record, error in failures] == [(bad, HIT, KeyError)]


def test_nobody_wants_what_nobody_asked_for(hooks):
    assert not any(hooks.wants(name) for name in EVENT_NAMES)
    remove = hooks.add("hit", print)
    assert hooks.wants("hit")
    assert not hooks.wants("miss")
    remove()
    assert not hooks.wants("hit")
    hooks.add("*", print)
    assert hooks.wants("miss")


def test_taking_a_hook_off_twice_takes_off_one(hooks):
    told = []
    remove = hooks.add("hit", told.append)
    hooks.add("hit", told.append)
    remove()
    remove()
    hooks.emit(HIT)
    assert told == [HIT]


def test_a_hook_may_take_itself_off_while_it_is_told(hooks):
    told = []
    removers = []
    removers.append(hooks.add("hit", lambda record: (told.append(record), removers[0]())))
    hooks.add("hit", told.append)
    hooks.emit(HIT)
    hooks.emit(HIT)
    assert len(told) == 3


def test_an_unknown_event_is_refused_with_the_nearest_name(hooks):
    with pytest.raises(CacheError, match="no event called 'mis'") as caught:
        hooks.add("mis", print)
    assert caught.value.hint == "did you mean 'miss'?"
    with pytest.raises(CacheError, match="callable"):
        hooks.add("miss", "print")


def test_every_record_has_a_name_of_its_own_and_is_immutable():
    records = [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind not in (Event, events.OfKey)
    ]
    assert sorted(EVENT_NAMES.values(), key=str) == sorted(records, key=str)
    for kind in records:
        assert kind.__struct_config__.frozen
        assert {"value", "response", "text"}.isdisjoint(kind.__struct_fields__)
