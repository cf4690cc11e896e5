"""What stands in queues, seen from outside."""

from __future__ import annotations

import pytest

from scoutcache.entry import Sealed
from scoutcache.queues.backlog import backlogs
from scoutcache.queues.store import Queue


@pytest.fixture
def queue(tmp_path):
    made = Queue(tmp_path / "queues", "tenant.a", "clicks/now")
    yield made
    made.close()


def put(queue, *keys, stamp=5_000_000_000):
    queue.put([(key, Sealed(b"", ())) for key in keys], lambda: stamp)


def seen(queue):
    (one,) = backlogs(queue.path.parent)
    return one


def test_where_nothing_waits(queue):
    one = seen(queue)
    assert (one.queue, one.waiting, one.since, one.tried, one.dead, one.error) == (
        "tenant.a.clicks/now", 0, None, 0, 0, None
    )  # fmt: skip


def test_what_waits_since_when_and_what_failed(queue):
    put(queue, "a", stamp=5_000_000_000)
    put(queue, "b", stamp=9_000_000_000)
    first, _ = queue.due(1.0, lambda _: 10)
    queue.failed([(first, 60.0)])
    one = seen(queue)
    assert (one.waiting, one.since, one.tried) == (2, 5.0, 1)


def test_dead_letters_that_nothing_supersedes_and_the_last_error(queue):
    put(queue, "a", "b", "c")
    a, b, c = queue.due(1.0, lambda _: 10)
    queue.bury([a], "ValueError: first", now=10.0)
    queue.bury([b], "ValueError: last", now=20.0)
    queue.bury([c], "ValueError: superseded", now=30.0)
    put(queue, "c")
    queue.done(queue.due(1.0, lambda _: 10))
    one = seen(queue)
    assert (one.dead, one.error) == (2, "ValueError: last")


def test_whether_somebody_delivers(queue):
    assert not seen(queue).is_delivered
    assert queue.claim()
    assert seen(queue).is_delivered
    queue.close()
    assert not seen(queue).is_delivered


def test_looking_claims_and_changes_nothing(queue):
    put(queue, "a")
    before = queue.path.stat()
    seen(queue)
    assert queue.path.stat() == before
    assert queue.claim()


def test_a_database_that_is_none_is_named(queue):
    broken = queue.path.with_name("zz.db")
    broken.write_bytes(b"not a database, whatever its name says" * 100)
    looking = backlogs(broken.parent)
    assert next(looking).waiting == 0
    with pytest.raises(OSError, match="not a database") as caught:
        next(looking)
    assert caught.value.filename == str(broken)


def test_where_there_is_no_folder_there_is_no_queue(tmp_path):
    assert list(backlogs(tmp_path / "queues")) == []
