"""Imports go only down the map of floors, and the lower floors know no clock, no dice and no I/O."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "scoutcache"

# Top down.  Each room is a folder or a module of the package; a new one must be entered here, on purpose.
FLOORS = {
    "edges": ["cli", "integrations", "__main__"],
    "operations": ["bench", "warming", "insight"],
    "faces": [
        "async_cache", "cache", "decorators", "face", "llm", "answers", "assembly", "idioms", "calls", "core", "drive",
    ],
    "tiers": ["tiers", "server", "channels", "queues", "oplog", "settings", "semantic"],
    "engine": ["engine"],
    "parts": ["alerts", "eviction", "rules", "wire", "coherence", "meaning", "chat"],
    "words": [
        "wording", "models", "config", "policies", "schedules", "patterns", "keys", "canonical", "ttl", "events",
        "entry", "errors",
    ],
}  # fmt: skip
ORDER = list(FLOORS)
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}

# What a floor may not import though it lies below.
NOT_FOR = {"tiers": {"engine"}}
# Floors whose rooms stand in the order in which they may import each other, but for names that only types are made of.
STAIRS = {"faces", "words"}
# Elsewhere the rooms of a floor stay strangers, but for these.
NEIGHBOURS: set[tuple[str, str]] = {
    ("warming", "insight"),  # what comes next is foreseen from the log
    ("__main__", "cli"),
    ("queues", "oplog"),
    ("tiers", "server"),
    ("channels", "server"),
    ("chat", "wire"),  # answers are stored as what the codec can't hold otherwise
    ("channels", "oplog"),  # counters of other machines are segments like those in files
}

NO_OUTSIDE_WORLD = {"asyncio", "threading", "time", "random", "logging", "sqlite3", "redis"}
PURE_FLOORS = {"engine", "parts", "words"}
CLOCK_CALLS = {"now", "utcnow", "today"}
# The models answer `.is_expired()` without a time, so one function there may ask for the present.
CLOCK_READERS = {("policies/__init__.py", "utc_now")}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


class Imported(NamedTuple):
    """A module by its absolute name; is it imported for nothing but types?"""

    name: str
    typing: bool


def imported(path: Path) -> Iterator[Imported]:
    """Every module that a file imports anywhere, inside functions too."""
    package = ["scoutcache", *path.relative_to(PACKAGE).with_suffix("").parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    typing = {node for block in blocks for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Imported(alias.name, node in typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from scoutcache import keys` names the room only in what it takes.
            names = [f"{name}.{alias.name}" for alias in node.names] if name == "scoutcache" else [name]
            yield from (Imported(name, node in typing) for name in names)


def breaches(path: Path) -> Iterator[str]:
    room = room_of(path)
    floor = FLOOR_OF[room]
    for name, typing in imported(path):
        top, _, rest = name.partition(".")
        if top != "scoutcache":
            if floor in PURE_FLOORS and top in NO_OUTSIDE_WORLD:
                yield f"{name}: the floor of {floor} knows no outside world"
            continue
        other = rest.partition(".")[0]
        if other == room or (not other[:1].islower() and other != "__main__") or other not in FLOOR_OF:
            if other not in FLOOR_OF and other not in {"", "__version__"}:
                yield f"{name}: no room is called {other}"
            continue
        there = FLOOR_OF[other]
        if ORDER.index(there) < ORDER.index(floor):
            yield f"{name}: imports go down, not up to {there}"
        elif there in NOT_FOR.get(floor, ()):
            yield f"{name}: {floor} may not import {there}"
        elif there == floor and (wrong := strangers(room, other, typing=typing)):
            yield f"{name}: {wrong}"


def strangers(room: str, other: str, *, typing: bool) -> str | None:
    """Why *room* may not import its neighbour *other*, if it may not."""
    floor = FLOOR_OF[room]
    if floor in STAIRS:
        rooms = FLOORS[floor]
        is_up = not typing and rooms.index(other) < rooms.index(room)
        return f"among {floor} {room} lies below {other}" if is_up else None
    return None if (room, other) in NEIGHBOURS else f"{room} and {other} live on one floor and stay strangers"


def test_every_room_is_on_the_map():
    assert {room_of(path) for path in modules()} - set(FLOOR_OF) == set()


def mapped(folder: Path) -> set[str]:
    """The modules that the docstring of a package names in a map: indented, with what they are behind the name."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")), clean=False) or ""
    return set(re.findall(r"^    (\w+) +\S", text, re.MULTILINE))


def modules_of(folder: Path) -> set[str]:
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    return rooms | {path.stem for path in folder.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize(
    "room",
    [
        "assembly", "calls", "channels", "cli", "cli/checks", "cli/printing", "cli/warming", "core", "drive", "engine",
        "idioms", "insight", "insight/live", "insight/log", "insight/report", "oplog", "server", "settings",
        "tiers/redis", "wording",
    ],
)
def test_a_map_of_a_room_names_all_of_its_modules(room):
    assert mapped(PACKAGE / room) == modules_of(PACKAGE / room)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_only_down(path):
    if room_of(path) in FLOOR_OF:
        assert list(breaches(path)) == []


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if FLOOR_OF.get(room_of(p)) in PURE_FLOORS],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_lower_floors_read_no_clock(path):
    readers = [
        (str(path.relative_to(PACKAGE)), function.name)
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and node.attr in CLOCK_CALLS
        and ast.unparse(node.value).rpartition(".")[2] in {"datetime", "date"}
    ]
    assert set(readers) <= CLOCK_READERS


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from scoutcache.engine import world", "imports go down"),
        ("def f():\n    import time", "no outside world"),
        ("def f():\n    from threading import Lock", "no outside world"),
        ("from scoutcache import cache", "imports go down"),
        ("from ..tiers import base", "imports go down"),
        ("from scoutcache.attic import x", "no room is called attic"),
        ("from scoutcache.eviction import x", "stay strangers"),
    ],
)
def test_a_breach_is_noticed(source, said, tmp_path, monkeypatch):
    """The check itself can fail: each kind of breach, written into a module of `wire`."""
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "wire").mkdir()
    module = tmp_path / "wire" / "codec.py"
    module.write_text(source)
    assert any(said in breach for breach in breaches(module))


def test_on_stairs_a_room_imports_only_what_lies_below(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "core").mkdir()
    module = tmp_path / "core" / "core.py"
    said = {}
    for source in (
        "from scoutcache.drive import flows",
        "def f():\n    from scoutcache.calls.calls import Calls",
        "if TYPE_CHECKING:\n    from scoutcache.calls.calls import Calls",
    ):
        module.write_text(source)
        said[source] = list(breaches(module))
    assert list(said.values()) == [[], ["scoutcache.calls.calls: among faces core lies below calls"], []]
