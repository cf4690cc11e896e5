"""A cache for LangChain's models: ``set_llm_cache(ScoutCache(Cache()))``.

Rules.

1. The key is made of the prompt and of LangChain's text of the model with its parameters, as digests; times to live,
   counts and tags are those of `cache.llm`, with the operation ``langchain``.
2. What is stored is data: the texts, messages and infos of generations, under names of LangChain's own classes, so that
   reading it makes those and nothing else.  Generations of other classes are not kept, with a warning.
3. Answers that were refused or cut off are not kept, as anywhere in `cache.llm`.
4. With a `Cache` the asynchronous methods work in threads; with an `AsyncCache` only they work.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk

from scoutcache.async_cache import AsyncCache
from scoutcache.cache import Cache
from scoutcache.errors import CacheError, SerializationError
from scoutcache.llm.details import Details

__all__ = ["ScoutCache"]

OPERATION: Final = "langchain"

_log = logging.getLogger("scoutcache.langchain")
_KINDS: Final[dict[str, Any]] = {
    kind.__name__: kind for kind in (Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk)
}
_MODEL: Final = re.compile(r"""["'](?:model|model_name|model_id)["']\s*[:,]\s*["']([^"']{1,200})["']""")
"""Where LangChain's text of a model names it: as JSON, or as a list of pairs."""


class ScoutCache(BaseCache):
    """LangChain's `BaseCache` over a `Cache` or an `AsyncCache`.

    *ttl*, *tags* and *keep* are those of `cache.llm.set`; *namespace* is the partition its entries live in.

    >>> import tempfile
    >>> from langchain_core.outputs import Generation
    >>> with Cache(directory=tempfile.mkdtemp()) as cache:
    ...     answers = ScoutCache(cache, ttl="2h")
    ...     answers.update("hello?", "model='m'", [Generation(text="hi")])
    ...     answers.lookup("hello?", "model='m'")
    [Generation(text='hi')]
    """

    def __init__(
        self, cache: Cache | AsyncCache, *, ttl: object = None, tags: Iterable[str] | None = (),
        keep: str | Iterable[str] = (), namespace: str | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(cache, Cache | AsyncCache):
            raise CacheError(f"ScoutCache keeps answers in a Cache or an AsyncCache, not in a {type(cache).__name__}")
        self._cache = cache if namespace is None else cache.namespace(namespace)
        details = Details(tags, keep=keep).checked()
        if ttl is not None:
            self._cache.config.ttl.read(ttl)
        self._how: dict[str, Any] = {"ttl": ttl, "tags": details.tags, "keep": details.keep}

    @property
    def _blocking(self) -> Cache:
        if isinstance(self._cache, AsyncCache):
            raise CacheError("an AsyncCache can't be asked without waiting", hint="give ScoutCache a Cache")
        return self._cache

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """The generations that are kept, else None."""
        return _generations(self._blocking.llm.get(**_asked(prompt, llm_string)))

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep the generations."""
        cache = self._blocking
        try:
            cache.llm.set(**_asked(prompt, llm_string), **_answer(return_val), **self._how)
        except SerializationError as error:
            _log.warning("an answer is not kept: %s", error)

    def clear(self, **_: Any) -> None:
        """Remove all that LangChain keeps here."""
        self._blocking.llm.invalidate(operation=OPERATION)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """`lookup`, awaited."""
        if isinstance(self._cache, AsyncCache):
            return _generations(await self._cache.llm.get(**_asked(prompt, llm_string)))
        return await asyncio.to_thread(self.lookup, prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """`update`, awaited."""
        if not isinstance(self._cache, AsyncCache):
            await asyncio.to_thread(self.update, prompt, llm_string, return_val)
            return
        try:
            await self._cache.llm.set(**_asked(prompt, llm_string), **_answer(return_val), **self._how)
        except SerializationError as error:
            _log.warning("an answer is not kept: %s", error)

    async def aclear(self, **_: Any) -> None:
        """`clear`, awaited."""
        if isinstance(self._cache, AsyncCache):
            await self._cache.llm.invalidate(operation=OPERATION)
        else:
            await asyncio.to_thread(self.clear)


def _asked(prompt: str, llm_string: str) -> dict[str, Any]:
    named = _MODEL.search(llm_string)
    options = {"llm": llm_string, **({"model": named[1]} if named else {})}
    return {"text": prompt, "operation": OPERATION, "options": options}


def _answer(generations: Sequence[Generation]) -> dict[str, Any]:
    """What `cache.llm.set` is told of an answer.  Raises `SerializationError` for generations of other classes."""
    infos = [_info(one) for one in generations]
    response = {
        "generations": [_as_data(one) for one in generations],
        "choices": [{"finish_reason": info.get("finish_reason") or info.get("stop_reason")} for info in infos],
        "model": next((name for info in infos if isinstance(name := info.get("model_name"), str)), None),
    }
    used = [usage for one in generations if isinstance(usage := _usage(one), Mapping)]
    tokens = {name: sum(int(usage.get(name) or 0) for usage in used) for name in ("input_tokens", "output_tokens")}
    return {"response": response, **(tokens if used else {})}


def _info(generation: Generation) -> Mapping[str, Any]:
    message = getattr(generation, "message", None)
    return {**(getattr(message, "response_metadata", None) or {}), **(generation.generation_info or {})}


def _usage(generation: Generation) -> Any:
    return getattr(getattr(generation, "message", None), "usage_metadata", None)


def _as_data(generation: Generation) -> dict[str, Any]:
    kind = type(generation)
    if _KINDS.get(kind.__name__) is not kind:
        raise SerializationError(f"a {kind.__name__} is none of LangChain's own generations")
    data: dict[str, Any] = {"kind": kind.__name__, "info": generation.generation_info}
    if isinstance(generation, ChatGeneration):
        return {**data, "message": message_to_dict(generation.message)}
    return {**data, "text": generation.text}


def _generations(response: Any) -> list[Generation] | None:
    return None if response is None else list(_rebuilt(response["generations"]))


def _rebuilt(stored: Iterable[Mapping[str, Any]]) -> Iterator[Generation]:
    for data in stored:
        kind = _KINDS[data["kind"]]
        if "message" in data:
            (message,) = messages_from_dict([data["message"]])
            yield kind(message=message, generation_info=data["info"])
        else:
            yield kind(text=data["text"], generation_info=data["info"])
