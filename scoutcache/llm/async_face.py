"""`AsyncCache.llm`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from scoutcache.calls.calls import Position
from scoutcache.calls.invalidating import Match
from scoutcache.chat.stored import AsyncReplay, Chunks, LlmAnswer, opened
from scoutcache.entry import MISSING
from scoutcache.llm.base import Base, Named
from scoutcache.llm.calling import astreaming, awhole
from scoutcache.llm.decorating import decorated_async
from scoutcache.llm.details import Details
from scoutcache.llm.feeds import Recorded, afollow
from scoutcache.llm.ledger import ledger_of, written
from scoutcache.llm.metrics import LlmMetrics
from scoutcache.models import InvalidationResult

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache

__all__ = ["AsyncLlm"]

Request = Mapping[str, Any]
Text = str | Iterable[str]


class AsyncLlm(Base):
    """Answers of language models, for event loops: the methods of `Llm`, awaited; `key` and `cached` are not.

    >>> import asyncio, tempfile
    >>> from scoutcache import AsyncCache
    >>> async def main():
    ...     async with AsyncCache(directory=tempfile.mkdtemp()) as cache:
    ...         async def chat(**request):
    ...             return {"said": request["messages"][0]["content"]}
    ...         return await cache.llm.get_or_call({"messages": [{"role": "user", "content": "hello?"}]}, chat)
    >>> asyncio.run(main())
    {'said': 'hello?'}
    """

    def __init__(self, cache: AsyncCache) -> None:
        super().__init__(cache)
        self._cache = cache

    async def get(
        self,
        request: Request | None = None,
        default: Any = None,
        *,
        text: Text | None = None,
        operation: str | None = None,
        options: Mapping[str, Any] | None = None,
        namespace: str | None = None,
    ) -> Any:
        """The answer that is kept for *request*, else *default*; that of a recorded stream is an iterator.

        *request* is what is sent to the model, a mapping; instead of it *text* (text, or chunks of it) with the
        *operation* that is done with it and its *options* may be given.  Raises `InvalidKey`, naming the place.
        """
        found = await self._cache._run(self._flows.get(self._question(request, text, operation, options), namespace))
        return default if found is MISSING else _areplayed(found)

    async def get_entry(
        self,
        request: Request | None = None,
        *,
        text: Text | None = None,
        operation: str | None = None,
        options: Mapping[str, Any] | None = None,
        namespace: str | None = None,
    ) -> LlmAnswer | None:
        """The answer with its request id, provider, model, tokens, cost and time, or None; not counted as a request."""
        question = self._question(request, text, operation, options)
        return await self._cache._run(self._flows.get_entry(question, namespace))

    async def set(
        self,
        request: Request | None = None,
        response: Any = MISSING,
        *,
        text: Text | None = None,
        operation: str | None = None,
        options: Mapping[str, Any] | None = None,
        ttl: object = None,
        tags: Iterable[str] | None = (),
        source: Named = None,
        provider: str | None = None,
        request_id: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: float | None = None,
        keep: Named = (),
        namespace: str | None = None,
        since: Position | None = None,
    ) -> bool:
        """Keep *response* as the answer; True if some tier took it, False also for what is no answer to be kept.

        That is an error, a refusal, an answer cut off at a limit of tokens, one of another model, None or a stream
        without chunks: *keep* names those that are kept all the same (``keep=["truncated"]``).  What is not given
        (request id, tokens, cost) is read from the response and ``[costs]``.  With ``"stream": True`` in the request a
        list is the chunks of a stream.
        Raises `InvalidKey`, `InvalidTTL`, or `SerializationError` for a response that can't be stored.
        """
        details = Details(tags, source, provider, request_id, input_tokens, output_tokens, cost, keep or ())
        flow = self._set(request, response, (text, operation, options), details, ttl, namespace, since)
        return await self._cache._run(flow)

    async def get_or_call(
        self,
        request: Request | None = None,
        call: Callable[..., Any] | None = None,
        *,
        text: Text | None = None,
        operation: str | None = None,
        options: Mapping[str, Any] | None = None,
        semantic: bool | None = None,
        **how: Any,
    ) -> Any:
        """The answer that is kept, else that of *call*, made once however many ask, in any process.

        *call* takes nothing, the request (or text), or its fields by name: ``client.chat.completions.create`` will do.
        A stream that it returns reaches the caller as it comes, is recorded on its way, and is replayed to who asks
        later; one that is closed early, or breaks off, is not kept.

        With *semantic* an answer to a question that means the same serves too (`Cache.semantic`), if all but the words
        of the last message is equal: asked exactly first, then by meaning, then the call is made.  Where it is None,
        ``[semantic] enabled`` decides, or a policy with ``strategy = "semantic"``.

        *how* takes *tags*, *source*, *provider*, *request_id*, *input_tokens*, *output_tokens*, *cost* and *keep* as
        `set` does, and the options of `Cache.get_or_compute`.  What *call* raises is raised here and not kept.
        """
        asking = self._asking(request, call, (text, operation, options), self._cache, how, semantic=semantic)
        if asking.question.streams:
            found = await afollow(lambda recording: self._cache._run(asking.flow(astreaming(asking, recording))))
            if not isinstance(found, Recorded):
                return found
            stored = found.value
        else:
            stored = await self._cache._run(asking.flow(awhole(asking)))
        return _areplayed(asking.making.response if asking.making.response is not MISSING else opened(stored))

    async def delete(
        self,
        request: Request | None = None,
        *,
        text: Text | None = None,
        operation: str | None = None,
        options: Mapping[str, Any] | None = None,
        namespace: str | None = None,
    ) -> bool:
        """Remove the answer; True if it was there."""
        return await self._cache.delete(self._question(request, text, operation, options).key, namespace)

    async def invalidate(
        self,
        *,
        operation: Named = None,
        model: Named = None,
        source: Named = None,
        provider: Named = None,
        match: Match = "any",
        dry_run: bool = False,
        count: bool = False,
        reason: str | None = None,
        namespace: str | None = None,
    ) -> InvalidationResult:
        """Remove the answers of these operations, models, sources or providers, in every process.

        What is named is united; ``match="all"`` takes only what fits all of it.  Counts are None unless *count* or
        *dry_run*, which scan.
        """
        how = {"dry_run": dry_run, "count": count, "reason": reason}
        return await self._cache._run(self._invalidated(operation, model, source, provider, match, namespace, **how))

    async def record_metrics(
        self,
        response: Any = None,
        *,
        provider: str | None = None,
        model: str | None = None,
        operation: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: float | None = None,
        latency: object = None,
        request_id: str | None = None,
        error: bool = False,
        cached: bool = False,
    ) -> None:
        """Count a request to a model that did not go by way of `get`, `set` or `get_or_call`.

        What is not given is read from *response* and ``[costs]``.  *latency* is seconds or a duration such as "800ms".
        A call whose *request_id* was reported already is not counted again; an answer that was found (*cached*) is,
        each time.  Tokens are at most 2**53.  Other processes see it at once.
        """
        self._reported(response, provider, model, operation, input_tokens, output_tokens, cost, latency, request_id,
                       error=error, cached=cached)  # fmt: skip
        await self._cache._run(written(self._cache._core, ledger_of(self._cache._core)))

    async def metrics(self, hours: float = 24) -> LlmMetrics:
        """What was asked of models in this namespace in the last *hours*, by all processes; to ten minutes.

        Counts are kept for ``[llm] metrics_ttl``.
        """
        return await self._cache._run(self._flows.metrics(self._hours(hours)))

    def cached(self, function: Callable[..., Any] | None = None, /, **how: Any) -> Any:
        """Keep the answers of a function that asks a model: ``@cache.llm.cached``, or with `get_or_call`'s options.

        The request is the function's arguments by their names, those under ``**`` included; a single argument called
        ``request`` is the request itself.  The *operation* and *provider* given here are part of the key; where the
        request names no model, so are the function's name and a method's object, which needs ``__cache_key__`` then
        (else `InvalidKey`).  The wrapper has ``.key(…)`` and ``.invalidate(…)``, called as it is.
        """
        if function is None:
            return lambda named: decorated_async(self, named, how)
        return decorated_async(self, function, how)


def _areplayed(found: Any) -> Any:
    return AsyncReplay(found) if isinstance(found, Chunks) else found
