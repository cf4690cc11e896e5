"""Numbers and operators as they are read."""

from __future__ import annotations

import pytest

from scoutcache.meaning.numerals import numbers, operators, plain


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (".5 mg", ["0.5 mg"]),
        ("0.5 mg", ["0.5 mg"]),
        ("1,5 mg", ["1.5 mg"]),
        ("0,500 mg", ["0.500 mg"]),
        ("1,500 mg", ["1500 mg"]),
        ("1.500,25 €", ["1500.25"]),
        ("1,2,3", ["1", "2", "3"]),
        ("-5 °C", ["-5 c"]),
        ("x - 5", ["5"]),
        ("a-5", ["5"]),
        ("Python 3.10", ["3.10"]),
        ("5k miles", ["5000 mi"]),
        ("1,5 million", ["1500000"]),
        ("٥ km", ["5 km"]),
        ("1½", ["1", "1", "2"]),
        ("10²", ["10", "2"]),
        ("two", ["2"]),
    ],
)
def test_numbers(text, found):
    assert numbers(plain(text), text.split()) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x > y", [">"]),
        ("x≤y", ["<="]),
        ("p <.05", ["<"]),
        ("<5 mg", ["<"]),
        ("2 + 2 - 1", ["+", "-"]),
        ("total / tax", ["/"]),
        ("3 × 4 ÷ 5", ["*", "/"]),
        ("7 % 2", ["%"]),
        ("5 % of it", []),
        ("10²", ["^"]),
        ("x = -3", ["="]),
        ("well-known e-mail, and/or more -- or so", []),
        ("is *really* 5% off", []),
        ("blood type O-", ["-"]),
        ("C++", ["++"]),
    ],
)
def test_operators(text, found):
    assert list(operators(plain(text))) == found
