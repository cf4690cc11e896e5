"""What the engine knows of the world: the tiers' names, the clocks, the channel, where events go, what is warm."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from scoutcache import events
from scoutcache.coherence.messages import Action, Kind, Message
from scoutcache.engine.doubt import Doubt
from scoutcache.engine.effects import Renew
from scoutcache.engine.failures import Failures
from scoutcache.engine.flights import FlightTable, Running
from scoutcache.engine.moments import Here, Moments
from scoutcache.entry import KEY_MARK, MARKED, Header, Mark, Ref
from scoutcache.errors import TierUnavailable
from scoutcache.events import Hooks
from scoutcache.wire.codec import Codec

if TYPE_CHECKING:
    from scoutcache.engine.debts import Debt
    from scoutcache.engine.effects import Flow
    from scoutcache.engine.recipe import Outcome
    from scoutcache.policies.book import Effective
    from scoutcache.rules.planning import Change

__all__ = ["Warmth", "World"]


class Watch(Protocol):
    """Who is told of changed values, once they are written."""

    def watches(self, key: str) -> bool:
        """Does a change of *key* interest anybody?"""

    def changed(self, namespace: str, change: Change) -> Flow[None]:
        """Do what is to be done about it."""


@dataclass(kw_only=True)
class World:
    """Everything the engine may ask for without yielding: it is all in memory and never waits.

    *names* are the tiers from the highest down, and *memory* is the level of the one that holds live values (None when
    there is none).  *shared* is true when some tier is read by other processes, so that writes are announced.
    """

    names: Sequence[str]
    memory: int | None
    shared: bool
    codec: Codec
    hooks: Hooks
    source: str
    now: Callable[[], float]
    stamp: Callable[[], int]
    """Nanoseconds since the epoch, later than every stamp this process took before."""
    end: Callable[[], int]
    """The channel's position after the last message."""
    applied: Callable[[], int]
    """The position up to which messages were applied to what this process remembers: what a flow notes that is going
    to look at any of it.  (Noting `end` instead would take what others forget meanwhile for current.)"""
    invalidated: Callable[[], int]
    """The channel's position after the last message that was an invalidation."""
    since: Callable[[int], tuple[list[Message] | None, int]]
    """The messages after a position, None when some are gone, and the position after them."""
    known: Callable[[str, Sequence[str]], dict[str, int] | None]
    """The versions of names, as far as there are any, if this process knows that without asking the authority."""
    is_current: Callable[[str, Sequence[Mark]], bool]
    """Does this process know, without asking the authority, that every one of these marks is current?"""
    without_authority: Callable[[str, Sequence[str]], dict[str, int] | None] = lambda _, __: None
    """What the processes of this machine go by in place of the versions of names where the authority can't be asked;
    None where they have nothing to go by."""
    remembered: Callable[[str, str], list[str]] = lambda _, __: []
    """The names of marks that begin with a text, as far as this process knows them without asking the authority."""
    is_remembered: Callable[[str, str], bool] = lambda _, __: False
    """Is a mark of this name among them?"""
    hear: Callable[[], object] = lambda: None
    """Apply what the channel has by now, as a write to a server brings it there that others were ahead of."""
    tells: int | None = None
    """The level of a tier that announces what it takes in the same transaction, so that nobody need do it after it."""
    takes_writes: Callable[[], bool] = lambda: True
    """Does that tier take any now?  It may have to be asked: `Work`."""
    why_gone: Callable[[Ref], str | None] = lambda _: None
    """Why memory has no fresh entry where it lately had one: then a miss is no cold one."""
    price: Callable[[Sequence[str], int], float | None] | None = None
    """What a call for a value with these tags and of that size cost, where nobody says; None without any price."""
    refresh_failed: Callable[[Ref, Exception], object] = lambda *_: None
    """Is told of each computation beside the calls that raised, and that no caller waits for."""
    served: Callable[[Header], object] = lambda _: None
    """Counts that what memory showed was served: nobody but the engine knows whether it was."""
    note_ended: Callable[[Ref], object] = lambda _: None
    """Lets memory know what was ended below it, so that `why_gone` knows of that, too."""
    promote_on_hits: int = 2
    lagging: frozenset[int] = frozenset()
    """The levels of tiers that may answer with what was replaced or removed before the messages that were applied:
    what they say is served, and goes nowhere else."""
    policy: Callable[[Ref], Effective | None] | None = None
    """What the policies say of an entry; None when there are none."""
    sliding: Callable[[Ref], float | None] | None = None
    """The time to live in seconds that each hit renews, for entries of which a policy says so; None where none does."""
    raise_errors: bool = False
    """Raise `TierUnavailable` into the caller instead of treating the tier's answer as a miss."""
    refreshed: Callable[[Ref, Outcome], None] = lambda ref, outcome: None  # noqa: ARG005
    """Is told what was computed beside the calls."""
    running: Running = field(default_factory=Running)
    moments: Moments | None = None
    """What the computations under way are told; None where nobody feeds it."""
    changing: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered while this process changes what others may hold copies of: should it die meanwhile, they drop them."""
    failures: Failures = field(default_factory=lambda: Failures(lambda: 0.0))
    leased: bool = False
    """Do other processes compute the same keys, so that a lease must be taken?"""
    throttle: float = 30.0
    """Seconds for which a factory that failed isn't asked again while a stale value can be served."""
    dice: Callable[[], float] = lambda: 0.0
    """A number from 0 to 1, another one each time."""
    watch: Watch | None = None
    """Who wants to know which values changed."""
    loop: Callable[[], object | None] = lambda: None
    """The event loop that drives the caller, None for a thread."""
    goes_on: Callable[[object | None], bool] = lambda _: True
    """Does what that drives go on?  Not on a loop that was closed or stands still."""

    doubts: list[Doubt] = field(init=False)
    """By level: what this process doesn't believe the tier about."""
    lower: Sequence[int] = field(init=False)
    """The levels that keep bytes, from the highest down: those whose entries are judged by versions."""
    written_in_order: Sequence[int] = field(init=False)
    """The same in the order in which a write goes to them: from the lowest up, but first to the one that tells."""

    def __post_init__(self) -> None:
        if not self.shared:
            self.changing = nullcontext
        self.doubts = [Doubt(level) for level in range(len(self.names))]
        self.lower = [level for level in range(len(self.names)) if level != self.memory]
        self.written_in_order = sorted(self.lower, key=lambda level: (level != self.tells, -level))

    @property
    def authority(self) -> int | None:
        """The level of the tier that says which marks are current; None where only this process does."""
        return self.lower[-1] if self.tells is None and self.lower else self.tells

    @property
    def untold(self) -> Doubt | None:
        """What the authority isn't believed about, if there is anything."""
        doubt = None if self.authority is None else self.doubts[self.authority]
        return doubt or None

    def is_untold(self, namespace: str, keys: Iterable[str]) -> bool:
        """Is the authority not believed about one of *keys*?  What depends on it has not been ended there."""
        untold = self.untold
        if untold is None:
            return False
        return any(untold.covers(Ref(namespace, key)) or untold.owes(namespace, [KEY_MARK + key]) for key in keys)

    def is_owed(self, namespace: str, marks: Sequence[Mark]) -> bool:
        """Must what carries *marks* not be judged by the versions that the authority has of them?"""
        if len(marks) < 2:  # the namespace's alone, most entries: while that is owed no entry there is believed
            return False
        untold = self.untold
        return untold is not None and untold.owes(namespace, [name for name, _ in marks])

    def owe(self, debt: Debt) -> None:
        """*debt* is yet to be done: in its tier, or at the authority, by whose versions all entries are judged."""
        level = self.authority if isinstance(debt, Renew) else debt.level
        if level is not None:
            self.doubts[level].owe(debt)

    @property
    def flights(self) -> FlightTable:
        """The computations that callers wait for."""
        return self.running.flights

    @property
    def refreshes(self) -> FlightTable:
        """Computations beside the calls, that nobody need wait for."""
        return self.running.refreshes

    def down(self, tier: str, error: TierUnavailable) -> None:
        """A tier could not answer: tell whoever listens, and raise *error* if the user asked for that."""
        self.say_down(tier, error)
        if self.raise_errors:
            raise error

    def say_down(self, tier: str, error: TierUnavailable) -> None:
        """Tell whoever listens that a tier could not answer, in the middle of what must come to its end first."""
        self.hooks.emit(events.TierDown(tier=tier, problem=str(error), reason=error.reason))

    def here(self) -> Here:
        """This moment, for a flow that is going to look at anything and then write what it saw.

        What is under way is noted beside the position: to count from before it would mean to read, at each such write,
        all that others announced since it began.
        """
        noted = None if self.moments is None else self.moments.noted()
        return Here(self.applied()) if noted is None else Here(noted.end, noted)

    def allows(self, level: int, ref: Ref) -> bool:
        """May the entry stand in a tier?  One that isn't allowed doesn't exist for it."""
        said = None if self.policy is None else self.policy(ref)
        return said is None or said.allows(self.names[level])

    def may_lie_below(self, ref: Ref) -> bool:
        """May any tier but memory have the entry?"""
        return any(self.allows(level, ref) for level in self.lower)

    def writes_to(self, level: int, ref: Ref) -> bool:
        """Does a write put the entry into a tier?"""
        said = None if self.policy is None else self.policy(ref)
        return said is None or said.writes_to(self.names[level], self.names)

    def why_absent(self, ref: Ref) -> str:
        """Why nothing was found, where no tier said more: one that isn't believed may have it."""
        return self.why_gone(ref) or ("unavailable" if self._is_doubted(ref) else "cold")

    def _is_doubted(self, ref: Ref) -> bool:
        return any(doubt.may_have(ref) and self.allows(level, ref) for level, doubt in enumerate(self.doubts))

    def why_stale(self, header: Header) -> str:
        """Why what was found isn't fresh, where its marks don't say: its time was over, or somebody ended it."""
        ended = header.provenance == MARKED or self.why_gone(header.ref) == "invalidated"
        return "invalidated" if ended else "expired"

    def ended(self, refs: Iterable[Ref]) -> None:
        """This process removed *refs*, or marked them stale, in some tier: a miss of one is no cold one."""
        for ref in refs:
            if self.memory is not None and self.allows(self.memory, ref):  # else no write would end that
                self.note_ended(ref)

    def message(
        self, kind: Kind, namespace: str, names: Sequence[str], reason: str | None = None, action: Action = "delete",
        *, stamp: int | None = None,
    ) -> Message:  # fmt: skip
        """A message of this process's, stamped now: it settles what was owed before, and nothing that is owed later.

        Where what it tells of is older than that, *stamp* says how old.
        """
        at = self.stamp() if stamp is None else stamp
        return Message(kind, namespace, tuple(names), at, self.source, reason, action)

    def over(self, message: Message, failed: Container[str]) -> Message:
        """What says that *message* is over: where the tier that tells is among those that *failed*, that it is owed."""
        return message if self.tells is None or self.names[self.tells] not in failed else message.owing


class Warmth:
    """How often entries were found in a lower tier lately.

    Two generations of at most *capacity* refs: when the young one is full it becomes the old one, so that a scan over
    many keys costs no more memory than two of them, and forgetting costs nothing.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._young: dict[Ref, int] = {}
        self._old: dict[Ref, int] = {}

    def hit(self, ref: Ref) -> int:
        """Count one and return how many there were."""
        hits = self._young.get(ref) or self._old.get(ref, 0)
        self._young[ref] = hits + 1
        if len(self._young) > self._capacity:
            self._old, self._young = self._young, {}
        return hits + 1

    def forget(self, ref: Ref) -> None:
        """It has been promoted."""
        self._young.pop(ref, None)
        self._old.pop(ref, None)
