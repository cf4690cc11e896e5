"""An embedder for tests: the sum of one fixed vector per word, so that texts with the same words are near."""

from __future__ import annotations

import hashlib
import re

import numpy as np

DIM = 64


def embed(texts: list[str]) -> np.ndarray:
    return np.array([_vector(text) for text in texts], np.float32)


def _vector(text: str) -> np.ndarray:
    words = re.findall(r"\w+", text.lower()) or ["-"]
    return np.sum([_word(word) for word in words], axis=0)


def _word(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIM)
