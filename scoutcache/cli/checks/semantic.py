"""The checks of ``doctor`` for answers by meaning: libraries, model, index; no model is loaded for them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scoutcache.cli.checks.findings import MOST_VERIFIED, Check
from scoutcache.errors import CacheError
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.core.core import Core
    from scoutcache.semantic.rows import Rows

__all__ = ["semantic_checks"]

_INSTALL: Final = "pip install 'scoutcache[semantic]'"
_PREPARE: Final = "scoutcache semantic prepare"
_REBUILD: Final = "scoutcache semantic rebuild"


def semantic_checks(session: Session) -> Iterator[Check]:
    """What stands behind answers by meaning, from the libraries to the index."""
    from scoutcache.semantic.models import is_function, prepared_in
    from scoutcache.semantic.prepared import is_prepared

    model = session.config.semantic.model
    folder = prepared_in(session.place, model)
    prepared = not is_function(model) and is_prepared(folder)
    embeds = ("onnxruntime", "tokenizers") if prepared else () if is_function(model) else ("sentence_transformers",)
    missing = [name for name in ("numpy", "faiss", *embeds) if find_spec(name) is None]
    if missing:
        yield Check("semantic libraries", "fail", f"not installed: {', '.join(missing)}", _INSTALL)
    if is_function(model):
        yield _function(model)
    elif prepared:
        yield _prepared(model, folder)
    else:
        yield _model(model)
    if "numpy" not in missing:
        yield from _indexes(session, folder if prepared else None)


def _function(model: str) -> Check:
    top = model.partition(":")[0].partition(".")[0]
    if find_spec(top) is None:
        return Check("semantic model", "fail", f"{model}: there is no module {top}", "correct [semantic] model")
    return Check("semantic model", "ok", f"{model}, a function")


def _prepared(model: str, folder: Path) -> Check:
    from scoutcache.semantic.prepared import about_prepared, source_digest

    about = about_prepared(folder)
    if about is None:
        return Check("semantic model", "fail", f"the prepared form of {model} in {folder} is damaged",
                     f"{_PREPARE} --force")  # fmt: skip
    was, now = about.get("source"), source_digest(model)
    if was is not None and now is not None and was != now:
        return Check("semantic model", "warn", f"the files of {model} changed after it was prepared",
                     f"{_PREPARE} --force, then {_REBUILD}")  # fmt: skip
    return Check("semantic model", "ok", f"{model}, prepared in {folder}")


def _model(model: str) -> Check:
    from scoutcache.semantic.whereabouts import Whereabouts, whereabouts

    where = whereabouts(model)
    if where is Whereabouts.HERE:
        return Check("semantic model", "warn", f"{model} is not prepared: the first answer of a process takes seconds",
                     _PREPARE)  # fmt: skip
    if where is Whereabouts.NO_FOLDER:
        return Check("semantic model", "fail", f"there is no folder {model}", "correct [semantic] model")
    if where is Whereabouts.OFFLINE:
        return Check("semantic model", "fail", f"{model} is not on this machine, which is offline",
                     "name a folder that holds it in [semantic] model")  # fmt: skip
    return Check("semantic model", "warn", f"{model} is not on this machine: it will be downloaded at its first use",
                 _PREPARE)  # fmt: skip


def _indexes(session: Session, prepared: Path | None) -> Iterator[Check]:
    """Each namespace's index by its header, and that of the session's namespace by its entries."""
    from scoutcache.semantic.models import folder_name
    from scoutcache.semantic.rows import Rows

    own = session.place / "semantic" / folder_name(session.config.namespace)
    for file in sorted(session.place.glob("semantic/*/rows")):
        rows = Rows(file.parent)
        try:
            rows.refresh()
        except (CacheError, OSError) as error:
            yield Check("semantic index", "fail", str(error), _REBUILD)
            continue
        if rows.about is None:
            continue
        found = _of_another(session.config.semantic.model, rows, prepared)
        if found is not None or file.parent != own:
            yield found or Check("semantic index", "ok", _told(rows, file.parent.name))
        else:
            yield _agreement(session, rows)


def _told(rows: Rows, name: str) -> str:
    dead = rows.count - len(rows.alive())
    return f"{counted(rows.count - dead, 'answer')} in {name}, {counted(dead, 'row')} to be removed"


def _of_another(model: str, rows: Rows, prepared: Path | None) -> Check | None:
    """A fault where another embedder made the index, as far as that can be told without loading one."""
    from scoutcache.semantic.identity import identity_of, is_same
    from scoutcache.semantic.models import identity
    from scoutcache.semantic.prepared import about_prepared

    about = rows.about
    assert about is not None
    if about.model != identity(model):
        return Check("semantic index", "fail", f"it was made by the embedder {about.model}, but {model} is configured",
                     f"{_REBUILD}, or configure the old model again")  # fmt: skip
    probe: Any = None if prepared is None else (about_prepared(prepared) or {}).get("probe")
    if isinstance(probe, list) and not is_same(*(identity_of(about.model, one) for one in (probe, about.probe))):
        return Check("semantic index", "fail", f"it was made by {about.model} with other weights", _REBUILD)
    return None


def _agreement(session: Session, rows: Rows) -> Check:
    alive = rows.alive()
    name = session.config.namespace
    if len(alive) > MOST_VERIFIED:
        return Check("semantic index", "ok", f"{_told(rows, name)}; not compared with the entries",
                     "scoutcache semantic stats compares and repairs it")  # fmt: skip
    try:
        with session.cache(reading=True, told=False) as cache:
            there = _places(cache._core, name)
    except CacheError as error:
        return Check("semantic index", "warn", f"it can't be compared with the entries: {error}", error.hint)
    under_way = set(rows.unsettled())
    indexed = {(rows.scope(int(row)), rows.ident(int(row))) for row in alive if int(row) not in under_way}
    pending = {(rows.scope(row), rows.ident(row)) for row in under_way}
    ghosts, missing = len(indexed - there), len(there - indexed - pending)
    if ghosts or missing:
        apart = f"{counted(missing, 'answer')} not in it, {counted(ghosts, 'row')} of it without an answer"
        return Check("semantic index", "warn", apart, "scoutcache semantic stats repairs it")
    return Check("semantic index", "ok", f"{_told(rows, name)}; it agrees with the entries")


def _places(core: Core, namespace: str) -> set[tuple[bytes, bytes]]:
    from scoutcache.calls.listing import list_entries
    from scoutcache.meaning.scopes import KEYS, places_of
    from scoutcache.patterns import Pattern

    keys = [entry.header.ref.key for entry in list_entries(core, namespace, Pattern.parse(KEYS))]
    return {found for key in keys if (found := places_of(key)) is not None}
