"""Delete, invalidate, clear: announce, remove, announce again.

Rule 1: the event is announced, then the entries are removed, then it is announced again before the call returns.  A
        writer that began in between is caught by one of the two (every other order was found to break, by exploring
        all interleavings).
        Announcing drops the entries from this process's own memory as well, so memory is swept before, to be counted.
Rule 2: tags and dependencies are one write at the authority, whatever the number of entries; how many died is not
        known (None) unless somebody scans.  Patterns, keys and namespaces remove physically, and are counted.
Rule 3: a tier that can't answer is reported, the others go on; what it still holds dies by its marks or its time.
        Where the user asked for an exception it comes when all of it is done: half of it would leave what was begun
        announced for good.
Rule 4: where the authority is owed what is announced, it is owed no longer after that: what depends on it must have
        ended before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from scoutcache import events
from scoutcache.coherence.messages import Action, Kind, Message
from scoutcache.engine import effects
from scoutcache.engine.debts import Debt
from scoutcache.engine.doubt import Doubt
from scoutcache.engine.effects import Announce, Clear, Erase, Flow, Remove, RemoveOlder, Renew
from scoutcache.engine.reading import Found
from scoutcache.engine.world import World
from scoutcache.engine.writing import Moment, Writing
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Header, Ref, Row
from scoutcache.errors import TierUnavailable
from scoutcache.patterns import Pattern

__all__ = ["Removed", "Removing"]

Doom = Remove | RemoveOlder | Debt


@dataclass(slots=True)
class Removed:
    """How many entries each tier removed, and which tiers could not be asked."""

    by_tier: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    had: dict[str, set[Ref]] = field(default_factory=dict)
    """What each tier had, of those that can tell."""

    @property
    def count(self) -> int:
        """How many keys: an entry stands in several tiers, so the most that one of them had, or all had."""
        return max(max(self.by_tier.values(), default=0), len(set().union(*self.had.values())))

    def tiers_of(self, ref: Ref) -> tuple[str, ...]:
        """The tiers that had *ref*, which was among what was removed; of one that can't tell, if it had anything."""
        return tuple([
            tier for tier, number in self.by_tier.items() if (ref in self.had[tier] if tier in self.had else number)
        ])  # fmt: skip

    def take(self, tier: str, answer: int | set[Ref]) -> None:
        """*tier* removed so many, or these."""
        if isinstance(answer, int):
            self.by_tier[tier] = answer
        else:
            self.by_tier[tier], self.had[tier] = len(answer), answer

    def add(self, other: Removed) -> None:
        """Take in the figures of another removal."""
        for tier, number in other.by_tier.items():
            self.by_tier[tier] = self.by_tier.get(tier, 0) + number
        for tier, refs in other.had.items():
            self.had[tier] = self.had.get(tier, set()) | refs
        self.failed.update(other.failed)


class Removing:
    """Removals for one cache."""

    def __init__(self, world: World, writing: Writing) -> None:
        self._world, self._writing = world, writing

    def keys(
        self, namespace: str, keys: Sequence[str], *, cascade: bool = True, reason: str | None = None
    ) -> Flow[Removed]:
        """Remove *keys*, and with *cascade* whatever depends on them."""
        refs = [Ref(namespace, key) for key in keys]
        doomed = [Remove(level, refs, each=len(refs) > 1) for level in self._levels()]
        errors: list[TierUnavailable] = []
        removal = self._announced("key", namespace, keys, reason, doomed, errors)
        if cascade:
            untold = self._world.is_untold(namespace, keys)
            removal = self._cascading(removal, partial(self.cascade, namespace, keys, reason), errors, untold=untold)
        removed = yield from removal
        for ref in dict.fromkeys(refs):
            if tiers := removed.tiers_of(ref):
                self._world.ended([ref])
                self._world.hooks.emit(events.Removed(namespace, ref.key, tiers))
        return self._done(removed, errors)

    def _cascading(
        self, removal: Flow[Removed], cascade: Callable[[], Flow[Removed]], errors: list[TierUnavailable], *,
        untold: bool,
    ) -> Flow[Removed]:  # fmt: skip
        """*removal*, and whatever depends on what it removes: ended after it, where it is *untold* before (Rule 4)."""
        ended = (yield from self._part(cascade(), [])) if untold else Removed()
        removed = yield from removal
        is_over = ended.failed and removed.failed  # it would fail again
        removed.add(ended if is_over else (yield from self._part(cascade(), errors)))
        return removed

    def _part(self, flow: Flow[Removed], errors: list[TierUnavailable]) -> Flow[Removed]:
        """What *flow* removed, beside what must be done though it fails (Rule 3); *errors* collects what it raised."""
        try:
            return (yield from flow)
        except TierUnavailable as error:
            errors.append(error)
            return Removed(failed={error.tier: error.reason})

    def cascade(self, namespace: str, keys: Sequence[str], reason: str | None) -> Flow[Removed]:
        """Whatever depends on one of *keys* is dead."""
        try:
            names = list((yield from effects.current(namespace, [KEY_MARK + key for key in keys])))
        except TierUnavailable:
            names = [KEY_MARK + key for key in keys]
        return (yield from self.renew(namespace, names, reason))

    def pattern(
        self, namespace: str, pattern: Pattern, *, cascade: bool = True, reason: str | None = None
    ) -> Flow[Removed]:
        """Remove every key that matches, and with *cascade* whatever depends on one of them."""
        doomed = [Erase(level, namespace, pattern) for level in self._levels()]
        errors: list[TierUnavailable] = []
        removal = self._announced("pattern", namespace, [pattern.text], reason, doomed, errors)
        if cascade:
            ended = partial(self._end_dependents, namespace, pattern, reason)
            removal = self._cascading(removal, ended, errors, untold=self._world.untold is not None)
        removed = yield from removal
        if pattern.literal is not None and removed.count:  # of others nobody says which keys they hit
            self._world.ended([Ref(namespace, pattern.literal)])
        return self._done(removed, errors)

    def _end_dependents(self, namespace: str, pattern: Pattern, reason: str | None) -> Flow[Removed]:
        """Whatever depends on a key that matches is dead."""
        keys, ended = yield from self.depended_on_or_known(namespace)
        if ended.failed:
            yield from self.owe_pattern(namespace, pattern, reason)
        names = [KEY_MARK + key for key in keys if pattern.matches(key)]
        ended.add((yield from self.renew(namespace, names, reason)))
        return ended

    def owe_pattern(
        self, namespace: str, pattern: Pattern, reason: str | None, action: Action = "delete"
    ) -> Flow[None]:
        """The authority did what was asked for, and then nobody could say what depends on that.

        It is owed as if nothing had been done, and neighbours hear so: they drop what may depend on it.
        """
        world, untold = self._world, self._world.untold
        if world.authority is None or (untold is not None and (namespace, pattern.text) in untold.patterns):
            return
        world.owe(Erase(world.authority, namespace, pattern))
        with suppress(TierUnavailable):
            yield Announce(world.message("pattern", namespace, [pattern.text], reason, action).owing)

    def tags(
        self, namespace: str, tags: Sequence[str], *, cascade: bool = True, reason: str | None = None
    ) -> Flow[Removed]:
        """Every entry that carries one of *tags* is dead, and with *cascade* whatever depends on one: one write."""
        if not cascade:
            return (yield from self.renew(namespace, tags, reason))
        failed = Removed()
        try:
            keys = yield from self.depended_on(namespace)
            names = yield from self.with_dependents(namespace, tags, keys)
            failed.add((yield from self.renew(namespace, names, reason)))
            names = yield from self.late_dependents(namespace, keys)
        except TierUnavailable as error:
            failed.add(self._failed(error))
            ended = yield from self.renew(namespace, self.unresolved(namespace, tags), reason)
            if not ended.failed:
                yield from self.tell_unresolved(namespace, tags, reason)
            failed.add(ended)
        else:
            failed.add((yield from self.renew(namespace, names, reason)))
        return failed

    def late_dependents(self, namespace: str, keys: Sequence[str]) -> Flow[list[str]]:
        """The marks of keys that somebody depends on and that weren't yet among *keys* before it was announced.

        Whoever began to depend on one of them meanwhile may not have heard, and their entries are gone, so that nobody
        can say which of them had the tag.
        """
        known = set(keys)
        return [KEY_MARK + key for key in (yield from self.depended_on(namespace)) if key not in known]

    def with_dependents(self, namespace: str, tags: Sequence[str], keys: Sequence[str]) -> Flow[list[str]]:
        """The names of the marks *tags*, and of those of *keys* that dependents of their entries carry."""
        names = list(tags)
        if keys:
            # Which of them carry a tag only their entries say; nobody else must be looked at.
            reasons: dict[Ref, str] = {}
            standing = yield from self._writing.standing([Ref(namespace, key) for key in keys], reasons)
            names += [
                KEY_MARK + ref.key for ref, (header, _) in standing.items() if not set(tags).isdisjoint(header.tags)
            ]
            hidden = [ref for ref, reason in reasons.items() if reason == "unavailable" and ref not in standing]
            names += [KEY_MARK + ref.key for ref in hidden]
        return names

    def unresolved(self, namespace: str, tags: Sequence[str]) -> list[str]:
        """What to renew for *tags* where nobody can say what depends on their entries.

        In this process that is whatever depends on anything; for the rest the same is owed.
        """
        self.doubt(Renew(namespace, [*tags, DEPENDED_MARK]))
        return [*tags, DEPENDED_MARK, *self._world.remembered(namespace, KEY_MARK)]

    def tell_unresolved(
        self, namespace: str, tags: Sequence[str], reason: str | None, action: Action = "delete"
    ) -> Flow[None]:
        """What is `unresolved` is owed though the authority, which answers again, renewed *tags*: neighbours hear so.

        Else they would believe what it has of whatever depends on a key.
        """
        with suppress(TierUnavailable):
            yield Announce(self._world.message("mark", namespace, [*tags, DEPENDED_MARK], reason, action).owing)

    def depended_on_or_known(self, namespace: str) -> Flow[tuple[list[str], Removed]]:
        """The keys of `depended_on`; where nobody can be asked those that this process knows of, and what failed."""
        try:
            return (yield from self.depended_on(namespace)), Removed()
        except TierUnavailable as error:
            failed = self._failed(error)
        return _keys(self._world.remembered(namespace, KEY_MARK)), failed

    def depended_on(self, namespace: str) -> Flow[list[str]]:
        """The keys that some entry of *namespace* depends on, or once did."""
        if not (yield from effects.current(namespace, [DEPENDED_MARK])):
            return []
        return _keys((yield from effects.names(namespace, KEY_MARK)))

    def renew(
        self, namespace: str, names: Sequence[str], reason: str | None, *, standing: bool = False
    ) -> Flow[Removed]:
        """Whatever carries one of the marks *names* is dead; see `Writing.renew`."""
        if not names:
            return Removed()
        try:
            yield from self._writing.renew(namespace, names, reason, standing=standing)
        except TierUnavailable as error:
            self.doubt(Renew(namespace, names))
            return self._failed(error)
        return Removed()

    def _failed(self, error: TierUnavailable) -> Removed:
        self._world.down(error.tier, error)
        return Removed(failed={error.tier: error.reason})

    def clear(self, namespace: str, *, reason: str | None = None) -> Flow[Removed]:
        """Everything in *namespace* is dead by one write; its space is given back as far as the tiers can."""
        doomed: list[Doom] = [Renew(namespace, [NAMESPACE_MARK])]
        doomed += [Clear(level, namespace) for level in self._levels()]
        removed = yield from self.announced("namespace", namespace, [NAMESPACE_MARK], reason, doomed)
        self._world.hooks.emit(events.Cleared(namespace))
        return removed

    def _levels(self) -> range:
        return range(len(self._world.names))

    def announced(
        self,
        kind: Kind,
        namespace: str,
        names: Sequence[str],
        reason: str | None,
        doomed: Sequence[Doom],
        *,
        stamp: int | None = None,
    ) -> Flow[Removed]:
        """Announce, remove, announce again (Rule 1); see `World.message` for *stamp*."""
        errors: list[TierUnavailable] = []
        removed = yield from self._announced(kind, namespace, names, reason, doomed, errors, stamp=stamp)
        return self._done(removed, errors)

    def _announced(
        self, kind: Kind, namespace: str, names: Sequence[str], reason: str | None, doomed: Sequence[Doom],
        errors: list[TierUnavailable], *, stamp: int | None = None,
    ) -> Flow[Removed]:  # fmt: skip
        """`announced`, as part of a removal: *errors* collects what was raised."""
        world, message = self._world, self._world.message(kind, namespace, names, reason, stamp=stamp)
        in_memory = [doom for doom in doomed if not isinstance(doom, Renew) and doom.level == world.memory]
        others = [doom for doom in doomed if doom not in in_memory]
        removed = yield from self._sweep(in_memory, errors)
        with world.changing():
            removed.add((yield from self._sweep([Announce(message.opening)], errors)))
            unheard = bool(errors)
            removed.add((yield from self._sweep(others, errors)))
            if unheard:
                self._doubt_where_it_tells(others)
            removed.add((yield from self._sweep([Announce(world.over(message, removed.failed))], errors)))
        return removed

    def _doubt_where_it_tells(self, doomed: Sequence[Doom]) -> None:
        """Where it could not be announced before, a write in flight may bring back what was removed (Rule 1)."""
        tells = self._world.tells
        for doom in doomed if tells is not None else ():
            if isinstance(doom, Renew) or doom.level == tells:
                self.doubt(doom)

    def _sweep(self, doomed: Sequence[Doom | Announce], errors: list[TierUnavailable]) -> Flow[Removed]:
        """Do each; *errors* collects what was raised."""
        removed = Removed()
        for doom in doomed:
            try:
                if isinstance(doom, Renew | Announce):
                    yield doom
                else:
                    doubt = self._world.doubts[doom.level]
                    settled = _settled_by(doom, doubt)
                    removed.take(self._world.names[doom.level], (yield from effects.count(doom)))
                    doubt.settle(settled)
            except TierUnavailable as error:
                self.doubt(doom)
                self._world.say_down(error.tier, error)
                removed.failed[error.tier] = error.reason
                errors.append(error)
        return removed

    def doubt(self, doom: Doom | Announce) -> None:
        """What was not removed is not to be believed."""
        doubts = self._world.doubts
        if isinstance(doom, Remove):
            doubts[doom.level].about(doom.refs, self._world.stamp())
        elif isinstance(doom, RemoveOlder):
            doubts[doom.level].about_each(doom.starts)
        elif isinstance(doom, Debt):
            self._world.owe(doom)

    def owe(self, renewal: Renew, error: TierUnavailable) -> dict[str, str]:
        """*renewal* failed by *error*, and is to be made good; the tier that failed, and why."""
        self.doubt(renewal)
        return self._failed(error).failed

    def announce(self, message: Message) -> Flow[Removed]:
        """Announce *message* as part of a removal: a channel that is away is reported, and the others go on."""
        errors: list[TierUnavailable] = []
        return self._done((yield from self._sweep([Announce(message)], errors)), errors)

    def _done(self, removed: Removed, errors: Sequence[TierUnavailable]) -> Removed:
        """*removed*; where the user asked for that, the first of *errors* is raised instead (Rule 3)."""
        if errors and self._world.raise_errors:
            raise errors[0]
        return removed

    def touch(self, found: Found, fresh: float, began: Moment) -> Flow[float | None]:
        """Give an entry *fresh* seconds from now; in how many it expires, None where no tier took it."""
        now = self._world.now()
        header = _renewed(found.header, now, fresh)
        row = Row(header, found.live, lambda: self._world.codec.seal(header, found.live))
        return header.expires - now if (yield from self._writing.write([row], began.end)) else None


def _keys(marks: Iterable[str]) -> list[str]:
    return [mark[len(KEY_MARK) :] for mark in marks]


def _settled_by(doom: Doom, doubt: Doubt) -> Mapping[Ref, int]:
    """What *doubt* is no longer about once *doom* is done: of older entries what was asked for, and nothing later."""
    if isinstance(doom, RemoveOlder):
        return doom.starts
    return doubt.known(doom.refs) if isinstance(doom, Remove) else {}


def _renewed(header: Header, now: float, fresh: float) -> Header:
    stale = header.expires - header.fresh_until if header.expires != header.fresh_until else 0.0
    return Header(
        ref=header.ref,
        start=header.start,
        created=header.created,
        fresh_until=now + fresh,
        expires=now + fresh + stale,
        marks=header.marks,
        cost=header.cost,
        provenance=header.provenance,
    )
