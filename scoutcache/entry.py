"""An entry on its way between the caller, the engine and the tiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self

NEVER: Final = math.inf
"""The expiry of an entry that has none."""

KEY_MARK: Final = "\0key:"
"""What the name of a key's implicit tag begins with; a tag of the user's can't hold a NUL."""

DEPENDED_MARK: Final = "\0depended"
"""Has a version once some entry of the namespace depends on a key; until then writers need not look for dependents."""

NAMESPACE_MARK: Final = "\0namespace"
"""The implicit tag that every entry of a namespace carries, so that clearing one is a single write."""


SOFT_BITS: Final = 24
"""The low bits of a version count how often what carries it was marked stale; the others are random, and name a life.

Within one life the count is never reused before 16 million marks; of random bits 39 are left.
"""


def same_life(one: int, other: int) -> bool:
    """Is an entry that carries version *one* alive, stale perhaps, where *other* is current?"""
    return one >> SOFT_BITS == other >> SOFT_BITS


def softened(version: int) -> int:
    """The next version of the same life: what carries *version* is stale."""
    return version & -(1 << SOFT_BITS) | (version + 1) & ((1 << SOFT_BITS) - 1)

UNVERSIONED: Final = 0
"""The version of a mark when the authority can't be asked; no authority ever gives it."""

STAND_INS: Final = 1 << 63
"""Versions from there on are no authority's either: the processes of one machine go by them where nobody there knows
the version, and nobody can say it (`scoutcache.tiers.versions.stand_in`)."""

VERSION_MARK: Final = "\0version:"
"""What the name of a version of keys begins with (`versioned`): no entry carries it, and it must not be forgotten."""


class Missing:
    """The type of `MISSING`, which is what no value is: ``None`` is a value."""

    _only: Self | None = None

    def __new__(cls) -> Self:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


class Ref(NamedTuple):
    """Which entry: the namespace is part of the identity everywhere."""

    namespace: str
    key: str


class Mark(NamedTuple):
    """A tag as an entry carries it: the name and the version that was current when the entry was written."""

    name: str
    version: int


Life = Literal["current", "stale", "dead"]


def life_of(marks: Sequence[Mark], versions: Mapping[str, int]) -> Life:
    """What becomes of an entry that carries *marks* where *versions* are the current ones."""
    pairs = [(version, versions.get(name)) for name, version in marks]
    if all(mine == current for mine, current in pairs):
        return "current"
    return "stale" if all(one is not None and same_life(mine, one) for mine, one in pairs) else "dead"


MARKED: Final = "marked stale"
"""The provenance of an entry that somebody ended before its time; of no other one has anybody said anything yet."""


class Header(NamedTuple):
    """What is known of an entry besides its value.

    Times are seconds since the epoch, UTC; *start* is nanoseconds, and of two writers the later start wins.
    *fresh_until* <= *expires*; both may be `NEVER`.
    """

    ref: Ref
    start: int
    created: float
    fresh_until: float
    expires: float
    marks: tuple[Mark, ...] = ()
    cost: float | None = None
    provenance: str | None = None

    def aged(self, now: float) -> Header:
        """The same, stale from *now* on at the latest, and so that whoever misses it knows why."""
        return self if self.fresh_until <= now else self._replace(fresh_until=now, provenance=MARKED)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags the user gave."""
        return tuple(mark.name for mark in self.marks if not mark.name.startswith("\0"))

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The keys the user said it depends on."""
        return tuple(mark.name[len(KEY_MARK) :] for mark in self.marks if mark.name.startswith(KEY_MARK))


class Sealed(NamedTuple):
    """An entry as every lower tier keeps it: one envelope, or the head of one and its chunks."""

    head: bytes
    chunks: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.head) + sum(map(len, self.chunks)) if self.chunks else len(self.head)


class Encoded(NamedTuple):
    """A value as its serializer left it, before compression.  *serializer* is its number on the wire."""

    serializer: int
    payload: bytes


class Live(NamedTuple):
    """A value as the memory tier keeps it: itself when immutable, else encoded and decoded anew on each hit.

    *decode* is None for an immutable value; *size* is the bytes that memory keeps, *written* those of the value as
    serialized, before compression: of text its own alone, 0 where nobody knows.
    """

    held: Any
    decode: Callable[[Any], Any] | None
    size: int
    written: int = 0

    def value(self) -> Any:
        """The value, safe from what anybody did to it since."""
        return self.held if self.decode is None else self.decode(self.held)


@dataclass(slots=True)
class Row:
    """An entry about to be written: tiers of bytes take *sealed*, the memory tier takes *live*.

    Sealing costs (compression, checksum), so it is done once, and only when a tier asks.
    """

    header: Header
    live: Live
    seal: Callable[[], Sealed]
    renews: str | None = None
    """A mark to be given a new version by whoever stores this and is the authority, in the same transaction."""
    replaces: bool = False
    """Somebody set it: where an announcement forbids it, an older entry of its key goes all the same."""
    computed: bool = False
    """Nobody set it: it is as good as what others computed."""
    _sealed: Sealed | None = field(default=None, repr=False)

    @property
    def sealed(self) -> Sealed:
        """The entry as bytes."""
        if self._sealed is None:
            self._sealed = self.seal()
        return self._sealed


@dataclass(slots=True)
class Handled:
    """What the codec did with an entry: *size* bytes in all as lower tiers keep it, *compression*, nanoseconds."""

    size: int | None = None
    compression: str | None = None
    ns: int = 0


class Listed(NamedTuple):
    """An entry as a listing sees it, without its value.  *size* is in bytes as stored in that tier."""

    header: Header
    tier: str
    size: int
    hits: int | None
    """How often it was read in that tier, None when the tier doesn't know."""
    idle_s: float | None = None
    """Seconds since it was last read or written there, None where nobody noted it, or nobody asked."""


class Usage(NamedTuple):
    """How full a tier is; a limit is None where there is none, a figure is None where nobody knows it."""

    entries: int | None
    size_bytes: int | None
    max_entries: int | None
    max_bytes: int | None
