"""Requests and answers to test with."""

from __future__ import annotations

from typing import Any

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the secret of the sphinx?"}]}
STREAM = {**ASK, "stream": True}


def asking(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}


def answer(content: str = "42", reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"id": "chat-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}, **more}  # fmt: skip


def chunks(text: str = "hello") -> list[dict[str, Any]]:
    head = {"id": "chat-2", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}
    said = [{**head, "choices": [{"index": 0, "delta": {"content": one}, "finish_reason": None}]} for one in text]
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*said, end, {**head, "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}]


class Model:
    """A model that counts how often it is asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers) or [answer()]
        self.asked: list[Any] = []

    def __call__(self, **request: Any) -> Any:
        self.asked.append(request)
        said = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(said, Exception):
            raise said
        return said() if callable(said) else said
