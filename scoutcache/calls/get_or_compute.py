"""get_or_compute as callers write it: options are read, memory is looked at, the engine asked, the outcome recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from scoutcache.calls.callables import is_coroutine_function
from scoutcache.calls.calls import Calls, Key, several, source_names, tag_names
from scoutcache.core.telling import codec_figures, elsewhere_s, tell_stored
from scoutcache.engine.effects import Flow
from scoutcache.engine.recipe import Outcome, Recipe
from scoutcache.entry import MISSING, NEVER, Live, Ref
from scoutcache.errors import CacheError, InvalidTTL
from scoutcache.keys import making_us
from scoutcache.ttl import parse_duration

__all__ = ["How", "obtain", "obtain_anew", "obtain_many", "options", "recipe_of", "record_anew"]


class How(NamedTuple):
    """The options of get_or_compute, as the caller wrote them; see `Cache.get_or_compute`."""

    ttl: object = None
    stale_ttl: object = None
    tags: Iterable[str] | None = ()
    depends_on: Iterable[Key] | None = ()
    namespace: str | None = None
    cost: float | None = None
    condition: Callable[[], bool] | None = None
    store_if: Callable[[Any], bool] | None = None
    validate: Callable[[Any], bool] | None = None
    refresh_ahead: float | None = None
    soft_timeout: object = None
    hard_timeout: object = None
    negative_ttl: object = None
    jitter: float | None = None
    error_ttl: object = None


def options(call: str, given: Mapping[str, Any]) -> How:
    """The options of *call*; raises `TypeError` naming one that there isn't, as a signature would."""
    for name in given:
        if name not in How._fields:
            import difflib

            near = difflib.get_close_matches(name, How._fields, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}{meant}")
    return How(**given)


def obtain(
    calls: Calls, key: Key, factory: Callable[..., Any], how: How, until: float = NEVER
) -> Flow[Any]:
    """The value of *key*, computed by *factory* when it isn't there, once however many ask.

    Until then, by the monotonic clock, it waits for what others compute; after that it raises `FactoryTimeout`.
    """
    core = calls.core
    ref = calls.ref(key, how.namespace)
    recipe = recipe_of(calls, ref, factory, how)
    began = core.clocks.monotonic_ns()
    if _is_bypassed(calls, how):
        outcomes = yield from _obtained(calls, [ref], recipe, began, bypass=True)
    else:
        live = _at_once(calls, ref, recipe)
        if live is not None:
            calls.recording.hit(ref, began, live.written, making_us(key))
            yield from calls.renew([ref])
            return live.value()
        near = MISSING if core.by_meaning is None else (yield from _near(calls, key, ref, recipe))
        if near is not MISSING:
            return near
        recipe = recipe if until == NEVER else replace(recipe, until=until)
        outcomes = yield from _obtained(calls, [ref], recipe, began)
        yield from calls.renew(_in_memory(outcomes))
    _record(calls, ref, began, outcomes[ref], making_us(key))
    record_stored(calls, began, outcomes)
    yield from _keep(calls, key, ref, outcomes[ref], recipe)
    return outcomes[ref].value


def _at_once(calls: Calls, ref: Ref, recipe: Recipe) -> Live | None:
    """What memory has, where being fresh is all that is asked of it: that is served, and counted as a hit."""
    if recipe.validate is None and recipe.refresh_ahead is None:
        return calls.peek(ref)
    calls.core.follower.sync()
    return None


def _near(calls: Calls, key: Key, ref: Ref, recipe: Recipe) -> Flow[Any]:
    """What answers by meaning, where nothing is kept for the very key."""
    assert calls.core.by_meaning is not None
    if (yield from calls.find(key, ref.namespace)) is not None:
        return MISSING
    return (yield from calls.core.by_meaning.near(key, ref, recipe.accepts))


def _keep(calls: Calls, key: Key, ref: Ref, outcome: Outcome, recipe: Recipe) -> Flow[None]:
    """Let what was stored be found by meaning, where that is wanted."""
    if calls.core.by_meaning is not None and outcome.stored:
        yield from calls.core.by_meaning.keep(key, ref, outcome.value, recipe.given(ref).fresh)


def obtain_anew(calls: Calls, key: Key, factory: Callable[..., Any], how: How) -> Flow[Any]:
    """What *factory* computes now; what was kept stays until then, and if it raises."""
    core, ref = calls.core, calls.ref(key, how.namespace)
    recipe = recipe_of(calls, ref, factory, how)
    began = core.clocks.monotonic_ns()
    if _is_bypassed(calls, how):
        outcomes = yield from core.computing.bypass([ref], recipe)
        return outcomes[ref].value
    start = calls.position().start
    try:
        outcome = yield from core.computing.anew(ref, recipe)
    except Exception as error:
        core.world.refresh_failed(ref, error)
        raise
    if not outcome.stored:  # what was kept before is older; a later writer's stands
        yield from calls.delete_older(ref, start)
    record_anew(calls, ref, began, outcome, making_us(key))
    yield from _keep(calls, key, ref, outcome, recipe)
    return outcome.value


def obtain_many(
    calls: Calls, keys: Iterable[Key], factory: Callable[[list[str]], Any], how: How
) -> Flow[dict[str, Any]]:
    """The values of *keys*; *factory* is called once, with those that neither are there nor are being computed."""
    core = calls.core
    made: dict[Ref, float] = {}
    refs = list(dict.fromkeys([calls.noted_ref(key, how.namespace, made) for key in several(keys, "keys")]))
    if not refs:
        return {}
    recipe = recipe_of(calls, refs[0], factory, how, many=True)
    began = core.clocks.monotonic_ns()
    if _is_bypassed(calls, how):
        outcomes = yield from _obtained(calls, refs, recipe, began, bypass=True)
    else:
        core.follower.sync()
        outcomes = yield from _obtained(calls, refs, recipe, began)
        yield from calls.renew(_in_memory(outcomes))
    for ref in refs:
        _record(calls, ref, began, outcomes[ref], made.get(ref))
    record_stored(calls, began, outcomes)
    return {ref.key: outcomes[ref].value for ref in refs if outcomes[ref].value is not MISSING}


def _obtained(
    calls: Calls, refs: Sequence[Ref], recipe: Recipe, began: int, *, bypass: bool = False
) -> Flow[dict[Ref, Outcome]]:
    """The outcomes of *refs*.  Where computing raises, what was asked for is on record as well: it was a request."""
    computing, outcomes = calls.core.computing, dict[Ref, Outcome]()
    try:
        if bypass:
            return (yield from computing.bypass(refs, recipe))
        return (yield from computing.compute_many(refs, recipe, outcomes))
    except Exception as error:
        for ref in refs:
            _record(calls, ref, began, outcomes.get(ref) or Outcome(MISSING, "failed", None, "bypassed"), None, error)
        record_stored(calls, began, outcomes)
        raise


def _in_memory(outcomes: Mapping[Ref, Outcome]) -> list[Ref]:
    return [ref for ref, outcome in outcomes.items() if outcome.how == "hit" and outcome.tier == "memory"]


def _is_bypassed(calls: Calls, how: How) -> bool:
    return not calls.core.config.enabled or (how.condition is not None and not how.condition())


def recipe_of(calls: Calls, ref: Ref, factory: Callable[..., Any], how: How, *, many: bool = False) -> Recipe:
    """*how* with the configuration's defaults, checked.

    Raises `InvalidTTL` or `CacheError` for what can't be meant, naming the option.
    """
    defaults, read_ttl = calls.core.config.freshness, calls.core.config.ttl.read

    def seconds(name: str) -> float | None:
        given: object = getattr(how, name)
        if given is None:
            default: float | None = getattr(defaults, name, None)
            return default
        try:
            return _wait(read_ttl, given) if name in _WAITS else read_ttl(given)
        except InvalidTTL as error:
            raise InvalidTTL(f"{name}: {error}") from None

    _check_callables(factory, how)
    for name in ("ttl", "stale_ttl"):
        seconds(name)
    hard = seconds("hard_timeout")
    if hard == 0:
        raise InvalidTTL("hard_timeout: waiting for 0 seconds would never give a value")
    return Recipe(
        factory,
        calls.lifetime(ref, how.ttl, how.stale_ttl),
        tag_names(how.tags),
        source_names(how.depends_on),
        calls.cost(how.cost),
        how.store_if,
        how.validate,
        _part("refresh_ahead", how.refresh_ahead, defaults.refresh_ahead),
        seconds("soft_timeout"),
        None if hard == NEVER else hard,
        seconds("negative_ttl"),
        _part("jitter", how.jitter, defaults.jitter) or 0.0,
        seconds("error_ttl"),
        many,
        read_ttl,
        (lambda one: calls.lifetime(one, how.ttl, how.stale_ttl)) if many else None,
        calls.core.world.sliding,
    )


_WAITS: Final = {"soft_timeout", "hard_timeout", "error_ttl"}
"""Nothing is stored for so long, so 0 does not stand for not storing."""


def _wait(read_ttl: Callable[[object], float], given: object) -> float:
    """What a time to live may be too; it is only told in other words what it can't be."""
    with suppress(InvalidTTL):
        return read_ttl(given)
    try:
        return parse_duration(given)
    except InvalidTTL as error:
        raise InvalidTTL(f"{error}, or 'never'") from None


def _check_callables(factory: object, how: How) -> None:
    if not callable(factory):
        raise CacheError(f"the factory is called for the value, so it can't be {factory!r:.80}",
                         hint="write a function, such as lambda: …")  # fmt: skip
    for name in ("condition", "store_if", "validate"):
        asked = getattr(how, name)
        if asked is not None and not callable(asked):
            raise CacheError(f"{name} is a function that is asked, so it can't be {asked!r:.80}")
        if asked is not None and is_coroutine_function(asked):
            raise CacheError(f"{name} is a coroutine function: it has to answer at once")


def _part(name: str, given: float | None, default: float | None) -> float | None:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InvalidTTL(f"{name} is a part of the ttl, a number from 0 to 1, not {given!r:.80}")
    if not 0 <= given < 1:
        raise InvalidTTL(f"{name} is a part of the ttl, from 0 to less than 1, not {given}", hint=f"{name}=0.8")
    return given or None


def _record(
    calls: Calls, ref: Ref, began: int, outcome: Outcome, keygen_us: float | None, error: Exception | None = None
) -> None:
    if outcome.how == "found":
        return
    if outcome.how == "hit" and outcome.tier == "memory":
        calls.recording.hit(ref, began, None, keygen_us)
        return
    said = {"computed": "miss", "failed": "miss", "stale": "stale"}.get(outcome.how, "hit")
    kept, figures = outcome.kept, codec_figures(outcome.handled)
    calls.recording.done(
        "compute", ref, began, outcome=said, tier=outcome.tier,
        reason="joined" if outcome.how == "joined" else outcome.reason,
        factory_s=outcome.factory_s, cost=outcome.cost, size=outcome.size,
        tags=() if kept is None else tuple(kept.tags), keygen_us=keygen_us,
        wait_us=None if outcome.wait_s is None else outcome.wait_s * 1e6,
        # Its type alone: a message may hold what was asked.
        error=type(error).__name__ if error is not None and outcome.how == "failed" else None,
        **({} if kept else figures),
    )  # fmt: skip


def record_anew(calls: Calls, ref: Ref, began: int, outcome: Outcome, keygen_us: float | None = None) -> None:
    """A computation that nobody asked for the value of, which is no request, and no miss; and its write."""
    calls.recording.done("refresh", ref, began, outcome="stored" if outcome.stored else "refused",
                 factory_s=outcome.factory_s, cost=outcome.cost, size=outcome.size, keygen_us=keygen_us)  # fmt: skip
    record_stored(calls, began, {ref: outcome})


def record_stored(calls: Calls, began: int, outcomes: Mapping[Ref, Outcome]) -> None:
    """The writes that the call which gave *outcomes* ended with, and their time, which is the cache's own alone."""
    kept = {ref: outcome for ref, outcome in outcomes.items() if outcome.kept is not None}
    if kept:
        writing, ended = began + int(elsewhere_s(outcomes.values()) * 1e9), calls.core.clocks.monotonic_ns()
        for ref, outcome in kept.items():
            tell_stored(calls.core.recorder, ref, outcome, writing, ended)
