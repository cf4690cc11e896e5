"""How a value is computed and kept, what a factory may say about it, and how it came.

Rule 1: `hard_timeout` bounds how long a caller waits, never the computation: its late result is still stored.  A caller
        that has a stale value is then served that.
Rule 2: `soft_timeout` counts only where there is a stale value to serve instead; without one it is as if it were 0, so
        a stale value is served at once while one refresh runs.
Rule 3: jitter only shortens: nothing lives longer than it was told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from scoutcache.engine.writing import Lifetime
from scoutcache.entry import KEY_MARK, MISSING, NEVER, Handled, Header, Ref
from scoutcache.errors import CacheError, FactoryTimeout, InvalidKey
from scoutcache.keys import CacheKey, check_tag, key_text
from scoutcache.ttl import parse_ttl

__all__ = ["NOT_MODIFIED", "Context", "Outcome", "Recipe", "left", "wants_context"]


class _NotModified:
    def __repr__(self) -> str:
        return "NOT_MODIFIED"


NOT_MODIFIED: Final = _NotModified()
"""What a factory returns that has found the stale value to be the present one."""


class Context:
    """What a factory whose first parameter is named ``ctx`` is given.

    *stale* is the value that has outlived its time, `MISSING` when there is none.  The others begin as the caller said
    and are read after the factory has returned: *ttl* and *stale_ttl* (anything that reads as a ttl), *tags*,
    *depends_on*, *cost*, *store*, which is False for "do not keep this", and *found*, which is True for a value that is
    no new one but was found in another entry: it stays there, and whoever found it has recorded the hit.
    """

    # So that a misspelt name is refused instead of being said to nobody.
    __slots__ = ("cost", "depends_on", "found", "key", "namespace", "stale", "stale_ttl", "store", "tags", "ttl")

    def __init__(self, ref: Ref, recipe: Recipe, stale: Any) -> None:
        self.key, self.namespace = ref.key, ref.namespace
        self.stale = stale
        self.ttl: object = recipe.lifetime.fresh
        self.stale_ttl: object = recipe.lifetime.stale
        self.tags: Sequence[str] = recipe.tags
        self.depends_on: Sequence[str] = recipe.depends_on
        self.cost = recipe.cost
        self.store, self.found = True, False

    @property
    def keeps(self) -> bool:
        """Is the value to be stored under the key it was asked by?"""
        return self.store and not self.found

    def take_over(self, header: Header) -> None:
        """The entry lives on: it keeps what it was found by."""
        self.tags = [*_several(self.tags, "ctx.tags"), *header.tags]
        self.depends_on = [*_several(self.depends_on, "ctx.depends_on"), *header.depends_on]
        self.cost = header.cost if self.cost is None else self.cost

    def said(self, recipe: Recipe) -> Recipe:
        """*recipe* with what the factory said; itself when it said nothing of tags, dependencies and cost.

        Raises `InvalidKey` or `CacheError` for what can't be meant.
        """
        tags = list(dict.fromkeys(map(check_tag, _several(self.tags, "ctx.tags"))))
        depends_on = list(dict.fromkeys(map(key_text, _several(self.depends_on, "ctx.depends_on"))))
        if self.cost is not None and not 0 <= self.cost < NEVER:
            raise CacheError(f"ctx.cost is an amount of money of 0 or more, not {self.cost!r}")
        if (tags, depends_on, self.cost) == (list(recipe.tags), list(recipe.depends_on), recipe.cost):
            return recipe
        return replace(recipe, tags=tags, depends_on=depends_on, cost=self.cost)

    def not_modified(self) -> Any:
        """To be returned by the factory: the stale value holds for another life.  Raises `CacheError` without one."""
        if self.stale is MISSING:
            raise CacheError(f"there is no stale value of {self.key!r} that could be unmodified",
                             hint="look at ctx.stale first")  # fmt: skip
        return NOT_MODIFIED


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to compute values and how to keep them.

    *factory* takes nothing, or a `Context` as ``ctx``; with *many* it takes the list of keys and returns a mapping of
    them to values.  Timeouts and times to live are seconds; *refresh_ahead* is the part of the ttl after which one
    reader refreshes early, *jitter* the part of the ttl that chance may take off.  *negative_ttl* holds for None.
    *error_ttl* keeps an error in this process for so long; without it none is kept.
    """

    factory: Callable[..., Any]
    lifetime: Lifetime
    tags: Sequence[str] = ()
    depends_on: Sequence[str] = ()
    cost: float | None = None
    store_if: Callable[[Any], bool] | None = None
    validate: Callable[[Any], bool] | None = None
    refresh_ahead: float | None = None
    soft_timeout: float | None = None
    hard_timeout: float | None = None
    negative_ttl: float | None = None
    jitter: float = 0.0
    error_ttl: float | None = None
    many: bool = False
    read_ttl: Callable[[object], float] = parse_ttl
    lifetime_for: Callable[[Ref], Lifetime] | None = None
    """With *many*: how long each key lives; they may differ."""
    sliding: Callable[[Ref], object] | None = None
    """Not None for entries whose life each hit renews: chance takes nothing off those."""
    until: float = NEVER
    """When, by the monotonic clock, the caller stops waiting for what others compute; its own call may take longer."""
    deadline: float = NEVER
    """When, by the same clock, *hard_timeout* is over for the caller."""

    def given(self, ref: Ref) -> Lifetime:
        """How long *ref* was told to live."""
        return self.lifetime if self.lifetime_for is None else self.lifetime_for(ref)

    @property
    def patience(self) -> float:
        """Seconds to wait for a fresh value where there is a stale one: no longer than for any value (Rule 1)."""
        return min(self.soft_timeout or 0.0, self.hard_timeout or NEVER)

    def begun(self, now: float) -> Recipe:
        """*hard_timeout* counts from *now*."""
        return self if self.hard_timeout is None else replace(self, deadline=now + self.hard_timeout)

    @property
    def ends(self) -> float:
        """When the caller stops waiting for what others compute, for either reason."""
        return min(self.until, self.deadline)

    def timeout(self, ref: Ref) -> FactoryTimeout:
        """What is raised then."""
        if self.hard_timeout is None or self.until <= self.deadline:
            return FactoryTimeout(f"another caller's computation of {ref.key!r} takes longer than this one waits",
                                  hint="the computation continues: call again, or wait longer")  # fmt: skip
        return FactoryTimeout(
            f"computing {ref.key!r} takes longer than {self.hard_timeout:g} s",
            hint="its result will be stored when it comes; raise hard_timeout to wait for it",
        )

    @property
    def marks(self) -> list[str]:
        """The names of the marks that the entries are going to carry, but for their namespace's."""
        return [*self.tags, *(KEY_MARK + key for key in self.depends_on)]

    def accepts(self, value: Any) -> bool:
        """May a value that was found be used?"""
        return self.validate is None or bool(self.validate(value))

    def is_due(self, header: Header, now: float) -> bool:
        """Is a fresh entry old enough to be refreshed ahead of its end?"""
        if self.refresh_ahead is None or header.fresh_until == NEVER:
            return False
        # Its own life: what its factory, chance, or `negative_ttl` gave it may be much shorter than what is told now.
        life = header.fresh_until - header.created
        if self._slides(header.ref):
            life = min(life, self.given(header.ref).fresh)
        return header.fresh_until - now <= (1 - self.refresh_ahead) * life

    def _slides(self, ref: Ref) -> bool:
        return self.sliding is not None and self.sliding(ref) is not None

    def lifetime_of(self, ref: Ref, value: Any, context: Context | None, dice: Callable[[], float]) -> Lifetime:
        """How long *value* is to live; *dice* gives a number from 0 to 1."""
        fresh, stale = (given := self.given(ref)).fresh, given.stale
        if context is not None:
            fresh = fresh if context.ttl is None else self.read_ttl(context.ttl)
            stale = stale if context.stale_ttl is None else self.read_ttl(context.stale_ttl)
        if value is None and self.negative_ttl is not None:
            fresh, stale = self.negative_ttl, 0.0
        if self.jitter and fresh != NEVER and not self._slides(ref):
            fresh *= 1 - self.jitter * dice()
        return Lifetime(fresh, 0.0 if fresh == NEVER else stale)


def left(until: float, now: float) -> float | None:
    """Seconds until then; None where there is no end of them."""
    return None if until == NEVER else max(0.0, until - now)


class Kept(NamedTuple):
    """What a computed value was stored with: what its caller said, or its factory."""

    tags: Sequence[str]
    depends_on: Sequence[str]
    life: float
    """Seconds until it expires."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A value, and how it came: ``hit``, ``stale``, ``joined`` (another caller computed it), ``computed``, ``found``
    by the factory in another entry, or ``failed``.

    *value* is `MISSING` for a key that a factory of many left out, and where computing failed.
    """

    value: Any
    how: str
    tier: str | None = None
    reason: str | None = None
    factory_s: float | None = None
    cost: float | None = None
    """What the call cost that was made or saved, None when nobody said."""
    size: int | None = None
    kept: Kept | None = None
    """None where no tier kept it."""
    handled: Handled | None = None
    """What the codec did with it, where a tier below memory answered or took it."""
    wait_s: float | None = None
    """How long the call waited for another's computation."""

    @property
    def stored(self) -> bool:
        """Did some tier keep what was computed?"""
        return self.kept is not None


def wants_context(factory: Callable[..., Any]) -> bool:
    """Is the first parameter of *factory* named ``ctx``?"""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some builtins have none
        return False
    first = next(iter(parameters.values()), None)
    return first is not None and first.name == "ctx" and first.kind in _BY_POSITION


_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _several(names: Sequence[Any], what: str) -> Sequence[Any]:
    if isinstance(names, str | bytes | CacheKey):
        raise InvalidKey(f"{what} is a list of them, not {names!r} alone", hint=f"write {what} = [{names!r}]")
    return names
