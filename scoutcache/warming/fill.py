"""One filling of a cache from one source: what is read, what is computed, what is stored, and what went wrong.

- A bad line, a function that raises for one key, a value that can't be stored: each is reported with its line and key,
  and the rest is done.  A key that stands there twice is done once, as its first line says.
- A value that a function computes is stored as of the moment the function began: an invalidation that comes meanwhile
  wins over it.
- A value that stands in the line is stored as it is; *call* is asked only for keys without one.
- At most *concurrency* keys are worked on at once, and no more lines than that are held in memory; of lines with
  values, which need no work, so many `batches`.  With a *rate* there are none.
- A filling that is broken off can go on where it stopped (`resume`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from scoutcache.channels.locking import held
from scoutcache.errors import ConfigError, WarmingError
from scoutcache.patterns import Pattern
from scoutcache.settings import directory_of
from scoutcache.warming.batches import batched, unbatched
from scoutcache.warming.functions import named_function
from scoutcache.warming.job import Job, Options
from scoutcache.warming.lines import WAITING, BadLine, Beyond, Item, Waiting, lines_at_hand, read_lines
from scoutcache.warming.records import NoSource, WarmError, WarmResult
from scoutcache.warming.resume import Record
from scoutcache.warming.shared import Drawn, Shared
from scoutcache.warming.sources import generated, within
from scoutcache.warming.workers import run_job
from scoutcache.wording.os_errors import reason_of

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig

__all__ = ["Matching", "WarmError", "WarmResult", "fill", "state_folder", "warm_from", "warm_generated"]

Source = str | Path | Iterable[str | bytes]


def state_folder(config: CacheConfig) -> Path:
    """Where warming keeps its lock and what became of its tasks: in the cache's directory."""
    return directory_of(config) / "warming"


def warm_from(
    cache: Cache, source: Source, *, pattern: str = "*", name: Sequence[str] = (), **options: Any
) -> WarmResult:
    """Fill *cache* from *source*: a path, or lines (an open file, standard input).

    Only keys that match *pattern* are taken.  The other options:

    - *call*, a function or its name as ``module:function``, gives the value of a key; it may be ``async``.  What it
      raises is tried again *retries* times (0), after *backoff* seconds (1), then twice as long, up to a minute.
    - *only_missing* leaves alone what is there and fresh; *budget* (`Budget`) limits the calls of the function.
    - *concurrency* (4; 1 to 1024) is how many keys are worked on at once, *rate* how many begin each second.
    - *resume* True leaves out what an earlier filling from the same source with the same function had done before it
      was broken off, or before some keys failed; False keeps a record for that; None keeps none.
    - *progress* is called with the counts so far, now and then; *going* says no to end it after the keys under way.
    - *lock* False skips the lock, for callers that hold it.

    Raises `LockTimeout` when another filling of this directory runs for longer than *lock_timeout* seconds (0),
    `WarmingError` when the source can't be read or the function isn't there, `ConfigError` for impossible options.
    """
    wanted = Pattern.parse(pattern)
    with _opened(source) as (lines, part):
        read = read_lines(lines, called=options.get("call") is not None, json_lines=_is_json_lines(source))
        matching = Matching(read, wanted)
        items = matching.items()
        at_once = batched(items) if options.get("rate") is None else unbatched(items)
        called = [*name, str(source) if isinstance(source, str | Path) else "-", pattern]
        result = fill(cache, at_once, name=called, part=part, **options)
        result.unmatched = matching.others
        return result


def warm_generated(cache: Cache, function: Callable[..., Any], *, pattern: str = "*", **options: Any) -> WarmResult:
    """`warm_from` with the keys and values that the generator *function* gives, of which those that match are taken.

    *retries* mean nothing to it.  Raises `ConfigError` for *resume* with a *budget*: what was done is made again, and
    would spend it each time.
    """
    budget = options.get("budget")
    if budget is not None and options.get("resume"):
        raise ConfigError("a generator starts from its beginning, so with a budget --resume gets no further",
                          hint="leave out --resume or --budget, or name keys for a function")  # fmt: skip
    matching = Matching(within(budget, generated(function)), Pattern.parse(pattern))
    result = fill(cache, unbatched(matching.items()), **options)
    result.unmatched = matching.others
    return result


class Matching:
    """Of *read* what matches *wanted*, and bad lines; *others* counts what doesn't."""

    def __init__(self, read: Iterable[Item | BadLine | Waiting], wanted: Pattern) -> None:
        self._read, self._wanted = read, wanted
        self.others = 0

    def items(self) -> Iterator[Item | BadLine | Waiting]:
        """They, one after the other."""
        for item in self._read:
            if isinstance(item, BadLine | Beyond | Waiting) or self._wanted.matches(item.key):
                yield item
            else:
                self.others += 1


def fill(
    cache: Cache, items: Iterator[Drawn], *, name: Sequence[str] = (),
    part: Callable[[], float | None] = lambda: None, **options: Any,
) -> WarmResult:  # fmt: skip
    """`warm_from` with items that are read already, of a source called *name*, *part* of which has been read."""
    chosen = Options(**options)
    if not cache.config.enabled:
        raise WarmingError("the cache is switched off (enabled = false), so nothing can be warmed")
    call = chosen.call
    function = named_function(call) if isinstance(call, str) else call
    lock_file = state_folder(cache.config) / "lock"
    with held(lock_file, chosen.lock_timeout, clock=chosen.clock, wait=chosen.wait) if chosen.lock else nullcontext():
        whole = [*name, _name_of(call), cache.config.namespace]
        record = None if chosen.resume is None else Record(lock_file.parent, whole, resume=chosen.resume)
        job = Job(cache, function, chosen, record, part)
        finished = False
        begun = chosen.clock()
        try:
            run_job(job, Shared(items, chosen.going))
            finished = chosen.going()
        finally:
            job.result.seconds = chosen.clock() - begun
            if record is not None:
                record.close(finished=finished and not (job.result.failed or job.result.over_budget))
    return job.result


def _is_json_lines(source: Source) -> bool:
    return isinstance(source, str | Path) and str(source).lower().endswith(".jsonl")


def _name_of(call: Any) -> str | None:
    if call is None or isinstance(call, str):
        return call
    return f"{getattr(call, '__module__', '')}:{getattr(call, '__qualname__', type(call).__qualname__)}"


@contextmanager
def _opened(source: Source) -> Iterator[tuple[Iterable[str | bytes | Waiting], Callable[[], float | None]]]:
    if not isinstance(source, str | Path):
        yield _lines_in(source), lambda: None
        return
    try:
        opened = Path(source).open("rb")  # noqa: SIM115  # what raises beyond this is no fault of the file's name
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as problem:
        raise NoSource(f"{source}: can't be read: {problem.strerror}") from problem
    except OSError as problem:
        raise WarmingError(f"{source}: can't be read: {reason_of(problem)}") from problem
    with opened as file:
        size = os.fstat(file.fileno()).st_size
        seekable = file.seekable()
        yield _lines_of(source, file), lambda: min(file.tell() / size, 1.0) if seekable and size else None


def _lines_in(source: Iterable[str | bytes]) -> Iterable[str | bytes | Waiting]:
    """The lines of what was given; what isn't known to have them at hand may take long for each."""
    if isinstance(source, list | tuple):
        return source
    if isinstance(source, BufferedIOBase):
        return lines_at_hand(source)
    return chain.from_iterable((line, WAITING) for line in source)


def _lines_of(source: str | Path, file: BinaryIO) -> Iterator[bytes]:
    """The lines of *file*.  Raises `WarmingError` where they can't be read to their end."""
    try:
        while line := file.readline():
            yield line
    except OSError as problem:
        raise WarmingError(f"{source}: can't be read: {reason_of(problem)}") from problem
