"""``demo``: what a cache saves, shown on real requests."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoutcache.cli.options import command
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.bench.demo import DemoPass, DemoResult

app = typer.Typer()


@command(
    app,
    "demo",
    examples="""
    scoutcache demo                           nothing is left behind
    scoutcache demo --keep                    keep the cache, to look around in it
    scoutcache demo --directory ./playground  keep it there
    """,
)
def demo(
    session: Session,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the cache and print where it is.")] = False,
) -> None:
    """Replay part of a real trace of LLM requests through memory and disk, twice, with a model's list price.

    The requests, the cache and its figures are real. The model's answers are made up and cost nothing; the money is
    what the calls would have cost. Nothing is sent anywhere, and your own cache is not touched.
    """
    from scoutcache.bench.demo import run_demo

    directory = Path(session.directory) if session.directory is not None else None
    result = run_demo(directory, keep=keep, progress=session.progress)
    session.progress_done()
    session.out.record(_fields(result, whole=session.form != "table"))
    for line in (f"({result.note})", "Next:", *(f"  {step}" for step in result.next_steps)):
        session.note(line)


def _fields(result: DemoResult, *, whole: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "requests": result.requests,
        "hits": result.hits,
        "hit_rate": result.hit_rate,
        "calls_saved": result.calls_saved,
        "cost_usd": result.cost_usd,
        "cost_saved_usd": result.cost_saved_usd,
        "simulated": result.simulated,
        "directory": result.directory,
        "passes": [asdict(one) if whole else _row(one) for one in (result.first_pass, result.second_pass)],
        "tiers": [{"name": name, **figures} for name, figures in result.statistics.stats_by_tier.items()],
    }
    if whole:
        fields |= {"model": result.model, "price_date": result.price_date, "note": result.note,
                   "cost_per_call_usd": result.cost_per_call_usd, "next_steps": result.next_steps}  # fmt: skip
    return fields


def _row(one: DemoPass) -> dict[str, Any]:
    return {
        "pass": one.name, "requests": one.requests, "hits": one.hits, "hit_rate": one.hit_rate, "calls": one.calls,
        "seconds": one.seconds, "hit_p50_us": one.hit_p50_us, "hit_p95_us": one.hit_p95_us,
    }  # fmt: skip
