"""What the log says of each prefix and each tag: uses, ages, reasons, costs.  Read once, in the order of time.

Rule 1: ages are seconds since the entry was last written, as far as the log knows when that was; one that the log
        doesn't know counts nowhere.
Rule 2: a prefix is taken over all namespaces, as the configuration does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from scoutcache.insight.simulation.history import is_request
from scoutcache.keys import prefix_of
from scoutcache.oplog.records import HIT_OUTCOMES, Line, tag_of

__all__ = ["Evidence", "OfPrefix", "OfTag", "gather"]


@dataclass(slots=True)
class OfPrefix:
    """What happened to the keys of one prefix.  *ttl* is the usual one, None while nothing was written."""

    prefix: str
    requests: int = 0
    hits: int = 0
    joined: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    repeats: int = 0
    written: int = 0
    never_read: int = 0
    never_read_bytes: int = 0
    bytes: int = 0
    computed: int = 0
    computing_s: float = 0.0
    costed: int = 0
    cost_usd: float = 0.0
    ttls: Counter[float] = field(default_factory=Counter)
    read_at: list[float] = field(default_factory=list)
    """The ages at which entries were read."""
    expired_at: list[float] = field(default_factory=list)
    """The ages at which they were asked for when they had expired."""

    @property
    def missed(self) -> int:
        """Requests that nothing answered."""
        return self.requests - self.hits

    @property
    def ttl(self) -> float | None:
        """The time to live that most writes had."""
        return self.ttls.most_common(1)[0][0] if self.ttls else None


@dataclass(slots=True)
class OfTag:
    """How often what carries a tag was read, and the tag invalidated."""

    tag: str
    reads: int = 0
    writes: int = 0
    invalidations: int = 0


@dataclass(slots=True)
class Evidence:
    """All of it.  Times are seconds since the epoch, None where there is nothing."""

    prefixes: dict[str, OfPrefix] = field(default_factory=dict)
    tags: dict[str, OfTag] = field(default_factory=dict)
    begins: float | None = None
    ends: float | None = None

    @property
    def seconds(self) -> float:
        """How long it was looked at."""
        return 0.0 if self.begins is None or self.ends is None else self.ends - self.begins

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return sum(one.requests for one in self.prefixes.values())

    @property
    def hits(self) -> int:
        """How many of them were answered."""
        return sum(one.hits for one in self.prefixes.values())


@dataclass(slots=True)
class _Life:
    """One key: when it was written last, and what became of that."""

    of: OfPrefix
    written_at: float | None = None
    size: int = 0
    reads: int = 0
    asked: bool = False
    writes: int = 0
    tags: tuple[str, ...] = ()


def gather(lines: Iterable[Line]) -> Evidence:
    """The evidence in *lines*, which are in the order of time."""
    found = _Gathering()
    for line in lines:
        found.add(line)
    return found.told()


class _Gathering:
    def __init__(self) -> None:
        self._found = Evidence()
        self._lives: dict[tuple[str, str], _Life] = {}
        self._tags: defaultdict[str, OfTag] = defaultdict()

    def add(self, line: Line) -> None:
        """The next line."""
        self._found.begins = line.time if self._found.begins is None else self._found.begins
        self._found.ends = line.time
        if line.op == "invalidate":
            if (tag := tag_of(line.key)) is not None:
                self._tag(tag).invalidations += 1
        elif is_request(line):
            self._asked(line, self._life(line))
        elif line.op in {"set", "refresh"} and line.tier is None:
            if line.op == "refresh":
                self._computed(line, self._life(line).of)
            if line.outcome == "stored":
                self._written(line, self._life(line))

    def _tag(self, tag: str) -> OfTag:
        if tag not in self._tags:
            self._tags[tag] = OfTag(tag)
        return self._tags[tag]

    def _life(self, line: Line) -> _Life:
        name = (line.namespace, line.key)
        life = self._lives.get(name)
        if life is None:
            prefix = prefix_of(line.key)
            of = self._found.prefixes.get(prefix)
            if of is None:
                of = self._found.prefixes[prefix] = OfPrefix(prefix)
            of.keys += 1
            life = self._lives[name] = _Life(of)
        if line.size:
            life.size = line.size
        return life

    def _asked(self, line: Line, life: _Life) -> None:
        of = life.of
        of.requests += 1
        of.repeats += life.asked
        life.asked = True
        self._computed(line, of)
        age = None if life.written_at is None else line.time - life.written_at
        if line.outcome in HIT_OUTCOMES:
            self._hit(line, life, age)
            return
        reason = line.reason or "unknown"
        of.misses[reason] += 1
        if reason == "expired" and age is not None:
            of.expired_at.append(age)

    def _computed(self, line: Line, of: OfPrefix) -> None:
        """What was spent, if something was: the cost of a hit is what it saved."""
        if line.factory_s is not None:
            of.computed += 1
            of.computing_s += line.factory_s
            of.costed += line.cost is not None
            of.cost_usd += line.cost or 0.0

    def _hit(self, line: Line, life: _Life, age: float | None) -> None:
        life.of.hits += 1
        life.of.joined += line.reason == "joined"
        life.reads += 1
        for tag in life.tags:
            self._tag(tag).reads += 1
        if age is not None:
            life.of.read_at.append(age)

    def _written(self, line: Line, life: _Life) -> None:
        life.written_at, life.writes = line.time, life.writes + 1
        life.of.ttls[inf if line.ttl is None else line.ttl] += line.op == "set"
        if line.op == "set":
            life.tags = line.tags
            for tag in life.tags:
                self._tag(tag).writes += 1

    def told(self) -> Evidence:
        """The whole."""
        for life in self._lives.values():
            of = life.of
            if life.writes:
                of.written += 1
                of.bytes += life.size
                if not life.reads:
                    of.never_read += 1
                    of.never_read_bytes += life.size
        self._found.tags = dict(self._tags)
        return self._found
