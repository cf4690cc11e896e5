"""What both faces are the same in: how they are opened, their listeners, their figures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MethodType
from typing import Any, NoReturn, Self

from scoutcache.assembly.assemble import open_core
from scoutcache.assembly.attending import attend
from scoutcache.calls.calls import Calls, Key, Position
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks, Core
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING
from scoutcache.events import Emitted

__all__ = ["Face"]


def _missing(*_: object) -> Any:
    return MISSING


_UNHEEDED = frozenset((
    "ttl", "stale_ttl", "tags", "depends_on", "cost", "store_if", "soft_timeout", "hard_timeout", "negative_ttl",
    "jitter", "error_ttl",
))  # fmt: skip
"""The options of `get_or_compute` that a hit in memory doesn't heed.  With any other it is no answer yet, or not by
this short way, or there is no such option: the caller hears so at once, and not when the entry has expired."""


def quick_compute(peek: Callable[[Any, Any], Any], slow: Callable[..., Any]) -> Callable[..., Any]:
    """`get_or_compute` of which a hit in memory costs little more than `get`: defaults of 15 options cost as much."""

    @functools.wraps(slow)
    def get_or_compute(key: Key, factory: Callable[..., Any], **how: Any) -> Any:
        if not how or _UNHEEDED.issuperset(how):
            value = peek(key, MISSING)
            if value is not MISSING:
                return value
        return slow(key, factory, **how)

    return get_or_compute


def quick_compute_async(peek: Callable[[Any, Any], Any], slow: Callable[..., Any]) -> Callable[..., Any]:
    """The same, to be awaited."""

    @functools.wraps(slow)
    async def get_or_compute(key: Key, factory: Callable[..., Any], **how: Any) -> Any:
        if not how or _UNHEEDED.issuperset(how):
            value = peek(key, MISSING)
            if value is not MISSING:
                return value
        return await slow(key, factory, **how)

    return get_or_compute


class Face:
    """The part of a cache that does no I/O of its own.

    *config* is a `CacheConfig` or a mapping of its settings; without it the configuration is read as the command line
    reads it (environment, ``.env``, project file, user file, profile, built-in).  *directory*, *redis_url*, *namespace*
    and any other top-level setting stand over it: *redis_url* over the server's place alone, a section over the whole
    section of a *config*, and name by name over what was read, which *profile* begins.  With *raise_errors* a tier that
    can't answer raises `TierUnavailable`.
    Unless *attended*, the warming that the configuration asks for beside the calls (``[warming]``, tasks with
    ``run_at_startup``, predictive policies) is not begun.
    """

    _is_async = False

    def __init__(
        self,
        config: CacheConfig | Mapping[str, Any] | None = None,
        *,
        profile: str | None = None,
        directory: str | Path | None = None,
        redis_url: str | None = None,
        namespace: str | None = None,
        raise_errors: bool = False,
        clocks: Clocks | None = None,
        attended: bool = True,
        _core: Core | None = None,
        **settings: Any,
    ) -> None:
        self._of_view = None if _core is None else namespace
        """Of which namespace it tells statistics: a view of its own, None of all."""
        if _core is None:
            overrides = {"directory": directory, "redis_url": redis_url, "namespace": namespace, **settings}
            _core = open_core(config, profile, overrides, raise_errors=raise_errors, clocks=clocks)
            namespace = _core.config.namespace
            if attended:
                attend(_core)
            if any(policy.strategy == "semantic" for policy in _core.config.policies):
                from scoutcache.answers.routing import route

                route(_core)
        self._core = _core
        self._calls = Calls(_core, _core.config.namespace if namespace is None else namespace)
        self._quicken()
        _core.follower.on_reopen(self._quicken)  # the page that hits look at is another one then

    def _quicken(self) -> None:
        """Prepare the short way to a hit in memory: one function call, from which nothing but the value comes back."""
        memory = self._core.memory
        fast = memory is not None and self.config.enabled
        self._peek = memory.make_get(_missing, **self._hot_options()) if memory is not None and fast else _missing
        # What may have to be refreshed ahead of its end needs a closer look than a hit is.
        self._peek_settled = self._peek if self.config.freshness.refresh_ahead is None else _missing

    def _quicken_compute(self, method: Callable[..., Any]) -> None:
        """Let *method*, the own `get_or_compute`, be answered from memory by a closure."""
        if self._peek_settled is not _missing and getattr(type(self), "get_or_compute", None) is method:
            make = quick_compute_async if inspect.iscoroutinefunction(method) else quick_compute
            vars(self)["get_or_compute"] = make(self._peek_settled, MethodType(method, self))

    @property
    def config(self) -> CacheConfig:
        """The configuration in force."""
        return self._core.config

    def namespace(self, name: str) -> Self:
        """A view of this cache with the same methods, in another namespace, with the statistics of that one alone;
        closing either closes both.
        """
        return type(self)(namespace=name, _core=self._core)

    def on(self, event: str, hook: Callable[[Any], Any]) -> Callable[[], None]:
        """Call *hook* with the record of each *event* (``"*"``: of all); returns a function that takes it off again."""
        remove = self._core.hooks.add(event, hook)
        self._core.follower.say_position()  # hits in memory that nobody was told of go the long way from now on

        def take_off() -> None:
            remove()
            self._core.follower.say_position()

        return take_off

    def on_event(self, name: str, hook: Callable[[Emitted], Any]) -> Callable[[], None]:
        """Call *hook* with each event called *name*, a pattern too, that is emitted through this cache.

        It gets an `Emitted` record (``name``, ``fields``, ``namespace``) after the rules have been run, in this process
        only.  Returns a function that takes it off again.
        """
        return self._core.rulebook.listen(name, hook)

    def key(self, key: Key) -> str:
        """The text a key is stored under; raises `InvalidKey`."""
        return self._calls.ref(key, None).key

    def position(self) -> Position:
        """This moment, to be handed to ``set(since=…)`` after computing outside the cache."""
        return self._calls.position()

    def _peek_many(self, keys: Sequence[Key], namespace: str | None) -> tuple[dict[Any, Any], list[Key]]:
        """What memory has of *keys* at once, and the keys that need a closer look; one named twice is one request."""
        with suppress(TypeError):  # what can't be a key is named by the closer look
            keys = list(dict.fromkeys(keys))
        values = [(key, self._peek(key, MISSING, namespace)) for key in keys]
        return (
            {key: value for key, value in values if value is not MISSING},
            [key for key, value in values if value is MISSING],
        )

    def _check_open(self, flow: Flow[Any]) -> None:
        if self._core.closed:
            flow.close()
        self._core.check_open()

    def _hot_options(self) -> dict[str, Any]:
        """What a hit in memory looks at besides the entry."""
        core = self._core
        return {
            "namespace": self._calls.namespace,
            "position": core.journal,
            "log": core.recorder.hit_log,
            "nanoseconds": core.clocks.monotonic_ns,
        }

    def __reduce__(self) -> NoReturn:
        self._core.__reduce__()  # not even a shallow copy: nobody would tell it of another page of the journal

    def __repr__(self) -> str:
        tiers = ", ".join(tier.name for tier in self._core.tiers)
        return f"<{type(self).__name__} {self._calls.namespace!r}: {tiers}>"
