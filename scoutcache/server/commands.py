"""What is sent to a server: commands, scripts, and *plans*, which yield batches of them and are sent the replies.

Rule 1: a plan holds what is done, a conduit (`direct`, `coalescing`, `cluster`) how it gets there: each plan is written
        once and serves threads and event loops.
Rule 2: the commands of a batch leave together and are answered together; those with keys in several slots of a cluster
        reach several nodes in no particular order.  What must come after something is another batch.
Rule 3: an error reply takes the place of its command's answer; a server that can't be reached raises
        `TierUnavailable` into the plan.
Rule 4: every command may be carried out twice without harm: a write compares starts, a removal removes, an
        announcement that comes again says nothing new.  So what redis-py repeats on a cluster does none.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from hiredis import pack_command

from scoutcache.server.faults import fault_of, unavailable
from scoutcache.server.stepping import astep_through, step_through

__all__ = [
    "APPEND_AFTER", "AsyncConduit", "Batch", "Command", "Conduit", "Plan", "Script", "aperform", "checked", "digest_of",
    "packed", "perform", "replies", "text_of",
]  # fmt: skip

Command = tuple[Any, ...]
T = TypeVar("T")


class Batch(NamedTuple):
    """Commands to be sent together; to *node* alone, one of `Conduit.nodes`, where they have no keys to go by."""

    commands: Sequence[Command]
    node: Any = None


Plan = Generator[Batch, list[Any], T]
"""Yields batches, is sent the replies, returns a value."""


class Conduit(Protocol):
    """Carries commands to a server for threads."""

    def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""

    def nodes(self) -> Sequence[Any]:
        """What a scan has to ask one after the other: the primaries of a cluster, else `[None]`."""

    def close(self) -> None:
        """Let go of the connections; idempotent."""


def packed(commands: Sequence[Command]) -> bytes:
    """The bytes of *commands* as a server reads them: redis-py's connections for event loops do that in Python."""
    return b"".join([pack_command(command) for command in commands])


class AsyncConduit(Protocol):
    """The same for the tasks of an event loop."""

    async def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""

    async def nodes(self) -> Sequence[Any]:
        """See `Conduit`."""

    async def close(self) -> None:
        """Let go of the connections; idempotent."""


def perform(plan: Plan[T], conduit: Conduit) -> T:
    """Carry a plan out, blocking.  Raises what the plan raises, `TierUnavailable` among it."""
    return step_through(plan, conduit.execute)


def aperform(plan: Plan[T], conduit: AsyncConduit) -> Coroutine[Any, Any, T]:
    """Carries a plan out on the running event loop.  Raises what the plan raises, `TierUnavailable` among it."""
    return astep_through(plan, conduit.execute)


def replies(*commands: Command, node: Any = None) -> Plan[list[Any]]:
    """Send *commands* together; their answers.  Raises `TierUnavailable` for the first error among them."""
    return checked((yield Batch(commands, node)))


def checked(answers: list[Any]) -> list[Any]:
    """*answers*, which hold no error.  Raises `TierUnavailable`."""
    for answer in answers:
        if isinstance(answer, Exception):
            error = unavailable(fault_of(answer))
            error.uncertain = False  # it was refused
            raise error
    return answers


_texts: Final[dict[str, str]] = {}
"""Scripts by their digest: a server that doesn't know one is sent it."""


def _digest(text: str) -> str:
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


class Script:
    """A Lua script, called by its digest.

    One that writes answers 0 or less, alone or as the first of a list, where it left what was to be written: by that a
    server which takes no writes is told from one that takes them again.  An empty argument leaves out a part of it.
    """

    def __init__(self, text: str) -> None:
        self.digest = _digest(text)
        _texts[self.digest] = text

    def call(self, keys: Sequence[Any], *arguments: Any) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


APPEND_AFTER: Final = """
local function newest(stream, last)
  local id = redis.call('GET', last)
  if id then return id end
  local found = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return found[1] and found[1][1] or '0-0'
end
"""
"""For scripts that append: the id of the message before.  To ask the stream would cost as much as to append, and more
where that message is long."""


def text_of(command: Command) -> Command:
    """The same call of a script with its text in it, for a server that doesn't know the digest."""
    return ("EVAL", _texts[command[1]], *command[2:])


def digest_of(call: Command) -> str:
    """The digest of the script that *call* runs, be it by its text."""
    return str(call[1]) if call[0] == "EVALSHA" else _digest(call[1])
