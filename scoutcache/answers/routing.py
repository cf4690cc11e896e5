"""Keys that are questions: what policies with ``strategy = "semantic"`` change about get, set and get_or_compute.

Rule 1: asked is exactly first, then by meaning, then computed.  An answer stays an ordinary entry under its own key;
        what is found by meaning leads to that, so it lives, changes and goes with it (`Answering.point`).
Rule 2: the namespace and the prefix of the key must match exactly, and the rest of the key is what is compared.
Rule 3: only a key that is a text is a question: a `CacheKey` holds a digest, and so do the keys of `cache.llm`, which
        asks by meaning in its own way, and knows what must match.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from scoutcache.answers.answering import Answering
from scoutcache.calls import Calls
from scoutcache.core import Core
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING, Ref
from scoutcache.keys import prefix_of
from scoutcache.meaning.scopes import NO_MODEL, PREFIX

__all__ = ["Routing", "is_by_meaning", "route"]

SEMANTIC: Final = "semantic"
_OWN: Final = frozenset({PREFIX, "llm"})
"""Prefixes of keys that this package makes."""


def route(core: Core) -> None:
    """Let *core* ask by meaning where its policies want that."""
    core.by_meaning = Routing(core)


def is_by_meaning(core: Core, ref: Ref) -> bool:
    """Does a policy say so of *ref*?"""
    said = None if core.world.policy is None else core.world.policy(ref)
    return said is not None and said.strategy == SEMANTIC


class _Question(NamedTuple):
    query: str
    scope: dict[str, str]


class Routing:
    """See `scoutcache.core.ByMeaning`."""

    def __init__(self, core: Core) -> None:
        self._core, self._answering = core, Answering(Calls(core, core.config.namespace))

    def _question(self, key: object, ref: Ref) -> _Question | None:
        """What is asked; None for a key that is no question."""
        prefix = prefix_of(ref.key)
        query = ref.key.removeprefix(f"{prefix}:")
        if type(key) is not str or prefix in _OWN or not query.strip() or not is_by_meaning(self._core, ref):
            return None
        return _Question(query, {"model": NO_MODEL, "prefix": prefix})

    def near(self, key: object, ref: Ref) -> Flow[Any]:
        """The answer to a question that means the same, recorded as a hit; `MISSING` where there is none."""
        asked = self._question(key, ref)
        found = None if asked is None else (yield from self._answering.hit(*asked, ref.namespace))
        return MISSING if found is None else found.reading.answer.response

    def keep(self, key: object, ref: Ref, response: Any, ttl: float) -> Flow[None]:
        """Let *response*, which was stored at *ref* for *ttl* seconds, be found by meaning."""
        asked = self._question(key, ref)
        if asked is not None and ttl > 0:
            yield from self._answering.point(*asked, ref, response, ttl)
