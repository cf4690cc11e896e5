"""Every interleaving of the protocol, explored: invalidation against computing, promotion, and two writers.

One key.  Process P has a memory tier and remembers versions; process Q shares the store and the channel with it.  The
promises:

    a read that begins after an invalidation has returned never answers what was there before it;
    when everybody is done, what P's memory answers is what the store answers, and that was not computed from what
    changed since; also where Q was killed at any moment, once that was noticed.

Not promised: a child computed in the very instant between the parent's commit and Q's death.

Rule 1: a step is atomic exactly where the real thing is: one transaction of the store, one append to the channel, one
        section under the memory tier's own lock, one load from shared memory.
Rule 2: each rule of the protocol is a switch (`Protocol`); every one switched off must break a promise, or it would be
        there for nothing.
Rule 3: the explorer is not clever: breadth first over all interleavings, so the schedule it reports is a shortest one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import pytest

P, Q = "P", "Q"


@dataclass(frozen=True)
class Protocol:
    """The rules as built; each may be switched off."""

    announce_before: bool = True
    announce_after: bool = True
    check_inside_write: bool = True
    note_before_computing: bool = True
    note_what_was_applied: bool = True
    """And not the channel's end: what P remembers may be older than that."""
    position_before_stamp: bool = True
    check_promotion: bool = True
    promotion_hears_foreign_writes: bool = True
    promotion_hears_own_writes: bool = True
    write_hears_foreign_writes: bool = True
    refused_by_memory_is_swept: bool = True
    tell_after_storing: bool = True
    sync_before_reading: bool = True
    death_is_noticed: bool = True
    """Who dies in the middle of a change is found to have, and everybody drops what it remembers."""
    in_the_middle_from_the_first_step: bool = True
    in_the_middle_to_the_last_step: bool = True
    renewed_inside_the_write: bool = True
    """Whoever writes a key that others depend on kills those with the same transaction."""


class Value(NamedTuple):
    """What a writer stored: what it computed from, its start, and the tag's version it carries."""

    source: int
    start: int
    version: int = 0


class World(NamedTuple):
    """Everything that several actors see.  A message is (kind, process); its position is its place."""

    source: int = 0
    clock: int = 0
    channel: tuple[tuple[str, str], ...] = ()
    store: Value | None = Value(0, 0)
    version: int = 0
    memory: Value | None = None
    remembered: int | None = 0
    applied: int = 0
    returned: bool = False
    changing: bool = False
    """Is process Q in the middle of a change?"""
    dead: bool = False
    """Was it killed?"""


class Actor:
    """One thread: named steps in order.  A step gives the world, its locals, and where to go on (None: ended)."""

    def __init__(self, name: str, process: str, *steps: Callable[..., tuple[World, dict, int | None]]) -> None:
        self.name, self.process, self.steps = name, process, steps


class Broken(Exception):
    """A promise was."""


def synced(w: World) -> World:
    """P applies what was announced: what a read does first, and the background twice a second."""
    for kind, process in w.channel[w.applied :]:
        if kind in {"key", "tag"} or process != P:
            w = w._replace(memory=None)
        if kind == "tag":
            w = w._replace(remembered=None)
    return w._replace(applied=len(w.channel))


def announced(w: World, kind: str, process: str) -> World:
    w = w._replace(channel=(*w.channel, (kind, process)))
    return synced(w) if process == P else w


def forbidden(w: World, since: int, writes_of: str) -> bool:
    """Was something announced since that names the entry: an invalidation, or a write of one of those processes?"""
    return any(kind != "written" or process in writes_of for kind, process in w.channel[since:])


# -- writers: note, compute, store, tell, remember


def writer(rules: Protocol, name: str, process: str, *, fresh: int | None = None) -> Actor:
    """Computes from the source (or, with *fresh*, sets that value) and stores; in P it is put into memory as well."""

    def note(w, me):
        noted = w.applied if process == P and rules.note_what_was_applied else len(w.channel)
        return w, {**me, "noted": noted}, None

    def stamp(w, me):
        return w._replace(clock=w.clock + 1), {**me, "start": w.clock + 1}, None

    def compute(w, me):
        return w, {**me, "value": w.source if fresh is None else fresh}, None

    def mark(w, me):
        version = w.remembered if process == P and w.remembered is not None else w.version
        return (w._replace(remembered=version) if process == P else w), {**me, "version": version}, None

    def store(w, me):
        value = Value(me["value"], me["start"], me["version"])
        refused = rules.check_inside_write and forbidden(w, me["noted"], "")
        later = w.store is not None and w.store.start > value.start
        taken = not refused and not later
        return (w._replace(store=value) if taken else w), {**me, "taken": taken, "kept": value}, None

    def tell(w, me):
        return (announced(w, "written", process) if me["taken"] else w), me, None

    def remember(w, me):
        foreign = Q if rules.write_hears_foreign_writes else ""
        if w.memory is not None and w.memory.start > me["kept"].start:
            return w, me, None
        if rules.check_inside_write and forbidden(w, me["noted"], foreign):
            return (w._replace(memory=None) if rules.refused_by_memory_is_swept else w), me, None
        return w._replace(memory=me["kept"]), me, None

    begin = [note, stamp] if rules.position_before_stamp else [stamp, note]
    begin = [*begin, compute] if rules.note_before_computing else [compute, *begin]
    end = [store, tell] if rules.tell_after_storing else [tell_first(tell), store]
    return Actor(name, process, *begin, mark, *end, *([remember] if process == P else []))


def tell_first(tell):
    def told(w, me):
        return tell(w, {**me, "taken": True})

    return told


# -- readers in P: sync, memory, note, read, judge, promote


def reader(rules: Protocol, name: str) -> Actor:
    def peek(w, me):
        me = {**me, "after": w.returned}
        w = synced(w) if rules.sync_before_reading else w
        if w.memory is not None:
            answer(w, me, w.memory)
            return w, me, "end"
        return w, me, None

    def note(w, me):
        return w, {**me, "noted": w.applied if rules.note_what_was_applied else len(w.channel)}, None

    def read(w, me):
        return (w, {**me, "found": w.store}, None) if w.store is not None else (w, me, "end")

    def judge(w, me):
        version = w.remembered if w.remembered is not None else w.version
        w = w._replace(remembered=version)
        if me["found"].version != version:
            return w, me, "end"
        answer(w, me, me["found"])
        return w, me, None

    def promote(w, me):
        heard = (Q if rules.promotion_hears_foreign_writes else "") + (P if rules.promotion_hears_own_writes else "")
        if rules.check_promotion and forbidden(w, me["noted"], heard):
            return w, me, None
        if w.memory is not None and w.memory.start > me["found"].start:
            return w, me, None
        return w._replace(memory=me["found"]), me, None

    return Actor(name, P, peek, note, read, judge, promote)


def answer(w: World, me: dict, value: Value) -> None:
    if me["after"] and value.source == 0:
        raise Broken("a read that began after the invalidation had returned answered what was there before")


def syncer() -> Actor:
    """Another thread of P that happens to apply what was announced."""
    return Actor("sync", P, lambda w, me: (synced(w), me, None))


# -- invalidators


def invalidator(rules: Protocol, process: str, kind: str) -> Actor:
    """The source changes, and then the key or its tag is invalidated."""

    def change(w, me):
        return w._replace(source=1), me, None

    def announce(w, me):
        return announced(w, kind, process), me, None

    def remove(w, me):
        if kind == "key":
            return w._replace(store=None), me, None
        return w._replace(version=w.version + 1), me, None

    def done(w, me):
        return w._replace(returned=True), me, None

    before = [announce] if rules.announce_before else []

    def announce_again(w, me):
        return announced(w, kind, process), me, None

    after = [announce_again] if rules.announce_after else []
    return Actor("I", process, change, *before, remove, *after, done)


# -- killed in the middle


def mortal(rules: Protocol, actor: Actor, first: str, last: str) -> Actor:
    """In Q, which may be killed before any step; it says that it is in the middle from step *first* to step *last*."""

    def begin(w, me):
        return (w if w.dead else w._replace(changing=True)), me, ("end" if w.dead else None)

    def over(w, me):
        return (w if w.dead else w._replace(changing=False)), me, None

    def until_killed(step):
        def living(w, me):
            return (w, me, "end") if w.dead else step(w, me)

        living.__name__ = step.__name__
        return living

    steps: list[Callable] = []
    for step in actor.steps:
        if step.__name__ == first and rules.in_the_middle_from_the_first_step:
            steps.append(begin)
        if step.__name__ == last and not rules.in_the_middle_to_the_last_step:
            steps.append(over)
        steps.append(until_killed(step))
        if step.__name__ == first and not rules.in_the_middle_from_the_first_step:
            steps.append(begin)
        if step.__name__ == last and rules.in_the_middle_to_the_last_step:
            steps.append(over)
    return Actor(actor.name, Q, *steps)


def killer() -> Actor:
    return Actor("kill", Q, lambda w, me: (w._replace(dead=True), me, None))


def recovered(rules: Protocol, w: World) -> World:
    """What comes of it sooner or later, in P: a gap."""
    if w.dead and w.changing and rules.death_is_noticed:
        return w._replace(memory=None, remembered=None, applied=len(w.channel))
    return w


def parent_writer(rules: Protocol) -> Actor:
    """Writes the key that the entry depends on, whose value is the source, and renews its implicit tag."""

    def store(w, me):
        return w._replace(source=1, version=w.version + rules.renewed_inside_the_write), me, None

    def announce(w, me):
        return announced(w, "tag", Q), me, None

    def renew(w, me):
        return w._replace(version=w.version + 1), me, None

    def announce_again(w, me):
        return announced(w, "tag", Q), me, None

    return Actor("parent", Q, store, announce, renew, announce_again)


# -- exploring


def runs(w: World, actors, pcs, local) -> Iterator[tuple[int, World, tuple, tuple]]:
    for n, actor in enumerate(actors):
        if pcs[n] == len(actor.steps):
            continue
        moved, me, end = actor.steps[pcs[n]](w, dict(local[n]))
        pc = len(actor.steps) if end == "end" else pcs[n] + 1
        yield n, moved, (*pcs[:n], pc, *pcs[n + 1 :]), (*local[:n], tuple(sorted(me.items())), *local[n + 1 :])


def explore(actors, ends: Callable[[World], None]) -> tuple[int, str | None]:
    """How many states there are, and the shortest schedule that breaks a promise."""
    start = (World(), (0,) * len(actors), ((),) * len(actors))
    seen, queue = {start}, deque([(start, ())])
    while queue:
        (w, pcs, local), path = queue.popleft()
        try:
            if all(pc == len(actor.steps) for pc, actor in zip(pcs, actors, strict=True)):
                ends(w)
            for n, moved, next_pcs, next_local in runs(w, actors, pcs, local):
                state = (moved, next_pcs, next_local)
                if state not in seen:
                    seen.add(state)
                    queue.append((state, (*path, (n, pcs[n]))))
        except Broken as why:
            steps = " > ".join(f"{actors[n].name}:{actors[n].steps[pc].__name__}" for n, pc in path)
            return len(seen), f"{why}: {steps}"
    return len(seen), None


def nothing_dead(w: World) -> None:
    """When all are done: what a next read would answer is new."""
    w = synced(w)
    valid = w.store is not None and w.store.version == w.version
    for value in (w.memory, w.store if valid else None):
        if value is not None and value.source == 0:
            raise Broken("what was there before the invalidation is still served")


def memory_agrees(w: World) -> None:
    """When all are done: memory holds nothing but what the store holds."""
    w = synced(w)
    if w.memory is not None and w.memory != w.store:
        raise Broken(f"memory answers {w.memory}, the store {w.store}")


def against_invalidation(rules: Protocol, kind: str, process: str):
    actors = [writer(rules, "W", P), reader(rules, "R"), syncer(), invalidator(rules, process, kind)]
    return explore(actors, nothing_dead)


def two_writers(rules: Protocol, first: str, second: str, *others: Actor):
    actors = [writer(rules, "W", first, fresh=1), writer(rules, "V", second, fresh=2), *others, syncer()]
    return explore(actors, memory_agrees)


def killed(rules: Protocol) -> Iterator[tuple[str, int, str | None]]:
    """Somebody in Q is killed at every step, while P reads and remembers."""

    def agrees(w: World) -> None:
        memory_agrees(recovered(rules, w))

    def dead(w: World) -> None:
        if w.source == 1:
            nothing_dead(recovered(rules, w))

    writing = mortal(rules, writer(rules, "W", Q, fresh=1), "store", "tell")
    yield "writer killed", *explore([writing, killer(), reader(rules, "R"), syncer()], agrees)
    removing = mortal(rules, invalidator(rules, Q, "key"), "announce", "announce_again")
    yield "invalidator killed", *explore([removing, killer(), reader(rules, "R"), syncer()], agrees)
    parent = mortal(rules, parent_writer(rules), "store", "announce_again")
    yield "parent's writer killed", *explore([parent, killer(), reader(rules, "R"), reader(rules, "S")], dead)


def scenarios(rules: Protocol) -> Iterator[tuple[str, int, str | None]]:
    for kind in ("key", "tag"):
        for process in (Q, P):
            yield f"{kind} invalidated in {process}", *against_invalidation(rules, kind, process)
    for first, second in ((P, P), (P, Q)):
        yield f"writers in {first} and {second}", *two_writers(rules, first, second)
        yield f"writers in {first} and {second}, read in P", *two_writers(rules, first, second, reader(rules, "R"))
    yield from killed(rules)


def test_the_protocol_as_built_holds_at_every_interleaving():
    outcomes = list(scenarios(Protocol()))
    assert [(name, broken) for name, _, broken in outcomes if broken] == []
    assert sum(states for _, states, _ in outcomes) > 10_000, "an explorer that sees little proves little"


@pytest.mark.parametrize("rule", [field.name for field in fields(Protocol)])
def test_every_rule_is_there_for_a_reason(rule):
    """Switched off, some schedule breaks a promise."""
    assert any(broken for _, _, broken in scenarios(replace(Protocol(), **{rule: False})))
