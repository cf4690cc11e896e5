"""Shadow checks: a share of what could be served is computed all the same, and compared, so that the error is known.

Rule 1: a check is a request that is not served though it could be.  Its caller computes it, as after any miss, and what
        he stores is compared with what would have been served (`scoutcache.answers.comparing`).
Rule 2: which requests are checked is left to chance, so the part of wrong ones among them is that of all hits.
Rule 3: counts belong to what decided: the embedder, the threshold and the gates, or the policy ``verified`` and its
        error.  They lie beside the answers, for all processes.
Rule 4: what a check finds wrong is not served again to queries as far away or farther, as after feedback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.answers.comparing import alike
from scoutcache.answers.evidence import observe
from scoutcache.calls.calls import Options
from scoutcache.calls.listing import known
from scoutcache.engine.effects import Flow
from scoutcache.entry import Ref
from scoutcache.idioms.alone import alone
from scoutcache.meaning.calibration import Interval, wilson
from scoutcache.meaning.evidence import Observation
from scoutcache.meaning.scopes import CHECKS
from scoutcache.meaning.verified import AUDIT

if TYPE_CHECKING:
    from scoutcache.answers.answering import Answering, Judged
    from scoutcache.meaning.presets import Preset
    from scoutcache.meaning.scopes import Asked

__all__ = ["Observed", "Passed", "checked", "count_check", "mark_of", "observed", "rule_of", "withheld"]

_RULES: Final = 20
"""So many are remembered."""


class Passed(NamedTuple):
    """A request that was not served: how many it stands for, and what it could have been served, if anything."""

    weight: float = 1.0
    target: Ref | None = None
    birth: str = ""
    similarity: float = 0.0
    rule: str = ""


class Observed(NamedTuple):
    """What the checks of one rule found."""

    checked: int
    wrong: int

    @property
    def rate(self) -> float | None:
        """Wrong ones among the checked."""
        return self.wrong / self.checked if self.checked else None

    @property
    def interval(self) -> Interval | None:
        """Where the rate of all hits lies, with 95 %."""
        return wilson(self.wrong, self.checked)


def rule_of(answering: Answering, preset: Preset, model: str) -> str:
    """By what hits are decided, *model* being the embedder's name."""
    if answering.policy == "verified":
        return f"verified {answering.core.config.semantic.max_error:g}, model {model}"
    return f"threshold {preset.threshold:g}, gates {' '.join(preset.gates) or 'none'}, model {model}"


def withheld(answering: Answering, one: Asked, namespace: str, best: Judged | None, preset: Preset) -> bool:
    """Is *best*, which could serve, not to be served, so that it is checked?  What is not served is remembered."""
    learning = answering.policy == "verified"
    share = AUDIT if learning else answering.core.config.semantic.check_share
    is_checked = best is not None and share > 0 and answering.core.world.dice() < share
    ref = Ref(namespace, one.key)
    if best is not None and is_checked:
        reading = best.reading
        answering.state.note_passed(ref, Passed(
            1 / share, reading.ref, reading.answer.birth, best.verdict.similarity,
            rule_of(answering, preset, answering.state.encoding.name),
        ))  # fmt: skip
    elif best is None and learning:
        answering.state.note_passed(ref, Passed())
    return is_checked


def mark_of(one: Asked) -> str:
    """By what an observation of a query is told from others."""
    return one.ident.hex()[:12]


def checked(answering: Answering, one: Asked, namespace: str, passed: Passed, response: Any) -> Flow[None]:
    """Compare *response* with what would have been served, if that is still there, and count it."""
    reading = None if passed.target is None else (yield from answering.read(passed.target, {}))
    if reading is None or reading.answer.birth != passed.birth:
        return
    right = yield from alike(answering, one.query, reading.answer.response, response)
    if right is None:
        return
    yield from count_check(answering, namespace, passed.rule, right=right)
    observation = Observation(passed.similarity, right, mark_of(one))
    yield from observe(answering, reading.target, reading.answer.birth, observation)


def count_check(answering: Answering, namespace: str, rule: str, *, right: bool) -> Flow[None]:
    """Count one check of *rule*."""
    ref = Ref(namespace, CHECKS)

    def add(_: Any) -> Flow[None]:
        held = yield from answering.calls.find(ref.key, namespace)
        rules = _rules(None if held is None else held.value)
        before = rules.pop(rule, Observed(0, 0))
        rules[rule] = Observed(before.checked + 1, before.wrong + (not right))
        latest = {name: list(rules[name]) for name in list(rules)[-_RULES:]}
        yield from answering.calls.set(ref.key, {"v": 1, "rules": latest}, Options(ttl="never", namespace=namespace))

    yield from alone(answering.core, ref, add)


def observed(answering: Answering, namespace: str) -> Flow[dict[str, Observed]]:
    """What the checks of each rule found, the latest last."""
    held = yield from known(answering.calls, Ref(namespace, CHECKS))
    return _rules(None if held is None else held.value)


def _rules(value: Any) -> dict[str, Observed]:
    rules = value.get("rules") if isinstance(value, dict) and value.get("v") == 1 else None
    if not isinstance(rules, dict):
        return {}
    return {name: Observed(*row) for name, row in rules.items() if isinstance(name, str) and _is_sound(row)}


def _is_sound(row: Any) -> bool:
    whole = isinstance(row, list) and len(row) == 2 and all(type(one) is int for one in row)
    return whole and 0 <= row[1] <= row[0]
