"""The policy ``verified`` on a cache: what was labelled lies beside the answers, and every process learns from it.

Rule 1: a request that was not served labels its nearest answer when the caller stores its own (`labelled`), as the two
        responses compare (`scoutcache.answers.comparing`).  Feedback to a hit labels what
        it served, by the figures that it was served for, which its id says (`reported`).
Rule 2: labels of a namespace and an embedder are kept together, as an entry; those of one answer beside it.
Rule 3: where a new answer equals the nearest one, it is stored as an alias of that: another way to ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from scoutcache.answers.checks import Passed, count_check, mark_of
from scoutcache.answers.comparing import alike
from scoutcache.answers.evidence import evidence_of, observe
from scoutcache.calls.calls import Options
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import Ref
from scoutcache.idioms.alone import alone
from scoutcache.meaning.evidence import Evidence, Observation
from scoutcache.meaning.presets import Verdict
from scoutcache.meaning.scopes import POOL
from scoutcache.meaning.verified import Figures, Label, Model, figures, learn, may_serve, pack, unpack

if TYPE_CHECKING:
    from scoutcache.answers.answering import Answering, Judged
    from scoutcache.answers.evidence import Hit
    from scoutcache.answers.readings import Reading
    from scoutcache.meaning.scopes import Asked

__all__ = ["keep_labels", "labelled", "model_of", "reported", "verdict_of"]

_MORE: Final = 0.05
"""A model is learned anew when so much more was labelled."""


def verdict_of(
    answering: Answering, one: Asked, reading: Reading, similarity: float, gates: Sequence[str]
) -> Flow[Verdict]:
    """May the answer serve, by what was learned?"""
    found = yield from _figures(answering, one, reading, similarity, gates)
    model = yield from model_of(answering, reading.ref.namespace)
    reason = may_serve(found, model)
    if reason is not None or model is None:
        return Verdict(False, similarity, reason or "nothing was learned yet")
    reason = f"its score {model.score(found):.2f} reaches the cut {model.cut:.2f}"
    return Verdict(True, similarity, reason, figures=found)


def _figures(
    answering: Answering, one: Asked, reading: Reading, similarity: float, gates: Sequence[str]
) -> Flow[Figures]:
    known = yield from evidence_of(answering, reading.target, reading.answer.birth)
    return figures(one.query, reading.answer.query, similarity, known, gates)


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


def labelled(
    answering: Answering, one: Asked, namespace: str, response: Any, known: Passed | None
) -> Flow[Judged | None]:
    """Label the nearest answer by *response*, the own one of a request; it, if it is the same."""
    preset = answering.preset(0.0)
    judged = yield from answering.judged(one, namespace, preset, 1, all_=True)
    passed = known or Passed()
    own = {one.key, one.here_key}
    nearest = next((found for found in judged if found.reading.ref.key not in own), None)
    if nearest is None:
        return None
    reading, similarity = nearest.reading, nearest.verdict.similarity
    right = yield from alike(answering, one.query, reading.answer.response, response)
    if right is None:
        return None
    found = yield from _figures(answering, one, reading, similarity, preset.gates)
    label = Label(found, right, passed.weight)
    yield from keep_labels(answering, namespace, lambda _: [label])
    if passed.target == reading.ref and passed.birth == reading.answer.birth:
        yield from count_check(answering, namespace, passed.rule, right=right)
    observation = Observation(similarity, right, mark_of(one))
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
    label = Label(hit.figures, correct)

    def new(held: list[Label]) -> list[Label]:
        if instead is not None:
            _drop(held, instead)
        return [label]

    yield from _keep(answering, _kept_at(hit.namespace, hit.pool), new, None)


def keep_labels(
    answering: Answering, namespace: str, new: Callable[[list[Label]], Sequence[Label]]
) -> Flow[int]:
    """Add those that *new* gives, which is told the ones there are, to the labels of the namespace; how many."""
    model: str = yield from perform(Work(lambda: answering.state.encoding.identity))
    return (yield from _keep(answering, _kept_at(namespace, answering.state.pool), new, model))


def _keep(
    answering: Answering, ref: Ref, new: Callable[[list[Label]], Sequence[Label]], model: str | None
) -> Flow[int]:
    """Add labels to those at *ref*, alone among all that do.

    They are those of *model*, and others are dropped; None, which needs no embedder, adds to whatever is there.
    """

    def add(_: Any) -> Flow[int]:
        held = yield from answering.calls.find(ref.key, ref.namespace)
        value = held.value if held is not None and isinstance(held.value, dict) else {}
        value = value if model is None or _is_own(answering, value) else {}
        labels = unpack(value.get("labels"))
        added = new(labels)
        labels += added
        count = value["count"] + len(added) if isinstance(value.get("count"), int) else len(labels)
        written = {"count": count, "labels": pack(labels), "model": model or value.get("model")}
        if added:
            yield from answering.calls.set(ref.key, written, Options(ttl="never", namespace=ref.namespace))
        return len(added)

    return (yield from alone(answering.core, ref, add))


def _drop(labels: list[Label], one: Label) -> None:
    """Take the latest that is as *one*, as it is when it was packed, out of *labels*."""
    [packed] = unpack(pack([one]))
    for at in reversed(range(len(labels))):
        if labels[at] == packed:
            del labels[at]
            return
