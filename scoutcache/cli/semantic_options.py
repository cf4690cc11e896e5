"""What the commands of ``semantic`` share: how a query is asked, its scope above all; a word while a model loads."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoutcache.cli.errors import Usage
from scoutcache.errors import CacheError

if TYPE_CHECKING:
    from scoutcache.cli.state import Session

Model = Annotated[
    str, typer.Option("--model", "-m", metavar="M", help="The model that gave the answers; part of the scope.")
]
Scope = Annotated[
    list[str] | None,
    typer.Option("--scope", "-s", metavar="NAME=VALUE", help="What else must match; JSON values are read. Repeatable."),
]
Query = Annotated[str, typer.Argument(metavar="QUERY", help="The query.")]
Threshold = Annotated[
    float | None, typer.Option("--threshold", metavar="T", help="Cosine similarity, 0 to 1, instead of the preset's.")
]
WithoutGate = Annotated[
    list[str] | None,
    typer.Option("--without-gate", metavar="NAME", help="Switch this gate off for this call. Repeatable."),
]
Pairs = Annotated[
    Path, typer.Argument(metavar="PAIRS.csv|-", help="CSV with the columns query,other,same (1 or 0); gzip accepted.")
]


def check_asked(threshold: float | None, without: Collection[str] | None) -> None:
    """Raise `Usage` for what is no cosine similarity, and for a gate that there isn't."""
    from scoutcache.meaning.presets import check_gates

    try:
        check_gates(without or (), "--without-gate")
    except CacheError as error:
        raise Usage(str(error), hint=error.hint) from error
    if threshold is not None and not 0 <= threshold <= 1:
        raise Usage(f"a threshold is a cosine similarity from 0 to 1, not {threshold:g}")


def scope_of(call: str, model: str, given: list[str] | None) -> dict[str, Any]:
    """The scope that the options name."""
    import json

    from scoutcache.meaning.scopes import check_names

    scope: dict[str, Any] = {"model": model}
    for one in given or ():
        name, sign, value = one.partition("=")
        if not sign or not name.isidentifier():
            raise Usage(f"--scope takes NAME=VALUE, not {one!r}", hint="such as --scope temperature=0.2")
        if name == "model":
            raise Usage("--scope can't name the model again: --model does")
        if name in {"self", "count"}:
            raise Usage(f"{name} is reserved, and can't be part of a scope", hint="give it another name")
        if name in scope:
            raise Usage(f"--scope names {name} twice", hint="a scope has one value for each name")
        try:
            scope[name] = json.loads(value)
        except ValueError:
            scope[name] = value
    check_names(call, scope)
    return scope


def embedding(session: Session) -> AbstractContextManager[None]:
    """While the configured model is loaded and used: say on a terminal, once it takes long, why it does."""
    from scoutcache.semantic.models import is_function, prepared_in
    from scoutcache.semantic.prepared import is_prepared
    from scoutcache.semantic.whereabouts import Whereabouts, whereabouts

    model = session.config.semantic.model
    prepared = not is_function(model) and is_prepared(prepared_in(session.place, model))
    if prepared:
        # Else numpy, when it is loaded, starts a thread for each processor, and they spin: a tenth of a second of each.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if prepared or is_function(model):
        return session.working(f"embedding with {model}")
    if whereabouts(model) is Whereabouts.AWAY:
        return session.working(f"fetching {model}, which is not on this machine")
    return session.working(f"loading {model}, which is not prepared")
