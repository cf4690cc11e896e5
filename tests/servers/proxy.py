"""A proxy between a client and a server that does to the bytes what a bad network does.

Rules: a fault that was switched on is in force when the method returns, for the connections that stand as well as for
new ones; what was held back goes on in order when it ends. Commands are looked at by nobody: bytes are bytes.

Theory: each direction of each connection is a reader, a short queue and a writer. The writer asks what is wrong at the
moment when it would forward, so no fault needs to know the connections, but for `cut`, which ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from .process import HOST, free_port
from .waiting import PATIENCE

T = TypeVar("T")
CHUNK = 65_536
QUEUED = 64
"""Chunks that one direction holds before it stops reading, so that a frozen network pushes back as a real one does."""

Item = tuple[float, bytes]
"""When it arrived, and what: no bytes are the end."""


class Proxy:
    """A TCP proxy to a server's port, in a thread of its own: `port`, `url`, and the faults, which can be combined.

    :ivar connections: how many connections it has accepted.
    :ivar commands_forwarded_bytes: how many bytes of commands it has handed to the server.
    """

    def __init__(self, server_port: int, *, seed: int = 0) -> None:
        self.server_port, self.port = server_port, free_port()
        self.connections = self.commands_forwarded_bytes = 0
        self._random = random.Random(seed)
        self._delay, self._frozen, self._garbage, self._dropping = 0.0, False, False, False
        self._links: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self._run(self._listen)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def delay(self, seconds: float) -> None:
        """Replies arrive so many seconds later; the command itself is carried out at once."""
        self._switch(_delay=seconds)

    def freeze(self) -> None:
        """Nothing is forwarded any more, not even an end; connections stay, and new ones are accepted: half-open."""
        self._switch(_frozen=True)

    def garbage(self) -> None:
        """Replies are replaced by as many random bytes, drawn from the proxy's seed."""
        self._switch(_garbage=True)

    def drop_replies(self) -> None:
        """Commands reach the server, replies do not come back."""
        self._switch(_dropping=True)

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        self._run(self._cut)

    def heal(self) -> None:
        """All is well again: what was frozen or delayed is forwarded, and who was cut off can connect."""
        self._switch(_delay=0.0, _frozen=False, _garbage=False, _dropping=False)
        self._run(self._listen)

    def close(self) -> None:
        """End the connections and the thread; nothing happens the second time."""
        if not self._loop.is_closed():
            self._run(self._cut)
            self._run(_turns)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    def _run(self, work: Callable[[], object]) -> None:
        """Run an async method in the proxy's thread and wait for its end."""
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE)

    def _switch(self, **state: float) -> None:
        async def switch() -> None:
            vars(self).update(state)
            self._changed.set()
            self._changed = asyncio.Event()

        self._run(switch)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accepted, HOST, self.port)

    async def _cut(self) -> None:
        if (listener := self._listener) is not None:
            self._listener = None
            # First it stops listening: closed in the turn of an accept, a `Server` loses the transport.
            for listening in listener.sockets:
                self._loop.remove_reader(listening)
            await _turns()
            listener.close()
        for link in (links := list(self._links)):
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._listener is None:  # accepted as it was cut
            writer.transport.abort()
            return
        self.connections += 1
        link = self._loop.create_task(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        # Here, not in the task: one that is cancelled before its first step never runs.
        link.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry both directions of one connection until either ends; then both sides are closed."""
        to_server = None
        try:
            server, to_server = await asyncio.open_connection(HOST, self.server_port)
            await _first_of(
                self._carry(client, to_server, self._forward_command),
                self._carry(server, to_client, self._forward_reply),
            )
            await _flushed(to_client)
        except OSError:
            pass  # the server isn't there, or either side broke off: the other is told by an end
        finally:
            if to_server is not None:
                to_server.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        forward: Callable[[asyncio.StreamWriter, Item], object],
    ) -> None:  # fmt: skip
        queue: asyncio.Queue[Item] = asyncio.Queue(QUEUED)
        filling = self._loop.create_task(self._fill(queue, reader))
        try:
            while (item := await queue.get())[1]:
                await forward(writer, item)
                await writer.drain()
            await self._passage()
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    async def _fill(self, queue: asyncio.Queue[Item], reader: asyncio.StreamReader) -> None:
        data = b"not yet the end"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            await queue.put((self._loop.time(), data))

    async def _forward_command(self, writer: asyncio.StreamWriter, item: Item) -> None:
        await self._passage()
        self.commands_forwarded_bytes += len(item[1])
        writer.write(item[1])

    async def _forward_reply(self, writer: asyncio.StreamWriter, item: Item) -> None:
        await self._passage(item[0])
        if not self._dropping:
            writer.write(self._random.randbytes(len(item[1])) if self._garbage else item[1])

    async def _passage(self, arrived: float | None = None) -> None:
        """Return when it may pass, a reply as long after its arrival as told; a fault's switch is a reason to look."""
        while (left := self._seconds_held(arrived)) is None or left > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def _seconds_held(self, arrived: float | None) -> float | None:
        """None is until further notice."""
        if self._frozen:
            return None
        return 0.0 if arrived is None else arrived + self._delay - self._loop.time()


async def _turns() -> None:
    """A transport that was aborted closes its socket some turns of the loop later."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _first_of(*ways: object) -> None:
    """Run them until one has ended, then end the others."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """What was written already is still delivered, unless nobody takes it within a moment."""
    writer.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 1)
