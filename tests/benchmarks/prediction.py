"""Is foreseeing worth more than popularity: `python tests/benchmarks/prediction.py [--seeds 5] [--csv]`.

A seeded workload is drawn: keys asked for at random with Zipf popularity, keys asked for at regular distances with some
jitter, keys of a time of the day, and pairs of which one follows the other.  Its log is replayed (`evaluate`): before
each horizon the keys foreseen are warmed, up to the budget.  What counts is the hits gained per key warmed, against
popularity alone under the same budget, and with as many calls as the prediction made.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from scoutcache.oplog.records import Line
from scoutcache.warming.predict import LEAST
from scoutcache.warming.predict_replay import Evaluation, Played, evaluate

START = 1_800_000_000.0
DAY = 86400.0


@dataclass(frozen=True)
class Workload:
    """How many keys of each kind, and how they come."""

    days: float = 5.0
    zipf_keys: int = 5000
    zipf_rate: float = 0.3
    periodic: int = 300
    jitter: float = 0.03
    daily: int = 100
    pairs: int = 50
    ttl: float = 3600.0
    periods: tuple[float, ...] = (5400, 7200, 3 * 3600, 4 * 3600, 6 * 3600, 12 * 3600)


def draw(seed: int, load: Workload = Workload()) -> list[Line]:
    """The lines of a log, in the order of time."""
    dice = random.Random(seed)
    seconds = load.days * DAY
    requests = [
        *_zipf(dice, load, seconds),
        *_periodic(dice, load, seconds),
        *_daily(dice, load),
        *_pairs(dice, load, seconds),
    ]
    return [
        Line(time=START + at, op="get", key=key, namespace="default", outcome="miss", process="p")
        for at, key in sorted(requests)
    ]


def _zipf(dice: random.Random, load: Workload, seconds: float) -> Iterator[tuple[float, str]]:
    weights = [1 / rank for rank in range(1, load.zipf_keys + 1)]
    count = int(seconds * load.zipf_rate)
    for key in dice.choices(range(load.zipf_keys), weights, k=count):
        yield dice.uniform(0, seconds), f"zipf:{key}"


def _periodic(dice: random.Random, load: Workload, seconds: float) -> Iterator[tuple[float, str]]:
    for key in range(load.periodic):
        period = dice.choice(load.periods)
        at = dice.uniform(0, period)
        while at < seconds:
            yield at + dice.gauss(0, load.jitter * period), f"periodic:{key}"
            at += period


def _daily(dice: random.Random, load: Workload) -> Iterator[tuple[float, str]]:
    for key in range(load.daily):
        at = dice.uniform(0, DAY)
        for day in range(int(load.days)):
            if dice.random() < 0.9:
                yield day * DAY + (at + dice.gauss(0, 120)) % DAY, f"daily:{key}"


def _pairs(dice: random.Random, load: Workload, seconds: float) -> Iterator[tuple[float, str]]:
    for key in range(load.pairs):
        for _ in range(int(load.days * 6)):
            at = dice.uniform(0, seconds)
            yield at, f"first:{key}"
            if dice.random() < 0.8:
                yield at + dice.uniform(120, 480), f"second:{key}"


def shown(name: str, played: Played) -> str:
    """One line of the table."""
    per, precision, recall = (
        0.0 if one is None else one for one in (played.hits_per_call, played.precision, played.recall)
    )
    return f"  {name:24} {played.warmed:7} {played.hits_gained:7} {per:8.3f} {precision:9.3f} {recall:7.3f}"


def tell(seed: int, found: Evaluation, took: float) -> None:
    """The figures of one seed."""
    print(f"seed {seed}: {found.requests} requests, {found.misses} misses, {found.steps} steps ({took:.1f} s)")
    print(f"  {'':24} {'warmed':>7} {'gained':>7} {'per call':>8} {'precision':>9} {'recall':>7}")
    print(shown("prediction", found.predicted))
    print(shown("popularity", found.popularity))
    print(shown("popularity, same calls", found.popularity_same_calls))
    print(f"  ratio {found.ratio or 0:.2f}, with the same calls {found.ratio_same_calls or 0:.2f}")
    print(f"  keys warmed: {found.predicted.by_reason}")
    print(f"  asked for within the horizon: {found.predicted.useful_by_reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--horizon", type=float, default=600.0)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--least", type=float, default=LEAST)
    given = parser.parse_args()
    for seed in range(given.seeds):
        began = time.perf_counter()
        found = evaluate(
            draw(seed), given.horizon, given.budget, default_ttl=Workload.ttl, least=given.least, steps=given.steps
        )
        tell(seed, found, time.perf_counter() - began)


if __name__ == "__main__":
    main()
