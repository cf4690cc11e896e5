"""Who waits for whom, among the computations of many machines: a circle is refused instead of hanging.

Rule 1: what a computation waits for is noted in the leases it holds *before* looking what the others' owners wait for,
        and at each later look again: whoever closes a circle sees it, and all in it may: `FlightCycle`.
Rule 2: a note counts once its owner has renewed its lease since it was seen.  So the notes of the dead close no circle,
        and a circle of several processes is seen a second late.
Rule 3: of those that see a circle the one whose token comes first is refused a second before the others, who then most
        often find it gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from scoutcache.channels.lease_flows import Flow, Rest
from scoutcache.channels.lease_plans import LeasePlans, Owned
from scoutcache.entry import Ref
from scoutcache.errors import FlightCycle

__all__ = ["Circles", "Known"]

CONFIRM: Final = 0.1
"""Seconds between two looks whether a circle's owners live."""

_Beat = tuple[bytes, bytes]
"""An owner, and how often it has renewed its lease."""


class Known(Owned, Protocol):
    """A lease that this process holds, or held a moment ago."""

    @property
    def ref(self) -> Ref: ...
    @property
    def stands(self) -> bool: ...


class Circles:
    """Looks for circles among the leases that *plans* knows; *held* are this process's own, by name."""

    def __init__(self, plans: LeasePlans) -> None:
        self._plans = plans
        self.held: Mapping[bytes, Known] = {}

    def note(self, ref: Ref, own: Sequence[Known], word: bytes) -> Flow[None]:
        """The owner of *own* waits for *ref*, until `wipe`.  Raises `FlightCycle`, `TierUnavailable`."""
        if own:
            name = self._plans.name(ref)
            for lease in own:
                lease.notes[word] = name
            yield from self._plans.note(own, word, name)
            yield from self.refuse(ref, own)

    def refuse(self, ref: Ref, own: Sequence[Known]) -> Flow[None]:
        """Raise `FlightCycle` where the owner of *own* would wait for itself."""
        keys = {lease.name: lease for lease in own if lease.stands}
        before: dict[bytes, _Beat] = {}
        while keys and (found := (yield from self._find(self._plans.name(ref), set(keys)))) is not None:
            end, beats = found
            times = 1 if all(keys[end].token < owner for owner, _ in beats.values()) else 2  # Rule 3
            if all(_renewals(before.get(name), beat) >= times for name, beat in beats.items()):
                raise FlightCycle(
                    f"computing {own[-1].ref.key!r} asks for {ref.key!r}, which another process computes and which "
                    f"waits for {keys[end].ref.key!r}: neither could ever end",
                    hint="compute one of them outside the other's factory",
                )
            for name, beat in beats.items():
                if name not in before or before[name][0] != beat[0]:
                    before[name] = beat
            yield Rest(CONFIRM, rung=False)

    def _find(self, name: bytes, own: set[bytes]) -> Flow[tuple[bytes, Mapping[bytes, _Beat]] | None]:
        """The lease among *own* that waiting for *name* leads back to, and the beats of the others on the way."""
        if name in own:
            return name, {}
        came_from: dict[bytes, bytes | None] = {name: None}
        beats: dict[bytes, _Beat] = {}
        level = [name]
        while level:
            found: list[bytes] = []
            for one, awaited in (yield from self._awaited(level, beats)).items():
                for other in awaited:
                    if other in own:
                        return other, {on: beats[on] for on in _way(one, came_from) if on in beats}
                    if other not in came_from:
                        came_from[other] = one
                        found.append(other)
            level = found
        return None

    def _awaited(self, names: Sequence[bytes], beats: dict[bytes, _Beat]) -> Flow[Mapping[bytes, Sequence[bytes]]]:
        """What the owners of those leases wait for; the *beats* of other processes' are noted down."""
        mine = {name: list(lease.notes.values()) for name in names if (lease := self.held.get(name)) is not None}
        others = [name for name in names if name not in mine]
        looked = (yield from self._plans.look(others)) if others else {}
        beats.update({name: one.beat for name, one in looked.items()})
        return mine | {name: list(one.awaited) for name, one in looked.items()}


def _renewals(before: _Beat | None, beat: _Beat) -> int:
    """How often the owner has renewed its lease since it was seen first."""
    if before is None or before[0] != beat[0]:
        return 0
    return _number(beat[1]) - _number(before[1])


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() else 0


def _way(name: bytes | None, came_from: Mapping[bytes, bytes | None]) -> Iterator[bytes]:
    while name is not None:
        yield name
        name = came_from[name]
