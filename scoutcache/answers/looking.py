"""What the semantic cache says of itself: why a query hits or misses, and how much there is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from scoutcache.answers.answering import Answering, Judged
from scoutcache.calls.listing import list_entries
from scoutcache.core.core import Core
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import Ref
from scoutcache.meaning.gates import GATES, Closed, closed_by
from scoutcache.meaning.presets import LONGEST
from scoutcache.meaning.scopes import KEYS, asked, check_names
from scoutcache.patterns import Pattern

__all__ = ["explain", "stats"]


def explain(
    answering: Answering, query: str, namespace: str | None, scope: Mapping[str, Any], count: int,
    threshold: float | None, without_gates: Collection[str] = (),
) -> Flow[dict[str, Any]]:  # fmt: skip
    """What would be served to *query* and why, with the *count* nearest; it is no request and counts as none."""
    check_names("explain", scope)
    one, preset, name = asked(query, scope), answering.preset(threshold, without_gates), answering.namespace(namespace)
    off = [gate for gate in GATES if gate not in preset.gates]
    told: dict[str, Any] = {"query": query, "scope": one.scope, "namespace": name, "policy": answering.policy,
                            "threshold": preset.threshold, "gates": list(preset.gates), "gates_off": off}  # fmt: skip
    exact = yield from answering.read(Ref(name, one.key), {})
    if exact is not None and (yield from answering.known_of(exact)).wrong_itself:
        exact = None
    judged: list[Judged] = []
    if len(query) <= LONGEST and answering.core.config.enabled:
        judged = yield from answering.judged(one, name, preset, count, all_=True)
    serving = answering.best(one, judged)
    reason = _reason(query, judged, serving, exact=exact is not None, enabled=answering.core.config.enabled)
    key = one.key if exact is not None else None if serving is None else serving.reading.ref.key
    candidates = [
        {"key": found.reading.ref.key, "query": found.reading.answer.query, "similarity": found.verdict.similarity,
         "serves": found.verdict.serves, "reason": found.verdict.reason,
         "closed": _told(closed_by(query, found.reading.answer.query, preset.gates)),
         "ignored": _told(closed_by(query, found.reading.answer.query, off))}
        for found in judged
    ]  # fmt: skip
    return {**told, "serves": key is not None, "exact": exact is not None, "key": key, "reason": reason,
            "candidates": candidates}  # fmt: skip


def _told(closed: Sequence[Closed]) -> list[dict[str, str]]:
    return [one._asdict() for one in closed]


def _reason(query: str, judged: list[Judged], serving: Judged | None, *, exact: bool, enabled: bool) -> str:
    if not enabled:
        return "the cache is switched off"
    if exact:
        return "this exact query was answered"
    if serving is not None:
        return serving.verdict.reason
    if len(query) > LONGEST:
        return f"a query of more than {LONGEST:,} characters is answered only by itself"
    if not judged:
        return "nothing was answered in this scope yet"
    return f"the nearest can't serve: {judged[0].verdict.reason}"


def stats(answering: Answering, namespace: str | None) -> Flow[dict[str, Any]]:
    """How many answers there are, and what decides; index and entries are compared for it, and made to agree.

    Where a tier can't be asked what it has isn't known to be gone: then what others hold is counted.
    """
    from scoutcache.answers.checks import Observed, observed, rule_of
    from scoutcache.meaning.verified import AUDIT

    config, name = answering.core.config.semantic, answering.namespace(namespace)
    yield from answering.settle(name)
    compared = yield from answering.compare(name)
    entries, mended = compared.entries, None
    if compared.whole:
        mended = compared.missing + compared.ghosts
    else:
        entries = yield from perform(Work(lambda: _held(answering.core, name)))
    index = answering.state.index(name)
    about = yield from perform(Work(index.about))
    preset = answering.preset(None)
    rules = yield from observed(answering, name)
    checks = rules.get(rule_of(answering, preset, about["model"] or ""), Observed(0, 0))
    return {
        "namespace": name, "entries": entries, "indexed": about["indexed"], "scopes": about["scopes"],
        "mended": mended, "model": about["model"], "dimensions": about["dim"],
        "index_bytes": about["bytes"], "configured_model": config.model, "policy": config.policy,
        "preset": config.preset, "threshold": preset.threshold, "gates": list(preset.gates),
        "max_error": config.max_error if config.policy == "verified" else None,
        "check_share": AUDIT if config.policy == "verified" else config.check_share, "checked": checks.checked,
        "checked_wrong": checks.wrong, "error_rate": checks.rate, "error_rate_interval": checks.interval,
        "checks": [
            {"rule": rule, "checked": found.checked, "wrong": found.wrong, "error_rate": found.rate,
             "error_rate_interval": found.interval} for rule, found in rules.items()
        ],
    }  # fmt: skip


def _held(core: Core, namespace: str) -> int:
    """How many answers the tiers that can be asked hold, valid or not."""
    return sum(1 for _ in list_entries(core, namespace, Pattern.parse(KEYS), unchecked=True))
