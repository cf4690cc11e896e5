"""`cache.semantic` on both faces: answers to queries that mean what an answered one meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scoutcache.answers.answering import Answering, Found
from scoutcache.answers.evidence import feedback
from scoutcache.answers.looking import explain, stats
from scoutcache.calls.calls import Key, Options

if TYPE_CHECKING:
    from scoutcache.answers.labelling import Labelled
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["AsyncSemantic", "Semantic", "SemanticHit"]


@dataclass(frozen=True, slots=True)
class SemanticHit:
    """An answer that serves a query.

    *similarity* is the cosine of the two queries, 0–1; *exact* says that they are the same text.  *query* is the one
    that was answered, *key* its key, *hit_id* what `feedback` takes.
    """

    response: Any
    similarity: float
    hit_id: str
    key: str
    query: str
    exact: bool


def _hit(found: Found | None) -> SemanticHit | None:
    if found is None:
        return None
    answer = found.reading.answer
    return SemanticHit(answer.response, found.similarity, found.hit_id, found.reading.ref.key,
                       answer.query, found.exact)  # fmt: skip


class Semantic:
    """Answers by meaning; see `Cache.semantic`.

    The scope (``model=`` and whatever else must match exactly: system prompt, tools, temperature) and the namespace
    part answers for good: nothing is ever served across them.  Raises `CacheError` for a scope without a model, and
    with three ways out where the embedder can't be had.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache, self._flows = cache, Answering(cache._calls)

    def get(
        self, query: str, *, namespace: str | None = None, threshold: float | None = None,
        without_gates: Collection[str] = (), **scope: Any,
    ) -> SemanticHit | None:  # fmt: skip
        """The answer to a query that means the same in this *scope*, or None.

        *threshold* stands over the preset's; *without_gates* names gates that don't decide.
        """
        return _hit(self._cache._run(self._flows.get(query, namespace, scope, threshold, without_gates)))

    def add(
        self, query: str, response: Any, *, namespace: str | None = None, ttl: object = None, stale_ttl: object = None,
        tags: Iterable[str] | None = (), depends_on: Iterable[Key] | None = (), cost: float | None = None, **scope: Any,
    ) -> str | None:  # fmt: skip
        """Store the answer to *query* in this *scope*; its key, or None when no tier took it.

        It is an ordinary entry under the prefix ``semantic``: *ttl*, *tags* and *depends_on* are those of `Cache.set`.
        """
        options = Options(ttl, stale_ttl, tags, depends_on, namespace, cost)
        return self._cache._run(self._flows.add(query, response, options, scope))

    def remove(self, key: str, namespace: str | None = None) -> bool:
        """Remove the answer with *key*; True if it was there.  Nobody is served it once this has returned."""
        return self._cache._run(self._flows.remove(key, namespace))

    def clear(self, namespace: str | None = None) -> None:
        """Remove every answer of the namespace, in all its scopes, and what was learned of them."""
        self._cache._run(self._flows.clear(namespace))

    def feedback(self, hit_id: str, correct: bool, namespace: str | None = None) -> bool:
        """Say whether a hit was right; False when the answer that it served is gone, or is of another namespace.

        One that was reported wrong isn't served again to queries as far away or farther.
        """
        return self._cache._run(feedback(self._flows, hit_id, correct, namespace))

    def label(
        self, pairs: Iterable[tuple[str, str, bool]], *, namespace: str | None = None, **scope: Any
    ) -> Labelled:
        """Take labelled pairs (query, other, whether one answer serves both) as evidence in this *scope*.

        Answers to one of the queries are told of the other: a wrong one isn't served to queries as far away or
        farther, a right one is found by the other too.  The policy ``verified`` learns from all of them, as if they
        were requests.  The same pairs again change nothing.
        """
        from scoutcache.answers.labelling import label

        return self._cache._run(label(self._flows, pairs, namespace, scope))

    def explain(
        self, query: str, *, namespace: str | None = None, count: int = 5, threshold: float | None = None,
        without_gates: Collection[str] = (), **scope: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Why *query* would hit or miss: ``serves``, ``reason``, and the *count* nearest with similarity and gates.

        Of each: which gates are closed and what they saw, and under ``ignored`` those that would be, were they not
        switched off (``gates_off``).  It is no request, and changes nothing.
        """
        return self._cache._run(explain(self._flows, query, namespace, scope, count, threshold, without_gates))

    def stats(self, namespace: str | None = None) -> dict[str, Any]:
        """How many answers and scopes there are, by what embedder, and what decides of hits.

        Index and entries are compared for it, all of them, and made to agree.
        """
        return self._cache._run(stats(self._flows, namespace))

    def use(
        self, embed: Callable[[list[str]], Any] | None = None, name: str | None = None,
        same: Callable[[Any, Any], bool] | None = None, judge: Callable[[str, Any, Any], bool] | None = None,
    ) -> None:  # fmt: skip
        """Make vectors by the function *embed*, which takes a list of texts and gives an array (n, dim).

        Whether two responses are equivalent, where what was computed is compared with what was or would have been
        served, ``same(one, other)`` tells, or ``judge(query, served, computed)``; without either, equality.
        """
        self._flows.state.use(embed, name, same, judge)

    def rebuild(self, namespace: str | None = None) -> int:
        """Make the index of the namespace anew from its entries, with the embedder in use; how many it holds."""
        return self._cache._run(self._flows.rebuild(namespace))


class AsyncSemantic:
    """The same, to be awaited; vectors are made and compared in threads.  See `AsyncCache.semantic`."""

    def __init__(self, cache: AsyncCache) -> None:
        self._cache, self._flows = cache, Answering(cache._calls)

    async def get(
        self, query: str, *, namespace: str | None = None, threshold: float | None = None,
        without_gates: Collection[str] = (), **scope: Any,
    ) -> SemanticHit | None:  # fmt: skip
        """The answer to a query that means the same in this *scope*, or None.

        *threshold* stands over the preset's; *without_gates* names gates that don't decide.
        """
        return _hit(await self._cache._run(self._flows.get(query, namespace, scope, threshold, without_gates)))

    async def add(
        self, query: str, response: Any, *, namespace: str | None = None, ttl: object = None, stale_ttl: object = None,
        tags: Iterable[str] | None = (), depends_on: Iterable[Key] | None = (), cost: float | None = None, **scope: Any,
    ) -> str | None:  # fmt: skip
        """Store the answer to *query* in this *scope*; its key, or None when no tier took it.

        It is an ordinary entry under the prefix ``semantic``: *ttl*, *tags* and *depends_on* are those of `Cache.set`.
        """
        options = Options(ttl, stale_ttl, tags, depends_on, namespace, cost)
        return await self._cache._run(self._flows.add(query, response, options, scope))

    async def remove(self, key: str, namespace: str | None = None) -> bool:
        """Remove the answer with *key*; True if it was there.  Nobody is served it once this has returned."""
        return await self._cache._run(self._flows.remove(key, namespace))

    async def clear(self, namespace: str | None = None) -> None:
        """Remove every answer of the namespace, in all its scopes, and what was learned of them."""
        await self._cache._run(self._flows.clear(namespace))

    async def feedback(self, hit_id: str, correct: bool, namespace: str | None = None) -> bool:
        """Say whether a hit was right; False when the answer that it served is gone, or is of another namespace.

        One that was reported wrong isn't served again to queries as far away or farther.
        """
        return await self._cache._run(feedback(self._flows, hit_id, correct, namespace))

    async def label(
        self, pairs: Iterable[tuple[str, str, bool]], *, namespace: str | None = None, **scope: Any
    ) -> Labelled:
        """Take labelled pairs (query, other, whether one answer serves both) as evidence in this *scope*.

        Answers to one of the queries are told of the other: a wrong one isn't served to queries as far away or
        farther, a right one is found by the other too.  The policy ``verified`` learns from all of them, as if they
        were requests.  The same pairs again change nothing.
        """
        from scoutcache.answers.labelling import label

        return await self._cache._run(label(self._flows, pairs, namespace, scope))

    async def explain(
        self, query: str, *, namespace: str | None = None, count: int = 5, threshold: float | None = None,
        without_gates: Collection[str] = (), **scope: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Why *query* would hit or miss: ``serves``, ``reason``, and the *count* nearest with similarity and gates.

        Of each: which gates are closed and what they saw, and under ``ignored`` those that would be, were they not
        switched off (``gates_off``).  It is no request, and changes nothing.
        """
        return await self._cache._run(explain(self._flows, query, namespace, scope, count, threshold, without_gates))

    async def stats(self, namespace: str | None = None) -> dict[str, Any]:
        """How many answers and scopes there are, by what embedder, and what decides of hits.

        Index and entries are compared for it, all of them, and made to agree.
        """
        return await self._cache._run(stats(self._flows, namespace))

    def use(
        self, embed: Callable[[list[str]], Any] | None = None, name: str | None = None,
        same: Callable[[Any, Any], bool | Awaitable[bool]] | None = None,
        judge: Callable[[str, Any, Any], bool | Awaitable[bool]] | None = None,
    ) -> None:  # fmt: skip
        """Make vectors by the function *embed*, which takes a list of texts and gives an array (n, dim).

        Whether two responses are equivalent, where what was computed is compared with what was or would have been
        served, ``same(one, other)`` tells, or ``judge(query, served, computed)``; without either, equality.  Plain
        functions are called in a thread, coroutine functions awaited.
        """
        self._flows.state.use(embed, name, same, judge)

    async def rebuild(self, namespace: str | None = None) -> int:
        """Make the index of the namespace anew from its entries, with the embedder in use; how many it holds."""
        return await self._cache._run(self._flows.rebuild(namespace))
