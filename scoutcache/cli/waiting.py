"""``--wait``: until every process that lives with a cache has applied what was announced so far.

Nobody is asked: each process says where it is in a page that it maps (`scoutcache.oplog.presence`).  One that does
nothing applies twice a second, one at work at its next request; so half a second is what a wait usually takes, and
one that is stopped, or blocked for longer, is named.  A process that starts meanwhile begins after the announcement,
and one that ends has nothing more to serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.channels.private import PrivateJournal
from scoutcache.cli.errors import UNREACHABLE, CommandError
from scoutcache.oplog.presence import Member, members

if TYPE_CHECKING:
    from scoutcache.core import Core

POLL: Final = 0.01
"""Seconds between two looks; a look at a process costs 10 to 20 microseconds."""


class Waited(NamedTuple):
    """How long it took, how many other processes there were, and who has not applied it."""

    seconds: float
    processes: int
    behind: list[Member]

    def as_dict(self) -> dict[str, Any]:
        """The fields that ``--wait`` adds."""
        behind = [
            {"process": one.name, "pid": one.who and one.who.pid, "user": one.who and one.who.user,
             "command": one.who and one.who.command}
            for one in self.behind
        ]  # fmt: skip
        return {"waited_s": round(self.seconds, 3), "processes": self.processes, "behind": behind}


def wait_for_all(
    core: Core, seconds: float, *, clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Waited:  # fmt: skip
    """Wait at most *seconds* until every other process has applied what stands in the journal now."""
    if isinstance(core.journal, PrivateJournal):
        raise CommandError(f"no process can be told or waited for: {core.directory} can't be written", code=UNREACHABLE)
    position, began = core.journal.end(), clock()
    own = getattr(core.background, "present_as", None)
    others = [member for member in members(core.directory) if member.name != own]
    behind = _behind(others, position)
    while behind and clock() - began < seconds:
        sleep(min(POLL, max(0.0, seconds - (clock() - began))))
        behind = _behind([now for member in behind if (now := member.again()) is not None], position)
    return Waited(clock() - began, len(others), behind)


def _behind(found: list[Member], position: int) -> list[Member]:
    return [member for member in found if member.position < position]
