"""How long an event loop waits for a server: as long as for one answer, also while a connection is made.

Rule 1: where the loop itself was busy as the time ended, the answer may lie there unread: it is waited for as much
        longer as the loop was late, or an application that computes would believe its server away.  Once, and for no
        more than the time again.
Rule 2: the time begins anew with whatever arrives, be it a part of a reply: a server that sends is there, however much
        was asked of it.
Rule 3: a process that is stopped has its connections accepted by its system.  That it is there shows as it answers, so
        what follows the connection (a name, a password, a database) is waited for as any answer is, and TLS, which
        asks twice and doesn't tell what arrives, for twice as long.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Patience", "heard", "patient"]

_LATE: Final = 0.02
"""Seconds by which a timer that goes off later shows that the loop was busy."""

_TLS: Final = 2
"""Round trips before a connection is encrypted, up to TLS 1.2."""


class Patience:
    """Raises `TimeoutError` after *seconds* in which nothing was *heard* and the loop was not busy."""

    def __init__(self, seconds: float, heard: Callable[[], float] = lambda: 0.0) -> None:
        self._seconds, self._heard = seconds, heard
        self._loop = asyncio.get_running_loop()
        self._due, self._excused = self._loop.time() + seconds, False
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._timer = self._loop.call_at(self._due, self._end)

    async def __aexit__(self, *raised: Any) -> None:  # noqa: PYI036  # as they come
        self._timer.cancel()
        await self._limit.__aexit__(*raised)

    def _end(self) -> None:
        now, anew = self._loop.time(), self._heard() + self._seconds
        late = now - self._due
        if anew > self._due:
            self._due, self._excused = anew, False
        if self._due <= now and late > _LATE and not self._excused:
            self._due, self._excused = now + min(late, self._seconds), True
        if self._due > now:
            self._timer = self._loop.call_at(self._due, self._end)
        else:
            self._limit.reschedule(now)


class _Reader(asyncio.StreamReader):
    """Notes when something arrived."""

    heard = 0.0

    def feed_data(self, data: Any) -> None:
        self.heard = asyncio.get_running_loop().time()
        super().feed_data(data)


def heard(connection: Any) -> float:
    """When something arrived last on a *connection* that is `patient`, by its loop's clock; 0.0 for never."""
    return getattr(connection._reader, "heard", 0.0)


class _Patient:
    """Mixed into a connection of redis-py's (Rule 3)."""

    patience: float
    host: str
    port: int
    _reader: Any
    _plain: socket.socket

    async def _connect(self) -> None:
        if not hasattr(self, "ssl_context"):
            await super()._connect()  # type: ignore[misc]  # of redis-py's
            return
        self._plain = await _reached(self.host, self.port)
        async with Patience(_TLS * self.patience):
            await super()._connect()  # type: ignore[misc]

    def _connection_arguments(self) -> dict[str, Any]:
        given: dict[str, Any] = super()._connection_arguments()  # type: ignore[misc]
        if "ssl" not in given:
            return given
        return {"sock": self._plain, "ssl": given["ssl"], "server_hostname": given["host"]}

    async def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        if type(self._reader) is asyncio.StreamReader:
            self._reader.__class__ = _Reader
        async with Patience(self.patience, lambda: heard(self)):
            await super().on_connect_check_health(*args, **options)  # type: ignore[misc]


async def _reached(host: str, port: int) -> socket.socket:
    """A socket that is connected, and nothing said there.  Raises `OSError`."""
    loop, failed = asyncio.get_running_loop(), OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        plain = socket.socket(family, kind, protocol)
        try:
            plain.setblocking(False)
            await loop.sock_connect(plain, address)
        except OSError as error:
            plain.close()
            failed = error
        except BaseException:
            plain.close()
            raise
        else:
            return plain
    raise failed


def patient(kind: type[Any], seconds: float) -> type[Any]:
    """That *kind* of redis-py's connections for event loops, greeted within *seconds*."""
    return type(kind.__name__, (_Patient, kind), {"patience": seconds})
