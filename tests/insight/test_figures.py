"""The figures of a report, computed a second time by DuckDB from the lines of the log, are the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from scoutcache.insight.log.operations import files_of
from scoutcache.insight.report.report import Report, build_report
from scoutcache.oplog.recorder import Recorder

Say = Callable[..., None]

SCHEMA = {
    "time": "DOUBLE", "op": "VARCHAR", "key": "VARCHAR", "namespace": "VARCHAR", "tier": "VARCHAR",
    "outcome": "VARCHAR", "reason": "VARCHAR", "latency_us": "DOUBLE", "size": "BIGINT", "stored": "BIGINT",
    "codec": "VARCHAR", "codec_us": "DOUBLE", "wait_us": "DOUBLE", "keygen_us": "DOUBLE", "factory_s": "DOUBLE",
    "cost": "DOUBLE", "tags": "VARCHAR[]", "ttl": "DOUBLE",
}  # fmt: skip
VIEW = """
CREATE TABLE log AS SELECT *, CASE WHEN contains(key, ':') THEN split_part(key, ':', 1) ELSE '' END AS prefix,
    op IN ('get', 'compute') AND (outcome IN ('hit', 'stale') OR tier IS NULL) AS request,
    op IN ('get', 'compute') AND outcome IN ('hit', 'stale') AS hit,
    (op = 'set' AND outcome <> 'refused' AND tier IS NULL) AS written,
    (op IN ('get', 'compute', 'refresh') AND factory_s IS NOT NULL) AS computed
FROM read_json('{files}', format='newline_delimited', columns={schema}) WHERE op NOT IN ('start', 'left_out')
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A log of some thousand operations, with all that a report looks for, and when it ended."""
    import secrets

    from scoutcache.oplog.recorder import OplogSettings

    directory = tmp_path_factory.mktemp("figures") / "cache"
    dice, now = random.Random(11), [1.8e9]
    recorder = Recorder(directory, OplogSettings(), wall=lambda: now[0], monotonic_ns=lambda: int(now[0] * 1e9),
                        token=lambda: secrets.token_hex(8))  # fmt: skip

    def say(kind: str, outcome: str, key: str, space: str, took_us: float = 500.0, **more: Any) -> None:
        began = int(now[0] * 1e9)
        recorder.record(kind, space, key, outcome=outcome, began_ns=began, ended_ns=began + int(took_us * 1000),
                        **{"tier": None, **more})  # fmt: skip

    for number in range(3000):
        now[0] += dice.choice([0.5, 1.0, 2.0])
        prefix, space = dice.choice(["llm", "job", ""]), dice.choice(["a", "b"])
        key = f"{prefix}:{dice.randrange(40)}" if prefix else f"bare{dice.randrange(20)}"
        cost = 0.25 if prefix == "llm" else None
        match dice.randrange(10):
            case 0 | 1 | 2:
                say("get", "hit", key, space, dice.randrange(10, 90_000), tier=dice.choice(["memory", "disk"]),
                    cost=cost)  # fmt: skip
            case 3 | 4 | 5:
                reason = dice.choice(["cold", "expired", "evicted", "invalidated"])
                run, size = dice.choice([0.5, 1.0, 2.0]), dice.randrange(100, 9000)
                tags = (f"team:{dice.randrange(3)}", "all") if dice.random() < 0.8 else ()
                say("compute", "miss", key, space, run * 1e6 + 300, reason=reason, factory_s=run, cost=cost, tags=tags,
                    size=size)  # fmt: skip
                say("set", "stored", key, space, run * 1e6 + 400, size=size, tags=tags, cost=cost, ttl=600.0,
                    stored=size // 2 + 60, codec=dice.choice(["lz4", "none"]),
                    codec_us=float(dice.randrange(5, 500)))  # fmt: skip
            case 6:
                waited = float(dice.randrange(10**6))
                say("compute", "hit", key, space, waited + 200, reason="joined", cost=cost, wait_us=waited)
            case 7:
                recorder.evicted(space, key, dice.choice(["entries", "bytes"]), 100, "memory")
            case 8:
                say("get", "miss", key, space, reason="expired")
            case _:
                say("delete", "deleted", key, space)
        if number % 500 == 499:
            for _ in range(12):
                say("invalidate", "invalidated", "tag:all", space, reason="import")
    recorder.close({})
    return directory, now[0]


@pytest.fixture(scope="module")
def report(written: tuple[Path, float]) -> Report:
    return build_report(written[0], now=written[1] + 1)


@pytest.fixture(scope="module")
def sql(written: tuple[Path, float]) -> Callable[[str], list[tuple[Any, ...]]]:
    """Ask DuckDB about the log."""
    base = duckdb.connect()
    base.execute(VIEW.format(files=f"{written[0]}/oplog/*.jsonl", schema=SCHEMA))
    return lambda query: base.execute(query).fetchall()


def rows(report: Report, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in report.section(name).rows]


def same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one == tuple(
            pytest.approx(cell, rel=1e-9) if isinstance(cell, float) else cell for cell in other
        )  # fmt: skip


def test_the_sum(report: Report, sql: Any) -> None:
    ((requests, hits),) = sql("SELECT count(*), count(*) FILTER (hit) FROM log WHERE request")
    (row,) = report.section("summary").rows
    assert (row["requests"], row["hits"], row["misses"]) == (requests, hits, requests - hits)
    ((usd,),) = sql("SELECT sum(cost) FROM log WHERE hit")
    ((spent,),) = sql("SELECT sum(cost) FROM log WHERE computed")
    assert (row["cost_saved_usd"], row["cost_spent_usd"]) == (pytest.approx(usd), pytest.approx(spent))
    ((seconds,),) = sql("""
        WITH mean AS (SELECT namespace, prefix, avg(factory_s) AS run FROM log WHERE computed GROUP BY ALL)
        SELECT sum(run) FROM log JOIN mean USING (namespace, prefix) WHERE hit""")
    assert row["seconds_saved"] == pytest.approx(seconds)
    assert row["cost_estimated_usd"] == 0
    ((lines,),) = sql("SELECT count(*) FROM log")
    assert (row["log_records"], row["log_share"]) == (lines, 1)


def test_savings_by_prefix(report: Report, sql: Any) -> None:
    expected = sql("""
        WITH hits AS (SELECT namespace, prefix, count(*) AS calls, sum(cost) AS usd FROM log WHERE hit GROUP BY ALL),
             runs AS (SELECT namespace, prefix, sum(cost) AS spent FROM log WHERE computed GROUP BY ALL)
        SELECT namespace, prefix, calls, usd, spent FROM hits JOIN runs USING (namespace, prefix)
        ORDER BY coalesce(usd, 0) DESC, calls DESC, namespace, prefix""")
    same(rows(report, "savings", "namespace", "prefix", "calls_saved", "cost_saved_usd", "cost_spent_usd"), expected)


def test_groups_and_tags(report: Report, sql: Any) -> None:
    for by in ("namespace", "prefix"):
        expected = sql(f"""SELECT {by}, count(*) FILTER (request), count(*) FILTER (hit), count(*) FILTER (written),
            count(*) FILTER (op = 'evict') FROM log WHERE op <> 'invalidate' GROUP BY 1 ORDER BY 2 DESC, 1""")
        same(rows(report, f"by_{by}", by, "requests", "hits", "sets", "evictions"), expected)
    expected = sql("""
        WITH told AS (SELECT namespace, key, arg_max(coalesce(tags, []), time) AS tags FROM log
                      WHERE op = 'set' OR (op = 'compute' AND NOT hit) OR len(tags) > 0 GROUP BY ALL),
             named AS (SELECT namespace, key, unnest(tags) AS tag FROM told)
        SELECT tag, count(*) FILTER (request), count(*) FILTER (hit), sum(cost) FILTER (hit) FROM log
        JOIN named USING (namespace, key) GROUP BY tag ORDER BY 2 DESC, 1""")
    same(rows(report, "by_tag", "tag", "requests", "hits", "cost_saved_usd"), expected)


def test_over_time(report: Report, sql: Any) -> None:
    section = report.section("over_time")
    ((width,),) = sql("SELECT CASE WHEN max(time) - min(time) > 7200 THEN 300 ELSE 60 END FROM log")
    expected = sql(f"""SELECT count(*), count(*) FILTER (hit) FROM log WHERE request
        GROUP BY floor((time + latency_us / 1e6) / {width}) ORDER BY min(time + latency_us / 1e6)""")
    same([(row["requests"], row["hits"]) for row in section.rows], expected)
    for by in ("namespace", "prefix", "tag"):
        for row in report.section(f"by_{by}").rows:
            assert len(row["hit_rate_over_time"]) == len(section.rows)


def test_reasons(report: Report, sql: Any) -> None:
    expected = sql("""SELECT reason, count(*), count(*) / sum(count(*)) OVER () FROM log WHERE request AND NOT hit
        GROUP BY 1 ORDER BY 2 DESC, 1""")
    same(rows(report, "miss_reasons", "reason", "count", "share"), expected)
    expected = sql("SELECT reason, tier, count(*) FROM log WHERE op = 'evict' GROUP BY ALL ORDER BY 3 DESC, 1")
    same(rows(report, "evictions", "reason", "tier", "count"), expected)


def test_keys_that_stand_out(report: Report, sql: Any) -> None:
    expected = sql("""SELECT key, namespace, count(*), count(*) FILTER (hit) FROM log WHERE request GROUP BY ALL
        ORDER BY 3 DESC, 1, 2 LIMIT 20""")
    same(rows(report, "most_requested", "key", "namespace", "requests", "hits"), expected)
    expected = sql("""SELECT key, namespace, count(*), sum(factory_s), sum(cost) FROM log WHERE computed GROUP BY ALL
        ORDER BY 5 DESC NULLS LAST, 1, 2 LIMIT 20""")
    same(rows(report, "most_costly", "key", "namespace", "computations", "factory_s", "cost_usd"), expected)
    expected = sql("SELECT key, namespace, max(size) FROM log GROUP BY ALL ORDER BY 3 DESC NULLS LAST, 1, 2 LIMIT 20")
    same(rows(report, "largest", "key", "namespace", "size_bytes"), expected)


def test_what_was_written_and_never_read(report: Report, sql: Any) -> None:
    expected = sql("""
        WITH keys AS (SELECT namespace, prefix, key, bool_or(written OR computed) AS made,
                             count(*) FILTER (hit AND reason IS DISTINCT FROM 'joined') AS reads,
                             max(size) AS size FROM log GROUP BY ALL)
        SELECT namespace, prefix, count(*), count(*) FILTER (reads = 0), sum(size) FILTER (reads = 0)
        FROM keys WHERE made GROUP BY ALL ORDER BY 4 DESC, 1, 2""")
    same(rows(report, "wasted", "namespace", "prefix", "written", "never_read", "size_bytes"), expected)


def test_stampedes(report: Report, sql: Any) -> None:
    expected = sql("""SELECT namespace, prefix, count(*), count(DISTINCT key), quantile_cont(wait_us, 0.5),
        quantile_cont(wait_us, 0.95), max(wait_us), sum(wait_us) / 1e6, sum(cost)
        FROM log WHERE hit AND reason = 'joined' GROUP BY ALL ORDER BY 3 DESC, 1, 2""")
    same(rows(report, "stampedes", "namespace", "prefix", "prevented", "keys", "p50_us", "p95_us", "max_us", "waited_s",
              "cost_saved_usd"), expected)  # fmt: skip


def test_compression(report: Report, sql: Any) -> None:
    expected = sql("""SELECT codec, prefix, count(*), sum(size), sum(stored), sum(size) / sum(stored),
        quantile_cont(codec_us, 0.5), quantile_cont(codec_us, 0.95)
        FROM log WHERE written AND stored IS NOT NULL GROUP BY ALL ORDER BY 4 DESC""")
    same(rows(report, "compression", "codec", "prefix", "writes", "size_bytes", "stored_bytes", "ratio_times",
              "pack_p50_us", "pack_p95_us"), expected)  # fmt: skip


def test_slow_operations(report: Report, sql: Any) -> None:
    expected = sql("""SELECT op || ', ' || outcome, tier, prefix, count(*) FILTER (latency_us > 50000),
        quantile_cont(latency_us, 0.95), max(latency_us) FROM log WHERE op = 'get' AND hit
        GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3""")
    same(rows(report, "slow", "what", "tier", "prefix", "slow", "p95_us", "max_us"), expected)
    expected = sql("""SELECT key, namespace, latency_us FROM log WHERE op = 'get' AND hit AND latency_us > 50000
        ORDER BY 3 DESC LIMIT 20""")
    same(rows(report, "slowest", "key", "namespace", "own_us"), expected)


def test_storms_and_what_they_cost(report: Report, sql: Any) -> None:
    expected = sql("""
        WITH acts AS (SELECT time FROM log WHERE op IN ('invalidate', 'delete')),
             per AS (SELECT floor(time / 60) AS minute, count(*) AS acts FROM acts GROUP BY 1),
             stormy AS (SELECT minute, acts, minute - row_number() OVER (ORDER BY minute) AS run FROM per
                        WHERE acts >= 5)
        SELECT run, min(stormy.minute), sum(acts), max(acts) FROM stormy GROUP BY run ORDER BY 2""")
    found = sorted(report.section("storms").rows, key=lambda row: row["at"])
    assert [(row["invalidations"], row["peak_per_minute"]) for row in found] == [
        (acts, peak) for _, _, acts, peak in expected
    ]
    signed = [row for row in found if row["reason"] is not None]
    assert {(row["reason"], row["what"]) for row in signed} == {("import", "tag:all")}
    assert all(row["by"] and row["invalidations"] >= 12 for row in signed)
    ((lost, usd),) = sql("""
        WITH acts AS (SELECT time FROM log WHERE op IN ('invalidate', 'delete')),
             per AS (SELECT floor(time / 60) AS minute FROM acts GROUP BY 1 HAVING count(*) >= 5),
             lost AS (SELECT log.*, floor(acts.time / 60) AS minute FROM log ASOF JOIN acts ON log.time >= acts.time
                      WHERE request AND NOT hit AND reason = 'invalidated' AND log.time - acts.time < 3600)
        SELECT count(*), sum(cost) FROM lost SEMI JOIN per USING (minute)""")
    assert sum(row["misses_after"] for row in found) == lost
    assert sum(row["recompute_usd"] or 0 for row in found) == pytest.approx(usd)


def test_a_log_from_elsewhere_gives_the_same_figures(report: Report, written: tuple[Path, float]) -> None:
    other = build_report(Path("/nowhere"), now=written[1] + 1, files=files_of([written[0] / "oplog"]))
    assert {section.source for section in other.sections} == {"operation log"}
    for section in report.sections:
        found = other.section(section.name)
        for one, expected in zip(found.rows, section.rows, strict=True):
            for name, value in expected.items():
                if isinstance(value, float):
                    assert one[name] == pytest.approx(value, rel=1e-6), (section.name, name)
                else:
                    assert one[name] == value, (section.name, name)
