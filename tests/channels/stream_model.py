"""The protocol on a Redis server and on a cluster, as a model small enough to explore at every interleaving.

A stream S of messages in one order; processes that apply it some time later; entries, each with the position P of its
shard (the id of the last invalidation that concerns it); the version V of a tag.  On one server a script may touch all
of it.  On a cluster entries and their P share a slot, and S and V are elsewhere: whatever touches both is two steps.

Rule 1: a step is atomic exactly where the real thing is: one script or command at the server, or one section under a
        lock of the process that does no I/O.  Delivery is a step that may come at any time, message by message.
Rule 2: starts are given, not taken from a clock, so that every order of starts and every skew is among the schedules.
Rule 3: the explorer is not clever: breadth first, so the schedule it reports is a shortest one.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

A, B, NOBODY = 0, 1, -1
"""Processes; who has no memory is nobody."""

TRIES = 2
"""Of the script.  The real thing has three; what comes of the last one is the same."""


@dataclass(frozen=True)
class Rules:
    """The protocol; each rule may be switched off."""

    cluster: bool = False
    announce_twice: bool = True
    announce_before_removing: bool = True
    bump_before_removing: bool = True
    announce_before_bumping: bool = True
    bump_again: bool = True
    compare_inside_the_script: bool = True
    match_what_was_heard: bool = True
    note_before_computing: bool = True
    note_before_reading: bool = True
    tell_after_storing: bool = True
    check_promotion: bool = True
    check_remembering: bool = True
    """A writer puts its value into memory on the same condition."""
    check_versions: bool = True
    """And a process remembers the version of a tag on the same condition."""
    hear_foreign_writes: bool = True
    later_start_wins: bool = True
    apply_own_writes: bool = True
    """A `written` message drops what has an earlier start, also from the memory of the process that sent it."""
    refused_ends_older: bool = True
    """A write that is refused or gives up removes what stands there with an earlier start, and tells."""
    lost_is_noticed: bool = True
    """A position that isn't there is not taken for 0."""
    bump_only_what_is_there: bool = True
    loss_is_marked: bool = True
    """Who finds no position leaves a unique mark, and sets the position only where that mark still is."""
    open_counts: bool = False
    """A position noted between the two announcements of an invalidation is one from before the first."""
    read_back: bool = True
    """A process that starts, or missed something, reads far enough back to know which invalidations are not over."""
    remove_with_the_last: bool = False
    """One script removes and announces: only for keys and tags on one server."""
    neighbours: bool = False
    """The invalidator and all processes are on one machine, and hear each other beside the stream: when they ask."""
    tell_again_after_removing: bool = True
    """What neighbours are told in the end, of which the stream's copy counts for nothing, comes after the removal."""
    debts_move_the_position: bool = True
    """What could not be told is told at last as an invalidation, not as a write."""
    dependents_end_first: bool = True
    """What depends on it has ended before anybody hears that it was told."""


class Message(NamedTuple):
    kind: str
    """key, tag or all (which name every entry of the model), noise (names another of the shard), written; owed and
    paid: that the server could not be told of what the entry depends on, and that it was."""
    entry: int = 0
    start: int = 0
    by: int = NOBODY
    opens: bool = False
    closes: bool = False
    """The second announcement, of what the first one opened."""


class Value(NamedTuple):
    """What it was computed from (0: what was there before), its start, the version of the tag that it carries."""

    source: int
    start: int
    version: int | None = None


class World(NamedTuple):
    """Everything that several actors see.  The id of a message is its place in the stream, from 1."""

    server: tuple[Value | None, ...]
    memory: tuple[tuple[Value | None, ...], ...]
    positions: tuple[int | None, ...]
    """By shard, which is by entry; below 0 is a mark that the position was lost."""
    seen: tuple[int, ...]
    remembered: tuple[int | None, ...]
    whole: tuple[int, ...]
    """By process: from which of its own positions on it missed nothing."""
    stream: tuple[Message, ...] = ()
    source: int = 0
    version: int | None = 0
    lives: int = 0
    marks: int = 0
    trimmed: int = 0
    returned: int = -1
    """The end of the stream when the invalidation returned."""
    ended: tuple[int, ...] = ()
    """The starts of the writes that have returned."""
    superseded: int = -1
    """The start of one that had returned when one with a later start began."""
    heard: tuple[tuple[Message, ...], ...] = ()
    """By process: what it has heard, in that order.  Its own positions are places in this."""
    journal: tuple[Message, ...] = ()
    """What neighbours said beside the stream."""
    read: tuple[int, ...] = ()
    """By process: how much of that it has heard."""
    told: int = -1
    """The journal's end when the invalidation returned."""


class Local(NamedTuple):
    """What one actor knows."""

    noted: int = 0
    seen: int = 0
    source: int = 0
    version: int | None = None
    found: Value | None = None
    tries: int = 0
    after: bool = False
    mark: int | None = None
    kept: bool = False
    told: int = 0


Outcome = tuple[World, Local] | tuple[World, Local, str]
Step = Callable[[World, Local], Outcome]


@dataclass
class Actor:
    """One thread: named steps, one after the other unless a step says where to go on; `done` ends."""

    name: str
    steps: Sequence[Step]
    deadly: Callable[[str], bool] = lambda label: False
    """May it be killed before that step?"""
    table: dict[str, tuple[Step, str]] = field(init=False)

    def __post_init__(self) -> None:
        labels = [*(step.__name__ for step in self.steps), "done"]
        self.table = {step.__name__: (step, labels[n + 1]) for n, step in enumerate(self.steps)}


class Broken(Exception):
    """A promise was."""


def put(items: tuple, n: int, item: Any) -> tuple:
    return (*items[:n], item, *items[n + 1 :])


# -- the server


def appended(w: World, message: Message) -> World:
    return w._replace(stream=(*w.stream, message))


def created(w: World) -> World:
    """V, asked for by somebody who needs one."""
    return w._replace(version=w.lives + 1, lives=w.lives + 1) if w.version is None else w


def bumped(rules: Rules, w: World, shard: int, to: int) -> World:
    position = w.positions[shard]
    if position is None and rules.bump_only_what_is_there:
        return w
    if position is not None and position < 0:
        return w._replace(positions=put(w.positions, shard, None))
    return w._replace(positions=put(w.positions, shard, max(position or 0, to)))


def lost(rules: Rules, w: World, me: Local, shard: int) -> Outcome:
    """The script finds no position.  On one server it announces that by itself; a cluster's leaves a mark."""
    if not rules.cluster:
        w = appended(w, Message("all"))
        w = w._replace(positions=put(w.positions, shard, len(w.stream)))
        return w, me._replace(tries=me.tries + 1), "catch_up"
    if w.positions[shard] is None and rules.loss_is_marked:
        w = w._replace(marks=w.marks + 1, positions=put(w.positions, shard, -w.marks - 1))
    return w, me._replace(mark=w.positions[shard]), "announce_loss"


def restored(w: World, me: Local, shard: int) -> World:
    """Compare and set: the mark is still the one that was there before the loss was announced."""
    if w.positions[shard] != me.mark:
        return w
    return w._replace(positions=put(w.positions, shard, me.told))


def held(w: World, entry: int) -> Value | None:
    """What the server answers."""
    value = w.server[entry]
    return value if value is not None and value.version in {None, w.version} else None


# -- a process


def dropped(w: World, p: int, entry: int | None = None) -> World:
    memory = (None,) * len(w.server) if entry is None else put(w.memory[p], entry, None)
    return w._replace(memory=put(w.memory, p, memory))


def gap(w: World, p: int, to: int) -> World:
    """It starts from there, and reads back."""
    heard = (*w.heard[p], *w.stream[w.seen[p] : to])
    w = dropped(w, p)._replace(remembered=put(w.remembered, p, None), heard=put(w.heard, p, heard))
    return w._replace(seen=put(w.seen, p, to), whole=put(w.whole, p, len(heard)))


def applied(rules: Rules, w: World, p: int, message: Message) -> World:
    w = w._replace(heard=put(w.heard, p, (*w.heard[p], message)))
    if message.kind == "written":
        there = w.memory[p][message.entry]
        ours = message.by == p and not rules.apply_own_writes
        return w if ours or there is None or there.start >= message.start else dropped(w, p, message.entry)
    if message.kind in {"noise", "paid"}:
        return w
    return dropped(w, p)._replace(remembered=put(w.remembered, p, None))


def told(rules: Rules, w: World, p: int) -> World:
    """Process *p* applies all that neighbours have said."""
    while w.read[p] < len(w.journal):
        message = w.journal[w.read[p]]
        w = applied(rules, w._replace(read=put(w.read, p, w.read[p] + 1)), p, message)
    return w


def owes(w: World, p: int) -> bool:
    """Has *p* heard that it is owed, and not that it was paid?"""
    return [m.kind for m in w.heard[p] if m.kind in {"owed", "paid"}][-1:] == ["owed"]


def delivered(rules: Rules, w: World, p: int) -> World:
    """Process *p* applies one message of the stream, and before that what neighbours have said."""
    w = told(rules, w, p)
    at = w.seen[p]
    if at < w.trimmed:
        return gap(w, p, w.trimmed)
    message = w.stream[at]
    w = w._replace(seen=put(w.seen, p, at + 1))
    return w if message in w.journal[: w.read[p]] else applied(rules, w, p, message)


def drained(rules: Rules, w: World, p: int) -> World:
    w = told(rules, w, p)
    while w.seen[p] < len(w.stream):
        w = delivered(rules, w, p)
    return w


def noted(rules: Rules, w: World, p: int) -> int:
    """The position for a flow that begins now in process *p*."""
    heard = w.heard[p]
    if rules.open_counts and not any(message.closes for message in heard):
        known = 0 if rules.read_back else w.whole[p]
        for n, message in enumerate(heard, 1):
            if message.opens and n > known:
                return n - 1
    return len(heard)


def named(w: World, p: int, since: int) -> bool:
    """Does *p* know of an invalidation after *since* that names the entry, or can't it know?"""
    return since < w.whole[p] or any(m.kind in {"key", "tag", "all", "owed"} for m in w.heard[p][since:])


def kept(rules: Rules, w: World, p: int, entry: int, value: Value, since: int, *, check: bool = True) -> World:
    """*value* goes into memory, under its lock, if nothing since then forbids it."""
    there = w.memory[p][entry]
    if there is not None and there.start > value.start:
        return w
    overwritten = any(
        m.kind == "written" and m.entry == entry and m.start > value.start
        and (m.by == p or rules.hear_foreign_writes) for m in w.heard[p][since:]
    )  # fmt: skip
    if check and (overwritten or named(w, p, since)):
        return w
    return w._replace(memory=put(w.memory, p, put(w.memory[p], entry, value)))


# -- writers

Deadly = Callable[[str], bool]
"""May an actor be killed before the step of that name?"""


def immortal(step: str) -> bool:
    return False


def writer(
    rules: Rules, name: str, p: int, start: int, *, entry: int = 0, tagged: bool = False, fresh: bool = False,
    nested: bool = False, memory: bool = True, deadly: Deadly = immortal,
) -> Actor:  # fmt: skip
    """Computes from the source (*nested*: from what the cache says of entry 0; *fresh*: is given) and stores.

    Without *memory* it stops at the server, where only that is looked at.
    """

    def note(w, me):
        earlier = [other for other in w.ended if other < start]
        w = w._replace(superseded=max(earlier, default=w.superseded))
        return w, me._replace(noted=noted(rules, w, p), source=start if fresh else 0)

    def look_up(w, me):
        if (there := w.memory[p][0]) is not None:
            return w, me._replace(source=there.source), "mark" if tagged else "look"
        return (w, me, "compute") if w.server[0] is None else (w, me._replace(found=w.server[0]))

    def judge(w, me):
        valid = me.found.version in {None, w.version if w.remembered[p] is None else w.remembered[p]}
        me = me._replace(source=me.found.source, found=None)
        return w, me, ("mark" if tagged else "look") if valid else "compute"

    def compute(w, me):
        return w, me._replace(source=w.source)

    def mark(w, me):
        w = created(w)
        return w, me._replace(version=w.version)

    def look(w, me):
        if rules.match_what_was_heard and named(w, p, me.noted):
            return w, me, "end_older"
        return w, me._replace(seen=w.seen[p])

    def compared(w, me):
        """What the script answers where it doesn't go on."""
        position = w.positions[entry]
        if (position is None or position < 0) and rules.lost_is_noticed:
            return lost(rules, w, me, entry)
        return (w, me._replace(tries=me.tries + 1), "catch_up") if (position or 0) > me.seen else None

    def compare(w, me):
        return compared(w, me) or (w, me)

    def store(w, me):
        if rules.compare_inside_the_script and (answer := compared(w, me)):
            return answer
        there = w.server[entry]
        if there is not None and there.start > start and rules.later_start_wins:
            return w, me, "leave"
        value = Value(me.source, start, me.version)
        return changed(w._replace(server=put(w.server, entry, value)), me._replace(kept=True))

    def changed(w, me):
        """The same script tells; on a cluster it can't."""
        if not memory:
            return w, me, "leave"
        if rules.cluster:
            return w, me, "tell" if rules.tell_after_storing else "remember"
        return appended(w, Message("written", entry, start, p)), me, "remember"

    def tell(w, me):
        return appended(w, Message("written", entry, start, p)), me

    def remember(w, me):
        value = Value(me.source, start, me.version)
        check = rules.check_remembering
        return kept(rules, w, p, entry, value, me.noted, check=check) if me.kept else w, me

    def leave(w, me):
        return w._replace(ended=(*w.ended, start)), me, "done"

    def catch_up(w, me):
        return drained(rules, w, p), me, "end_older" if me.tries == TRIES else "look"

    def announce_loss(w, me):
        w = appended(w, Message("all"))
        return w, me._replace(told=len(w.stream))

    def restore(w, me):
        return restored(w, me, entry), me

    def end_older(w, me):
        there = w.server[entry]
        if not rules.refused_ends_older or there is None or there.start > start:
            return w, me, "leave"
        return changed(w._replace(server=put(w.server, entry, None)), me)

    begin = [*([look_up, judge] if nested else []), *([] if fresh else [compute]), *([mark] if tagged else [])]
    begin = [note, *begin] if rules.note_before_computing else [*begin, note]
    outside = [] if rules.compare_inside_the_script else [compare]
    storing = [tell, store] if not rules.tell_after_storing else [store, tell] if rules.cluster else [store]
    rare = [catch_up, announce_loss, restore, end_older]
    return Actor(name, [*begin, look, *outside, *storing, remember, leave, *rare], deadly)


# -- readers


def reader(rules: Rules, name: str, p: int, *, tagged: bool = False, entry: int = 0) -> Actor:
    """Misses in memory, reads the server, judges, promotes.  What a hit in memory answers is checked in every state."""

    def begin(w, me):
        if rules.neighbours:
            return told(rules, w, p), me._replace(after=w.returned >= 0 or w.told >= 0)
        return w, me._replace(after=0 <= w.returned <= w.seen[p])

    def note(w, me):
        return w, me._replace(noted=noted(rules, w, p))

    def read(w, me):
        if (found := w.server[entry]) is None:
            return w, me, "done"
        if not tagged:
            answer(me, found)
        return w, me._replace(found=found)

    def ask(w, me):
        if owes(w, p):
            return w, me, "done"
        w = created(w)
        return w, me._replace(version=w.version if w.remembered[p] is None else w.remembered[p])

    def judge(w, me):
        if not (rules.check_versions and named(w, p, me.noted)):
            w = w._replace(remembered=put(w.remembered, p, me.version))
        if me.found.version != me.version:
            return w, me, "done"
        answer(me, me.found)
        return w, me

    def promote(w, me):
        return kept(rules, w, p, entry, me.found, me.noted, check=rules.check_promotion), me

    reading = [read, ask, judge] if tagged else [read]
    reading = [note, *reading] if rules.note_before_reading else [*reading[:2], note, *reading[2:]]
    return Actor(name, [begin, *reading, promote])


def answer(me: Local, value: Value) -> None:
    if me.after and value.source == 0:
        raise Broken("a read answered what was there before the invalidation")


# -- invalidators, and what else happens


def invalidator(rules: Rules, *removal: str, shards: Sequence[int] = (0,), deadly: Deadly = immortal) -> Actor:
    """The source changes; then this removes `entry 0`, `entry 1`, renews the `tag`, in the order of *removal*."""
    kind = "tag" if "tag" in removal else "key"

    def change(w, me):
        return w._replace(source=1), me

    def announced(w, me, message):
        w = appended(w, message)
        for shard in () if rules.cluster else shards:
            w = w._replace(positions=put(w.positions, shard, len(w.stream)))
        return w, me._replace(told=len(w.stream))

    def announce(w, me):
        return announced(w, me, Message(kind, opens=True))

    def announce_again(w, me):
        return announced(w, me, Message(kind, closes=True))

    def tell(w, me):
        return w._replace(journal=(*w.journal, Message(kind, opens=True))), me

    def tell_again(w, me):
        return w._replace(journal=(*w.journal, Message(kind, closes=True))), me

    def bump(shard, again):
        def bumping(w, me):
            to = me.told if rules.announce_before_bumping else len(w.stream) + 1
            return bumped(rules, w, shard, to), me

        bumping.__name__ = f"bump_{shard}{again}"
        return bumping

    def remove(what):
        def removing(w, me):
            if what == "tag":
                return w._replace(version=w.lives + 1, lives=w.lives + 1), me
            return w._replace(server=put(w.server, int(what[-1]), None)), me

        removing.__name__ = f"remove_{what.replace(' ', '_')}"
        return removing

    def remove_and_announce(w, me):
        for what in removal:
            w, _ = remove(what)(w, me)
        return announced(w, me, Message(kind))

    def end(w, me):
        return w._replace(returned=len(w.stream), told=len(w.journal) if rules.neighbours else -1), me

    if rules.remove_with_the_last:
        return Actor("I", [change, remove_and_announce, end], deadly)
    bumps, more = [[bump(shard, again) for shard in shards if rules.cluster] for again in ("", "_again")]
    first = [announce, *bumps] if rules.announce_before_bumping else [*bumps, announce]
    if not rules.bump_before_removing:
        first = [announce]
    last = [announce_again, *(more if rules.bump_again else [])]
    if not rules.announce_before_bumping:
        last = [*more, announce_again]
    removing = [remove(what) for what in removal]
    if rules.neighbours:
        first.insert(first.index(announce), tell)
        late = rules.tell_again_after_removing
        (last if late else first).insert(last.index(announce_again) if late else len(first), tell_again)
    steps = [*first, *removing] if rules.announce_before_removing else [*removing, *first]
    return Actor("I", [change, *steps, *(last if rules.announce_twice else []), end], deadly)


def debtor(rules: Rules, start: int) -> Actor:
    """The source changes while the server is away: neighbours alone are told, and ask it no more (no reader here);
    when it is back, what stands there with no later start than *start* is removed."""
    moves = rules.debts_move_the_position
    opening = Message("key", opens=True) if moves else Message("written", start=start)
    closing = Message("key", closes=True) if moves else opening

    def said(w, message):
        return w._replace(journal=(*w.journal, message))

    def announced(w, me, message):
        w = appended(w, message)
        if moves and not rules.cluster:
            w = w._replace(positions=put(w.positions, 0, len(w.stream)))
        return w, me._replace(told=len(w.stream))

    def change(w, me):
        return said(w._replace(source=1), Message("key")), me

    def tell(w, me):
        return said(w, opening) if moves else w, me

    def announce(w, me):
        return announced(w, me, opening)

    def bump(w, me):
        return bumped(rules, w, 0, me.told) if moves and rules.cluster else w, me

    def remove_older(w, me):
        there = w.server[0]
        return w if there is None or there.start > start else w._replace(server=put(w.server, 0, None)), me

    def tell_again(w, me):
        return said(w, closing) if moves else w, me

    def announce_again(w, me):
        return announced(w, me, closing)

    def end(w, me):
        return w._replace(returned=len(w.stream), told=len(w.journal)), me

    return Actor("D", [change, tell, announce, bump, remove_older, tell_again, announce_again, end])


def debtor_of_dependents(rules: Rules) -> Actor:
    """What the entry depends on changes while the server is away; later that is told, and what depends on it ended.

    It has ended for who is on this machine as soon as that is heard.
    """

    def change(w, me):
        w = w._replace(source=1, journal=(*w.journal, Message("owed")))
        return w._replace(told=len(w.journal)), me

    def renew(w, me):
        return w._replace(version=w.lives + 1, lives=w.lives + 1), me

    def announce(w, me):
        return appended(w, Message("tag")), me

    def pay(w, me):
        return appended(w, Message("paid")), me

    def renew_again(w, me):
        return renew(w, me)

    def announce_again(w, me):
        return announce(w, me)

    def end(w, me):
        return w._replace(returned=len(w.stream)), me

    first = [renew, announce] if rules.dependents_end_first else []
    return Actor("D", [change, *first, pay, renew_again, announce_again, end])


def noise(rules: Rules, times: int = 1) -> Actor:
    """Another invalidation that concerns the shard and doesn't name the entry, *times* times."""

    def announce(w, me):
        w = appended(w, Message("noise"))
        if rules.cluster:
            return w, me._replace(told=len(w.stream))
        return w._replace(positions=put(w.positions, 0, len(w.stream))), me, "go_on"

    def bump(w, me):
        return bumped(rules, w, 0, me.told), me

    def go_on(w, me):
        return w, me._replace(tries=me.tries + 1), "done" if me.tries + 1 == times else "announce"

    return Actor("N", [announce, bump, go_on])


def toucher(rules: Rules) -> Actor:
    """A write of another key of the shard, which finds the position lost and restores it."""

    def touch(w, me):
        position = w.positions[0]
        return lost(rules, w, me, 0) if position is None or position < 0 else (w, me, "done")

    def announce_loss(w, me):
        w = appended(w, Message("all"))
        return w, me._replace(told=len(w.stream))

    def restore(w, me):
        return restored(w, me, 0), me, "done"

    def catch_up(w, me):
        return w, me, "done"

    return Actor("X", [touch, announce_loss, restore, catch_up])


def once(name: str, change: Callable[[World], World]) -> Actor:
    """Something that happens at any time."""

    def happens(w, me):
        return change(w), me

    return Actor(name, [happens])


def position_lost() -> Actor:
    return once("P lost", lambda w: w._replace(positions=put(w.positions, 0, None)))


def all_lost() -> Actor:
    """FLUSHALL on one server: entries, position, version, and whatever of the stream nobody read yet."""

    def lose(w):
        nothing = (None,) * len(w.server)
        return w._replace(server=nothing, positions=nothing, version=None, trimmed=len(w.stream))

    return once("FLUSHALL", lose)


def another_written() -> Actor:
    """Somebody's write of another key takes an id."""
    return once("other", lambda w: appended(w, Message("written", entry=1)))


def restart(p: int) -> Actor:
    """Process *p* starts: it follows the stream from its end, and what ran before isn't kept."""
    return once("restart", lambda w: gap(w, p, len(w.stream)))


def evictor(p: int) -> Actor:
    return once("evict", lambda w: dropped(w, p))


# -- exploring


def world(
    processes: Sequence[int] = (A,), *, entries: int = 1, tagged: Sequence[int] = (), memory: bool = False
) -> World:
    """Old values on the server, and with *memory* in memory too; those of *tagged* carry the tag."""
    server = tuple(Value(0, 0, 0 if n in tagged else None) for n in range(entries))
    nothing = (None,) * entries
    each = len(processes)
    zeros = (0,) * each
    return World(server, (server if memory else nothing,) * each, (0,) * entries, zeros, zeros, zeros, ended=(0,),
                 heard=((),) * each, read=zeros)  # fmt: skip


ENDED = frozenset({"done", "dead"})
NOTHING_KNOWN = Local()


def moves(rules: Rules, w: World, actors: Sequence[Actor], pcs: tuple, local: tuple):
    """What may come next: a name for it, and the state after it."""
    for n, actor in enumerate(actors):
        pc = pcs[n]
        if pc in ENDED:
            continue
        step, following = actor.table[pc]
        outcome = step(w, local[n])
        to = outcome[2] if len(outcome) == 3 else following
        me = NOTHING_KNOWN if to == "done" else outcome[1]
        yield f"{actor.name}:{pc}", (outcome[0], put(pcs, n, to), put(local, n, me))
        if actor.deadly(pc):
            yield f"{actor.name} killed before {pc}", (w, put(pcs, n, "dead"), put(local, n, NOTHING_KNOWN))
    for p, seen in enumerate(w.seen):
        if seen < len(w.stream):
            yield f"deliver to {'AB'[p]}", (delivered(rules, w, p), pcs, local)
        if w.read[p] < len(w.journal):
            yield f"tell {'AB'[p]}", (told(rules, w, p), pcs, local)


def always(w: World) -> None:
    """In every state once the invalidation has returned: nothing older than it at the server, or said from memory."""
    if w.returned < 0:
        return
    for entry in range(len(w.server)):
        if (value := held(w, entry)) is not None and value.source == 0:
            raise Broken("the server holds what was computed from before the invalidation")
        for p, seen in enumerate(w.seen):
            knows = seen >= w.returned or 0 <= w.told <= w.read[p]
            if knows and (there := w.memory[p][entry]) is not None and there.source == 0:
                raise Broken("memory answers what was computed from before the invalidation")


def explore(rules: Rules, w: World, actors: Sequence[Actor], ends: Callable[[World], None]) -> tuple[int, str | None]:
    """How many states there are, and the shortest schedule that breaks a promise."""
    gc.disable()  # nothing here is a circle, and looking for some among so many tuples takes half of the time
    try:
        return _explore(rules, w, actors, ends)
    finally:
        gc.enable()


def _explore(rules: Rules, w: World, actors: Sequence[Actor], ends: Callable[[World], None]) -> tuple[int, str | None]:
    start = (w, tuple(actor.steps[0].__name__ for actor in actors), (Local(),) * len(actors))
    came: dict[Any, Any] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        w, pcs, local = state
        try:
            always(w)
            if ENDED.issuperset(pcs):
                ends(w)
            for name, following in moves(rules, w, actors, pcs, local):
                if following not in came:
                    came[following] = name, state
                    queue.append(following)
        except Broken as why:
            return len(came), f"{why}: {schedule(came, state)}"
    return len(came), None


def schedule(came: dict[Any, Any], state: Any) -> str:
    names = []
    while came[state] is not None:
        name, state = came[state]
        names.append(name)
    return " > ".join(reversed(names))
