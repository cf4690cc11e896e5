"""The answers of HTTP requests to models: made by the transport below, taken apart, and built anew from what is stored.

Rules.

1. A response is decoded here, so nothing that says how its body travelled goes on with it, but for a coding that the
   library can't read.
2. Who asks is said by every header but those known to say nothing of it (`scoutcache.chat.headers`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from scoutcache.chat.answers import Outline, outline_of, outline_of_chunks, plain
from scoutcache.chat.headers import is_harmless
from scoutcache.chat.sse import events_of, is_whole
from scoutcache.chat.stored import opened
from scoutcache.entry import MISSING
from scoutcache.errors import FactoryTimeout
from scoutcache.llm.feeds import Recording
from scoutcache.llm.flows import Making

__all__ = [
    "afetching", "asker", "fetching", "is_told_to_bypass", "library", "live_response", "patience", "response_of",
]  # fmt: skip

HEADER: Final = "x-scoutcache"

_HARMLESS_COOKIES: Final = frozenset({"__cf_bm", "__cflb", "__cfruid", "_cfuvid", "AWSALB", "AWSALBCORS", "AWSALBTG",
                                      "AWSALBTGCORS"})  # fmt: skip
"""Set by providers' networks to tell robots and to choose a machine; they change all the time."""

_KEPT: Final = ("content-type", "x-request-id", "request-id", "openai-version", "openai-processing-ms")
_OF_TRAVEL: Final = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"})
_ENDS: Final = (b"[DONE]", b"message_stop", b"response.completed", b"response.incomplete", b"response.failed")

Headers = list[tuple[str, str]]


def library(request: Any) -> Any:
    """The library that *request* comes from: httpx, httpx2, or another one of the same make."""
    return importlib.import_module(type(request).__module__.partition(".")[0])


def asker(request: Any) -> str:
    """A digest of who asks, and of all else that headers say and is not known to be harmless; of nothing, too."""
    said = sorted(_said((name.decode("latin-1").lower(), value) for name, value in request.headers.raw))
    return hashlib.sha256(repr([said, request.url.userinfo]).encode()).hexdigest()


def _said(headers: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    for name, value in headers:
        if name == "cookie":
            pairs = (pair.strip() for pair in value.split(b";"))
            told = [one for one in pairs if one.partition(b"=")[0].decode("latin-1") not in _HARMLESS_COOKIES]
            if any(told):
                yield name, b";".join(told)
        elif not is_harmless(name):
            yield name, value


def is_told_to_bypass(request: Any) -> bool:
    """Does a header say that the cache is to be passed by?  Ours is taken off."""
    ours = request.headers.pop(HEADER, "")
    control = {word.strip().lower() for word in request.headers.get("cache-control", "").split(",")}
    return ours.strip().lower() == "bypass" or bool(control & {"no-store", "no-cache"})


# -- making the call


def fetching(request: Any, lower: Any, making: Making, recording: Recording | None = None) -> Callable[..., Any]:
    """A factory that sends *request*; the pieces of an event stream are handed on to *recording*."""

    def fetch(ctx: Any) -> Any:
        chunks: list[bytes] = []
        with making.call():
            response = lower.handle_request(request)
            try:
                if recording is None or not _is_event_stream(response):
                    chunks.append(response.read())
                else:
                    recording.begin((response.status_code, _passed(response)))
                    for chunk in response.iter_bytes():
                        if recording.abandoned:
                            return making.abandoned()
                        _say(recording, chunks, chunk)
            finally:
                response.close()
        if recording is not None and _is_event_stream(response):
            recording.end()
            if recording.abandoned:
                return making.abandoned()
        return _kept(ctx, making, response, chunks)

    return fetch


def afetching(request: Any, lower: Any, making: Making, recording: Recording | None = None) -> Callable[..., Any]:
    """The same, to be awaited."""

    async def fetch(ctx: Any) -> Any:
        chunks: list[bytes] = []
        with making.call():
            response = await lower.handle_async_request(request)
            try:
                if recording is None or not _is_event_stream(response):
                    chunks.append(await response.aread())
                else:
                    recording.begin((response.status_code, _passed(response)))
                    async for chunk in response.aiter_bytes():
                        _say(recording, chunks, chunk)
            finally:
                await response.aclose()
        if recording is not None and _is_event_stream(response):
            await recording.aend()
            if recording.abandoned:
                return making.abandoned()
        return _kept(ctx, making, response, chunks)

    return fetch


def _say(recording: Recording, chunks: list[bytes], chunk: bytes) -> None:
    """Hand on a piece; clients close a stream when they have read its last event, and don't wait for its end."""
    tail = b"".join([*chunks[-1:], chunk])
    chunks.append(chunk)
    if any(word in tail for word in _ENDS):
        body = b"".join(chunks)
        recording.whole = is_whole(list(events_of(body)), body)
    recording.chunk(chunk)


def _is_event_stream(response: Any) -> bool:
    return bool(response.is_success) and _kind(response) == "text/event-stream"


def _kind(response: Any) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _passed(response: Any) -> Headers:
    passed = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _OF_TRAVEL]
    left = [one for one in response.headers.get_list("content-encoding", True) if not _decodes(library(response), one)]
    return [*passed, ("content-encoding", ", ".join(left))] if left else passed


@functools.cache
def _decodes(http: Any, coding: str) -> bool:
    """Does the library read that coding?  Some take another library, without which a body comes as it was sent."""
    try:
        return bool(http.Response(200, headers={"content-encoding": coding}, content=b"?").content != b"?")
    except http.DecodingError:
        return True


def _kept(ctx: Any, making: Making, response: Any, chunks: list[bytes]) -> dict[str, Any]:
    """The answer as it is stored, or as those get it who wait for it: no header is another one's but what says why."""
    passed = _passed(response)
    headers = [(name, value) for name, value in passed if name.lower() in _KEPT or not response.is_success]
    body = {"status": response.status_code, "chunks": chunks,
            "headers": [pair for pair in headers if pair[0].lower() != "set-cookie"]}  # fmt: skip
    stored = making.body(ctx, body, _outline(response, b"".join(chunks)))
    making.response = {**body, "headers": passed}
    return stored


def _outline(response: Any, body: bytes) -> Outline:
    """What the answer says of itself.  What is no answer of a model is unfinished, and one of an error an error."""
    if _is_event_stream(response):
        events = list(events_of(body))
        outline = outline_of_chunks(events)
        outline.finished = outline.finished and is_whole(events, body + b"\n\n")  # its end ends the last event too
        return outline
    try:
        said = json.loads(body) if _kind(response) == "application/json" else None
    except (ValueError, RecursionError):
        said = None
    outline = outline_of(said)
    outline.finished = plain(said) is not None
    outline.failed = outline.failed or not response.is_success
    return outline


@contextmanager
def patience(request: Any, making: Making) -> Iterator[None]:
    """While it is entered another's call is waited for as long as the client reads; raises what the line would."""
    seconds = (request.extensions.get("timeout") or {}).get("read")
    if seconds is not None:
        making.until = making.flows.core.clocks.monotonic() + seconds
    try:
        yield
    except FactoryTimeout as error:
        raise library(request).ReadTimeout(str(error), request=request) from error


# -- answering


def response_of(request: Any, making: Making, stored: Any) -> Any:
    """A response: what the own call gave, or what is stored."""
    own = making.response is not MISSING
    body = making.response if own else opened(stored)
    headers = _marked(body["headers"], "bypass" if making.bypassed else "hit" if making.hit and not own else "miss")
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    if (size := sum(map(len, body["chunks"]))) and not kind.startswith("text/event-stream"):
        headers.append(("content-length", str(size)))
    # Never with the content itself, which is no stream of a line: it has no time elapsed, and can't be read raw.
    http = library(request)
    return http.Response(body["status"], headers=headers, stream=_replayed(http, body["chunks"]))


def live_response(request: Any, live: Any, mark: str) -> Any:
    """A response whose body comes as it is heard."""
    http, (status, headers) = library(request), live.head
    blocking = hasattr(live, "__next__")
    return http.Response(status, headers=_marked(headers, mark), stream=(_heard if blocking else _aheard)(http, live))


def _marked(headers: Iterable[Any], mark: str) -> Headers:
    return [*((name, value) for name, value in headers), (HEADER, mark)]


def _replayed(http: Any, chunks: Iterable[bytes]) -> Any:
    class Replayed(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]  # which library's is known when it runs
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

    return Replayed()


def _heard(http: Any, live: Any) -> Any:
    class Heard(http.SyncByteStream):  # type: ignore[misc]  # as above
        def __iter__(self) -> Iterator[bytes]:
            yield from live

        def close(self) -> None:
            live.close()

    return Heard()


def _aheard(http: Any, live: Any) -> Any:
    class Heard(http.AsyncByteStream):  # type: ignore[misc]  # as above
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in live:
                yield chunk

        async def aclose(self) -> None:
            await live.aclose()

    return Heard()
