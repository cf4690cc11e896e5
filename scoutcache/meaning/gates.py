"""What must agree between two queries besides vectors: numbers, negation, opposites, names, order, language, signs.

An embedding says that two texts are about the same; it hardly tells "buy" from "sell", 30 days from 60, or A to B from
B to A.  On PAWS 92 % of the pairs with another meaning have a similarity of 0.9 and more.

Rule 1: a gate looks at two wordings and says why they may not share an answer, or nothing.  It never opens anything.
Rule 2: gates know general English and the form of words, and nothing of any subject.  In another language what has no
        form (negation, opposites, synonyms) is not noticed: numbers, names, order and language are.  Of what isn't
        written in spaced words of letters that the default model knows, every character must be the same.
Rule 3: gates are symmetric, and a text passes all of them against itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Final, NamedTuple
from unicodedata import category, normalize

from scoutcache.meaning.lexicon import EXCLUSIVE, FUNCTION, NEGATIONS, OPPOSITES, SYNONYMS, TURNING
from scoutcache.meaning.quantities import NUMBERS
from scoutcache.meaning.wording import Wording, read, stem

__all__ = ["GATES", "Closed", "closed_by"]


class Closed(NamedTuple):
    """A gate that is closed, and what it saw."""

    gate: str
    why: str


def closed_by(query: str, other: str, gates: Sequence[str]) -> list[Closed]:
    """Every one of *gates* that is closed between two texts, in their order.

    >>> closed_by("Should I buy gold?", "Should I sell gold?", ["numbers", "antonyms"])
    [Closed(gate='antonyms', why='buy / sell')]
    """
    if query == other:
        return []
    here, there = read(query), read(other)
    seen = ((name, GATES[name](here, there)) for name in gates)
    return [Closed(name, why) for name, why in seen if why is not None]


def _numbers(here: Wording, there: Wording) -> str | None:
    """Every number of one stands in the other as often, with its unit, and the operators between them are the same."""
    if here.operators != there.operators:
        return f"{' '.join(here.operators[:_FEW]) or 'none'} / {' '.join(there.operators[:_FEW]) or 'none'}"
    if here.numbers == there.numbers:
        return None
    mine, yours = _apart(here.numbers, there.numbers)
    if _bare(mine) == _bare(yours) and not all(" " in one for one in (*mine, *yours)):
        return None  # the same numbers, one time without its unit
    return f"{_said(mine)} / {_said(yours)}"


def _apart(mine: Iterable[str], yours: Iterable[str]) -> tuple[list[str], list[str]]:
    """What each has that the other has not, or not as often."""
    here, there = Counter(mine), Counter(yours)
    return sorted((here - there).elements()), sorted((there - here).elements())


def _bare(numbers: Iterable[str]) -> list[str]:
    return sorted(one.partition(" ")[0] for one in numbers)


def _negation(here: Wording, there: Wording) -> str | None:
    """Both are negated, or neither is, and both are limited (only, almost) alike."""
    if here.negated != there.negated:
        return "only one of them is negated"
    return None if here.limits == there.limits else f"{_said(here.limits)} / {_said(there.limits)}"


def _antonyms(here: Wording, there: Wording) -> str | None:
    """No word of one is replaced by its opposite, or by one that excludes it."""
    mine, yours = here.stems - there.stems, there.stems - here.stems
    if not mine or not yours:
        return None
    for word in sorted(mine):
        if not yours.isdisjoint(excluded := _EXCLUDED.get(word, frozenset())):
            return f"{word} / {min(excluded & yours)}"
        if (other := _denial(word, yours)) is not None:
            return f"{word} / {other}"
    return None


_DENYING: Final = ("un", "in", "im", "il", "ir", "dis", "non", "de", "anti", "mis")


def _denial(word: str, yours: frozenset[str]) -> str | None:
    """The word of *yours* that is *word* with a prefix or an ending that denies it, or without one."""
    for prefix in _DENYING:
        if len(word) > 3 and prefix + word in yours:
            return prefix + word
        bare = word.removeprefix(prefix)
        if bare != word and len(bare) > 3 and bare in yours:
            return bare
    for ending, denied in (("ful", "less"), ("less", "ful")):
        if word.endswith(ending) and (other := word.removesuffix(ending) + denied) in yours:
            return other
    return None


def _entities(here: Wording, there: Wording) -> str | None:
    """Every name of one stands in the other, in whatever letters, but that WHO isn't who."""
    mine, yours = _missing(here.names, there), _missing(there.names, here)
    return f"{_said(mine)} / {_said(yours)}" if mine or yours else None


def _missing(names: frozenset[str], there: Wording) -> list[str]:
    """The first of *names* that don't stand there, enough to say so."""
    missing = names - there.names
    if not missing:
        return []
    words, runs = frozenset(there.words), _runs(there.initials)
    begun = {word[:end] for word in there.names if len(word) > 2 for end in range(1, min(len(word), _LONGEST) + 1)}
    left = (
        name
        for name in sorted(missing)
        if not (_stands(name, words, there) or name.lower() in runs
                or (not _counts(name) and (name in begun or _continues(name, there.names))))
    )
    return list(islice(left, _FEW + 1))


_LONGEST: Final = 40
"""Letters of a name that are compared with the beginnings of others."""


def _counts(name: str) -> bool:
    """Is it a Roman number?  VII begins VIII and is another."""
    return _ROMAN.fullmatch(name) is not None


_ROMAN: Final = re.compile("(?=.)(?:x{0,3})(?:i[xv]|v?i{0,3})")


def _stands(name: str, words: frozenset[str], there: Wording) -> bool:
    return not name.isupper() and (name in words or stem(name) in there.stems)


def _runs(initials: str) -> set[str]:
    """What is made of the initials of two to six successive words."""
    return {initials[at : at + size] for size in range(2, 7) for at in range(len(initials) - size + 1)}


def _continues(name: str, names: frozenset[str]) -> bool:
    return any(name[:end] in names for end in range(3, min(len(name), _LONGEST)))


def _order(here: Wording, there: Wording) -> str | None:
    """What both say of the subject comes in the same order, where they are made of nearly the same words.

    My manager's manager is not my manager.
    """
    if here.signs != there.signs and sorted(here.signs) == sorted(there.signs):
        return next(f"{one} / {other}" for one, other in zip(here.signs, there.signs, strict=True) if one != other)
    if (here.is_long or there.is_long) and sorted(here.content) == sorted(there.content):
        pairs = zip(here.content, there.content, strict=True)
        return next((f"{one[:_LONGEST]} / {other[:_LONGEST]}" for one, other in pairs if one != other), None)
    if (passive := _passive(here, there)) is not None:
        return passive
    mine, yours = dict.fromkeys(here.content), dict.fromkeys(there.content)
    common = mine.keys() & yours.keys()
    if (first := _own(here.words)) != (second := _own(there.words)):
        return f"{_said(first)} / {_said(second)}"
    if len(common) < max(2, _OVERLAP * max(len(mine), len(yours))):
        return None
    first, second = [word for word in mine if word in common], [word for word in yours if word in common]
    return next((f"{one} / {other}" for one, other in zip(first, second, strict=True) if one != other), None)


def _own(words: Sequence[str]) -> list[str]:
    """Whose own kind is spoken of: the manager's manager."""
    return [one for one, two in pairwise(words) if one.endswith("'s") and stem(one) == stem(two)]


_OVERLAP: Final = 0.8
"""Below that order says little: it closes 18 % of true paraphrases, at 0.6 45 %, for as much of what PAWS swaps."""


def _passive(here: Wording, there: Wording) -> str | None:
    """Who was killed by Macbeth is not who killed Macbeth, though the words come in the same order."""
    said = "by" in here.words, "by" in there.words
    if said[0] == said[1] or len(here.content) != len(there.content) or len(here.content) < 2:
        return None
    same = all(one == other or _alike(one, other) for one, other in zip(here.content, there.content, strict=True))
    return f"{'by' if said[0] else 'none'} / {'by' if said[1] else 'none'}" if same else None


def _slots(here: Wording, there: Wording) -> str | None:
    """No single word stands in the place of another in the same sentence, unless they mean the same.

    Of words that say little by themselves only those count that turn a direction (to and from, on and off), a condition
    (if and unless, and and or) or a time (is and was), or exclude each other (my and your).
    """
    if len(here.words) == len(there.words):
        turned = list(islice(((one, two) for one, two in zip(here.words, there.words, strict=True) if one != two), 3))
        if 0 < len(turned) < 3 and all(_turns(*pair) for pair in turned):
            return " / ".join(turned[0])
    if (swapped := _swapped_numbers(here.content, there.content)) is not None:
        return swapped
    changed = list(_replaced(here.content, there.content))
    if not changed or len(changed) > 2:
        return None
    for one, other in changed:
        if not _alike(one, other):
            return f"{one} / {other}"
    return None


def _swapped_numbers(mine: Sequence[str], yours: Sequence[str]) -> str | None:
    """3x + 2 is not 2x + 3, though the numbers are the same."""
    if len(mine) != len(yours):
        return None
    changed = list(islice(((one, two) for one, two in zip(mine, yours, strict=True) if one != two), 3))
    if len(changed) != 2 or not all(word[:1].isdecimal() for pair in changed for word in pair):
        return None
    (first, other), (second, another) = ([_LEADING.match(word) for word in pair] for pair in changed)
    if not (first and other and second and another) or first[0] == other[0]:
        return None
    return " / ".join(changed[0]) if (first[0], second[0]) == (another[0], other[0]) else None


_LEADING: Final = re.compile(r"\d+")


def _turns(one: str, other: str) -> bool:
    return frozenset((one, other)) in TURNING or stem(other) in _EXCLUDED.get(stem(one), ())


def _replaced(mine: Sequence[str], yours: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The words that differ between two texts of the same number of words and else the same.

    Where there is but one it says what is asked about, which the vector shows, unless nothing but its accents differ.
    """
    if len(mine) != len(yours) or (len(mine) == 1 and _unaccented(mine[0]) != _unaccented(yours[0])):
        return
    changed = [(one, other) for one, other in zip(mine, yours, strict=True) if one != other]
    if len(changed) <= max(1, len(mine) // 3):
        yield from changed


def _unaccented(word: str) -> str:
    """As the default model reads it."""
    return word if word.isascii() else "".join(c for c in normalize("NFD", word) if category(c) != "Mn")


def _alike(one: str, other: str) -> bool:
    if other in _SAME.get(one, ()) or (one[:1].isdigit() and other[:1].isdigit()):
        return True  # numbers have a gate of their own
    if (one.isdecimal() and other in _COUNTS) or (other.isdecimal() and one in _COUNTS):
        return True
    short, long = sorted((one, other), key=len)
    return len(short) >= 4 and long[:4] == short[:4]


def _language(here: Wording, there: Wording) -> str | None:
    """They are written in the same script and, as far as it is known, language."""
    if here.script != there.script:
        return f"{here.script} / {there.script}"
    if here.language and there.language and here.language != there.language:
        return f"{here.language} / {there.language}"
    return None


def _characters(here: Wording, there: Wording) -> str | None:
    """The emoji, symbols, and characters of scripts that aren't written as spaced words are the same, as often."""
    if here.signs == there.signs:
        return None
    mine, yours = _apart(here.signs, there.signs)
    return f"{_said(mine)} / {_said(yours)}" if mine or yours else None


def _passages(here: Wording, there: Wording) -> str | None:
    """Texts of which one is embedded in pieces consist of the same words, but for those that say little."""
    if not (here.is_long or there.is_long):
        return None
    mine, yours = _apart(_telling(here), _telling(there))
    return f"{_said(mine)} / {_said(yours)}" if mine or yours else None


def _telling(text: Wording) -> list[str]:
    words = (word.removesuffix("'s") for word in text.words)
    return [one for one in words if one not in FUNCTION or one in NEGATIONS or stem(one) in _EXCLUDED]


_FEW: Final = 5
"""Of what differs so much is said."""


def _said(found: Iterable[str]) -> str:
    words = [one[:_LONGEST] for one in sorted(found)]
    return ", ".join([*words[:_FEW], *(["…"] if len(words) > _FEW else [])]) or "none"


GATES: Final[dict[str, Callable[[Wording, Wording], str | None]]] = {
    "numbers": _numbers, "negation": _negation, "antonyms": _antonyms, "entities": _entities, "order": _order,
    "slots": _slots, "language": _language, "characters": _characters, "passages": _passages,
}  # fmt: skip
"""By name; the docstring of each says what must hold for it to be open."""


def _exclusions() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for one, other in OPPOSITES:
        for side, against in ((one, other), (other, one)):
            for word in side:
                table.setdefault(stem(word), set()).update(map(stem, against))
    for group in EXCLUSIVE:
        stems = {stem(word) for word in group}
        for word in stems:
            table.setdefault(word, set()).update(stems - {word})
    return {word: frozenset(excluded - {word}) for word, excluded in table.items()}


def _synonyms() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for group in SYNONYMS:
        stems = {stem(word) for word in group}
        for word in stems:
            table.setdefault(word, set()).update(stems)
    return {word: frozenset(same) for word, same in table.items()}


_COUNTS: Final = frozenset(stem(word) for word in NUMBERS if not word.endswith(("th", "ird", "ice")))
"""Three, but neither third nor thrice: three chapters are not the third."""
_EXCLUDED: Final = _exclusions()
_SAME: Final = _synonyms()
