"""What a caller says of an answer besides the question, and what follows from both: tags, cost, whether it is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from scoutcache.calls.calls import several, tag_names
from scoutcache.chat.answers import FAULTS, MOST_TOKENS, Outline
from scoutcache.chat.prices import cost_of
from scoutcache.config import CacheConfig
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.llm.question import CHAT, Question, tag_of

__all__ = ["Details", "Verdict", "names", "tags_for", "told_model", "verdict_of"]


@dataclass(frozen=True, slots=True)
class Details:
    """The arguments of `set` and `get_or_call`; None where the answer itself says."""

    tags: Iterable[str] | None = ()
    source: str | Iterable[str] | None = None
    provider: str | None = None
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    keep: str | Iterable[str] = ()

    def checked(self) -> Details:
        """The same, with what may be read only once read; raises `CacheError` for what can't be meant."""
        return replace(self, tags=tag_names(self.tags), keep=self.kept, source=self.sources())._checked()

    def _checked(self) -> Details:
        for name in ("input_tokens", "output_tokens"):
            count = getattr(self, name)
            if count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise CacheError(f"{name} is a whole number of 0 or more, not {_shown(count)}")
            if count > MOST_TOKENS:
                raise CacheError(f"{name} is more than 2**53, which no request has",
                                 hint="give the number of tokens of one request")  # fmt: skip
        for fault in self.kept:
            if fault not in FAULTS:
                raise CacheError(f"keep takes kinds of answers to keep: {', '.join(FAULTS)}; not {fault!r:.80}")
        for name in ("provider", "request_id"):
            if (said := getattr(self, name)) is not None and not isinstance(said, str):
                raise CacheError(f"{name} is text, not {type(said).__name__}")
        if self.provider:
            tag_of("provider", self.provider)
        return self

    @property
    def kept(self) -> tuple[str, ...]:
        """The faults in spite of which an answer is kept."""
        return (self.keep,) if isinstance(self.keep, str) else tuple(self.keep)

    def sources(self) -> tuple[str, ...]:
        """Where what was asked came from.  Raises `InvalidKey` for what no tag can hold."""
        named = [one for one in names(self.source) if one != ""]
        return tuple(dict.fromkeys([tag_of("source", one).removeprefix("source:") for one in named]))


def _shown(count: object) -> str:
    return f"a number below {-MOST_TOKENS}" if isinstance(count, int) and count < -MOST_TOKENS else f"{count!r:.80}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an answer.  *fault* is why it is not kept, None where it is."""

    tags: list[str]
    cost: float | None
    fault: str | None
    meta: dict[str, Any]
    """What is stored with it."""


def verdict_of(config: CacheConfig, question: Question, details: Details, outline: Outline, now: float) -> Verdict:
    """What becomes of the answer that *outline* tells of."""
    choices = question.given.get("n")
    if outline.choices and isinstance(choices, int) and len(outline.choices) < choices:
        outline = replace(outline, finished=False)
    said_in, said_out = outline.tokens
    tokens_in = said_in if details.input_tokens is None else details.input_tokens
    tokens_out = said_out if details.output_tokens is None else details.output_tokens
    provider = details.provider or question.provider
    models = (outline.model, question.model or None)
    cost = cost_of(config.costs, models, tokens_in, tokens_out) if details.cost is None else details.cost
    keep = (*details.kept, *(("truncated",) if config.llm.keep_truncated else ()))
    meta = {
        "request_id": details.request_id or outline.request_id, "provider": provider,
        "model": outline.model or question.model or None, "operation": question.operation, "input_tokens": tokens_in,
        "output_tokens": tokens_out, "cost": cost, "sources": list(details.sources()), "at": now,
    }  # fmt: skip
    tags = [*tag_names(details.tags), *tags_for(question, outline.model, provider, details.sources())]
    return Verdict(list(dict.fromkeys(tags)), cost, outline.fault(question.model, keep, config.llm.model_aliases), meta)


def tags_for(question: Question, answered: str | None, provider: str | None, sources: Iterable[str]) -> list[str]:
    """The tags by which an answer is found again."""
    named = [("operation", question.operation or CHAT), ("model", question.model), ("model", told_model(answered)),
             ("provider", provider), *(("source", one) for one in several(sources, "source"))]  # fmt: skip
    return [tag_of(kind, name) for kind, name in named if name]


def told_model(answered: str | None) -> str:
    """What the model that answered calls itself; empty where no tag can hold that: the answer was paid for anyway."""
    try:
        return tag_of("model", answered).removeprefix("model:") if answered else ""
    except InvalidKey:
        return ""


def names(named: object) -> Iterable[object]:
    """One name or several, or None."""
    return () if named is None else named if isinstance(named, Iterable) and not isinstance(named, str) else (named,)
