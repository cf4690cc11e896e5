"""Which nodes of a cluster answer: a breaker for each, and who looks at those that are away.

Rule 1: a node that is away has a breaker of its own, so that the others answer on.
Rule 2: whether another has taken the place of one that is away the others are asked, several times a second: they
        answer at once, and nobody waits for those that don't.
Rule 3: at the node itself a thread looks, which lives as long as one is away; where none does, a caller, and sooner at
        one that refuses at once than at one that lets everybody wait.  Beside the thread no caller waits again.
Rule 4: one that the map of slots doesn't know any more is forgotten: its address may be somebody else's by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AskError, MaxConnectionsError, MovedError, RedisError, TryAgainError

from scoutcache.errors import CacheError
from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import Command
from scoutcache.server.direct import note
from scoutcache.server.faults import Fault, Kind, fault_of, unavailable

if TYPE_CHECKING:
    from scoutcache.server.connecting import Source

__all__ = ["ELSEWHERE", "Breakers", "Looker"]

ELSEWHERE: Final = (MovedError, AskError, TryAgainError)
"""The answers of a node that a slot has left."""

ASK_AGAIN: Final = 0.25
"""Seconds between two times that the others are asked, and between two looks that nobody has to wait for."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks of the thread, as between those of a listener at a single server."""


class Breakers:
    """A breaker for each node, by its name; *whole* is that of the cluster, which callers look at."""

    def __init__(self, whole: Breaker, make: Callable[[str], Breaker]) -> None:
        self.whole, self._make = whole, make
        self._of: dict[str, Breaker] = {}
        self._nodes: dict[str, Any] = {}
        self._asked = float("-inf")
        self._asking = list[Any]()
        self._lock = threading.Lock()
        self.on_away: Callable[[], None] | None = None
        """Called whenever a node is away that was not before."""

    def of(self, node: Any) -> Breaker:
        """The breaker of a node."""
        breaker = self._of.get(node.name)
        if breaker is None:
            made = self._make(str(node.name))
            made.patience, made.patience_refused = self.whole.patience, ASK_AGAIN
            made.on_open.append(self._opened)
            self._nodes[node.name] = node
            breaker = self._of.setdefault(node.name, made)
        return breaker

    def _opened(self) -> None:
        if self.on_away is not None:
            self.on_away()

    def failed(self, node: Any, error: BaseException) -> Exception:
        """What to raise for an error on the way to *node*."""
        fault = fault_of(error)
        self.of(node).failed(fault)
        return unavailable(fault)

    def is_to_be_replaced(self, error: Exception) -> bool:
        """Is it worth asking the others at once who serves in place of one that met *error*?

        One that let its caller wait was waited for: the next call asks (`to_be_asked`).
        """
        return not isinstance(error, MaxConnectionsError) and fault_of(error).kind is not Kind.TIMEOUT

    def answered(self, node: Any, commands: Sequence[Command], answers: Sequence[Any]) -> None:
        """A node answered, and maybe refused."""
        here = [at for at, answer in enumerate(answers) if not isinstance(answer, ELSEWHERE)]
        note(self.of(node), [commands[at] for at in here], [answers[at] for at in here])
        self.whole.answered()

    def away(self) -> list[tuple[Any, Breaker]]:
        """The nodes that are away."""
        return [(self._nodes[name], breaker) for name, breaker in list(self._of.items()) if breaker.fault is not None]

    def to_be_asked(self, nodes: Iterable[Any]) -> bool:
        """Is one of *nodes* away, and is it time to ask the others about it?"""
        away = any(self.of(node).fault is not None for node in nodes)
        return away and self.whole.now() - self._asked >= ASK_AGAIN

    @contextmanager
    def asking(self, manager: Any) -> Iterator[bool]:
        """Meanwhile redis-py's *manager* of nodes asks for the map of slots only those that answer, if any do.

        Gives whether nobody else is asking them by now.
        """
        self._asked = self.whole.now()
        with self._lock:
            if first := manager not in self._asking:
                self._asking.append(manager)
        if not first:
            yield False
            return
        known = manager.startup_nodes
        away = {node.name for node, _ in self.away()}
        asked = {name: node for name, node in known.items() if name not in away} or known
        manager.startup_nodes = asked
        try:
            yield True
        finally:
            if manager.startup_nodes is asked:  # else it was replaced by what was found
                asked.update((name, node) for name, node in known.items() if name in away)
            with self._lock:
                self._asking.remove(manager)
        self._keep_only(manager.nodes_cache)

    def _keep_only(self, names: Collection[str]) -> None:
        """Forget whoever is away and is none of *names* (Rule 4)."""
        for node, _ in self.away():
            if node.name not in names:
                self._of.pop(node.name, None)

    def restart(self) -> None:
        """In a forked child."""
        self._asking, self._lock = [], threading.Lock()
        for breaker in (self.whole, *self._of.values()):
            breaker.restart()


class Looker:
    """Looks at the nodes that are away, in a thread, until they answer (Rule 3)."""

    def __init__(self, source: Source, breakers: Breakers) -> None:
        self._source, self._breakers = source, breakers
        self._thread: threading.Thread | None = None
        self.forget()

    def start(self) -> None:
        """Begin to look whenever a node is away."""
        self._breakers.on_away = self._begin
        if self._breakers.away():
            self._begin()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="scoutcache-looker", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Look no more; idempotent.  A look that is under way ends by itself, and nobody waits for it."""
        self._breakers.on_away = None
        self._stop.set()

    def forget(self) -> None:
        """In a forked child: the thread is the parent's."""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            for node, breaker in self._breakers.away():
                if not self._stop.is_set():
                    self._look(node, breaker)
            with self._lock:
                if not self._breakers.away():
                    self._thread = None
                    return

    def _look(self, node: Any, breaker: Breaker) -> None:
        try:
            fault = self._met(node)
        except (CacheError, ValueError):  # a file that the settings name was taken away, say: callers are told
            return
        if fault is not None and fault.away:
            breaker.failed(fault)
        else:
            breaker.answered()

    def _met(self, node: Any) -> Fault | None:
        connection = self._source.connection_to(node, self._source.section.timeout)
        try:
            connection.connect()
            connection.send_command("PING", check_health=False)
            connection.read_response()
        except (RedisError, OSError) as error:
            return fault_of(error)
        finally:
            with suppress(RedisError, OSError):
                connection.disconnect()
        return None
