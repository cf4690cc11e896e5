"""Carries plans out on an event loop: one batch is in flight, and what is asked for meanwhile leaves as the next one.

Rule 1: who comes while nothing is in flight goes at once, in its own task: a lone caller pays for no other.
Rule 2: what buffers leaves in the order it came, at most *most* commands or *bytes* at a time; GETs of one batch become
        one MGET, which costs the client a third.
Rule 3: each caller waits for a future of its own: who is cancelled takes nothing from the others, and an error reply
        reaches only who asked.  Where the way to the server breaks all of the batch hear it.
Rule 4: a connection that failed, or whose caller was cancelled, in the middle of an exchange is closed.
Rule 5: a batch as each turn of the loop ends would be slower than no batches as soon as callers drift apart (measured
        0.64 times); one in flight gains in both cases.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.exceptions import NoScriptError, RedisError, ResponseError

from scoutcache.errors import CacheError
from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import Batch, Command, text_of
from scoutcache.server.direct import note
from scoutcache.server.faults import fault_of, unavailable

if TYPE_CHECKING:
    from scoutcache.server.connecting import Source

__all__ = ["Coalescing"]

MOST: Final = 512
"""Commands in a batch."""

BYTES: Final = 1 << 20
"""Bytes of arguments in a batch; one command alone may have more."""

_PER_SECOND: Final = 20_000_000
"""Bytes a second that a way to a server should carry: so much longer may a larger batch take."""


class _Waiting(NamedTuple):
    commands: Sequence[Command]
    size: int
    future: asyncio.Future[list[Any]]


class Coalescing:
    """A conduit to one server for the tasks of one event loop."""

    def __init__(self, source: Source, breaker: Breaker, *, most: int = MOST, most_bytes: int = BYTES) -> None:
        # This module says how long to wait, once for a batch and not for each reply.
        kind, options = source.connection_kind(asynchronous=True, timeout=None)
        self._connection = kind(**options)
        self.breaker, self._timeout = breaker, source.section.timeout
        self._most, self._most_bytes = most, most_bytes
        self._waiting: deque[_Waiting] = deque()
        self._busy = self._stale = self._closed = False
        self._pump: asyncio.Task[None] | None = None
        breaker.on_open.append(self._grow_stale)

    def _grow_stale(self) -> None:
        self._stale = True  # maybe from another thread: only the loop may close it

    async def nodes(self) -> Sequence[Any]:
        """There is one server."""
        return [None]

    async def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        self.breaker.check()
        if self._closed:
            raise CacheError("the cache is closed")
        answers = await self._answers(batch.commands)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self.execute(Batch([text_of(batch.commands[at]) for at in unknown]))
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        return answers

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        if self._busy:
            future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            self._waiting.append(_Waiting(commands, _size(commands), future))
            return await future
        self._busy = True
        try:
            return await self._exchange(commands, _size(commands))
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """The exchange that was under way has ended: begin with what buffered meanwhile."""
        if self._waiting:
            self._pump = asyncio.get_running_loop().create_task(self._carry())
        else:
            self._busy = False

    async def _carry(self) -> None:
        try:
            while self._waiting:
                some = self._next()
                if some:
                    await self._carry_out(some)
        finally:
            self._busy = False
            for one in self._waiting:  # only where this task was cancelled, with its loop
                one.future.cancel()

    def _next(self) -> list[_Waiting]:
        """The next batch: in order, without those who wait no longer."""
        some: list[_Waiting] = []
        count = size = 0
        while self._waiting:
            one = self._waiting[0]
            if some and (count + len(one.commands) > self._most or size + one.size > self._most_bytes):
                break
            self._waiting.popleft()
            if not one.future.done():
                some.append(one)
                count, size = count + len(one.commands), size + one.size
        return some

    async def _carry_out(self, some: Sequence[_Waiting]) -> None:
        commands = [command for one in some for command in one.commands]
        try:
            answers = await self._exchange(commands, sum(one.size for one in some))
        except Exception as error:  # noqa: BLE001  # each caller is told
            for one in some:
                if not one.future.done():
                    one.future.set_exception(error)
            return
        at = 0
        for one in some:
            if not one.future.done():
                one.future.set_result(answers[at : at + len(one.commands)])
            at += len(one.commands)

    async def _exchange(self, commands: Sequence[Command], size: int) -> list[Any]:
        connection = self._connection
        keys = [command[1] for command in commands if command[0] == "GET"] if len(commands) > 1 else ()
        sent = commands if len(keys) < 2 else [*(one for one in commands if one[0] != "GET"), ("MGET", *keys)]
        try:
            async with asyncio.timeout(self._timeout + size / _PER_SECOND) as patience:
                if not connection.is_connected or self._stale:
                    await self._connect(connection, patience, size)
                await connection.send_packed_command(connection.pack_commands(sent), check_health=False)
                answers = [await self._reply(connection) for _ in sent]
        except (RedisError, OSError, TimeoutError) as error:
            await self._disconnect()
            fault = fault_of(error)
            self.breaker.failed(fault)
            raise unavailable(fault) from None
        except BaseException:
            await self._disconnect()
            raise
        note(self.breaker, sent, answers)
        return answers if sent is commands else _spread(commands, answers)

    async def _connect(self, connection: Any, patience: asyncio.Timeout, size: int) -> None:
        loop = asyncio.get_running_loop()
        patience.reschedule(None)  # connecting has a time limit of its own
        if self._stale:
            self._stale = False
            await connection.disconnect(nowait=True)
        await connection.connect()
        patience.reschedule(loop.time() + self._timeout + size / _PER_SECOND)

    async def _reply(self, connection: Any) -> Any:
        try:
            return await connection.read_response()
        except ResponseError as error:
            if fault_of(error).away:
                raise
            return error

    async def _disconnect(self) -> None:
        with suppress(RedisError, OSError, TimeoutError):
            await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        self._closed = True
        await self._disconnect()


def _size(commands: Sequence[Command]) -> int:
    return sum(len(part) for command in commands for part in command if isinstance(part, bytes | str))


def _spread(commands: Sequence[Command], answers: list[Any]) -> list[Any]:
    """The answers in the order of *commands*, where the GETs were sent as one MGET at the end."""
    found = answers.pop()
    if isinstance(found, Exception):
        gets, others = iter([found] * len(commands)), iter(answers)
    else:
        gets, others = iter(found), iter(answers)
    return [next(gets) if command[0] == "GET" else next(others) for command in commands]
