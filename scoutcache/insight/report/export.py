"""A report as files: one HTML page (`scoutcache.insight.report.page`), or a folder of CSV files.

All text from outside goes through `scoutcache.insight.shown`.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from scoutcache.insight.report.page import report_html
from scoutcache.insight.report.sections import Report
from scoutcache.insight.shown import as_cell
from scoutcache.oplog.files import make_folder, put

__all__ = ["report_csv", "report_html"]


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
        writer.writerows([_cell(row[name]) for name in section.columns] for row in section.rows)
        path = directory / f"{section.name}.csv"
        put(path, out.getvalue().encode("utf-8"))
        written.append(path)
    return written


def _cell(value: Any) -> Any:
    """A series is a list as JSON writes it."""
    return json.dumps(value) if isinstance(value, list) else as_cell(value)
