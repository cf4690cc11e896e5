"""What happened, as frozen records, and the hooks that are told.

`cache.on("miss", hook)` registers any callable that takes a record; ``"*"`` takes all of them.  Records hold keys and
figures, never values.  Nothing in the core knows who listens, and a hook that raises never breaks the caller.

The records are msgspec structs: as many frozen dataclasses cost every command 40 ms at its start.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import msgspec

from scoutcache.errors import CacheError

__all__ = [
    "EVENT_NAMES", "Alerted", "Cleared", "Computed", "Corrupt", "Demoted", "Emitted", "Event", "Evicted", "Expired",
    "FactoryFailed", "Hit", "Hook", "Hooks", "Invalidated", "Miss", "Promoted", "Refreshed", "Refused", "Removed",
    "ServedStale", "Stored", "TierDown", "Trouble", "Unreadable", "Unstorable",
]  # fmt: skip


class Event(msgspec.Struct, frozen=True):
    """Something that happened.  *name* is what hooks register for."""

    name: ClassVar[str]


class OfKey(Event, frozen=True):
    """Something that happened to one key."""

    namespace: str
    key: str


class Hit(OfKey, frozen=True):
    """A lookup found a fresh entry."""

    name: ClassVar[str] = "hit"
    tier: str


class Miss(OfKey, frozen=True):
    """A lookup found nothing fresh.  *reason*: cold, expired, evicted, invalidated, refused, corrupt,
    unknown_type, unverified, unavailable, failed, bypassed."""

    name: ClassVar[str] = "miss"
    reason: str


class ServedStale(OfKey, frozen=True):
    """A stale entry was served.  *reason*: refreshing, failed, slow."""

    name: ClassVar[str] = "stale"
    tier: str
    reason: str


class Computed(OfKey, frozen=True):
    """A factory gave a value.  *stored* is False when no tier kept it."""

    name: ClassVar[str] = "computed"
    seconds: float
    stored: bool


class Refreshed(OfKey, frozen=True):
    """A value was computed beside the calls, while a stale or an ageing one was served."""

    name: ClassVar[str] = "refreshed"
    seconds: float
    stored: bool


class FactoryFailed(OfKey, frozen=True):
    """A factory raised, or took longer than it may."""

    name: ClassVar[str] = "factory_failed"
    seconds: float
    error: BaseException


class Stored(OfKey, frozen=True):
    """An entry was written to *tiers*."""

    name: ClassVar[str] = "stored"
    tiers: tuple[str, ...]
    size_bytes: int
    ttl: float


class Removed(OfKey, frozen=True):
    """An entry was deleted by name."""

    name: ClassVar[str] = "removed"
    tiers: tuple[str, ...]


class Evicted(OfKey, frozen=True):
    """An entry left *tier* to make room.  *reason*: entries, bytes; oversize, older; pruned (from memory, on request).

    The disk tier removes many at once and notes no names: one record tells of *count* of them, with an empty namespace
    and key, within a second after they left.
    """

    name: ClassVar[str] = "evicted"
    tier: str
    reason: str
    count: int = 1


class Expired(OfKey, frozen=True):
    """An entry was found past its time in *tier* and removed; of the disk tier's *count* at once, as for `Evicted`."""

    name: ClassVar[str] = "expired"
    tier: str
    count: int = 1


class Promoted(OfKey, frozen=True):
    """An entry was copied up."""

    name: ClassVar[str] = "promoted"
    from_tier: str
    to_tier: str


class Demoted(OfKey, frozen=True):
    """An entry nobody asked for left an upper tier."""

    name: ClassVar[str] = "demoted"
    from_tier: str
    to_tier: str | None


class Corrupt(OfKey, frozen=True):
    """Stored bytes were no whole entry; they count as a miss and were removed."""

    name: ClassVar[str] = "corrupt"
    tier: str
    problem: str


class Unreadable(OfKey, frozen=True):
    """An entry that this process can't read, such as one of a class it doesn't know; a miss, and it stays.

    *remedy* says what whoever wants to read it can do.
    """

    name: ClassVar[str] = "unreadable"
    tier: str
    problem: str
    remedy: str


class Unstorable(OfKey, frozen=True):
    """A computed value that can't be stored; it was returned all the same."""

    name: ClassVar[str] = "unstorable"
    problem: str


class Refused(OfKey, frozen=True):
    """A value was not stored, because *policy* forbids it.  *reason*: too_large."""

    name: ClassVar[str] = "refused"
    policy: str
    reason: str
    size_bytes: int


class Invalidated(Event, frozen=True):
    """Entries were invalidated.  Counts are None where counting would have needed a scan."""

    name: ClassVar[str] = "invalidated"
    namespace: str
    patterns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    event: str | None = None
    action: str = "delete"
    invalidated: int | None = None
    reason: str | None = None


class Cleared(Event, frozen=True):
    """A namespace was emptied, or everything when it is None."""

    name: ClassVar[str] = "cleared"
    namespace: str | None


class TierDown(Event, frozen=True):
    """A tier stopped answering, or refused.  *problem* is a sentence that names it, *reason* what it holds alone."""

    name: ClassVar[str] = "tier_down"
    tier: str
    problem: str
    reason: str = ""


class Alerted(Event, frozen=True):
    """A level of ``[alerts]`` was passed (*began*), or isn't any more, in this process and its last hour.

    *alert* names it, *level* is INFO, WARNING, ERROR or CRITICAL; *measured* and *threshold* are in the setting's unit
    (bytes, seconds, a share, a count).  A level that rises ends the lower one.
    """

    name: ClassVar[str] = "alert"
    alert: str
    level: str
    began: bool
    measured: float
    threshold: float
    detail: str
    remedy: str


class Emitted(msgspec.Struct, frozen=True):
    """An event of the application's own, as `cache.emit` was given it; for the hooks of `cache.on_event`."""

    name: str
    fields: Mapping[str, Any]
    namespace: str


class Trouble(Event, frozen=True):
    """Something that runs beside the calls failed, and will be tried again."""

    name: ClassVar[str] = "trouble"
    where: str
    problem: str


EVENT_NAMES: Final[dict[str, type[Event]]] = {
    kind.name: kind
    for kind in (
        Hit, Miss, ServedStale, Computed, Refreshed, FactoryFailed, Stored, Removed, Evicted, Expired, Promoted,
        Demoted, Corrupt, Unreadable, Unstorable, Refused, Invalidated, Cleared, TierDown, Trouble,
        Alerted,
    )
}  # fmt: skip

Hook = Callable[[Any], object]
"""Any callable that takes a record of the kinds it registers for; what it returns is ignored."""


class Hooks:
    """Who is told of what.

    *on_error* is told of a hook that raised: the hook, the record and the exception.  Adding and removing while others
    emit is safe: each is one operation on a list.
    """

    def __init__(self, on_error: Callable[[Hook, Event, Exception], object]) -> None:
        self._on_error = on_error
        self._hooks: dict[str, list[Hook]] = {name: [] for name in ("*", *EVENT_NAMES)}

    def add(self, name: str, hook: Hook) -> Callable[[], None]:
        """Tell *hook* of every record called *name* (``"*"``: of all).  Returns what takes it off again, once."""
        hooks = self._hooks.get(name)
        if hooks is None:
            meant = difflib.get_close_matches(str(name), self._hooks, n=1)
            raise CacheError(f"there is no event called {name!a}; expected one of {', '.join(self._hooks)}",
                             hint=f"did you mean {meant[0]!r}?" if meant else None)  # fmt: skip
        if not callable(hook):
            raise CacheError(f"a hook is a callable that takes the record, not {type(hook).__name__}")
        hooks.append(hook)
        left = [hook]

        def remove() -> None:
            while left:
                hooks.remove(left.pop())

        return remove

    def wants(self, name: str) -> bool:
        """Whether anybody listens, so that records nobody wants are never made."""
        return bool(self._hooks[name] or self._hooks["*"])

    def emit(self, record: Event) -> None:
        """Tell everybody who wants to know, in the order they came."""
        for hook in (*self._hooks[record.name], *self._hooks["*"]):
            try:
                hook(record)
            except Exception as error:  # noqa: BLE001  # a hook is foreign code: its failure is reported, not passed on
                self._on_error(hook, record, error)
