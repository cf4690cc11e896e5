"""Reading answers: entries like any other, each checked by its own words before anybody is shown it.

Rule 1: an answer is read through the cache like any other key: its tier, its versions and its time decide.
Rule 2: an alias leads to an answer of its own scope, while that is the one it was made for.
Rule 3: a response may be an entry of its own (`Answer.kept_at`), without which there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from scoutcache.answers.state import State, state_of
from scoutcache.calls.calls import Calls
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.keys import check_namespace
from scoutcache.meaning.scopes import Answer, places_of, read_answer
from scoutcache.semantic.embedding import similarity_of
from scoutcache.wording.os_errors import reason_of

__all__ = ["Reading", "Readings"]

T = TypeVar("T")


class Reading(NamedTuple):
    """An answer as it was read, and what is to be recorded if it is served."""

    ref: Ref
    answer: Answer
    tier: str
    size: int | None
    cost: float | None
    fresh_until: float

    @property
    def target(self) -> Ref:
        """Where the answer itself is: not the alias that led to it."""
        return self.ref if self.answer.alias_of is None else Ref(self.ref.namespace, self.answer.alias_of)


class Readings:
    """Reads the answers of one cache; *calls* say which namespace is meant where none is given."""

    def __init__(self, calls: Calls) -> None:
        self.calls, self.core = calls, calls.core

    @property
    def state(self) -> State:
        """What the cache keeps of its semantic side."""
        return state_of(self.core)

    def namespace(self, namespace: str | None) -> str:
        """The namespace that is meant."""
        return self.calls.namespace if namespace is None else check_namespace(namespace)

    def _work(self, do: Callable[[], T], otherwise: Any = None) -> Flow[T]:
        """Do what touches the files of the index; *otherwise* where they can't be read or written.

        Then answers are missed, and none is wrong.
        """
        try:
            return (yield from perform(Work(do)))  # type: ignore[no-any-return]  # the answer is what *do* gives
        except OSError as error:
            self.core.world.down("semantic", TierUnavailable("semantic", reason_of(error)))
            return otherwise  # type: ignore[no-any-return]

    def read(self, ref: Ref, reasons: dict[Ref, str]) -> Flow[Reading | None]:
        """The fresh answer at *ref*, an alias followed; not counted yet."""
        found = yield from self._read(ref, reasons)
        if found is None or found.answer.alias_of is None:
            return found
        target = places_of(found.answer.alias_of)
        own = places_of(ref.key)
        if target is None or own is None or target[0] != own[0]:
            return None  # an alias never leaves its scope
        followed = yield from self._read(Ref(ref.namespace, found.answer.alias_of), reasons)
        if followed is None or followed.answer.alias_of is not None or followed.answer.birth != found.answer.response:
            return None
        return followed._replace(answer=followed.answer._replace(
            query=found.answer.query, vector=found.answer.vector, model=found.answer.model
        ))

    def _read(self, ref: Ref, reasons: dict[Ref, str]) -> Flow[Reading | None]:
        core = self.core
        core.follower.sync()
        row = None if core.memory is None or not core.may_peek() else core.memory.look(ref)
        if row is not None:
            header, value, tier, size = row.header, row.live.value(), "memory", row.live.size
        else:
            found = yield from core.reading.find_one(ref, reasons)
            if found is None:
                return None
            header, value, tier, size = found.header, found.value, found.tier, found.size
        if header.fresh_until <= core.world.now():
            reasons[ref] = "expired"
            return None
        answer = read_answer(ref.key, value)
        if answer is not None and answer.kept_at is not None:
            return (yield from self._kept(ref, answer, Ref(ref.namespace, answer.kept_at), reasons))
        return None if answer is None else Reading(ref, answer, tier, size, header.cost, header.fresh_until)

    def _kept(self, ref: Ref, answer: Answer, place: Ref, reasons: dict[Ref, str]) -> Flow[Reading | None]:
        """An answer whose response is an entry of its own."""
        found = None if places_of(place.key) else (yield from self.calls.find(place.key, place.namespace))
        if found is None or found.header.fresh_until <= self.core.world.now():
            reasons[ref] = "expired"
            return None
        return Reading(ref, answer._replace(response=found.value), found.tier, found.size, found.header.cost,
                       found.header.fresh_until)  # fmt: skip

    def vector_of(self, answer: Answer) -> Any:
        """The vector of an answer's query; embedded anew where another embedder made what the entry has."""
        import numpy as np

        encoding = self.state.encoding
        return np.frombuffer(answer.vector, "<f4") if encoding.made(answer.model) else encoding.one(answer.query)

    def _similarity(self, query: str, answer: Answer) -> float:
        """The cosine of two queries."""
        vector, other = self.state.encoding.one(query), self.vector_of(answer)
        return similarity_of(vector, other) if len(other) == len(vector) else 0.0
