"""The policy ``verified`` on a cache: what was labelled lies beside the answers, and every process learns from it.

Rule 1: a request that was not served labels its nearest answer when the caller stores its own (`labelled`): by equality
        of the two responses, or by the function that was given (`semantic.use(same=…)`).  Feedback to a hit labels what
        it served, by the figures that it was served for, which its id says (`reported`).
Rule 2: labels of a namespace and an embedder are kept together, as an entry; those of one answer beside it.
Rule 3: where a new answer equals the nearest one, it is stored as an alias of that: another way to ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from scoutcache.alone import alone
from scoutcache.answers.evidence import evidence_of, observe
from scoutcache.calls import Options
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import Ref
from scoutcache.errors import CacheError
from scoutcache.meaning.evidence import Evidence, Observation
from scoutcache.meaning.presets import Verdict
from scoutcache.meaning.scopes import POOL
from scoutcache.meaning.verified import AUDIT, Figures, Label, Model, figures, learn, may_serve, pack, unpack

if TYPE_CHECKING:
    from scoutcache.answers.answering import Answering, Judged, Reading
    from scoutcache.answers.evidence import Hit
    from scoutcache.meaning.scopes import Asked

__all__ = ["labelled", "model_of", "passed", "reported", "verdict_of"]

_MORE: Final = 0.05
"""A model is learned anew when so much more was labelled."""


def verdict_of(
    answering: Answering, one: Asked, reading: Reading, similarity: float, gates: Sequence[str]
) -> Flow[Verdict]:
    """May the answer serve, by what was learned?"""
    found = yield from _figures(answering, one, reading, similarity, gates)
    model = yield from model_of(answering, reading.ref.namespace)
    reason = may_serve(found, model)
    similarity = min(max(similarity, 0.0), 1.0)
    if reason is not None or model is None:
        return Verdict(False, similarity, reason or "nothing was learned yet")
    reason = f"its score {model.score(found):.2f} reaches the cut {model.cut:.2f}"
    return Verdict(True, similarity, reason, figures=found)


def _figures(
    answering: Answering, one: Asked, reading: Reading, similarity: float, gates: Sequence[str]
) -> Flow[Figures]:
    known = yield from evidence_of(answering, reading.target, reading.answer.birth)
    return figures(one.query, reading.answer.query, min(max(similarity, 0.0), 1.0), known, gates)


def model_of(answering: Answering, namespace: str) -> Flow[Model | None]:
    """What was learned from the labels of the namespace."""
    state, ref = answering.state, _kept_at(namespace, answering.state.pool)
    held = yield from answering.calls.find(ref.key, namespace)
    if held is None:
        return None
    count = held.value.get("count") if _is_own(answering, held.value) else None
    if not isinstance(count, int):
        return None
    known = state.models.get(ref)
    if known is None or not known[0] <= count < known[0] + max(20, known[0] * _MORE):
        labels, error = unpack(held.value.get("labels")), answering.core.config.semantic.max_error
        model: Model | None = yield from perform(Work(lambda: learn(labels, error)))
        known = state.models[ref] = (count, model)
    return known[1]


def _is_own(answering: Answering, value: Any) -> bool:
    """Are these labels of the embedder in use?  Those of another one of its name say nothing of its similarities."""
    model = value.get("model") if isinstance(value, dict) else None
    return isinstance(model, str) and answering.state.encoding.made(model)


def _kept_at(namespace: str, pool: str) -> Ref:
    return Ref(namespace, f"{POOL}:{pool}")


def passed(answering: Answering, one: Asked, namespace: str, *, serves: bool) -> bool:
    """Is this request not to be served though it could be, so that it labels?  What it stands for is remembered."""
    audited = serves and answering.core.world.dice() < AUDIT
    if not serves or audited:
        answering.state.note_passed(Ref(namespace, one.key), 1 / AUDIT if audited else 1.0)
    return audited


def labelled(answering: Answering, one: Asked, namespace: str, response: Any) -> Flow[Judged | None]:
    """Label the nearest answer by *response*, the own one; it, if it is the same."""
    preset = answering.preset(0.0)
    judged = yield from answering.judged(one, namespace, preset, 1, all_=True)
    nearest = next((found for found in judged if found.reading.ref.key != one.key), None)
    if nearest is None:
        return None
    reading, similarity = nearest.reading, nearest.verdict.similarity
    right = yield from _same(answering, reading.answer.response, response)
    found = yield from _figures(answering, one, reading, similarity, preset.gates)
    weight = answering.state.take_passed(Ref(namespace, one.key))
    yield from _keep(answering, _kept_at(namespace, answering.state.pool), Label(found, right, weight))
    observation = Observation(similarity, right, one.ident.hex()[:12])
    yield from observe(answering, reading.target, reading.answer.birth, observation)
    return nearest if right else None


def reported(answering: Answering, hit: Hit, correct: bool, before: Evidence) -> Flow[None]:
    """Label what *hit* served by the feedback to it; *before* it that was known of the answer.

    Feedback counts once: the same again is nothing new, and another one takes the place of the first.
    """
    said = next((one.right for one in before.seen if one.mark == hit.mark), None)
    if hit.figures is None or said == correct:
        return
    instead = None if said is None else Label(hit.figures, said)
    yield from _keep(answering, _kept_at(hit.namespace, hit.pool), Label(hit.figures, correct), instead)


def _same(answering: Answering, one: Any, other: Any) -> Flow[bool]:
    same = answering.state.same
    if same is None:
        return bool(one == other)
    found = yield from perform(Work(lambda: same(one, other)))
    if not isinstance(found, bool):
        raise CacheError(f"same(one, other) gives True or False, not {found!r:.40}")
    return found


def _keep(answering: Answering, ref: Ref, label: Label, instead: Label | None = None) -> Flow[None]:
    """Add *label* to those at *ref*, alone among all that do; the latest that is as *instead* goes."""

    def add(_: Any) -> Flow[None]:
        held = yield from answering.calls.find(ref.key, ref.namespace)
        value = held.value if held is not None and _is_own(answering, held.value) else {}
        labels = unpack(value.get("labels"))
        if instead is not None:
            _drop(labels, instead)
        labels.append(label)
        count = value["count"] + 1 if isinstance(value.get("count"), int) else len(labels)
        written = {"count": count, "labels": pack(labels), "model": answering.state.encoding.identity}
        yield from answering.calls.set(ref.key, written, Options(ttl="never", namespace=ref.namespace))

    yield from alone(answering.core, ref, add)


def _drop(labels: list[Label], one: Label) -> None:
    """Take the latest that is as *one*, as it is when it was packed, out of *labels*."""
    [packed] = unpack(pack([one]))
    for at in reversed(range(len(labels))):
        if labels[at] == packed:
            del labels[at]
            return
