"""Pictures of a report's sections as static SVG: no script, no style of their own, nothing loaded.

Rule 1: every picture has a title and a description that says its message in words, for those who don't see it.
Rule 2: colours are attributes, so that they hold where a policy forbids style sheets; classes let a style sheet change
        them for dark pages.  No colour alone says anything: each series is named beside it or in a legend.
Rule 3: coordinates are whole numbers, and a picture has at most a few hundred of them.
Rule 4: all text from outside goes through `scoutcache.insight.shown`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from scoutcache.insight.shown import as_html
from scoutcache.insight.units import figure, micros, size
from scoutcache.wording.nouns import counted

__all__ = ["COLOURS", "charts_of", "sparkline"]

WIDTH: Final = 900
LEFT: Final = 56
RIGHT: Final = 12
TOP: Final = 10
PLOT: Final = 150
"""Height of a plot over time."""
BAR: Final = 26
"""Height of a row of horizontal bars."""
COLOURS: Final = {"a": "#0969da", "b": "#9a6700", "c": "#1a7f37", "d": "#8250df", "e": "#57606a"}
"""Class and colour on a light page: what was there, what was not, money, tails, the rest."""
Rows = Sequence[Mapping[str, Any]]


def charts_of(name: str, rows: Rows) -> str:
    """The pictures of the section *name*; empty where there is none or nothing to draw (a single step of time)."""
    makers = _MAKERS.get(name, ()) if len(rows) > (1 if name == "over_time" else 0) else ()
    return "".join(drawn for maker in makers if (drawn := maker(rows)))


def _picture(name: str, title: str, described: str, height: int, parts: Iterator[str]) -> str:
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{title}</title>'
        f'<desc id="{name}-d">{described}</desc>{"".join(parts)}</svg></figure>'
    )


def _text(x: float, y: float, shown: str, anchor: str = "start") -> str:
    end = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" fill="currentColor"{end}>{as_html(shown)}</text>'


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (f'<rect class="{kind}" fill="{COLOURS[kind]}" x="{x:.0f}" y="{y:.0f}" width="{max(width, 1):.0f}" '
            f'height="{max(height, 0):.0f}"/>')  # fmt: skip


def _legend(names: Mapping[str, str], y: int) -> Iterator[str]:
    x = LEFT
    for kind, name in names.items():
        yield _box(kind, x, y - 9, 10, 10)
        yield _text(x + 15, y, name)
        x += 15 + 8 * len(name) + 20


# -- over time


class _Time:
    """Places on the axis of time."""

    def __init__(self, rows: Rows) -> None:
        self.at = [datetime.fromisoformat(row["at"]).timestamp() for row in rows]
        gaps = [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]
        self.step = min(gaps, default=60.0)
        self.span = self.at[-1] - self.at[0] + self.step

    def x(self, at: float) -> float:
        """Where a step begins."""
        return LEFT + (at - self.at[0]) / self.span * (WIDTH - LEFT - RIGHT)

    @property
    def width(self) -> float:
        """How wide a step is."""
        return self.step / self.span * (WIDTH - LEFT - RIGHT)

    def axis(self, rows: Rows) -> Iterator[str]:
        """The times at both ends, and between."""
        places = sorted({0, len(rows) // 3, 2 * len(rows) // 3, len(rows) - 1})
        pattern = "%H:%M" if self.span <= 86_400 else "%d %b %H:%M" if self.span < 7 * 86_400 else "%d %b %Y"
        last = -math.inf
        for place in places:
            x = self.x(self.at[place])
            ends = x > WIDTH - 110
            if x - last > 100 or place == 0:
                shown = f"{datetime.fromisoformat(rows[place]['at']):{pattern}}"
                yield _text(WIDTH - RIGHT if ends else x, TOP + PLOT + 18, shown, "end" if ends else "start")
                last = x


def _scale(top: float, shown: Callable[[float], str]) -> Iterator[str]:
    for part in (0.0, 0.5, 1.0):
        y = TOP + PLOT * (1 - part)
        yield f'<path class="grid" stroke="#d1d9e0" d="M{LEFT} {y:.0f}H{WIDTH - RIGHT}"/>'
        yield _text(LEFT - 6, y + 4, shown(top * part), "end")


def _hit_rate(rows: Rows) -> str:
    known = [row for row in rows if row["hit_rate"] is not None]
    if not known:
        return ""
    rates = [row["hit_rate"] for row in known]
    described = f"From {rates[0]:.1%} to {rates[-1]:.1%}; lowest {min(rates):.1%}, highest {max(rates):.1%}."
    time = _Time(known)

    def parts() -> Iterator[str]:
        yield from _scale(1.0, lambda share: f"{share:.0%}")
        places = [(time.x(at) + time.width / 2, TOP + PLOT * (1 - rate)) for at, rate in
                  zip(time.at, rates, strict=True)]  # fmt: skip
        line = "L".join(f"{x:.0f} {y:.0f}" for x, y in places)
        floor = TOP + PLOT
        yield (f'<path class="a" fill="{COLOURS["a"]}" fill-opacity=".15" d="M{places[0][0]:.0f} {floor}L{line}L'
               f'{places[-1][0]:.0f} {floor}Z"/>')  # fmt: skip
        yield f'<path class="al" fill="none" stroke="{COLOURS["a"]}" stroke-width="2" d="M{line}"/>'
        yield from time.axis(known)

    return _picture("hit-rate", "Hit rate", described, TOP + PLOT + 24, parts())


def _stacked(rows: Rows) -> str:
    time, top = _Time(rows), max(row["requests"] for row in rows) or 1
    hits, misses = sum(row["hits"] for row in rows), sum(row["misses"] for row in rows)

    def parts() -> Iterator[str]:
        yield from _scale(top, _short)
        gap = 1 if time.width > 4 else 0
        for at, row in zip(time.at, rows, strict=True):
            low, high = PLOT * row["hits"] / top, PLOT * row["misses"] / top
            for kind, height, below in (("a", low, 0.0), ("b", high, low)):
                if height:
                    yield _box(kind, time.x(at), TOP + PLOT - below - height, time.width - gap, height)
        yield from time.axis(rows)
        yield from _legend({"a": "hits", "b": "misses"}, TOP + PLOT + 38)

    told = f"{counted(hits, 'hit')} and {counted(misses, 'miss')}."
    return _picture("requests", "Requests: hits and misses", told, TOP + PLOT + 44, parts())


def _saved(rows: Rows) -> str:
    name = "cost_saved_usd" if any(row["cost_saved_usd"] for row in rows) else "calls_saved"
    values = [row[name] or 0 for row in rows]
    time, top = _Time(rows), max(values) or 1
    title = "Money saved" if name == "cost_saved_usd" else "Calls saved"

    def parts() -> Iterator[str]:
        yield from _scale(top, lambda value: figure(name, value) if name == "cost_saved_usd" else _short(value))
        for at, value in zip(time.at, values, strict=True):
            if value:
                height = PLOT * value / top
                yield _box("c", time.x(at), TOP + PLOT - height, time.width - (1 if time.width > 4 else 0), height)
        yield from time.axis(rows)

    return _picture("saved", title, f"{figure(name, sum(values))} in all.", TOP + PLOT + 24, parts())


def _short(count: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g}{unit}"
    return f"{count:.3g}"


# -- by kind


def _bars(name: str, title: str, kind: str, bars: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: a name, a length, and what stands at its end."""
    top = max((length for _, length, _ in bars), default=0) or 1
    begin, end = 190, WIDTH - 150

    def parts() -> Iterator[str]:
        for place, (label, length, shown) in enumerate(bars):
            y = TOP + place * BAR
            yield _text(begin - 8, y + 14, _cut(label, 26), "end")
            yield _box(kind, begin, y, (end - begin) * length / top, BAR - 8)
            yield _text(begin + (end - begin) * length / top + 8, y + 14, shown)

    described = as_html("; ".join(f"{_cut(label, 40)}: {shown}" for label, _, shown in bars[:6]), 300)
    return _picture(name, title, described, 2 * TOP + BAR * len(bars), parts())


def _cut(label: str, longest: int) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def _reasons(rows: Rows) -> str:
    bars = [(row["reason"], row["count"], f"{row['count']:,} ({row['share']:.1%})") for row in rows[:10]]
    return _bars("reasons", "Misses by reason", "b", bars)


def _money(rows: Rows) -> str:
    name = "cost_saved_usd" if any(row["cost_saved_usd"] for row in rows) else "calls_saved"
    several = len({row["namespace"] for row in rows}) > 1
    bars = [
        (_named(row, several=several), row[name] or 0, "unknown" if row[name] is None else figure(name, row[name]))
        for row in rows[:10]
    ]  # fmt: skip
    if len(bars) < 2:
        return ""  # a single bar compares nothing
    return _bars("savings-by", "Money saved by kind" if name == "cost_saved_usd" else "Calls saved by kind", "c", bars)


def _named(row: Mapping[str, Any], *, several: bool) -> str:
    prefix = row["prefix"] or "(no prefix)"
    return f"{prefix} in {row['namespace']}" if several else prefix


def _latency(rows: Rows) -> str:
    timed = [row for row in rows if row["p50_us"]][:14]
    if not timed:
        return ""
    low = math.floor(math.log10(max(min(row["p50_us"] for row in timed), 0.1)))
    high = max(low + 1, math.ceil(math.log10(max(row["p99_us"] for row in timed))))
    begin, end, floor = 150, WIDTH - RIGHT - 20, TOP + BAR * len(timed)

    def x(us: float) -> float:
        return begin + (math.log10(max(us, 10.0**low)) - low) / (high - low) * (end - begin)

    def parts() -> Iterator[str]:
        for power in range(low, high + 1):
            at = x(10.0**power)
            yield f'<path class="grid" stroke="#d1d9e0" d="M{at:.0f} {TOP}V{floor}"/>'
            yield _text(at, floor + 16, micros(10.0**power), "middle")
        for place, row in enumerate(timed):
            y = TOP + place * BAR + 12
            yield _text(begin - 8, y + 4, _cut(_kind(row), 20), "end")
            middle, most, last = x(row["p50_us"]), x(row["p95_us"]), x(row["p99_us"])
            yield f'<path class="dl" stroke="{COLOURS["d"]}" stroke-width="2" d="M{middle:.0f} {y}H{last:.0f}"/>'
            yield f'<circle class="a" fill="{COLOURS["a"]}" cx="{middle:.0f}" cy="{y}" r="5"/>'
            yield f'<path class="d" fill="{COLOURS["d"]}" d="M{most:.0f} {y - 6}l5 6l-5 6l-5-6z"/>'
            yield f'<path class="dl" stroke="{COLOURS["d"]}" stroke-width="3" d="M{last:.0f} {y - 6}v12"/>'
        yield _text(begin, floor + 36, "● half are faster   ◆ 95 % are faster   | 99 % are faster")

    said = "; ".join(f"{_kind(row)}: half within {micros(row['p50_us'])}, 99 % within {micros(row['p99_us'])}"
                     for row in timed[:5])  # fmt: skip
    return _picture("latencies", "Latency, on a scale where each line is ten times the one before", as_html(said, 300),
                    floor + 44, parts())  # fmt: skip


def _kind(row: Mapping[str, Any]) -> str:
    return f"{row['outcome']} {row['tier']}" if row["tier"] else str(row["outcome"])


def _compression(rows: Rows) -> str:
    rows = rows[:8]
    top = max(max(row["size_bytes"], row["stored_bytes"]) for row in rows) or 1
    begin, end = 170, WIDTH - 200

    def parts() -> Iterator[str]:
        for place, row in enumerate(rows):
            y = TOP + place * (BAR + 8)
            yield _text(begin - 8, y + 15, _cut(f"{row['prefix'] or '(no prefix)'}, {row['codec']}", 22), "end")
            for kind, name, down in (("e", "size_bytes", 0), ("a", "stored_bytes", 11)):
                yield _box(kind, begin, y + down, (end - begin) * row[name] / top, 10)
            longest = max(row["size_bytes"], row["stored_bytes"])
            told = f"{size(row['size_bytes'])} as {size(row['stored_bytes'])}"
            told += f", {row['ratio_times']:.2f}x" if row["ratio_times"] else ""
            yield _text(begin + (end - begin) * longest / top + 8, y + 15, told)
        yield from _legend({"e": "before", "a": "stored"}, TOP + len(rows) * (BAR + 8) + 14)

    whole, stored = sum(row["size_bytes"] for row in rows), sum(row["stored_bytes"] for row in rows)
    return _picture("packing", "Bytes before and after compression", f"{size(whole)} are stored as {size(stored)}.",
                    TOP + len(rows) * (BAR + 8) + 24, parts())  # fmt: skip


_MAKERS: Final[Mapping[str, tuple[Callable[[Rows], str], ...]]] = {
    "over_time": (_hit_rate, _stacked, _saved), "miss_reasons": (_reasons,), "latency": (_latency,),
    "savings": (_money,), "compression": (_compression,),
}  # fmt: skip


def sparkline(values: Sequence[float | None]) -> str:
    """A series of shares (0-1) as a small line; gaps where nothing is known.

    >>> 'd="M0 19L100 1"' in sparkline([0.0, 1.0])
    True
    """
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    step = 100 / max(1, len(values) - 1)
    drawn, pen = "", "M"
    for place, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        drawn += f"{pen}{place * step:.0f} {19 - 18 * value:.0f}"
        pen = "L"
    if len(known) == 1 or len(values) == 1:
        drawn += "h3"
    label = f"from {known[0]:.0%} to {known[-1]:.0%}".replace("%", " %")
    return (f'<svg class="spark" viewBox="0 0 100 20" width="100" height="20" role="img" aria-label="{label}"><path '
            f'class="grid" stroke="#d1d9e0" d="M0 19.5H100"/><path '
            f'fill="none" stroke="{COLOURS["a"]}" stroke-width="1.5" class="al" d="{drawn}"/></svg>')  # fmt: skip
