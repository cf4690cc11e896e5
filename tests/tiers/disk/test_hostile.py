"""What lies in the directory may have been put there by anybody: no code of it runs, no file outside is touched.

Each case spoils a sound store; then everything a tier can do is done to it, with eyes on what Python opens and imports.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import struct
import sys
import zlib
from contextlib import closing, suppress
from pathlib import Path

import pytest

from scoutcache.entry import Ref
from scoutcache.errors import CacheError, CorruptEntry
from scoutcache.patterns import Pattern
from scoutcache.tiers.disk.ballast import Ballast

SEEN: list[tuple[str, str]] = []
WATCHED = {"open", "pickle.find_class", "os.system", "os.remove", "os.rmdir", "os.rename"}
watching = False


def _watch(event, arguments):
    if watching and event in WATCHED:
        SEEN.append((event, repr(arguments)))


sys.addaudithook(_watch)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (str(self.path),)


def row(**columns):
    """A statement that adds a row, and its values."""
    usual = {"key": "7:default:evil", "raw": 1, "store_time": 1.0, "access_time": 1.0, "mode": 1, "size": 10}
    columns = usual | {"value": b"x"} | columns
    places = ["CAST(x'373a64656661756c743aff' AS TEXT)" if value is NO_TEXT else "?" for value in columns.values()]
    values = tuple(value for value in columns.values() if value is not NO_TEXT)
    return f"INSERT INTO Cache ({', '.join(columns)}) VALUES ({', '.join(places)})", values


NO_TEXT = object()


ROWS = {
    "pickle-inline": lambda at: row(mode=4, value=pickle.dumps(Bomb(at.marker))),
    "pickle-in-a-file": lambda at: row(mode=4, value=None, filename=str(at.pickled)),
    "binary-file-absolute": lambda at: row(mode=2, value=None, filename=str(at.victim)),
    "binary-file-dotdot": lambda at: row(mode=2, value=None, filename="../victim"),
    "text-file-absolute": lambda at: row(mode=3, value=None, filename=str(at.victim)),
    "text-file-dotdot": lambda at: row(mode=3, value=None, filename="../victim"),
    "file-name-beside-a-value": lambda at: row(filename=str(at.victim)),
    "fifo": lambda at: row(mode=2, value=None, filename=str(at.fifo)),
    "symlink": lambda at: row(mode=2, value=None, filename=str(at.link)),
    "directory": lambda at: row(mode=2, value=None, filename=str(at.victim.parent)),
    "pickled-key": lambda at: row(raw=0, key=pickle.dumps(Bomb(at.marker))),
    "pickled-key-that-is-text": lambda at: row(raw=0),
    "integer-key": lambda at: row(key=1),
    "float-key": lambda at: row(key=1.0),
    "blob-key": lambda at: row(key=b"7:default:evil"),
    "null-key": lambda at: row(key=None),
    "no-value": lambda at: row(value=None),
    "integer-value": lambda at: row(value=7),
    "text-value": lambda at: row(value="text"),
    "json-bomb": lambda at: row(value=zlib.compress(b"0" * (64 << 20)), key=zlib.compress(b'"' * (1 << 20))),
    "tag-of-rubbish": lambda at: row(tag=b"\xc1\xff"),
    "tag-nested-deeply": lambda at: row(tag=b"\x91" * 100_000),
    "tag-of-a-pickle": lambda at: row(tag=pickle.dumps(Bomb(at.marker))),
    "times-of-text": lambda at: row(store_time="later", expire_time="never", access_time="x"),
    "time-of-infinity": lambda at: row(store_time=float("inf"), expire_time=float("inf")),
    "chunks-that-are-none": lambda at: row(access_count=1 << 40),
    "texts-that-are-no-text": lambda at: row(value=NO_TEXT, tag=NO_TEXT),
    "key-that-is-no-text": lambda at: row(key=NO_TEXT),
    "size-below-nothing": lambda at: row(size=-(1 << 60)),
}

STATEMENTS = {
    "chunk-of-nobody": ("INSERT INTO Chunks VALUES (99, 0, x'00'), (1, 5, 'text')", False),
    "trigger-that-empties": ("CREATE TRIGGER t AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END", True),
    "view": ("CREATE VIEW v AS SELECT load_extension('x')", True),
    "table-of-theirs": ("CREATE TABLE theirs (x)", True),
    "column-of-theirs": ("ALTER TABLE Cache ADD COLUMN x DEFAULT (1)", True),
    "index-that-computes": ("CREATE INDEX i ON Cache (hex(value))", True),
    "table-missing": ("DROP TABLE Versions", True),
    "trigger-missing": ("DROP TRIGGER Settings_size_insert", True),
    "setting-get": ("INSERT INTO Settings VALUES ('get', 'x')", True),
    "setting-journal-mode": ("UPDATE Settings SET value = 'off' WHERE key = 'sqlite_journal_mode'", True),
    "setting-mmap": ("UPDATE Settings SET value = 1 << 30 WHERE key = 'sqlite_mmap_size'", True),
    "setting-eviction-policy": ("UPDATE Settings SET value = 'nope' WHERE key = 'eviction_policy'", True),
    "setting-files": ("UPDATE Settings SET value = 0 WHERE key = 'disk_min_file_size'", True),
    "setting-pragma": ("INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)", True),
    "setting-missing": ("DELETE FROM Settings WHERE key = 'cull_limit'", True),
    "setting-of-text": ("UPDATE Settings SET value = 'many' WHERE key = 'count'", True),
    "limit-of-text": ("UPDATE Store SET value = 'all' WHERE name = 'max_bytes'", True),
    "limit-of-nothing": ("UPDATE Store SET value = 0 WHERE name = 'max_bytes'", True),
    "limit-missing": ("DELETE FROM Store", True),
    "no-log": ("PRAGMA journal_mode = delete", True),
    "last-row-number": ("UPDATE Cache SET rowid = 9223372036854775807 WHERE rowid = 1", True),
}


def _link_to_victim(name):
    def spoil(at):
        with suppress(FileNotFoundError):
            (at.folder / name).unlink()
        (at.folder / name).symlink_to(at.victim)

    return spoil


def _fifo(name):
    def spoil(at):
        with suppress(FileNotFoundError):
            (at.folder / name).unlink()
        os.mkfifo(at.folder / name)

    return spoil


def _hard_link(at):
    (at.folder / "cache.db").unlink()
    (at.folder / "cache.db").hardlink_to(at.victim)


def _hot_journal(at):
    # A rollback journal that claims to be one of several: SQLite would delete the file that it names as their head.
    name = str(at.victim).encode()
    magic = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    header = magic + struct.pack(">IIIII", 0, 1, 1, 512, 4096)
    tail = struct.pack(">I", 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    (at.folder / "cache.db-journal").write_bytes(header.ljust(512, b"\0") + tail)


def _directory(at):
    (at.folder / "cache.db").unlink()
    (at.folder / "cache.db").mkdir()
    (at.folder / "cache.db" / "file").write_text("x")


FILES = {
    "database-is-a-link": (_link_to_victim("cache.db"), True),
    "log-is-a-link": (_link_to_victim("cache.db-wal"), True),
    "index-is-a-link": (_link_to_victim("cache.db-shm"), True),
    "lock-is-a-link": (_link_to_victim("disk.lock"), False),
    "ballast-is-a-link": (_link_to_victim("disk.ballast"), False),
    "workshop-is-a-link": (lambda at: (at.folder / ".new-0").symlink_to(at.victim.parent), False),
    "database-is-a-pipe": (_fifo("cache.db"), True),
    "log-is-a-pipe": (_fifo("cache.db-wal"), True),
    "lock-is-a-pipe": (_fifo("disk.lock"), False),
    "database-is-a-directory": (_directory, True),
    "database-has-a-second-name": (_hard_link, True),
    "hot-journal": (_hot_journal, True),
}


class Place:
    """Where a case happens, and what must stay as it is."""

    def __init__(self, folder):
        self.folder = folder
        outside = folder.parent
        self.marker, self.victim = outside / "ran", outside / "kept" / "victim"
        self.pickled = outside / "kept" / "pickled"
        self.victim.parent.mkdir()
        self.victim.write_bytes(b"SQLite format 3\0 not at all" * 100)
        self.pickled.write_bytes(pickle.dumps(Bomb(self.marker)))
        self.fifo, self.link = outside / "kept" / "fifo", outside / "kept" / "link"
        os.mkfifo(self.fifo)
        self.link.symlink_to(self.victim)
        self.before = self.state()

    def state(self):
        return {path: (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_size)
                for path in sorted(self.victim.parent.iterdir())}  # fmt: skip


@pytest.fixture
def at(folder, open_tier, put):
    """A store with three good entries, closed; and the things outside of it."""
    tier = open_tier()
    for key in ("good", "better", "best"):
        put(tier, key, key)
    tier.close()
    return Place(folder)


@pytest.fixture
def use_everything(at, open_tier, put, fake_clock, codec):
    """Open the store and do all there is to do; returns the good entries that were still there."""

    def use():
        global watching
        SEEN.clear()
        watching = True
        try:
            found = _use(open_tier(), put, fake_clock.wall(), codec)
        finally:
            watching = False
        assert not at.marker.exists(), "code ran"
        assert at.state() == at.before, "a file outside was changed or removed"
        touched = [seen for seen in SEEN if seen[0] != "open" and "find_class" in seen[0]]
        opened = [seen for seen in SEEN if seen[0] == "open" and str(at.victim.parent) in seen[1]]
        assert touched == []
        assert opened == []
        return found

    return use


def _use(tier, put, now, codec):
    refs = [Ref("default", key) for key in ("good", "better", "best", "evil")]
    found = set()
    for ref in refs:
        sealed = tier.read(ref, now)
        with suppress(CorruptEntry):
            if sealed is not None:
                found.add(codec.open(ref, sealed).value)
    tier.read_many(refs, now)
    assert len(list(tier.scan(None))) >= len(found)
    list(tier.scan("default", Pattern.parse("*e*")))
    tier.count(None, None, now)
    tier.count("default", Pattern.parse("e*"), now)
    tier.usage()
    tier.maintain(now)
    tier.prune(now, older_than=1e9, max_bytes=1 << 40, dry_run=True)
    tier.verify()
    assert put(tier, "new", "new", start=5) == 1
    put(tier, "evil", "evil", start=5)
    tier.verify(repair=True)
    tier.prune(now)
    assert codec.open(Ref("default", "new"), tier.read(Ref("default", "new"), now)).value == "new"
    tier.remove(refs)
    tier.remove_matching("default", Pattern.parse("e*"))
    tier.clear("default")
    tier.clear(None)
    assert tier.usage().entries == 0
    tier.close()
    return found


@pytest.mark.parametrize("case", ROWS)
def test_a_hostile_row_harms_nothing_and_costs_no_good_entry(case, at, raw_sql, use_everything, warned):
    statement, values = ROWS[case](at)
    raw_sql(statement, values=values)
    assert use_everything() - {"evil"} == {"good", "better", "best"}
    assert warned == []


@pytest.mark.parametrize("case", STATEMENTS)
def test_a_hostile_schema_or_setting_is_set_aside_with_one_warning(case, at, raw_sql, use_everything, warned):
    statement, aside = STATEMENTS[case]
    raw_sql(statement)
    assert use_everything() == (set() if aside else {"good", "better", "best"})
    assert len(warned) == aside
    assert len(list(at.folder.glob("damaged-*.cache.db"))) == aside


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_file_is_neither_followed_nor_obeyed(case, at, use_everything, warned):
    spoil, aside = FILES[case]
    spoil(at)
    assert use_everything() == (set() if aside else {"good", "better", "best"})
    assert len(warned) == aside


def test_a_row_that_claims_more_than_any_entry_has_is_no_memory_bomb(at, raw_sql, use_everything):
    raw_sql("INSERT INTO Cache (key, raw, mode, value) VALUES ('7:default:evil', 1, 1, zeroblob(100000000))")
    assert use_everything() == {"good", "better", "best"}


def test_chunks_that_are_no_bytes_are_no_chunks(at, raw_sql, use_everything):
    raw_sql("UPDATE Cache SET access_count = 1 WHERE rowid = 1", "INSERT INTO Chunks VALUES (1, 0, 'text')")
    assert use_everything() == {"good", "better", "best"}


def test_a_store_is_what_the_reference_says(at):
    """The reference is diskcache's own schema and ours, and was written down by hand."""
    from scoutcache.tiers.disk.schema import difference

    with closing(sqlite3.connect(at.folder / "cache.db")) as con:
        assert difference(con) is None


def test_a_directory_of_another_user_is_refused_with_a_remedy(at, open_tier):
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    os.chown(at.folder, 12345, 12345)
    with pytest.raises(CacheError, match="belongs to user 12345") as caught:
        open_tier()
    assert "--directory" in caught.value.hint
    assert "chown" not in caught.value.hint


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_a_file_that_is_not_the_ballast_is_not_cut_for_its_space(tmp_path, plant):
    victim, directory = tmp_path / "victim", tmp_path / "cache"
    victim.write_bytes(b"x" * 100_000)
    directory.mkdir()
    plant(directory / "disk.ballast", victim)
    assert not Ballast(directory).halve()
    assert victim.stat().st_size == 100_000
