"""The operation log as requests to simulate: what was asked for, what was stored unasked, and what was taken away.

Rule 1: a request is one that `report` counts: a hit, or a miss of the cache as a whole.  What went past the cache
        (bypassed, disabled) is none.
Rule 2: a write after a miss of its key is that miss's answer, which a simulated cache stores by itself, or doesn't
        need.  Any other write, and a refresh, stores a new value.
Rule 3: a key lives as long as it was last given; before the first write the log holds, as long as that; a key that was
        hit and never seen written, as most of its prefix do; one that was neither is never stored, nor is what came of
        a request whose computation failed.  A key has the last size that is known of it, else its prefix's average.
Rule 4: an invalidation removes the keys that it names, the keys that match and those last written with its tag; what
        depends on a key goes with it when it is removed or written anew.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from statistics import mean
from typing import Final

from scoutcache.errors import InvalidKey
from scoutcache.insight.simulation.requests import DROP, READ, WRITE, Requests
from scoutcache.keys import prefix_of
from scoutcache.oplog.records import HIT_OUTCOMES, NOT_LOOKED, REQUESTS, Line, tag_of, tag_target
from scoutcache.patterns import Pattern

__all__ = ["as_requests", "is_request"]

_HEAD: Final = re.compile(r"[^:]*:")


def is_request(line: Line) -> bool:
    """Is it one that the cache answered or could have (Rule 1)?"""
    if line.op not in REQUESTS or line.reason in NOT_LOOKED:
        return False
    return line.outcome in HIT_OUTCOMES or line.tier is None


def as_requests(lines: Iterable[Line]) -> Requests:
    """The requests in *lines*, which are in the order of time (`operations.in_order`)."""
    story = _Story()
    for line in lines:
        story.add(line)
    return story.told()


class _Story:
    """Builds the columns of `Requests` line by line."""

    def __init__(self) -> None:
        self._numbers: defaultdict[tuple[str, str], int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__
        self._keys: list[int] = []
        self._acts = bytearray()
        self._times: list[float] = []
        self._ttls: list[float | None] = []
        self._ttl: dict[int, float] = {}
        self._first_ttl: dict[int, float] = {}
        self._sizes: dict[int, int] = {}
        self._usd: dict[int, float] = {}
        self._seconds: dict[int, float] = {}
        self._hit: set[int] = set()
        self._unanswered: dict[int, int] = {}
        self._stored = _Stored()
        self._refreshed: dict[int, int] = {}
        """By key the event of a refresh that is yet to tell its write."""

    def add(self, line: Line) -> None:
        """The next line."""
        if line.op in REQUESTS:
            if is_request(line):
                self._asked(line)
        elif line.op in {"set", "refresh"}:
            if line.outcome == "stored" and line.tier is None:
                self._written(line)
        elif line.op == "delete":
            if line.outcome != "absent":
                self._dropped(self._stored.named(line.namespace, line.key), line.time)
        elif line.op == "invalidate":
            self._dropped(self._stored.hit_by(line), line.time)

    def _asked(self, line: Line) -> None:
        key = self._noted(line)
        if line.outcome in HIT_OUTCOMES:
            self._hit.add(key)
        elif line.error is None:
            self._unanswered[key] = len(self._keys)
        # As `_event`, which a million calls of would take a third of a second.
        self._keys.append(key)
        self._acts.append(READ)
        self._times.append(line.time)
        self._ttls.append(self._ttl.get(key) if line.error is None else 0.0)

    def _noted(self, line: Line) -> int:
        """The key's number; its size and costs, as far as *line* says."""
        known = len(self._numbers)
        key = self._numbers[line.namespace, line.key]
        if key == known and line.outcome in HIT_OUTCOMES:  # it was written before the log begins
            self._stored.found(line)
        if line.size:
            self._sizes[key] = line.size
        if line.cost is not None:
            self._usd[key] = line.cost
        if line.factory_s is not None:
            self._seconds[key] = line.factory_s
        return key

    def _written(self, line: Line) -> None:
        key = self._noted(line)
        if line.op == "set":
            ttl = inf if line.ttl is None else line.ttl
            self._ttl[key] = ttl
            self._first_ttl.setdefault(key, ttl)
            self._dropped(self._stored.dependents(line.namespace, line.key), line.time)
            self._stored.put(line)
        answers = self._unanswered.pop(key, None)
        if answers is not None:
            self._ttls[answers] = self._ttl.get(key)
        elif line.op == "set" and key in self._refreshed:
            self._ttls[self._refreshed.pop(key)] = self._ttl.get(key)
        else:
            self._event(key, WRITE, line.time)
            if line.op == "refresh":
                self._refreshed[key] = len(self._keys) - 1

    def _dropped(self, names: Iterable[tuple[str, str]], time: float) -> None:
        for name in names:
            key = self._numbers[name]
            self._unanswered.pop(key, None)
            self._refreshed.pop(key, None)
            self._event(key, DROP, time)

    def _event(self, key: int, act: int, time: float) -> None:
        self._keys.append(key)
        self._acts.append(act)
        self._times.append(time)
        self._ttls.append(self._ttl.get(key))

    def told(self) -> Requests:
        """The whole."""
        names = list(self._numbers)
        prefixes = [prefix_of(key) for _, key in names]
        usual = _usual(self._first_ttl, prefixes)
        lives = [
            self._first_ttl.get(key, usual.get(prefix, inf) if key in self._hit else 0.0)
            for key, prefix in enumerate(prefixes)
        ]
        ttls = [lives[key] if ttl is None else ttl for key, ttl in zip(self._keys, self._ttls, strict=True)]
        sizes = [max(1, round(size)) for size in _filled(self._sizes, prefixes, 1.0)]
        costs = _filled(self._usd or self._seconds, prefixes, 0.0) if self._usd or self._seconds else []
        found = Requests(self._keys, sizes, [key for _, key in names], self._acts, self._times, ttls, costs)
        if found.count == len(found.keys) and not found.has_ttls:
            found.acts, found.times, found.ttls = bytearray(), (), ()
        return found


def _usual(ttls: dict[int, float], prefixes: Sequence[str]) -> dict[str, float]:
    """By prefix the time to live that most keys have."""
    votes: defaultdict[str, Counter[float]] = defaultdict(Counter)
    for key, ttl in ttls.items():
        votes[prefixes[key]][ttl] += 1
    return {prefix: counted.most_common(1)[0][0] for prefix, counted in votes.items()}


def _filled(known: dict[int, float] | dict[int, int], prefixes: Sequence[str], otherwise: float) -> list[float]:
    """A figure for each key: its own, else its prefix's average, else that of all."""
    by_prefix: defaultdict[str, list[float]] = defaultdict(list)
    for key, figure in known.items():
        by_prefix[prefixes[key]].append(figure)
    means = {prefix: mean(figures) for prefix, figures in by_prefix.items()}
    overall = mean(known.values()) if known else otherwise
    return [known[key] if key in known else means.get(prefix, overall) for key, prefix in enumerate(prefixes)]


class _Stored:
    """What the log says is stored: by namespace and the text up to the first colon, and by tag."""

    def __init__(self) -> None:
        self._by_head: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._heads: defaultdict[str, set[str]] = defaultdict(set)
        self._marks: dict[tuple[str, str], tuple[str, ...]] = {}
        self._marked: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def put(self, line: Line) -> None:
        """A key was written, with these tags."""
        name = (line.namespace, line.key)
        self._unmark(name)
        self.found(line)
        marks = (*(tag_target(tag) for tag in line.tags), *(f"key:{key}" for key in line.depends_on))
        if marks:
            self._marks[name] = marks
            for mark in marks:
                self._marked[line.namespace, mark].add(line.key)

    def found(self, line: Line) -> None:
        """A key is there; who wrote it and with which tags is not known."""
        head = _head(line.key)
        self._by_head[line.namespace, head].add(line.key)
        self._heads[line.namespace].add(head)

    def _unmark(self, name: tuple[str, str]) -> None:
        for mark in self._marks.pop(name, ()):
            self._marked[name[0], mark].discard(name[1])

    def named(self, namespace: str, key: str) -> list[tuple[str, str]]:
        """*key* and what depends on it, which are no longer stored."""
        return self._taken(namespace, [key])

    def dependents(self, namespace: str, key: str) -> list[tuple[str, str]]:
        """What depends on *key*, which is no longer stored."""
        return self._taken(namespace, list(self._marked.get((namespace, f"key:{key}"), ())))

    def hit_by(self, line: Line) -> list[tuple[str, str]]:
        """What an invalidation removes."""
        return self._taken(line.namespace, list(self._targets(line)))

    def _targets(self, line: Line) -> Iterator[str]:
        space = line.namespace
        if line.outcome == "cleared":
            for head in self._heads[space]:
                yield from self._by_head[space, head]
        elif tag_of(line.key) is not None:
            yield from self._marked.get((space, line.key), ())
        else:
            try:
                pattern = Pattern.parse(line.key)
            except InvalidKey:  # redacted
                return
            if pattern.literal is not None:
                yield pattern.literal
                return
            whole = _HEAD.match(pattern.prefix)
            for head in [whole[0]] if whole else self._heads[space]:
                yield from filter(pattern.matches, self._by_head.get((space, head), ()))

    def _taken(self, namespace: str, keys: list[str]) -> list[tuple[str, str]]:
        """*keys* as far as they are stored, and what depends on them; from now on they are not."""
        gone = []
        while keys:
            key = keys.pop()
            stored = self._by_head.get((namespace, _head(key)))
            if stored is not None and key in stored:
                stored.discard(key)
                self._unmark((namespace, key))
                gone.append((namespace, key))
            keys += [one for one in self._marked.get((namespace, f"key:{key}"), ()) if one != key]
        return gone


def _head(key: str) -> str:
    whole = _HEAD.match(key)
    return whole[0] if whole else ""
