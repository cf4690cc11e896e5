"""How the value of a key is found: what the source of a task means, and which task knows how for a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from scoutcache.calls.listing import list_entries
from scoutcache.insight.log.operations import end_of, read_operations
from scoutcache.patterns import Pattern
from scoutcache.policies import WarmingTask, is_web
from scoutcache.warming.functions import named_function
from scoutcache.warming.lines import Item
from scoutcache.warming.sources import Named, frequent_keys
from scoutcache.warming.web import WebSource

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig
    from scoutcache.oplog.reading import Problems

__all__ = ["LATELY", "by_task", "gives_values", "items_of", "loader_of", "web_source"]

LATELY: Final = 86400.0
"""Seconds of the log whose keys a task warms."""


def gives_values(task: WarmingTask) -> bool:
    """Is the source of *task* asked for one key at a time: a function, or a web address with ``{key}``?"""
    return task.runs_code or (is_web(task.source) and "{key}" in task.source)


def loader_of(task: WarmingTask, config: CacheConfig) -> Callable[..., Any]:
    """What gives the values of such a *task*.  Raises `WarmingError` or `ConfigError` where nothing does."""
    return web_source(task.source, config) if is_web(task.source) else named_function(task.source, task.folder)


def web_source(template: str, config: CacheConfig) -> WebSource:
    """Values from a web server that *config* allows to ask.  Raises `ConfigError`."""
    return WebSource(template, config.warming.allow_hosts)


def by_task(config: CacheConfig, keys: Iterable[str]) -> tuple[list[tuple[WarmingTask, list[str]]], list[str]]:
    """Tasks, each with those of the *keys* that it knows how to compute; and those that none does.

    The first task whose pattern matches counts.
    """
    tasks = [(Pattern.parse(task.pattern), task) for task in config.tasks if gives_values(task)]
    known: dict[str, tuple[WarmingTask, list[str]]] = {}
    unknown = []
    for key in keys:
        found = next((task for pattern, task in tasks if pattern.matches(key)), None)
        if found is None:
            unknown.append(key)
        else:
            known.setdefault(found.source, (found, []))[1].append(key)
    return list(known.values()), unknown


def items_of(cache: Cache, task: WarmingTask, unread: Callable[[Problems], object] = lambda _: None) -> list[Item]:
    """The keys that match the task's pattern; without wildcards that key, there or not.

    Those that are stored, with their tags, and after them those that were asked for in the last `LATELY` seconds by the
    log, the most frequent first: what was cleared or has expired needs warming most.  *unread* is told what of the log
    can't be read.
    """
    core, pattern = cache._core, Pattern.parse(task.pattern)
    # All of them before the first is stored: a listing isn't changed under its own feet.
    found = {entry.header.ref.key: _item(entry.header) for entry in list_entries(core, core.config.namespace, pattern)}
    if pattern.literal is not None:
        asked: Iterable[str] = [pattern.literal]
    else:
        now = core.world.now()
        operations = read_operations(core.directory, now - LATELY, end_of(now - LATELY, now))
        matching = (line for line in Named(operations) if pattern.matches(line.key))
        asked = frequent_keys(matching, None, core.config.namespace)
        unread(operations.problems)
    return [*found.values(), *(Item(None, key) for key in asked if key not in found)]


def _item(header: Any) -> Item:
    options: dict[str, Any] = {}
    if header.tags:
        options["tags"] = list(header.tags)
    if header.depends_on:
        options["depends_on"] = list(header.depends_on)
    return Item(None, header.ref.key, options=options)
