"""``llm``: what models were asked, what was saved, and dropping the answers of a model, an operation or a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.errors import Usage
from scoutcache.cli.opening import failures, part
from scoutcache.cli.options import choices, command, group
from scoutcache.cli.printing.removed import failed, figures
from scoutcache.cli.state import Session
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.config.sections import CostsSection
    from scoutcache.llm import LlmMetrics

app = group(
    "llm",
    examples="""
    scoutcache llm stats                                calls, hits, tokens and money saved, by model
    scoutcache llm invalidate --model gpt-4o            that model's answers, everywhere
    """,
)

_BY: Final = {"model": "models", "operation": "operations", "provider": "providers", "size": "sizes"}
_SHOWN: Final = (
    "requests", "hits", "hit_rate", "calls", "tokens", "tokens_saved", "cost_usd", "cost_saved_usd",
)  # fmt: skip

NAMED: Final = 5
"""Models that are named where something is missing for what they cost."""

Names = list[str] | None


@command(
    app,
    "stats",
    short="Show calls, hits, tokens and money saved.",
    examples="""
    scoutcache llm stats
    scoutcache llm stats --by operation --hours 1
    scoutcache llm stats --json | jq '.cost_saved_usd'
    """,
)
def stats(
    session: Session,
    hours: Annotated[float, typer.Option("--hours", metavar="N", help="The last N hours.")] = 24.0,
    by: Annotated[str, choices(tuple(_BY), "--by", help="How to group the figures.")] = "model",
) -> int | None:
    """Show requests to models through the cache: hits, calls, tokens and money, of all processes.

    Counts have a resolution of ten minutes and are kept for llm.metrics_ttl. While the server is away, only this
    machine's counts are shown, with exit code 3. Bypassed requests, which went past the cache, are neither hits nor
    misses here; scoutcache stats counts them as misses. Money is unknown for models without a price in costs.models;
    sums leave those out and say how many calls and hits are missing. JSON holds all groupings.
    """
    if not 0 < hours < float("inf"):
        raise Usage("--hours must be more than 0")
    from scoutcache.llm.base import LONGEST

    if hours > LONGEST:
        raise Usage(f"--hours is at most {LONGEST:,}, not {hours:g}", hint="counts are kept for [llm] metrics_ttl")
    with session.cache(reading=True, raising=False) as cache, failures(cache._core) as away:
        metrics = cache.llm.metrics(hours)
    shown = {"hours": hours, "period_start": metrics.period_start, "period_end": metrics.period_end,
             **metrics.figures()}  # fmt: skip
    noun = _BY[by]
    if session.form == "json":
        session.out.record({**shown, **{noun: _rows(metrics, name) for name, noun in _BY.items()}}, main=noun)
    else:
        rows = [{name: row[name] for name in (by, *_SHOWN)} for row in _rows(metrics, by)]
        session.out.record({**_picked(shown), noun: rows}, main=noun, columns=(by, *_SHOWN))
    if not metrics.requests and not metrics.calls:
        session.note(f"cache.llm knows of no request to a model in the last {hours:g} h")
    elif metrics.hits and metrics.cost_saved_usd is None:
        session.note("money is unknown without prices in [costs.models]")
    elif metrics.unpriced_calls or metrics.unpriced_hits:
        session.note(_least(metrics, session.config.costs))
    return part(away)


def _least(metrics: LlmMetrics, costs: CostsSection) -> str:
    """Of what the money of all tells nothing, and what is missing for it."""
    missing = "; ".join(_missing(metrics, costs))
    return (f"money is at least that much: it leaves out {metrics.unpriced_calls} of {counted(metrics.calls, 'call')} "
            f"and {metrics.unpriced_hits} of {counted(metrics.hits, 'hit')} ({missing})")  # fmt: skip


def _missing(metrics: LlmMetrics, costs: CostsSection) -> Iterator[str]:
    from scoutcache.chat.prices import price_of

    named = {name: one for name, one in metrics.by_model.items() if one.unpriced_calls or one.unpriced_hits}
    priced = [name for name in named if price_of(costs, name) is not None]
    if unpriced := [name for name in named if name not in priced]:
        yield f"no price is known for {_some(unpriced)}"
    if priced:  # by today's prices: which there were then nobody wrote down
        yield f"no token counts, or no price yet, with answers of {_some(priced)}"
    calls = metrics.unpriced_calls - sum(one.unpriced_calls for one in named.values())
    hits = metrics.unpriced_hits - sum(one.unpriced_hits for one in named.values())
    if calls or hits:
        told = [counted(number, noun) for number, noun in ((calls, "call"), (hits, "hit")) if number]
        yield f"{' and '.join(told)} named no model"


def _some(models: Sequence[str]) -> str:
    return ", ".join([*models[:NAMED], *(["…"] if len(models) > NAMED else [])])


def _picked(shown: dict[str, Any]) -> dict[str, Any]:
    """What people are shown of the whole: what has no value is left out."""
    names = ("hours", "requests", "hits", "misses", "hit_rate", "bypassed", "calls", "errors", "input_tokens",
             "output_tokens", "tokens_saved", "cost_usd", "cost_saved_usd", "unpriced_calls",
             "unpriced_hits", "p50_latency", "p95_latency")  # fmt: skip
    picked = {name: shown[name] for name in names}
    return {**picked, **{f"not_kept_{reason}": number for reason, number in shown["not_kept"].items()}}


def _rows(metrics: LlmMetrics, by: str) -> list[dict[str, Any]]:
    return [{by: name, **one.figures()} for name, one in getattr(metrics, f"by_{by}").items()]


@command(
    app,
    "invalidate",
    short="Remove answers by model, operation, source or provider.",
    examples="""
    scoutcache llm invalidate --model gpt-4o
    scoutcache llm invalidate --operation summarize --reason 'new prompt'
    scoutcache llm invalidate --source handbook --model gpt-4o --match all --dry-run
    """,
)
def invalidate(
    session: Session,
    operation: Annotated[Names, typer.Option("--operation", metavar="O", help="Its answers; repeatable.")] = None,
    model: Annotated[Names, typer.Option("--model", metavar="M", help="Requested or answering; repeatable.")] = None,
    source: Annotated[Names, typer.Option("--source", metavar="S", help="Answers made from it; repeatable.")] = None,
    provider: Annotated[Names, typer.Option("--provider", metavar="P", help="Its answers; repeatable.")] = None,
    match: Annotated[
        str, choices(("any", "all"), "--match", help="Answers that match any option, or all. Default: any.",
                     show_default=False),
    ] = "any",
    count: Annotated[bool, typer.Option("--count", help="Count them, which takes a scan.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show; change nothing.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Recorded in the log.")] = None,
) -> int | None:  # fmt: skip
    """Remove answers by model, operation, source or provider, in every tier and every process.

    Once it has returned, no process of this machine serves them. Answers carry the tags operation:O, model:M,
    provider:P and source:S, so scoutcache invalidate --tag works too. A model's name is the requested one or the one
    that answered, such as gpt-4o-2024-08-06.
    """
    named: dict[str, Sequence[str]] = {"operation": operation or (), "model": model or (), "source": source or (),
                                       "provider": provider or ()}  # fmt: skip
    if not any(named.values()):
        raise Usage("nothing to invalidate was named", hint="name --operation, --model, --source or --provider")
    with session.cache(raising=False, reading=dry_run) as cache:
        result = cache.llm.invalidate(**named, match=match, count=count, dry_run=dry_run, reason=reason)  # type: ignore[arg-type]  # choices are checked
    session.out.record(figures(result, dry_run=dry_run))
    return failed(session, result.failed, result.by_tier)
