"""What follows where a server has come back with less than it had taken.

Rule 1: what it has lost is invalidated there again, by whoever heard of it.  Where that is unknown or much, all that
        stands there ends, and what others remember of it.
Rule 2: until that is done the server isn't believed about anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from scoutcache.coherence.messages import Message
from scoutcache.engine.doubt import Doubt
from scoutcache.engine.entrusted import Entrusted

__all__ = ["Losses"]

_log = logging.getLogger("scoutcache")

_REDONE: Final = 2_000
"""Names that are invalidated once more where a server has lost them; of more everything ends."""


class Losses:
    """The losses of *server*, which *entrusted* makes good, or else *end_all*; *doubt* is that about its tier."""

    def __init__(self, server: str, entrusted: Entrusted, doubt: Doubt, end_all: Callable[[], object]) -> None:
        self._server, self._entrusted, self._doubt, self._end_all = server, entrusted, doubt, end_all
        self._is_outdated = False

    def heard_of(self, lost: Sequence[Message] | None) -> None:
        """The server has *lost* what it had done; None where nobody knows what."""
        if lost is not None and _are_few(lost):
            self._entrusted.lost(lost)
            follows = "invalidating again what was changed since"
        else:
            self._doubt.shut = self._is_outdated = True
            follows = "invalidating all entries, because nobody knows what was invalidated since"
        _log.warning("%s came back with less than it had: %s", self._server, follows)

    def make_good(self) -> None:
        """End everything, where that has yet to be done.  Raises `TierUnavailable`."""
        if self._is_outdated:
            self._end_all()
            self._doubt.shut = self._is_outdated = False


def _are_few(lost: Sequence[Message]) -> bool:
    """Do they name no more than can be invalidated again?  Most names come twice, as what begins and what is over."""
    names = set[tuple[str, str]]()
    for message in lost:
        names.update([(message.namespace, name) for name in message.names])
        if len(names) > _REDONE:
            return False
    return True
