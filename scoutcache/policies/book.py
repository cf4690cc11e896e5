"""What the policies together say of an entry.

Rule 1: a policy speaks of the entries whose namespace is among its *namespaces* (none named: of all) and whose key
        matches one of its patterns, or has one of them, a plain name, for its prefix.
Rule 2: it says only what is set in it.  Each setting is taken from the policy of the highest priority that says it; of
        equal ones the first in the configuration wins, and `policy_checks.conflicts` tells where that decides.
Rule 3: what is required (encryption, authentication, TLS, compression) holds as soon as one policy requires it: a
        false one says nothing.  Rules add up as well.
Rule 4: `allowed_backends`: tiers that are not allowed do not exist for the entry; it is neither written to them nor
        read from them.  "hybrid" stands for all tiers.
Rule 5: `preferred_backend`: a write begins at that tier and goes down; the tiers above get the entry by promotion only.
        It counts for nothing where that tier is not there or not allowed.
Rule 6: what the semantic side keeps for entries that may not stand everywhere (keys that begin with `CONFINED`) stands
        in memory alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from scoutcache.entry import MISSING, Ref
from scoutcache.policies import CacheBackend, CachePolicy

__all__ = ["CONFINED", "REQUIREMENTS", "SETTINGS", "Effective", "PolicyBook", "by_precedence", "says"]

CONFINED: Final = "semantic:here:"

_HERE: Final = frozenset({CacheBackend.MEMORY.value})

REMEMBERED: Final = 10_000
"""Entries whose answer is kept, so that asking again costs a dict lookup."""


def _backends(names: Sequence[CacheBackend]) -> frozenset[str] | None:
    return None if CacheBackend.HYBRID in names else frozenset(name.value for name in names)


def _preferred(name: CacheBackend) -> str | None:
    return None if name is CacheBackend.HYBRID else name.value


SETTINGS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "ttl_seconds": float,
        "refresh_on_access": bool,
        "max_entry_size": int,
        "allowed_backends": _backends,
        "preferred_backend": _preferred,
        "strategy": str,
    }
)
"""What one policy decides before the others, and how what it says is to be read."""

REQUIREMENTS: Final = ("compression_required", "encrypt_at_rest", "require_authentication", "require_tls")


def says(policy: CachePolicy, setting: str) -> Any:
    """What *policy* says of one of `SETTINGS`, `MISSING` when it is not set in it."""
    value = getattr(policy, setting)
    if setting not in policy.model_fields_set or value is None:
        return MISSING
    return SETTINGS[setting](value)


def by_precedence(policies: Sequence[CachePolicy]) -> list[CachePolicy]:
    """Those that win first."""
    return sorted(policies, key=lambda policy: -policy.priority)  # stable: of equals the first stays first


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What holds for an entry: settings as in `CachePolicy`, None or False where no policy says anything."""

    ttl_seconds: float | None = None
    refresh_on_access: bool = False
    max_entry_size: int | None = None
    allowed_backends: frozenset[str] | None = None
    """Names of tiers; None for all."""
    preferred_backend: str | None = None
    strategy: str | None = None
    invalidation_rules: frozenset[str] = frozenset()
    compression_required: bool = False
    encrypt_at_rest: bool = False
    require_authentication: bool = False
    require_tls: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    """The id of the policy that said it, by setting."""

    def allows(self, tier: str) -> bool:
        """May the entry stand in *tier*?"""
        return self.allowed_backends is None or tier in self.allowed_backends

    def writes_to(self, tier: str, tiers: Sequence[str]) -> bool:
        """Does a write put the entry into *tier*, one of *tiers* from the highest down?"""
        if not self.allows(tier):
            return False
        first = self.preferred_backend
        return first is None or first not in tiers or not self.allows(first) or tiers.index(tier) >= tiers.index(first)


class PolicyBook:
    """The policies of one cache.  Answers are remembered; safe to use from several threads."""

    def __init__(self, policies: Sequence[CachePolicy]) -> None:
        self.policies = tuple(by_precedence(policies))
        self._patterns = [policy.patterns for policy in self.policies]
        self._known: dict[Ref, Effective | None] = {}
        self._made: dict[tuple[int, ...], Effective] = {}

    def of(self, ref: Ref) -> Effective | None:
        """What holds for *ref*, None when no policy speaks of it."""
        try:
            return self._known[ref]
        except KeyError:
            pass
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        found = self._known[ref] = self._resolve(ref)
        return found

    def _resolve(self, ref: Ref) -> Effective | None:
        found = self._said(ref)
        return replace(found or Effective(), allowed_backends=_HERE) if ref.key.startswith(CONFINED) else found

    def _said(self, ref: Ref) -> Effective | None:
        speaking = tuple([at for at in range(len(self.policies)) if self._speaks(at, ref)])
        if not speaking:
            return None
        made = self._made.get(speaking)
        if made is None:
            made = self._made[speaking] = _combined([self.policies[at] for at in speaking])
        return made

    def _speaks(self, at: int, ref: Ref) -> bool:
        namespaces = self.policies[at].namespaces
        return (not namespaces or ref.namespace in namespaces) and any(
            pattern.matches(ref.key) for pattern in self._patterns[at]
        )


def _combined(policies: Sequence[CachePolicy]) -> Effective:
    """*policies*, those that win first."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for policy in policies:
        for setting in SETTINGS:
            if setting not in sources and (value := says(policy, setting)) is not MISSING:
                values[setting] = value
                sources[setting] = policy.policy_id
        for requirement in REQUIREMENTS:
            if requirement not in sources and getattr(policy, requirement):
                values[requirement] = True
                sources[requirement] = policy.policy_id
    rules = frozenset(rule for policy in policies for rule in policy.invalidation_rules)
    return Effective(**values, invalidation_rules=rules, sources=sources)
