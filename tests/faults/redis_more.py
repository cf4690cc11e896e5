"""The other bad days: machines that were apart, a cluster whose masters die, messages that were missed, callers that
are cancelled."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, Self

from scoutcache import AsyncCache, Cache
from scoutcache.entry import Ref
from tests.faults.redis_lab import Lab
from tests.faults.redis_machines import MACHINES, Machine, answers, digest, keys_of
from tests.servers.cluster import Cluster
from tests.servers.waiting import until

NODE_TIMEOUT = 1.0


# -- machines


def machines(room: Any, lab: Lab, seconds: float, operations: int, keys: int,
             max_offline: float | None = None, *, neighbours: bool = False) -> dict[str, Any]:  # fmt: skip
    """The server of three machines is away for *seconds*, in which they do so many *operations* in all.

    With *neighbours* two of them are processes of one machine.
    """
    server = lab.redis()
    settings = {"url": server.url, **({} if max_offline is None else {"max_offline": max_offline})}
    all_keys = keys_of(keys)
    directories = [room.directory() for _ in range(MACHINES)]
    if neighbours:
        directories[1] = directories[0]
    crowd = [Machine(directory, settings, number, keys) for number, directory in enumerate(directories)]
    bare = room.cache(settings, ["redis"])
    try:
        _together(crowd, "load", 1.0, operations // MACHINES // 20, None)
        server.pause()
        loads = _together(crowd, "load", seconds, operations // MACHINES, max_offline)
        server.resume()
        ended = time.monotonic()
        # To ask for all of many keys takes longer than what is to be measured; then all of them must be alike as well.
        step = max(1, keys // 1000)
        until(lambda: _same(crowd, bare, all_keys, step), "all machines answer alike", seconds=60)
        converged = round(time.monotonic() - ended, 2)
        until(lambda: _same(crowd, bare, all_keys, 1), "all machines answer alike", seconds=60)
        whole = round(time.monotonic() - ended, 2)
        resurrected = _resurrected([one.ask("done") for one in crowd], crowd[0].ask("answers"))
        until(lambda: all(one.ask("health")["healthy"] for one in crowd), "all machines are well", seconds=60)
    finally:
        server.resume()
        for one in crowd:
            one.close()
    return {"converged_s": converged, "whole_s": whole, "keys": keys, **resurrected, "loads": loads}


def _together(crowd: list[Machine], *words: Any) -> list[Any]:
    for one in crowd:
        one.send(*words)
    return [one.read() for one in crowd]


def _same(crowd: list[Machine], bare: Cache, keys: list[str], step: int) -> bool:
    said = _together(crowd, "digest", step)
    return len({*said, digest(answers(bare, keys[::step]))}) == 1


def _resurrected(done: list[dict[str, Any]], said: dict[str, Any]) -> dict[str, int]:
    """How many keys have the last value, and how many one that somebody wrote over or removed later elsewhere.

    The latter is how it is: what others announce ends what one has not told yet, and removals are made good by when
    they are told.
    """
    found: Counter[str] = Counter(current=0, overwritten=0, removed=0, gone=0)
    for key in {key for one in done for key in one}:
        _, last = max(tuple(one[key]) for one in done if key in one)
        value = said.get(key)
        if value == last:
            found["current"] += 1
        elif value is None:
            found["gone"] += 1
        elif last is None:
            found["removed"] += 1
        else:
            found["overwritten"] += 1
    return dict(found)


# -- a cluster


class Reading:
    """Readers of a cache, in threads or of a loop; what went wrong is noted."""

    def __init__(self, cache: Cache | AsyncCache, keys: list[str]) -> None:
        self.cache, self.keys = cache, keys
        self.wrong: list[Any] = []
        self.errors: list[str] = []
        self.misses = self.reads = 0
        self.longest = 0.0
        self._stop = threading.Event()
        works = [self._loop] if isinstance(cache, AsyncCache) else [self._read, self._read]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "it hangs"

    def _told(self, key: str, value: Any, began: float) -> None:
        self.reads += 1
        self.longest = max(self.longest, time.perf_counter() - began)
        if value is None:
            self.misses += 1
        elif value != key:
            self.wrong.append((key, value))

    def _read(self) -> None:
        dice = random.Random()
        while not self._stop.wait(0.0005):
            key, began = dice.choice(self.keys), time.perf_counter()
            try:
                self._told(key, self.cache.get(key), began)
            except Exception as error:
                self.errors.append(repr(error))

    def _loop(self) -> None:
        async def read() -> None:
            while not self._stop.is_set():
                await asyncio.sleep(0.0005)
                key, began = random.choice(self.keys), time.perf_counter()
                try:
                    self._told(key, await self.cache.get(key), began)
                except Exception as error:
                    self.errors.append(repr(error))

        async def work() -> None:
            await asyncio.gather(*[read() for _ in range(4)])
            await self.cache.close()

        asyncio.run(work())


def cluster(room: Any, servers: Any, slots: int, keys: int) -> dict[str, Any]:
    """Slots are moved, then a master is killed, both under load on caches that have no tier but the cluster."""
    nodes = Cluster(servers)
    settings = {"nodes": [f"{host}:{port}" for host, port in nodes.nodes], "timeout": 0.25}
    return {what: _on_cluster(room, nodes, settings, keys, slots if what == "reshard" else 0)
            for what in ("reshard", "kill")}  # fmt: skip


def _on_cluster(room: Any, nodes: Cluster, settings: Any, keys: int, slots: int) -> dict[str, Any]:
    """Move *slots*, or with 0 of them kill a master."""
    cache = room.cache(settings, ["redis"])
    on_loop = AsyncCache(tiers=["redis"], directory=room.directory(), redis=settings)
    names, layout = [f"c:{n}" for n in range(keys)], cache._core.tiers[0].layout

    def name(key: str) -> str:
        return layout.entry(Ref("default", key))

    cache.set_many({key: key for key in names})
    until(lambda: sum(one.cli("DBSIZE") for one in nodes.replicas()) >= keys, "the replicas have all")
    with Reading(cache, names) as one, Reading(on_loop, names) as other:
        until(lambda: min(one.reads, other.reads) > 100, "the load runs")
        one.misses = other.misses = 0
        began, stall = time.monotonic(), None
        if slots:
            nodes.move_slots(slots, key=name(names[0]))
        else:
            dead = nodes.master_of(name(names[0]))
            lost = [key for key in names[:200] if nodes.master_of(name(key)) is dead]
            began = time.monotonic()
            nodes.kill_master_of(name(names[0]))
            until(lambda: len(cache.get_many(lost)) == len(lost), "the replica answers")
            stall = round(time.monotonic() - began, 2)
        seen = one.reads, other.reads
        until(lambda: one.reads > seen[0] + 200 and other.reads > seen[1] + 200, "the load goes on")
        lasted = round(time.monotonic() - began, 2)
    return {
        "reads": [one.reads, other.reads], "wrong": len(one.wrong) + len(other.wrong),
        "errors": len(one.errors) + len(other.errors), "misses": [one.misses, other.misses],
        "longest_s": [round(one.longest, 2), round(other.longest, 2)], "slots": slots, "stall_s": stall,
        "seconds": lasted, "after": len(names) - len(cache.get_many(names)),
        "detail": [*one.wrong, *other.wrong, *one.errors, *other.errors][:3],
    }  # fmt: skip


# -- missed messages


def missed(room: Any, lab: Lab, number: int, most: int, *, lost_server: bool = False) -> dict[str, Any]:
    """A machine is cut off while *number* of its entries are invalidated, with a stream that keeps *most* messages."""
    server = lab.redis()
    proxy = lab.proxy(server)
    here = room.cache({"url": server.url, "max_events": most})
    there = room.cache({"url": proxy.url, "max_events": most})
    keys = [f"k:{n}" for n in range(number)]
    here.set_many({key: ["old", key] for key in keys})
    for _ in range(3):  # into the memory, and the disk
        for at in range(0, number, 500):
            there.get_many(keys[at : at + 500])
    held = sum(there.get(key) is not None for key in keys)
    proxy.cut()
    until(lambda: not there.health()["tiers"]["redis"]["ok"], "it is cut off")
    for at, key in enumerate(keys):
        if at % 3 == 0:
            here.delete(key)
        elif at % 3 == 1:
            here.invalidate(f"{key}")
        else:
            here.set(key, ["new", key])
    offline = sum(there.get(key) == ["old", key] for key in keys)
    if lost_server:
        server.kill()
        server.restart()
    length = server.cli("XLEN", here._core.journal.layout.events)
    proxy.heal()
    began = time.monotonic()
    until(lambda: there.health()["tiers"]["redis"]["ok"], "it is back")
    at_once = sum(there.get(key) == ["old", key] for key in keys)
    back = round(time.monotonic() - began, 2)
    stale = sum(there.get(key) == ["old", key] for key in keys for _ in range(2))
    apart: list[str] = []

    def same() -> bool:
        apart[:] = [key for key in keys if there.get(key) != here.get(key)]
        return not apart

    with suppress(AssertionError):  # who was not cut off may be the later to notice that the server has lost all
        until(same, seconds=5)
    return {"held": held, "served_offline": offline, "stream": length, "stale_at_once": at_once, "stale": stale,
            "apart": len(apart), "same_s": round(time.monotonic() - began, 2), "back_s": back}  # fmt: skip


# -- cancellation


def cancelled(room: Any, lab: Lab, operations: int, tiers: list[str]) -> dict[str, Any]:
    """Half of the calls are cancelled at a moment that chance says; the others must not notice."""
    url = lab.redis().url

    async def work() -> dict[str, Any]:
        cache = AsyncCache(tiers=tiers, directory=room.directory(), redis={"url": url, "timeout": 5.0})
        keys = [f"x:{n}" for n in range(50)]
        await cache.set_many({key: [key, "x" * 500] for key in keys})
        dice, met = random.Random(7), Counter[str](wrong=0, error=0, cancelled=0, finished=0)
        detail: list[str] = []

        async def one(number: int) -> None:
            key, other = dice.choice(keys), dice.choice(keys)
            kind = number % 6
            if kind == 0:
                found: Any = {key: await cache.get(key)}
            elif kind == 1:
                found = await cache.get_many([key, other])
            elif kind == 2:
                await cache.set(key, [key, "x" * dice.randrange(2000)])
                found = {}
            elif kind == 3:
                found = {key: await cache.get_or_compute(key, lambda: [key, "computed"])}
            elif kind == 4:
                new = f"y:{number}"

                async def slow() -> Any:
                    await asyncio.sleep(0)
                    return [new, ""]

                found = {new: await cache.get_or_compute(new, slow)}
            else:
                entry = await cache.get_entry(key)
                found = {} if entry is None else {key: entry.value}
            met["wrong"] += sum(value is None or value[0] != key for key, value in found.items())

        async def supervised(number: int) -> None:
            task = asyncio.ensure_future(one(number))
            if number % 2:
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(0)
                task.cancel()
            try:
                await task
                met["finished"] += 1
            except asyncio.CancelledError:
                met["cancelled"] += 1
            except Exception as error:
                met["error"] += 1
                detail.append(repr(error))

        for at in range(0, operations, 40):
            await asyncio.gather(*[supervised(number) for number in range(at, at + 40)])
        found = await cache.get_many(keys)
        met["wrong"] += sum(value[0] != key for key, value in found.items())
        met["missing"] = len(keys) - len(found)
        health = await cache.health()
        await cache.close()
        return {**met, "healthy": health["healthy"], "detail": detail[:3]}

    return asyncio.run(work())
