"""What is wrong with policies: contradictions to the rest of the configuration, and conflicts among themselves.

Rule 1: a policy that can't be obeyed is a wrong setting.
Rule 2: a conflict is none, for the first policy wins; but it is told: two policies of one priority that speak of a
        common entry and say different things of the same setting.  Which entries two policies have in common is known
        exactly, but for patterns of great length.
Rule 3: what protects data is never left undone in silence: `unprotected` names the policies whose protection this
        version or this configuration can't give, judged by every policy that may send an entry elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from scoutcache.entry import MISSING
from scoutcache.patterns.overlap import overlap
from scoutcache.policies import CachePolicy
from scoutcache.policies.book import SETTINGS, by_precedence, says

__all__ = ["Conflict", "conflicts", "policy_problems", "unprotected"]


class Conflict(NamedTuple):
    """Two policies of one priority that contradict each other; *winner* is the one that holds."""

    winner: str
    loser: str
    setting: str
    values: tuple[Any, Any]
    """What each of them says, as it was written."""
    pattern: tuple[str, str]
    """A pattern of each, which have keys in common."""

    def __str__(self) -> str:
        first, second = self.values
        return (
            f"policies {self.winner!r} and {self.loser!r} conflict: keys can match {self.pattern[0]!r} and "
            f"{self.pattern[1]!r}, and at the same priority {self.setting} is {first} in the one and {second} in the "
            f"other; {self.winner!r}, the first, wins"
        )


def conflicts(policies: Sequence[CachePolicy]) -> list[Conflict]:
    """Every setting that two policies of one priority contradict each other in."""
    found = []
    for winner, loser in combinations(by_precedence(policies), 2):
        if winner.priority == loser.priority and (pattern := _common(winner, loser)) is not None:
            for setting in SETTINGS:
                one, other = says(winner, setting), says(loser, setting)
                if MISSING not in (one, other) and one != other:
                    values = _written(winner, setting), _written(loser, setting)
                    found.append(Conflict(winner.policy_id, loser.policy_id, setting, values, pattern))
    return found


def _written(policy: CachePolicy, setting: str) -> Any:
    return policy.model_dump(mode="json", include={setting})[setting]


def _common(one: CachePolicy, other: CachePolicy) -> tuple[str, str] | None:
    """A pattern of each that have keys in common, None when the policies have no entry in common."""
    if one.namespaces and other.namespaces and set(one.namespaces).isdisjoint(other.namespaces):
        return None
    pairs = ((mine, theirs) for mine in one.patterns for theirs in other.patterns)
    return next(((a.text, b.text) for a, b in pairs if overlap(a, b)), None)


def policy_problems(
    policies: Sequence[CachePolicy], *, tiers: Sequence[str], rules: Collection[str], compression: str
) -> Iterator[str]:
    """What each policy asks for that *tiers*, the ids of *rules* or the *compression* don't give."""
    for policy in policies:
        allowed = _allowed(policy, tiers)
        if not allowed:
            named = " and ".join(backend.value for backend in policy.allowed_backends or ()) or "no tier"
            yield f"policies: {policy.policy_id!r} allows {named}, but the tiers are {', '.join(tiers)}"
        if policy.compression_required and compression == "none" and set(allowed) - {"memory"}:
            yield f"policies: {policy.policy_id!r} requires compression, but compression.type is none"
        for rule in policy.invalidation_rules:
            if rule not in rules:
                known = ", ".join(sorted(rules)) or "none"
                yield f"policies: {policy.policy_id!r} names the rule {rule!r}, which is not among the rules ({known})"


def _allowed(policy: CachePolicy, tiers: Sequence[str]) -> list[str]:
    """Those of *tiers* that it allows; all of them when it says nothing of that."""
    allowed = says(policy, "allowed_backends")
    return [tier for tier in tiers if allowed in (MISSING, None) or tier in allowed]


def unprotected(policies: Sequence[CachePolicy], requirement: str, exposed: Collection[str]) -> list[str]:
    """The ids of policies with *requirement* whose entries may come to stand in one of the tiers *exposed*."""
    ordered = by_precedence(policies)
    return [
        policy.policy_id
        for at, policy in enumerate(ordered)
        if getattr(policy, requirement)
        and any(_exposes(one, exposed) for one in [*_deciding_before(ordered[:at], policy), policy])
    ]


def _deciding_before(earlier: Sequence[CachePolicy], policy: CachePolicy) -> Iterator[CachePolicy]:
    """The policies that say, before *policy* does, where some of its entries may stand."""
    for one in earlier:
        if says(one, "allowed_backends") is not MISSING and _common(one, policy) is not None:
            yield one


def _exposes(policy: CachePolicy, exposed: Collection[str]) -> bool:
    allowed = says(policy, "allowed_backends")
    return bool(exposed) and (allowed in (MISSING, None) or not allowed.isdisjoint(exposed))
