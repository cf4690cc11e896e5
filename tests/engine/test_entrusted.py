"""What neighbours owe the server: not believed, left to them, and taken over where they are gone."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from scoutcache.coherence.messages import Message
from scoutcache.engine.doubt import Doubt
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.engine.entrusted import GRACE, Entrusted
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

SERVER, DISK = 1, 2


@pytest.fixture
def world():
    doubts = [Doubt(level) for level in range(3)]
    return SimpleNamespace(source="here.me", doubts=doubts, owe=doubts[SERVER].owe, takes_writes=lambda: True)


@pytest.fixture
def lately():
    """What neighbours have said."""
    return []


@pytest.fixture
def entrusted(world, fake_clock, lately):
    return Entrusted(world, SERVER, fake_clock.monotonic, threading.Lock(), lambda: lately)


def said(kind, *names, namespace="default", stamp=5, owed=False, opens=False):
    return Message(kind, namespace, names, stamp, "here.other", owed=owed, opens=opens)


def owed(*given, **more):
    return said(*given, **more, owed=True)


def later(entrusted, fake_clock):
    """The server has been back for as long as others are waited for."""
    entrusted.turn(answers=True)
    fake_clock.advance(GRACE)
    entrusted.turn(answers=True)


ABOUT_K = {"key": owed("key", "k"), "written": owed("written", "k"), "pattern": owed("pattern", "k*"),
           "mark": owed("mark", "tag"), "namespace": owed("namespace", NAMESPACE_MARK)}  # fmt: skip
K = Ref("default", "k")


@pytest.mark.parametrize("kind", ["key", "written", "pattern", "namespace"])
def test_the_server_is_not_believed_about_the_entries_that_are_named(entrusted, kind):
    assert not entrusted
    entrusted.apply(ABOUT_K[kind])
    assert entrusted
    assert entrusted.covers(K)
    assert not entrusted.covers(Ref("another", "k"))
    assert entrusted.covers(Ref("default", "l")) == (kind == "namespace")


@pytest.mark.parametrize(("kind", "mark"), [("mark", "tag"), ("namespace", NAMESPACE_MARK), ("written", KEY_MARK + "k"),
                                            ("key", KEY_MARK + "k")])  # fmt: skip
def test_nor_about_the_versions_that_were_to_be_renewed(entrusted, kind, mark):
    assert not entrusted.owes("default", [mark])
    entrusted.apply(ABOUT_K[kind])
    assert entrusted.owes("default", ["other", mark])
    assert not entrusted.owes("another", [mark])
    assert entrusted.owes("default", ["other", KEY_MARK + "l"]) == (kind == "namespace")


def test_its_own_debts_are_owed_elsewhere(entrusted):
    entrusted.apply(replace(owed("key", "k"), source="here.me"))
    assert not entrusted


@pytest.mark.parametrize("message", ABOUT_K.values(), ids=ABOUT_K)
def test_what_is_said_again_to_the_server_is_owed_no_longer(entrusted, message):
    entrusted.apply(message)
    entrusted.turn(answers=True)
    again = replace(message, owed=False, stamp=9)
    entrusted.apply(again.opening)
    assert entrusted or message.kind == "written"
    entrusted.apply(again)
    assert not entrusted


@pytest.mark.parametrize("message", ABOUT_K.values(), ids=ABOUT_K)
@pytest.mark.parametrize("way", ["apply", "recall"])
def test_what_the_server_was_told_of_it_all_the_same_settles_nothing(entrusted, lately, message, way):
    """Who starts later reads of the debt in the journal, and hears that copy in the stream."""
    entrusted.turn(answers=True)
    lately += [message, replace(message, owed=False)]
    for one in lately if way == "apply" else ():
        entrusted.apply(one)
    if way == "recall":
        entrusted.recall()
    assert entrusted


@pytest.mark.parametrize("kind", ["key", "pattern", "mark"])
@pytest.mark.parametrize("way", ["apply", "recall"])
def test_what_is_only_marked_stale_is_owed_as_before(entrusted, lately, kind, way):
    """What is there may be what was to be removed."""
    again = replace(ABOUT_K[kind], owed=False, stamp=9, action="mark_stale")
    entrusted.turn(answers=True)
    lately += [ABOUT_K[kind], again]
    for message in lately if way == "apply" else ():
        entrusted.apply(message)
    if way == "recall":
        entrusted.recall()
    assert entrusted


def test_what_is_said_while_the_server_is_away_settles_nothing(entrusted):
    entrusted.turn(answers=True)
    entrusted.turn(answers=False)
    entrusted.apply(owed("key", "k"))
    entrusted.apply(said("key", "k"))
    assert entrusted


@pytest.mark.parametrize("message", ABOUT_K.values(), ids=ABOUT_K)
def test_what_was_paid_before_it_knew_that_the_server_is_back_is_owed_no_longer(entrusted, lately, message):
    """Or each process of the machine that looks a moment later would pay once more."""
    lately += [message, replace(message, owed=False, stamp=9)]
    for one in lately:
        entrusted.apply(one)
    assert entrusted
    entrusted.turn(answers=True)
    assert not entrusted


@pytest.mark.parametrize("kind", ABOUT_K)
def test_what_was_said_before_it_was_owed_settles_nothing(entrusted, kind):
    """An older value that was just being given to the server, say."""
    entrusted.apply(ABOUT_K[kind])
    entrusted.turn(answers=True)
    entrusted.apply(said(kind, *ABOUT_K[kind].names, stamp=4))
    assert entrusted


def test_a_namespace_that_was_cleared_settles_all_that_was_owed_in_it(entrusted):
    for message in [*ABOUT_K.values(), owed("key", "k", namespace="another")]:
        entrusted.apply(message)
    entrusted.turn(answers=True)
    entrusted.apply(said("namespace", NAMESPACE_MARK, stamp=9))
    assert not entrusted.covers(K)
    assert not entrusted.owes("default", ["tag"])
    assert entrusted.covers(Ref("another", "k"))


OWN = {"key": {"refs": {Ref("default", "k"): 5}}, "written": {"refs": {Ref("default", "k"): 5}},
       "pattern": {"owed": [Erase(SERVER, "default", Pattern.parse("k*"))]},
       "mark": {"owed": [Renew("default", ["tag"])]},
       "namespace": {"owed": [Renew("default", [NAMESPACE_MARK]), Clear(SERVER, "default")]}}  # fmt: skip


@pytest.mark.parametrize("kind", ABOUT_K)
def test_what_nobody_makes_good_becomes_its_own(entrusted, world, fake_clock, kind):
    entrusted.apply(ABOUT_K[kind])
    entrusted.turn(answers=True)
    fake_clock.advance(GRACE - 0.1)
    entrusted.turn(answers=True)
    assert entrusted
    assert not world.doubts[SERVER]
    fake_clock.advance(0.1)
    entrusted.turn(answers=True)
    assert not entrusted
    assert {name: getattr(world.doubts[SERVER], name) for name in OWN[kind]} == OWN[kind]


def test_the_time_begins_anew_whenever_the_server_comes_back(entrusted, world, fake_clock):
    entrusted.apply(owed("key", "k"))
    for _ in range(3):
        entrusted.turn(answers=True)
        fake_clock.advance(GRACE - 0.1)
        entrusted.turn(answers=False)
    assert entrusted
    assert not world.doubts[SERVER]


def test_who_owes_it_is_waited_for_while_the_server_takes_no_writes(entrusted, world, fake_clock):
    """Nobody can pay then; all processes of the machine would at once when it does."""
    entrusted.apply(ABOUT_K["namespace"])
    world.takes_writes = lambda: False
    for _ in range(3):
        later(entrusted, fake_clock)
    world.takes_writes = lambda: True
    entrusted.turn(answers=True)
    assert entrusted
    assert not world.doubts[SERVER]
    later(entrusted, fake_clock)
    assert world.doubts[SERVER].owed


@pytest.mark.parametrize("message", ABOUT_K.values(), ids=ABOUT_K)
@pytest.mark.parametrize("way", ["recall", "drop"])
def test_of_what_was_said_unheard_by_it_it_owes_what_was_not_made_good(entrusted, lately, message, way):
    again = replace(message, owed=False, stamp=message.stamp + 1)
    lately += [message, again]
    getattr(entrusted, way)()
    assert not entrusted
    lately += [replace(again, opens=True), replace(message, stamp=again.stamp + 1)]
    getattr(entrusted, way)()
    assert entrusted


def test_what_it_said_itself_it_does_not_owe_for_a_neighbour(entrusted, lately):
    lately.append(replace(owed("key", "k"), source="here.me"))
    entrusted.recall()
    assert not entrusted


def test_an_intersection_is_owed_by_its_keys(entrusted):
    entrusted.apply(owed("all", "pk*", "ttag"))
    assert not entrusted


def test_of_too_many_the_rest_is_forgotten_and_no_namespace_is_cleared_for_them(entrusted, world, fake_clock):
    """One machine's outage would end in a clear for all."""
    for n in range(12_000):
        entrusted.apply(owed("written", f"k{n}"))
    assert entrusted.covers(Ref("default", "k1"))
    assert not entrusted.covers(Ref("default", "k11999"))
    for _ in range(100):
        later(entrusted, fake_clock)
    assert not world.doubts[SERVER].owed
    assert 0 < len(world.doubts[SERVER].refs) <= 5_500


def test_many_marks_become_its_own_and_no_namespace_is_cleared_for_them(entrusted, world, fake_clock):
    for n in range(2_000):
        entrusted.apply(owed("mark", f"tag{n}"))
    later(entrusted, fake_clock)
    assert {name for one in world.doubts[SERVER].owed for name in one.names} == {f"tag{n}" for n in range(2_000)}


def test_what_its_owner_tells_again_and_again_stays_his(entrusted, world, fake_clock):
    for _ in range(10):
        entrusted.apply(owed("key", "k"))
        entrusted.turn(answers=True)
        fake_clock.advance(GRACE - 0.1)
    assert entrusted
    assert not world.doubts[SERVER]


@pytest.mark.parametrize("kind", ["written", "key"])
def test_what_another_machine_says_of_an_entry_settles_nothing(entrusted, kind):
    """What it wrote may have been computed before, and what it makes good of what it owed leaves what came later."""
    entrusted.apply(owed("key", "k"))
    entrusted.turn(answers=True)
    entrusted.apply(replace(said(kind, "k", stamp=9), source="far.other"))
    assert entrusted
    entrusted.apply(said(kind, "k", stamp=9))
    assert not entrusted


def test_it_knows_when_what_is_owed_was_said_last(entrusted):
    assert entrusted.said_of(K) == 0
    entrusted.apply(owed("key", "k", stamp=5))
    entrusted.apply(owed("written", "k", stamp=7))
    assert entrusted.said_of(K) == 7


def elsewhere(*names, stamp):
    return replace(said("written", *names, stamp=stamp), source="there.other")


def test_of_what_others_wrote_all_concerns_who_owes_nothing(entrusted):
    message = elsewhere("k", stamp=7)
    assert entrusted.without_later(message) is message


@pytest.mark.parametrize("whose", ["own", "neighbours"])
def test_what_is_owed_later_than_others_wrote_it_is_kept(entrusted, world, whose):
    """It is going to be given to the server, where the later one stays."""
    if whose == "own":
        world.doubts[SERVER].about([K], 5)
    else:
        entrusted.apply(owed("written", "k"))
    assert entrusted.without_later(elsewhere("j", "k", stamp=4)).names == ("j",)
    assert entrusted.without_later(elsewhere("j", "k", stamp=6)).names == ("j", "k")


def test_what_a_neighbour_gave_the_server_is_owed_no_longer_though_it_is_its_own(entrusted, world):
    """Of two that computed a key apart one has done it for both."""
    own = world.doubts[SERVER]
    own.about([K], 5)
    for message in (elsewhere("k", stamp=7), said("written", "k", stamp=5), owed("written", "k", stamp=7),
                    replace(said("written", "k", stamp=7), source=world.source)):  # fmt: skip
        entrusted.apply(message)
        assert own.covers(K)
    entrusted.apply(said("written", "k", stamp=7))
    assert not own.covers(K)


def test_of_many_patterns_none_is_tried(entrusted):
    for n in range(101):
        entrusted.apply(owed("pattern", f"p{n}:*"))
    assert entrusted.covers(Ref("default", "q"))
    assert not entrusted.covers(Ref("another", "q"))


def test_what_depends_on_anything_may_be_owed(entrusted):
    entrusted.apply(owed("mark", "tag", DEPENDED_MARK))
    assert entrusted.owes("default", [KEY_MARK + "any"])
    assert not entrusted.owes("default", ["other tag"])


def test_a_gap_lets_it_go_of_nothing(entrusted):
    entrusted.apply(owed("key", "k"))
    entrusted.drop()
    assert entrusted.covers(Ref("default", "k"))


def test_that_anything_depends_on_a_key_is_no_debt(entrusted):
    """Said so, and not of a tag: that could not be told, and is when the next one is written."""
    entrusted.apply(owed("mark", DEPENDED_MARK))
    assert not entrusted


def test_of_many_keys_few_are_made_its_own_in_a_turn(entrusted, world, fake_clock):
    entrusted.apply(owed("key", *[f"k{n}" for n in range(600)]))
    later(entrusted, fake_clock)
    assert len(world.doubts[SERVER].refs) == 500
    entrusted.turn(answers=True)
    assert len(world.doubts[SERVER].refs) == 600
    assert not entrusted


def test_who_owes_too_much_takes_on_nothing_more(entrusted, world, fake_clock):
    entrusted.apply(owed("key", "k"))
    world.doubts[SERVER].about([Ref("default", f"own{n}") for n in range(5_000)], 1)
    later(entrusted, fake_clock)
    assert K not in world.doubts[SERVER].refs
    assert entrusted.covers(K)


def test_where_no_more_is_taken_on_what_was_is_kept_up(entrusted, fake_clock, monkeypatch):
    monkeypatch.setattr("scoutcache.engine.entrusted._MOST", 1)
    entrusted.apply(owed("key", "k", "l"))
    assert not entrusted.covers(Ref("default", "l"))
    entrusted.apply(owed("key", "k", stamp=9))
    entrusted.turn(answers=True)
    entrusted.apply(said("key", "k", stamp=7))
    assert entrusted.covers(K), "it was owed again since"


def test_what_depends_on_a_key_that_a_pattern_names_is_owed(entrusted):
    entrusted.apply(owed("pattern", "k*"))
    assert entrusted.owes("default", [KEY_MARK + "k1"])
    assert not entrusted.owes("default", [KEY_MARK + "l"])


def test_patterns_may_be_taken_on_while_others_look_through_them(entrusted, monkeypatch):
    entrusted.apply(owed("pattern", "a*"))
    parse = Pattern.parse

    def parsing(text):
        entrusted.apply(owed("pattern", f"{text}*"))
        return parse(text)

    monkeypatch.setattr("scoutcache.engine.debts.Pattern.parse", parsing)
    assert not entrusted.covers(K)


def test_of_many_patterns_few_are_made_its_own_in_a_turn(entrusted, world, fake_clock):
    """Of a thousand debts a process clears their namespace."""
    for n in range(150):
        entrusted.apply(owed("pattern", f"p{n}:*"))
    later(entrusted, fake_clock)
    assert len(world.doubts[SERVER].owed) == 100
    entrusted.turn(answers=True)
    assert len(world.doubts[SERVER].owed) == 150


def test_of_many_debts_each_is_paid_without_a_look_at_the_others(entrusted):
    """Hits wait for who hears of it."""
    entrusted.apply(owed("key", *[f"k{n}" for n in range(5_000)]))
    entrusted.turn(answers=True)
    copied = entrusted.refs
    entrusted.apply(said("key", "k1", stamp=9))
    assert entrusted.refs is copied
    assert len(copied) == 4_999
