"""What was counted comes out under Prometheus' names, exactly, and in a form that its own parser reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.alerts import Alert, Level
from scoutcache.entry import Usage
from scoutcache.insight.live.metrics import FAMILIES, exposition, families
from scoutcache.oplog.tally import Tally

parser = pytest.importorskip("prometheus_client.parser")


def read(text):
    """The samples by name and labels, as Prometheus' parser reads them."""
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parser.text_string_to_metric_families(text) for sample in family.samples}  # fmt: skip


def shown(tally, usages=None, alerts=()):
    return read(exposition(families(tally, usages or {}, alerts)))


def labels(**named):
    return tuple(sorted(named.items()))


def test_each_kind_has_its_metric():
    tally = Tally()
    n = ("n", "llm")
    tally.add(1, *n, "memory", "get", "hit", times=3, cost=1.5, costed=3)
    tally.add(2, *n, "memory", "get", "hit", times=4)
    tally.add(1, *n, "disk", "compute", "stale", times=2)
    tally.add(1, *n, "", "compute", "miss", "expired", times=5)
    tally.add(1, *n, "disk", "get", "miss", "corrupt", times=7)  # that tier's share of a request
    tally.add(1, *n, "", "set", "stored", times=6)
    tally.add(1, *n, "disk", "set", "stored", times=6)
    tally.add(1, *n, "", "set", "refused", "too_large")
    tally.add(1, *n, "", "delete", "deleted", times=2)
    tally.add(1, *n, "", "delete", "absent", times=9)
    tally.add(1, "n", "", "", "invalidate", "invalidated", times=8)
    tally.add(1, *n, "memory", "evict", "done", "bytes", times=11)
    tally.add(1, "", "", "disk", "expire", "done", "expired", times=12)
    tally.add(1, *n, "memory", "promote", "done", times=2)
    tally.add(1, *n, "memory", "promote", "refused", times=2)
    tally.add(1, *n, "disk", "demote", "done", times=1)
    tally.add(1, "", "", "redis", "error", "failed", "CacheError", times=13)
    tally.add(1, "", "", "", "log", "left_out", "rate", times=14)
    found = shown(tally, {"disk": Usage(5, 600, None, 1000), "redis": None},
                  [Alert("hit_rate", Level.WARNING, 0.1, 0.5, "", "")])  # fmt: skip
    assert found == {
        ("cache_gets_total", labels(namespace="n", prefix="llm", tier="memory", result="hit")): 7,
        ("cache_gets_total", labels(namespace="n", prefix="llm", tier="disk", result="stale")): 2,
        ("cache_gets_total", labels(namespace="n", prefix="llm", tier="", result="miss")): 5,
        ("cache_misses_total", labels(namespace="n", reason="expired")): 5,
        ("cache_puts_total", labels(namespace="n", prefix="llm", result="stored")): 6,
        ("cache_puts_total", labels(namespace="n", prefix="llm", result="refused")): 1,
        ("cache_removals_total", labels(namespace="n", prefix="llm")): 2,
        ("cache_invalidations_total", labels(namespace="n")): 8,
        ("cache_evictions_total", labels(tier="memory", reason="bytes")): 11,
        ("cache_expirations_total", labels(tier="disk")): 12,
        ("cache_promotions_total", labels(tier="memory")): 2,
        ("cache_demotions_total", labels(tier="disk")): 1,
        ("cache_errors_total", labels(tier="redis", reason="CacheError")): 13,
        ("cache_log_left_out_total", labels(reason="rate")): 14,
        ("cache_saved_calls_total", labels(namespace="n")): 9,
        ("cache_saved_usd_total", labels(namespace="n")): 1.5,
        ("cache_entries", labels(tier="disk")): 5,
        ("cache_size_bytes", labels(tier="disk")): 600,
        ("cache_max_bytes", labels(tier="disk")): 1000,
        ("cache_alert", labels(alert="hit_rate", level="WARNING")): 1,
    }


def test_nothing_counted_is_no_sample():
    assert exposition(families(Tally(), {})) == ""


@given(st.lists(st.integers(0, 10**12), max_size=40))
def test_a_histogram_rises_to_its_count_and_its_sum_is_exact(values):
    tally = Tally()
    for value in values:
        tally.spread(1, "n", "memory", "hit").add(value)
    found = shown(tally)
    buckets = [(float(dict(names)["le"]), value) for (name, names), value in found.items() if name.endswith("_bucket")]
    counts = [value for _, value in sorted(buckets)]
    assert counts == sorted(counts)
    if values:
        assert counts[-1] == len(values)
        total = found["cache_get_duration_seconds_sum", labels(tier="memory", result="hit")]
        assert total == pytest.approx(sum(values) / 1e9)
        for bound, count in buckets:
            assert count <= sum(value <= bound * 1e9 * 1.02 for value in values)
            assert count >= sum(value <= bound * 1e9 * 0.98 for value in values)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_whatever_a_prefix_is_it_is_one_label(prefix):
    tally = Tally()
    tally.add(1, "n", prefix.replace(":", ""), "memory", "get", "hit")
    text = exposition(families(tally, {}))
    (line,) = [line for line in text.split("\n") if line.startswith("cache_gets_total")]
    assert line.endswith('",tier="memory",result="hit"} 1')
    if prefix.isprintable():  # the parser itself splits lines at what only Python takes for a line's end
        ((_, names),) = [name for name in read(text) if name[0] == "cache_gets_total"]
        assert dict(names)["prefix"] == prefix.replace(":", "")


def test_names_are_prometheus_names():
    import re

    for name, family in FAMILIES.items():
        assert re.fullmatch(r"cache_[a-z_]+", name)
        assert not name.endswith("_total")
        assert family.help.endswith(".")
