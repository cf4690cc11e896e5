"""Under which names a cache's things lie on a server, and how an entry's bytes are framed there.

Everything begins with the cache's *prefix*, so that caches and other applications share a server, and
`SCAN MATCH prefix*` finds all of it:

    e:<physical key>       an entry (`scoutcache.keys.physical_key`)
    versions:<namespace>   a hash: name of a mark to its version, ``life.count``
    {events}               the stream of what was announced
    {events}:last          the id of its last message
    {events}:name          its random name, by which it is told from another server's, or another prefix's
    {events}:wakes         the stream of leases that were released
    position               the position of the last invalidation, as `position_text`
    lease:<physical key>   who computes a key
    {events}:members       a hash: the name of a living process to who it is and up to where it applied the stream
    counts                 a sorted set: which segments of counters there are (`scoutcache.channels.counts`)
    counts:<segment id>    a process's counters of some minutes

On a cluster an entry lies in one of `SHARDS` slots, chosen by its name, each with a `position` key of its own, so that
a script can compare the one while it writes the other: ``e:{<shard>}…`` and ``position:{<shard>}``.

An entry's value is one string, so that it is there whole or not at all (a server takes half a gigabyte in one):

    offset size
         0   16  start stamp, hexadecimal: scripts compare it as text
        16    8  expires, a big-endian double: seconds since the epoch
        24       the head, when there are no chunks
        24    1  0, when there are: no head begins so
        25    4  number of parts N, then N lengths of 4 bytes each, then the parts: the head and its chunks
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import cache
from typing import Final
from zlib import crc32

from scoutcache.entry import Header, Ref, Sealed
from scoutcache.keys import physical_key, physical_keys, physical_prefix, physical_scan_prefix
from scoutcache.patterns import Pattern, escape

__all__ = [
    "FRAME", "SHARDS", "START_DIGITS", "Layout", "expiry_of", "frame", "head_of", "position_text", "start_text",
    "unexpired", "unframe",
]  # fmt: skip

SHARDS: Final = 128
"""Slots of a cluster that entries lie in: enough to spread over some dozen primaries, and few enough to tell all."""

START_DIGITS: Final = 16
_EXPIRY: Final = struct.Struct(">d")
_NUMBER: Final = struct.Struct(">I")
FRAME: Final = START_DIGITS + _EXPIRY.size
_IN_PARTS: Final = 0
_NUMBERED: Final = re.compile(r"(\{\d+\})?\d+:")


class Layout:
    """The names of one cache; *sharded* on a cluster.  A prefix with braces would defeat the sharding."""

    def __init__(self, prefix: str, *, sharded: bool = False) -> None:
        self.prefix, self.sharded = prefix, sharded
        self.events = f"{prefix}{{events}}"
        self.last = f"{prefix}{{events}}:last"
        self.name = f"{prefix}{{events}}:name"
        self.wakes = f"{prefix}{{events}}:wakes"
        self.members = f"{prefix}{{events}}:members"
        self.probe = f"{prefix}{{events}}:probe"
        self.counts = f"{prefix}counts"
        self.entries = f"{prefix}e:"
        self.versions_of_all = f"{prefix}versions:"
        self.positions = [f"{prefix}position:{{{tag}}}" for tag in shard_tags()] if sharded else [f"{prefix}position"]
        self._heads = [f"{self.entries}{{{tag}}}" for tag in shard_tags()] if sharded else [self.entries]

    def shard(self, ref: Ref) -> int:
        """Which of `positions` goes with an entry."""
        return crc32(physical_key(ref).encode()) % SHARDS if self.sharded else 0

    def entry(self, ref: Ref) -> str:
        """The name of an entry."""
        if not self.sharded:
            return self.entries + physical_key(ref)
        return self._heads[self.shard(ref)] + physical_key(ref)

    def entries_of(self, refs: Sequence[Ref]) -> list[str]:
        """The names of many entries; of short keys of one namespace on a single server they cost little."""
        if self.sharded:
            return [self.entry(ref) for ref in refs]
        head = self.entries
        return [head + key for key in physical_keys(refs)]

    def physical(self, name: bytes) -> str:
        """The physical key in an entry's name."""
        text = name.decode("utf-8", "surrogateescape")[len(self.entries) :]
        return text.partition("}")[2] if self.sharded else text

    def position(self, ref: Ref) -> str:
        """The name of the position that a write of an entry compares."""
        return self.positions[self.shard(ref)]

    def versions(self, namespace: str) -> str:
        """The hash of a namespace's versions."""
        return self.versions_of_all + physical_prefix(namespace)

    def lease(self, ref: Ref) -> str:
        """The name of a key's lease."""
        return f"{self.prefix}lease:{physical_key(ref)}"

    def type_of(self, name: str) -> str | None:
        """The server's type of what the cache keeps under *name*; None for a name that is none of its own."""
        rest = name.removeprefix(self.prefix)
        if rest == name and self.prefix:
            return None
        exact = {self.events: "stream", self.wakes: "stream", self.members: "hash", self.counts: "zset",
                 self.last: "string", self.name: "string", self.probe: "string",
                 **dict.fromkeys(self.positions, "string")}  # fmt: skip
        if name in exact:
            return exact[name]
        # A name goes on with the length of a namespace: what another cache's prefix makes begin like ours doesn't.
        for head, kind in (("e:", "string"), ("versions:", "hash"), ("lease:", "hash")):
            if rest.startswith(head):
                return kind if _NUMBERED.match(rest.removeprefix(head)) else None
        return "string" if rest.startswith("counts:") else None

    def counted(self, segment: str) -> str:
        """The name of a segment of counters."""
        return f"{self.counts}:{segment}"

    def glob(self, namespace: str | None, pattern: Pattern | None = None) -> str:
        """What SCAN is to match: all entries that may match *pattern*, and few others.

        The server's own matching counts bytes, and long keys are hashed, so the client looks again.
        """
        tag = "{*}" if self.sharded else ""
        if namespace is None:
            return f"{escape(self.entries)}{tag}[0-9]*"  # not what another cache's prefix makes begin like ours
        literal = "" if pattern is None else pattern.prefix
        return f"{escape(self.entries)}{tag}{escape(physical_scan_prefix(namespace, literal))}*"


@cache
def shard_tags() -> tuple[str, ...]:
    """Hash tags of which the n-th lies in the n-th of `SHARDS` equal parts of a cluster's 16384 slots."""
    from redis.crc import key_slot

    tags: dict[int, str] = {}
    number = 0
    while len(tags) < SHARDS:
        tags.setdefault(key_slot(str(number).encode()) * SHARDS // 16384, str(number))
        number += 1
    return tuple(tags[part] for part in range(SHARDS))


def start_text(start: int) -> bytes:
    """A start stamp as scripts compare it; what lies before the epoch counts as its beginning."""
    return b"%016x" % max(0, start)


def position_text(milliseconds: int, number: int) -> bytes:
    """A stream's id as text that sorts as ids do."""
    return b"%015d-%010d" % (milliseconds, number)


def frame(header: Header, sealed: Sealed) -> bytes:
    """The value of an entry."""
    head, chunks = sealed
    first = start_text(header.start) + _EXPIRY.pack(header.expires)
    if not chunks:
        return first + head  # nearly every one
    parts = (head, *chunks)
    lengths = b"".join(_NUMBER.pack(len(part)) for part in parts)
    return b"".join((first, bytes((_IN_PARTS,)), _NUMBER.pack(len(parts)), lengths, *parts))


def expiry_of(value: bytes) -> float:
    """When a value expires; what is no entry never does, so that whoever reads it finds that out."""
    expires: float = _EXPIRY.unpack_from(value, START_DIGITS)[0] if len(value) >= FRAME else float("inf")
    return expires


def unframe(value: bytes) -> Sealed:
    """The entry in a value; of bytes that are none, something that the codec refuses."""
    if len(value) <= FRAME or value[FRAME] != _IN_PARTS:
        return Sealed(value[FRAME:])
    try:
        return _in_parts(value)
    except struct.error:
        return Sealed(b"")


def unexpired(value: bytes, now: float) -> Sealed | None:
    """The entry in a value, None where it has expired by *now*."""
    if len(value) > FRAME and value[FRAME] != _IN_PARTS:  # nearly every one, so in place
        (expires,) = _expiry(value, START_DIGITS)
        return None if expires <= now else _new(Sealed, (value[FRAME:], ()))
    return None if expiry_of(value) <= now else unframe(value)


_expiry: Final = _EXPIRY.unpack_from
_new = tuple.__new__
"""Makes a NamedTuple without the Python frame of its own ``__new__``."""


def _in_parts(value: bytes) -> Sealed:
    at = FRAME + 1
    number: int = _NUMBER.unpack_from(value, at)[0]
    if number < 1 or at + _NUMBER.size * (number + 1) > len(value):
        return Sealed(b"")
    lengths = struct.unpack_from(f">{number}I", value, at + _NUMBER.size)
    at += _NUMBER.size * (number + 1)
    parts = []
    for length in lengths:
        parts.append(value[at : at + length])
        at += length
    return Sealed(parts[0], tuple(parts[1:])) if at == len(value) else Sealed(b"")


def head_of(value: bytes) -> bytes:
    """The head's beginning in the beginning of a value."""
    if len(value) <= FRAME or value[FRAME] != _IN_PARTS:
        return value[FRAME:]
    number: int = _NUMBER.unpack_from(value, FRAME + 1)[0] if len(value) >= FRAME + 5 else 0
    return value[FRAME + 1 + _NUMBER.size * (number + 1) :]
