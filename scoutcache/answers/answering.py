"""The flows of `cache.semantic`: what is asked, answered, added and removed by meaning, written once for both faces.

Rule 1: an answer is an ordinary entry.  A candidate that the index names is read (`scoutcache.answers.readings`) before
        anything of it is served, and its similarity is computed from the vector in the entry.  So TTL, tags,
        invalidation, limits and signatures hold.
Rule 2: exact before near: the answer to the very same query needs no embedder.
Rule 3: a request counts once: as a hit of the entry that was served, or as a miss of the key the query would have.
Rule 4: a row is announced before its entry is written, and goes after it (`scoutcache.semantic.index`).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.answers.agreement import Agreement
from scoutcache.answers.readings import Reading
from scoutcache.calls.calls import Options
from scoutcache.engine.effects import Flow, Spawn, Work, perform
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, InvalidKey, PolicyError
from scoutcache.meaning.gates import GATES
from scoutcache.meaning.presets import LONGEST, Preset, Verdict, check_gates, chosen, judge, lifted, rank
from scoutcache.meaning.scopes import Answer, Asked, asked, check_names, is_here, key_of, places_of, written_answer
from scoutcache.patterns import Pattern
from scoutcache.semantic.index import Candidate, Index, Place

if TYPE_CHECKING:
    from scoutcache.meaning.evidence import Evidence
    from scoutcache.meaning.verified import Figures

__all__ = ["Answering", "Found", "Judged"]

_NEAREST: Final = 4
"""Candidates that are looked at: in GPTCache's benchmark the right one is among so many in 999 of 999."""

_ROUNDS: Final = 16
"""How often more candidates are asked for, where some turn out to be gone."""

_REWORDED: Final = 0.8
"""As near the nearest must be to be looked at for the same words (`lifted`)."""

_LEAST: Final = 0.5
"""Below this similarity nothing is learned to serve."""


class Judged(NamedTuple):
    """A candidate with its answer, and what was decided of it."""

    reading: Reading
    similarity: float
    verdict: Verdict


class Found(NamedTuple):
    """What serves, and how near it is."""

    reading: Reading
    similarity: float
    exact: bool
    hit_id: str


class Answering(Agreement):
    """The flows for one cache in one namespace."""

    def preset(self, threshold: float | None, without: Collection[str] = ()) -> Preset:
        """What decides, by the configuration and the call.  Raises `CacheError`."""
        config = self.core.config.semantic
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if threshold is not None and not (is_number and 0 <= threshold <= 1):
            raise CacheError(f"a threshold is a cosine similarity from 0 to 1, not {threshold!r}")
        check_gates(without, "without_gates")
        threshold = config.threshold if threshold is None else threshold
        gates = tuple(GATES) if config.gates is None and config.policy == "verified" else config.gates
        return chosen(config.preset, threshold, gates, {*config.without_gates, *without})

    @property
    def policy(self) -> str:
        """``threshold`` or ``verified``."""
        return self.core.config.semantic.policy

    # -- asking

    def get(
        self, query: str, namespace: str | None, scope: Mapping[str, Any], threshold: float | None = None,
        without_gates: Collection[str] = (),
    ) -> Flow[Found | None]:  # fmt: skip
        """What serves *query*, or None."""
        check_names("get", scope)
        one, preset, name = asked(query, scope), self.preset(threshold, without_gates), self.namespace(namespace)
        began, reasons = self.core.clocks.monotonic_ns(), dict[Ref, str]()
        found = yield from self._found(one, name, preset, reasons)
        if found is not None:
            self.served(found, began)
            return found
        self.calls.recording.missed("get", Ref(name, one.key), began, reasons, None)
        return None

    def sought(self, query: str, scope: Mapping[str, Any], namespace: str) -> Flow[Found | None]:
        """The same, on record nowhere: the caller says whether it is `served`."""
        return (yield from self._found(asked(query, scope), namespace, self.preset(None), {}))

    def _found(self, one: Asked, namespace: str, preset: Preset, reasons: dict[Ref, str]) -> Flow[Found | None]:
        if not self.core.config.enabled:
            return None
        found = yield from self._exact(one, namespace, reasons)
        if found is None and len(one.query) <= LONGEST:
            found = yield from self._near(one, namespace, preset)
        return found

    def _exact(self, one: Asked, namespace: str, reasons: dict[Ref, str]) -> Flow[Found | None]:
        found = yield from self.read(Ref(namespace, one.key), reasons)
        if found is None or (yield from self.known_of(found)).wrong_itself:
            return None
        return Found(found, 1.0, True, self.hit_id(found, 1.0, one))

    def _near(self, one: Asked, namespace: str, preset: Preset) -> Flow[Found | None]:
        judged = yield from self.judged(one, namespace, preset, 1 if self.policy == "verified" else _NEAREST)
        best = self.best(one, judged)
        checks = self.policy == "verified" or self.core.config.semantic.check_share
        if checks and not self.core.clocks.looking:  # nobody computes for who only looks
            from scoutcache.answers.checks import withheld  # a face of its own, that stands on this one

            best = None if withheld(self, one, namespace, best, preset) else best
        if best is None:
            return None
        hit_id = self.hit_id(best.reading, best.similarity, one, best.verdict.figures)
        return Found(best.reading, best.similarity, False, hit_id)

    def best(self, one: Asked, judged: Sequence[Judged]) -> Judged | None:
        """Of candidates that may serve the one that does."""
        serving = [found for found in judged if found.verdict.serves]
        query = one.query
        return max(serving, key=lambda it: rank(query, it.reading.answer.query, it.similarity), default=None)

    def judged(
        self, one: Asked, namespace: str, preset: Preset, count: int = _NEAREST, *, all_: bool = False
    ) -> Flow[list[Judged]]:
        """The nearest answers and what is decided of each; only those that are near enough, unless *all_*."""
        index = yield from self.opened(namespace)

        def search() -> list[Candidate]:
            vector = self.state.encoding.one(one.query)
            found, here = index.near(vector, one.digest, count), self.state.here(namespace)
            if here is None:
                return found
            near = [*found, *(it._replace(here=True) for it in here.near(vector, one.digest, count))]
            return sorted(near, key=lambda it: -it.similarity)[:count]

        judged: dict[tuple[Place, bool], Judged] = {}
        least = _LEAST if self.policy == "verified" else preset.threshold - 0.01
        for _ in range(_ROUNDS):
            candidates: list[Candidate] = yield from self._work(search, [])
            gone = False
            for candidate in candidates:
                if (candidate.place, candidate.here) in judged:
                    continue
                if not all_ and max(candidate.similarity, 0.0) < (least if judged else min(least, _REWORDED)):
                    break
                found = yield from self._candidate(one, namespace, index, candidate)
                if found is None:
                    gone = True
                    continue
                reading, similarity = found
                verdict = yield from self._verdict(one, reading, similarity, preset)
                judged[candidate.place, candidate.here] = Judged(reading, similarity, verdict)
            if not gone:  # else those behind the ones that are passed over from now on are asked for
                break
        return list(judged.values())

    def _verdict(self, one: Asked, reading: Reading, similarity: float, preset: Preset) -> Flow[Verdict]:
        if self.policy == "verified":
            from scoutcache.answers.verifying import verdict_of  # a face of its own, that stands on this one

            return (yield from verdict_of(self, one, reading, similarity, preset.gates))
        verdict = judge(one.query, reading.answer.query, similarity, preset)
        return (yield from self._unless_reported(reading, verdict)) if verdict.serves else verdict

    def _unless_reported(self, reading: Reading, verdict: Verdict) -> Flow[Verdict]:
        """*verdict*, unless the answer was reported wrong for a query that was as near."""
        known = yield from self.known_of(reading)
        if verdict.similarity > known.wrong_up_to:
            return verdict
        reason = f"reported wrong for a query with similarity {known.wrong_up_to:.3f}"
        return verdict._replace(serves=False, reason=reason)

    def known_of(self, reading: Reading) -> Flow[Evidence]:
        """What was seen of the answer."""
        from scoutcache.answers.evidence import evidence_of

        return (yield from evidence_of(self, reading.target, reading.answer.birth))

    def _candidate(
        self, one: Asked, namespace: str, index: Index, candidate: Candidate
    ) -> Flow[tuple[Reading, float] | None]:
        """The answer that a candidate names, with its similarity by its own vector; None where there is none."""
        reasons: dict[Ref, str] = {}
        key = key_of(*candidate.place, here=candidate.here)
        reading = yield from self.read(Ref(namespace, key), reasons)
        if reading is None:
            own = self.state.here(namespace) if candidate.here else index
            gone = candidate.here or reasons.get(Ref(namespace, key)) in {"expired", "invalidated"}
            if own is not None:
                yield from self._work(lambda: own.pass_over(candidate, gone=gone))
            return None
        similarity = yield from perform(Work(lambda: self._similarity(one.query, reading.answer)))
        if self.policy != "verified":
            similarity = lifted(one.query, reading.answer.query, similarity)
        return reading, similarity

    def served(self, found: Found, began: int) -> None:
        """Record a hit."""
        ref, tier = found.reading.ref, found.reading.tier
        if tier == "memory" and self.core.memory is not None and self.core.memory.live(ref) is not None:
            self.calls.recording.hit(ref, began, found.reading.size)  # reading it again counted it
        else:
            self.calls.recording.done("get", ref, began, outcome="hit", tier=tier, size=found.reading.size,
                                      cost=found.reading.cost)  # fmt: skip

    def hit_id(self, reading: Reading, similarity: float, one: Asked, figures: Figures | None = None) -> str:
        """A name for this hit, which says what it was a hit of, and the *figures* that it was served for."""
        from scoutcache.answers.evidence import Hit  # a face of its own, that stands on this one

        return Hit.of(self.state, reading, similarity, one, figures).text

    # -- changing

    def add(self, query: str, response: Any, options: Options, scope: Mapping[str, Any]) -> Flow[str | None]:
        """Store the answer to *query*; its key, None when no tier took it."""
        check_names("add", scope)
        one, name = asked(query, scope), self.namespace(options.namespace)
        ref = Ref(name, one.key)
        self.calls.lifetime(ref, options.ttl, options.stale_ttl)  # a wrong one fails before anything is embedded
        options = options._replace(since=options.since or self.calls.position())  # embedding takes its time
        if not self.core.config.enabled:
            yield from self.calls.set(one.key, response, options)  # recorded as bypassed
            return None
        answer = Answer(query, response, one.scope, b"", "", secrets.token_hex(8))
        equal = yield from self._learn(one, name, response)
        if equal is not None:
            target = equal.reading
            answer = answer._replace(response=target.answer.birth, alias_of=target.target.key)
        taken = yield from self.store(one, name, answer, options)
        return one.key if taken else None

    def point(self, query: str, scope: Mapping[str, Any], kept_at: Ref, response: Any, ttl: float) -> Flow[None]:
        """Let *response*, which is kept at *kept_at*, be found by meaning: it lives, changes and goes with that entry.

        A query of more than `LONGEST` characters is found by its key alone.
        """
        one, namespace = asked(query, scope), kept_at.namespace
        if len(query) > LONGEST or not self.core.config.enabled:
            return
        self._check_protection(kept_at)
        here = self._is_confined(kept_at, one)
        if here and self.core.memory is None:
            return
        yield from self._learn(one, namespace, response)
        answer = Answer(query, None, one.scope, b"", "", secrets.token_hex(8), kept_at=kept_at.key)
        yield from self.store(one, namespace, answer, Options(ttl, depends_on=[kept_at.key]), here=here)

    def _is_confined(self, kept_at: Ref, one: Asked) -> bool:
        """May what leads to an entry not stand everywhere?  Where the entry may not, its question may not either."""
        policy = self.core.world.policy
        said, own = (None, None) if policy is None else (policy(kept_at), policy(Ref(kept_at.namespace, one.key)))
        if said is None or said.allowed_backends is None:
            return False
        mine = {"disk", *self.core.world.names} if own is None or own.allowed_backends is None else own.allowed_backends
        return not mine <= said.allowed_backends

    def _learn(self, one: Asked, namespace: str, response: Any) -> Flow[Judged | None]:
        """Learn from the own answer of what was not served; the nearest one, if it is verified to be the same."""
        passed = self.state.take_passed(Ref(namespace, one.key))
        learns = self.policy == "verified" and len(one.query) <= LONGEST
        if learns and not (yield from self._is_answered(one, namespace)):
            from scoutcache.answers.verifying import labelled

            return (yield from labelled(self, one, namespace, response, passed))
        if passed is not None:
            from scoutcache.answers.checks import checked

            yield from checked(self, one, namespace, passed, response)
        return None

    def _is_answered(self, one: Asked, namespace: str) -> Flow[bool]:
        for key in (one.key, one.here_key):
            if (yield from self.read(Ref(namespace, key), {})) is not None:
                return True
        return False

    def store(
        self, one: Asked, namespace: str, answer: Answer, options: Options, *, here: bool = False
    ) -> Flow[bool]:
        """Write *answer* as an entry, in memory alone with *here*, and put it into the index.

        An over-long query is in no index.
        """
        options = options._replace(namespace=namespace)
        if len(one.query) > LONGEST:
            return (yield from self.calls.set(one.key, written_answer(answer), options))
        key = one.here_key if here else one.key
        self._check_protection(Ref(namespace, key))
        index = self._index_here(namespace) if here else (yield from self.opened(namespace))
        encoding, place = self.state.encoding, Place(one.digest, one.ident)
        vector, made_by = yield from perform(Work(lambda: (encoding.one(one.query), encoding.identity)))
        whole = answer._replace(vector=vector.astype("<f4").tobytes(), model=made_by)
        self.core.world.codec.hold(written_answer(whole))  # what can't be stored is refused before the index is touched
        if not (yield from self._work(lambda: index.adding(place, vector), otherwise=False)):
            return False
        taken = yield from self.calls.set(key, written_answer(whole), options)
        if taken:
            yield from self._work(lambda: index.added(place, vector))
            if not here and (yield from self._work(index.is_due_to_be_compared, otherwise=False)):
                yield from perform(Spawn(self._compared(namespace), True, lambda: None))
        else:
            yield from self._settle(index, namespace, [place], here=here)  # a newer one may stand
        return taken

    def _check_protection(self, ref: Ref) -> None:
        """Raise `PolicyError` for an entry that must not be at rest in plain: a vector says much of its text."""
        said = None if self.core.world.policy is None else self.core.world.policy(ref)
        if said is not None and said.encrypt_at_rest:
            raise PolicyError(
                f"the policy {said.sources['encrypt_at_rest']!r} requires encryption at rest, and the index that finds "
                "answers by meaning keeps the vectors of queries in plain",
                hint="leave these entries out of the semantic cache",
            )

    def remove(self, key: str, namespace: str | None) -> Flow[bool]:
        """Remove the answer with *key*; True if it was there."""
        name, found = self.namespace(namespace), places_of(str(key))
        if found is None:
            raise InvalidKey(f"{key!r:.80} is no key of a semantic answer",
                             hint="add() returns it, and scoutcache semantic query --json prints a hit's")  # fmt: skip
        here, places = is_here(str(key)), [Place(*found)]
        index = self._index_here(name) if here else self.state.index(name)
        yield from self._work(lambda: index.removing(places))
        removed = yield from self.calls.delete(str(key), name)
        unsure: list[Place] = yield from self._work(lambda: index.removed(places), [])
        yield from self._settle(index, name, unsure, here=here)
        return removed

    def clear(self, namespace: str | None) -> Flow[None]:
        """Remove every answer of the namespace, and what was learned of them."""
        name = self.namespace(namespace)
        here = self.state.here(name)
        indexes = [self.state.index(name), *([] if here is None else [here])]
        for index in indexes:
            yield from self._work(index.removing_all)
        removed = yield from self.core.removing.pattern(name, Pattern.parse("semantic:*"))
        if not removed.failed:
            for index in indexes:
                yield from self._work(index.removed_all)
