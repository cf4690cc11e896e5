from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.cli.printing import text

HOSTILE = "\x1b[2J\x9b31m\x07a\u202eb\u2066c\u2028\ufeff\x7f\U000e0041"


def acts(shown: str) -> bool:
    """Whether a terminal would obey something in it."""
    return any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or char in "\u202e\u2066\u2028\ufeff" for char in shown)


def test_nothing_that_a_terminal_obeys_is_left_in_visible_text():
    assert not acts(text.visible(HOSTILE + "\n\t\r"))


def test_line_feeds_and_tabs_stay_in_text_of_several_lines():
    assert text.visible_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


def test_ordinary_text_of_any_script_is_shown_as_it_is():
    ordinary = "ключ:鍵:clé [red] a[/bold] 👍"
    assert text.visible(ordinary) == text.visible_lines(ordinary) == text.visible_json(ordinary) == ordinary


@given(st.text())
def test_whatever_the_text_its_visible_form_holds_nothing_that_acts(untrusted: str):
    assert not acts(text.visible(untrusted))


@given(st.text())
def test_json_made_visible_still_means_the_same(untrusted: str):
    shown = text.visible_json(json.dumps(untrusted, ensure_ascii=False))
    assert json.loads(shown) == untrusted
    assert not acts(shown)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("size_bytes", 999, "999 B"),
        ("size_bytes", 1_500_000, "1.5 MB"),
        ("size_bytes", 3_000_000_000_000, "3.0 TB"),
        ("ttl_s", 0.25, "250 ms"),
        ("ttl_s", 59.94, "59.9 s"),
        ("ttl_s", 200, "3m 20s"),
        ("ttl_s", 7500, "2h 05m"),
        ("ttl_s", 604_800, "7d 00h"),
        ("ttl_s", float("inf"), "never"),
        ("hit_p50_us", 0.82, "0.8 us"),
        ("hit_p50_us", 240.4, "240 us"),
        ("miss_p95_us", 3100, "3.1 ms"),
        ("hit_rate", 0.625, "62.5 %"),
        ("cost_saved_usd", 1234.5, "$1,234.50"),
        ("cost_saved_usd", 0.0123, "$0.0123"),
        ("requests", 20_000, "20,000"),
        ("ops_per_s", 1_250_000.0, "1,250,000"),
    ],
)
def test_figures_are_shown_with_the_unit_their_name_says(name: str, value: float, shown: str):
    assert text.figure(name, value) == shown


@pytest.mark.parametrize("value", [None, [], {}])
def test_what_is_unknown_is_a_dash_and_never_zero(value: object):
    assert text.plain(value) == "-"


def test_a_piped_cell_keeps_its_bytes_but_stays_on_its_line():
    assert text.plain("a\tb\nc\u202e\x1b") == "a\\tb\\nc\u202e\x1b"
