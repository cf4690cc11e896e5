"""The words of ``doctor``: what a check found, and how many entries it may read for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from scoutcache.server.faults import Fault

MOST_VERIFIED: Final = 20_000
"""Entries that are read within a second or so; a doctor who takes minutes isn't asked."""


class Check(NamedTuple):
    """What was looked at, how it stands, and what to do about it (None when nothing).

    *fault* is the server's, where its answer, or none, is what was found.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str | None = None
    fault: Fault | None = None
