"""Why a key was missed and who ended an entry, as far as the operation log knows.

Rule 1: a miss has the reason it was recorded with.  Only ``cold`` (nothing was there, and no tier knew why) is looked
        at again: when the last thing the log knows of the key is that it was taken away, that is the reason.
        What was stored before and that nobody took away has expired if its ttl was over; else it was evicted, if a
        tier has removed any since, of which it notes why, and no names.  Otherwise it is as cold here as it was
        counted: the disk may have been full, or somebody removed the files.  ``expired`` (past its time) is looked at
        again too: a key or pattern that was marked stale cut the time of its entries short, and what was taken away may
        have lain there until its time was over.
Rule 2: an invalidation hits a key by its name, by a pattern, by a tag that the key was last written with, or by
        clearing the namespace, or through a key that it depends on (see Rule 4).  A set of a value that is not to be
        kept (a ttl of 0, or too large) ends the one before it.
Rule 3: the log may be sampled, trimmed and redacted: what it doesn't hold is None, and never made up.
Rule 4: only the first act after the entry was last known to live, and within its ttl, ended it; later ones found
        nothing.  Writing a key that it depends on ends it only where the value is another one, which the log doesn't
        say: when something else could have ended it after that, nobody is named.
Rule 5: several processes may miss by one act, each before what another computed was there.  It ended all of theirs:
        lines are in the order in which things began, so whoever asked before what brought the key back was over, or
        while others still brought it back, is told of that act.
Rule 6: what is dated after now happened before it, by a clock that was ahead; when, nobody knows.  A miss of a known
        entry that nothing else explains is put down to the first such act, and what died after that to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, Self

from scoutcache.entry import KEY_MARK, NAMESPACE_MARK
from scoutcache.errors import InvalidKey
from scoutcache.insight.log.concerning import lines_about
from scoutcache.insight.log.operations import Operations
from scoutcache.insight.meanings import LEFT
from scoutcache.oplog.ledger import read_counts
from scoutcache.oplog.reading import Problems
from scoutcache.oplog.records import (
    AHEAD,
    HIT_OUTCOMES,
    REQUESTS,
    Line,
    dependents_target,
    redacted,
    tag_of,
    tag_target,
    tells_tags,
)
from scoutcache.oplog.totals import moment
from scoutcache.patterns import Pattern

__all__ = ["Story", "who_ended"]

_TAKEN: Final = {"delete": "invalidated", "invalidate": "invalidated", "evict": "evicted", "expire": "expired"}
DEPTH: Final = 8
"""Through how many keys a dependency is followed."""


class Story:
    """What happened to one key, in the order it happened.

    *by* is the deletion or invalidation that took it away, if nothing brought it back, as
    ``{at, op, what, reason, user, pid, command, process}``.
    """

    def __init__(
        self, namespace: str, key: str, behind: Sequence[str] = (), evicted: Callable[[], Mapping[str, float]] = dict
    ) -> None:
        """*evicted* says for which reasons tiers have removed entries whose names nobody noted, and until when each."""
        self.outcomes: list[dict[str, Any]] = []
        self._hits = _Target(namespace, key)
        self._behind = {one: _changing(namespace, one) for one in behind}
        self._depends_on: tuple[str, ...] = ()
        self._changed: dict[str, Any] | None = None
        self._taken: str | None = None
        self._known = False
        """Was there an entry, as far as the log knows?"""
        self._since, self._until = 0.0, math.inf
        self._doubtful = False
        """Was it ended for certain, or perhaps by a write of what it depends on?"""
        self.by: dict[str, Any] | None = None
        self._act: tuple[dict[str, Any] | None, float] = None, -math.inf
        """The act that was over last of those that ended it, and when: what was made meanwhile may have died of it."""
        self._evicted = evicted
        self._felt = -math.inf
        """Until when who asks may miss by that act (Rule 5)."""
        self._ahead: list[Line] = []
        """Acts that are dated after now and explain no miss yet, and..."""
        self._blamed: Line | None = None
        """... the one that explains the misses since the entry was last known to live (Rule 6)."""

    @classmethod
    def of(
        cls, directory: Path, namespace: str, key: str, problems: Problems | None = None, *, hits: int = 0,
        now: float = math.inf,
    ) -> Self:  # fmt: skip
        """The story that the log tells, with its last *hits* at least.

        Keys that the log holds redacted are found by their hash.  *problems* hears of what could not be read.  What is
        dated after *now* is as in Rule 6.
        """
        lines = _lines(directory, namespace, [key], key, hits, problems)
        behind: list[str] = []
        found = _named_by(lines)
        for _ in range(DEPTH):  # what those depend on ends it as well
            if found <= {*behind}:
                break
            behind = sorted(found | {*behind})
            lines = _lines(directory, namespace, [key, *behind], key, hits)
            found = _named_by(lines)
        story = cls(namespace, key, behind, cache(partial(_last_evicted, directory)))
        story._ahead = [line for line in lines if line.time > now + AHEAD and _TAKEN.get(line.op) == "invalidated"]
        for line in lines:
            story.add(line)
        return story

    def last(self, limit: int, *, hits: bool = False) -> list[dict[str, Any]]:
        """Why the last *limit* misses missed, newest first; with *hits* the requests that were answered too.

        Each is ``{at, reason, outcome, tier, op, latency_us, wait_us, factory_s, error, after, by}``.  The reason of a
        hit is ``fresh`` or ``stale``, or ``joined``: it waited for another caller's computation.  *wait_us* is how long
        a request waited for that, None where the log doesn't say.  *after* is the last change before it that the log
        knows of this key (``set``, ``delete``, ``evict``, …) as ``{at, op, reason}``; *by* is that of the story then,
        of a miss that is ``invalidated``; of one that is ``evicted`` that somebody asked for it, where since it was
        stored nothing left a tier for another reason (*at* is the minute then); else None.
        """
        told = [one for one in self.outcomes if hits or one["outcome"] == "miss"]
        return told[: -limit - 1 : -1] if limit > 0 else []

    def add(self, line: Line) -> None:
        """One line about the key or one it depends on, or an invalidation that may be."""
        # All are asked of every line, or one would not know with which tags its key was written before.
        changed = [changes(line) for changes in self._behind.values()]
        if self._hits(line):
            self._own(line)
        elif self._depends_on and any(changed):
            self._ended(line, doubtful=line.op == "set")

    def _own(self, line: Line) -> None:
        if line.op in REQUESTS:
            self._asked(line)
            return
        if line.outcome == "failed":  # nothing changed
            return
        self._changed = {"at": moment(line.time), "op": line.op, "reason": line.reason}
        if line.op == "touch" and line.outcome == "done":
            self._lives(line, _end_of(line))
        elif line.op == "set" and line.outcome != "refused":
            self._lives(line, _end_of(line))
            self._since = _over(line)  # computing may have taken long
            self._depends_on = line.depends_on
        elif _keeps_nothing(line):
            self._ended(line, doubtful=False)
        elif line.op in _TAKEN and line.outcome != "absent":
            if _TAKEN[line.op] == "invalidated":
                self._ended(line, doubtful=False)
            else:
                self._taken = self._taken or _TAKEN[line.op]
                self._until = line.time if line.op == "expire" else self._until

    def _act_ahead(self) -> Line | None:
        """What is dated after now and may have ended the entry."""
        if self._blamed is None and self._known:
            self._blamed = next((one for one in self._ahead if one.outcome != "absent" and self._concerns(one)), None)
            self._ahead = [one for one in self._ahead if one is not self._blamed]
        return self._blamed

    def _concerns(self, act: Line) -> bool:
        behind = [changes(act) for changes in self._behind.values()] if self._depends_on else []
        return self._hits(act) or any(behind)

    def _lives(self, line: Line, until: float) -> None:
        self._blamed = None
        self._taken, self._known, self._until, self._doubtful, self.by = None, True, until, False, None
        if line.time > self._act[1] and (self._felt == math.inf or line.time < self._felt):
            over = _over(line)
            self._felt = over if self._felt == math.inf else max(self._felt, over)

    def _ended(self, line: Line, *, doubtful: bool) -> None:
        """An act that would end the entry, if there is one."""
        if not self._known or line.time >= self._until:
            return
        if (over := _over(line)) > self._act[1]:
            self._act, self._felt = (_act(line), over), math.inf
        if self._taken != "invalidated":
            self._taken, self.by, self._doubtful = "invalidated", _act(line), doubtful
        elif self._doubtful:  # one or the other
            self.by, self._doubtful = None, False

    def _asked(self, line: Line) -> None:
        if line.outcome in HIT_OUTCOMES:  # a tier had it all the same
            if line.outcome != "stale" or self._taken != "invalidated":  # what was marked stale is served, and stays so
                self._lives(line, self._until if line.time < self._until else math.inf)
            told = line.outcome if line.outcome != "hit" else "joined" if line.reason == "joined" else "fresh"
            self._tell(line, told or "", None)
        elif line.outcome == "miss" and line.tier is None:
            reason = line.reason or "unknown"
            if reason == "cold":
                reason = self._reason_at(line.time) or ("invalidated" if self._act_ahead() else reason)
            elif reason == "expired" and self._taken == "invalidated":
                reason = "invalidated"
            self._tell(line, reason, self._by(line, reason))
            if reason == "corrupt":  # and is there no more
                self._taken, self._known = None, False

    def _by(self, line: Line, reason: str) -> dict[str, Any] | None:
        """What the miss that *line* tells of is put down to, where the log knows."""
        if reason == "evicted" and self._taken is None and [*(since := self._evicted_since())] == ["older"]:
            act = {"at": moment(since["older"] - 60), "op": "evict", "what": "older", "reason": LEFT["older"]}
            return act | dict.fromkeys(("user", "pid", "command", "process"))
        if reason != "invalidated":
            return None
        if self._taken is None and self._blamed is not None:
            return _act(self._blamed)
        return self.by if self._taken is not None else self._act[0] if line.time < self._felt else None

    def _tell(self, line: Line, reason: str, by: dict[str, Any] | None) -> None:
        self.outcomes.append({
            "at": moment(line.time), "reason": reason, "outcome": line.outcome, "tier": line.tier,
            "op": line.op, "latency_us": line.latency_us,
            "wait_us": line.latency_us if line.wait_us is None and reason == "joined" else line.wait_us,
            "factory_s": line.factory_s, "error": line.error, "after": self._changed, "by": by,
        })  # fmt: skip

    def _reason_at(self, time: float) -> str | None:
        if self._taken or not self._known or time < self._since:
            return self._taken
        if time >= self._until:
            return "expired"
        return "evicted" if self._evicted_since() else None

    def _evicted_since(self) -> dict[str, float]:
        """Why tiers have removed entries without a name since this one was stored, and until when for each reason."""
        return {why: until for why, until in self._evicted().items() if until >= self._since}


def _last_evicted(directory: Path) -> dict[str, float]:
    """By reason when the minute was over in which a tier last removed entries without a name."""
    counts = read_counts(directory, since=None, now=0.0, by_minute=True)
    rows = [row for row in counts.tally.counters.values() if row.kind == "evict" and not row.namespace]
    return {row.reason: 60.0 * row.minute + 60 for row in sorted(rows, key=lambda row: row.minute)}


def _over(line: Line) -> float:
    """When what the line tells of was over."""
    return line.time + (line.latency_us or 0.0) / 1e6


def _end_of(line: Line) -> float:
    """When the entry expires that was written or touched."""
    return math.inf if line.ttl is None else line.time + line.ttl


def _keeps_nothing(line: Line) -> bool:
    """Is it a set that stored nothing, and left nothing of what was there?"""
    return line.op == "set" and line.outcome == "refused" and (line.ttl == 0 or line.reason == "too_large")


def _named_by(lines: Sequence[Line]) -> set[str]:
    """The keys that entries are said to depend on."""
    return {name for line in lines for name in line.depends_on}


def _changing(namespace: str, key: str) -> Callable[[Line], bool]:
    """Says whether a line changes *key*, so that what depends on it ends."""
    target, dependents = _Target(namespace, key), _names(namespace, dependents_target(key))
    changes = {"set", "delete", "invalidate"}
    return lambda line: (
        (target(line) or line.key in dependents)
        and line.op in changes
        and (line.outcome != "refused" or _keeps_nothing(line))
    )


class _Target:
    """Says whether a line is about a key; remembers the tags it was last written with."""

    def __init__(self, namespace: str, key: str) -> None:
        self._namespace, self._key = namespace, key
        self._names = _names(namespace, key)
        self._tags: frozenset[str] = frozenset()

    def __call__(self, line: Line) -> bool:
        if line.op == "invalidate":
            return self._is_hit(line)
        if line.key not in self._names:
            return False
        if tells_tags(line):
            self._tags = frozenset(name for tag in line.tags for name in _names(self._namespace, tag_target(tag)))
        return True

    def _is_hit(self, line: Line) -> bool:
        if line.outcome == "cleared" or line.key in self._names or line.key in self._tags:
            return True
        if tag_of(line.key) is not None:
            return False
        try:
            return Pattern.parse(line.key).matches(self._key)
        except InvalidKey:  # redacted, and by chance no pattern any more
            return False


def who_ended(directory: Path, namespace: str, marks: Sequence[str], since: float) -> dict[str, dict[str, Any] | None]:
    """For each of *marks* (names of what an entry carries) the last act after *since* that ended or changed it.

    An act is ``{at, op, what, reason, user, pid, command, process}``; None where the log knows of none.  *since* is in
    seconds since the epoch: when the entry was made.
    """
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(marks)
    keys = [mark[len(KEY_MARK) :] for mark in marks if mark.startswith(KEY_MARK)]
    concerns = {mark: _concerning(namespace, mark) for mark in marks}
    for line in _lines(directory, namespace, keys):
        for mark, concern in concerns.items():
            if concern(line) and line.time >= since:
                found[mark] = _act(line)
    return found


def _concerning(namespace: str, mark: str) -> Callable[[Line], bool]:
    if mark == NAMESPACE_MARK:
        return lambda line: line.op == "invalidate" and line.outcome == "cleared"
    if not mark.startswith(KEY_MARK):
        names = _names(namespace, tag_target(mark))
        return lambda line: line.op == "invalidate" and line.key in names
    key = mark[len(KEY_MARK) :]
    return _changing(namespace, key)


def _names(namespace: str, key: str) -> frozenset[str]:
    """What the log may call it."""
    return frozenset({key, redacted(namespace, key)})


def _lines(directory: Path, namespace: str, keys: Sequence[str], asked: str | None = None, hits: int = 0,
           problems: Problems | None = None) -> list[Line]:  # fmt: skip
    """The lines about *keys*, and all invalidations of the namespace, in the order of time; hits of *asked* only."""
    names = {name for key in keys for name in _names(namespace, key)}
    operations = Operations(directory, keys=frozenset(names))
    found = lines_about(operations, namespace, frozenset() if asked is None else _names(namespace, asked), hits)
    if problems is not None:
        problems.add(operations.problems)
    return found


def _act(line: Line) -> dict[str, Any]:
    signed: Mapping[str, Any] = {name: getattr(line, name) for name in ("user", "pid", "command", "process")}
    return {"at": moment(line.time), "op": line.op, "what": line.key, "reason": line.reason, **signed}
