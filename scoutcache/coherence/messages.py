"""A message says what died or was written, so that whoever holds a copy can drop it.

Rule 1: a message never carries a value, only names.
Rule 2: *invalidations* (key, pattern, mark, namespace, all) are what a running computation must look out for; a
        *written* message only tells others to drop their copy, and never makes a slow answer unkeepable.
        An intersection (all) names what may not be kept; of what is stored its keys are announced, one by one.
Rule 3: a message that can't be read might have named anything: the reader must drop its memory tier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from scoutcache.entry import DEPENDED_MARK, KEY_MARK, Header, Ref
from scoutcache.errors import CorruptEntry, InvalidKey
from scoutcache.patterns import Pattern

__all__ = [
    "Action", "Kind", "Message", "concerns", "concerns_source", "decode", "encode", "intersection", "invalidates",
]  # fmt: skip

Kind = Literal["key", "pattern", "mark", "namespace", "written", "all"]
Action = Literal["delete", "mark_stale", "refresh"]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One announcement.

    *names* are keys (``key``, ``written``), patterns, or names of marks; empty for ``namespace``; for ``all`` see
    `intersection`.  *stamp* is
    nanoseconds since the epoch: when it was announced, or for ``written`` the start of what was written.
    """

    kind: Kind
    namespace: str
    names: tuple[str, ...]
    stamp: int
    source: str
    """The random name of the process that announced it."""
    reason: str | None = None
    action: Action = "delete"
    """What becomes of the entries that are named; ``refresh`` marks them stale and asks who has a factory to use it."""
    same: tuple[str, ...] = ()
    """Of the names that were ``written``, those that got the value they had: nothing changed for dependents."""
    opens: bool = False
    """An invalidation begins, which the same message without this ends; see `scoutcache.coherence.opened`."""
    owed: bool = False
    """The server could not be told of it, or what it names could not be removed there: said so to neighbours alone,
    who owe it as well from then on."""

    @property
    def opening(self) -> Message:
        """The message that says that what this one names is about to go; itself where nothing goes."""
        return msgspec.structs.replace(self, opens=True) if self.is_invalidation and self.action == "delete" else self

    @property
    def closing(self) -> Message:
        """The message that ends what this one opens."""
        return msgspec.structs.replace(self, opens=False)

    @property
    def undone(self) -> Message:
        """The same where nobody knows what of it was done: what others owe is owed as before, as when it only ages."""
        return msgspec.structs.replace(self, opens=False, action="mark_stale")

    @property
    def owing(self) -> Message:
        """The message that tells neighbours of a debt."""
        return msgspec.structs.replace(self, owed=True)

    @property
    def plain(self) -> Message:
        """The message that a server is told where neighbours are told of a debt."""
        return msgspec.structs.replace(self, owed=False) if self.owed else self

    @property
    def unrenewed(self) -> list[str]:
        """The marks of what depends on what was written, where nobody could renew them: the server wasn't told."""
        return list(self.dependents.names) if self.owed and self.kind == "written" else []

    @property
    def is_unresolved(self) -> bool:
        """Could nobody be asked what depends on what it names?  Then whatever depends on a key it `may_end` goes.

        Of a tag `DEPENDED_MARK` beside it says so.
        """
        if self.kind == "mark":
            return DEPENDED_MARK in self.names and self.names_tags
        return self.owed and self.kind == "pattern"

    @property
    def names_tags(self) -> bool:
        """Are tags of the user's among the marks that it names?"""
        return self.kind == "mark" and any(not name.startswith("\0") for name in self.names)

    def may_end(self, mark: str) -> bool:
        """Is it the *mark* of what depends on a key that may have been named?"""
        key = mark.removeprefix(KEY_MARK)
        return key != mark and (self.kind == "mark" or any(Pattern.parse(text).matches(key) for text in self.names))

    @property
    def dependents(self) -> Message:
        """A message about what depends on what was written, and not about that."""
        marks = tuple([KEY_MARK + key for key in self.names if key not in self.same])
        return Message("mark", self.namespace, marks, self.stamp, self.source)

    @property
    def is_invalidation(self) -> bool:
        """True unless it only tells of a write."""
        return self.kind != "written"


_KEY, _PATTERN, _TAG = "k", "p", "t"
"""What a name of an intersection begins with."""


def intersection(patterns: Iterable[str], keys: Iterable[str], tags: Iterable[str]) -> list[str]:
    """The names of a message ``all``: of entries that match all *patterns*, carry all *tags*, and are one of *keys*."""
    return [*(_PATTERN + text for text in patterns), *(_KEY + key for key in keys), *(_TAG + tag for tag in tags)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The message as bytes for a channel."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """The message, or `CorruptEntry`; whoever applies it may rely on its patterns being patterns."""
    try:
        message = _decoder.decode(data)
        for text in message.names if message.kind == "pattern" else _of(message, _PATTERN):
            Pattern.parse(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidKey) as error:
        raise CorruptEntry(f"a message that can't be read: {error}") from error
    return message


def _of(message: Message, kind: str) -> list[str]:
    """Those names of an intersection that are of one kind."""
    return [name[1:] for name in message.names if name.startswith(kind)] if message.kind == "all" else []


def invalidates(message: Message, header: Header, sources: Sequence[str] = ()) -> bool:
    """Does *message* name the entry of *header*, by its key, a pattern, or one of its marks or of *sources*?"""
    return message.is_invalidation and concerns(message, header.ref, [*(mark.name for mark in header.marks), *sources])


def concerns(message: Message, ref: Ref, marks: Sequence[str]) -> bool:
    """Does *message*, a written one too, name *ref*, one of *marks* (names of what it carries), or a key among them?

    The implicit tag of a key gets its version at the first write that depends on it, so a computation that is still
    under way hears of that key by its own name only.
    """
    if message.namespace != ref.namespace:
        return False
    match message.kind:
        case "key" | "written":
            return ref.key in message.names or any(
                KEY_MARK + key in marks and key not in message.same for key in message.names
            )
        case "pattern":
            keys = [ref.key, *(name[len(KEY_MARK) :] for name in marks if name.startswith(KEY_MARK))]
            patterns = [Pattern.parse(text) for text in message.names]
            return any(pattern.matches(key) for pattern in patterns for key in keys)
        case "mark":
            return any(name in message.names for name in marks)
        case "namespace":
            return True
        case "all":
            return _intersects(message, ref, marks)


def concerns_source(message: Message, ref: Ref, marks: Sequence[str]) -> bool:
    """May *message* have ended a key among *marks*, and so *ref*, of which nobody could know that it depends on it?

    Which tags that key carries is not known either, so each tag may be one of them.
    """
    return (message.names_tags and message.namespace == ref.namespace) or concerns(message, ref, marks)


def _intersects(message: Message, ref: Ref, marks: Sequence[str]) -> bool:
    """Is *ref* in the intersection, or may a key be that its entry depends on?  Which tags that has nobody knows."""
    patterns, keys = [Pattern.parse(text) for text in _of(message, _PATTERN)], _of(message, _KEY)

    def names(key: str) -> bool:
        return (not keys or key in keys) and all(pattern.matches(key) for pattern in patterns)

    own = names(ref.key) and set(marks).issuperset(_of(message, _TAG))
    return own or any(names(mark[len(KEY_MARK) :]) for mark in marks if mark.startswith(KEY_MARK))
