"""Warming beside the calls of an application: at its start, before entries end, and in the quiet hours.

Rule 1: it is done in one daemon thread per cache, and only where the configuration asks for it (`attending`).  What
        goes wrong is warned of once and told to the hooks as ``trouble``; it never reaches the application.
Rule 2: *at the start*: tasks with ``run_at_startup``, and with ``on_start`` all that are due.  One that any process
        began less than one interval ago is left alone, so that twenty workers starting don't run it twenty times.
Rule 3: *before entries end*, every interval: keys that match ``[warming] patterns``, that end before the look after the
        next, and that this process's memory has answered since they were stored, so that nothing is renewed for ever
        that nobody asks for.  They are computed by the cached function that made them in this process, or by the first
        task that knows how.
Rule 4: *in the quiet hours* (`quiet`): what the log says will be asked for within the horizon, of the entries that a
        policy with ``strategy = "predictive"`` speaks of.
Rule 5: tasks and predictions go under the lock that ``warm`` takes, functions under one of their own: of several
        processes one is at it, and the next finds nothing left to do.  Who finds the first lock held leaves it for the
        next look.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from scoutcache import events
from scoutcache.cache import Cache
from scoutcache.calls.listing import list_entries
from scoutcache.channels.locking import held
from scoutcache.core.core import Core
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, LockTimeout
from scoutcache.patterns import Pattern
from scoutcache.warming.budget import Budget
from scoutcache.warming.fill import fill, state_folder
from scoutcache.warming.foresight import Foresight
from scoutcache.warming.lines import Item
from scoutcache.warming.loaders import by_task, loader_of
from scoutcache.warming.records import WarmResult
from scoutcache.warming.tasks import due_tasks, run_tasks
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.core.factories import Known

__all__ = ["Attendant", "begin"]

AHEAD: Final = 1.5
"""Intervals: what ends sooner would have ended before the next look had done its work."""
LONGEST_END: Final = 10.0
"""Seconds for which closing waits for the key under way."""
_WAITS_FOR_OTHERS: Final = 30.0

_log = logging.getLogger("scoutcache")
_at_work: weakref.WeakSet[Attendant] = weakref.WeakSet()


def begin(core: Core) -> None:
    """Start what *core*'s configuration asks for."""
    attendant = Attendant(core)
    core.at_close.append(attendant.close)
    core.at_fork.append(attendant.after_fork)
    attendant.start()


class _Ended(Exception):
    """The cache is being closed."""


class Attendant:
    """The warming of one cache, which it doesn't keep alive."""

    def __init__(self, core: Core) -> None:
        self._stop = threading.Event()
        self._core = weakref.ref(core)
        self._interval = core.config.warming.interval
        self._told: set[str] = set()
        self._foresight = Foresight(core.config, core.directory)
        self._started = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread."""
        _at_work.add(self)
        self._thread = threading.Thread(target=self._run, name="scoutcache-warming", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the key under way, however long its function takes; the wait for it is short."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LONGEST_END)

    def after_fork(self) -> None:
        """In the child, where the thread doesn't exist."""
        if not self._stop.is_set():
            self._stop = threading.Event()
            self._started = True  # the parent's start was the application's
            self.start()

    def _run(self) -> None:
        self.turn()
        # In short waits, for a cache that nobody holds any more is not waited for.
        while not self._stop.wait(self._interval) and self._core() is not None:
            self.turn()

    def turn(self) -> None:
        """One look at everything that is to be done."""
        core = self._core()
        if core is None or core.closed:
            return
        steps: list[Callable[[Cache], None]] = [self._renew_functions, self._renew_by_tasks, self._foresee]
        if not self._started:
            self._started = True
            steps = [self._begin, *(steps if core.config.warming.on_start else ())]
        cache = Cache(_core=core)
        for step in steps:
            self._do(step, cache, core)

    def _do(self, step: Callable[[Cache], None], cache: Cache, core: Core) -> None:
        try:
            step(cache)
        except (_Ended, LockTimeout):
            return
        except Exception as error:  # noqa: BLE001  # a user's function, a full disk: the next look must come
            if not self._stop.is_set():
                self._tell(core, str(error) if isinstance(error, CacheError) else f"{type(error).__name__}: {error}")

    def _tell(self, core: Core, problem: str) -> None:
        core.hooks.emit(events.Trouble("warming", problem))
        if problem not in self._told:
            self._told.add(problem)
            _log.warning("background warming: %s", problem)

    def _going(self) -> bool:
        return not self._stop.is_set()

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Ended

    # -- at the start

    def _begin(self, cache: Cache) -> None:
        config, now = cache.config, datetime.now(UTC)
        names = [task.task_id for task in config.tasks if task.run_at_startup]
        if config.warming.on_start:
            names += [task.task_id for task in due_tasks(config, now)]
        if names:
            since = now - timedelta(seconds=self._interval)
            runs = run_tasks(cache, list(dict.fromkeys(names)), unless_since=since, going=self._going, wait=self._pause)
            for run in runs:
                self._tell_failed(cache._core, run.task_id, run.result, run.error)

    def _tell_failed(self, core: Core, name: str, result: WarmResult, error: str | None = None) -> None:
        if error is not None:
            self._tell(core, f"{name}: {error}")
        elif result.failed:
            first = result.errors[0]
            share = f"{result.failed} of {counted(result.requested, 'key')} failed"
            self._tell(core, f"{name}: {share}; {first.key}: {first.error}")

    # -- before entries end

    def _renew_functions(self, cache: Cache) -> None:
        core, patterns = cache._core, _patterns(cache)
        known = {
            ref: one
            for ref, one in core.factories.known().items()
            if one.anew is not None and any(pattern.matches(ref.key) for pattern in patterns)
        }
        if not any(self._is_due(core, ref) for ref in known):
            return
        lock, patience = state_folder(cache.config) / "functions", min(self._interval / 2, _WAITS_FOR_OTHERS)
        with held(lock, patience, wait=self._pause):
            self._call([one for ref, one in known.items() if self._is_due(core, ref)], core)

    def _call(self, due: Sequence[Known], core: Core) -> None:
        running: list[Future[Any]] = []
        for one in due[: core.config.warming.budget]:
            if self._stop.is_set():
                return
            assert one.anew is not None
            try:
                if one.loop is None:
                    one.anew()
                elif not one.loop.is_closed() and asyncio.iscoroutine(work := one.anew()):
                    running.append(asyncio.run_coroutine_threadsafe(work, one.loop))
            except Exception as error:  # noqa: BLE001  # a function raises what it likes, and the next one must be called
                self._tell(core, f"a cached function raised {type(error).__name__}: {error}")
        ended = wait(running, timeout=self._interval).done
        for future in ended:
            if not future.cancelled() and (problem := future.exception()) is not None:
                self._tell(core, f"a cached function raised {type(problem).__name__}: {problem}")

    def _is_due(self, core: Core, ref: Ref) -> bool:
        if core.memory is None or (detail := core.memory.entry(ref)) is None:
            return False
        left = detail.header.fresh_until - core.world.now()
        return 0 < left <= AHEAD * self._interval and detail.hits > 0

    def _renew_by_tasks(self, cache: Cache) -> None:
        core, known = cache._core, cache._core.factories.known()
        due: dict[str, Item] = {}
        for pattern in _patterns(cache):
            for entry in list_entries(core, cache.config.namespace, pattern):
                ref, header = entry.header.ref, entry.header
                if ref not in known and self._is_due(core, ref):
                    options = {"tags": list(header.tags), "depends_on": list(header.depends_on)}
                    due[ref.key] = Item(None, ref.key, options={name: one for name, one in options.items() if one})
        self._fill(cache, due)

    def _fill(self, cache: Cache, items: dict[str, Item]) -> None:
        """Compute them by the tasks that know how, within the budget of one look."""
        known, _ = by_task(cache.config, items)
        if not known:
            return
        budget = Budget(cache.config.warming.budget)
        with held(state_folder(cache.config) / "lock", wait=self._pause):
            for task, keys in known:
                call = loader_of(task, cache.config)
                result = fill(cache, iter([items[key] for key in keys]), call=call, budget=budget, lock=False,
                              going=self._going, wait=self._pause)  # fmt: skip
                self._tell_failed(cache._core, task.source, result)

    # -- in the quiet hours

    def _foresee(self, cache: Cache) -> None:
        core = cache._core
        if not self._foresight.wanted:
            return
        chosen = self._foresight.look(core.world.now(), cache, self._going)
        functions = core.factories.known()
        refs = [Ref(one.namespace, one.key) for one in chosen]
        self._call([known for ref in refs if (known := functions.get(ref)) is not None and known.anew], core)
        for namespace in dict.fromkeys(ref.namespace for ref in refs):
            left = [ref.key for ref in refs if ref.namespace == namespace and ref not in functions]
            self._fill(cache, {key: Item(None, key, options={"namespace": namespace}) for key in left})


def _patterns(cache: Cache) -> list[Pattern]:
    return [Pattern.parse(text) for text in cache.config.warming.patterns]


def _end_all() -> None:
    """At the interpreter's end, before caches are shut: nothing new is begun."""
    for attendant in list(_at_work):
        with contextlib.suppress(RuntimeError):
            attendant.close()


atexit.register(_end_all)
