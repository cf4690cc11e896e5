"""A report as files: one HTML page that needs nothing else, or a folder of CSV files.

The page holds no script and loads nothing, follows the reader's light or dark setting, and is small enough to mail
(under 300 KB: no section has more than `ROWS` rows there, and no text more than 120 characters).  All text from outside
goes through `scoutcache.insight.shown`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from scoutcache.insight.report import Report, Section
from scoutcache.insight.shown import as_cell, as_html
from scoutcache.oplog.files import make_folder, put
from scoutcache.oplog.totals import moment

__all__ = ["report_csv", "report_html"]

ROWS: Final = 50
WIDTH: Final = 720
HEIGHT: Final = 160

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>scoutcache report</title>
<style>
:root{{--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--back:#fff;--bar:#0969da}}
@media (prefers-color-scheme:dark){{:root{{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--back:#0d1117;--bar:#4493f8}}}}
body{{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back)}}
body{{max-width:60rem;margin:2rem auto;padding:0 1rem}}
h1{{font-size:1.5rem}} h2{{font-size:1.1rem;margin:2rem 0 .3rem}} p{{color:var(--soft);margin:.2rem 0 .6rem}}
.scroll{{overflow-x:auto}} table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}}
td{{overflow-wrap:anywhere}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
svg{{width:100%;height:auto}} svg .area{{fill:none;stroke:var(--bar);stroke-width:2}} svg .grid{{stroke:var(--line)}}
svg text{{fill:var(--soft);font:11px system-ui,sans-serif}} svg circle{{fill:var(--bar)}}
</style></head><body>
<h1>scoutcache report</h1>
<p>{period}</p>
{sections}
</body></html>
"""


def report_html(report: Report) -> str:
    """The report as one page of HTML."""
    begins = "the beginning" if report.since is None else moment(report.since)
    period = f"{begins} to {moment(report.until)}. {report.records} records of the operation log"
    if report.skipped_lines or report.skipped_files:
        period += f"; skipped {report.skipped_lines} unreadable lines and {report.skipped_files} foreign files"
    if report.empty:
        return _PAGE.format(period=as_html(period), sections="<p>Nothing was recorded in this period.</p>")
    return _PAGE.format(period=as_html(period), sections="\n".join(map(_section, report.sections)))


def _section(section: Section) -> str:
    parts = [
        f"<section><h2>{as_html(section.title)}</h2>",
        f"<p>From: {as_html(section.source)}. {as_html(section.note)}</p>",
    ]
    if not section.rows:
        return "\n".join([*parts, "<p>Nothing to show.</p></section>"])
    if section.name == "over_time":
        parts.append(_curve(section.rows))
    rows = _turned(section) if section.name == "summary" else section.rows[:ROWS]
    columns = ("figure", "value") if section.name == "summary" else section.columns
    parts.append(_table(columns, rows))
    if len(section.rows) > ROWS:
        parts.append(f"<p>The first {ROWS} of {len(section.rows)} rows; the others are in the CSV files.</p>")
    return "\n".join([*parts, "</section>"])


def _turned(section: Section) -> list[dict[str, Any]]:
    """One row of many columns as many rows of two."""
    return [{"figure": name, "value": section.rows[0][name]} for name in section.columns]


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    numeric = {name for name in columns if any(_is_number(row[name]) for row in rows)}
    kinds = {name: ' class="n"' if name in numeric else "" for name in columns}
    head = "".join(f"<th{kinds[name]}>{as_html(name.replace('_', ' '))}</th>" for name in columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td{kinds[name]}>{_cell(name, row)}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row[name]
    if value is None:
        return "–"
    named = str(row.get("figure", name))
    if not _is_number(value):
        return as_html(str(value))
    if named.endswith(("rate", "share")) or str(row.get("figure", "")).startswith("share"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _curve(rows: Sequence[dict[str, Any]]) -> str:
    """Hit rate over time as a picture."""
    step = (WIDTH - 40) / max(1, len(rows) - 1)
    points = [(36 + at * step, 8 + (HEIGHT - 30) * (1 - row["hit_rate"])) for at, row in enumerate(rows)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    grid = "".join(
        f'<line class="grid" x1="36" x2="{WIDTH}" y1="{y:.0f}" y2="{y:.0f}"/><text x="0" y="{y + 4:.0f}">{label}</text>'
        for y, label in ((8, "100%"), (8 + (HEIGHT - 30) / 2, "50%"), (HEIGHT - 22, "0%"))
    )
    drawn = f'<polyline class="area" points="{line}"/>'
    if len(points) == 1:
        drawn = f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="4"/>'
    ends = f'<text x="36" y="{HEIGHT - 4}">{as_html(rows[0]["at"])}</text>'
    ends += f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">{as_html(rows[-1]["at"])}</text>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="hit rate over time">{grid}{drawn}{ends}</svg>'


def report_csv(report: Report, directory: Path) -> list[Path]:
    """Write each section as ``<name>.csv`` into *directory* (made if missing); return the files.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.  Raises OSError.
    """
    make_folder(directory)
    written = []
    for section in report.sections:
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(section.columns)
        writer.writerows([as_cell(row[name]) for name in section.columns] for row in section.rows)
        path = directory / f"{section.name}.csv"
        put(path, out.getvalue().encode("utf-8"))
        written.append(path)
    return written
