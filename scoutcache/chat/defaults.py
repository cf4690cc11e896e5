"""What providers document of their parameters: defaults, which may be null, and what has no part in the answer.

Sources.

- OpenAI: ``openapi.yaml`` of github.com/openai/openai-openapi (commit f85dbe2, 2026-08-21), schemas
  CreateChatCompletionRequest, CreateResponse and CreateEmbeddingRequest: ``default`` and ``nullable``.  Left out are
  ``reasoning_effort`` and ``verbosity``, whose defaults differ by model, as their descriptions say.
- Anthropic: the API reference of ``POST /v1/messages`` ("Defaults to `1.0`" of temperature; "Defaults to `false`" of
  ``tool_choice.disable_parallel_tool_use``; ``stream`` is optional and only true streams).

No table for anybody else: a server that speaks the same shape may have other defaults (vLLM takes them from the
model's generation_config), and two requests that may differ must not share an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["DEFAULTS", "NULLABLE", "NULLABLE_IN_MESSAGE", "default_of", "provider_of"]

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({
    "openai": {
        "temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "n": 1, "stream": False,
        "logprobs": False, "parallel_tool_calls": True, "truncation": "disabled", "background": False,
        "encoding_format": "float",
    },
    "anthropic": {"temperature": 1, "stream": False},
})  # fmt: skip
"""By provider and parameter.  Numbers as `request.normalised` writes them."""

NULLABLE: Final = frozenset({
    "audio", "background", "context_management", "conversation", "frequency_penalty", "include", "instructions",
    "logit_bias", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls",
    "modalities", "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty", "previous_response_id",
    "prompt", "reasoning", "reasoning_effort", "seed", "stop", "stream", "stream_options", "temperature",
    "top_logprobs", "top_p", "truncation", "verbosity",
})  # fmt: skip
"""OpenAI's parameters for which null says the same as nothing."""

NULLABLE_IN_MESSAGE: Final = frozenset({"audio", "function_call", "refusal"})
"""The same in an assistant's message.  (``content`` may be null too, but may not always be left out.)"""

_MODELS: Final = (
    ("openai", ("gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "ft:gpt-", "ft:o", "codex-")),
    ("anthropic", ("claude-",)),
    ("google", ("gemini-",)),
    ("mistral", ("mistral-", "ministral-", "codestral-", "magistral-", "pixtral-")),
    ("cohere", ("command-",)),
    ("deepseek", ("deepseek-",)),
    ("xai", ("grok-",)),
)
_MADE_BY_OTHERS: Final = ("gpt-oss", "gpt-j", "gpt-neo")
"""Open models that anybody serves."""


def provider_of(model: str) -> str | None:
    """Whose model it is by its name, None where the name doesn't tell.

    >>> [provider_of(model) for model in ("gpt-4o-mini", "claude-sonnet-4-5", "openai/gpt-4o", "llama3")]
    ['openai', 'anthropic', None, None]
    """
    if model.startswith(_MADE_BY_OTHERS):
        return None
    return next((name for name, begins in _MODELS if model.startswith(begins)), None)


def default_of(provider: str | None, name: str, request: Mapping[str, Any]) -> Any:
    """The documented default of a parameter in this *request*; ``...`` where none is documented."""
    if provider == "openai" and name == "tool_choice":
        return "auto" if request.get("tools") else "none"
    return DEFAULTS.get(provider or "", {}).get(name, ...)
