"""What is asked, as the cache knows it: the key, and what is counted by.

Rule: the key depends on the request alone.  Operation, provider and source of a request in a provider's shape are what
         is known besides, given or not; in the form of a text the operation is what is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from scoutcache.chat.defaults import provider_of
from scoutcache.chat.request import canonical_request, model_of, normalised, request_digest
from scoutcache.chat.texts import composed, text_digest, text_size
from scoutcache.config.sections import LlmSection
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.keys import CacheKey, check_tag

__all__ = ["CHAT", "Question", "bound", "question_of", "tag_of"]

CHAT: Final = "chat"
"""What requests in a provider's shape are counted as, unless an operation is given."""

PREFIX: Final = "llm"
VERSION: Final = "v1"
"""Of the form of keys: raised when equal requests would get other keys."""

_NO_MODEL: Final = "-"


@dataclass(frozen=True, slots=True)
class Question:
    """One question.  *given* is what a call may be made with, by name; *whole* is what it is made with alone."""

    key: str
    model: str
    operation: str | None
    provider: str | None
    size: str
    streams: bool
    given: Mapping[str, Any] = field(repr=False)
    whole: Any = field(repr=False)


def question_of(
    settings: LlmSection, request: object, text: str | Iterable[str] | None, operation: str | None,
    options: Mapping[str, Any] | None,
) -> Question:  # fmt: skip
    """The question that the arguments of a call put.

    Raises `InvalidKey` for what is none, naming the place.
    """
    if operation is not None:
        tag_of("operation", operation)
    if text is None and options is None:
        if request is None:
            raise InvalidKey("nothing is asked", hint="give a request, or text=… and operation=…")
        return _of_request(settings, request, operation)
    if request is not None or text is None or operation is None:
        raise InvalidKey("a question is a request, or text= with operation= (and options=)")
    return _of_text(settings, text, operation, {} if options is None else options)


def _of_request(settings: LlmSection, request: Any, operation: str | None) -> Question:
    canonical = canonical_request(request, settings.ignored_fields)
    model = canonical.model
    key = CacheKey.build(PREFIX, CHAT, model or _NO_MODEL, VERSION, request_digest(canonical.fields))
    given = request if isinstance(request, Mapping) else dict(request)
    return Question(key.generate(), model, operation, provider_of(model),
                    text_size(canonical.characters, settings.text_tiers), given.get("stream") is True,
                    given, request)  # fmt: skip


def _of_text(settings: LlmSection, text: str | Iterable[str], operation: str, options: Mapping[str, Any]) -> Question:
    if not isinstance(options, Mapping):
        raise InvalidKey(f"options is a mapping, not {type(options).__name__}")
    said = normalised(options)
    model = model_of(said)
    if isinstance(text, str) and settings.plain_texts and len(text) <= settings.hash_above:
        shown, length = [composed(text, "text")], len(text)
        digest = request_digest([operation, said])
    else:
        sha, length = text_digest(text)
        shown, digest = [], request_digest([sha, operation, said])
    key = CacheKey.build(PREFIX, operation, model or _NO_MODEL, VERSION, *shown, digest)
    whole = text if isinstance(text, str) else None  # chunks have been read
    given = {**options, "operation": operation, "options": options, **({} if whole is None else {"text": whole})}
    return Question(key.generate(), model, operation, provider_of(model), text_size(length, settings.text_tiers),
                    said.get("stream") is True, given, whole)  # fmt: skip


def tag_of(kind: str, name: object) -> str:
    """The tag of what is named.  Raises `InvalidKey` for a name that none can hold."""
    if not isinstance(name, str):
        raise InvalidKey(f"{kind} is a name, not {type(name).__name__}")
    if not name:
        raise InvalidKey(f"{kind} is a name, and can't be empty")
    return check_tag(f"{kind}:{name}")


def bound(call: Callable[..., Any], question: Question) -> Callable[[], Any]:
    """*call* as one that takes nothing: it may take nothing, the request (or text), or its fields by name.

    A function with ``**`` among its parameters gets all fields, one that names fields gets those.  Raises `CacheError`
    for one that needs anything else.
    """
    if not callable(call):
        raise CacheError(f"call is called for the answer, so it can't be {call!r:.80}",
                         hint="write a function, such as lambda: …")  # fmt: skip
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # some builtins have none
        return call
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return partial(call, **question.given)
    needed = [one for one in parameters if one.default is inspect.Parameter.empty and one.kind in _FILLED]
    named = {one.name: question.given[one.name] for one in parameters
             if one.name in question.given and one.kind is not inspect.Parameter.POSITIONAL_ONLY}  # fmt: skip
    if not needed or all(one.name in named for one in needed):
        return partial(call, **named) if named else call
    if question.whole is not None and len(needed) == 1 and needed[0].kind is not inspect.Parameter.KEYWORD_ONLY:
        return partial(call, question.whole)
    lacking = ", ".join(one.name for one in needed if one.name not in named)
    raise CacheError(f"call needs {lacking}, which the request doesn't have",
                     hint="call takes no arguments, the whole request or text, or its fields by name")  # fmt: skip


_FILLED: Final = (
    inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY,
)  # fmt: skip
