"""The thread that hears what applications tell or do that know nothing of this library.

It has one connection that the server may send to unasked (RESP3): for what is published on ``cache:invalidate``, and by
option for the names of entries that anybody changed (client tracking).

Rule 1: what was heard is carried out in this thread, which may wait; what was changed comes before what was asked for.
Rule 2: nobody is told of a change twice: while the connection for it is lost they may be missed, so once it is made
        anew the channel has a gap, which drops local copies.  It is made before the cache serves anybody, or else it
        counts as lost.  What is published while nobody listens is gone; Pub/Sub keeps nothing.
Rule 3: a connection on which nothing comes is asked for a sign of life, for one that is half open says nothing either.
Rule 4: nothing that is heard, and nothing that goes wrong, ends it.  What can't be read is counted, and logged once a
        minute at most: whoever may publish must not fill our log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentError

from scoutcache.channels.tracking import Tracked
from scoutcache.coherence.foreign import CHANNEL, Order, orders_for, read_order
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.server.commands import Command
from scoutcache.server.faults import fault_of

if TYPE_CHECKING:
    from scoutcache.channels.stream import StreamChannel
    from scoutcache.server.connecting import Source

__all__ = ["Foreign"]

QUIET: Final = 0.5
"""Seconds without a message after which the server is asked for a sign of life."""

RETRY: Final = 0.5
"""Seconds between two tries to reach a server that is away."""

REFUSED: Final = 30.0
"""Seconds until a server is asked again that refused everything."""

SAY_EVERY: Final = 60.0
"""Seconds between two lines in the log about messages that can't be read."""

_AT_ONCE: Final = 10_000
"""Messages to hear before they are carried out."""

_log = logging.getLogger("scoutcache")


class Foreign:
    """Hears others for the cache whose stream is *channel*.

    *carry_out* does what was asked for, *heard* applies what was noted in *channel*; what they raise goes to *trouble*.
    *tracked* judges changes; None where nobody asks for them.  *is_away* says whether the server is known to be away,
    so that nobody need wait for it once more.
    """

    def __init__(
        self, source: Source, channel: StreamChannel, *, carry_out: Callable[[Order], object],
        heard: Callable[[], object], tracked: Tracked | None, trouble: Callable[[Exception], object],
        is_away: Callable[[], bool] = bool,
    ) -> None:  # fmt: skip
        self._is_away = is_away
        self._source, self._channel, self._tracked = source, channel, tracked
        self._carry_out, self._heard, self._trouble = carry_out, heard, trouble
        self.ignored = 0
        """Messages that could not be read."""
        self._said_at: float | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._pushes: list[Sequence[Any]] = []
        self._missed = False
        self._refusals: frozenset[str] = frozenset()
        self.listening = threading.Event()
        """Set while the server sends what it was asked for."""

    def start(self) -> None:
        """Begin to listen."""
        if self._thread is not None:
            return
        if self._tracked is not None:
            self._missed = True
        if self._tracked is not None and not self._is_away():
            with suppress(RedisError, OSError, TierUnavailable):  # tried again in the thread
                self._connection = self._connect()
                self._missed = False
        self._thread = threading.Thread(target=self._run, name="scoutcache-foreign", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, when what was begun is done; idempotent."""
        self._stop.set()
        thread, self._thread = self._thread, None
        connection = self._connection
        if connection is not None and thread is not None and thread is not threading.current_thread():
            # Else it is connecting, to a server that hangs perhaps: nothing is begun, and it ends when that has failed.
            with suppress(RedisError, OSError, AttributeError):
                connection._sock.shutdown(2)  # or it would wait for the next message
            thread.join()

    def forget(self) -> None:
        """In a forked child: thread and connection are the parent's."""
        self._begin_anew()
        if self._tracked is not None:
            self._tracked.forget()

    # -- the thread

    def _run(self) -> None:
        stop = self._stop
        while not stop.is_set():
            pause = 0.0
            try:
                if self._connection is None:
                    pause = RETRY
                    self._connection = self._connect()
                    pause = 0.0
                if not stop.is_set():
                    self._listen(self._connection, stop)
            except (RedisError, OSError) as error:
                pause = max(pause, 0.01)
                self._lost(error)
            except TierUnavailable:
                pause = RETRY  # the breaker has said so
            except _Refused:
                pause = REFUSED
            except Exception as error:  # noqa: BLE001  # Rule 4
                pause = RETRY
                self._trouble(error)
            finally:
                self._let_go()
            stop.wait(pause)

    def _lost(self, error: Exception) -> None:
        """That a server is away the listener says; anything else nobody else meets."""
        if not self._stop.is_set() and not fault_of(error).away:
            self._trouble(error)

    def _let_go(self) -> None:
        self.listening.clear()
        connection, self._connection = self._connection, None
        self._pushes.clear()
        self._missed = self._tracked is not None
        if connection is not None:
            with suppress(RedisError, OSError):
                connection.disconnect()

    def _connect(self) -> Any:
        connection = self._made()
        try:
            connection.connect()
            parser = connection._parser
            parser.set_pubsub_push_handler(self._pushed)
            parser.set_invalidation_push_handler(self._pushed)
            self._subscribe(connection)
        except BaseException:
            with suppress(RedisError, OSError):
                connection.disconnect()
            raise
        return connection

    def _made(self) -> Any:
        source = self._source
        if source.is_cluster:  # what is published reaches every node
            client: Any = self._channel.conduit
            return source.connection_to(client.client.get_random_node(), QUIET, protocol=3)
        kind, options = source.connection_kind(asynchronous=False, timeout=QUIET, protocol=3)
        return kind(**options)

    def _subscribe(self, connection: Any) -> None:
        """Ask for what we want to hear; a refusal is told once, and the rest is heard all the same."""
        wanted: list[Command] = [("SUBSCRIBE", CHANNEL)]
        if self._tracked is not None:
            wanted.append(("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._channel.layout.entries))
        refusals: dict[str, Exception] = {}
        for command in wanted:
            connection.send_command(*command, check_health=False)
            try:
                self._answer(connection, pushed=command[0] == "SUBSCRIBE")
            except ResponseError as error:
                if fault_of(error).away:
                    raise
                refusals[str(error)] = error
        for text in refusals.keys() - self._refusals:
            self._trouble(refusals[text])
        self._refusals = frozenset(refusals)
        if len(refusals) == len(wanted):
            raise _Refused

    def _listen(self, connection: Any, stop: threading.Event) -> None:
        if self._missed:
            self._miss()
            self._missed = False
        self.listening.set()
        while not stop.is_set():
            while self._pushes:
                self._apply(partial(self._ask, connection))
            self._hear(connection)

    def _hear(self, connection: Any) -> None:
        """Wait for something to come, and take what came with it."""
        try:
            self._read(connection)
        except SilentError:
            connection.send_command("PING", check_health=False)
            self._answer(connection, patience=max(QUIET, self._source.section.timeout))
            return
        try:
            while len(self._pushes) < _AT_ONCE and connection.can_read(0):
                self._read(connection)
        except SilentError:  # the rest of a message is yet to come
            pass

    def _read(self, connection: Any) -> Any:
        """What comes next: a reply, or None for what came unasked, which is in `_pushes` then.

        Not `read_response` alone: with each thing that comes unasked it calls itself.
        """
        return connection.read_response(push_request=True, disconnect_on_error=False)

    def _answer(self, connection: Any, *, patience: float = 0.0, pushed: bool = False) -> Any:
        """The reply to what was sent; that to a subscription is *pushed*.  Raises when it takes too long."""
        until = time.monotonic() + max(patience, self._source.section.timeout)
        before = len(self._pushes)
        while True:
            try:
                answer = self._read(connection)
            except SilentError:
                if time.monotonic() >= until:
                    raise
                continue
            if answer is not None or (pushed and _is_confirmed(self._pushes[before:])):
                return answer

    def _ask(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        """The answers to *commands*, errors among them."""
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(self._answer(connection))
            except ResponseError as error:
                if fault_of(error).away:
                    raise
                answers.append(error)
        return answers

    def _pushed(self, push: Sequence[Any]) -> None:
        """Called by redis-py with what came unasked."""
        self._pushes.append(push)

    # -- what was heard

    def _apply(self, ask: Callable[[Sequence[Command]], list[Any]]) -> None:
        pushes, self._pushes = self._pushes, []
        names: list[bytes] = []
        payloads: list[bytes] = []
        for push in pushes:
            if push[0] == b"message":
                payloads.append(push[2])
            elif push[0] == b"invalidate" and self._tracked is not None:
                if push[1] is None:  # all there was on the server is gone
                    self._miss()
                else:
                    names += push[1]
        if names and self._tracked is not None and self._tracked.changed(names, ask):
            self._do(self._heard)
        for order in orders_for([order for payload in payloads if (order := self._order(payload)) is not None]):
            self._do(partial(self._carry_out, order))

    def _miss(self) -> None:
        """Changes were missed: nothing that was held before may be served."""
        self._channel.miss()
        self._do(self._heard)

    def _order(self, payload: bytes) -> Order | None:
        try:
            return read_order(payload, self._channel.layout.prefix)
        except CorruptEntry as error:
            self.ignored += 1
            now = time.monotonic()
            if self._said_at is None or now - self._said_at >= SAY_EVERY:
                self._said_at = now
                _log.warning("a message on %s is ignored (%d so far): %a", CHANNEL, self.ignored, str(error)[:200])
            return None

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # Rule 4
            self._trouble(error)


class _Refused(Exception):
    """The server doesn't let us hear anything."""


def _is_confirmed(pushes: Sequence[Sequence[Any]]) -> bool:
    return any(push[0] == b"subscribe" for push in pushes)
