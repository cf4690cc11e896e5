from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scoutcache.insight.report.export import report_csv, report_html
from scoutcache.insight.report.page import LARGEST
from scoutcache.insight.report.report import Report, build_report
from scoutcache.insight.report.sections import SERIES
from scoutcache.insight.shown import printable
from scoutcache.oplog.recorder import Recorder

Say = Callable[..., None]


@pytest.fixture
def report(recorder: Recorder, say: Say, directory: Path, fake_clock: Any, hostile: tuple[str, ...]) -> Report:
    """A log whose keys, namespaces, reasons, errors and tags mean harm."""
    for text in hostile:
        say("compute", "miss", f"{text}:1", namespace=text, reason=text, factory_s=1.0, error=text, tags=(text,))
        say("set", "stored", f"{text}:1", namespace=text, size=10)
        say("get", "hit", f"{text}:1", namespace=text, tier="disk")
        say("compute", "hit", f"{text}:1", namespace=text, reason="joined")
        recorder.evicted(text, text, text, 10, "disk")
        for _ in range(3):
            say("invalidate", "invalidated", text, namespace=text, reason=text)
        say("get", "hit", f"{text}:1", namespace=text, tier=text.encode("utf-8", "replace").decode())
    recorder.close({})
    return build_report(directory, by="tag", now=fake_clock.wall())


class Page(HTMLParser):
    """The tags and attributes of a page, and of each section the cells of its tables as numbers or texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[tuple[str, str | None]] = set()
        self.rows: dict[str, list[list[Any]]] = {}
        self._section = ""
        self._cell: list[Any] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= set(attrs)
        found = dict(attrs)
        if tag == "section":
            self._section = str(found["id"])
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        elif tag in {"td", "th"}:
            self._cell = []
        elif tag == "data" and self._cell is not None:
            self._cell.append(float(str(found["value"])))

    def handle_data(self, data: str) -> None:
        if self._cell is not None and not (self._cell and isinstance(self._cell[0], float)):
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"} and self._cell is not None:
            exact = self._cell and isinstance(self._cell[0], float)
            self.rows[self._section][-1].append(self._cell[0] if exact else "".join(map(str, self._cell)))
            self._cell = None


ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "nav", "ul", "main", "footer", "h1", "h2", "p", "br",
    "b", "section", "div", "table", "thead", "tbody", "tr", "th", "td", "svg", "text", "path", "circle", "rect", "desc",
    "a", "li", "ol", "dl", "dt", "dd", "figure", "figcaption", "details", "summary", "data", "time", "i",
}  # fmt: skip


def test_no_text_of_the_log_becomes_markup(report: Report) -> None:
    page = Page(report_html(report))
    assert set(page.tags) <= ALLOWED
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on") or name in {"src", "style", "action"}}
    assert all(str(value).startswith("#") for name, value in page.attributes if name == "href")


def test_the_page_needs_nothing_else_and_holds_no_control_codes(report: Report) -> None:
    text = report_html(report)
    assert not re.search(r"https?://|@import|url\(", text)
    assert all(one.isprintable() or one == "\n" for one in text)
    assert "prefers-color-scheme:dark" in text
    text.encode()


def test_the_page_is_read_aloud_with_its_pictures_and_tables(report: Report) -> None:
    text = report_html(report)
    page = Page(text)
    pictures = page.tags.count("svg")
    assert text.count('role="img"') == pictures > 3
    assert text.count("<title ") == text.count("<desc ") == page.tags.count("figure") > 1
    assert not re.search(r"<th(?! scope=)[ >]", text)
    assert re.search(r'<html lang="en">', text)


def test_text_has_contrast_enough_on_light_and_dark_pages(report: Report) -> None:
    style = re.search(r"<style>(.*?)</style>", report_html(report), re.DOTALL)
    assert style is not None
    light, dark = re.findall(r":root\{(--ink.*?)\}", style[1], re.DOTALL)
    for theme in (light, dark):
        colours = dict(re.findall(r"--(\w+):(#\w{6})", theme))
        for front in ("ink", "soft", "a", "c"):
            assert contrast(colours[front], colours["back"]) >= 4.5, (front, theme)
            assert contrast(colours[front], colours["card"]) >= 4.5 or front not in {"ink", "soft"}
        for bar in "abcde":
            assert contrast(colours[bar], colours["back"]) >= 3.0


def contrast(front: str, back: str) -> float:
    """The contrast of two colours, as WCAG 2 defines it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((light(front), light(back)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_page_csv_and_json_show_the_same_numbers(report: Report, tmp_path: Path) -> None:
    page = Page(report_html(report))
    files = {path.stem: path for path in report_csv(report, tmp_path)}
    as_json = json.loads(json.dumps(report.as_dict()))
    for section in report.sections:
        with files[section.name].open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert as_json[section.name] == section.rows
        for row, original in zip(rows, section.rows, strict=True):
            for name, value in original.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    assert float(row[name]) == value
                elif isinstance(value, list):
                    assert json.loads(row[name]) == value
        if section.name not in {"summary", "recommendations"} and section.rows:
            shown = [row for row in page.rows[section.name] if row and row[0] != heading(section.columns[0])]
            columns = [name for name in section.columns if name != "unit"]
            for cells, original in zip(shown, section.rows, strict=False):
                for cell, name in zip(cells, columns, strict=True):
                    value = original[name]
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        assert float(cell) == value, (section.name, name)
                    assert value is not None or cell == "–"


def heading(name: str) -> str:
    from scoutcache.insight.units import label

    return label(name)


def test_the_sum_is_in_the_page_figure_by_figure(report: Report) -> None:
    rows = dict(row for row in Page(report_html(report)).rows["summary"] if len(row) == 2)
    (figures,) = report.section("summary").rows
    for name, value in figures.items():
        shown = rows[name.replace("_", " ")]
        assert shown == "–" if value is None else float(shown) == value, name


@pytest.mark.parametrize("keys", [600])
def test_the_largest_report_there_can_be_stays_under_300_kB(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any, keys: int
) -> None:
    for number in range(keys):
        key = f"{'<' * 100}{number}:{'&' * 3000}"
        space = f"n{'&' * 100}{number}"
        say("compute", "miss", key, namespace=space, reason=f"{'<' * 200}{number}", factory_s=1.0, tags=(key[:90],))
        say("set", "stored", key, namespace=space, size=10, tags=(key[:90],))
        say("compute", "hit", key, namespace=space, reason="joined")
        recorder.evicted("n", key, f"{'<' * 200}{number}", 10, "disk")
        fake_clock.advance(59)
    recorder.close({})
    found = build_report(directory, by="tag", now=fake_clock.wall())
    text = report_html(found)
    assert len(text.encode()) < LARGEST == 300_000
    assert text.count("<section") == sum(bool(section.rows) for section in found.sections)


def test_an_empty_report_is_a_page_that_says_so(directory: Path, tmp_path: Path) -> None:
    found = build_report(directory, now=1.8e9)
    assert "Nothing was recorded" in report_html(found)
    assert len(report_csv(found, tmp_path / "csv")) == len(found.sections)


def test_csv_files_hold_the_rows_of_the_report_and_no_formula(report: Report, tmp_path: Path) -> None:
    files = report_csv(report, tmp_path / "deep" / "csv")
    assert [path.stem for path in files] == [section.name for section in report.sections]
    for path, section in zip(files, report.sections, strict=True):
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = list(csv.reader(file))
        assert tuple(head) == section.columns
        assert len(rows) == len(section.rows)
        for row, original in zip(rows, section.rows, strict=True):
            for cell, (name, value) in zip(row, original.items(), strict=True):
                assert not isinstance(value, str) or cell in {printable(value), f"'{printable(value)}"}
                assert not isinstance(value, str) or not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
                assert cell.isprintable()
                assert name != SERIES or cell.startswith("[")


def test_a_link_to_a_section_is_followed(report: Report, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").symlink_to("elsewhere")
    report_csv(report, tmp_path)
    assert (tmp_path / "summary.csv").is_symlink()
    assert (tmp_path / "elsewhere").read_text().startswith("requests")
