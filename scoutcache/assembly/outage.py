"""What a machine may go by while its server is away, and for how long.

Rule 1: what is older than may be served without the server ends, and is not asked for until that is back.
Rule 2: who starts meanwhile goes by what its neighbours knew when the server went, and for no longer than they may
        (`scoutcache.channels.handed_on`).
Rule 3: who has heard more of the stream goes by nothing of who has heard less.  Who has heard less may go by what the
        other knew, and hears from him what that was told beyond it, as most have heard some messages less when a server
        goes.  Where that is gone he keeps nothing from before: it may have been ended, and what was being computed
        could be kept, with a version that came after what ended it, for good.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from scoutcache.channels.follower import Follower
from scoutcache.channels.handed_on import HandedOn, Knowledge
from scoutcache.channels.heard import id_text, parts_of
from scoutcache.channels.stream import StreamChannel
from scoutcache.coherence.messages import Message
from scoutcache.engine.doubt import Doubt
from scoutcache.errors import CacheError
from scoutcache.tiers.disk.holder import Before, DiskHolder
from scoutcache.tiers.versions import RememberedVersions

__all__ = ["Outage"]

_ANEW: Final = 60.0
"""Seconds after which what is handed on is written anew, where neighbours go on talking: the journal lets go of what
they said before that."""


class Outage:
    """The absence of the server of *channel*, for one cache; *most* seconds of it may be bridged, None: any number.

    *doubts* are those about the tiers of this machine, among them *disk*; *wall* and *monotonic* are clocks.
    """

    def __init__(
        self, channel: StreamChannel, follower: Follower, versions: RememberedVersions, disk: DiskHolder | None,
        doubts: Sequence[Doubt], handed_on: HandedOn, *, most: float | None, wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self._channel, self._follower, self._versions, self._disk = channel, follower, versions, disk
        self._doubts, self._handed_on, self._most = doubts, handed_on, most
        self._wall, self._monotonic = wall, monotonic
        self._since: float | None = None
        """Since when the server has been away, for what is gone by; by the monotonic clock."""
        self._told = b"", b"0-0"
        """The name of a stream, and the id in it up to which this process goes by what others heard."""
        self._is_over = False
        self._seen: object = None
        """The state of what is handed on in which it was looked at last."""
        self._due = float("-inf")
        """When it is to be looked at again even so."""

    def begin(self) -> None:
        """The server is away as this process starts."""
        if self._disk is not None:
            self._take_over(self._handed_on.read())

    def go_on(self) -> None:
        """The server is still away; to be called about twice a second."""
        now = self._monotonic()
        self._channel.beside.ask(self._follower.source)
        if self._since is None:
            self._since = self._channel.heard_at
        if self._is_over:
            self._is_over = False
            self.tell_disk()
        if self._is_too_long(now - self._since):
            self._since = now  # what is kept from now on may be as old again
            self._follower.drop()
            if self._disk is not None:
                self._disk.drop()
            self._shut(True)
        if self._disk is not None and (self._handed_on.state != self._seen or now >= self._due):
            with suppress(CacheError, OSError):  # somebody else writes, or nobody can: others are told less
                self._hand_on(now)

    def end(self) -> None:
        """The server answers; to be called as often."""
        if self._is_over:
            return
        self._is_over, self._since, self._seen, self._due = True, None, None, float("-inf")
        self._told = b"", b"0-0"
        self._shut(False)
        self._versions.stand_ins.drop()
        self._handed_on.remove()

    def tell_disk(self) -> None:
        """Let the disk remove what was announced.  Raises `TierUnavailable`."""
        # A server that never answered, its name misspelt perhaps, is no reason to remove anything.
        if self._disk is not None and self._channel.opened:
            self._disk.work(lambda: Before(id_text(self._follower.seen).encode(), self._channel.name))

    def _is_too_long(self, seconds: float) -> bool:
        return self._most is not None and seconds > self._most

    def _shut(self, shut: bool) -> None:
        for doubt in self._doubts:
            doubt.shut = shut

    def _hand_on(self, now: float) -> None:
        """Take over what stands there, and add what this process knows.  Raises `LockTimeout` and `OSError`."""
        with self._handed_on.locked():
            found = self._handed_on.read()
            self._take_over(found)
            mine = self._knowledge()
            if mine is None:
                return
            if self._adds(found, mine):
                self._handed_on.write(mine)
            self._seen, self._due = self._handed_on.state, now + _ANEW

    def _take_over(self, found: Knowledge | None) -> None:
        away = 0.0 if found is None else max(0.0, self._wall() - found.answered)
        if found is None or self._is_too_long(away) or not self._may_use(found):
            return
        self._hear(found)
        self._versions.take_over(found.versions, lambda: self._news_since(found))
        shared = self._versions.stand_ins.shared
        if shared is None or shared[0] != found.token:
            self._versions.share(found.token, found.renewed, lambda: self._news_since(found))
        since = self._monotonic() - away
        self._since = since if self._since is None else min(since, self._since)

    def _is_of_ours(self, found: Knowledge) -> bool:
        """Was it heard in this cache's stream?  What only the disk says of that's name may be of another server's."""
        name, is_named_there = self._channel.name, self._channel.opened and self._channel.name != b""
        return found.stream == name and (is_named_there or found.server == self._handed_on.server)

    def _may_use(self, found: Knowledge) -> bool:
        """Has this process heard no more of the same stream than whoever knew that?"""
        return self._is_of_ours(found) and parts_of(self._heard()) <= parts_of(found.heard)

    def _heard(self) -> bytes:
        """The id up to which this process has heard the stream, or goes by what others heard."""
        own, (stream, told) = self._channel.heard(), self._told
        return max(own, told, key=parts_of) if stream == self._channel.name else own

    def _hear(self, found: Knowledge) -> None:
        """Hear what else whoever knew what was *found* had heard; where that is gone, keep nothing from before."""
        if parts_of(self._heard()) < parts_of(found.heard):
            if not self._channel.retell(found.told, found.heard):
                self._told = found.stream, found.heard
                self._channel.fall_behind()
            self._follower.sync()

    def _news_since(self, found: Knowledge) -> Sequence[Message] | None:
        """What neighbours have said since it was written; None where it can't be used."""
        return self._channel.beside.journal.since(found.position)[0] if self._may_use(found) else None

    def _knowledge(self) -> Knowledge | None:
        """What this process knows; None where there is something that it has yet to apply."""
        heard = self._heard()
        self._follower.sync()
        position = self._follower.here()  # before it is looked at what there is: what is later is in that as well
        if position < 0:
            return None
        if self._versions.stand_ins.shared is None:
            self._versions.stand_ins.share(secrets.token_bytes(16))
        known, shared = self._versions.known(), self._versions.stand_ins.shared
        if shared is None:  # dropped just now
            return None
        return Knowledge(
            self._handed_on.server, self._channel.name, heard, position, self._answered(), known, *shared,
            self._channel.told_lately(),
        )  # fmt: skip

    def _adds(self, found: Knowledge | None, mine: Knowledge) -> bool:
        """Would others know more by what this process knows?

        One that has not seen the server takes nothing away from those that have.
        """
        if found is None:
            return True
        if not self._is_of_ours(found):
            return self._channel.opened and found.answered < mine.answered
        if parts_of(found.heard) != parts_of(mine.heard):
            return self._channel.opened and parts_of(found.heard) < parts_of(mine.heard)
        if found.position != mine.position and self._handed_on.age(self._wall()) >= _ANEW:
            return True
        return found.token != mine.token or self._has_more(found, mine)

    def _has_more(self, found: Knowledge, mine: Knowledge) -> bool:
        """Is there a name in *mine* that isn't in *found*, and room for it in other processes?"""
        if sum(map(len, found.versions.values())) >= self._versions.capacity:
            return False
        return any(names.keys() - found.versions.get(space, {}).keys() for space, names in mine.versions.items())

    def _answered(self) -> float:
        """When the server did so last; seconds since the epoch."""
        assert self._since is not None
        return self._wall() - (self._monotonic() - self._since)
