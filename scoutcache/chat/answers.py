"""What an answer says of itself (model, tokens, how it ended), and whether it may be kept.

Known shapes: OpenAI chat completions, completions, responses and embeddings, Anthropic messages, Gemini's generated
content, Bedrock's Converse; each whole or as the events of a stream.  A stream of several choices ends when each has.
Chunks that somebody else made or picked out (deltas alone: neither ``object`` nor ``finish_reason`` in any, no
``message_start``, no ``response.created``) say nothing of an end, and the end of the iteration is theirs.
Of Gemini the model and the end are read, of Bedrock the end, of neither the tokens.  Anything else is an answer that
says nothing of itself but whether it failed or was cut off, and may be kept.

Not kept, by the name that is counted:

- ``error``: the answer is an error, or failed, or was cancelled.
- ``refused``: the model refused, or a filter cut it off.  Tomorrow's filter may be another.
- ``truncated``: it ended at a limit of tokens; kept only where the caller wants it so.
- ``unfinished``: a stream that ended without its end or had no chunk, an answer that is still being made or has no
  choice at all, or None.
- ``other_model``: another model answered than was asked (a fallback, a router).  A dated name of the same model is the
  same model; so is what ``[llm] model_aliases`` says of a deployment's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from pydantic import BaseModel

__all__ = [
    "DATE", "FAULTS", "MOST_TOKENS", "Outline", "bare", "is_same_model", "outline_of", "outline_of_chunks", "plain",
]  # fmt: skip

FAULTS: Final = ("error", "refused", "unfinished", "truncated", "other_model")
"""Why an answer is not kept, worst first."""

_REFUSED: Final = frozenset({
    "content_filter", "refusal",
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",  # Gemini
    "guardrail_intervened", "content_filtered",  # Bedrock
})  # fmt: skip
_TRUNCATED: Final = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded",
                               "MAX_TOKENS", "model_length"})  # fmt: skip
_FAILED: Final = frozenset({
    "error", "failed", "cancelled", "canceled",
    "ERROR", "ERROR_LIMIT", "ERROR_TOXIC", "USER_CANCEL",  # Cohere
    "OTHER", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE", "IMAGE_OTHER", "NO_IMAGE",  # Gemini
    "malformed_model_output", "malformed_tool_use",  # Bedrock
})  # fmt: skip
_UNDER_WAY: Final = frozenset({"queued", "in_progress"})
_UNSAID: Final = (None, "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED")
_OF_GEMINI: Final = ("promptFeedback", "prompt_feedback", "usageMetadata", "usage_metadata")
_CONVERSE: Final = frozenset({"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop"})
"""The events of Bedrock's streams before the last, each under its name."""

MOST_TOKENS: Final = 2**53
"""A count beyond it is no count of tokens; sums of counts are kept as floats."""

DATE: Final = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{4}|\d{3}|latest)$")
"""How names of one model differ by their date or release: -20250929, @20250929, -2024-08-06, -08-2024, -05-20, -0613,
-002, -latest."""
_NUMBERED: Final = re.compile(r"-(?:\d+(?:\.\d+)*|preview|exp)(?=-|$)")
"""What the latest of a family has in its name and the family hasn't: gemini-2.5-flash-preview of gemini-flash."""
_VENDOR: Final = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|meta|amazon|mistral|cohere|ai21|deepseek)\.(?=[a-z])")
_VERSION: Final = re.compile(r"-v\d+(?::\d+)?$")


@dataclass(slots=True)
class Outline:
    """What is known of an answer; None where it doesn't say."""

    model: str | None = None
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    ends: set[str] = field(default_factory=set)
    """Why it ended, in the provider's words."""
    refused: bool = False
    failed: bool = False
    finished: bool = True
    choices: dict[int, bool] = field(default_factory=dict)
    """Which choices a stream has had, and whether each has ended."""

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Of the request and of the answer."""
        return self.input_tokens, self.output_tokens

    def fault(self, asked: str, keep: Collection[str] = (), aliases: Mapping[str, str] | None = None) -> str | None:
        """Why it is not to be kept as the answer of the model *asked*; None when it may be, or when *keep* names it."""
        asked = (aliases or {}).get(asked, asked)
        faults = {
            "error": self.failed or self.ends & _FAILED,
            "refused": self.refused or self.ends & _REFUSED,
            "unfinished": not self.finished or self.ends & _UNDER_WAY,
            "truncated": self.ends & _TRUNCATED or ("incomplete" in self.ends and not self.ends & _REFUSED),
            "other_model": asked and self.model is not None and not is_same_model(asked, self.model),
        }
        return next((name for name in FAULTS if faults[name] and name not in keep), None)


def is_same_model(asked: str, answered: str) -> bool:
    """Did the model that was asked answer, by its plain name, a dated one, or one with its vendor before it?

    >>> is_same_model("gpt-4o", "gpt-4o-2024-08-06"), is_same_model("gpt-4o", "gpt-4o-mini")
    (True, False)
    >>> is_same_model("gpt-4o-2024-08-06", "gpt-4o-2024-05-13"), is_same_model("claude-3-latest", "claude-3-20250219")
    (False, True)
    """
    ours, theirs = bare(asked), bare(answered)
    if ours == theirs:
        return True
    base, other = DATE.sub("", ours), DATE.sub("", theirs)
    # Two dates are two models; a name without one, or the latest, is any of them.
    if base == other:
        return ours in {base, f"{base}-latest"} or theirs == other
    return ours == f"{base}-latest" and base == _NUMBERED.sub("", other)


def bare(name: str) -> str:
    """The name without path, vendor and version before and behind it."""
    return _VERSION.sub("", _VENDOR.sub("", name.rpartition("/")[2].casefold()))


def plain(value: object) -> Any:
    """*value* as JSON would have it, where it is a mapping or a model of pydantic; else None."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, warnings=False)
    return value if isinstance(value, Mapping) else None


def outline_of(response: object) -> Outline:
    """What a whole answer says of itself."""
    outline, said = Outline(), plain(response)
    if said is not None:
        _whole(outline, said)
    return outline


def outline_of_chunks(chunks: Iterable[object]) -> Outline:
    """What the chunks of a stream say together; pieces that are no mappings say nothing."""
    outline, known, ended, some = Outline(), False, False, False
    for chunk in chunks:
        some = True
        said = plain(chunk)
        if said is not None:
            known_now, ended_now = _chunk(outline, said)
            known, ended = known or known_now, ended or ended_now
    outline.finished = ended or (all(outline.choices.values()) if outline.choices else some and not known)
    return outline


def _whole(outline: Outline, said: Mapping[str, Any]) -> None:
    outline.failed |= bool(said.get("error")) or said.get("type") == "error"
    if _is_documented(said):
        _named(outline, said)
    _used(outline, said.get("usage"))
    _end(outline, *(said.get(name) for name in ("finish_reason", "stop_reason", "stopReason", "status")))
    outline.refused |= said.get("amazon-bedrock-guardrailAction") == "INTERVENED"
    details = said.get("incomplete_details")
    if isinstance(details, Mapping):
        _end(outline, details.get("reason"))
    if (choices := said.get("choices")) == []:
        outline.finished = False
    for choice in _mappings(choices):
        _end(outline, choice.get("finish_reason"))
        _refusals(outline, choice.get("message"))
    _generated(outline, said)
    for item in _mappings(said.get("output")):
        for part in _mappings(item.get("content")):
            outline.refused |= part.get("type") == "refusal"


def _is_documented(said: Mapping[str, Any]) -> bool:
    """Has it a provider's shape?  Of another one the model may be a car's, that was asked for."""
    return any(isinstance(said.get(name), kind) for name, kind in _MARKS)


_MARKS: Final = (
    *((name, list | tuple) for name in ("choices", "output", "content", "candidates", "data")),
    ("usage", Mapping), ("object", str),
)  # fmt: skip


def _chunk(outline: Outline, said: Mapping[str, Any]) -> tuple[bool, bool]:
    """Is it of a stream whose end is told, and does it end the answer?"""
    kind = kind if isinstance(kind := said.get("type"), str) else ""
    if kind == "error" or said.get("error"):
        outline.failed = True
        return True, True
    if kind and isinstance(whole := said.get("response"), Mapping):  # an event of OpenAI's responses
        _whole(outline, whole)
        outline.failed |= kind == "response.failed"
        outline.ends -= _UNDER_WAY
        return True, kind in {"response.completed", "response.incomplete", "response.failed"}
    if kind == "message_start":
        _whole(outline, message if isinstance(message := said.get("message"), Mapping) else {})
        return True, False
    if kind in {"message_delta", "message_stop"}:
        _end(outline, (delta if isinstance(delta := said.get("delta"), Mapping) else {}).get("stop_reason"))
        _used(outline, said.get("usage"))
        return True, kind == "message_stop"
    if isinstance(said.get("choices"), list):
        return _delta(outline, said), False
    return _of_others(outline, said)


def _of_others(outline: Outline, said: Mapping[str, Any]) -> tuple[bool, bool]:
    """The same of Gemini and Bedrock, whose events have no type."""
    if _mappings(said.get("candidates")) or any(isinstance(said.get(name), Mapping) for name in _OF_GEMINI):
        return True, _generated(outline, said)
    if isinstance(stop := said.get("messageStop"), Mapping):
        _end(outline, stop.get("stopReason"))
        return True, True
    if not _CONVERSE.isdisjoint(said):
        return True, False
    if any(str(name).endswith("Exception") and isinstance(what, Mapping) for name, what in said.items()):  # Bedrock's
        outline.failed = True
        return True, True
    return False, False


def _delta(outline: Outline, said: Mapping[str, Any]) -> bool:
    """A chunk of a chat completion; is it one of a stream that tells its end?"""
    _named(outline, said)
    _used(outline, said.get("usage"))
    choices = _mappings(said["choices"])
    tells = "object" in said or any("finish_reason" in one for one in choices)
    for at, choice in enumerate(choices):
        _end(outline, choice.get("finish_reason"))
        _refusals(outline, choice.get("delta"))
        if tells:
            _choice(outline, choice, at, choice.get("finish_reason"))
    return tells or (not choices and said.get("usage") is None)


def _choice(outline: Outline, choice: Mapping[str, Any], at: int, reason: Any) -> None:
    index = index if isinstance(index := choice.get("index"), int) else at
    outline.choices[index] = outline.choices.get(index, False) or reason not in _UNSAID


def _generated(outline: Outline, said: Mapping[str, Any]) -> bool:
    """Content that Gemini generated, whole or a chunk; was the prompt blocked, which ends it?"""
    _named(outline, said, model=("modelVersion", "model_version"), request_id=("responseId", "response_id"))
    for at, candidate in enumerate(_mappings(said.get("candidates"))):
        reason = candidate.get("finishReason", candidate.get("finish_reason"))
        _end(outline, reason)
        _choice(outline, candidate, at, reason)
    feedback = said.get("promptFeedback", said.get("prompt_feedback"))
    if not isinstance(feedback, Mapping):
        return False
    blocked = feedback.get("blockReason", feedback.get("block_reason")) not in _UNSAID
    outline.refused |= blocked
    return blocked


def _named(
    outline: Outline, said: Mapping[str, Any], *, model: Iterable[str] = ("model",), request_id: Iterable[str] = ("id",)
) -> None:
    for name, keys in (("model", model), ("request_id", request_id)):
        for value in map(said.get, keys):
            if isinstance(value, str) and value:
                setattr(outline, name, value)


def _used(outline: Outline, usage: Any) -> None:
    if not isinstance(usage, Mapping):
        return
    for name, keys in (("input_tokens", ("prompt_tokens", "input_tokens")),
                       ("output_tokens", ("completion_tokens", "output_tokens"))):  # fmt: skip
        found = [n for key in keys if _is_count(n := usage.get(key))]
        if found:
            setattr(outline, name, found[0])
    cached = [n for key in _BESIDE if _is_count(n := usage.get(key))]
    if cached and _is_count(plainly := usage.get("input_tokens")):
        outline.input_tokens = plainly + sum(cached)


_BESIDE: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""What Anthropic counts beside ``input_tokens``; OpenAI's cached tokens are among its ``prompt_tokens``."""


def _is_count(number: Any) -> TypeGuard[int]:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MOST_TOKENS


def _end(outline: Outline, *reasons: Any) -> None:
    outline.ends.update(reason for reason in reasons if isinstance(reason, str))


def _refusals(outline: Outline, message: Any) -> None:
    outline.refused |= isinstance(message, Mapping) and bool(message.get("refusal"))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
