r"""A text with fields of an event in braces, such as ``user:{id}:*``; what is filled in is never a wildcard.

Rules:

1. ``{name}`` stands for the field of that name; ``{{`` and ``}}`` are braces.  Nothing else may stand between braces:
   no format, no conversion, no attribute, no index.
2. In a pattern, a field's value is escaped, so that ``*`` as a value matches a star and nothing else.  For that a field
   may not stand inside a class or behind a backslash: the text on each side of it must be a pattern by itself.
3. A value is text, a whole number or a UUID, as it would stand in a key, and never empty: nothing in place of something
   would widen ``{id}*`` to everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from scoutcache.canonical import shown
from scoutcache.errors import InvalidKey
from scoutcache.patterns import Pattern, escape

__all__ = ["Template"]

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template(NamedTuple):
    """A text and its fields, taken apart: *texts* has one more than *fields*."""

    texts: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take *text* apart; raises `InvalidKey` for what stands wrongly in braces."""
        texts, fields, at = [""], [], 0
        for token in _TOKEN.finditer(text):
            texts[-1] += text[at : token.start()]
            at = token.end()
            if token[0] in ("{{", "}}"):
                texts[-1] += token[0][0]
            else:
                fields.append(_field(token, text))
                texts.append("")
        texts[-1] += text[at:]
        return cls(tuple(texts), tuple(fields))

    @classmethod
    def pattern(cls, text: str) -> Self:
        """The template of a pattern; raises `InvalidKey` as well where a field could change what is around it."""
        template = cls.parse(text)
        for part in template.texts if template.fields else ():
            _check_part(part, text)
        Pattern.parse(template.fill_pattern(dict.fromkeys(template.fields, "x")))
        return template

    def fill_pattern(self, values: Mapping[str, Any]) -> str:
        """The pattern with the fields' values in it, escaped; raises `InvalidKey`."""
        return self._filled([escape(_text(field, values)) for field in self.fields])

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text with the fields' values in it as they are; raises `InvalidKey`."""
        return self._filled([_text(field, values) for field in self.fields])

    def _filled(self, values: list[str]) -> str:
        return "".join(part for pair in zip(self.texts, [*values, ""], strict=True) for part in pair)


def _field(token: re.Match[str], text: str) -> str:
    name = token[1]
    if name is None:
        raise InvalidKey(
            f"{shown(text)}: the brace at character {token.start() + 1} has no other", hint="write {{ or }} for a brace"
        )
    if not name.isidentifier():
        raise InvalidKey(
            f"{shown(text)}: {{{ascii(name)[1:-1]}}} is no field; expected the name of one, such as {{id}}",
            hint="formats and conversions can't stand there; write {{ and }} for braces",
        )
    return name


def _check_part(part: str, text: str) -> None:
    try:
        if part:
            Pattern.parse(part)
    except InvalidKey as error:
        raise InvalidKey(
            f"{shown(text)}: a field can't stand inside [...] or behind a backslash", hint="put it outside"
        ) from error


def _text(field: str, values: Mapping[str, Any]) -> str:
    if field not in values:
        given = ", ".join(map(shown, values)) or "none"
        raise InvalidKey(f"the field {shown(field)} is missing; given: {given}")
    value = values[field]
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise InvalidKey(f"the field {shown(field)} is {type(value).__name__}; expected text, a whole number or a UUID",
                           hint="give it as the text that the keys contain")  # fmt: skip
    # Not `str` alone, which gives an enumeration's member by its name instead of its value.
    text = (
        format(value, "d") if isinstance(value, int) else str.__str__(value) if isinstance(value, str) else str(value)
    )
    if not text:
        raise InvalidKey(f"the field {shown(field)} is empty")
    return text
