"""Reading the operation log: every process's files, sealed or not, whatever a crash or another program left among them.

Rule 1: a line that is torn, too long or no record of ours is skipped and counted; it never ends the reading.
Rule 2: a file that isn't ours, is damaged, or can't be read by this installation is skipped whole and counted.
Rule 3: which of several forms of a file counts, `scoutcache.oplog.filing` knows.
Rule 4: text comes out as it went in.  Whoever shows it makes it safe (`scoutcache.insight.shown`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from scoutcache.errors import ConfigError
from scoutcache.oplog.columns import Signature, can_parquet, first_line, lines_of, open_sealed
from scoutcache.oplog.filing import FOLDER, LINES, PARQUET, LogFile, find_files, name_of, present_form
from scoutcache.oplog.reading import LAST_TIME, LineFile, Problems, is_possible, open_lines, single
from scoutcache.oplog.records import AHEAD, REQUESTS, Line
from scoutcache.settings.folders import holds_cache
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Operations", "SealedFile", "end_of", "files_in", "files_of", "in_order", "micros", "read_operations"]

_INVALIDATION: Final = b'"op":"invalidate"'


@dataclass
class Operations:
    """The operations since *since* (seconds since the epoch), file by file; iterate to read them.

    What is dated after *until* is left out, and said in `Problems.ahead`.  *directory* is a cache's.  The counts are
    complete when the iteration is.
    """

    directory: Path
    since: float | None = None
    keys: frozenset[str] | None = None
    """When given, only records of these keys and invalidations are given."""
    files: Sequence[LogFile] | None = None
    """The files to read, in place of the directory's."""
    problems: Problems = field(default_factory=Problems)
    left_out: Counter[str] = field(default_factory=Counter)
    """What the writers left out, by reason."""
    until: float | None = None
    rates: set[float | None] = field(default_factory=set)
    """The shares of keys that the writers of the records given (not of tables) kept; None: one didn't say."""

    @property
    def skipped_lines(self) -> int:
        """How many lines were no records."""
        return self.problems.lines

    @property
    def skipped_files(self) -> int:
        """How many files were not read."""
        return self.problems.files

    def begin(self) -> list[LogFile]:
        """Forget what an earlier reading counted, and list the files to read, the oldest first."""
        self.problems, self.left_out, self.rates = Problems(), Counter(), set()
        return list(find_files(self.directory / FOLDER, self.since) if self.files is None else self.files)

    def __iter__(self) -> Iterator[Line]:
        for file in self.begin():
            yield from self.of_file(file)

    def of_file(self, file: LogFile) -> Iterator[Line]:
        """The operations of one file."""
        opened = self.open(file)
        if isinstance(opened, SealedFile):
            with opened:
                yield from opened.lines()
        elif opened is not None:
            yield from self.of_lines(opened)

    def open(self, file: LogFile) -> SealedFile | Path | None:
        """*file* as it is by now: a sealed one opened, or where its lines lie; None when it is gone, or skipped."""
        for _ in range(3):  # sealed, and sealed again where pyarrow was installed meanwhile
            path = present_form(file)
            if path is None:
                return None
            if not path.name.endswith(PARQUET):
                return path
            try:
                return SealedFile.open(path, self)
            except FileNotFoundError:
                continue
        return None

    def of_lines(self, path: Path) -> Iterator[Line]:
        """The operations of a file of lines."""
        needles = () if self.keys is None else (*map(msgspec.json.encode, self.keys), _INVALIDATION)
        try:
            with open_lines(path) as stream:
                lines = LineFile(stream, path, self.problems, needles)
                for line in lines:
                    if self.takes(line):
                        self.rates.add(None if lines.writer is None else lines.writer.sample_rate)
                        if lines.signed(line).more_ns is not None:
                            yield from single(line)
                        else:
                            yield line
        except FileNotFoundError:  # sealed or trimmed meanwhile
            named = name_of(path)
            if named is not None and named[1] == LINES:
                yield from self.of_file(LogFile(path.parent, *named, 0.0, 0))

    def takes(self, line: Line) -> bool:
        """Is *line* an operation that is asked for?  What the writers left out is counted."""
        if line.op == "left_out":
            self.left_out[line.reason or "unknown"] += line.count or 0
            return False
        if self.until is not None and line.time > self.until:
            self.problems.dated(line.time)
            return False
        return (self.since is None or line.time >= self.since) and (
            self.keys is None or line.key in self.keys or line.op == "invalidate"
        )


class SealedFile:
    """A sealed file that is being read for *operations*; close it."""

    def __init__(self, path: Path, file: pq.ParquetFile, signature: Signature, operations: Operations) -> None:
        self.path, self.signature, self.operations, self._file = path, signature, operations, file
        for left in signature.left_out:
            operations.left_out[left.reason] += left.count
        if signature.skipped:
            operations.problems.of_lines(path, signature.skipped, f"no record in {counted(signature.skipped, 'line')}")

    @classmethod
    def open(cls, path: Path, operations: Operations) -> SealedFile | None:
        """The file at *path*; None when it is skipped (Rule 2).  Raises FileNotFoundError."""
        if not can_parquet():
            what = "sealed in Parquet, and pyarrow is not installed: pip install 'scoutcache[parquet]'"
            operations.problems.of_file(path, what)
            return None
        found = open_sealed(path)
        if isinstance(found, str):
            operations.problems.of_file(path, found)
            return None
        return cls(path, *found, operations)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._file.metadata.num_rows)

    def lines(self) -> Iterator[Line]:
        """The operations asked for."""
        for table in self.tables():
            yield from self.lines_in(table)

    def lines_in(self, table: pa.Table) -> Iterator[Line]:
        """Rows of the file as lines; it may be closed by then."""
        rate = self.signature.sample_rate
        if table.num_rows:
            self.operations.rates.add(rate if rate is not None and 0 <= rate <= 1 else None)
        for line in lines_of(table):
            if not is_possible(line):
                self.operations.problems.of_lines(self.path, 1, "a row with impossible figures")
                continue
            if line.op in REQUESTS:
                line.user = line.pid = line.command = None
            yield line

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows asked for, by row group; *columns* None gives all of them.  A damaged group is skipped and told."""
        import pyarrow as pa

        groups = self._file.metadata.num_row_groups
        for group in range(groups):
            try:
                table = self._group(group, columns)
                table.validate(full=True)  # a file of before checksums may hold anything
            except (pa.ArrowException, OSError, ValueError) as error:
                what = f"damaged in part {group + 1} of {groups}: {first_line(error)}"
                self.operations.problems.of_file(self.path, what)
                return
            yield table

    def _group(self, group: int, columns: Sequence[str] | None) -> pa.Table:
        import pyarrow.compute as pc

        operations, names = self.operations, self._file.schema_arrow.names
        wanted = [name for name in names if columns is None or name in columns]
        if operations.keys is not None:
            table = self._concerning(group, wanted)
        else:
            table = self._file.read_row_group(group, columns=wanted)
        if operations.since is not None and table.num_rows:
            table = table.filter(pc.greater_equal(micros(table), _whole_micros(operations.since)))
        return self._until(table, operations.until) if operations.until is not None and table.num_rows else table

    def _until(self, table: pa.Table, until: float) -> pa.Table:
        """The rows up to *until*; those dated later are said, but for times that can't be, which are told as such."""
        import pyarrow.compute as pc

        times, last = micros(table), _whole_micros(until)
        latest = pc.max(times).as_py()
        if latest is None or latest <= last:
            return table
        late = pc.and_(pc.greater(times, last), pc.less_equal(times, _whole_micros(LAST_TIME)))
        if (latest := pc.max(times.filter(late)).as_py()) is not None:
            self.operations.problems.dated(latest / 1e6)
        return table.filter(pc.invert(pc.fill_null(late, False)))

    def _concerning(self, group: int, wanted: Sequence[str]) -> pa.Table:
        """The rows of a group that are of the keys that are asked for, or invalidations."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = pa.array(sorted(self.operations.keys or ()), pa.string())
        named = [name for name in ("op", "key") if name in self._file.schema_arrow.names]
        few = self._file.read_row_group(group, columns=named)
        mask = _holds(few.column("op"), pa.array(["invalidate"]))
        if "key" in named:
            mask = pc.or_(_holds(few.column("key"), keys), mask)
        if not pc.any(mask).as_py():
            return self._file.schema_arrow.empty_table()
        others = self._file.read_row_group(group, columns=[name for name in wanted if name not in named])
        for name in named:  # which take longest to read: not again
            others = others.append_column(name, few.column(name))
        return others.filter(mask)


def micros(table: pa.Table) -> pa.ChunkedArray:
    """The times of rows in microseconds since the epoch."""
    import pyarrow as pa

    return table.column("time").cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())


def _whole_micros(seconds: float) -> int:
    return round(min(max(seconds, 0.0), LAST_TIME) * 1e6)


def _holds(column: pa.ChunkedArray, values: pa.Array) -> pa.ChunkedArray:
    """Which cells of a dictionary-encoded column are one of *values*: the dictionary is asked, not every row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            found = pc.take(pc.is_in(chunk.dictionary, values), chunk.indices)
            chunks.append(pc.fill_null(found, False))
        else:
            chunks.append(pc.is_in(chunk, values))
    return pa.chunked_array(chunks, pa.bool_())


def read_operations(directory: Path, since: float | None = None, until: float | None = None) -> Operations:
    """The operations in the log since *since* (seconds since the epoch), not sorted; an empty log gives none.

    What is dated after *until* is left out.
    """
    return Operations(directory, since, until=until)


def end_of(since: float | None, now: float) -> float | None:
    """Up to when operations count in a time that begins with *since* and ends *now*; None: all do."""
    return None if since is None else now + AHEAD


def in_order(lines: Iterable[Line], namespace: str | None = None) -> list[Line]:
    """The lines of the log (of *namespace*) in the order of time."""
    return sorted((line for line in lines if namespace in {None, line.namespace}), key=lambda line: line.time)


def files_of(paths: Sequence[Path]) -> list[LogFile]:
    """Files and folders of a log as the user named them: what a folder holds, each file by itself.

    Raises `ConfigError` naming what isn't there, is no file of a log by its name, or holds none and is no cache's.
    """
    found: list[LogFile] = []
    for path in paths:
        if path.is_dir():
            found += files_in(path)
            continue
        named = name_of(path)
        if not path.exists():
            raise ConfigError(f"{str(path)!r} is not there", hint="give a file of the log, or the cache's directory")
        if named is None:
            raise ConfigError(f"{str(path)!r} is no file of the log by its name",
                              hint="those end in .jsonl, .jsonl.zst or .parquet")  # fmt: skip
        status = path.stat()
        found.append(LogFile(path.parent, *named, status.st_mtime, status.st_size))
    return found


def files_in(path: Path) -> list[LogFile]:
    """The files of the log of a cache's directory, where there may be none yet, or of any folder of such files.

    Raises `ConfigError` where it is neither.
    """
    inner = path / FOLDER
    files = find_files(inner if inner.is_dir() else path)
    if not files and not inner.is_dir() and not holds_cache(path):
        raise ConfigError(f"{path} holds no files of a log", hint="those end in .jsonl, .jsonl.zst or .parquet; "
                          "name such a file, their folder, or a cache's directory")  # fmt: skip
    return files
