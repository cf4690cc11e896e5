"""Questions that mean what an answered one meant: which words are compared by meaning, and what must be equal.

Rules.

1. Compared are the words of the last message, which must be a user's and text alone, or the text of a text with an
   operation.  A request without such words is asked exactly and no other way.
2. Everything else must be equal: the model, and by their digest the system prompt, tools, parameters, options and all
   messages before.
3. Exact before near before the call, all within the one flight of the exact question.  A near answer is not stored
   under it: its life, tags and invalidation stay its own.
4. What is found by meaning leads to the entry of the question that was asked, and is gone with it (`Answering.point`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoutcache.answers.answering import Answering, Found
from scoutcache.answers.routing import Sought, spared
from scoutcache.calls.get_or_compute import How
from scoutcache.chat.request import canonical_request, model_of, normalised, request_digest
from scoutcache.chat.stored import opened
from scoutcache.config.sections import LlmSection
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING
from scoutcache.llm.flows import Making
from scoutcache.meaning.scopes import NO_MODEL

__all__ = ["Near", "sought_in", "sought_in_text"]


def sought_in(settings: LlmSection, request: object) -> Sought | None:
    """What a request seeks; None for one whose last message isn't a user's text."""
    asked = canonical_request(request, settings.ignored_fields)
    messages = asked.fields.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(last := messages[-1], dict):
        return None
    words = _words(last.get("content"))
    if last.get("role") != "user" or words is None:
        return None
    rest = {**asked.fields, "messages": [*messages[:-1], {**last, "content": None}]}
    return Sought(words, {"model": asked.model or NO_MODEL, "request": request_digest(rest)})


def sought_in_text(text: object, operation: str, options: Mapping[str, Any]) -> Sought | None:
    """What a text with an operation seeks; None for a text in chunks."""
    if not isinstance(text, str) or not text.strip():
        return None
    said = normalised(options)
    return Sought(text, {"model": model_of(said) or NO_MODEL, "request": request_digest([operation, said])})


def _words(content: Any) -> str | None:
    return content if isinstance(content, str) and content.strip() else None


class Near:
    """The way by meaning, of one asking."""

    def __init__(self, sought: Sought, making: Making, how: How) -> None:
        self._sought, self._making, self._how = sought, making, how
        self._calls = making.flows.calls
        self._answering = Answering(self._calls)
        self._computed = False
        self._began = 0

    def asked(self) -> Flow[Found | None]:
        """What means the same, or None."""
        namespace = self._answering.namespace(self._how.namespace)
        self._began = self._calls.core.clocks.monotonic_ns()
        return spared(self._calls.core, self._answering.sought(*self._sought, namespace))

    def taken(self, ctx: Any, hit: Found | None) -> Any:
        """What stands there, a hit, of which *ctx* is told whence it comes; `MISSING` where there is none of use."""
        response = MISSING if hit is None else opened(hit.reading.answer.response)
        if hit is None or response is MISSING or not (self._how.validate is None or self._how.validate(response)):
            return MISSING
        ctx.found = True
        self._answering.served(hit, self._began)
        return hit.reading.answer.response

    def note(self, ctx: Any) -> None:
        """The call was made, and *ctx* says how its answer is kept."""
        self._computed = bool(ctx.store)

    def keep(self, stored: Any) -> Flow[None]:
        """Let what was *stored* be found by meaning, if a call was made for it and it is kept."""
        if not self._computed:
            return
        ref = self._calls.ref(self._making.question.key, self._how.namespace)
        given = self._making.flows.ttl(ref, self._making.question, self._how.ttl)
        ttl = self._calls.lifetime(ref, given).fresh
        if ttl > 0:
            flow = self._answering.point(*self._sought, ref, stored, ttl)
            yield from spared(self._calls.core, flow)
