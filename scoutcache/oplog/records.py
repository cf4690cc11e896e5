"""The words of the operation log: kinds, outcomes, reasons, and one line of a log file.

========== ====================== ============================================================================
kind       outcomes               what it is
========== ====================== ============================================================================
get        hit, stale, miss       a read
compute    hit, stale, miss       a read that has a factory; reason ``joined``: it waited for another caller's run or
                                  read;
                                  a miss with an *error*: computing failed, with an error of that type
refresh    stored, refused,       a computation nobody waited for a value of: beside the calls, or told to be made anew;
           failed                 failed with an *error*
set        stored, refused        a write
delete     deleted, absent        a removal by key
touch      done, absent           an entry was given another time to live
invalidate invalidated, cleared   a pattern, tag or event, or a whole namespace
evict      done                   an entry left a tier for want of room (reason: ``size``, ``count``, …)
expire     done                   an entry left a tier because its time was over
promote    done, refused          an entry was copied into a higher tier
demote     done, refused          an entry was moved into a lower tier
error      failed                 a tier failed and callers saw a miss (reason: the error's type)
========== ====================== ============================================================================

A record is a request for a value, or changes an entry: `exists`, `ttl`, `get_entry` and `keys` only look, and are none.
Others may be used and are counted under their names.  *tier* says whose event it is.  None is the cache as a whole, one
operation of the caller's: a set into two tiers is one record without a tier, and a miss without a tier is a request
that nobody answered.  Records of sets, deletes and misses that do name a tier are that tier's share and count for no
request.  A hit names the tier that answered, unless it joined a computation of this process.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

__all__ = [
    "AHEAD", "FORMAT", "HIT_OUTCOMES", "KINDS", "MISS_REASONS", "NOT_LOOKED", "OUTCOMES", "REQUESTS", "RUNS", "UNREAD",
    "Event", "Line", "dependents_target", "is_redacted", "kept_at", "names_no_key", "place_of", "redacted",
    "tag_of", "tag_target", "tells_tags",
]  # fmt: skip

KINDS: Final = (
    "get", "compute", "refresh", "set", "delete", "touch", "invalidate", "evict", "expire", "promote", "demote",
    "error",
)  # fmt: skip
OUTCOMES: Final = (
    "hit", "stale", "miss", "stored", "refused", "deleted", "absent", "invalidated", "cleared", "done", "failed",
)  # fmt: skip
HIT_OUTCOMES: Final = frozenset({"hit", "stale"})
REQUESTS: Final = frozenset({"get", "compute"})
RUNS: Final = REQUESTS | {"refresh"}
"""What may have run a factory."""
NOT_LOOKED: Final = frozenset({"bypassed"})
"""Reasons of misses for which no tier was asked."""
MISS_REASONS: Final = (
    "cold", "expired", "evicted", "invalidated", "refused", "corrupt", "unknown_type", "unverified", "unavailable",
    "bypassed", "failed",
)  # fmt: skip
UNREAD: Final = frozenset({"unknown_type", "unverified"})
"""Reasons of misses for which an entry was there, and stayed."""
_HASHES: Final = 1 << 64
AHEAD: Final = 60.0
"""Seconds by which the clocks of machines may differ.  What is dated further ahead of now has no true time: it is in no
period that ends now."""
FORMAT: Final = 2
"""The log's format.  The first knew neither *stored*, *codec*, *codec_us*, *keygen_us*, *wait_us* nor *format*, and
wrote as *size* of what a lower tier answered the bytes it had there."""


class Event(NamedTuple):
    """One thing that happened, as `Recorder.record` takes it.  Times are monotonic nanoseconds."""

    kind: str
    namespace: str
    key: str
    tier: str
    outcome: str
    reason: str
    began_ns: int
    ended_ns: int
    size: int | None
    error: str | None
    cost: float | None
    factory_s: float | None
    tags: tuple[str, ...]
    """Of an invalidation: the tag that it names; its *key* says that, too."""
    depends_on: tuple[str, ...] = ()
    ttl: float | None = None
    stored: int | None = None
    codec: str | None = None
    codec_us: float | None = None
    keygen_us: float | None = None
    wait_us: float | None = None


class Line(msgspec.Struct, gc=False, omit_defaults=True):
    """One line of the log.

    *time* is when the operation began (seconds since the epoch, UTC), *latency_us* how long it took, *size* bytes,
    *cost* USD, *factory_s* the factory's seconds; *count* and *rate* belong to ``left_out`` lines, *more_ns* to lines
    of several hits (`scoutcache.oplog.hits`; reading makes single ones of them).  What does not apply is not written.
    A set says the keys that the entry *depends_on*, and it and a touch the *ttl* (seconds until it expires; not
    written: not known).
    Where a tier below memory answered or took the entry, *stored* is its bytes there beside the *size* it has
    uncompressed, *codec* its compression, and *codec_us* what serializing, compressing and sealing, or the reverse,
    took.  *keygen_us* is what making the call's `CacheKey` took, *wait_us* how long the call waited for another
    caller's computation, here or in another process.
    *process* (a random name), *user*, *pid*, *command*, *format* and *sample_rate* stand in the ``start`` line of each
    file: who wrote it, and how (see `FORMAT`), and of which share of the keys (not written: not known).
    """

    time: float
    op: str
    key: str = ""
    namespace: str = ""
    tier: str | None = None
    outcome: str | None = None
    reason: str | None = None
    latency_us: float | None = None
    size: int | None = None
    factory_s: float | None = None
    cost: float | None = None
    error: str | None = None
    tags: tuple[str, ...] = ()
    process: str | None = None
    user: str | None = None
    pid: int | None = None
    command: str | None = None
    count: int | None = None
    rate: float | None = None
    more_ns: list[int] | None = None
    depends_on: tuple[str, ...] = ()
    ttl: float | None = None
    stored: int | None = None
    codec: str | None = None
    codec_us: float | None = None
    keygen_us: float | None = None
    wait_us: float | None = None
    format: int | None = None
    sample_rate: float | None = None


def tells_tags(line: Line) -> bool:
    """Does *line* say the tags its key was written with?  A computation that failed wrote nothing."""
    computed = line.op == "compute" and line.outcome not in HIT_OUTCOMES and line.factory_s is not None
    return computed or line.op == "set" or bool(line.tags)


_TAG: Final = "tag:"


def tag_target(tag: str) -> str:
    """What stands for the key where an invalidation names *tag*."""
    return _TAG + tag


def tag_of(target: str) -> str | None:
    """The tag that such a key names, None for another: a key or a pattern."""
    return target.removeprefix(_TAG) if target.startswith(_TAG) else None


def dependents_target(key: str) -> str:
    """What stands for the key where an invalidation names all that depends on *key*."""
    return f"depends-on:{key}"


def redacted(namespace: str, key: str) -> str:
    """*key* with all but its prefix replaced by a hash, the same for the same key of the same namespace."""
    import hashlib

    digest = hashlib.sha256(f"{len(namespace)}:{namespace}:{key}".encode("utf-8", "replace")).hexdigest()[:16]
    head, colon, _ = key.partition(":")
    return f"{head}{colon}#{digest}" if colon else f"#{digest}"


_REDACTED: Final = re.compile(r"(?:[^:]*:)?#[0-9a-f]{16}")


def is_redacted(key: str) -> bool:
    """Is *key*, as logged, the hash of one?  Who reads a log can't tell by its own settings how others wrote it.

    >>> is_redacted(redacted("default", "llm:a")), is_redacted(redacted("default", "a")), is_redacted("llm:#1")
    (True, True, False)
    """
    return key[-17:-16] == "#" and _REDACTED.fullmatch(key) is not None


def names_no_key(pattern: str) -> bool:
    """Does a pattern say nothing of keys but their prefix?"""
    head, colon, rest = pattern.partition(":")
    return not (rest if colon else head).strip("*?")


def kept_at(key: str) -> float:
    """The lowest sampling rate (0-1) at which the records of *key*, as logged, are kept: all of them, or none.

    A sample of keys keeps the distances between uses of one key, which a sample of records would destroy.
    """
    return place_of(key.encode("utf-8", "replace"))


def place_of(name: bytes) -> float:
    """Where a name stands between 0 and 1, by its hash."""
    return xxh3_64_intdigest(name) / _HASHES
