"""diskcache's own methods, over our disk and our connections, take and give nothing but text keys and bytes."""

from __future__ import annotations

import io
import threading

import pytest

from scoutcache.entry import Ref
from scoutcache.tiers.disk.safe import Link, RawDisk


@pytest.fixture
def cache(disk, put):
    """diskcache's view of a tier that holds one entry."""
    put(disk, "key", "value")
    return disk._database.link().owner


@pytest.mark.parametrize("key", [b"bytes", 1, 1.5, None, ("a",), object()])
def test_a_key_that_is_no_text_is_refused(cache, key):
    with pytest.raises(ValueError, match="no such thing"):
        cache.set(key, b"value")


@pytest.mark.parametrize("value", ["text", 1, None, {"a": 1}, bytearray(b"x")])
def test_a_value_that_is_no_bytes_is_refused(cache, value):
    with pytest.raises(ValueError, match="no such thing"):
        cache.set("key", value)


def test_a_stream_is_refused(cache):
    with pytest.raises(ValueError, match="no such thing"):
        cache.set("key", io.BytesIO(b"x"), read=True)


@pytest.mark.parametrize("columns", [(4, None, b"x"), (2, "a/b.val", None), (1, "a/b.val", b"x"), (1, None, "text"),
                                     (3, None, b"x"), (None, None, None)])  # fmt: skip
def test_a_row_of_another_kind_is_refused(columns):
    with pytest.raises(ValueError, match="no such thing"):
        RawDisk("/nowhere").fetch(*columns, False)


@pytest.mark.parametrize(("key", "raw"), [(b"x", 1), ("x", 0), (b"x", 0), (1, 1), ("x", None)])
def test_a_key_of_another_kind_is_refused(key, raw):
    with pytest.raises(ValueError, match="no such thing"):
        RawDisk("/nowhere").get(key, raw)


def test_no_file_is_named_or_removed():
    disk = RawDisk("/nowhere")
    assert disk.remove(None) is None
    for work in (disk.filename, lambda: disk.remove("a/b.val")):
        with pytest.raises(ValueError, match="no such thing"):
            work()


def test_diskcache_itself_reads_what_the_tier_wrote(cache, disk, get):
    """The rows are diskcache's: its own methods work on them."""
    assert len(cache) == 1
    (key,) = list(cache)
    assert key == "7:default:key"
    assert cache.get(key) == disk.read(Ref("default", "key"), 0.0).head
    assert cache.delete(key)
    assert get(disk, "key") == "absent"


def test_a_fork_bears_threads_that_come_and_go(cache):
    """What another thread's link does to the set of them, while they are closed for the fork."""
    thread = threading.Thread(target=cache.link)
    thread.start()
    thread.join()
    links = set(cache._links)
    assert len(links) == 2

    class Gone(Link):
        def close(self):
            cache._links.difference_update(links)
            super().close()

    cache._links = {Gone(link.con, link.owner, link.thread) for link in links}
    cache.before_fork()
    assert cache._links == set()
    cache.after_fork()
    assert cache.link().con.execute("SELECT 1").fetchone() == (1,)


def test_who_was_about_to_use_a_link_while_a_fork_went_by_gets_another(disk):
    """Between taking it up and saying so it is idle, and the fork closes it."""
    database = disk._database
    with database.link():
        pass
    cache = database._cache

    class Interrupted(dict):
        def get(self, name):
            found = super().get(name)
            cache.before_fork()
            cache.after_fork()
            return found

    class Local:
        def __init__(self, link):
            self.__dict__ = Interrupted(link=link)

    cache.local = Local(cache.local.link)
    with database.link() as con:
        assert con.execute("SELECT 1").fetchone() == (1,)


def test_a_fork_waits_for_what_is_being_closed(cache):
    """A child would find the locks held that SQLite takes to close a connection, by a thread it hasn't got."""
    thread = threading.Thread(target=cache.link)
    thread.start()
    thread.join()
    held = []

    class Ended(Link):
        def close(self):
            held.append(cache.gate.locked())
            super().close()

    (link,) = [one for one in cache._links if one.thread is thread]
    cache._links = {Ended(link.con, link.owner, link.thread)}
    cache.sweep()
    assert held == [True]
