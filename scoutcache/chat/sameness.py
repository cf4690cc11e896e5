"""What of a model's answer stays the same when it is made again: all but ids, times, counts of tokens, and in what
pieces it came.

Rules.

1. Left out are only fields of the shapes that providers document; an answer of any other shape is all that it says, its
   ``id`` too, for that may be what was asked for.
2. What a model gives a tool, and what was parsed for the user, is the answer itself, whatever its names.
3. Of a stream, whole or in pieces: pieces of text of one place are one text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from scoutcache.chat.answers import plain

__all__ = ["lasting", "lasting_of_chunks"]

_ANEW: Final = frozenset({
    "id", "created", "created_at", "completed_at", "usage", "system_fingerprint", "service_tier", "request_id",
    "call_id", "item_id", "tool_call_id", "tool_use_id", "sequence_number", "obfuscation", "signature",
    "encrypted_content", "responseId", "response_id", "usageMetadata", "usage_metadata", "createTime", "create_time",
    "thoughtSignature", "thought_signature", "expires_at",
})  # fmt: skip
_GIVEN: Final = frozenset({"input", "arguments", "args", "parsed", "parsed_output", "parsed_arguments"})
"""By rule 2."""
_EVENTS: Final = ("response.", "message_", "content_block_")
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_SAID: Final = frozenset({"text", "thinking", "partial_json"})
"""What the deltas of Anthropic's streams carry."""


def lasting(answer: object) -> Any:
    """A whole answer, to be compared.

    >>> lasting({"id": "a", "choices": [{"message": {"content": "hi"}}], "usage": {}})
    {'choices': [{'message': {'content': 'hi'}}]}
    """
    said = plain(answer)
    return _without(said) if said is not None and _is_documented(said) else answer


def lasting_of_chunks(chunks: Sequence[object]) -> Any:
    """A stream, to be compared."""
    if chunks and all(isinstance(one, str) for one in chunks):
        return "".join(map(str, chunks))
    said = [plain(one) for one in chunks]
    events = [one for one in said if one is not None]
    if len(events) < len(said):
        return [lasting(one) for one in chunks]
    if events and all(isinstance(one.get("choices"), list) for one in events):
        return _of_deltas(events)
    whole = [one.get("response") for one in events if one.get("type") in _ENDS]
    if whole:
        return _without(whole[-1])
    if any(one.get("type") == "message_start" for one in events):
        return _of_blocks(events)
    return [lasting(one) for one in events]


def _is_documented(said: Mapping[str, Any]) -> bool:
    kind = said.get("type")
    return (
        any(isinstance(said.get(name), list) for name in ("choices", "candidates"))
        or (said.get("object") == "response" and isinstance(said.get("output"), list))
        or (kind == "message" and isinstance(said.get("content"), list))
        or (isinstance(kind, str) and kind.startswith(_EVENTS))
    )


def _without(said: Any) -> Any:
    if isinstance(said, Mapping):
        return {name: value if name in _GIVEN else _without(value)
                for name, value in said.items() if name not in _ANEW}  # fmt: skip
    return [_without(one) for one in said] if isinstance(said, list | tuple) else said


def _of_deltas(events: Iterable[Mapping[str, Any]]) -> Any:
    """The choices of OpenAI's chunks, each put together."""
    choices: dict[Any, dict[str, Any]] = {}
    for event in events:
        for at, choice in enumerate(event["choices"]):
            if isinstance(choice, Mapping):
                _join(choices.setdefault(choice.get("index", at), {}), _without(choice))
    return choices


def _join(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add a delta: texts go on, lists are of parts with an index, anything else is said once."""
    for name, value in more.items():
        if isinstance(value, str) and name not in {"role", "type", "finish_reason"}:
            into[name] = into.get(name, "") + value if isinstance(into.get(name, ""), str) else value
        elif isinstance(value, Mapping):
            held = into.setdefault(name, {})
            _join(held, value) if isinstance(held, dict) else into.update({name: value})
        elif isinstance(value, list):
            _join_parts(into.setdefault(name, {}), value)
        elif value is not None:
            into[name] = value


def _join_parts(into: Any, parts: list[Any]) -> None:
    for at, part in enumerate(parts):
        if isinstance(into, dict) and isinstance(part, Mapping):
            _join(into.setdefault(part.get("index", at), {}), part)


def _of_blocks(events: Iterable[Mapping[str, Any]]) -> Any:
    """The blocks of Anthropic's events, each put together, and how it ended."""
    blocks: dict[Any, dict[str, Any]] = {}
    ends: list[Any] = []
    for event in events:
        block = blocks.setdefault(event["index"], {}) if "index" in event else {}
        if isinstance(begun := event.get("content_block"), Mapping):
            block.update(_without(begun))
        if not isinstance(delta := event.get("delta"), Mapping):
            continue
        if event.get("type") == "message_delta":
            ends.append(_without(delta))
        for name in _SAID & delta.keys():
            if isinstance(delta[name], str):
                block[name] = str(block.get(name) or "") + delta[name]
    return [blocks, ends]
