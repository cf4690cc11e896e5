"""``semantic``: answers by meaning, asked and kept, explained, calibrated and rebuilt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoutcache.cli.errors import MISSED, NOT_FOUND, PARTLY, UNREACHABLE, CommandError, Usage
from scoutcache.cli.opening import check_absence, failures, part
from scoutcache.cli.options import choices, command, group
from scoutcache.cli.semantic_options import (
    Model,
    Pairs,
    Query,
    Scope,
    Threshold,
    WithoutGate,
    check_asked,
    embedding,
    scope_of,
)
from scoutcache.cli.state import Session
from scoutcache.wording.nouns import counted
from scoutcache.wording.os_errors import reason_of

if TYPE_CHECKING:
    from scoutcache.cache import Cache

app = group(
    "semantic",
    examples="""
    scoutcache semantic prepare                                  once: prepare the model for a fast start
    scoutcache semantic query 'How do I reset it?' --model gpt-4o
    scoutcache semantic calibrate pairs.csv --precision 0.99     find a threshold on your own pairs
    """,
)


@command(
    app,
    "stats",
    short="Show the answers, and what decides about hits.",
    examples="""
    scoutcache semantic stats
    scoutcache semantic stats --json | jq .entries
    """,
)
def stats(session: Session) -> int | None:
    """Show the answers, the scopes, and what decides about hits in this namespace.

    This compares the index with the entries: rows without an entry are removed, entries without a row are added. While
    the server is away nothing is compared, and the figures are this machine's, with exit code 3.
    """
    with session.cache(reading=True, raising=False) as cache, failures(cache._core) as away:
        session.out.record(cache.semantic.stats())
    return part(away)


@command(
    app,
    "query",
    short="Print the answer to a query that means the same.",
    examples="""
    scoutcache semantic query 'How can I reset my password?' --model gpt-4o
    scoutcache semantic query 'reset password' -m gpt-4o -s system='be brief' --json
    """,
)
def query(
    session: Session, query: Query, model: Model, scope: Scope = None, threshold: Threshold = None,
    without_gate: WithoutGate = None,
) -> int | None:  # fmt: skip
    """Print the stored answer to a query that means the same; exit code 4 when there is none.

    This counts as a request. scoutcache semantic explain says why there is none.
    """
    from scoutcache.cli.commands.values import show_value

    check_asked(threshold, without_gate)
    wanted = scope_of("get", model, scope)
    with (
        session.cache(reading=True, counting=True, raising=False) as cache, embedding(session),
        failures(cache._core) as away,
    ):  # fmt: skip
        hit = cache.semantic.get(query, threshold=threshold, without_gates=without_gate or (), **wanted)
        check_absence("no answer can be looked up now", away if hit is None else {})
    if hit is None:
        raise CommandError("no answer serves this query", code=NOT_FOUND,
                           hint="scoutcache semantic explain, with the same arguments, says why")  # fmt: skip
    fields = {"response": hit.response, "similarity": hit.similarity, "exact": hit.exact, "key": hit.key,
              "query": hit.query, "hit_id": hit.hit_id}  # fmt: skip
    if session.form == "table":
        show_value(session, hit.response)
        session.note(f"similarity {hit.similarity:.3f} to: {hit.query}")
    else:
        session.out.record(fields)
    return None


@command(
    app,
    "add",
    short="Store the answer to a query.",
    examples="""
    scoutcache semantic add 'How do I reset my password?' 'Click on …' --model gpt-4o --ttl 7d
    ./ask-model | scoutcache semantic add 'What is our refund policy?' - -m gpt-4o --tag policy
    """,
)
def add(
    session: Session,
    query: Query,
    response: Annotated[str, typer.Argument(metavar="RESPONSE|-", help="The answer; - reads it from standard input.")],
    model: Model,
    scope: Scope = None,
    kind: Annotated[
        str, choices(("text", "json"), "--value", help="Type of the answer. Default: text.", show_default=False)
    ] = "text",
    ttl: Annotated[str | None, typer.Option("--ttl", metavar="D", help="90s, 2h, 7d, never.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="T", help="A tag; repeatable.")] = None,
) -> None:
    """Store the answer to a query as an ordinary entry, under the prefix semantic."""
    from scoutcache.cli.commands.values import check_lasting, content_of, ttl_of

    seconds = ttl_of(session, ttl)
    content, wanted = content_of(response, kind), scope_of("add", model, scope)
    with session.cache() as cache:
        check_lasting(cache)
        with embedding(session):
            key = cache.semantic.add(query, content, ttl=seconds, tags=tag or (), **wanted)
        namespace = cache.config.namespace
    if key is None:
        raise CommandError("not stored: a newer answer, a policy, a limit, a ttl of 0 or the off switch prevents it")
    session.done(f"stored {key}", {"key": key, "namespace": namespace, "stored": True})


@command(
    app,
    "remove",
    short="Remove answers by their keys.",
    examples="""
    scoutcache semantic remove semantic:82d96e1b19d726b060a5c47630ac2ed6:b5e96206461a8212ec54effac3efc5f2
    """,
)
def remove(
    session: Session,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys printed by add and by query --json.")],
) -> int | None:
    """Remove answers, in every tier and every process. Exit code 4 when none of them existed."""
    with session.cache() as cache:
        there = {key: _removed(session, cache, key) for key in dict.fromkeys(keys)}
    absent = [key for key, was in there.items() if not was]
    removed = len(there) - len(absent)
    session.done(f"removed {removed} of {len(there)}", {"removed": removed, "absent": absent})
    return None if removed else NOT_FOUND


def _removed(session: Session, cache: Cache, key: str) -> bool:
    """Was it there?  What can't be a key of an answer wasn't."""
    from scoutcache.errors import InvalidKey

    try:
        return cache.semantic.remove(key)
    except InvalidKey as error:
        session.note(f"{error}; {error.hint}")
        return False


@command(
    app,
    "explain",
    short="Say why a query hits or misses.",
    examples="""
    scoutcache semantic explain 'Should I sell gold?' --model gpt-4o
    scoutcache semantic explain 'Should I sell gold?' -m gpt-4o --json | jq '.candidates[0].closed'
    scoutcache semantic explain 'Should I sell gold?' -m gpt-4o --without-gate antonyms
    """,
)
def explain(
    session: Session,
    query: Query,
    model: Model,
    scope: Scope = None,
    threshold: Threshold = None,
    without_gate: WithoutGate = None,
    count: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many neighbours to show.")] = 5,
) -> None:
    """Show the nearest answered queries of the scope, each with the decision and the gate or rule that made it.

    Closed gates say what they saw; so do those that are switched off, which decide nothing. This counts as no request
    and changes nothing.
    """
    check_asked(threshold, without_gate)
    wanted = scope_of("explain", model, scope)
    with session.cache(reading=True, raising=False) as cache, embedding(session):
        told = cache.semantic.explain(
            query, count=count, threshold=threshold, without_gates=without_gate or (), **wanted
        )
    if session.form != "table":
        session.out.record(told, main="candidates")
        return
    session.out.line(f"{'hit' if told['serves'] else 'miss'}: {told['reason']}")
    rows = [{**one, "closed": _gates(one["closed"]), "ignored": _gates(one["ignored"])} for one in told["candidates"]]
    ignored = ["ignored"] if any(one["ignored"] for one in rows) else []
    session.out.section("nearest", rows, ("similarity", "serves", "reason", "closed", *ignored, "query", "key"))


def _gates(closed: list[dict[str, str]]) -> str:
    return "; ".join(f"{one['gate']}: {one['why']}" for one in closed)


@command(
    app,
    "calibrate",
    short="Find thresholds from labelled pairs.",
    examples="""
    scoutcache semantic calibrate pairs.csv                      measure the configured preset
    scoutcache semantic calibrate pairs.csv --precision 0.99     the lowest threshold with this precision
    scoutcache semantic calibrate pairs.csv --without-gate slots   what a gate is worth
    scoutcache semantic calibrate pairs.csv --json | jq '{threshold, precision, recall, false_hit_rate}'
    """,
)
def calibrate(
    session: Session,
    pairs: Pairs,
    precision: Annotated[
        float | None,
        typer.Option(
            "--precision", metavar="P", min=0.0, max=1.0, help="Find the lowest threshold that reaches this precision."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        choices(("strict", "balanced", "recall"), "--preset", help="Use this preset's gates, not the configured ones."),
    ] = None,
    threshold: Threshold = None,
    gates: Annotated[bool, typer.Option("--gates/--no-gates", help="Let gates decide too.")] = True,
    without_gate: WithoutGate = None,
) -> int | None:
    """Measure precision, recall and false hits among negatives by threshold, with 95 % intervals.

    Pairs labelled 0 should be the hard ones of your own traffic: similar in words, different in answer. If no threshold
    reaches the precision, the exit code is 99. A file with a line that is no pair isn't measured: exit code 1.
    """
    from scoutcache.cli.calibrating import calibrated, chart

    session.trust()
    found = calibrated(session, pairs, preset, threshold, precision, gates=gates, without=without_gate or ())
    fields = found.as_dict(precision)
    if session.form == "table":
        chart(session, found.curve, found.point)
        session.out.record({name: value for name, value in fields.items() if name != "curve"})
    else:
        session.out.record(fields, main="curve")
    if precision is not None and found.point is None:
        some = any(one.hits for one in found.curve)
        session.warn(f"no threshold reaches a precision of {precision:g} on these pairs" if some
                     else "no threshold has a hit on these pairs, so none has a precision")  # fmt: skip
        return MISSED
    return None


@command(
    app,
    "label",
    short="Take labelled pairs as evidence.",
    examples="""
    scoutcache semantic label pairs.csv --model gpt-4o
    scoutcache semantic label pairs.csv.gz -m gpt-4o -s system='be brief' --json
    """,
)
def label(session: Session, pairs: Pairs, model: Model, scope: Scope = None) -> int | None:
    """Store labelled pairs of queries, which say whether one answer serves both, as evidence in a scope.

    If two queries are the same and one was answered, that answer serves the other from now on. An answer that is wrong
    for the other isn't served to queries of the same or lower similarity. The policy verified learns from all pairs as
    if they were requests, so give them in the proportions of your traffic. Giving the same pairs again changes nothing.
    Lines that are no pairs are named and the rest is taken, with exit code 3.
    """
    from scoutcache.cli.calibrating import read_pairs

    (rows, bad), wanted = read_pairs(pairs), scope_of("label", model, scope)
    if not rows:
        raise CommandError(f"{bad[0]}; no line is a pair", hint="expected rows below the header query,other,same")
    with session.cache() as cache:
        with session.working(f"labelling {counted(len(rows), 'pair')}"):
            found = cache.semantic.label(rows, **wanted)
        namespace = cache.config.namespace
    told = f"{counted(found.pairs, 'pair')}, {found.learned:,} of them new: {counted(found.evidence, 'time')} evidence"
    told += f" of an answer, {counted(found.aliases, 'new way')} to ask"
    session.done(told, {"namespace": namespace, **found._asdict(), "failed": len(bad)})
    for line in bad:
        session.warn(line)
    return PARTLY if bad else None


@command(
    app,
    "feedback",
    short="Say whether a hit was right.",
    examples="""
    scoutcache semantic query 'reset password' -m gpt-4o --json | jq -r .hit_id
    scoutcache semantic feedback HIT_ID wrong
    """,
)
def feedback(
    session: Session,
    hit_id: Annotated[str, typer.Argument(metavar="HIT_ID", help="The hit_id printed by semantic query --json.")],
    verdict: Annotated[str, typer.Argument(metavar="right|wrong", help="Whether the answer was right.")],
) -> int | None:
    """Say whether a hit was right. A wrong answer isn't served again to queries of the same or lower similarity.

    Exit code 4 when the answer is gone, or belongs to another namespace.
    """
    if verdict not in {"right", "wrong"}:
        raise Usage(f"an answer is right or wrong, not {verdict!r:.40}")
    with session.cache(raising=False) as cache:
        taken = cache.semantic.feedback(hit_id, verdict == "right")
    if not taken:
        raise CommandError("the answer of this hit is gone, or belongs to another namespace", code=NOT_FOUND)
    if session.form != "table":
        session.out.record({"taken": True})
    return None


@command(
    app,
    "prepare",
    short="Prepare the model for a fast start.",
    examples="""
    scoutcache semantic prepare
    scoutcache semantic prepare --force
    """,
)
def prepare(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Prepare it again.")] = False,
) -> None:
    """Export the configured model to ONNX in the cache's directory, and compare its vectors with the original's.

    From then on it is used automatically: the same vectors, the first within a fraction of a second. This needs torch
    once. If the model is a function, there is nothing to prepare.
    """
    from scoutcache.semantic.models import identity, is_function, prepared_in
    from scoutcache.semantic.prepared import is_prepared
    from scoutcache.semantic.prepared import prepare as export

    model = session.config.semantic.model
    if is_function(model):
        raise Usage(f"{model} is a function: there is nothing to prepare")
    folder = prepared_in(session.own_place(), model)
    done, difference = is_prepared(folder) and not force, None
    if not done:
        _make_folder(folder.parent)
        with session.working(f"preparing {model}"):
            difference = export(model, folder, identity(model))
    how = "was prepared already" if done else f"is prepared: its vectors differ by {difference:.1g} at most"
    session.done(f"{model} {how}", {"model": model, "folder": str(folder), "prepared": not done,
                                    "max_difference": difference})  # fmt: skip


def _make_folder(folder: Path) -> None:
    """Before the model is loaded, which takes a while."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "permission denied"
    except OSError as error:
        writable, reason = False, reason_of(error)
    if not writable:
        hint = "name a folder of its own with --directory or `directory` in the configuration"
        raise CommandError(f"the folder {folder} can't be used: {reason}", code=UNREACHABLE, hint=hint)


@command(
    app,
    "rebuild",
    short="Rebuild the index from the entries.",
    examples="""
    scoutcache semantic rebuild             after the model was changed, or entries were restored
    """,
)
def rebuild(session: Session) -> None:
    """Rebuild the index of this namespace from its entries, with vectors of the configured model."""
    with session.cache() as cache:
        with session.working("rebuilding the index"):
            entries = cache.semantic.rebuild()
        namespace = cache.config.namespace
    session.done(f"the index holds {counted(entries, 'answer')}", {"namespace": namespace, "entries": entries})
