"""Keys that are questions: what policies with ``strategy = "semantic"`` change about get, set and get_or_compute.

Rule 1: asked is exactly first, then by meaning, then computed.  An answer stays an ordinary entry under its own key;
        what is found by meaning leads to that, so it lives, changes and goes with it (`Answering.point`).
Rule 2: the namespace and the prefix of the key must match exactly, and the rest of the key is what is compared.
Rule 3: what can't be asked by meaning is computed: without its model, or with a damaged index, the semantic side counts
        as a tier that is away (`spared`).  Nobody called it, so nobody is to catch its errors.
Rule 4: only a key that is a text is a question: a `CacheKey` holds a digest, and so do the keys of `cache.llm`, which
        asks by meaning in its own way, and knows what must match.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from scoutcache.answers.answering import Answering
from scoutcache.answers.state import state_of
from scoutcache.calls.calls import Calls
from scoutcache.core.core import Core
from scoutcache.core.keeping import is_by_meaning
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING, Ref
from scoutcache.errors import TierUnavailable
from scoutcache.keys import prefix_of
from scoutcache.meaning.scopes import NO_MODEL, PREFIX

__all__ = ["RESTS", "Routing", "Sought", "route", "spared"]

T = TypeVar("T")

RESTS: Final = 30.0
"""Seconds after a failure in which nothing is asked by meaning: looking for a model in vain may take as long."""

SEMANTIC: Final = "semantic"
_OWN: Final = frozenset({PREFIX, "llm"})
"""Prefixes of keys that this package makes."""


def route(core: Core) -> None:
    """Let *core* ask by meaning where its policies want that."""
    core.by_meaning = Routing(core)


def spared(core: Core, flow: Flow[T]) -> Flow[T | None]:
    """What *flow* gives, None where the semantic side fails; with ``raise_errors`` that is `TierUnavailable`."""
    state, world = state_of(core), core.world
    if core.clocks.monotonic() < state.rests_until:
        flow.close()
        return None
    try:
        return (yield from flow)
    except Exception as error:  # noqa: BLE001  # an embedder of the user's may raise anything
        if not world.raise_errors:
            state.rests_until = core.clocks.monotonic() + RESTS
        world.down(SEMANTIC, error if isinstance(error, TierUnavailable) else TierUnavailable(SEMANTIC, str(error)))
        return None


class Sought(NamedTuple):
    """What is compared by meaning, and what must be equal."""

    query: str
    scope: dict[str, str]


class Routing:
    """See `scoutcache.core.core.ByMeaning`."""

    def __init__(self, core: Core) -> None:
        self._core, self._answering = core, Answering(Calls(core, core.config.namespace))

    def _sought(self, key: object, ref: Ref) -> Sought | None:
        """What is asked; None for a key that is no question."""
        prefix = prefix_of(ref.key)
        query = ref.key.removeprefix(f"{prefix}:")
        is_text = type(key) is str and prefix not in _OWN and query.strip()
        if not is_text or not is_by_meaning(self._core.world.policy, ref):
            return None
        return Sought(query, {"model": NO_MODEL, "prefix": prefix})

    def near(self, key: object, ref: Ref, accepts: Callable[[Any], bool]) -> Flow[Any]:
        """The answer to a question that means the same, recorded as a hit; `MISSING` where there is none *accepts*."""
        asked = self._sought(key, ref)
        if asked is None:
            return MISSING
        began = self._core.clocks.monotonic_ns()
        found = yield from spared(self._core, self._answering.sought(*asked, ref.namespace))
        if found is None or not accepts(found.reading.answer.response):
            return MISSING
        self._answering.served(found, began)
        return found.reading.answer.response

    def keep(self, key: object, ref: Ref, response: Any, ttl: float) -> Flow[None]:
        """Let *response*, which was stored at *ref* for *ttl* seconds, be found by meaning."""
        asked = self._sought(key, ref)
        if asked is not None and ttl > 0:
            yield from spared(self._core, self._answering.point(*asked, ref, response, ttl))
