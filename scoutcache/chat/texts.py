"""Texts in keys: one form for what is one text, a digest for what is long or private, a size to count them by.

Rules.

1. A text counts as its Unicode normal form C: "é" typed as one character or as two is one text.  Nothing else about it
   is changed; blanks and case matter.
2. `text_digest` reads a text in slices, whole or in chunks of any size, and gives the same for both: so a text too
   large to hold needs no more memory than a slice, as long as now and then a character comes that composes with none
   before it (any ASCII character, any ideograph).
3. A lone surrogate is no text: no provider could be sent it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from unicodedata import is_normalized, normalize

from scoutcache.errors import InvalidKey

__all__ = ["composed", "text_digest", "text_size"]

SIZES: Final = ("small", "medium", "large", "huge")
"""What texts up to the first, second, third length of ``[llm] text_tiers`` are called, and longer ones."""

_SLICE: Final = 65536
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_APART: Final = re.compile(r"[\x00-\x7f\u3400-\u4dbf\u4e00-\u9fff]")
"""Characters that never compose with what stands before them (Unicode 15, DerivedNormalizationProps: NFC_QC=Yes, and
canonical combining class 0), so that what begins with one may be normalised by itself."""


def composed(text: str, where: str) -> str:
    """*text* in normal form C.  Raises `InvalidKey`, naming *where* it stands, for a lone surrogate."""
    if text.isascii():
        return text
    if (found := _SURROGATE.search(text)) is not None:
        raise InvalidKey(f"{where} holds the lone surrogate U+{ord(found[0]):04X} at character {found.start() + 1}",
                         hint="decode its bytes as UTF-8 with errors='replace'")  # fmt: skip
    return text if is_normalized("NFC", text) else normalize("NFC", text)


def text_digest(text: str | Iterable[str]) -> tuple[str, int]:
    """SHA-256 of the text's normal form, in hex, and how many characters it had.

    >>> text_digest("cafe\\u0301 noir") == (text_digest(["cafe", "\\u0301 no", "ir"])[0], 10)
    True
    """
    sha, length, held = hashlib.sha256(), 0, ""
    for piece in _pieces(text):
        length += len(piece)
        ready, held = _parted(held + piece)
        sha.update(composed(ready, "text").encode())
    sha.update(composed(held, "text").encode())
    return sha.hexdigest(), length


def _pieces(text: str | Iterable[str]) -> Iterator[str]:
    whole = isinstance(text, str | bytes | bytearray | memoryview) or not isinstance(text, Iterable)
    for chunk in (text,) if whole else text:
        if not isinstance(chunk, str):
            raise InvalidKey(f"text is text or chunks of text, not {type(chunk).__name__}",
                             hint="decode bytes first")  # fmt: skip
        for at in range(0, len(chunk), _SLICE):
            yield chunk[at : at + _SLICE]


def _parted(text: str) -> tuple[str, str]:
    """*text* up to its last character that composes with none before it, and the rest."""
    for at in range(len(text) - 1, 0, -1):
        if _APART.match(text, at):
            return text[:at], text[at:]
    return "", text


def text_size(length: int, tiers: Sequence[int]) -> str:
    """What a text of *length* characters is called, by the lengths in *tiers*.

    >>> [text_size(n, (500, 5000, 50_000)) for n in (500, 501, 60_000)]
    ['small', 'medium', 'huge']
    """
    for name, most in zip(SIZES, tiers, strict=False):
        if length <= most:
            return name
    return SIZES[min(len(tiers), len(SIZES) - 1)]
