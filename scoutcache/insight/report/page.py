"""A report as one page of HTML that needs nothing else.

Rule 1: no script, nothing loaded, no style in attributes: the page says so itself in a content policy, and is read as
        well where a stricter one forbids its style sheet.
Rule 2: every number stands in the page as it is in JSON: in a ``data`` element where what is shown was rounded.
Rule 3: the page follows the reader's light or dark setting and prints on paper; text has a contrast of 4.5 and more.
Rule 4: the page is small enough to mail: under `LARGEST` bytes.  Where the log's texts would make it larger it shows
        fewer rows, and says how many there are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from scoutcache.insight.charts import charts_of, sparkline
from scoutcache.insight.report.sections import SERIES, Report, Section, shown_figure
from scoutcache.insight.shown import as_html
from scoutcache.insight.units import figure, label, micros
from scoutcache.oplog.totals import moment
from scoutcache.wording.nouns import counted

__all__ = ["LARGEST", "report_html"]

LARGEST: Final = 300_000
ROWS: Final = 40
OPEN: Final = 10
"""Rows that are shown without being asked for."""
SPARKS: Final = 60
"""Points of a line in a table, at most."""

_STYLE: Final = """
:root{--ink:#1f2328;--soft:#57606a;--line:#d1d9e0;--back:#ffffff;--card:#f6f8fa;--a:#0969da;--b:#9a6700;--c:#1a7f37;
--d:#8250df;--e:#57606a}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--line:#3d444d;--back:#0d1117;
--card:#161b22;--a:#58a6ff;--b:#d29922;--c:#3fb950;--d:#bc8cff;--e:#9aa4af}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:var(--back);margin:0}
main,header{max-width:68rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.6rem;margin:0}
h2{font-size:1.2rem;margin:0 0 .2rem}
p,figcaption,summary,nav{color:var(--soft)}
p{margin:.2rem 0 .7rem;max-width:48rem}
.source{font-size:.85rem}
section{margin:2.2rem 0;padding-top:1.2rem;border-top:1px solid var(--line)}
nav li{margin:0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1rem;padding:0;margin:.8rem 0 0;font-size:.9rem}
a{color:var(--a)}
.cards{display:grid;margin:1rem 0;padding:0;gap:.8rem;
grid-template-columns:repeat(auto-fit,minmax(min(17rem,100%),1fr))}
.cards div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}
.cards dt{color:var(--soft);font-size:.9rem}
.cards dd{margin:0}
.cards .big{font-size:1.6rem;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}
.cards .small{color:var(--soft);font-size:.85rem}
ol{padding-left:1.4rem}
.advice li{margin:.6rem 0}
.advice p{margin:.1rem 0}
figure{margin:1rem 0;overflow-x:auto}
figcaption{font-size:.9rem;font-weight:600}
svg{max-width:100%;min-width:36rem;height:auto;display:block}
svg.spark{width:6.5rem;height:1.3rem;min-width:6.5rem}
svg text{fill:var(--ink)}
.grid,.grid path{stroke:var(--line)}
svg .a{fill:var(--a)} svg .b{fill:var(--b)} svg .c{fill:var(--c)} svg .d{fill:var(--d)} svg .e{fill:var(--e)}
svg .al{stroke:var(--a)} svg .dl{stroke:var(--d)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding:.2rem 0}
th,td{text-align:left;padding:.3rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600} thead th{color:var(--soft);vertical-align:bottom}
tbody th{font-weight:400;overflow-wrap:anywhere;min-width:9rem}
td{overflow-wrap:anywhere;unicode-bidi:isolate;min-width:3.5rem} td.w{min-width:6rem} th{unicode-bidi:isolate}
td.t{min-width:9rem} tr>:first-child{padding-left:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
summary{cursor:pointer;margin:.4rem 0}
footer{color:var(--soft);font-size:.85rem;margin:3rem 0 2rem}
@media (max-width:34rem){body{font-size:14px} main,header{padding-left:.8rem;padding-right:.8rem}}
@media print{:root{color-scheme:light} @page{margin:14mm} body{font-size:10pt} main,header{max-width:none;padding:0}
nav{display:none} figure,tr,li,.cards div{break-inside:avoid} h2,thead,figcaption{break-after:avoid}
.scroll,figure{overflow:visible} svg{min-width:0} table{font-size:7.5pt}
th,td{padding:.15rem .3rem} .n{overflow-wrap:normal}
section>p:first-of-type{break-after:avoid} svg.spark{width:4rem;min-width:4rem}
tbody th{min-width:5rem} td,td.t,td.w{min-width:0} a{color:inherit;text-decoration:none}}
"""
_POLICY: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEAD: Final = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" '
    f"content=\"default-src 'none'; style-src 'sha256-{_POLICY}'; base-uri 'none'; form-action 'none'\">\n"
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">\n'
    f"<title>scoutcache report</title>\n<style>{_STYLE}</style></head><body>\n"
)


def report_html(report: Report) -> str:
    """The report as one page of HTML of less than `LARGEST` bytes."""
    rows = ROWS
    while len((page := _page(report, rows)).encode()) >= LARGEST and rows > 1:
        rows //= 2
    return page


def _page(report: Report, rows: int) -> str:
    begins = "the beginning" if report.since is None else _when(report.since)
    told = f"{begins} to {_when(report.until)} UTC. {counted(report.records, 'record')} of the operation log"
    told += ", of this machine only" if report.one_machine else ""
    told += f"; skipped {report.skipped}" if report.skipped else ""
    filled = [section for section in report.sections if section.rows]
    if report.empty:
        body = "<main><p>Nothing was recorded in this period.</p></main>"
        return f"{_HEAD}<header><h1>scoutcache report</h1><p>{as_html(told)}</p></header>{body}</body></html>\n"
    links = "".join(f'<li><a href="#{one.name}">{as_html(one.title)}</a></li>' for one in filled)
    return "\n".join([
        f"{_HEAD}<header><h1>scoutcache report</h1><p>{as_html(told)}</p>",
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>',
        *(_section(section, report, rows) for section in filled),
        _footer(report),
        "</main></body></html>\n",
    ])  # fmt: skip


def _when(seconds: float) -> str:
    return moment(seconds)[:16].replace("T", " ")


def _footer(report: Report) -> str:
    empty = [section.title for section in report.sections if not section.rows]
    told = f"Nothing to report: {', '.join(empty)}. " if empty else ""
    return f"<footer>{as_html(told, 600)}Rates are of the requests; money is US dollars; times are UTC.</footer>"


def _section(section: Section, report: Report, rows: int) -> str:
    name, title = section.name, as_html(section.title)
    parts = [
        f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{title}</h2>',
        f"<p>{as_html(section.about, 300)}</p>",
    ]
    if section.name == "summary":
        parts += [_cards(section.rows[0], report), _folded("All figures", _turned(section))]
    elif section.name == "recommendations":
        parts.append(_advice(section.rows[:rows]))
    else:
        parts += [charts_of(section.name, section.rows), *_tables(section, rows)]
    told = f"From the {section.source}. {section.note}"
    return "\n".join([*parts, f'<p class="source">{as_html(told, 600)}</p></section>'])


# -- the sum


def _cards(row: Mapping[str, Any], report: Report) -> str:
    changes = {one["figure"]: one for one in report.section("trend").rows}
    cards = [
        ("Hit rate", _shown("hit_rate", row), f"{row['hits']:,} of {counted(row['requests'], 'request')}", "hit rate"),
        ("Calls saved", _shown("calls_saved", row), "one for each hit", "calls saved"),
        ("Money saved", _shown("cost_saved_usd", row), _money_note(row), "money saved"),
        ("Money spent", _shown("cost_spent_usd", row), "at least, on what the cache did not have", ""),
        ("Time saved", _shown("seconds_saved", row), "an estimate: what computing would have taken", ""),
        ("Time of a hit", _shown("hit_p50_us", row), _latency_note(row), ""),
    ]  # fmt: skip
    shown = "".join(
        f'<div><dt>{name}</dt><dd class="big">{value}</dd>'
        f'<dd class="small">{note}{_change(changes.get(known))}</dd></div>'
        for name, value, note, known in cards
    )
    return f'<dl class="cards">{shown}</dl>'


def _money_note(row: Mapping[str, Any]) -> str:
    if row["cost_saved_usd"] is None:
        return "unknown: no price is configured"
    if not row["cost_estimated_usd"]:
        return "at prices given with the entries"
    return f"{figure('_usd', row['cost_estimated_usd'])} of it estimated"


def _latency_note(row: Mapping[str, Any]) -> str:
    if row["hit_p95_us"] is None:
        return "half of them are faster"
    return f"half are faster; 95 % within {micros(row['hit_p95_us'])}"


def _change(row: Mapping[str, Any] | None) -> str:
    shown = None if row is None else shown_figure("change" if row["unit"] == "share" else "change_share", row)
    return "" if shown is None else f"<br>{as_html(shown)} against before"


def _turned(section: Section) -> str:
    """One row of many columns as a table of two."""
    row = section.rows[0]
    body = "".join(
        f'<tr><th scope="row">{as_html(name.replace("_", " "))}</th>{_cell(name, row, right=True)}</tr>'
        for name in section.columns
    )
    head = '<thead><tr><th scope="col">figure</th><th scope="col" class="n">value</th></tr></thead>'
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _advice(rows: Sequence[Mapping[str, Any]]) -> str:
    items = []
    for row in rows:
        because = f"<b>{as_html(row['about'])}</b>: {as_html(row['figure'])} is {_shown('value', row)}"
        because += f"; {counted(row['calls'], 'call')}" if row["calls"] else ""
        because += f", worth {_shown('worth_usd', row)}" if row["worth_usd"] is not None else ""
        items.append(f"<li>{as_html(row['advice'], 300)}<p>{because}</p></li>")
    return f'<ol class="advice">{"".join(items)}</ol>'


# -- tables


def _tables(section: Section, rows: int) -> Iterator[str]:
    """The first rows open, the others folded; of more than *rows* it is said how many there are."""
    shown = section.rows[: 4 * rows if section.name == "over_time" else rows]
    first = 0 if section.name == "over_time" and len(shown) > 2 else min(OPEN, len(shown))
    if len(shown) <= first + 2 and first:
        first = len(shown)
    if first:
        yield _table(section, shown[:first])
    if len(shown) > first:
        title = f"{'The other' if first else 'All'} {counted(len(shown) - first, 'row')}"
        yield _folded(title, _table(section, shown[first:]))
    if len(section.rows) > len(shown):
        yield f"<p>The first {len(shown)} of {len(section.rows)} rows; the others are in the CSV files.</p>"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _table(section: Section, rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [name for name in section.columns if name != "unit"]
    right = {name for name in columns if any(_is_number(row[name]) for row in section.rows)}
    head = "".join(
        f'<th scope="col"{" class=n" if name in right else ""}>{as_html(label(name))}</th>' for name in columns
    )
    body = "\n".join(
        f'<tr><th scope="row">{_plain(columns[0], row)}</th>'
        + "".join(_cell(name, row, right=name in right) for name in columns[1:])
        + "</tr>"
        for row in rows
    )
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{as_html(section.title)}"><table><thead><tr>'
            f"{head}</tr></thead>\n<tbody>{body}</tbody></table></div>")  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(name: str, row: Mapping[str, Any], *, right: bool) -> str:
    if name == SERIES:
        return f"<td>{sparkline(_fewer(row[name]))}</td>"
    if right:
        return f"<td class=n>{_shown(name, row)}</td>"
    wide = " class=t" if len(str(row[name])) > 24 else " class=w"
    return f"<td{wide}>{_plain(name, row)}</td>"


def _fewer(values: Sequence[float | None]) -> Sequence[float | None]:
    """Every so-many-th value, so that a line has at most `SPARKS` points."""
    return values[:: max(1, -(-len(values) // SPARKS))]


def _plain(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if value is None:
        return "–"
    if _is_number(value):
        return _shown(name, row)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "at":
        return f'<time datetime="{as_html(value)}">{as_html(value[:19].replace("T", " "))}</time>'
    return as_html(value) or "<i>none</i>"


def _shown(name: str, row: Mapping[str, Any]) -> str:
    """A figure with its unit, and as it is beside that where they differ; a dash for what is unknown."""
    shown = shown_figure(name, row)
    return "–" if shown is None else _data(name, row, shown)


def _data(name: str, row: Mapping[str, Any], shown: str) -> str:
    exact = repr(row[name])
    return shown if shown == exact else f"<data value={exact}>{as_html(shown)}</data>"
