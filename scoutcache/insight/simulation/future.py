"""OPT, which knows the future: the entry leaves that will be asked for last (Belady 1966).  No policy hits more often.

With sizes that differ it is no longer the best there is, but still far better than what can't look ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from math import inf

from scoutcache.insight.simulation.replay import Found
from scoutcache.insight.simulation.requests import DROP, READ, Requests

__all__ = ["replay_opt"]


def replay_opt(capacity: int, rooms: Sequence[int], requests: Requests) -> Found:
    """Send *requests* through a cache of *capacity* that knows when each key comes again."""
    cache = _Opt(capacity, rooms, requests)
    missed = cache.everything() if requests.acts else cache.reads()
    return Found(len(missed), sum([requests.sizes[key] for key in missed]), missed)


def _next_reads(requests: Requests) -> list[int]:
    """For each event the next one of its key if that is a request; the number of events where none is."""
    never = len(requests.keys)
    upcoming = [never] * len(rooms) if (rooms := requests.sizes) else []
    found = [never] * never
    acts = requests.acts or bytes(never)
    for at in range(never - 1, -1, -1):
        key = requests.keys[at]
        found[at] = upcoming[key]
        upcoming[key] = at if acts[at] == READ else never
    return found


class _Opt:
    """Keys held wait in a heap by when they come again; that moment also says which key it is.

    What was asked for meanwhile has a moment in the past, and the latest are looked at first.
    """

    def __init__(self, capacity: int, rooms: Sequence[int], requests: Requests) -> None:
        self._capacity, self._rooms, self._requests = capacity, rooms, requests
        self._upcoming = _next_reads(requests)
        self._held = [False] * len(rooms)
        self._awaited = [-1] * len(rooms)
        self._used = 0
        self._latest: list[int] = []
        self._useless: list[int] = []

    def reads(self) -> list[int]:
        """Requests only."""
        held, rooms, keys, capacity = self._held, self._rooms, self._requests.keys, self._capacity
        awaited, latest, useless, never = self._awaited, self._latest, self._useless, len(self._requests.keys)
        missed = []
        for key, upcoming in zip(keys, self._upcoming, strict=True):
            if not held[key]:
                missed.append(key)
                if rooms[key] > capacity:
                    continue
                self._make_room(rooms[key])
                held[key] = True
            awaited[key] = upcoming
            if upcoming == never:
                useless.append(key)
            else:
                heappush(latest, -upcoming)
        return missed

    def _make_room(self, room: int) -> None:
        held, rooms, keys = self._held, self._rooms, self._requests.keys
        most = self._capacity - room
        while self._used > most:
            if self._useless:
                key = self._useless.pop()
                if not held[key] or self._awaited[key] < len(keys):
                    continue
            else:
                at = -heappop(self._latest)
                key = keys[at]
                if not held[key] or self._awaited[key] != at:
                    continue
            held[key] = False
            self._used -= rooms[key]
        self._used += room

    def everything(self) -> list[int]:
        """Requests, writes and removals.  What will have expired when it is asked for again is useless."""
        requests, held, rooms, never = self._requests, self._held, self._rooms, len(self._requests.keys)
        deadlines, times, missed = [inf] * len(rooms), requests.times, []
        for at, (key, act) in enumerate(zip(requests.keys, requests.acts, strict=True)):
            if held[key] and (act == DROP or deadlines[key] <= times[at]):
                held[key] = False
                self._used -= rooms[key]
            if act == DROP:
                continue
            if act == READ and not held[key]:
                missed.append(key)
            if rooms[key] > self._capacity or requests.ttls[at] <= 0:
                continue
            if not held[key]:
                self._make_room(rooms[key])
                held[key] = True
                deadlines[key] = times[at] + requests.ttls[at]
            elif act != READ:
                deadlines[key] = times[at] + requests.ttls[at]
            upcoming = self._upcoming[at]
            if upcoming < never and times[upcoming] < deadlines[key]:
                self._awaited[key] = upcoming
                heappush(self._latest, -upcoming)
            else:
                self._awaited[key] = never
                self._useless.append(key)
        return missed
