"""Labelled pairs, read for ``semantic label`` and ``semantic calibrate``, and measured for the latter.

Rule: a line that is no pair costs a label only itself, for the same file again changes nothing.  Nothing is measured
without it: a rate of a part would pass for one of the whole.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.cli.errors import CommandError, Usage
from scoutcache.cli.printing.streams import file_named, shown_name
from scoutcache.cli.semantic_options import check_asked, embedding
from scoutcache.meaning.calibration import Pair, Point, curve, lowest_for, measure
from scoutcache.meaning.gates import closed_by
from scoutcache.meaning.presets import chosen, lifted
from scoutcache.wording.os_errors import reason_of

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.semantic.embedding import Encoding

__all__ = ["Calibrated", "Labelled", "calibrated", "chart", "read_pairs"]

_SAME: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Calibrated(NamedTuple):
    """What was measured: at the chosen threshold (None: no such), and at all of them."""

    pairs: list[Pair]
    model: str
    preset: str
    gates: tuple[str, ...]
    point: Point | None
    curve: list[Point]

    def as_dict(self, wanted_precision: float | None) -> dict[str, Any]:
        """All of it as data; the rates at the chosen threshold are unknown where there is none."""
        return {
            "pairs": len(self.pairs), "same": sum(one.same for one in self.pairs), "model": self.model,
            "preset": self.preset, "gates": list(self.gates), "wanted_precision": wanted_precision,
            **(dict.fromkeys(Point._fields) if self.point is None else self.point._asdict()),
            "curve": [one._asdict() for one in self.curve],
        }  # fmt: skip


def calibrated(
    session: Session, file: Path, preset: str | None, threshold: float | None, precision: float | None, *, gates: bool,
    without: Collection[str] = (),
) -> Calibrated:  # fmt: skip
    """Measure the pairs in *file*, by *preset* or the configured one.

    Raises `CommandError` for a file that can't be read.
    """
    from scoutcache.semantic.embedding import Encoding, similarity_of
    from scoutcache.semantic.models import load_embedder

    if threshold is not None and precision is not None:
        raise Usage("--threshold and --precision can't be used together")
    check_asked(threshold, without)
    rows, bad = read_pairs(file)
    if bad:
        raise CommandError(f"{'; '.join(bad[:_NAMED])}{f' (and {len(bad) - _NAMED} more)' if bad[_NAMED:] else ''}",
                           hint="nothing was measured, because rates of a part would mislead: "
                                "correct these lines, or remove them")  # fmt: skip
    encoding = Encoding(lambda: load_embedder(session.config.semantic.model, session.place))
    with embedding(session):
        name = encoding.name
    vectors = _embedded(session, encoding, {text for one, other, _ in rows for text in (one, other)})
    config, name_of_preset = session.config.semantic, preset or session.config.semantic.preset
    configured = config.gates if preset is None else None
    said = chosen(name_of_preset, config.threshold, configured, {*config.without_gates, *without})
    asked = said.gates if gates else ()
    pairs = [
        Pair(lifted(one, other, similarity_of(vectors[one], vectors[other])), same, not closed_by(one, other, asked))
        for one, other, same in rows
    ]
    points = curve(pairs)
    if precision is not None:
        point = lowest_for(points, precision)
    else:
        point = measure(pairs, said.threshold if threshold is None else threshold)
    return Calibrated(pairs, name, name_of_preset, asked, point, points)


def _embedded(session: Session, encoding: Encoding, texts: Collection[str]) -> dict[str, Any]:
    """The vector of each text."""
    ordered = sorted(texts, key=len)  # alike in length: less padding
    vectors: dict[str, Any] = {}
    for at in range(0, len(ordered), _BATCH):
        session.progress("embedding", at, len(ordered))
        part = ordered[at : at + _BATCH]
        vectors.update(zip(part, encoding.many(part), strict=True))
    session.progress_done()
    return vectors


_BATCH: Final = 256
_NAMED: Final = 20
"""Bad lines that an error names."""


class Labelled(NamedTuple):
    """What a file holds: two queries and whether one answer serves both, of each row; and the lines that don't say."""

    rows: list[tuple[str, str, bool]]
    bad: list[str]


def read_pairs(file: Path) -> Labelled:
    """The pairs of *file*.  Raises `CommandError` where it holds none at all, or can't be read."""
    found = Labelled([], [])
    for row in _rows(file_named(file, "PAIRS.csv", ".csv")):
        if isinstance(row, str):
            found.bad.append(row)
        else:
            found.rows.append(row)
    if not found.rows and not found.bad:
        named = shown_name(str(file))
        raise CommandError(f"{named} holds no pairs", hint="expected rows below the header query,other,same")
    return found


def _rows(file: Path) -> Iterator[tuple[str, str, bool] | str]:
    """Each row, or where it is none what is wrong with it, in words that name the line."""
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    lacking = {"query", "other", "same"} - set(reader.fieldnames or ())
    if lacking:
        raise CommandError(f"{file} has no column {', '.join(sorted(lacking))}",
                           hint="expected a CSV file with the header query,other,same")  # fmt: skip
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield f"{file}, line {reader.reader.line_num}: {error}"
            continue
        if row is None:
            return
        same = _SAME.get((row["same"] or "").strip().lower())
        if same is None or not (row["query"] or "").strip() or not (row["other"] or "").strip():
            yield f"{file}, line {reader.line_num}: expected two texts, and 1 or 0 under same"
        else:
            yield row["query"], row["other"], same


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise Usage(f"no such file: {file}") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read: {reason_of(error)}",
                           hint="expected CSV in UTF-8, as it is or gzipped") from error  # fmt: skip


_WIDTH: Final = 32


def chart(session: Session, points: Sequence[Point], chosen: Point | None) -> None:
    """Precision and recall by threshold, as bars; the chosen one is marked."""
    session.out.line(f"{'threshold':>9}  {'precision':<{_WIDTH + 6}}{'recall':<{_WIDTH + 6}}false hits")
    for point in points[:: max(1, len(points) // 26)]:
        mark = "→" if chosen is not None and abs(point.threshold - chosen.threshold) < 0.005 else " "
        cells = [f"{_bar(rate)} {_short(rate):<5}" for rate in (point.precision, point.recall)]
        line = f"{mark}{point.threshold:>8.2f}  {'  '.join(cells)}  {_short(point.false_hit_rate)}"
        session.out.line(line.rstrip())
    session.out.line("")


def _bar(rate: float | None) -> str:
    eighths = round((rate or 0.0) * _WIDTH * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(_WIDTH)


def _short(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.3f}"
