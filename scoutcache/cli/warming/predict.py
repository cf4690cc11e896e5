"""What ``warm --predict`` foresees from the log, and how good that would have been."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from scoutcache.cli.state import Session
from scoutcache.cli.warming.asked import Asked

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.oplog.records import Line
    from scoutcache.warming.predict import Predicted
    from scoutcache.warming.predict_history import History

COLUMNS: Final = ("key", "probability", "reason", "because", "expected_at")
_STRATEGIES: Final = ("strategy", "warmed", "useful", "hits_gained", "hits_per_call", "precision", "recall")
BUDGET: Final = 100
"""Keys that are warmed in each step of an evaluation where no budget is named."""


def lines_of(session: Session, asked: Asked) -> Iterator[Line]:
    """The log of the namespace, as far as it counts, hashed keys and all.

    What can't be read is told when all of it was.
    """
    from scoutcache.cli.printing.unread import tell_log_off, tell_unread
    from scoutcache.insight.log.operations import end_of, read_operations

    tell_log_off(session)
    now = time.time()
    since = now - asked.window
    operations = read_operations(session.place, since, end_of(since, now))
    for line in operations:
        if line.namespace == session.config.namespace and line.key:
            yield line
    tell_unread(session, operations.problems, named=False)


def named_lines_of(session: Session, asked: Asked) -> Iterator[Line]:
    """Those whose key is known and matches.  Raises `WarmingError` where the log names none."""
    from scoutcache.patterns import Pattern
    from scoutcache.warming.sources import Named, check_log_has_keys
    from scoutcache.wording.nouns import counted

    check_log_has_keys(session.config)
    named, pattern = Named(lines_of(session, asked)), Pattern.parse(asked.matching)
    yield from (line for line in named if pattern.matches(line.key))
    named.check()
    if named.hashed and session.watched:
        session.note(f"left out: {counted(named.hashed, 'record')} of keys that are logged as hashes (redact_keys)")


def history_of(lines: Iterable[Line]) -> History:
    """What *lines* tell of each key."""
    from scoutcache.insight.log.operations import in_order
    from scoutcache.warming.predict_history import History, counts

    history = History()
    for line in in_order(line for line in lines if counts(line)):
        history.observe(line)
    return history


def predicted(session: Session, asked: Asked, cache: Cache) -> list[Predicted]:
    """The keys that are worth warming now, best first, as many as the budget has calls."""
    from scoutcache.warming.foresight import life_in
    from scoutcache.warming.predict import predict

    calls, _ = asked.limits()
    history = history_of(named_lines_of(session, asked))
    return predict(history, time.time(), asked.ahead, calls, life=life_in(cache), least=asked.least)


def row_of(one: Predicted) -> dict[str, Any]:
    """As it is printed."""
    at = None if one.expected_at is None else datetime.fromtimestamp(round(one.expected_at), UTC)
    return {**asdict(one), "probability": round(one.probability, 3), "expected_at": at}


def tell_evaluation(session: Session, asked: Asked) -> None:
    """Print what prediction and popularity alone would have gained, by replaying the log."""
    from scoutcache.cli.errors import Usage
    from scoutcache.warming.predict_replay import evaluate

    calls, usd = asked.limits()
    if usd is not None:
        raise Usage("--evaluate needs a budget in calls: so many in each step")
    session.look_for_cache()
    found = evaluate(named_lines_of(session, asked), asked.ahead, BUDGET if calls is None else calls,
                     default_ttl=session.config.default_ttl, least=asked.least)  # fmt: skip
    strategies = {"prediction": found.predicted, "popularity": found.popularity,
                  "popularity, same calls": found.popularity_same_calls}  # fmt: skip
    rows = [{"strategy": name, **asdict(played)} for name, played in strategies.items()]
    also = {name: getattr(found, name) for name in
            ("requests", "misses", "steps", "horizon", "budget", "ratio", "ratio_same_calls")}  # fmt: skip
    session.out.rows("strategies", rows, () if session.form == "json" else _STRATEGIES, **also)
    if not found.steps:
        session.note("the log is too short to learn from one half of it and replay the other")
