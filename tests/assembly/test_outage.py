"""What a process hands on of its server's versions while that is away, and what it takes over."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from scoutcache.assembly.outage import Outage
from scoutcache.channels.handed_on import HandedOn
from scoutcache.channels.heard import position_of
from scoutcache.coherence.messages import Message
from scoutcache.tiers.versions import LocalVersions, RememberedVersions


class Machine:
    """A directory, what its processes said in its journal, and a server that has gone."""

    def __init__(self, directory, clock):
        self.directory, self.clock, self.said = directory, clock, []
        self.file = HandedOn(directory, "server")

    def process(
        self, heard=b"1796000000000-0", most=None, *, opened=True, server="server", stream=b"s", room=100, **known
    ):
        return Process(self, heard, most, known, opened, server, stream, room)

    def since(self, position):
        return self.said[position:], len(self.said)


class Process:
    def __init__(self, machine, heard, most, known, opened, server, stream, room):
        self.machine, self.heard, self.told = machine, heard, []
        self.seen = position_of(heard)
        self.versions = RememberedVersions(LocalVersions(lambda: 1), lambda: 0, lambda _: ([], 0), room)
        self.versions.take_over({"ns": known}, list)
        journal = SimpleNamespace(since=machine.since)
        self.asked, self.source = [], "me"
        beside = SimpleNamespace(journal=journal, ask=self.asked.append)
        channel = SimpleNamespace(beside=beside, heard=lambda: self.heard, name=stream,
                                  opened=opened, heard_at=machine.clock.monotonic(), fall_behind=self.drop,
                                  told_lately=lambda: self.told, retell=self.retell)  # fmt: skip
        disk = SimpleNamespace(drop=lambda: None, work=lambda _: None)
        self.outage = Outage(channel, self, self.versions, disk, [], HandedOn(machine.directory, server), most=most,
                             wall=machine.clock.wall, monotonic=machine.clock.monotonic)  # fmt: skip

    def sync(self):
        pass

    def here(self):
        return len(self.machine.said)

    def drop(self):
        self.versions.drop()

    def retell(self, told, until):
        continues = any(before == self.heard for _, before, _ in told)
        for identity, _, message in told if continues else ():
            self.heard = identity
            self.versions.apply(message)
        return continues

    @property
    def known(self):
        return self.versions.known().get("ns", {})

    @property
    def token(self):
        shared = self.versions.stand_ins.shared
        return shared and shared[0]


@pytest.fixture
def machine(tmp_path, fake_clock):
    return Machine(tmp_path, fake_clock)


def test_all_come_to_know_what_one_of_them_knew(machine):
    a, b = machine.process(T=7), machine.process(U=8)
    for _ in range(2):
        for one in (a, b):
            one.outage.go_on()
    late = machine.process()
    late.outage.begin()
    assert a.known == b.known == late.known == {"T": 7, "U": 8}
    assert a.token == b.token == late.token is not None


def test_what_was_said_since_is_heeded(machine):
    machine.process(T=7, U=8).outage.go_on()
    machine.said.append(Message("mark", "ns", ("T", "new"), 1, "other"))
    late = machine.process()
    late.outage.begin()
    assert late.known == {"U": 8}
    assert late.versions.stand_ins.of("ns", "new") is None


def test_who_has_heard_more_takes_nothing_and_writes_its_own(machine):
    before, after = machine.process(T=7, old=1), machine.process(b"1796000000000-1", T=9)
    before.outage.go_on()
    after.outage.go_on()
    assert after.known == {"T": 9}
    assert after.token not in (None, before.token)
    assert machine.file.read().versions == {"ns": {"T": 9}}


def test_who_has_heard_less_lets_go_of_what_he_has_once(machine, fake_clock):
    before, after = machine.process(T=7, old=1), machine.process(b"1796000000000-1", T=9)
    before.outage.go_on()
    after.outage.go_on()
    before.outage.go_on()
    assert (before.known, before.token) == ({"T": 9}, after.token)
    before.versions.take_over({"ns": {"later": 3}}, list)
    fake_clock.advance(61)
    for one in (before, after, before):
        one.outage.go_on()
    assert before.known == after.known == {"T": 9, "later": 3}


def test_what_the_other_has_heard_beyond_that_is_heard_from_him(machine):
    before, after = machine.process(T=7, old=1), machine.process(b"1796000000000-1", U=9)
    after.told = [(after.heard, before.heard, Message("mark", "ns", ("T",), 1, "far"))]
    for one in (before, after, before):
        one.outage.go_on()
    assert (before.known, before.token) == ({"old": 1, "U": 9}, after.token)


def test_who_never_saw_the_server_takes_nothing_away(machine):
    seen = machine.process(T=7)
    late = machine.process(b"1796000000000-1", opened=False)
    for one in (seen, late, seen):
        one.outage.go_on()
    assert machine.file.read().versions == {"ns": {"T": 7}}
    assert seen.known == {"T": 7}
    assert late.known == {}


def test_of_more_than_there_is_room_for_some_is_handed_on_once(machine):
    a, b = machine.process(room=3, a=1, b=2), machine.process(room=3, c=3, d=4)
    for one in (a, b):
        one.outage.go_on()
    assert (len(a.known), len(b.known)) == (2, 3)
    state = machine.file.state
    for one in (a, b) * 2:
        one.outage.go_on()
    assert len(a.known) == 3
    assert machine.file.state == state


def test_a_server_is_the_one_with_the_stream_whatever_it_is_called(machine):
    machine.process(T=7).outage.go_on()
    same, unsure, other = (
        machine.process(server="localhost"), machine.process(server="localhost", opened=False),
        machine.process(stream=b"another"),
    )  # fmt: skip
    for one in (same, unsure, other):
        one.outage.go_on()
    assert [one.known for one in (same, unsure, other)] == [{"T": 7}, {}, {}]


def test_those_of_two_servers_do_not_replace_each_others_for_ever(machine, fake_clock):
    one = machine.process(T=7)
    fake_clock.advance(5)
    other = machine.process(stream=b"another", U=8)
    for process in (one, other):
        process.outage.go_on()
    assert machine.file.read().stream == b"another"
    state = machine.file.state
    for process in (one, other) * 2:
        process.outage.go_on()
    assert machine.file.state == state


def test_it_is_written_anew_where_the_journal_goes_on(machine, fake_clock):
    a = machine.process(T=7)
    a.outage.go_on()
    written = fake_clock.wall()
    os.utime(machine.directory / "versions", (written, written))
    machine.said.append(Message("mark", "ns", ("U",), 1, "other"))
    a.versions.apply(machine.said[0])
    fake_clock.advance(59)
    a.outage.go_on()
    assert machine.file.read().position == 0
    fake_clock.advance(61)
    a.outage.go_on()
    assert machine.file.read().position == 1
    assert machine.file.read().renewed == [("ns", "U")]


def test_nothing_is_taken_over_from_longer_ago_than_may_be_bridged(machine, fake_clock):
    machine.process(T=7).outage.go_on()
    fake_clock.advance(61)
    late, patient = machine.process(most=60), machine.process(most=62)
    late.outage.begin()
    patient.outage.begin()
    assert (late.known, patient.known) == ({}, {"T": 7})
    fake_clock.advance(2)
    patient.outage.go_on()
    assert patient.known == {}


def test_when_the_server_answers_it_is_removed_and_nothing_stands_in(machine):
    a = machine.process(T=7)
    a.outage.go_on()
    a.outage.end()
    assert machine.file.read() is None
    assert a.token is None
    assert a.known == {"T": 7}


def test_neighbours_are_asked_to_tell_what_they_write(machine):
    a = machine.process()
    a.outage.go_on()
    assert a.asked == ["me"]


def test_of_another_absence_nobody_thinks_anything(machine):
    a = machine.process()
    a.outage.go_on()
    first = a.token
    a.outage.end()
    a.outage.go_on()
    assert a.token not in (None, first)
