"""What is wrong with settings, in words: the place, what was expected, and the nearest right name.

Values are shown only where they can't be secrets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from scoutcache.canonical import shown
from scoutcache.errors import ConfigError
from scoutcache.policies import AVAILABLE_STRATEGIES

__all__ = ["Place", "dotted", "nearest", "problems_of", "setting_names", "wrong_settings"]

Place = tuple[str | int, ...]
"""Where a setting stands: ``("memory", "max_entries")``, ``("rules", 0, "schedule")``."""

_SECRET: Final = {"security", "password", "url", "nodes", "sentinel", "username"}

_EXPECTED: Final = {
    "missing": "is missing",
    "bool_parsing": "expected true or false", "bool_type": "expected true or false",
    "int_parsing": "expected a whole number", "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number", "float_type": "expected a number",
    "string_type": "expected text", "path_type": "expected a path",
    "tuple_type": "expected a list", "dict_type": "expected a table of names and values",
    "mapping_type": "expected a table of names and values", "model_type": "expected a table of settings",
    "timezone_aware": "expected a time with its zone, such as 2026-01-31T12:00:00Z",
}  # fmt: skip


def wrong_settings(problems: Sequence[str], hint: str | None = None) -> ConfigError:
    """The error that lists them all."""
    many = "a setting is wrong:" if len(problems) == 1 else f"{len(problems)} settings are wrong:"
    return ConfigError(many, problems=problems, hint=hint)


def problems_of(
    settings: Mapping[str, Any],
    model: type[BaseModel],
    check: Callable[[Mapping[str, Any]], ValidationError | None],
    place: Callable[[Place], str],
) -> list[str]:
    """One line for each problem: wrong settings first, then contradictions between those that are well formed.

    pydantic looks for contradictions only when nothing else is wrong, so what is wrong is taken out and the rest
    checked again; what then only misses something taken out is no problem of its own.
    """
    lines: list[str] = []
    taken_out: set[str] = set()
    error = check(settings)
    while error is not None:
        details = error.errors(include_url=False)
        found = [line for detail in details for line in _lines(detail, model, place)]
        new = [line for line in found if line not in lines and not any(name in line for name in taken_out)]
        wheres = [tuple(detail["loc"]) for detail in details if detail["loc"]]
        if (not new and taken_out) or not wheres:
            return lines + new
        lines += new
        taken_out |= {str(where[1] if len(where) > 1 and isinstance(where[1], str) else where[0]) for where in wheres}
        for where in wheres:
            settings = _without(settings, where)
        error = check(settings)
    return lines


def _without(settings: Any, where: Place) -> Any:
    """The settings without the one at that place; of a list or what isn't a table, nothing is left."""
    if not isinstance(settings, Mapping) or where[0] not in settings:
        return settings
    rest = dict(settings)
    inner = rest.pop(where[0])
    if len(where) > 1 and isinstance(inner, Mapping) and where[1] in inner:
        rest[str(where[0])] = _without(inner, where[1:])
    return rest


def dotted(place: Place) -> str:
    """``rules[0].schedule``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{shown_name(step)}" if text else shown_name(step)
    return text


def shown_name(name: str) -> str:
    """A name for a message: as it is when plain, else quoted and without control codes."""
    return name if re.fullmatch(r"[\w-]{1,80}", name, re.ASCII) else shown(name)


def nearest(name: str, names: Mapping[str, object] | list[str]) -> str | None:
    """The name that was probably meant."""
    folded = {candidate.lower(): candidate for candidate in names}
    longer = [candidate for candidate in folded if candidate.startswith(f"{name.lower()}_")]
    if len(longer) == 1:
        return folded[longer[0]]
    close = difflib.get_close_matches(name.lower()[:80], folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def setting_names(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting below *model*, sections too; of lists only their own name."""
    for name, field in model.model_fields.items():
        yield (*at, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, (*at, name))


def _lines(detail: Any, model: type[BaseModel], place: Callable[[Place], str]) -> Iterator[str]:
    where: Place = tuple(detail["loc"])
    if not where:  # of the whole: a contradiction between settings, each line naming its own
        for line in str(detail["ctx"]["error"]).split("\n"):
            yield _placed(line, place((line.partition(":")[0],)))
        return
    yield _placed(f"{dotted(where)}: {_what(detail, where, model)}", place(where))


def _placed(line: str, place: str) -> str:
    return f"{place}: {line}" if place else line


def _what(detail: Any, where: Place, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(where, model)
    if kind == "value_error":
        return str(context["error"])  # a validator of ours: it shows of the value what may be shown
    given = "" if kind == "missing" or _is_secret(where) else f", not {shown(detail['input'])}"
    if kind in ("literal_error", "enum"):
        allowed = _choosable(where, re.findall(r"'([^']*)'", context["expected"]))
        meant = nearest(str(detail["input"]), allowed)
        expected = f"one of {', '.join(allowed)}" if allowed else context["expected"]
        return f"expected {expected}{given}" + (f"; did you mean {meant!r}?" if meant else "")
    return _expected(kind, context, str(detail["msg"])) + given


def _choosable(where: Place, names: list[str]) -> list[str]:
    """Those of the *names* at a place that this version can do."""
    return [name for name in names if where[-1] != "strategy" or name in AVAILABLE_STRATEGIES]


def _expected(kind: str, context: Mapping[str, Any], otherwise: str) -> str:
    if kind in ("too_short", "string_too_short"):
        return f"is too short: expected at least {context['min_length']} characters"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
        return "expected " + " and ".join(f"{words[sign]} {limit:g}" for sign, limit in context.items())
    return _EXPECTED.get(kind, otherwise)


def _is_secret(where: Place) -> bool:
    return not _SECRET.isdisjoint(where) or where == ("redis",)  # whose value, when no table, may well be a URL


def _unknown(where: Place, model: type[BaseModel]) -> str:
    name = str(where[-1])
    siblings = _siblings(model, where[:-1])
    meant = nearest(name, siblings)
    if meant is not None:
        return f"unknown setting; did you mean {meant!r}?"
    elsewhere = [".".join(names) for names in setting_names(model) if names[-1] == name]
    if elsewhere:
        return f"unknown setting here; did you mean {' or '.join(elsewhere)}?"
    return f"unknown setting; expected one of {', '.join(siblings)}"


def _siblings(model: type[BaseModel], where: Place) -> list[str]:
    """The names that a model knows at a place, through lists and tables of models."""
    kind: Any = model
    for step in where:
        owner = _model_in(kind)
        if owner is None:
            return []
        # Inside a list or a table the step is an index or a free name, and leads to the model held there.
        kind = owner.model_fields[step].annotation if kind is owner and isinstance(step, str) else owner
    found = _model_in(kind)
    return [] if found is None else list(found.model_fields)


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model that a type is, or holds inside its brackets."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((model for inner in get_args(kind) if (model := _model_in(inner)) is not None), None)
