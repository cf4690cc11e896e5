from __future__ import annotations

import csv
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scoutcache.insight.export import report_csv, report_html
from scoutcache.insight.report import Report, build_report
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
        recorder.evicted(text, text, text, 10, "disk")
    recorder.close({})
    return build_report(directory, by="tag", now=fake_clock.wall())


class Page(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "div", "table", "thead", "tbody",
    "tr", "th", "td", "svg", "line", "text", "polyline", "circle",
}  # fmt: skip


def test_no_text_of_the_log_becomes_markup(report: Report) -> None:
    page = Page(report_html(report))
    assert page.tags <= ALLOWED
    assert not {name for name in page.attributes if name.startswith("on") or name in {"src", "href"}}


def test_the_page_needs_nothing_else_and_holds_no_control_codes(report: Report) -> None:
    text = report_html(report)
    assert not re.search(r"https?://|@import|url\(", text)
    assert all(one.isprintable() or one == "\n" for one in text)
    assert "prefers-color-scheme:dark" in text
    text.encode()


def test_the_page_shows_the_numbers_of_the_report(report: Report, hostile: tuple[str, ...]) -> None:
    text = report_html(report)
    assert all(section.title in text for section in report.sections)
    assert f'<td>requests</td><td class="n">{2 * len(hostile)}</td>' in text
    assert "50.0%" in text


def test_the_largest_report_there_can_be_stays_under_300_kB(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for number in range(600):
        key = f"{'<' * 100}{number}:{'&' * 3000}"
        say("compute", "miss", key, namespace=f"n{'&' * 100}{number}", reason=f"{'<' * 200}{number}", factory_s=1.0)
        say("set", "stored", key, namespace=f"n{'&' * 100}{number}", size=10)
        recorder.evicted("n", key, f"{'<' * 200}{number}", 10, "disk")
        fake_clock.advance(59)
    recorder.close({})
    text = report_html(build_report(directory, now=fake_clock.wall()))
    assert len(text.encode()) < 300_000


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
            for cell, value in zip(row, original.values(), strict=True):
                assert not isinstance(value, str) or cell in {printable(value), f"'{printable(value)}"}
                assert not isinstance(value, str) or not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
                assert cell.isprintable()


def test_a_link_to_a_section_is_followed(report: Report, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").symlink_to("elsewhere")
    report_csv(report, tmp_path)
    assert (tmp_path / "summary.csv").is_symlink()
    assert (tmp_path / "elsewhere").read_text().startswith("requests")
