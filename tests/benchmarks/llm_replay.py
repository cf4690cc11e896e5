"""Calls that `cache.llm` saves an agent: a published trace of tool calls, replayed through the real thing.

``python tests/benchmarks/llm_replay.py [TRACE.csv.gz]`` replays ``llm_toolcalls_tau`` (the tool calls of 50 tasks, each
tried four times, of sierra-research/tau-bench, MIT): each row is a call with a key, which stands for name and
arguments, and the size of its answer.  Each is asked as a text with an operation and as a chat request; the second pass
opens the cache anew.  What is timed is what a request costs beside its call.
"""

from __future__ import annotations

import csv
import gzip
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scoutcache import Cache

TRACE = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces" / "llm_toolcalls_tau.csv.gz"


def rows(trace: Path) -> Iterator[tuple[str, int]]:
    """The key of each call, and the bytes of its answer."""
    with gzip.open(trace, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["key"], int(row["size"])


def as_chat(key: str) -> dict[str, object]:
    tool = {"name": "tool", "arguments": f'{{"call": {key}}}'}
    return {"request": {"model": "gpt-4o", "temperature": 0, "tools": [tool],
                        "messages": [{"role": "system", "content": "You are an agent of an airline. " * 40},
                                     {"role": "user", "content": f"call {key}"}]}}  # fmt: skip


def as_text(key: str) -> dict[str, object]:
    return {"text": f"call {key}", "operation": "tool", "options": {"model": "gpt-4o"}}


def replay(directory: str, calls: list[tuple[str, int]], ask: Callable[[str], dict[str, object]]) -> str:
    """One pass, in a line."""
    made, hits, misses = 0, [], []
    with Cache(directory=directory, costs={"models": {"gpt-4o": {"input": 2.5, "output": 10}}}) as cache:
        for key, size in calls:
            def call(size: int = size) -> dict[str, object]:
                nonlocal made
                made += 1
                return {"model": "gpt-4o-2024-08-06", "choices": [{"finish_reason": "stop", "message": "x" * size}],
                        "usage": {"prompt_tokens": 400, "completion_tokens": size // 4}}  # fmt: skip

            before, began = made, time.perf_counter()
            cache.llm.get_or_call(call=call, **ask(key))  # type: ignore[arg-type]
            (hits if made == before else misses).append(time.perf_counter() - began)
        found = cache.llm.metrics()
    assert found.calls >= made
    saved = len(calls) - made
    return (f"{len(calls):,} requests, {made:,} calls, {saved:,} saved ({saved / len(calls):.1%}), "
            f"{found.tokens_saved:,} tokens and ${found.cost_saved_usd or 0:.4f} saved so far; "
            f"p50 of a hit {_us(hits)}, of a miss {_us(misses)}")  # fmt: skip


def _us(times: list[float]) -> str:
    return f"{sorted(times)[len(times) // 2] * 1e6:.0f} us" if times else "-"


def main() -> None:
    """Replay, twice in each form."""
    trace = Path(sys.argv[1]) if sys.argv[1:] else TRACE
    calls = list(rows(trace))
    for name, ask in (("chat", as_chat), ("text", as_text)):
        with tempfile.TemporaryDirectory() as directory:
            for turn in ("first pass", "after a restart"):
                print(f"{name}, {turn}: {replay(directory, calls, ask)}")


if __name__ == "__main__":
    main()
