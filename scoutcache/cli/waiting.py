"""``--wait``: until every process that lives with a cache has applied what was announced so far.

Nobody is asked: each process says where it is, on one machine in a page that it maps (`scoutcache.oplog.presence`), on
many in a hash on their server (`scoutcache.channels.members`).  On one machine a process that does nothing applies
twice a second, one at work at its next request, so half a second is what a wait usually takes; a server wakes them all,
and it takes some milliseconds.  One that is stopped, or blocked for longer, is named.  A process that starts meanwhile
begins after the announcement, and one that ends has nothing more to serve.  Who is silent is forgotten by the server
and not by its own machine: of those that share the directory a kernel says which live, however long they do nothing.
A signal ends the waiting and not the command: what it did before is yet to be told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from socket import gethostname
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.channels.private import PrivateJournal
from scoutcache.cli.errors import Terminated
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.presence import Member, members

if TYPE_CHECKING:
    from scoutcache.channels import members as remote
    from scoutcache.core.core import Core

    AnyMember = Member | remote.Member

POLL: Final = 0.01
"""Seconds between two looks; a look at a process costs 10 to 20 microseconds, one at a server one round trip."""


class Waited(NamedTuple):
    """How long it took, how many other processes there were, and who has not applied it.

    *unknown* says why the others can't be waited for; how many they are, and who is behind, nobody can tell then.
    *broken_off*: a signal ended it.
    """

    seconds: float
    processes: int | None = None
    behind: Sequence[AnyMember] = ()
    unknown: str | None = None
    broken_off: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields that ``--wait`` adds."""
        if self.unknown is not None:
            told = {"waited_s": round(self.seconds, 3), "processes": None, "behind": None}
            return told | {"not_waited_for": self.unknown}
        behind = [
            {"process": one.name, **_host(one.who), "pid": one.who and one.who.pid,
             "user": one.who and one.who.user, "command": one.who and one.who.command}
            for one in self.behind
        ]  # fmt: skip
        return {"waited_s": round(self.seconds, 3), "processes": self.processes, "behind": behind}


def named(member: AnyMember) -> str:
    """What to call a process that has not applied it."""
    return str(member.who or member.name)


def _host(who: object) -> dict[str, str]:
    """On which machine it is, where there are several."""
    return {"host": who.host} if hasattr(who, "host") else {}


def wait_for_all(
    core: Core, seconds: float, *, clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Waited:  # fmt: skip
    """Wait at most *seconds* until every other process has applied what stands in the channel now."""
    if isinstance(core.journal, PrivateJournal):
        return Waited(0.0, unknown=f"{core.directory} can't be written")
    began = clock()
    found: list[Any] | None = None
    behind: list[Any] = []
    try:
        others: _Here | _OnServer = _OnServer(core) if hasattr(core.journal, "layout") else _Here(core)
        found = others.all()
        behind = [one for one in found if one.position < others.position]
        while behind and clock() - began < seconds:
            sleep(min(POLL, max(0.0, seconds - (clock() - began))))
            behind = [one for one in others.again(behind) if one.position < others.position]
    except TierUnavailable as error:
        return Waited(clock() - began, unknown=str(error))
    except (KeyboardInterrupt, Terminated):
        if found is None:
            return Waited(clock() - began, unknown="it was interrupted", broken_off=True)
        return Waited(clock() - began, len(found), behind, broken_off=True)
    return Waited(clock() - began, len(found), behind)


def _hears(member: Member, place: tuple[str, ...]) -> bool:
    """Does what is announced at *place* reach it?  One with another server or none goes on as that knows it."""
    return member.place is None or member.place == place


class _Here:
    """The other processes of this machine."""

    def __init__(self, core: Core) -> None:
        self._directory, self.position, self._place = core.directory, core.journal.end(), core.place
        self._own = getattr(core.background, "present_as", None)

    def all(self) -> list[Any]:
        return [self._heard(member) for member in members(self._directory) if member.name != self._own]

    def again(self, behind: Sequence[Any]) -> list[Any]:
        return [self._heard(now) for member in behind if (now := member.again()) is not None]

    def _heard(self, member: Member) -> Member:
        return member if _hears(member, self._place) else member._replace(position=0)


class _OnServer:
    """The other processes that a server knows of, and those of this directory that it has forgotten."""

    def __init__(self, core: Core) -> None:
        from scoutcache.channels.heard import id_text, position_of

        stream: Any = core.journal
        self._stream, beside = stream, stream.beside.journal
        self._here = None if isinstance(beside, PrivateJournal) else beside.end()
        # What only this process was told nobody else can apply.
        self.position = position_of(id_text(stream.invalidated()).encode())
        self._own = getattr(core.background, "heard_as", None)
        self._directory, self._place = core.directory, core.place

    def all(self) -> list[Any]:
        from scoutcache.channels import members as remote
        from scoutcache.server.commands import perform

        heard = perform(remote.members(self._stream.layout), self._stream.conduit)
        names = {one.name for one in heard}
        silent = [self._silent(one) for one in self._present() if one.name not in names]
        return [one for one in (*heard, *silent) if one.name != self._own]

    def _present(self) -> Iterator[Member]:
        """Who lives with the directory; what was announced stands in its journal too."""
        return iter(()) if self._here is None else members(self._directory)

    def _silent(self, one: Member) -> remote.Member:
        """*one* as the server would know it: where it stands there nobody says, but whether it has applied it."""
        from scoutcache.channels import members as remote

        who = None if one.who is None else remote.Process(one.who.pid, gethostname(), one.who.user, one.who.command)
        has_applied = _hears(one, self._place) and one.position >= (self._here or 0)
        return remote.Member(one.name, self.position if has_applied else 0, who)

    def again(self, behind: Sequence[Any]) -> list[Any]:
        names = {one.name for one in behind}
        return [one for one in self.all() if one.name in names]
