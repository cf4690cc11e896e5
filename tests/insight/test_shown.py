from __future__ import annotations

from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.insight.shown import as_cell, as_html, printable

anything = st.text(st.characters(), max_size=200)


@given(anything)
def test_what_is_shown_prints(text: str) -> None:
    assert printable(text).isprintable()
    assert bool(printable(text).encode()) == bool(text)


@given(anything)
def test_html_has_no_markup_of_the_text_and_says_the_same(text: str) -> None:
    shown = as_html(text)
    assert not set(shown) & set("<>\"'")
    if len(printable(text)) <= 120:
        assert unescape(shown) == printable(text)


formulas = st.tuples(st.sampled_from("=+-@\t\r\n＝＋－＠ "), st.sampled_from(["", "=", " ="]), anything).map("".join)


@given(st.one_of(anything, formulas))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = as_cell(text)
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))
    assert cell.isprintable()


@given(st.one_of(anything, formulas, st.text(st.sampled_from("'=x"))))
def test_of_each_cell_one_apostrophe_can_be_taken_off(text: str) -> None:
    assert as_cell(text).removeprefix("'") == printable(text)


@pytest.mark.parametrize(("value", "cell"), [(None, ""), (-5, -5), (-0.5, -0.5), ("-5", "'-5"), ("", ""), (True, True)])
def test_numbers_stay_numbers_and_the_unknown_is_empty(value: object, cell: object) -> None:
    assert as_cell(value) == cell
