"""What makes the call for an answer: blocking or awaited, whole or chunk by chunk."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, closing, nullcontext
from typing import Any

from scoutcache.chat.stored import is_stream
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError
from scoutcache.llm.base import Asking
from scoutcache.llm.feeds import Recording

__all__ = ["astreaming", "awhole", "streaming", "whole"]


def whole(asking: Asking) -> Callable[..., Any]:
    """A factory that makes the call; a stream is read to its end first."""

    def answer(ctx: Any) -> Any:
        if (near := _near(asking, ctx)) is not MISSING:
            return near
        with asking.making.call():
            response = _called(asking.call)
            chunks = list(response) if is_stream(response) else None
        making = asking.making
        return _kept(asking, ctx, making.whole(ctx, response) if chunks is None else making.stream(ctx, chunks))

    return answer


def awhole(asking: Asking) -> Callable[..., Any]:
    """The same, to be awaited."""

    async def answer(ctx: Any) -> Any:
        if (near := await _anear(asking, ctx)) is not MISSING:
            return near
        with asking.making.call():
            response = await _acalled(asking.call)
            chunks = [one async for one in _each(response)] if is_stream(response) else None
        making = asking.making
        return _kept(asking, ctx, making.whole(ctx, response) if chunks is None else making.stream(ctx, chunks))

    return answer


def streaming(asking: Asking, recording: Recording) -> Callable[..., Any]:
    """A factory that makes the call and hands on what it reads, as long as somebody listens."""

    def answer(ctx: Any) -> Any:
        if (near := _near(asking, ctx)) is not MISSING:
            return near
        chunks: list[Any] = []
        with asking.making.call():
            response = _called(asking.call)
            if streams := is_stream(response):
                recording.begin()
                with _ending(response):
                    for chunk in response:
                        if recording.abandoned:
                            return asking.making.abandoned()
                        chunks.append(chunk)
                        recording.chunk(chunk)
        if not streams:
            return _kept(asking, ctx, asking.making.whole(ctx, response))
        recording.end()
        if recording.abandoned:
            return asking.making.abandoned()
        return _kept(asking, ctx, asking.making.stream(ctx, chunks))

    return answer


def astreaming(asking: Asking, recording: Recording) -> Callable[..., Any]:
    """The same, to be awaited."""

    async def answer(ctx: Any) -> Any:
        if (near := await _anear(asking, ctx)) is not MISSING:
            return near
        chunks: list[Any] = []
        with asking.making.call():
            response = await _acalled(asking.call)
            if streams := is_stream(response):
                recording.begin()
                async with aclosing(_each(response)) as each:
                    async for chunk in each:
                        if recording.abandoned:  # others wait for it, or it had been cancelled
                            return asking.making.abandoned()
                        chunks.append(chunk)
                        recording.chunk(chunk)
        if not streams:
            return _kept(asking, ctx, asking.making.whole(ctx, response))
        try:
            await recording.aend()
        finally:  # whoever stops reading cancels it as well
            if recording.abandoned:
                asking.making.abandoned()
        if recording.abandoned:
            return MISSING
        return _kept(asking, ctx, asking.making.stream(ctx, chunks))

    return answer


# -- by meaning, where that was asked for


def _near(asking: Asking, ctx: Any) -> Any:
    return MISSING if asking.near is None else asking.near.taken(ctx, asking.run(asking.near.asked()))


async def _anear(asking: Asking, ctx: Any) -> Any:
    return MISSING if asking.near is None else asking.near.taken(ctx, await asking.run(asking.near.asked()))


def _kept(asking: Asking, ctx: Any, stored: Any) -> Any:
    if asking.near is not None:
        asking.near.note(ctx)
    return stored


def _called(call: Callable[[], Any]) -> Any:
    response = call()
    if inspect.isawaitable(response):
        if inspect.iscoroutine(response):
            response.close()
        raise CacheError("call is a coroutine function, and this cache is blocking", hint="use AsyncCache")
    if hasattr(response, "__aiter__") and not hasattr(response, "__iter__"):
        raise CacheError("call gives an asynchronous stream, and this cache is blocking", hint="use AsyncCache")
    return response


async def _acalled(call: Callable[[], Any]) -> Any:
    response = call()
    return await response if inspect.isawaitable(response) else response


def _ending(stream: Any) -> AbstractContextManager[Any]:
    """Let go of what is behind a stream, however its reading ends."""
    return closing(stream) if hasattr(stream, "close") else nullcontext()


async def _each(stream: Any) -> AsyncGenerator[Any, None]:
    """The chunks of a stream of either kind, which is let go of in the end."""
    try:
        if hasattr(stream, "__aiter__"):
            async for chunk in stream:
                yield chunk
        else:
            for chunk in stream:
                yield chunk
    finally:
        end = getattr(stream, "aclose", None) or getattr(stream, "close", None)
        if end is not None and inspect.isawaitable(ended := end()):
            await ended
