"""Carries plans out for threads: each call takes a connection, sends its batch, and reads as many replies.

Rule 1: a connection that failed in the middle of an exchange is closed: another call would read its replies.
Rule 2: one that was not used for a moment is looked at first, for a server that was restarted has closed it; and when
        the breaker opens all of them go.
Rule 3: connections are used last in, first out, so that a quiet cache keeps few.  How many there are `Room` knows.
Rule 4: redis-py's connections are used, and not its client: finding out what a command may be and counting it takes
        longer than the command (22 of 53 us a GET are left).
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from redis.exceptions import NoScriptError, RedisError, ResponseError

from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import Batch, Command, digest_of, packed, text_of
from scoutcache.server.faults import Fault, Kind, as_greeted, fault_of, unavailable
from scoutcache.server.joining import Calls
from scoutcache.server.room import Room

if TYPE_CHECKING:
    from scoutcache.server.connecting import Source

__all__ = ["Direct", "note"]

_IDLE = 1.0
"""Seconds after which a connection is looked at before it is used."""


class _Crowded(Exception):
    """The server takes no more connections."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class Direct:
    """A conduit to one server, or to the one that sentinels know, for any number of threads."""

    def __init__(self, source: Source, breaker: Breaker, *, replica: bool = False) -> None:
        section = source.section
        kind, options = source.connection_kind(asynchronous=False, timeout=section.timeout, replica=replica)
        self._make: Callable[[], Any] = lambda: kind(**options)
        self.breaker, self._wait, self._encrypts = breaker, section.timeout, source.encrypts
        self._most, self._rest = section.max_connections, section.health_check_interval
        self._begin()
        breaker.on_open.append(self._drop_idle)
        _all.add(self)

    def _begin(self) -> None:
        self._idle: deque[tuple[Any, float]] = deque()
        self._room = Room(self._most, self._wait, self.breaker.now)
        self._closed = False

    def nodes(self) -> Sequence[Any]:
        """There is one server."""
        return [None]

    def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        self.breaker.check()
        answers = self._in_room(batch.commands)
        note(self.breaker, batch.commands, answers)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = self.execute(Batch([text_of(batch.commands[at]) for at in unknown]))
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        return answers

    def _in_room(self, commands: Sequence[Command], *, again: bool = True) -> list[Any]:
        """`_carry_out`, once more where the server takes no more connections than others here have."""
        waited, has_left = self._room.enter(), False
        try:
            if waited:  # maybe behind who found that it is away
                self.breaker.check()
            return self._carry_out(commands)
        except _Crowded as crowded:
            has_left = again and self._room.narrow(len(self._idle))
            if not has_left:
                if again:
                    self.breaker.failed(crowded.fault)
                raise unavailable(crowded.fault) from None
        finally:
            if not has_left:
                self._room.leave()
        return self._in_room(commands, again=False)

    def _carry_out(self, commands: Sequence[Command]) -> list[Any]:
        connection = None
        try:
            connection = self._ready()
            answers = _exchange(connection, commands)
        except (RedisError, OSError) as error:
            self._fail(connection, error)
        except BaseException:  # the caller was interrupted between sending and reading
            _close(connection)
            raise
        if self._closed:
            _close(connection)
        else:
            self._idle.append((connection, time.monotonic()))
        return answers

    def _fail(self, connection: Any, error: RedisError | OSError) -> NoReturn:
        _close(connection)
        fault = fault_of(error)
        if fault.kind is Kind.CROWDED:
            raise _Crowded(fault) from None
        self.breaker.failed(fault)
        raise unavailable(fault) from None  # what redis-py raises holds the options of its connection

    def _ready(self) -> Any:
        try:
            connection, used = self._idle.pop()
        except IndexError:
            connection, used = self._make(), 0.0
        if connection._sock is None:
            self._connect(connection)
        elif (rested := time.monotonic() - used) > _IDLE and (0 < self._rest < rested or _is_spoilt(connection)):
            connection.disconnect()
            self._connect(connection)
        return connection

    def _connect(self, connection: Any) -> None:
        try:
            connection.connect()
        except (OSError, RedisError) as error:
            raise (as_greeted(error) if self._encrypts else error) from None

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                _close(self._idle.pop()[0])

    def after_fork(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._begin()
        self.breaker.restart()

    def close(self) -> None:
        """Close what is idle; what is in use closes when its call ends."""
        self._closed = True
        self._drop_idle()


def note(breaker: Breaker, commands: Sequence[Command], answers: Sequence[Any]) -> None:
    """What the answers say of the server."""
    _heed(breaker, commands, answers)
    breaker.answered()


def _heed(breaker: Breaker, commands: Sequence[Command], answers: Sequence[Any]) -> None:
    """Tell of what was refused, or done that had been."""
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, ResponseError):
            fault = fault_of(answer)
            breaker.failed(fault, _what(command, fault.kind))
            return
    for kind in list(breaker.refused):
        done = [command for command, answer in zip(commands, answers, strict=True) if _did(command, answer)]
        breaker.did([_what(command, kind) for command in done], kind)


_CALLS: Final = ("EVALSHA", "EVAL")


def _what(command: Command, kind: Kind) -> object:
    """What a command is, to be compared with what met a refusal of that *kind*: its name, or its script.

    Where rights are missing a call with other parts of the script is another one: by how many keys it names, and
    whether something is left empty.
    """
    if command[0] not in _CALLS:
        return command[0]
    digest = digest_of(command)
    if kind is not Kind.NOPERM:
        return digest
    return digest, command[2], any(isinstance(part, str | bytes) and not part for part in command[3:])


def _did(command: Command, answer: Any) -> bool:
    """Was it done, and not left by a script (`Script`)?"""
    code = answer[0] if answer and isinstance(answer, list) else answer
    return command[0] not in _CALLS or not isinstance(code, int) or code > 0


def _exchange(connection: Any, commands: Sequence[Command]) -> list[Any]:
    calls = Calls(commands)
    connection.send_packed_command([packed(calls.sent)], check_health=False)
    return calls.spread([_reply(connection) for _ in calls.sent])


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        if fault_of(error).away:
            raise
        return error


def _is_spoilt(connection: Any) -> bool:
    """Was it closed by the server, or is there a reply that nobody waits for?"""
    try:
        return bool(connection.can_read(0))
    except (RedisError, OSError):  # so hiredis says that it was closed
        return True


def _close(connection: Any) -> None:
    if connection is not None:
        with suppress(RedisError, OSError):
            connection.disconnect()


_all: weakref.WeakSet[Direct] = weakref.WeakSet()


def _after_fork() -> None:
    for conduit in list(_all):
        conduit.after_fork()


os.register_at_fork(after_in_child=_after_fork)
