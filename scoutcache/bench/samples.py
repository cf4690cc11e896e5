"""Sample values to measure compression on where one has none at hand: made up, only shaped like answers of a model.

They say how a codec treats many small JSON documents with the same structure and differing text.  How it treats *your*
values only your values say: give files, or measure on the entries of your cache.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Final

__all__ = ["synthetic_chats"]

_SUBJECTS: Final = (
    "the invoice", "a release", "this function", "the customer", "the index", "our contract", "the second quarter",
    "the deployment", "an embedding", "the survey", "the meeting", "a refund", "the pipeline", "the report", "the form",
)  # fmt: skip
_VERBS: Final = (
    "needs", "describes", "replaces", "depends on", "was delayed by", "is covered by", "conflicts with", "leads to",
    "was followed by", "explains", "is measured against", "should mention", "leaves out", "is older than",
)  # fmt: skip
_OBJECTS: Final = (
    "two approvals", "the previous version", "a smaller sample", "the terms of March", "an open question",
    "the average of four weeks", "its own tests", "a clear owner", "the second paragraph", "three exceptions",
    "what was agreed", "the shipping address", "a rate limit", "the figures below", "an earlier complaint",
)  # fmt: skip
_JOINTS: Final = ("In short, ", "However, ", "As noted, ", "", "", "", "For example, ", "Because of that, ")
_SYLLABLES: Final = (
    "ka", "lo", "mi", "ner", "tu", "sal", "vor", "pe", "dra", "in", "est", "om", "gri", "fa", "lun", "bo", "chi", "el",
)  # fmt: skip
_MODELS: Final = ("model-large", "model-small", "model-small-2")


def synthetic_chats(count: int = 400, seed: int = 1) -> list[bytes]:
    """*count* chat completions as JSON, half a kilobyte to some kilobytes each; the same for the same *seed*."""
    dice = random.Random(f"chats:{seed}")  # noqa: S311 (reproducible, not secret)
    return [json.dumps(_completion(dice)).encode() for _ in range(count)]


def _completion(dice: random.Random) -> dict[str, object]:
    prompt, answer = _text(dice, 1, 4), _text(dice, 3, 30)
    return {
        "id": f"chatcmpl-{dice.getrandbits(96):024x}", "object": "chat.completion",
        "created": 1_750_000_000 + dice.randrange(10**7), "model": dice.choice(_MODELS),
        "request": {"temperature": dice.choice((0, 0.2, 0.7)), "messages": [
            {"role": "system", "content": "You are a careful assistant. Answer briefly and say what you don't know."},
            {"role": "user", "content": prompt}]},
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": answer, "refusal": None}}],
        "usage": {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(answer) // 4},
    }  # fmt: skip


def _text(dice: random.Random, least: int, most: int) -> str:
    return " ".join(_sentence(dice) for _ in range(dice.randint(least, most)))


def _sentence(dice: random.Random) -> str:
    def pick(words: Sequence[str]) -> str:
        return dice.choice(words)

    number = f" ({dice.randrange(1, 900)})" if dice.random() < 0.3 else ""
    # Words that no other sample holds, as real texts have their own names and terms: else a dictionary learns it all.
    own = " and ".join("".join(dice.choices(_SYLLABLES, k=dice.randint(2, 4))) for _ in range(dice.randint(1, 4)))
    text = f"{pick(_JOINTS)}{pick(_SUBJECTS)} of {own} {pick(_VERBS)} {pick(_OBJECTS)}{number}."
    return text[0].upper() + text[1:]
