"""A transport that answers model calls of HTTP clients from a cache: ``Client(transport=CachingTransport(cache))``.

It serves ``httpx`` and ``httpx2`` alike, whichever the client is built on, and so the clients of OpenAI and Anthropic
(``OpenAI(http_client=…)``) without a change in the code that calls them.

Rules.

1. Looked at are POSTs with a JSON object to paths that end with ``/chat/completions`` (with Azure and Gemini it is not
   behind ``/v1``), ``/v1/responses``, ``/v1/messages`` and ``/v1/embeddings`` (or *paths*), at any host.  Anything else
   goes through untouched, and so does everything once the cache is closed.
2. What is sampled at a temperature other than 0, or an unnamed one, passes the cache by, logged as ``bypassed``, unless
   *any_temperature*: nobody asked for a cache here.  So do requests with the header ``X-Scoutcache: bypass``, which is
   not sent on, or ``Cache-Control: no-store`` or ``no-cache``; work in the background; conversations and containers
   that the provider keeps, for their state is not in the request; and all while the cache is switched off.
3. The key is the host, the path, the request in its canonical form, and the headers by rule 4.  Defaults are left out
   only for the providers' own hosts.
4. Who asks, and for whom, is part of the key by a digest of all headers of the request, cookies too, but those that are
   known to say nothing of it (the client's name and version, encodings, ids of a request and its trace, cookies of
   load balancers): a header that nobody knows parts answers.  None is stored, nor any of a response but a few that
   clients read.
5. Kept are answers of status 2xx in JSON, and event streams that came to their provider's last event; and of these only
   what `cache.llm` keeps: no errors, refusals, cut off answers, other models.
6. A stream reaches the client as it comes, and is replayed in the same pieces.
7. A response has the header ``X-Scoutcache``: ``hit``, ``miss`` or ``bypass``.  Who waited for another's call, and got
   what is not kept, has missed.
8. Who waits for another's call waits as long as its own client reads, and then for nothing: ``ReadTimeout``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from scoutcache.calls.calls import several
from scoutcache.calls.get_or_compute import How
from scoutcache.canonical import canonical
from scoutcache.chat.request import DIGITS, canonical_request
from scoutcache.chat.texts import text_size
from scoutcache.config import CacheConfig
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.integrations.http_answers import (
    afetching,
    asker,
    fetching,
    is_told_to_bypass,
    library,
    live_response,
    patience,
    response_of,
)
from scoutcache.keys import CacheKey
from scoutcache.llm.details import Details
from scoutcache.llm.feeds import Recorded, afollow, follow
from scoutcache.llm.flows import Flows, Making
from scoutcache.llm.question import PREFIX, VERSION, Question

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["AsyncCachingTransport", "CachingTransport"]

PATHS: Final = ("/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")

_HOSTS: Final = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that is looked at: what it asks, and whether it passes the cache by."""

    question: Question
    bypass: bool


class _Transport:
    """What both transports are the same in."""

    def __init__(
        self, cache: Any, transport: Any = None, *, any_temperature: bool = False, ttl: object = None,
        tags: Iterable[str] | None = (), source: str | Iterable[str] | None = None, keep: str | Iterable[str] = (),
        namespace: str | None = None, paths: Iterable[str] = PATHS,
    ) -> None:  # fmt: skip
        self._check(cache)
        self._cache = cache if namespace is None else cache.namespace(namespace)
        self._inner = transport
        self._making_inner = threading.Lock()
        self._any_temperature, self._paths = any_temperature, tuple(several(paths, "paths"))
        self._details = Details(tags, source, keep=keep).checked()
        self._how = How(ttl=ttl)
        self._flows = Flows(self._cache._calls)
        if ttl is not None:
            self._cache.config.ttl.read(ttl)

    @staticmethod
    def _check(cache: Any) -> None:
        raise NotImplementedError

    def _lower(self, request: Any, name: str) -> Any:
        """The transport below, of the library that *request* comes from."""
        if self._inner is None:
            with self._making_inner:
                self._inner = self._inner or getattr(library(request), name)()
        return self._inner

    def _is_looked_at(self, request: Any) -> bool:
        # A client may outlive the cache, as one that shuts down beside it does.
        return bool(
            request.method == "POST" and request.url.path.endswith(self._paths) and not self._flows.core.closed
        )

    def _wanted(self, request: Any) -> Wanted | None:
        """What *request*, whose body has been read, asks; None for what is no question to a model."""
        bypass = is_told_to_bypass(request)
        try:
            body = json.loads(request.content)
            return None if not isinstance(body, dict) else self._question(request, body, bypass=bypass)
        except (ValueError, RecursionError, InvalidKey):  # the provider will say what is wrong with it
            return None

    def _question(self, request: Any, body: Mapping[str, Any], *, bypass: bool) -> Wanted:
        config: CacheConfig = self._cache.config
        provider = _HOSTS.get(request.url.host)
        asked = canonical_request(body, config.llm.ignored_fields, provider)
        where = [request.url.scheme, request.url.netloc.decode(), request.url.raw_path.decode()]
        identity = [*where, asker(request), asked.fields]
        digest = hashlib.sha256(canonical(identity, "request").encode()).hexdigest()[:DIGITS]
        operation = request.url.path.rpartition("/")[2]
        if request.url.path.endswith("/chat/completions"):
            operation = "chat"
        key = CacheKey.build(PREFIX, "http", asked.model or "-", VERSION, digest)
        size = text_size(asked.characters, config.llm.text_tiers)
        question = Question(key.generate(), asked.model, operation, provider or request.url.host, size,
                            body.get("stream") is True, {}, None)  # fmt: skip
        return Wanted(question, bypass or not config.enabled or not self._may_be_kept(operation, body))

    def _may_be_kept(self, operation: str, body: Mapping[str, Any]) -> bool:
        if body.get("background") is True or _stands_on_kept_state(body):
            return False
        temperature = body.get("temperature")
        settled = isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature == 0
        return self._any_temperature or operation == "embeddings" or settled

    def _making(self, wanted: Wanted) -> tuple[Making, How]:
        making = Making(self._flows, wanted.question, self._details, None)
        making.bypassed = wanted.bypass  # a cache that is switched off doesn't ask for the condition
        return making, self._how._replace(condition=(lambda: False) if wanted.bypass else None)


def _stands_on_kept_state(body: Mapping[str, Any]) -> bool:
    """Does the answer depend on what the provider keeps, and other requests change?

    That is a conversation, or a container with its files, named for the request or for one of its tools.
    """
    tools = body.get("tools")
    return body.get("conversation") is not None or any(
        _names_container(one) for one in (body, *(tools if isinstance(tools, list) else ()))
    )


def _names_container(asked: Any) -> bool:
    if not isinstance(asked, Mapping):
        return False
    container, environment = asked.get("container"), asked.get("environment")
    inside = container.get("id") if isinstance(container, Mapping) else container
    if isinstance(environment, Mapping):
        inside = inside or environment.get("container_id")
    return isinstance(inside, str)


class CachingTransport(_Transport):
    """The transport for blocking clients.

    *transport* is the one below, by default the library's own.  *ttl*, *tags*, *source*, *keep* and *namespace* are
    those of `cache.llm.set`; *any_temperature* caches sampled answers as well; *paths* are the ends of paths that are
    looked at.  Closing it closes the transport below, and not the cache.
    """

    _cache: Cache

    @staticmethod
    def _check(cache: Any) -> None:
        from scoutcache.cache import Cache

        if not isinstance(cache, Cache):
            raise CacheError(f"CachingTransport keeps answers in a Cache, not in a {type(cache).__name__}",
                             hint="for an AsyncCache: AsyncCachingTransport")  # fmt: skip

    def handle_request(self, request: Any) -> Any:
        """Answer a request, from the cache if it can be."""
        lower = self._lower(request, "HTTPTransport")
        if not self._is_looked_at(request):
            return lower.handle_request(request)
        request.read()
        wanted = self._wanted(request)
        if wanted is None:
            return lower.handle_request(request)
        making, how = self._making(wanted)
        with patience(request, making):
            if wanted.question.streams:
                return self._stream(request, lower, wanted, making, how)
            stored = self._cache._run(self._flows.ask(making, fetching(request, lower, making), how))
        return response_of(request, making, stored)

    def _stream(self, request: Any, lower: Any, wanted: Wanted, making: Making, how: How) -> Any:
        found = follow(
            lambda recording: self._cache._run(
                self._flows.ask(making, fetching(request, lower, making, recording), how)
            )
        )
        if isinstance(found, Recorded):
            return response_of(request, making, found.value)
        return live_response(request, found, "bypass" if wanted.bypass else "miss")

    def close(self) -> None:
        """Close the transport below."""
        if self._inner is not None:
            self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncCachingTransport(_Transport):
    """The transport for clients on an event loop; the same over an `AsyncCache`."""

    _cache: AsyncCache

    @staticmethod
    def _check(cache: Any) -> None:
        from scoutcache.async_cache import AsyncCache

        if not isinstance(cache, AsyncCache):
            raise CacheError(f"AsyncCachingTransport keeps answers in an AsyncCache, not in a {type(cache).__name__}",
                             hint="for a Cache: CachingTransport")  # fmt: skip

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request, from the cache if it can be."""
        lower = self._lower(request, "AsyncHTTPTransport")
        if not self._is_looked_at(request):
            return await lower.handle_async_request(request)
        await request.aread()
        wanted = self._wanted(request)
        if wanted is None:
            return await lower.handle_async_request(request)
        making, how = self._making(wanted)
        with patience(request, making):
            if wanted.question.streams:
                return await self._stream(request, lower, wanted, making, how)
            stored = await self._cache._run(self._flows.ask(making, afetching(request, lower, making), how))
        return response_of(request, making, stored)

    async def _stream(self, request: Any, lower: Any, wanted: Wanted, making: Making, how: How) -> Any:
        found = await afollow(
            lambda recording: self._cache._run(
                self._flows.ask(making, afetching(request, lower, making, recording), how)
            )
        )
        if isinstance(found, Recorded):
            return response_of(request, making, found.value)
        return live_response(request, found, "bypass" if wanted.bypass else "miss")

    async def aclose(self) -> None:
        """Close the transport below."""
        if self._inner is not None:
            await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
