"""The curves as pictures."""

from __future__ import annotations

from scoutcache.insight.simulation.chart import as_page, as_text
from scoutcache.insight.simulation.curves import curves, parse_sizes
from scoutcache.insight.simulation.requests import Requests


def points():
    requests = Requests([0, 1, 2, 0, 1, 2, 0, 0], [10, 20, 30], [])
    return curves(requests, ["lru", "opt"], parse_sizes(["1", "2", "3", "30B"], requests))


def test_a_terminal_shows_each_curve_with_its_sign():
    drawn = as_text(points())
    assert drawn.count("hit ratio") == 2, "one chart for each unit"
    assert "● lru  ○ opt" in drawn
    assert " 62.5 % ┤" in drawn
    assert drawn.splitlines()[1].endswith("◎"), "both are the same where everything fits"
    assert "30B" in drawn


def test_a_page_needs_nothing_and_trusts_nothing():
    page = as_page(points(), {"source": "<script>\x1b[2J</script>.csv", "sample_rate": None})
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<polyline") == 4
    assert "62.50%" in page
