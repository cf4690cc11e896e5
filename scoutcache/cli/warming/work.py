"""The filling that ``warm`` was asked for, whatever its keys and values come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoutcache.channels.locking import held
from scoutcache.cli.commands.values import check_lasting
from scoutcache.cli.errors import Usage
from scoutcache.cli.printing.streams import fifo_woken, shown_name, stdin_bytes, woken
from scoutcache.cli.printing.unread import tell_unread
from scoutcache.cli.state import Session
from scoutcache.cli.warming.asked import Asked
from scoutcache.cli.warming.predict import lines_of, named_lines_of, predicted, row_of
from scoutcache.warming.budget import Budget, Prices
from scoutcache.warming.fill import fill, state_folder, warm_from, warm_generated
from scoutcache.warming.lines import Item
from scoutcache.warming.loaders import by_task, loader_of, web_source
from scoutcache.warming.sources import cache_items, expiring_keys, frequent_keys
from scoutcache.warming.tasks import TaskRun, run_tasks
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.warming.records import WarmResult

Progress = Callable[[str, "WarmResult"], None]
Chosen = list[dict[str, Any]]
"""The keys that the log gave, each with what is known of it."""


def work(session: Session, asked: Asked, progress: Progress) -> tuple[list[TaskRun], Chosen | None]:
    """Do it; the keys that were chosen from the log come along."""
    asked.check_tasks(session)
    call = asked.loader(session)  # before anything is opened: a name that leads nowhere changes nothing
    if asked.from_log and not session.look_for_cache():
        return [], []  # no log, and none is made by asking for it
    options: dict[str, Any] = {**asked.work, "lock_timeout": asked.lock_timeout, "budget": _budget(session, asked)}
    with session.cache() as cache:
        if not asked.dry_run:
            check_lasting(cache)
        if asked.from_log:
            return _from_log(session, asked, cache, call, progress, options)
        options["resume"] = asked.resume
        if asked.from_cache is not None:
            with _other(session, asked.from_cache) as other:
                name = asked.from_cache
                result = fill(cache, cache_items(other, asked.matching), name=["cache", name],
                              progress=partial(progress, name), **options)  # fmt: skip
                _say_nothing_done(session, asked, name, result)
                return [TaskRun("", result)], None
        if asked.source is not None:
            name = shown_name(asked.source)
            with _lines(session, asked.source) as lines:
                result = warm_from(cache, lines, pattern=asked.matching, call=call, progress=partial(progress, name),
                                   **options)  # fmt: skip
            _say_nothing_done(session, asked, name, result, "lines to warm from")
            return [TaskRun("", result)], None
        if call is not None:
            name = asked.call or ""
            pattern = [] if asked.pattern is None else [asked.pattern]
            result = warm_generated(cache, call, pattern=asked.matching, name=[name, *pattern],
                                    progress=partial(progress, name), **options)  # fmt: skip
            _say_nothing_done(session, asked, name, result, "keys to warm")
            return [TaskRun("", result)], None
        unread = partial(tell_unread, session, named=False)
        return run_tasks(cache, list(asked.tasks) or None, progress=progress, unread=unread, **options), None


def _say_nothing_done(session: Session, asked: Asked, name: str, result: WarmResult, what: str = "entries") -> None:
    """Say why a source gave nothing to do."""
    if result.requested:
        return
    if result.unmatched:
        session.note(f"none of {counted(result.unmatched, 'key')} in {name} matches the pattern {asked.matching}")
    elif asked.pattern is not None:
        session.note(f"{name} holds no {what} that match the pattern {asked.matching}")
    else:
        where = f" in namespace {session.config.namespace}" if asked.from_cache is not None else ""
        session.note(f"{name} holds no {what}{where}")


def _lines(session: Session, source: str) -> AbstractContextManager[Any]:
    if source == "-":
        return woken(stdin_bytes("--from -"))
    if "://" in source:
        return nullcontext(web_source(source, session.config).lines())
    path = Path(source)
    return fifo_woken(path) if path.is_fifo() or path.is_char_device() else nullcontext(source)


def _budget(session: Session, asked: Asked) -> Budget | None:
    calls, usd = asked.limits()
    if calls is None and usd is None:
        return None
    # The log is read only for money: counting calls needs no prices.
    log = () if usd is None else lines_of(session, asked)
    return Budget(calls, usd, Prices(log, session.config.costs.default_call_usd).of)


@contextmanager
def _other(session: Session, place: str) -> Iterator[Cache]:
    """Another cache, to be read."""
    from scoutcache.cli.opening import observed

    if "://" in place:
        from scoutcache.cli.password import warn_of

        warn_of(session, place)
        changes: dict[str, Any] = {"redis": {"url": place}, "tiers": ["redis"]}
    else:
        if not (Path(place) / "disk").is_dir():
            raise Usage(f"--from-cache: there is no cache in {place}")
        if Path(place).resolve() == session.place.resolve():
            raise Usage("--from-cache: that is the cache to be filled")
        changes = {"directory": place, "tiers": ["disk"], "redis": {}}
    config = session.config.replace(policies=[], tasks=[], **changes)
    with observed(config, verbose=session.verbose, raising=True, said=session.said) as other:
        yield other


def _from_log(
    session: Session, asked: Asked, cache: Cache, call: Callable[..., Any] | None, progress: Progress,
    options: dict[str, Any],
) -> tuple[list[TaskRun], Chosen]:  # fmt: skip
    chosen = _chosen(session, asked, cache)
    keys = [row["key"] for row in chosen]
    if not keys:
        matching = "" if asked.pattern is None else f" that matches the pattern {asked.pattern}"
        session.note(f"no key{matching} is likely enough to be requested" if asked.predict else
                     f"the log has no key to warm{matching}")  # fmt: skip
    loaders, unknown = ({}, keys) if call is None else ({call: keys}, [])
    if call is None:
        known, unknown = by_task(session.config, keys)
        loaders = {loader_of(task, session.config): those for task, those in known}
    if asked.dry_run or not loaders:
        if keys and not asked.dry_run and not asked.predict:
            raise Usage("nothing computes the values of these keys", hint="--call module:function, --http, or a task "
                        "whose pattern matches them; --dry-run prints them")  # fmt: skip
        if keys and not asked.dry_run:
            session.note("nothing computes the values of these keys, so none was warmed: use --call, --http, or a task")
        return [], chosen
    if unknown:
        session.note(f"no task computes the values of {counted(len(unknown), 'key')}, such as {unknown[0]}")
    return _filled(cache, loaders, progress, options), chosen


def _filled(
    cache: Cache, loaders: dict[Callable[..., Any], list[str]], progress: Progress, options: dict[str, Any]
) -> list[TaskRun]:
    timeout = options.pop("lock_timeout")
    runs = []
    with held(state_folder(cache.config) / "lock", timeout):
        for call, keys in loaders.items():
            items = iter([Item(None, key) for key in keys])
            result = fill(cache, items, call=call, lock=False, progress=partial(progress, "warm"), **options)
            runs.append(TaskRun("", result))
    return runs


def _chosen(session: Session, asked: Asked, cache: Cache) -> Chosen:
    if asked.predict:
        return [row_of(one) for one in predicted(session, asked, cache)]
    keys: Sequence[str]
    if asked.frequent is not None:
        keys = frequent_keys(named_lines_of(session, asked), asked.frequent, session.config.namespace)
    else:
        assert asked.expiring is not None
        keys = expiring_keys(named_lines_of(session, asked), asked.expiring, time.time(), session.config.namespace)
    return [{"key": key} for key in keys]
