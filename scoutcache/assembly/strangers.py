"""Processes that use a cache's directory, and not its server: what one of them ends the other goes on serving.

A process with a server asks that what is valid, and one without it the disk; likewise with two servers, or two
prefixes.  Such are they while one is deployed anew with another configuration, or where a command doesn't know that of
the application.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from scoutcache.errors import TierUnavailable
from scoutcache.oplog.presence import Member, members

__all__ = ["tell_strangers"]

_log = logging.getLogger("scoutcache")


class Meeting(Protocol):
    """A server, where processes meet."""

    def members(self) -> set[str]: ...


def tell_strangers(directory: Path, place: tuple[str, ...], server: Meeting | None) -> Sequence[str]:
    """Warn of the processes that don't hear of this one; what they are called.

    One that names the server otherwise is none if *server* knows it.
    """
    others = [one for one in members(directory) if one.place is not None and one.place != place]
    unsure = [one for one in others if _may_be_the_same(one, place)]
    if unsure and server is not None:
        with suppress(TierUnavailable):
            known = server.members()
            unsure = [one for one in unsure if one.name in known]
        others = [one for one in others if one not in unsure]
    if others:
        told = ", ".join(f"{one.who or one.name} {_with(one.place)}" for one in others)
        _log.warning("%s is used by %s, and by this process %s: they don't hear each other's changes; give all of them"
                     " the same [redis], or separate directories", directory, told, _with(place))  # fmt: skip
    return [str(one.who or one.name) for one in others]


def _may_be_the_same(one: Member, place: tuple[str, ...]) -> bool:
    """Is it another name of a server, and the same prefix there?"""
    return bool(place and one.place) and one.place is not None and one.place[1:] == place[1:]


def _with(place: Sequence[str] | None) -> str:
    return f"with {place[0]} and the prefix {place[1]}" if place else "without a server"
