"""diskcache's own methods, over our disk and our connections, take and give nothing but text keys and bytes."""

from __future__ import annotations

import io

import pytest

from scoutcache.entry import Ref
from scoutcache.tiers.disk.safe import RawDisk


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
