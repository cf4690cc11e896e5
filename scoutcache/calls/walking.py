"""A long way through the tiers that can be paced, broken off, and taken up again later.

Rule 1: it is broken off between two steps only, so that where it goes on is exact: what came before was seen whole.
Rule 2: a cursor names the tier, what was asked for, the node, the server's run and its own cursor: a scan of a server
        that was restarted, or whose place another one took, can't be continued, for the order of its keys is another.
        Of the disk it is the last physical key.
Rule 3: a key may come twice (a server that makes its table larger), and none that was there all the time is left out.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scoutcache.errors import CacheError

__all__ = ["Place", "Walk"]


class Place(NamedTuple):
    """Where a walk stands: *at* is a server's cursor, or the last key."""

    tier: str
    what: str
    node: str
    at: str

    def text(self) -> str:
        """The cursor as users see it."""
        parts = json.dumps(self, separators=(",", ":")).encode()
        return urlsafe_b64encode(parts).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Place:
        """The place that *text* names.  Raises `CacheError`."""
        try:
            parts = json.loads(urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
        except (ValueError, NotBase64, RecursionError):
            parts = None
        if not isinstance(parts, list) or len(parts) != len(cls._fields) or not all(isinstance(p, str) for p in parts):
            raise CacheError(f"{text!r:.80} is not a cursor", hint="copy it as printed, or start again without one")
        return cls(*parts)


class Walk:
    """One way through the tiers: *begin* is where it goes on, *interval* seconds are waited between two steps.

    Whoever wants it to end calls `stop`; then `place` is where to go on, None where there was nothing left.
    """

    def __init__(
        self, begin: Place | None = None, *, interval: float = 0.0, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.begin, self._interval, self._sleep = begin, interval, sleep
        self._stopping = False
        self.place: Place | None = None

    def stop(self) -> None:
        """End after the step that is under way; may be called by a signal's handler."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Was it asked to end, be it that there was nothing left?"""
        return self._stopping

    @property
    def stopped(self) -> bool:
        """Was it ended before its end?"""
        return self.place is not None

    def enters(self, tier: str, order: Sequence[str]) -> bool:
        """Is there something to do in *tier*, of those in *order*?"""
        if self.stopped:
            return False
        begin = self.begin
        return begin is None or begin.tier not in order or order.index(tier) >= order.index(begin.tier)

    def from_(self, tier: str, what: str, nodes: Sequence[str]) -> tuple[int, str] | None:
        """The node, by its number, and the cursor to begin *what* at; None where it was broken off already.

        Raises `CacheError` where the place that it is to begin at isn't there any more.
        """
        if self.stopped:
            return None
        begin = self.begin
        if begin is None or (begin.tier, begin.what) != (tier, what):
            return 0, ""
        self.begin = None
        if begin.node not in nodes:
            raise CacheError("the server was restarted or replaced, so the cursor is no longer valid",
                             hint="start again without --cursor")  # fmt: skip
        return list(nodes).index(begin.node), begin.at

    def goes_on(self, tier: str, what: str, node: str, at: str) -> bool:
        """Between two steps: wait, and say whether to take the next one, which begins at *at*."""
        if self._interval and not self._stopping:
            self._sleep(self._interval)
        if self._stopping:
            self.place = Place(tier, what, node, at)
        return not self._stopping
