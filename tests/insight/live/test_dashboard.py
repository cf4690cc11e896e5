"""The dashboard asks for metrics that are there, with a data source that is chosen where it is imported."""

from __future__ import annotations

import json
import re

import pytest

from scoutcache.insight.live.dashboard import SOURCE, dashboard
from scoutcache.insight.live.metrics import FAMILIES

EXPRESSIONS = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
ADDED = {"job", "le"}


def test_it_needs_no_inputs_and_its_source_is_a_variable():
    text = json.dumps(dashboard())
    assert "__inputs" not in text
    assert dashboard()["templating"]["list"][0]["type"] == "datasource"
    for panel in dashboard()["panels"]:
        assert panel["datasource"] == SOURCE == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == SOURCE for target in panel["targets"])
    assert dashboard()["id"] is None


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_expression_is_of_metrics_and_labels_that_are_exposed(expression):
    found = re.findall(r"(cache_\w+)(\{[^}]*\})", expression)
    assert found
    known = set()
    for name, selector in found:
        family = FAMILIES[re.sub(r"_(total|bucket)$", "", name)]
        assert name.endswith({"counter": "_total", "histogram": "_bucket"}.get(family.kind, ""))
        known |= set(family.labels) | ADDED
        assert set(re.findall(r"(\w+)(?:=~|!=|=)", selector)) <= set(family.labels) | ADDED
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        assert {name.strip() for name in grouped.split(",")} <= known
    assert expression.count("(") == expression.count(")")


def test_every_metric_of_requests_and_tiers_is_shown():
    shown = {re.sub(r"_(total|bucket)$", "", name) for text in EXPRESSIONS for name in re.findall(r"cache_\w+", text)}
    assert set(FAMILIES) - shown == {"cache_promotions", "cache_demotions", "cache_log_left_out", "cache_entries"}


def test_panels_do_not_overlap_and_have_names_of_their_own():
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in
                 range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    assert len({panel["title"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
