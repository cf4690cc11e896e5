"""Opening a directory: who may, what becomes of a damaged database, and everybody at once."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from scoutcache.entry import Ref
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.tiers.disk.place import foreign_file

FIRST_OPENS = """
import threading, time
from pathlib import Path
from scoutcache.entry import Header, NEVER, Ref, Row
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec

codec, number, failed = Codec(), sys.argv[2], []

def open_and_write(thread):
    try:
        tier = DiskTier(Path(sys.argv[1]), codec, timeout=60.0, warn=failed.append)
        ref = Ref("default", f"{number}:{thread}")
        header = Header(ref=ref, start=1, created=1.0, fresh_until=NEVER, expires=NEVER)
        live, encoded = codec.hold("value")
        if tier.write([Row(header, live, lambda: codec.seal(header, live, encoded))], 1.0) != 1:
            failed.append("not taken")
        if tier.read(header.ref, 1.0) is None:
            failed.append("not found")
        tier.close()
    except BaseException as error:
        failed.append(repr(error))

threads = [threading.Thread(target=open_and_write, args=(n,)) for n in range(12)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failed, flush=True)
"""


def test_144_first_opens_at_once_all_succeed(folder, run_python, open_tier, warned):
    """Twelve processes of twelve threads open a directory that isn't there yet, each with a tier of its own."""
    processes = [run_python(FIRST_OPENS, folder, number) for number in range(12)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.stdout.readline().strip() for process in processes] == ["[]"] * 12
    tier = open_tier()
    assert tier.usage().entries == 144
    assert warned == []


def test_a_file_that_is_removed_while_it_is_looked_at_is_no_foreign_one(disk, put, folder, monkeypatch):
    """The last connection to close takes the log away, at any moment: a file just found may have no name any more."""
    put(disk, "key", "value")
    real = Path.lstat

    def removed_meanwhile(path):
        fields = list(real(path))
        if path.name == "cache.db-shm":
            fields[stat.ST_NLINK] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "lstat", removed_meanwhile)
    assert foreign_file(folder) is None


def test_the_directory_is_closed_to_others_and_so_is_every_file(disk, put, folder):
    put(disk, "key", "value")
    disk.maintain(0.0)
    names = {path.name for path in folder.iterdir()}
    assert {"cache.db", "cache.db-wal", "cache.db-shm", "disk.lock", "disk.ballast"} == names
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_modes_are_the_same_under_any_umask(open_tier, put, folder):
    before = os.umask(0)
    try:
        put(open_tier(), "key", "value")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_cache_that_was_open_to_others_is_closed_to_them(open_tier, put, get, folder):
    tier = open_tier()
    put(tier, "key", "value")
    tier.close()
    folder.chmod(0o777)
    (folder / "cache.db").chmod(0o666)
    assert get(open_tier(), "key") == "value"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "cache.db").stat().st_mode) == 0o600


def test_a_folder_open_to_others_that_holds_other_things_is_refused(open_tier, folder):
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(CacheError, match="holds other files") as caught:
        open_tier()
    assert "chmod 700" in caught.value.hint
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_on_a_file_system_that_is_read_only_no_mode_is_proposed(open_tier, folder, monkeypatch):
    open_tier().close()
    folder.chmod(0o755)

    def chmod(path, mode):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "chmod", chmod)
    monkeypatch.setattr("scoutcache.tiers.disk.place.is_read_only", lambda _: True)
    with pytest.raises(CacheError, match="can't be closed to others: Read-only file system") as caught:
        open_tier()
    assert caught.value.hint == "name another folder; its file system is read-only"


def test_a_path_that_is_a_file_is_refused(open_tier, folder):
    folder.write_text("x")
    with pytest.raises(CacheError, match="not a directory"):
        open_tier()


def test_a_link_to_a_directory_is_followed(open_tier, put, get, folder, tmp_path):
    folder.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(folder)
    put(open_tier(tmp_path / "link"), "key", "value")
    assert get(open_tier(), "key") == "value"


@pytest.mark.parametrize("damage", ["no header", "half", "header only", "page of the schema", "empty"])
def test_a_damaged_database_is_set_aside_with_one_warning(damage, open_tier, put, get, folder, warned):
    tier = open_tier()
    for number in range(300):
        put(tier, f"key:{number}", "x" * 500)
    tier.close()
    path = folder / "cache.db"
    data = path.read_bytes()
    spoiled = {
        "no header": b"not a database" + data[14:],
        "half": data[: len(data) // 2 // 4096 * 4096 + 100],
        "header only": data[:100],
        "page of the schema": data[:100] + b"\xff" * 3996 + data[4096:],
        "empty": b"",
    }[damage]
    path.write_bytes(spoiled)
    tier = open_tier()
    assert get(tier, "key:1") == "absent"
    assert put(tier, "key:1", "new") == 1
    assert get(tier, "key:1") == "new"
    (aside,) = folder.glob("damaged-*.cache.db")
    assert aside.read_bytes() == spoiled
    assert len(warned) == 1
    assert aside.name in warned[0]
    tier.close()
    open_tier()
    assert len(warned) == 1


def test_damage_met_while_reading_is_a_tier_away_once_and_then_a_new_database(
    open_tier, fill_and_damage, put, get, warned
):
    fill_and_damage()
    tier = open_tier()
    with pytest.raises(TierUnavailable, match="damaged"):
        [get(tier, f"key:{number}") for number in range(300)]
    assert get(tier, "key:1") == "absent"
    assert put(tier, "key:1", "new") == 1
    assert get(tier, "key:1") == "new"
    assert len(warned) == 1


def test_only_the_two_newest_of_what_was_set_aside_are_kept(open_tier, folder, fake_clock):
    for _ in range(4):
        fake_clock.advance(60)
        open_tier().close()
        (folder / "cache.db").write_bytes(b"rubbish" * 1000)
    open_tier()
    assert len(list(folder.glob("damaged-*.cache.db"))) == 2


def test_the_limit_of_the_store_wins_and_the_difference_is_told(open_tier):
    open_tier(max_bytes=5_000_000).close()
    tier = open_tier(max_bytes=7_000_000)
    assert tier.usage().max_bytes == 5_000_000
    (difference,) = tier.differences
    assert "5000000" in difference
    assert "7000000" in difference
    tier.change_limit(7_000_000)
    assert tier.differences == []
    tier.close()
    assert open_tier(max_bytes=7_000_000).differences == []


def test_a_limit_that_another_process_changed_is_kept_to_after_the_next_turn(open_tier):
    tier, other = open_tier(max_bytes=5_000_000), open_tier(max_bytes=7_000_000)
    other.change_limit(7_000_000)
    assert tier.usage().max_bytes == 5_000_000
    tier.maintain(0.0)
    assert tier.usage().max_bytes == 7_000_000
    (difference,) = tier.differences
    assert "7000000" in difference


def test_a_store_of_a_later_format_is_left_alone(open_tier, raw_sql, warned, folder):
    open_tier().close()
    raw_sql("UPDATE Store SET value = 2 WHERE name = 'format'")
    tier = open_tier()
    with pytest.raises(TierUnavailable, match="format 2") as caught:
        tier.read(Ref("default", "key"), 0.0)
    assert "upgrade" in caught.value.hint
    assert list(folder.glob("damaged-*")) == []


def test_a_directory_removed_under_a_live_tier_is_noticed_and_opened_anew(open_tier, put, get, folder):
    tier, other = open_tier(), open_tier()
    put(tier, "key", "value")
    shutil.rmtree(folder)
    tier.maintain(0.0)
    other.maintain(0.0)
    assert put(tier, "key", "new") == 1
    assert get(other, "key") == "new"


def test_a_directory_replaced_under_a_live_tier_is_noticed_and_opened_anew(open_tier, put, get, folder, tmp_path):
    tier = open_tier()
    put(tier, "key", "old")
    replacement = open_tier(tmp_path / "other")
    put(replacement, "key", "new")
    replacement.close()
    folder.rename(tmp_path / "gone")
    (tmp_path / "other").rename(folder)
    tier.maintain(0.0)
    assert get(tier, "key") == "new"


def test_closing_twice_is_fine_and_a_closed_tier_says_so(disk, put):
    put(disk, "key", "value")
    disk.close()
    disk.close()
    with pytest.raises(TierUnavailable, match="closed"):
        disk.read(Ref("default", "key"), 0.0)


def test_opening_a_sound_store_writes_nothing(open_tier, put, get, folder):
    tier = open_tier()
    put(tier, "key", "value")
    tier.close()
    before = (folder / "cache.db").read_bytes()
    assert get(open_tier(), "key") == "value"
    assert (folder / "cache.db").read_bytes() == before
    assert (folder / "cache.db-wal").stat().st_size == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system doesn't list open files")
def test_connections_of_ended_threads_are_closed(disk, put, get, folder):
    put(disk, "key", "value")
    for _ in range(30):
        thread = threading.Thread(target=get, args=(disk, "key"))
        thread.start()
        thread.join()
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert sum(os.readlink(path) == str(folder / "cache.db") for path in links) <= 3


def test_closing_while_other_threads_read_harms_nobody(open_tier, put, get):
    """They get the value or hear that it is closed."""
    tier, outcomes, started = open_tier(), [], threading.Barrier(5)
    put(tier, "key", "value")

    def read():
        started.wait()
        try:
            for _ in range(2000):
                assert get(tier, "key") == "value"
            outcomes.append("all")
        except TierUnavailable as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    tier.close()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert set(outcomes) <= {"all", "it is closed"}


def test_what_is_opened_anew_while_it_is_closed_is_closed_as_well(disk, monkeypatch):
    database = disk._database
    database._let_go(database._cache)
    opening, opened = database.store.open, []

    def open_and_be_closed(failed):
        opened.append(opening(failed))
        database.close()
        return opened[0]

    monkeypatch.setattr(database.store, "open", open_and_be_closed)
    with pytest.raises(TierUnavailable, match="closed"):
        disk.usage()
    assert opened[0].shut
    assert database._cache is None
