"""The loops that send requests through a model: what is done for each of a million requests is done here."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from scoutcache.insight.simulation.base import Model
from scoutcache.insight.simulation.requests import DROP, READ, Requests

__all__ = ["Found", "replay"]


class Found(NamedTuple):
    """How a replay went."""

    misses: int
    missed_bytes: int
    missed: Sequence[int] = ()
    """The keys that were missed, one for each miss."""


def replay(model: Model, requests: Requests) -> Found:
    """Send *requests* through *model*, which is empty."""
    missed = _everything(model, requests) if requests.acts else _reads(model, requests.keys)
    sizes = requests.sizes
    return Found(len(missed), sum([sizes[key] for key in missed]), missed)


def _reads(model: Model, keys: Sequence[int]) -> list[int]:
    """Requests only; returns the keys that were missed, one for each miss."""
    held, count, rooms, capacity = model.held, model.count, model.rooms, model.capacity
    touch, admit = model.touch, model.admit
    missed: list[int] = []
    miss = missed.append
    if touch is None:
        for key in keys:
            if held[key]:
                count[key] += 1
            else:
                miss(key)
                if rooms[key] <= capacity:
                    admit(key)
        return missed
    for key in keys:
        if held[key]:
            touch(key)
        else:
            miss(key)
            if rooms[key] <= capacity:
                admit(key)
    return missed


def _everything(model: Model, requests: Requests) -> list[int]:
    """Requests, writes and removals, with what expires leaving when its time comes."""
    held, rooms, capacity = model.held, model.rooms, model.capacity
    missed: list[int] = []
    deadlines = [inf] * len(rooms)
    due: list[tuple[float, int]] = []
    for key, act, time, ttl in zip(requests.keys, requests.acts, requests.times, requests.ttls, strict=True):
        while due and due[0][0] <= time:
            deadline, old = heappop(due)
            if held[old] and deadlines[old] == deadline:
                model.remove(old)
        if act == DROP:
            if held[key]:
                model.remove(key)
            continue
        if held[key]:
            if act == READ:
                _touch(model, key)
                continue
        else:
            if act == READ:
                missed.append(key)
            if rooms[key] > capacity or ttl <= 0:
                continue
            model.admit(key)
        deadlines[key] = deadline = time + ttl
        if deadline != inf:
            heappush(due, (deadline, key))
    return missed


def _touch(model: Model, key: int) -> None:
    if model.touch is None:
        model.count[key] += 1
    else:
        model.touch(key)
