"""Which keys are asked for most just now: the newest lines of the operation log, followed while they are written.

Rule 1: nothing is read twice, and no more than `AT_ONCE` bytes of a file a turn: what came in between is left out.
Rule 2: what is remembered is bounded: `KEYS` keys for each second of the last `WINDOW`.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from scoutcache.oplog.linelog import FOLDER
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS, Line

__all__ = ["HotKeys", "Writer"]

AT_ONCE: Final = 4 << 20
BEGINNING: Final = 256 << 10
"""Bytes from the end at which a file that was there already is begun."""
FIRST_LINE: Final = 4096
WINDOW: Final = 60.0
AT_LEAST: Final = 1.0
"""Seconds of a turn that is remembered by itself."""
KEYS: Final = 5000

Asked = tuple[str, str]
"""Namespace and key."""


class Writer(NamedTuple):
    """Who writes a file of the log."""

    pid: int | None
    command: str | None
    user: str | None


class HotKeys:
    """The keys that were asked for in the last `WINDOW` seconds, on this machine, as far as its log tells."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER
        self._places: dict[str, int] = {}
        self._turns: deque[tuple[float, Counter[Asked], Counter[Asked]]] = deque()
        self.writers: dict[str, Writer] = {}
        """By the process's random name."""
        self._decode = msgspec.json.Decoder(Line).decode

    def turn(self, now: float) -> None:
        """Read what came since the last turn; *now* is seconds since the epoch."""
        asked, hits = Counter[Asked](), Counter[Asked]()
        there = dict(self._files(now))
        for name, path in there.items():
            for line in self._lines(name, path):
                hit = line.outcome in HIT_OUTCOMES
                if line.op in REQUESTS and (hit or line.tier is None) and now - line.time <= WINDOW:
                    times = 1 + len(line.more_ns or ())
                    asked[line.namespace, line.key] += times
                    hits[line.namespace, line.key] += times if hit else 0
        self._places = {name: at for name, at in self._places.items() if name in there}
        if self._turns and 0 <= now - self._turns[-1][0] < AT_LEAST:  # many short turns are one
            began, earlier, found = self._turns.pop()
            now = began
            asked.update(earlier)
            hits.update(found)
        kept = Counter(dict(asked.most_common(KEYS)))
        self._turns.append((now, kept, Counter({key: hits[key] for key in kept})))
        while self._turns and now - self._turns[0][0] > WINDOW:
            self._turns.popleft()

    def hottest(self, most: int, namespace: str | None = None) -> list[dict[str, object]]:
        """The keys asked for most, with their requests in the window and their hit rates."""
        asked, hits = Counter[Asked](), Counter[Asked]()
        for _, one, found in self._turns:
            asked.update(one)
            hits.update(found)
        chosen = [(key, times) for key, times in asked.items() if namespace in {None, key[0]}]
        chosen.sort(key=lambda one: (-one[1], one[0]))
        return [{"key": key, "namespace": space, "requests": times,
                 "hit_rate": round(hits[space, key] / times, 4)} for (space, key), times in chosen[:most]]  # fmt: skip

    def _files(self, now: float) -> list[tuple[str, Path]]:
        try:
            with os.scandir(self._folder) as entries:
                return [(one.name, Path(one.path)) for one in entries
                        if one.name.endswith(".jsonl") and one.is_file(follow_symlinks=False)
                        and (one.name in self._places or now - one.stat().st_mtime <= WINDOW)]  # fmt: skip
        except OSError:
            return []

    def _lines(self, name: str, path: Path) -> list[Line]:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if name not in self._places:
                    self._note_writer(file.readline(FIRST_LINE))
                begin = self._places.get(name, max(0, size - BEGINNING))
                begin = max(begin, size - AT_ONCE) if begin <= size else 0
                file.seek(begin)
                data = file.read(size - begin)
        except OSError:
            return []
        whole = data.rfind(b"\n") + 1
        self._places[name] = begin + whole
        return [line for raw in data[:whole].splitlines() if (line := self._line(raw)) is not None]

    def _line(self, raw: bytes) -> Line | None:
        """None for what is no whole line of ours, such as the first after a jump."""
        try:
            return self._decode(raw)
        except (msgspec.MsgspecError, ValueError):
            return None

    def _note_writer(self, raw: bytes) -> None:
        line = self._line(raw)
        if line is not None and line.op == "start" and line.process:
            self.writers[line.process] = Writer(line.pid, line.command, line.user)
