"""How many of what, in words."""

from __future__ import annotations

from typing import Final

__all__ = ["counted"]

_HISSING: Final = ("s", "x", "z", "ch", "sh")


def counted(count: int, noun: str) -> str:
    """*count* of what the singular *noun* names; the plurals are those of regular nouns.

    >>> counted(1, "log record"), counted(1200, "entry"), counted(0, "process"), counted(2, "key")
    ('1 log record', '1,200 entries', '0 processes', '2 keys')
    """
    if count != 1:
        if noun.endswith("y") and noun[-2:-1] not in "aeiou":
            noun = f"{noun[:-1]}ies"
        else:
            noun += "es" if noun.endswith(_HISSING) else "s"
    return f"{count:,} {noun}"
