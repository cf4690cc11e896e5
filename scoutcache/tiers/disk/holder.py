"""What a disk tier below a server drops when a message arrives, though not at once.

The disk is shared by the processes of a machine, the server by many machines.  What another machine announces may stand
here as well, and must not be found any more; but removing it may wait for a lock, and messages are applied on event
loops too.  So it is noted first, and from then on not believed; the removal follows in a thread that may wait.

Rule 1: what this machine's own processes announce they have done to the disk themselves.
Rule 2: up to where everything was removed is written down, so that a machine that was off, or whose processes were, can
        do the rest before anybody asks.  Where that rest is gone, everything on the disk is.
Rule 3: marks need no removal: their versions are the server's.
Rule 4: what is marked stale by its key or a pattern is removed here.  The server has it, stale; should that let go of
        it, what is here, as fresh as it was, would be found.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from scoutcache.coherence.messages import Message
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.patterns import Pattern
from scoutcache.tiers.base import Tier

__all__ = ["Before", "DiskHolder", "heard_before", "machine_of"]

MANY: Final = 10_000
"""Messages to be noted before everything is to be removed instead."""

_HEARD: Final = "heard"
_MACHINE: Final = "machine"


def machine_of(directory: Path) -> str:
    """The random name that the processes which share *directory* go by; a new one where none can be kept."""
    path, drawn = directory / _MACHINE, secrets.token_hex(8)
    if (known := _known(path)) is not None:
        return known
    draft = directory / f".{_MACHINE}.{drawn}"
    try:
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(drawn)
        os.link(draft, path)  # whole, or, on a full disk, not at all
    except FileExistsError:
        return _known(path) or drawn
    except OSError:
        return drawn
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return drawn


def _known(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if len(text) == 16 and text.isalnum() else None


class Before(NamedTuple):
    """Up to which *identity* of the *stream* named so the disk was told everything."""

    identity: bytes
    stream: bytes


def heard_before(directory: Path) -> Before | None:
    """Up to where the disk in *directory* was told everything; None where that isn't known."""
    try:
        identity, _, stream = (directory / _HEARD).read_bytes().partition(b" ")
    except OSError:
        return None
    first, dash, second = identity.partition(b"-")
    return Before(identity, stream) if dash and first.isdigit() and second.isdigit() else None


class DiskHolder:
    """Applies messages to *tier*, which lies in *directory* and belongs to *machine*."""

    def __init__(self, tier: Tier, directory: Path, machine: str) -> None:
        self._tier, self._path, self._own = tier, directory / _HEARD, f"{machine}."
        self.is_sure = True
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._pending: list[Message] = []
        self._named = _Named([])
        self._drops = 0
        """How often everything was to be removed, since it was."""
        self._recorded: Before | None = None

    def __bool__(self) -> bool:
        return bool(self._drops or self._pending)

    def covers(self, ref: Ref) -> bool:
        """Is the removal of *ref* noted, and perhaps not done?"""
        return bool(self._drops) or self._named.covers(ref)

    def said_of(self, ref: Ref) -> int:  # noqa: ARG002
        """When what is to be removed was told; no matter here."""
        return 0

    def apply(self, message: Message) -> None:
        """Note what *message* names."""
        if message.source.startswith(self._own) or message.kind == "mark":
            return
        with self._lock:
            self._pending.append(message)
            self._named.add(message)
            if len(self._pending) > MANY:  # as everything goes, what they are need not be kept
                self._drops += 1
                self._pending, self._named = [], _Named([])

    def drop(self) -> None:
        """Everything is to be removed: a message was missed."""
        with self._lock:
            self._drops += 1

    def work(self, heard: Callable[[], Before]) -> None:
        """Remove what was noted; *heard* gives the last message that has been applied.

        May wait for another process's write.  Raises `TierUnavailable`; then it stays noted.
        """
        with self._working:
            before = heard()  # first: what is applied after it is in the next turn
            if self:
                self._remove()
            if before != self._recorded:
                self._record(before)

    def _remove(self) -> None:
        with self._lock:
            messages, drops = list(self._pending), self._drops
        if drops:
            self._tier.clear(None)
        else:
            self._remove_named(messages)
        with self._lock:
            del self._pending[: len(messages)]  # perhaps of others, where these gave way to one more drop
            self._named = _Named(self._pending)  # who asks the old one meanwhile believes less, not more
            self._drops -= drops

    def _remove_named(self, messages: list[Message]) -> None:
        refs = [Ref(one.namespace, key) for one in messages if one.kind in {"key", "written"} for key in one.names]
        if refs:
            self._tier.remove(list(dict.fromkeys(refs)))
        for message in messages:
            if message.kind == "pattern":
                for text in message.names:
                    self._tier.remove_matching(message.namespace, Pattern.parse(text))
            elif message.kind == "namespace":
                self._tier.clear(message.namespace)

    def _record(self, before: Before) -> None:
        draft = self._path.with_name(f"{_HEARD}.{secrets.token_hex(4)}")
        try:
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(b" ".join(before))
            draft.replace(self._path)
        except OSError as error:
            raise TierUnavailable("disk", f"{self._path} can't be written: {error.strerror}") from error
        self._recorded = before

    def renew_lock(self) -> None:
        """Called in a forked child."""
        self._lock, self._working = threading.Lock(), threading.Lock()


class _Named:
    """What *messages* name, so that a read that asks is not the slower the more there are of them.

    Added to by one thread at a time, and asked by any.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self._refs: set[Ref] = set()
        self._namespaces: set[str] = set()
        self._patterns: dict[Ref, list[Pattern]] = {}
        """By the text that whatever they match begins with."""
        self._lengths: tuple[int, ...] = ()
        """Of those texts."""
        for message in messages:
            self.add(message)

    def add(self, message: Message) -> None:
        """Note what *message* names."""
        if message.kind == "namespace":
            self._namespaces.add(message.namespace)
        elif message.kind == "pattern":
            for text in message.names:
                self._add_pattern(message.namespace, Pattern.parse(text))
        else:
            self._refs.update([Ref(message.namespace, key) for key in message.names])

    def _add_pattern(self, namespace: str, pattern: Pattern) -> None:
        alike = self._patterns.setdefault(Ref(namespace, pattern.prefix), [])
        if pattern not in alike[-1:]:
            alike.append(pattern)
        if len(pattern.prefix) not in self._lengths:
            self._lengths = (*self._lengths, len(pattern.prefix))

    def covers(self, ref: Ref) -> bool:
        """Is *ref* among it?"""
        if ref in self._refs or ref.namespace in self._namespaces:
            return True
        for length in self._lengths:
            for pattern in self._patterns.get(Ref(ref.namespace, ref.key[:length]), ()):
                if pattern.matches(ref.key):
                    return True
        return False
