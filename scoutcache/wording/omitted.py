"""What writers left out of the log, by reason: how that is said, and what to do about it.

What the user asked for (``sampled``) is no omission.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["cause_of", "omitted", "remedies_of", "remedy_of"]

_ASKED: Final = "sampled"


class _Reason(NamedTuple):
    cause: str
    remedy: str


_REASONS: Final[Mapping[str, _Reason]] = {
    "unwritable": _Reason("could not be written", "make sure that the cache's directory is writable and has space"),
    "rate": _Reason("came faster than [oplog] max_records_per_s", "raise [oplog] max_records_per_s"),
    # No setting changes how many may wait (`recorder.HITS_LIMIT`), which is so many in each process.
    "overflow": _Reason("came faster than they could be recorded", "share the load among more processes"),
}


def omitted(left_out: Mapping[str, int]) -> dict[str, int]:
    """How many records are missing that nobody asked to leave out, by reason."""
    return {reason: count for reason, count in sorted(left_out.items()) if count and reason != _ASKED}


def cause_of(left_out: Mapping[str, int]) -> str:
    """Why they are missing: ``could not be written``, with the count of each where there are several reasons."""
    found = {_REASONS[reason].cause if reason in _REASONS else reason: count for reason, count in left_out.items()}
    return ", ".join(found if len(found) < 2 else [f"{count:,} {cause}" for cause, count in found.items()])


def remedy_of(reason: str) -> str | None:
    """What to do about it, None for a reason that is none of ours."""
    return _REASONS[reason].remedy if reason in _REASONS else None


def remedies_of(left_out: Mapping[str, int]) -> str:
    """What to do about all of them, the most frequent first."""
    ordered = sorted(left_out, key=lambda reason: -left_out[reason])
    return "; ".join([remedy for reason in ordered if (remedy := remedy_of(reason)) is not None])
