"""Which processes live with a cache, on all machines, and up to where each has applied the stream.

A hash on the server has a field for each process, under its random name: the server's own time in milliseconds, and in
JSON who it is and its position.  Whoever waits (``invalidate --wait``) reads the hash and needn't ask the processes.
The name is the one that its messages end in, so that who began something can be told from who still lives (`gone`).

Rule 1: a process says so before anybody is served by it, at once when it has applied an invalidation, and otherwise
        once a second.  One that is stopped says nothing, and so is behind.
Rule 2: the time is the server's: no two clocks are compared.  Who said nothing for `DEAD` seconds is dead, and is
        removed by whoever reads; who was only stopped for so long says so again as soon as it goes on.  One of the
        reader's own machine that was killed is no member from then on.
Rule 3: a position is told as an id of the stream: what only that process was told has none, and doesn't count.
Rule 4: what can't be read counts as a process that has applied nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import msgspec

from scoutcache.channels.heard import id_text, position_of
from scoutcache.oplog.who import has_gone, numbered_by
from scoutcache.server.commands import Plan, Script, replies
from scoutcache.server.layout import Layout

__all__ = ["DEAD", "Member", "Membership", "Process", "gone", "members"]

DEAD: Final = 30.0
"""Seconds of silence after which a process is taken for dead."""

SAY_EVERY: Final = 1.0
"""Seconds between two signs of life."""

AT_ONCE: Final = 0.02
"""Seconds between two signs where one invalidation comes after the other."""

_SAY: Final = Script("""
local now = redis.call('TIME')
local said = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], ARGV[1], said .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
""")

_READ: Final = Script("""
local now = redis.call('TIME')
local dead = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1]
local all, alive = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  if (tonumber(string.match(all[at + 1], '^%d+')) or 0) < dead then
    redis.call('HDEL', KEYS[1], all[at])
  else
    alive[#alive + 1] = all[at]
    alive[#alive + 1] = all[at + 1]
  end
end
return alive
""")


class Process(msgspec.Struct, frozen=True):
    """A process in words for people; a process id is no identity."""

    pid: int
    host: str
    user: str | None = None
    command: str | None = None
    numbered: str | None = None
    """Who gave it its number; None where that isn't known."""
    since: int | None = None
    """When it began, by the same."""

    def __str__(self) -> str:
        command = f" ({self.command})" if self.command else ""
        return f"process {self.pid}{command} on {self.host}"

    def has_gone(self) -> bool:
        """Is it known to have ended?"""
        if self.since is None or self.numbered is None or self.numbered != numbered_by():
            return False
        return has_gone(self.pid, self.since)


class _Said(msgspec.Struct, frozen=True):
    """What stands behind the time."""

    position: str
    """An id of the stream."""
    who: Process


class Member(NamedTuple):
    """A living process; *who* is None where that can't be read."""

    name: str
    position: int
    who: Process | None


class Membership:
    """This process as a member of the cache that *layout* names.

    *who* says what to call it, *name* what its name is now.  *applied* is the position up to which it has applied the
    stream, *invalidated* that of the last invalidation it heard of; *now* gives monotonic seconds.
    """

    def __init__(
        self, layout: Layout, who: Callable[[], Process], applied: Callable[[], int], invalidated: Callable[[], int],
        now: Callable[[], float], name: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:  # fmt: skip
        self._draw = name
        self._layout, self._who, self._applied, self._invalidated, self._now = layout, who, applied, invalidated, now
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be another process, as a forked child is."""
        self.name = self._draw()
        self._position, self._at, self._not_before = -1, float("-inf"), float("-inf")

    def rest(self) -> float:
        """Seconds until the next sign is due."""
        every = AT_ONCE if self._position < self._invalidated() <= self._applied() else SAY_EVERY
        return max(0.0, max(self._at + every, self._not_before) - self._now())

    def refused(self) -> None:
        """The server took no sign of life: try again with the next one, invalidations or not."""
        self._not_before = self._now() + SAY_EVERY

    def say(self) -> Plan[None]:
        """Give a sign of life."""
        position, at = self._applied(), self._now()
        said = msgspec.json.encode(_Said(id_text(position), self._who()))
        yield from replies(_SAY.call([self._layout.members], self.name, said, round(2000 * DEAD)))
        self._position, self._at = position, at

    def leave(self) -> Plan[None]:
        """Be no member any more; for one that has said nothing there is nothing to do."""
        if self._position >= 0:
            self._position = -1
            yield from replies(("HDEL", self._layout.members, self.name))


def members(layout: Layout) -> Plan[list[Member]]:
    """The processes that live with the cache now, this one among them."""
    return [one for one in (yield from _all_said(layout)) if one.who is None or not one.who.has_gone()]


def gone(layout: Layout, names: Collection[str]) -> Plan[set[str]]:
    """Those of *names* whose processes are known to have ended: of this machine, and not long ago.

    Silence is not enough: who was cut off from the server may come back, and go on.
    """
    said = yield from _all_said(layout)
    return {one.name for one in said if one.name in names and one.who is not None and one.who.has_gone()}


def _all_said(layout: Layout) -> Plan[list[Member]]:
    (found,) = yield from replies(_READ.call([layout.members], round(1000 * DEAD)))
    return [_member(name, said) for name, said in zip(found[::2], found[1::2], strict=True)]


def _member(name: bytes, said: bytes) -> Member:
    known = name.decode("utf-8", "backslashreplace")
    try:
        told = msgspec.json.decode(said.partition(b" ")[2], type=_Said)
        return Member(known, position_of(told.position.encode()), told.who)
    except (msgspec.MsgspecError, ValueError):
        return Member(known, 0, None)
