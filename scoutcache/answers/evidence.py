"""Feedback on semantic hits: what a hit was, and what was learned of the answer that it served.

Rule 1: a hit's id says which answer served, how near it was, to whom (namespace, scope), and by what the policy
        ``verified`` decided: feedback may come in another process, and later.  It is no secret and no proof: whoever
        hands ids out to strangers keeps a table.
Rule 2: what is learned lies beside the answer as an entry of its own, changed by one at a time.
Rule 3: a hit of the policy ``verified`` that feedback comes for is a label like others; an exact hit is none of its.
Rule 4: what was reported wrong is not served again to queries that are as far away or farther, whatever the policy.
Rule 5: feedback comes from the namespace of the hit: whoever works in another one changes nothing there.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import secrets
from typing import Any, NamedTuple, Self

import msgspec

from scoutcache.answers.answering import Answering
from scoutcache.answers.readings import Reading
from scoutcache.answers.state import Served, State
from scoutcache.calls.calls import Options
from scoutcache.engine.effects import Flow
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.idioms.alone import alone
from scoutcache.meaning.evidence import SAME, Evidence, Observation, read_evidence
from scoutcache.meaning.scopes import Asked, evidence_key, places_of
from scoutcache.meaning.verified import Figures, read_figures

__all__ = ["Hit", "evidence_of", "feedback", "observe"]


class Hit(NamedTuple):
    """What a hit's id says."""

    namespace: str
    key: str
    birth: str
    similarity: float
    mark: str
    pool: str = ""
    figures: Figures | None = None
    """What the policy ``verified`` decided by, and where its labels are; none of an exact hit."""

    @classmethod
    def of(
        cls, state: State, reading: Reading, similarity: float, one: Asked, figures: Figures | None = None
    ) -> Self:
        """A new one, remembered for the feedback to it."""
        key = reading.target.key
        mark = secrets.token_hex(6)
        if reading.ref.key == one.key:
            mark = SAME + mark
        hit = cls(reading.ref.namespace, key, reading.answer.birth, similarity, mark)
        if figures is not None:
            hit = hit._replace(pool=state.pool, figures=figures)
        state.note_served(hit.mark, Served(key, one.query, one.scope))
        return hit

    @property
    def text(self) -> str:
        """The id."""
        fields = list(self) if self.figures is not None else list(self[:5])
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(fields)).decode().rstrip("=")

    @classmethod
    def read(cls, hit_id: str) -> Self:
        """What *hit_id* says.  Raises `InvalidKey`."""
        try:
            fields = msgspec.msgpack.decode(base64.urlsafe_b64decode(hit_id + "=" * (-len(hit_id) % 4)))
            hit = cls(*fields)
            sound = all(isinstance(one, str) for one in (hit.namespace, hit.key, hit.birth, hit.mark))
            sound = sound and 0 <= hit.similarity <= 1 and places_of(hit.key) is not None
            if hit.figures is not None:
                hit = hit._replace(figures=read_figures(hit.figures))
                sound = sound and hit.figures is not None and re.fullmatch("[0-9a-f]{16}", hit.pool) is not None
        except (ValueError, TypeError, binascii.Error, msgspec.DecodeError):
            sound = False
        if not sound:
            raise InvalidKey(f"{hit_id!r:.80} is no id of a hit",
                             hint="give a hit's hit_id as it is: scoutcache semantic query --json prints it")
        return hit


def evidence_of(answering: Answering, ref: Ref, birth: str) -> Flow[Evidence]:
    """What is known of the answer at *ref*."""
    held = yield from answering.calls.find(evidence_key(ref.key), ref.namespace)
    return read_evidence(None if held is None else held.value, birth)


def observe(answering: Answering, ref: Ref, birth: str, observation: Observation) -> Flow[Evidence | None]:
    """Add *observation* to what is known of the answer at *ref*; what was known before, None when it is gone."""
    own = Ref(ref.namespace, evidence_key(ref.key))

    def add(_: Any) -> Flow[Evidence | None]:
        reading = yield from answering.read(ref, {})
        if reading is None or reading.answer.birth != birth:
            return None
        known = yield from evidence_of(answering, ref, birth)
        left = reading.fresh_until - answering.core.world.now()
        ttl = "never" if math.isinf(left) else max(left, 0.001)
        options = Options(ttl=ttl, namespace=ref.namespace)
        taken = yield from answering.calls.set(own.key, known.with_(observation).written(), options)
        return known if taken else None

    return (yield from alone(answering.core, own, add))


def feedback(answering: Answering, hit_id: str, correct: object, namespace: str | None = None) -> Flow[bool]:
    """Learn whether a hit was right; False when its answer is gone, or it was one of another namespace."""
    if not isinstance(correct, bool):
        raise CacheError(f"correct is True or False, not {correct!r:.40}")
    name, hit = answering.namespace(namespace), Hit.read(hit_id)
    if hit.namespace != name:
        return False
    observation = Observation(hit.similarity, correct, hit.mark)
    before = yield from observe(answering, Ref(hit.namespace, hit.key), hit.birth, observation)
    if before is None:
        return False
    from scoutcache.answers.verifying import reported  # a face of its own, that stands on this one

    yield from reported(answering, hit, correct, before)
    return True
