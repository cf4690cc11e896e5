"""The curves as pictures: one of characters for a terminal, one as a page of HTML that needs nothing else.

Rule 1: sizes stand at equal steps from small to large, whatever lies between them.
Rule 2: the page holds no script and loads nothing; all text from outside goes through `scoutcache.insight.shown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from scoutcache.insight.shown import as_html, printable
from scoutcache.insight.simulation.curves import Point

__all__ = ["as_page", "as_text"]

_SIGNS: Final = "●○■□▲△◆◇✚✖"
_STEP: Final = 9
_ROWS: Final = 12
_COLOURS: Final = (
    "#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#9a6700", "#0a7d8c", "#bf3989", "#57606a", "#6e7781",
)  # fmt: skip
WIDTH: Final = 720
HEIGHT: Final = 320

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>scoutcache simulation</title>
<style>
:root{{--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--back:#fff}}
@media (prefers-color-scheme:dark){{:root{{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--back:#0d1117}}}}
body{{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back)}}
body{{max-width:60rem;margin:2rem auto;padding:0 1rem}}
h1{{font-size:1.5rem}} h2{{font-size:1.1rem;margin:2rem 0 .3rem}} p{{color:var(--soft);margin:.2rem 0 .6rem}}
.scroll{{overflow-x:auto}} table{{border-collapse:collapse;width:100%}}
th,td{{text-align:right;padding:.25rem .6rem;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}}
th:first-child,td:first-child{{text-align:left}}
svg{{width:100%;height:auto}} svg .grid{{stroke:var(--line)}}
svg text{{fill:var(--soft);font:11px system-ui,sans-serif}}
svg polyline{{fill:none;stroke-width:2}}
</style></head><body>
<h1>Hit ratio by size and policy</h1>
<p>{about}</p>
{sections}
</body></html>
"""


def _by_policy(points: Sequence[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.policy, []).append(point)
    return found


def _units(points: Sequence[Point]) -> list[list[Point]]:
    """The points in entries, and those in bytes, as far as there are any."""
    parts = [[point for point in points if point.unit == unit] for unit in ("entries", "bytes")]
    return [part for part in parts if part]


def _label(point: Point) -> str:
    number = float(point.capacity)
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g}{unit}" + ("B" if point.unit == "bytes" else "")
        number /= 1000
    return f"{number:.4g}T" + ("B" if point.unit == "bytes" else "")


def as_text(points: Sequence[Point]) -> str:
    """A chart of characters for each unit, with its legend."""
    return "\n".join(_drawn(part) for part in _units(points))


def _drawn(points: Sequence[Point]) -> str:
    curves = _by_policy(points)
    sizes = next(iter(curves.values()))
    top = max(0.01, *(point.hit_ratio for point in points))
    grid = [[" "] * (_STEP * (len(sizes) - 1) + 1) for _ in range(_ROWS + 1)]
    for curve in curves.values():
        _join(grid, [point.hit_ratio / top for point in curve])
    for sign, curve in zip(_SIGNS, curves.values(), strict=False):
        for at, point in enumerate(curve):
            row = grid[_row(point.hit_ratio / top)]
            row[at * _STEP] = "◎" if row[at * _STEP] not in {" ", "·"} else sign
    lines = [f"{100 * top * (_ROWS - at) / _ROWS:5.1f} % ┤{''.join(row).rstrip()}" for at, row in enumerate(grid)]
    axis = " " * 8 + "└" + "┬".join("─" * (_STEP - 1) for _ in sizes)[: len(grid[0]) + 3]
    names = " " * 8 + "".join(f"{_label(point):<{_STEP}}" for point in sizes).rstrip()
    legend = "  ".join(f"{sign} {name}" for sign, name in zip(_SIGNS, curves, strict=False))
    return "\n".join(["hit ratio", *lines, axis, names + f"  {points[0].unit}", f"{legend}  ◎ several", ""])


def _row(height: float) -> int:
    return _ROWS - round(_ROWS * min(max(height, 0.0), 1.0))


def _join(grid: list[list[str]], heights: Sequence[float]) -> None:
    for at, (left, right) in enumerate(pairwise(heights)):
        for step in range(1, _STEP):
            row = grid[_row(left + (right - left) * step / _STEP)]
            if row[at * _STEP + step] == " ":
                row[at * _STEP + step] = "·"


def as_page(points: Sequence[Point], about: Mapping[str, Any]) -> str:
    """The curves and their figures as one page of HTML; *about* says what was simulated."""
    told = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in about.items() if value is not None)
    sections = "\n".join(_section(part) for part in _units(points))
    return _PAGE.format(about=as_html(printable(told)), sections=sections)


def _section(points: Sequence[Point]) -> str:
    curves = _by_policy(points)
    sizes = next(iter(curves.values()))
    head = "".join(f"<th>{as_html(_label(point))}</th>" for point in sizes)
    rows = "\n".join(
        f"<tr><td>{as_html(name)}</td>" + "".join(f"<td>{_cell(point)}</td>" for point in curve) + "</tr>"
        for name, curve in curves.items()
    )
    head = f"<thead><tr><th>policy</th>{head}</tr></thead>"
    table = f'<div class="scroll"><table>{head}\n<tbody>{rows}</tbody></table></div>'
    return f"<section><h2>Sizes in {as_html(points[0].unit)}</h2>\n{_svg(curves)}\n{table}</section>"


def _cell(point: Point) -> str:
    spread = "" if point.error is None else f" ± {100 * point.error:.1f}"
    return f"{100 * point.hit_ratio:.2f}%{spread}"


def _svg(curves: Mapping[str, Sequence[Point]]) -> str:
    sizes = next(iter(curves.values()))
    top = max(0.01, *(point.hit_ratio for curve in curves.values() for point in curve))
    step = (WIDTH - 150) / max(1, len(sizes) - 1)

    def spot(at: int, ratio: float) -> tuple[float, float]:
        return 44 + at * step, 8 + (HEIGHT - 36) * (1 - ratio / top)

    parts = []
    for part in range(5):
        _, y = spot(0, top * part / 4)
        parts.append(f'<line class="grid" x1="44" x2="{WIDTH - 106}" y1="{y:.0f}" y2="{y:.0f}"/>'
                     f'<text x="0" y="{y + 4:.0f}">{100 * top * part / 4:.1f}%</text>')  # fmt: skip
    for at, point in enumerate(sizes):
        x, _ = spot(at, 0.0)
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{as_html(_label(point))}</text>')
    for at, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[at % len(_COLOURS)]
        spots = [spot(place, point.hit_ratio) for place, point in enumerate(curve)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots)
        parts.append(f'<polyline points="{line}" stroke="{colour}"/>{dots}')
        parts.append(f'<rect x="{WIDTH - 96}" y="{12 + 18 * at}" width="12" height="4" fill="{colour}"/>'
                     f'<text x="{WIDTH - 78}" y="{18 + 18 * at}">{as_html(name)}</text>')  # fmt: skip
    drawn = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="hit ratio by size">{drawn}</svg>'
