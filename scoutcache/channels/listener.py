"""The thread that hears what a server's stream says, and so knows first whether the server is there.

Rule 1: it has a connection of its own, on which it waits for messages, half a second at most: an answer, be it that
        there was nothing, is a sign of life and closes the breaker.
Rule 2: where messages come one after the other it reads them some milliseconds apart, for each wakes the process.
Rule 3: a connection that was lost is made anew at once; only when that fails is the server away.  After that it is
        tried again and again, and what was announced meanwhile is read before anybody is told that the server is back.
        One that is lost as soon as it is made is made anew after a pause.  Of a cluster the one node is away.
Rule 4: nothing that goes wrong here ends it.
Rule 5: what was heard and applied is said on the server at once, and otherwise once a second
        (`scoutcache.channels.members`), over the same connection.  A server that takes no writes is heard all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from redis.exceptions import RedisError, ResponseError

from scoutcache.channels.members import Membership
from scoutcache.channels.stream import StreamChannel
from scoutcache.errors import TierUnavailable
from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import Batch, Command, perform, replies, text_of
from scoutcache.server.faults import Fault, fault_of, unavailable
from scoutcache.server.nodes import Looker

if TYPE_CHECKING:
    from scoutcache.config.sections import RedisSection
    from scoutcache.server.cluster import Cluster
    from scoutcache.server.connecting import Source

__all__ = ["Listener", "longest_round"]

BLOCK: Final = 0.5
"""Seconds to wait for a message."""

PAUSE: Final = 0.005
"""Seconds between two reads where there was something to read."""

OWN_PAUSE: Final = 0.02
"""The same where it was what this process had written itself: every set of its own would wake it."""

RETRY: Final = 0.5
"""Seconds between two tries to reach a server that is away."""

_AT_ONCE: Final = 1000


def longest_round(section: RedisSection) -> float:
    """Seconds after which a listener knows anew whether the server answers, however it is away."""
    connecting = section.connect_timeout * (1 + len(section.sentinel))
    return connecting + BLOCK + section.timeout + RETRY


class Listener:
    """Hears *channel* for a cache.

    *heard* is called after messages were heard, *released* with the names of leases that were (with None when some
    may have been missed), *turn* about twice a second, with whether the server answers.  What they raise goes to
    *trouble*.  *member* is this process as others see it.
    """

    def __init__(
        self, source: Source, channel: StreamChannel, breaker: Breaker, *, heard: Callable[[], None],
        released: Callable[[bytes | None], None], turn: Callable[[bool], None], trouble: Callable[[Exception], None],
        member: Membership,
    ) -> None:  # fmt: skip
        self._source, self._channel, self._breaker = source, channel, breaker
        self._heard, self._released, self._turn, self._trouble = heard, released, turn, trouble
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self.member = member
        self._woken = "0-0"
        self._turned = 0.0
        self._of_node: Breaker | None = None
        self._looker = Looker(source, cast("Cluster", channel.conduit).breakers) if source.is_cluster else None
        self._is_refused = False

    @property
    def is_listening(self) -> bool:
        """Does the thread run?"""
        return self._thread is not None

    @property
    def fault(self) -> Fault | None:
        """Why nothing is heard: the server, or the stream's node, is away."""
        of_node = self._of_node
        return self._breaker.fault or (None if of_node is None else of_node.fault)

    def hear(self) -> None:
        """Hear now what there is to hear, for a cache whose clock is moved by hand.  Raises `TierUnavailable`."""
        perform(self._channel.check(), self._channel.conduit)
        self._heard()

    def start(self) -> None:
        """Begin to listen."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="scoutcache-listener", daemon=True)
            self._thread.start()
            if self._looker is not None:
                self._looker.start()

    def close(self) -> None:
        """Stop listening; idempotent."""
        self._stop.set()
        if self._looker is not None:
            self._looker.close()
        thread, self._thread = self._thread, None
        connection = self._connection
        if thread is None or thread is threading.current_thread():
            return
        if connection is not None:
            with suppress(RedisError, OSError, AttributeError):
                connection._sock.shutdown(2)  # or it would wait for the next message
            thread.join()
        elif self.fault is None:  # it is connecting, and ends when it has; to a server that is away that takes long
            thread.join(self._source.section.timeout)
        with suppress(TierUnavailable):  # then it is taken for dead half a minute later
            perform(self.member.leave(), self._channel.conduit)

    def forget(self) -> None:
        """In a forked child: thread and connection are the parent's."""
        self._stop, self._thread, self._connection = threading.Event(), None, None
        self.member.begin_anew()
        if self._looker is not None:
            self._looker.forget()

    def _run(self) -> None:
        stop = self._stop
        while not stop.is_set():
            connection, began = None, time.monotonic()
            try:
                connection = self._connection = self._connect()
                if not stop.is_set():
                    self._listen(connection, stop)
            except (RedisError, OSError) as error:
                if connection is None:
                    (self._of_node or self._breaker).failed(fault_of(error))
            except TierUnavailable:
                pass  # the breaker knows
            except Exception as error:  # noqa: BLE001  # Rule 4
                self._trouble(error)
            finally:
                _disconnect(connection)
            if connection is None and not stop.is_set():
                self._do(lambda: self._turn(False))
                if self._of_node is not None:  # whoever waits for a lease on another node hears of nothing
                    self._do(partial(self._released, None))
            if connection is None or time.monotonic() - began < RETRY:
                stop.wait(RETRY)

    def _connect(self) -> Any:
        source, patience = self._source, BLOCK + self._source.section.timeout
        if source.is_cluster:
            client = cast("Cluster", self._channel.conduit)
            node = client.node_of(self._channel.layout.events)
            self._of_node = client.breaker_of(node)
            connection: Any = source.connection_to(node, patience)
        else:
            kind, options = source.connection_kind(asynchronous=False, timeout=patience)
            connection = kind(**options)
        try:
            connection.connect()
            perform(self._channel.check(), _Alone(connection))
        except BaseException:
            _disconnect(connection)
            raise
        self._sign_of_life()
        return connection

    def _listen(self, connection: Any, stop: threading.Event) -> None:
        channel, layout, alone = self._channel, self._channel.layout, _Alone(connection)
        self._begin_to_wake(alone)
        self._go_round(alone)
        while not stop.is_set():
            after, patience = channel.heard(), min(BLOCK, max(PAUSE, self.member.rest()))
            connection.send_command("XREAD", "COUNT", _AT_ONCE, "BLOCK", round(patience * 1000), "STREAMS",
                                    layout.events, layout.wakes, after, self._woken, check_health=False)  # fmt: skip
            answer = connection.read_response()
            self._sign_of_life()
            news = False
            for name, entries in (answer.items() if isinstance(answer, dict) else answer) or ():
                if name == layout.events.encode():
                    news |= channel.feed(entries)
                else:
                    news = True
                    self._wake(entries)
            if not answer:
                perform(channel.check(), alone)
            self._go_round(alone)
            if answer:
                stop.wait(PAUSE if news else OWN_PAUSE)

    def _begin_to_wake(self, alone: _Alone) -> None:
        """Hear of leases from now on; whoever waits must look once, for those that were released before."""
        (last,) = perform(replies(("XREVRANGE", self._channel.layout.wakes, "+", "-", "COUNT", 1)), alone)
        self._woken = last[0][0].decode() if last else "0-0"
        self._do(partial(self._released, None))

    def _go_round(self, alone: _Alone) -> None:
        """Apply what was heard, say so, and do what is due."""
        self._do(self._heard)
        if not self.member.rest():
            self._say(alone)
        if (now := time.monotonic()) - self._turned >= BLOCK:
            self._turned = now
            self._do(lambda: self._turn(True))

    def _say(self, alone: _Alone) -> None:
        """Give a sign of life; that the server takes none is told once, until it does."""
        try:
            perform(self.member.say(), alone)
            self._is_refused = False
        except TierUnavailable as error:
            self.member.refused()
            if not self._is_refused:
                self._is_refused = True
                self._trouble(error)

    def _wake(self, entries: Any) -> None:
        for identity, fields in entries:
            self._woken = identity.decode()
            self._do(partial(self._released, fields[1]))

    def _sign_of_life(self) -> None:
        self._channel.heard_at = self._channel._now()
        self._breaker.answered()
        if self._of_node is not None:
            self._of_node.answered()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # Rule 4
            self._trouble(error)


class _Alone:
    """A conduit over one connection, which nobody else uses."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, batch: Batch) -> list[Any]:
        connection = self._connection
        connection.send_packed_command(connection.pack_commands([_plain(one) for one in batch.commands]),
                                       check_health=False)  # fmt: skip
        answers = []
        for _ in batch.commands:
            try:
                answers.append(connection.read_response())
            except RedisError as error:
                if not isinstance(error, ResponseError):
                    raise
                if fault_of(error).away:
                    raise unavailable(fault_of(error)) from None
                answers.append(error)
        return answers

    def nodes(self) -> list[Any]:
        return [None]

    def close(self) -> None:
        """Whoever made the connection closes it."""


def _plain(command: Command) -> Command:
    return text_of(command) if command[0] == "EVALSHA" else command


def _disconnect(connection: Any) -> None:
    if connection is not None:
        with suppress(RedisError, OSError):
            connection.disconnect()


