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

    def process(self, heard=b"1796000000000-0", most=None, **known):
        return Process(self, heard, most, known)

    def since(self, position):
        return self.said[position:], len(self.said)


class Process:
    def __init__(self, machine, heard, most, known):
        self.machine, self.heard, self.dropped = machine, heard, False
        self.seen = position_of(heard)
        self.versions = RememberedVersions(LocalVersions(lambda: 1), lambda: 0, lambda _: ([], 0))
        self.versions.take_over({"ns": known}, list)
        journal = SimpleNamespace(since=machine.since)
        channel = SimpleNamespace(beside=SimpleNamespace(journal=journal), heard=lambda: heard, name=b"s", opened=False,
                                  heard_at=machine.clock.monotonic())  # fmt: skip
        disk = SimpleNamespace(drop=lambda: None)
        self.outage = Outage(channel, self, self.versions, disk, [], HandedOn(machine.directory, "server"), most=most,
                             wall=machine.clock.wall, monotonic=machine.clock.monotonic)  # fmt: skip

    def sync(self):
        pass

    def here(self):
        return len(self.machine.said)

    def drop(self):
        self.versions.drop()

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


def test_who_has_heard_more_takes_no_versions_and_writes_its_own(machine):
    before, after = machine.process(T=7, old=1), machine.process(b"1796000000000-1", T=9)
    before.outage.go_on()
    after.outage.go_on()
    assert after.known == {"T": 9}
    assert after.token == before.token
    before.outage.go_on()
    assert before.known == {"T": 7, "old": 1}
    assert machine.file.read().versions == {"ns": {"T": 9}}


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


def test_of_another_absence_nobody_thinks_anything(machine):
    a = machine.process()
    a.outage.go_on()
    first = a.token
    a.outage.end()
    a.outage.go_on()
    assert a.token not in (None, first)
