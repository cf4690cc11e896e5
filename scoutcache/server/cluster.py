"""Carries plans out on a cluster: the commands of a batch go to the nodes of their slots, a pipeline for each node.

Rule 1: a node that is away has a breaker of its own (`nodes`), so that the others answer on; the batch that needed it
        fails, when the others have done their part: what is to be removed there goes.
Rule 2: a slot that has moved answers so; the map of slots is asked for anew and those commands are sent again, which
        redis-py does.  Nothing that is sent twice does harm (`commands`, rule 4).
Rule 3: scripts are sent with their text: a node that just became a primary may not know them.
Rule 4: all breakers closed again, or any of them: the cluster as a whole is away only where no node answers.
Rule 5: who finds no free connection to a node on an event loop waits for one, as long as for an answer; the map of
        slots has nothing to do with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from scoutcache.errors import TierUnavailable
from scoutcache.server.breaker import Breaker
from scoutcache.server.coalescing import cut_off, hung_up, let_go
from scoutcache.server.commands import Batch, Command, packed, text_of
from scoutcache.server.faults import Fault, Kind, fault_of, unavailable
from scoutcache.server.nodes import ELSEWHERE, Breakers

if TYPE_CHECKING:
    from scoutcache.server.connecting import Source

__all__ = ["AsyncCluster", "Cluster"]

_LOST = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What redis-py raises where nobody answers; the second is none of the first."""
_TURNS, _PAUSE = 16, 0.02
"""How often a slot that is elsewhere is followed, and seconds to wait where half of its keys have moved."""
_READS = frozenset({"GET"})
"""What a replica may answer: entries, but no versions, which say what is valid."""


_KEY_AT: Final = {"EVAL": 3, "EVALSHA": 3, "OBJECT": 2}
"""Where a command's first key stands, where that is not behind its name."""


def _slot_of(command: Command) -> int:
    """The slot of a command's first key."""
    key = command[_KEY_AT.get(command[0], 1)]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _whole(command: Command) -> Command:
    return text_of(command) if command[0] == "EVALSHA" else command


def _by_node(client: Any, commands: Sequence[Command], balancing: Any) -> dict[Any, list[int]]:
    """Which of *commands* each node is to be sent."""
    groups: dict[Any, list[int]] = {}
    for at, command in enumerate(commands):
        spread = balancing if command[0] in _READS else None
        node = client.nodes_manager.get_node_from_slot(_slot_of(command), load_balancing_strategy=spread)
        groups.setdefault(node, []).append(at)
    return groups


def _moved(answers: Iterable[Any]) -> list[int]:
    return [at for at, answer in enumerate(answers) if isinstance(answer, ELSEWHERE)]


class Cluster:
    """A conduit to a cluster for threads."""

    def __init__(self, source: Source, breakers: Breakers) -> None:
        self._source, self.breakers = source, breakers
        self.breaker = breakers.whole
        self._balancing = source.balancing
        self._client: Any = None

    @property
    def client(self) -> Any:
        """redis-py's client, made when it is first needed.  Raises `TierUnavailable`."""
        if self._client is None:
            try:
                self._client = self._source.cluster(self._source.section.timeout)
            except _LOST as error:
                fault = fault_of(error)
                self.breaker.failed(fault)
                raise unavailable(fault) from None
        return self._client

    def nodes(self) -> Sequence[Any]:
        """The primaries."""
        client = self.client
        if self.breakers.to_be_asked(client.get_primaries()):
            self._learn(client)
        return list(client.get_primaries())

    def node_of(self, name: str) -> Any:
        """Who serves the slot of *name*, asked anew: who listens there hears of no slot that moves.

        Raises `TierUnavailable`.
        """
        client = self.client
        if (fault := self._learn(client, anew=True)) is not None:
            raise unavailable(fault)
        try:
            return client.get_node_from_key(name)
        except _LOST as error:  # nobody serves it
            raise unavailable(fault_of(error)) from None

    def _learn(self, client: Any, *, anew: bool = False) -> Fault | None:
        """Ask for the map of slots, unless somebody does, whose map will do (but for *anew*); what is wrong where
        nobody has it.
        """
        try:
            with self.breakers.asking(client.nodes_manager) as first:
                if first or anew:
                    client.nodes_manager.initialize()
        except _LOST as error:
            fault = fault_of(error)
            self.breaker.failed(fault)
            return fault
        return None

    def breaker_of(self, node: Any) -> Breaker:
        """The breaker of one node."""
        return self.breakers.of(node)

    def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        self.breaker.check()
        client, commands = self.client, [_whole(command) for command in batch.commands]
        if batch.node is not None:
            return self._at(client, batch.node, commands)
        answers: list[Any] = [None] * len(commands)
        try:
            groups = _by_node(client, commands, self._balancing)
            if self.breakers.to_be_asked(groups):
                self._learn(client)
                groups = _by_node(client, commands, self._balancing)
        except (*_LOST, KeyError, IndexError) as error:
            raise unavailable(fault_of(error)) from None
        away: TierUnavailable | None = None
        for node, places in groups.items():
            try:
                found = self._at(client, node, [commands[at] for at in places])
            except TierUnavailable as error:
                away = away or error
                continue
            for at, answer in zip(places, found, strict=True):
                answers[at] = answer
        if away is not None:
            raise away
        for at in _moved(answers):
            answers[at] = self._again(client, commands[at])
        return answers

    def _at(self, client: Any, node: Any, commands: Sequence[Command]) -> list[Any]:
        self.breakers.of(node).check()
        try:
            answers = self._exchange(client.get_redis_connection(node).connection_pool, commands)
        except _LOST as error:
            raise self._lost(client, node, error) from None
        for answer in answers:
            if isinstance(answer, ResponseError) and not isinstance(answer, ELSEWHERE) and fault_of(answer).away:
                raise self._lost(client, node, answer)
        self.breakers.answered(node, commands, answers)
        return answers

    def _exchange(self, pool: Any, commands: Sequence[Command]) -> list[Any]:
        """The replies as they came: redis-py's own pipeline makes something else of some."""
        connection = pool.get_connection()
        try:
            connection.send_packed_command([packed(commands)], check_health=False)
            answers = []
            for _ in commands:
                try:
                    answers.append(connection.read_response())
                except ResponseError as error:
                    answers.append(error)
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        return answers

    def _lost(self, client: Any, node: Any, error: Exception) -> Exception:
        """A node doesn't answer: another may have taken its place."""
        failure = self.breakers.failed(node, error)
        if self.breakers.is_to_be_replaced(error):
            self._learn(client)
        return failure

    def _again(self, client: Any, command: Command) -> Any:
        try:
            return client.execute_command(*command)
        except ResponseError as error:
            return error
        except _LOST as error:
            raise unavailable(fault_of(error)) from None

    def after_fork(self) -> None:
        """In a forked child: the client is the parent's, whose threads may hold its locks."""
        if self._client is not None:
            _parents.append(self._client)
            self._client = None

    def close(self) -> None:
        """Close the connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


_parents: list[Any] = []
"""Clients of a parent process: they close themselves when they are collected, and that takes their locks."""


class AsyncCluster:
    """A conduit to a cluster for the tasks of one event loop."""

    def __init__(self, source: Source, breakers: Breakers) -> None:
        self._source, self._breakers = source, breakers
        self.breaker = breakers.whole
        self._balancing = source.balancing
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._most, self._patience = source.section.max_connections, source.section.timeout
        self._rooms: dict[str, asyncio.Semaphore] = {}

    async def _opened(self) -> Any:
        if self._client is None:
            async with self._opening:  # one client, however many tasks come first
                if self._client is None:
                    self._client = await self._open()
        return self._client

    async def _open(self) -> Any:
        client = self._source.async_cluster(self._source.section.timeout)
        try:
            await client.initialize()
        except BaseException as error:
            await client.aclose()
            if not isinstance(error, RedisError | OSError):
                raise
            fault = fault_of(error)
            self.breaker.failed(fault)
            raise unavailable(fault) from None
        return client

    async def nodes(self) -> Sequence[Any]:
        """The primaries."""
        client = await self._opened()
        if self._breakers.to_be_asked(client.get_primaries()):
            await self._learn(client)
        return list(client.get_primaries())

    async def _learn(self, client: Any) -> None:
        """Ask for the map of slots, unless somebody does."""
        try:
            with self._breakers.asking(client.nodes_manager) as first:
                if first:
                    await client.nodes_manager.initialize()
        except _LOST as error:
            self.breaker.failed(fault_of(error))

    async def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        self.breaker.check()
        client, commands = await self._opened(), [_whole(command) for command in batch.commands]
        if batch.node is not None:
            return await self._at(client, batch.node, commands)
        answers: list[Any] = [None] * len(commands)
        try:
            groups = _by_node(client, commands, self._balancing)
            if self._breakers.to_be_asked(groups):
                await self._learn(client)
                groups = _by_node(client, commands, self._balancing)
        except (*_LOST, KeyError, IndexError) as error:
            raise unavailable(fault_of(error)) from None
        works = [self._at(client, node, [commands[at] for at in places]) for node, places in groups.items()]
        done = await asyncio.gather(*works, return_exceptions=True)
        for places, found in zip(groups.values(), done, strict=True):
            if isinstance(found, BaseException):
                raise found
            for at, answer in zip(places, found, strict=True):
                answers[at] = answer
        for at in _moved(answers):
            answers[at] = await self._again(client, commands[at], answers[at])
        return answers

    async def _at(self, client: Any, node: Any, commands: Sequence[Command]) -> list[Any]:
        self._breakers.of(node).check()
        async with self._room(node) as waited:
            if waited:  # maybe behind who found that it is away
                self._breakers.of(node).check()
            return await self._exchange(client, node, commands)

    @asynccontextmanager
    async def _room(self, node: Any) -> AsyncIterator[bool]:
        """Room for one more connection to *node*, and whether it was waited for.

        Raises `TierUnavailable` where none comes free in time.
        """
        room = self._rooms.get(node.name)
        if room is None:
            room = self._rooms[node.name] = asyncio.Semaphore(self._most)
        waits = room.locked()
        try:
            async with asyncio.timeout(self._patience if waits else None):
                await room.acquire()
        except TimeoutError:
            reason = f"all {self._most} connections to {node.name} are in use"
            raise unavailable(Fault(Kind.POOL, reason, None, away=False)) from None
        try:
            yield waits
        finally:
            room.release()

    async def _exchange(self, client: Any, node: Any, commands: Sequence[Command]) -> list[Any]:
        connection = writer = None
        try:
            connection = node.acquire_connection()
            writer = connection._writer
            if hung_up(connection):
                await cut_off(connection, writer)  # sending connects it anew
            await connection.send_packed_command([packed(commands)], check_health=False)
            answers = [await self._reply(connection) for _ in commands]
        except _LOST as error:
            if connection is not None:
                await cut_off(connection, writer)
            raise await self._lost(client, node, error) from None
        except BaseException:
            if connection is not None:
                await cut_off(connection, writer)
            raise
        finally:
            if connection is not None:
                node.release(connection)
        self._breakers.answered(node, commands, answers)
        return answers

    async def _reply(self, connection: Any) -> Any:
        try:
            return await connection.read_response()
        except ELSEWHERE as error:
            return error
        except ResponseError as error:
            if fault_of(error).away:
                raise
            return error

    async def _lost(self, client: Any, node: Any, error: Exception) -> Exception:
        failure = self._breakers.failed(node, error)
        if self._breakers.is_to_be_replaced(error):
            await self._learn(client)
        return failure

    async def _again(self, client: Any, command: Command, answer: Any) -> Any:
        """Follow a slot that is elsewhere, as redis-py's client for loops can't where several tasks do: it says ASKING
        on one connection and asks on another.
        """
        turn = 0
        while isinstance(answer, ELSEWHERE) and turn < _TURNS:
            turn += 1
            asked = None
            try:
                if isinstance(answer, MovedError):
                    await client.nodes_manager.move_slot(answer)
                elif isinstance(answer, AskError):
                    asked = client.get_node(host=answer.host, port=answer.port)
                else:
                    await asyncio.sleep(_PAUSE)
                node = asked or client.nodes_manager.get_node_from_slot(_slot_of(command))
            except (*_LOST, KeyError, IndexError) as error:
                raise unavailable(fault_of(error)) from None
            answer = (await self._at(client, node, [("ASKING",), command] if asked else [command]))[-1]
        return answer

    async def close(self) -> None:
        """Close the connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def abandon(self) -> None:
        """Let go of the connections where their loop was closed."""
        client, self._client = self._client, None
        if client is not None:
            manager, first = client.nodes_manager, getattr(client, "startup_nodes", ())
            for node in (*manager.nodes_cache.values(), *manager.startup_nodes.values(), *first):
                for connection in node._connections:
                    let_go(connection)
            client._initialize = True  # as `aclose` leaves it: it isn't unclosed
