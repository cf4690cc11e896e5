"""How English writes numbers and units in words: each word, and what it stands for."""

from __future__ import annotations

from typing import Final

__all__ = ["CASED", "NUMBERS", "UNITS"]


def _named(text: str) -> dict[str, str]:
    """By each of the words behind the colon what stands before it."""
    pairs = [line.strip().split(": ") for line in text.strip().splitlines()]
    return {word: name for name, words in pairs for word in words.split()}


UNITS: Final = _named("""
    km: kilometer kilometers kilometre kilometres km
    mi: mile miles mi
    m: meter meters metre metres m
    mm: millimeter millimeters millimetre millimetres mm
    cm: centimeter centimeters centimetre centimetres cm
    ft: foot feet ft
    in: inch inches
    kg: kilogram kilograms kg kilo kilos
    g: gram grams g
    mg: milligram milligrams mg
    µg: microgram micrograms mcg μg ug
    lb: pound pounds lb lbs
    oz: ounce ounces oz
    s: second seconds sec secs
    ms: millisecond milliseconds ms
    min: minute minutes min mins
    h: hour hours hr hrs
    d: day days
    w: week weeks
    mo: month months
    y: year years yr yrs
    usd: dollar dollars usd $ bucks
    eur: euro euros eur €
    gbp: gbp £ quid
    %: percent percentage %
    c: celsius °c
    f: fahrenheit °f
    b: byte bytes
    kb: kb kilobyte kilobytes
    mb: mb megabyte megabytes
    gb: gb gigabyte gigabytes
    tb: tb terabyte terabytes
    k: kelvin
    am: am a.m
    pm: pm p.m
    l: liter liters litre litres
    ml: ml milliliter milliliters
    mph: mph
    kmh: kmh kph
    px: px pixel pixels
""")
"""What stands behind a number, by each way of writing it."""

def _cased() -> dict[str, str]:
    bits = {f"{size}b": f"{size.lower()}bit" for size in "KMGT"}
    rates = {f"{size}{unit}ps": f"{size.lower()}{unit}ps" for size in "kKMGT" for unit in "bB"}
    watts = {f"{size}{unit}": f"{size}{unit}" for size in "mM" for unit in ("W", "Wh", "Hz", "V", "A", "J", "Pa")}
    return {**bits, **rates, **watts}


CASED: Final = _cased()
"""Units that are others in other letters, by how those write them who know: Mb and MB, mW and MW.  MB in small letters
is MB to most."""

NUMBERS: Final = _named("""
    2: two twice
    3: three third thrice
    4: four fourth
    5: five fifth
    6: six sixth
    7: seven seventh
    8: eight eighth
    9: nine ninth
    10: ten tenth
    11: eleven eleventh
    12: twelve twelfth
    13: thirteen thirteenth
    14: fourteen fourteenth
    15: fifteen fifteenth
    16: sixteen sixteenth
    17: seventeen seventeenth
    18: eighteen eighteenth
    19: nineteen nineteenth
    20: twenty twentieth
    30: thirty thirtieth
    40: forty
    50: fifty
    60: sixty
    70: seventy
    80: eighty
    90: ninety
""")
"""Number words; not "one", "first" and "second", which mostly count nothing."""
