"""The effects a flow may yield, each with a helper reached by ``yield from`` so that the answer's type is known.

Rule 1: an effect names a tier by its level: 0 is the highest in the configured order.
Rule 2: a driver performs an effect and sends the answer, or throws what it raised into the flow.
Rule 3: an effect is never changed.  (Freezing the classes would double what making one costs.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scoutcache.coherence.messages import Message
from scoutcache.entry import Header, Ref, Row, Sealed
from scoutcache.patterns import Pattern

if TYPE_CHECKING:
    from scoutcache.engine.flights import Flight, Lease

__all__ = [
    "Announce",
    "Call",
    "Clear",
    "Current",
    "Effect",
    "Erase",
    "Flow",
    "Join",
    "Names",
    "Read",
    "ReadOne",
    "Remove",
    "RemoveOlder",
    "Renew",
    "Spawn",
    "Take",
    "Work",
    "Write",
]

Allow = Callable[[Header], bool]
T = TypeVar("T")


@dataclass(slots=True)
class Read:
    """Read *refs* from a tier; answered by those that are there."""

    level: int
    refs: Sequence[Ref]


@dataclass(slots=True)
class ReadOne:
    """Read one entry from a tier; answered by it or None."""

    level: int
    ref: Ref


@dataclass(slots=True)
class Write:
    """Store *rows* in a tier if *allow*, asked inside the write, says so; answered by how many were taken."""

    level: int
    rows: Sequence[Row]
    allow: Allow | None
    message: Message | None = None
    """To be announced with it, by a tier that can (`World.tells`); then it says what it took."""


@dataclass(slots=True)
class Remove:
    """Remove *refs* from a tier; answered by how many were there, or with *each* by which, where it can tell."""

    level: int
    refs: Sequence[Ref]
    each: bool = False


@dataclass(slots=True)
class RemoveOlder:
    """Remove from a tier that others share what began no later than told; answered by how many were there."""

    level: int
    starts: Mapping[Ref, int]


@dataclass(slots=True)
class Erase:
    """Remove what matches a pattern from a tier; answered by how many."""

    level: int
    namespace: str
    pattern: Pattern


@dataclass(slots=True)
class Clear:
    """Remove a namespace from a tier; answered by how many."""

    level: int
    namespace: str


@dataclass(slots=True)
class Current:
    """Ask the authority for versions; with *create* those missing are made.  Answered by a dict."""

    namespace: str
    names: Sequence[str]
    create: bool


@dataclass(slots=True)
class Renew:
    """Give each name a new version: what carries the old one is dead, or with *soft* stale."""

    namespace: str
    names: Sequence[str]
    soft: bool = False


@dataclass(slots=True)
class Names:
    """Ask the authority which names that begin with *prefix* have a version; answered by a list."""

    namespace: str
    prefix: str


@dataclass(slots=True)
class Announce:
    """Tell every process; answered by None."""

    message: Message


@dataclass(slots=True)
class Call:
    """Call the user's factory as the leader of *flight*; answered by its result."""

    factory: Callable[[], Any]
    flight: Flight


@dataclass(slots=True)
class Join:
    """Wait for a flight somebody else leads; answered by its values.

    After *timeout* seconds `TooSlow` is raised; None waits for as long as it takes.
    """

    flight: Flight
    timeout: float | None = None


@dataclass(slots=True)
class Spawn:
    """Drive another flow beside the calls; answered by whether it was begun.

    An *optional* one is not begun when many are under way; *abandoned* is called for one that ends before it began.
    """

    flow: Flow[None]
    optional: bool
    abandoned: Callable[[], None]


@dataclass(slots=True)
class Take:
    """Take the lease of a key against other processes; answered by it, or None when another process has it.

    With *wait* it is waited for until its owner released it or died, or for *timeout* seconds.
    """

    ref: Ref
    wait: bool
    timeout: float | None = None


@dataclass(slots=True)
class Work:
    """Do a longer piece of blocking work, such as a scan over a whole tier; answered by its result."""

    do: Callable[[], Any]


Effect = (
    Read | ReadOne | Write | Remove | RemoveOlder | Erase | Clear | Current | Names | Renew
    | Announce | Call | Join | Spawn | Take | Work
)
Flow = Generator[Effect, Any, T]


def perform(effect: Effect) -> Flow[Any]:
    """Yield one effect and return its answer."""
    return (yield effect)


def read(level: int, refs: Sequence[Ref]) -> Flow[dict[Ref, Sealed]]:
    """`Read`."""
    found: dict[Ref, Sealed] = yield Read(level, refs)
    return found


def write(level: int, rows: Sequence[Row], allow: Allow | None, message: Message | None = None) -> Flow[int]:
    """`Write`."""
    taken: int = yield Write(level, rows, allow, message)
    return taken


def current(namespace: str, names: Sequence[str], *, create: bool = False) -> Flow[dict[str, int]]:
    """`Current`."""
    versions: dict[str, int] = yield Current(namespace, names, create)
    return versions


def names(namespace: str, prefix: str) -> Flow[list[str]]:
    """`Names`."""
    found: list[str] = yield Names(namespace, prefix)
    return found


def take(ref: Ref, *, wait: bool, timeout: float | None = None) -> Flow[Lease | None]:
    """`Take`."""
    lease: Lease | None = yield Take(ref, wait, timeout)
    return lease


def announce(message: Message) -> Flow[None]:
    """`Announce`."""
    yield Announce(message)


def count(effect: Remove | RemoveOlder | Erase | Clear) -> Flow[int | set[Ref]]:
    """An effect that is answered by a number, or by what there was."""
    found: int | set[Ref] = yield effect
    return found
