"""What each public call does, written once for both faces: check the arguments, ask the engine, record what happened.

Every method is a flow; `Cache` and `AsyncCache` only drive it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from scoutcache.calls.reckoning import entry_of
from scoutcache.calls.recording import Recording
from scoutcache.core.core import Core
from scoutcache.core.keeping import default_ttl
from scoutcache.engine.effects import Flow
from scoutcache.engine.reading import Found
from scoutcache.engine.writing import Lifetime, Moment, lifetime
from scoutcache.entry import MISSING, NEVER, Live, Ref
from scoutcache.errors import CacheError, InvalidKey, InvalidTTL
from scoutcache.keys import CacheKey, check_namespace, check_tag, key_text, making_us
from scoutcache.models import CacheEntry
from scoutcache.rules.planning import Change

__all__ = ["Calls", "Key", "Position", "pairs", "several", "source_names", "tag_names"]

Key = str | CacheKey

_LISTS: Final = frozenset({list, tuple})

_OF_ANSWERS: Final = "semantic:"
"""What the keys of answers by meaning begin with."""


class Position(NamedTuple):
    """A moment to hand to ``set(since=…)``: when a computation outside the cache began."""

    start: int
    end: int


class Options(NamedTuple):
    """How a value is to be kept, as the caller wrote it."""

    ttl: object = None
    stale_ttl: object = None
    tags: Iterable[str] | None = ()
    depends_on: Iterable[Key] | None = ()
    namespace: str | None = None
    cost: float | None = None
    since: Position | None = None


class Calls:
    """The calls of one cache in one namespace."""

    def __init__(self, core: Core, namespace: str) -> None:
        self.core = core
        self.namespace = check_namespace(namespace)
        self.recording = Recording(core)

    # -- arguments

    def ref(self, key: Key, namespace: str | None) -> Ref:
        """The identity of *key*; raises `InvalidKey`."""
        return Ref(self.namespace if namespace is None else check_namespace(namespace), key_text(key))

    def noted_ref(self, key: Key, namespace: str | None, made: dict[Ref, float]) -> Ref:
        """`ref`; *made* is told what making the key took, where it is a `CacheKey`."""
        ref = self.ref(key, namespace)
        if type(key) is not str and (took := making_us(key)) is not None:
            made[ref] = took
        return ref

    def lifetime(self, ref: Ref, ttl: object, stale_ttl: object = None) -> Lifetime:
        """How long *ref* lives: as told, else by its policy, its prefix, its namespace, or the default."""
        config, policy = self.core.config, self.core.world.policy
        if ttl is None:
            fresh = default_ttl(config, None if policy is None else policy(ref), ref)
        else:
            fresh = config.ttl.read(ttl)
        if stale_ttl is None:
            return lifetime(fresh, config.freshness.stale_ttl)
        try:
            return lifetime(fresh, config.ttl.read(stale_ttl))
        except InvalidTTL as error:
            raise InvalidTTL(f"stale_ttl: {error}") from None

    def cost(self, cost: float | None) -> float | None:
        """*cost*, checked; raises `CacheError`."""
        try:
            possible = cost is None or 0 <= cost < NEVER
        except TypeError:
            possible = False
        if not possible:
            raise CacheError(f"cost is an amount of money of 0 or more, not {cost!r:.80}")
        return cost

    # -- reading

    def get(self, key: Key, default: Any = None, namespace: str | None = None) -> Flow[Any]:
        """The fresh value of *key*, else *default*."""
        ref = self.ref(key, namespace)
        core = self.core
        began = core.clocks.monotonic_ns()
        live = self.peek(ref)
        if live is not None:
            self.recording.hit(ref, began, live.written, making_us(key))
            if core.world.sliding is not None:
                yield from self.renew([ref])
            return live.value()
        reasons: dict[Ref, str] = {}
        found = (yield from core.reading.find_one(ref, reasons)) if core.config.enabled else None
        if found is not None and found.header.fresh_until <= core.world.now():
            reasons.setdefault(ref, core.world.why_stale(found.header))
            found = None
        if found is not None:
            self.recording.found(ref, found, began, making_us(key))
            return found.value
        near = MISSING if core.by_meaning is None else (yield from core.by_meaning.near(key, ref, _anything))
        if near is not MISSING:
            return near
        self.recording.missed("get", ref, began, reasons, making_us(key))
        return default

    def get_accepted(
        self, key: Key, accepts: Callable[[Any], bool], default: Any, namespace: str | None
    ) -> Flow[Any]:
        """The fresh value of *key* if *accepts* it, else *default*; one that is refused is removed, and was a miss."""
        core, ref = self.core, self.ref(key, namespace)
        began, reasons = core.clocks.monotonic_ns(), dict[Ref, str]()
        found = yield from self._look(ref, reasons)
        if found is not None and accepts(found.value):
            self.recording.found(ref, found, began, making_us(key))
            if found.tier == "memory":
                yield from self.renew([ref])
            return found.value
        if found is not None:
            yield from self.refuse(ref, began, making_us(key))
            return default
        near = MISSING if core.by_meaning is None else (yield from core.by_meaning.near(key, ref, accepts))
        if near is not MISSING:
            return near
        self.recording.missed("get", ref, began, reasons, making_us(key))
        return default

    def refuse(self, ref: Ref, began: int, keygen_us: float | None) -> Flow[None]:
        """Remove what was found at *ref* and isn't to be served: a miss."""
        yield from self.delete(ref.key, ref.namespace)
        self.recording.missed("get", ref, began, {ref: "refused"}, keygen_us)

    def _look(self, ref: Ref, reasons: dict[Ref, str]) -> Flow[Found | None]:
        """The fresh entry of *ref*, on record nowhere yet; *reasons* is told why there is none."""
        core = self.core
        core.follower.sync()
        found = self._in_memory(ref) if core.may_peek() else None
        if found is not None and found.header.fresh_until > core.world.now():
            return found
        return (yield from self._find([ref], reasons)).get(ref) if core.config.enabled else None

    def peek(self, ref: Ref) -> Live | None:
        """What memory has, fresh and after applying what other processes announced; counted as a hit."""
        core = self.core
        core.follower.sync()
        return None if core.memory is None or not core.may_peek() else core.memory.live(ref)

    def renew(self, refs: Sequence[Ref]) -> Flow[None]:
        """Renew the lives of entries that were hit in memory, where a policy says so and it is due."""
        core, world = self.core, self.core.world
        if world.sliding is None or core.memory is None or world.memory is None:
            return
        here = world.here()
        sliding = [ref for ref in refs if world.sliding(ref) is not None]
        for row in core.memory.rows(sliding).values():
            yield from core.reading.renewing.after_hit(world.memory, row.header, row.live, here)

    def _find(self, refs: Sequence[Ref], reasons: dict[Ref, str]) -> Flow[dict[Ref, Found]]:
        found = yield from self.core.reading.find(refs, reasons)
        now = self.core.world.now()
        stale = [ref for ref, one in found.items() if one.header.fresh_until <= now]
        for ref in stale:
            reasons.setdefault(ref, self.core.world.why_stale(found[ref].header))
            del found[ref]
        return found

    def get_many(self, keys: Iterable[Key], namespace: str | None = None) -> Flow[dict[str, Any]]:
        """The fresh values of those *keys* that are there."""
        core = self.core
        made: dict[Ref, float] = {}
        refs = [self.noted_ref(key, namespace, made) for key in several(keys, "keys")]
        began = core.clocks.monotonic_ns()
        values: dict[str, Any] = {}
        wanted = []
        core.follower.sync()
        memory = core.memory if core.may_peek() else None
        lives: dict[Ref, Live] = {}
        for ref in dict.fromkeys(refs):
            live = None if memory is None else memory.live(ref)
            if live is None:
                wanted.append(ref)
            else:
                values[ref.key] = live.value()
                lives[ref] = live
        if lives:
            own, ended = self.recording.share(began, len(refs))
            for ref, live in lives.items():
                self.recording.hit(ref, own, live.written, made.get(ref), ended)
            yield from self.renew(list(lives))
        if wanted:
            yield from self._get_lower(wanted, values, began, made)
        return {ref.key: values[ref.key] for ref in refs if ref.key in values}

    def _get_lower(
        self, wanted: Sequence[Ref], values: dict[str, Any], began: int, made: Mapping[Ref, float]
    ) -> Flow[None]:
        reasons: dict[Ref, str] = {}
        found = (yield from self._find(wanted, reasons)) if self.core.config.enabled else {}
        began, ended = self.recording.share(began, len(wanted))
        for ref in wanted:
            one = found.get(ref)
            if one is None:
                self.recording.missed("get", ref, began, reasons, made.get(ref), ended)
            else:
                values[ref.key] = one.value
                self.recording.found(ref, one, began, made.get(ref), ended)

    def find(self, key: Key, namespace: str | None = None) -> Flow[Found | None]:
        """The valid entry of *key*, stale ones too, without counting it as a request."""
        core, ref = self.core, self.ref(key, namespace)
        core.follower.sync()
        if not core.config.enabled:
            return None
        if (found := self._in_memory(ref)) is not None:
            return found
        return (yield from core.reading.find_one(ref, promote=False))

    def _in_memory(self, ref: Ref) -> Found | None:
        """What memory has of *ref*, stale ones too, on record nowhere yet."""
        memory = self.core.memory
        row = None if memory is None else memory.look(ref)
        return None if row is None else Found.in_memory(row.header, row.live, self.core.world.codec.settings.serializer)

    def exists(self, key: Key, namespace: str | None = None) -> Flow[bool]:
        """Is there a fresh entry?"""
        return (yield from self._fresh(key, namespace)) is not None

    def ttl(self, key: Key, namespace: str | None = None) -> Flow[float | None]:
        """Seconds the entry stays fresh, None when it is absent, inf when it never expires."""
        found = yield from self._fresh(key, namespace)
        return None if found is None else found.header.fresh_until - self.core.world.now()

    def get_entry(self, key: Key, namespace: str | None = None) -> Flow[CacheEntry | None]:
        """The entry with everything known about it, stale ones too, or None."""
        found = yield from self.find(key, namespace)
        return None if found is None else entry_of(self.core, found)

    def _fresh(self, key: Key, namespace: str | None) -> Flow[Found | None]:
        found = yield from self.find(key, namespace)
        return found if found is not None and found.header.fresh_until > self.core.world.now() else None

    # -- writing

    def position(self) -> Position:
        """This moment, to be handed to ``set(since=…)`` after computing outside the cache."""
        self.core.follower.sync()  # or what was announced before it would seem to have come after
        return Position(*self._moment())

    def _moment(self) -> tuple[int, int]:
        moment = self.core.writing.moment()
        return moment.start, moment.end

    def set(self, key: Key, value: Any, options: Options) -> Flow[bool]:
        """Store *value*; True if some tier took it."""
        return (yield from self.set_many([(key, value)], options)) > 0

    def set_many(self, items: Iterable[tuple[Key, Any]], options: Options) -> Flow[int]:
        """Store all of them in one transaction per tier; how many were taken."""
        core = self.core
        began_ns = core.clocks.monotonic_ns()
        core.follower.sync()  # or a version remembered too long would make a dead entry
        began = core.writing.moment() if options.since is None else _moment(options.since)
        tags, cost = tag_names(options.tags), self.cost(options.cost)
        depends_on = source_names(options.depends_on)
        entries, made, items = [], dict[Ref, float](), list(items)
        for key, value in items:
            ref = self.noted_ref(key, options.namespace, made)
            life = self.lifetime(ref, options.ttl, options.stale_ttl)
            entries.append(core.writing.entry(ref, value, life, cost, tags))
        if not entries:
            return 0
        taken, refused = 0, set[Ref]()
        if core.config.enabled:
            taken = yield from core.writing.store(
                entries, began, tags=tags, depends_on=depends_on, refused=refused, anew=options.since is None,
                replaces=True,
            )  # fmt: skip
            fleeting = {entry.ref for entry in entries if entry.lifetime.fresh == 0}
            if refused or fleeting:
                yield from self._end_older(refused | fleeting, began.start)
        outcome, reason = "stored" if taken else "refused", None if core.config.enabled else "bypassed"
        began_ns, ended_ns = self.recording.share(began_ns, len(entries))
        for entry in entries:
            if entry.ref in refused:  # recorded with the reason where it was refused
                continue
            ref, handled = entry.ref, entry.handled
            core.recorder.record(
                "set", ref.namespace, ref.key, tier=None, outcome=outcome, reason=reason, began_ns=began_ns,
                ended_ns=ended_ns, size=entry.live.written, cost=entry.cost, tags=tuple(tags),
                depends_on=tuple(depends_on), ttl=entry.lifetime.fresh + entry.lifetime.stale, stored=handled.size,
                codec=handled.compression, codec_us=None if handled.size is None else handled.ns / 1000,
                keygen_us=made.get(ref),
            )  # fmt: skip
        if core.by_meaning is not None and taken:
            for (key, value), entry in zip(items, entries, strict=True):
                if entry.ref not in refused:
                    yield from core.by_meaning.keep(key, entry.ref, value, entry.lifetime.fresh)
        return taken

    def _end_older(self, unkept: Collection[Ref], start: int) -> Flow[None]:
        """What isn't kept, by its policy or its time to live, ends the entry of its key that was before it."""
        ended = yield from self._not_outrun(list(unkept), start)
        if not ended:
            return
        namespace, keys = ended[0].namespace, [ref.key for ref in ended]
        removed = yield from self.core.removing.keys(namespace, keys)
        if removed.count or removed.failed:
            yield from self.core.dependents.changed(namespace, Change(tuple(keys)))

    def touch(self, key: Key, ttl: object, namespace: str | None = None) -> Flow[bool]:
        """Let the entry live *ttl* from now; False when it is absent."""
        made: dict[Ref, float] = {}
        ref = self.noted_ref(key, namespace, made)
        fresh, began_ns = self.lifetime(ref, ttl).fresh, self.core.clocks.monotonic_ns()
        if fresh == 0:
            return (yield from self.delete(key, namespace))
        touched = yield from self._touch(ref, fresh)
        if touched is not None and ref.key.startswith(_OF_ANSWERS):
            from scoutcache.meaning.scopes import evidence_key

            yield from self._touch(Ref(ref.namespace, evidence_key(ref.key)), fresh)  # it lives as long as the answer
        outcome = "absent" if touched is None else "done"
        self.recording.done("touch", ref, began_ns, outcome=outcome, keygen_us=made.get(ref), ttl=touched)
        return touched is not None

    def _touch(self, ref: Ref, fresh: float) -> Flow[float | None]:
        self.core.follower.sync()  # or what was announced before it would seem to have come after
        began = self.core.writing.moment()
        found = yield from self._fresh(ref.key, ref.namespace)
        return None if found is None else (yield from self.core.removing.touch(found, fresh, began))

    # -- removing

    def delete(self, key: Key, namespace: str | None = None) -> Flow[bool]:
        """Remove the entry and whatever depends on it; True if it was there."""
        return (yield from self.delete_many([key], namespace)) > 0

    def delete_many(self, keys: Iterable[Key], namespace: str | None = None) -> Flow[int]:
        """Remove entries and whatever depends on them; how many were there."""
        made: dict[Ref, float] = {}
        refs = list(dict.fromkeys([self.noted_ref(key, namespace, made) for key in several(keys, "keys")]))
        began = self.core.clocks.monotonic_ns()
        if not refs:
            return 0
        removed = yield from self.core.removing.keys(refs[0].namespace, [ref.key for ref in refs])
        began, ended = self.recording.share(began, len(refs))
        for ref in refs:
            outcome = "deleted" if removed.failed or removed.tiers_of(ref) else "absent"
            self.recording.done("delete", ref, began, outcome=outcome, keygen_us=made.get(ref), ended=ended)
        yield from self.core.dependents.changed(refs[0].namespace, Change(tuple([ref.key for ref in refs])))
        return removed.count

    def delete_older(self, ref: Ref, start: int) -> Flow[bool]:
        """`delete`, unless what stands began after *start*: then a later writer won."""
        core = self.core
        core.follower.sync()
        if core.config.enabled and not (yield from self._not_outrun([ref], start)):
            return False
        return (yield from self.delete(ref.key, ref.namespace))

    def _not_outrun(self, refs: Sequence[Ref], start: int) -> Flow[list[Ref]]:
        """Those of *refs* of which nothing stands that began after *start*."""
        standing = yield from self.core.writing.standing(refs)
        return [ref for ref in refs if ref not in standing or standing[ref][0].start <= start]


def _anything(_: object) -> bool:
    return True


def tag_names(tags: Iterable[str] | None) -> list[str]:
    return [] if tags is None else list(dict.fromkeys([check_tag(tag) for tag in several(tags, "tags")]))


def source_names(depends_on: Iterable[Key] | None) -> list[str]:
    return [] if depends_on is None else [key_text(key) for key in several(depends_on, "depends_on")]


def _moment(since: object) -> Moment:
    if not isinstance(since, Position):
        raise CacheError(f"since is a position in time, not {since!r:.80}",
                         hint="since=cache.position(), called before the computation")  # fmt: skip
    return Moment(*since)


def pairs(mapping: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """The items of a mapping; raises `CacheError` for anything else."""
    if not isinstance(mapping, Mapping):
        raise CacheError(f"set_many takes a mapping of keys to values, not {type(mapping).__name__}")
    return mapping.items()


def several(items: Iterable[Any], what: str) -> Iterable[Any]:
    if type(items) in _LISTS:  # pydantic's instance check is slow
        return items
    if isinstance(items, str | bytes | CacheKey):
        raise InvalidKey(f"{what} is a list of them, not {items!r} alone", hint=f"write {what}=[{items!r}]")
    if not isinstance(items, Iterable):
        raise InvalidKey(f"{what} is a list of them, not {items!r:.80}")
    return items
