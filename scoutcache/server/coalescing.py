"""Carries plans out on an event loop: one batch is in flight, and what is asked for meanwhile leaves as the next one.

Rule 1: who comes while nothing is in flight goes at once, in its own task: a lone caller pays for no other.
Rule 2: what buffers leaves in the order it came, at most *most* commands or *bytes* at a time; GETs of one batch become
        one MGET, which costs the client a third.
Rule 3: each caller waits for a future of its own: who is cancelled takes nothing from the others, and an error reply
        reaches only who asked.  Where the way to the server breaks all of the batch hear it.
Rule 4: a connection that failed, or whose caller was cancelled, in the middle of an exchange is cut off: what waits to
        be sent to a server that takes nothing must neither stay here nor arrive long after its caller was told.
Rule 5: a batch as each turn of the loop ends would be slower than no batches as soon as callers drift apart (measured
        0.64 times); one in flight gains in both cases.
Rule 6: the breaker outlives loops, and holds no conduit.
Rule 7: a connection that the server closed while nobody used it (its ``timeout``, a balancer's) is made anew, and is no
        failure: it says nothing of whether the server is there.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.exceptions import NoScriptError, RedisError, ResponseError

from scoutcache.errors import CacheError
from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import Batch, Command, packed, text_of
from scoutcache.server.direct import note
from scoutcache.server.faults import as_greeted, fault_of, unavailable
from scoutcache.server.joining import Calls
from scoutcache.server.patience import Patience, heard, patient

if TYPE_CHECKING:
    from scoutcache.server.connecting import Source

__all__ = ["Coalescing", "cut_off", "hung_up", "let_go"]

MOST: Final = 512
"""Commands in a batch."""

BYTES: Final = 1 << 20
"""Bytes of arguments in a batch; one command alone may have more."""

REPLY: Final = 1 << 24
"""Bytes that the values of a batch of GETs should have at most, going by those before: a server sends nothing before
all of them are put together."""

_PER_SECOND: Final = 20_000_000
"""Bytes a second that a way to a server should carry: so much longer may it take to send a larger batch."""

_TEXTS: Final = (bytes, str)


class _Waiting(NamedTuple):
    """A caller: *commands*, or the one *key* that it gets; *future* is what it waits for."""

    commands: Sequence[Command]
    key: str | None
    size: int
    future: asyncio.Future[Any]


_new: Final = tuple.__new__
"""Makes a NamedTuple without the Python frame of its own ``__new__``."""


class Coalescing:
    """A conduit to one server for the tasks of one event loop."""

    def __init__(
        self, source: Source, breaker: Breaker, *, most: int = MOST, most_bytes: int = BYTES, replica: bool = False
    ) -> None:
        # This module says how long to wait, once for a batch and not for each reply.
        kind, options = source.connection_kind(asynchronous=True, timeout=None, replica=replica)
        self._connection, self._writer = patient(kind, source.section.timeout)(**options), None
        self.breaker, self._timeout = breaker, source.section.timeout
        self._connect_timeout, self._rest = source.section.connect_timeout, source.section.health_check_interval
        self._encrypts = source.encrypts
        self._most, self._most_bytes = most, most_bytes
        self._waiting: deque[_Waiting] = deque()
        self._busy = self._stale = self._closed = False
        self._usual = 1.0  # bytes of a value, going by the last ones
        self._pump: asyncio.Task[None] | None = None
        listener = _weakly(weakref.WeakMethod(self._grow_stale))
        breaker.on_open.append(listener)
        self._forget = weakref.finalize(self, breaker.on_open.remove, listener)
        self._forget.atexit = False

    def _grow_stale(self) -> None:
        self._stale = True  # maybe from another thread: only the loop may close it

    async def nodes(self) -> Sequence[Any]:
        """There is one server."""
        return [None]

    async def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        self._check()
        if self._busy:
            answers: list[Any] = await self._joined(batch.commands, None, _size(batch.commands))
        else:
            answers = await self._alone(batch.commands)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self.execute(Batch([text_of(batch.commands[at]) for at in unknown]))
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        return answers

    def get(self, key: str) -> Awaitable[bytes | ResponseError | None]:
        """What gives the value of *key*, with no more frames around it than need be.  Raises `TierUnavailable`."""
        self._check()
        if self._busy:
            return self._joined((), key, len(key))
        return self._get_alone(key)

    async def _get_alone(self, key: str) -> Any:
        (value,) = await self._alone([("GET", key)])
        self._learn([value])
        return value

    def _learn(self, values: Sequence[Any]) -> None:
        mean = sum([len(value) for value in values if isinstance(value, bytes)]) / len(values)
        self._usual = max(mean, self._usual / 2, 1.0)

    def _check(self) -> None:
        if self._closed:
            self._check_open()
        self.breaker.check()

    def _check_open(self) -> None:
        if self._closed:
            raise CacheError("the cache is closed")

    def _joined(self, commands: Sequence[Command], key: str | None, size: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_new(_Waiting, (commands, key, size, future)))
        return future

    async def _alone(self, commands: Sequence[Command]) -> list[Any]:
        if self._busy:  # by now: a coroutine begins when it is awaited
            answers: list[Any] = await self._joined(commands, None, _size(commands))
            return answers
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
        gets = max(int(REPLY / self._usual), 1)
        while self._waiting:
            commands, key, own, future = one = self._waiting[0]
            number = len(commands) or 1
            if key is not None:
                gets -= 1
            if some and (count + number > self._most or size + own > self._most_bytes or gets < 0):
                break
            self._waiting.popleft()
            if not future.done():
                some.append(one)
                count, size = count + number, size + own
        return some

    async def _carry_out(self, some: Sequence[_Waiting]) -> None:
        gets = [one for one in some if one.key is not None]
        others = [one for one in some if one.key is None]
        sent = [command for one in others for command in one.commands]
        if gets:
            sent.append(("MGET", *[one.key for one in gets]))
        try:
            self._check()  # who waited behind the call that opened it need not find out again
            answers = await self._exchange(sent, sum([one.size for one in some]))
        except Exception as error:  # noqa: BLE001  # each caller is told
            for one in some:
                if not one.future.done():
                    one.future.set_exception(error)
            return
        if gets:
            found = answers.pop()
            values = [found] * len(gets) if isinstance(found, Exception) else found
            self._learn(values)
            for one, value in zip(gets, values, strict=True):
                if not one.future.done():
                    one.future.set_result(value)
        at = 0
        for one in others:
            if not one.future.done():
                one.future.set_result(answers[at : at + len(one.commands)])
            at += len(one.commands)

    async def _exchange(self, commands: Sequence[Command], size: int) -> list[Any]:
        connection = self._connection
        try:
            if not connection.is_connected or self._stale or hung_up(connection) or self._has_rested():
                await self._connect(connection)
            self._check_open()
            async with Patience(self._timeout + size / _PER_SECOND, lambda: heard(connection)):
                calls = Calls(commands)
                await connection.send_packed_command([packed(calls.sent)], check_health=False)
                answers = calls.spread([await self._reply(connection) for _ in calls.sent])
        except (RedisError, OSError, TimeoutError) as error:
            await self._disconnect()
            self._check_open()  # it was this side that ended it
            fault = fault_of(error)
            self.breaker.failed(fault)
            raise unavailable(fault) from None
        except BaseException:
            await self._disconnect()
            raise
        note(self.breaker, commands, answers)
        return answers

    async def _connect(self, connection: Any) -> None:
        self._stale = False
        if connection.is_connected:
            await self._disconnect()
        async with Patience(self._connect_timeout):
            try:
                await connection.connect()
            except (ConnectionResetError, RedisError) as error:
                raise (as_greeted(error) if self._encrypts else error) from None
        self._writer = connection._writer

    def _has_rested(self) -> bool:
        """Was nothing heard for so long that somebody on the way may have forgotten the connection?"""
        latest = heard(self._connection)
        return latest > 0 and 0 < self._rest < asyncio.get_running_loop().time() - latest

    async def _reply(self, connection: Any) -> Any:
        try:
            return await connection.read_response()
        except ResponseError as error:
            if fault_of(error).away:
                raise
            return error

    async def _disconnect(self) -> None:
        await cut_off(self._connection, self._writer)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        self._closed = True
        self._forget()
        await self._disconnect()
        behind = getattr(self._connection, "connection_pool", None)
        for sentinel in behind.sentinel_manager.sentinels if behind is not None else ():
            await sentinel.aclose()

    def abandon(self) -> None:
        """Let go of the connection where its loop was closed."""
        self._closed = True
        self._forget()
        let_go(self._connection)


def hung_up(connection: Any) -> bool:
    """Has the other end closed a *connection* of redis-py, as far as its loop has noticed?"""
    reader = connection._reader
    return reader is not None and (reader.at_eof() or reader.exception() is not None)


async def cut_off(connection: Any, writer: Any) -> None:
    """Close a *connection* of redis-py at once, whatever its *writer* has still to send.

    Where sending fails it lets go of its writer by itself, and what waits there is sent when it can be.
    """
    if writer is not None:
        with suppress(AttributeError):  # of TLS that was lost already, in Python 3.11.2
            writer.transport.abort()
    with suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)


def let_go(connection: Any) -> None:
    """Close a *connection* of redis-py whose loop was closed, so that nobody can be awaited."""
    writer, connection._reader, connection._writer = connection._writer, None, None
    if writer is None:
        return
    transport = writer.transport
    socket = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    with suppress(Exception):  # it wants to tell the loop
        transport.abort()
    with suppress(Exception):
        socket._call_connection_lost(None)  # what the loop would have called: closes the descriptor


def _weakly(method: weakref.WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    def call() -> None:
        found = method()
        if found is not None:
            found()

    return call


def _size(commands: Sequence[Command]) -> int:
    return sum([len(part) for command in commands for part in command if isinstance(part, _TEXTS)])
