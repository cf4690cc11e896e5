"""Numbers and the nouns they count agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from scoutcache.wording.nouns import counted

PACKAGE = Path(__file__).resolve().parent.parent / "scoutcache"
ROOMS = ("cli", "insight")
PLURALS = re.compile(r" (?:\w+ )?(?:answers|calls|entries|files|hits|keys|lines|misses|pairs|records|requests|rows)\b")


@pytest.mark.parametrize(
    ("count", "noun", "told"),
    [(0, "key", "0 keys"), (1, "log record", "1 log record"), (2, "entry", "2 entries"), (1, "entry", "1 entry"),
     (1200, "process", "1,200 processes"), (3, "match", "3 matches"), (2, "day", "2 days")],
)  # fmt: skip
def test_one_is_singular_and_all_else_plural(count: int, noun: str, told: str) -> None:
    assert counted(count, noun) == told


def test_no_number_stands_before_a_plural_that_is_written_out() -> None:
    found = []
    for path in sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found += [f"{path.name}:{node.lineno}:{told}" for told in uncounted(node)]
    assert found == []


def uncounted(text: ast.JoinedStr) -> Iterator[str]:
    """What follows a number in *text* and may be wrong for one; a constant of ours is known not to be one."""
    for one, after in pairwise(text.values):
        if not isinstance(one, ast.FormattedValue) or not isinstance(after, ast.Constant):
            continue
        constant = isinstance(one.value, ast.Name) and one.value.id.isupper()
        if not constant and not isinstance(one.value, ast.Call) and (match := PLURALS.match(after.value)):
            yield match[0]
