"""Processes and threads that share an index: nothing is lost, nothing that was removed is served, whoever is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import Cache
from scoutcache.errors import TierUnavailable
from scoutcache.meaning.scopes import places_of
from scoutcache.semantic.index import Place
from scoutcache.semantic.rows import Rows

from .words import embed

HERE = Path(__file__).resolve().parent

CHILD = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from words import embed
from scoutcache import Cache
from scoutcache.errors import TierUnavailable
cache = Cache(directory=sys.argv[1])
cache.semantic.use(embed, "words")
"""

ADDS = CHILD + """
for at in range(int(sys.argv[3])):
    cache.semantic.add(f"process {sys.argv[2]} number {at}", [sys.argv[2], at], model="m")
cache.close()
"""

CHURNS = CHILD + """
import itertools
print("ready", flush=True)
for at in itertools.count():
    keys = [cache.semantic.add(f"query {n} of turn {at}", n, model="m") for n in range(4)]
    cache.semantic.remove(keys[0])
    print(at, flush=True)
    if at % 3 == 0:
        cache.semantic.rebuild()
"""


def start(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def cache(tmp_path):
    with Cache(directory=tmp_path / "c") as one:
        one.semantic.use(embed, "words")
        yield one


def test_threads_and_processes_lose_nothing(cache, tmp_path):
    """16 threads here and 3 more processes add at once: every answer is there and found, by all."""
    children = [start(ADDS, tmp_path / "c", name, 6) for name in "abc"]
    wrong = []

    def add(thread):
        for at in range(3):
            cache.semantic.add(f"thread {thread} number {at}", [thread, at], model="m")
            found = cache.semantic.get(f"Thread {thread} number {at}?", model="m")
            if found is None or found.response != [thread, at]:
                wrong.append((thread, at, found))

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        assert child.wait(60) == 0
        child.stdout.close()
    assert wrong == []
    for name in "abc":
        for at in range(6):
            assert cache.semantic.get(f"Process {name} number {at}?", model="m").response == [name, at]
    stats = cache.semantic.stats()
    assert (stats["entries"], stats["indexed"], stats["mended"]) == (66, 66, 0)


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_leaves_no_ghost(cache, tmp_path, seed):
    """Killed at a random moment of adding, removing or rebuilding: afterwards index and entries agree."""
    child = start(CHURNS, tmp_path / "c")
    dice = random.Random(seed)
    assert child.stdout.readline() == "ready\n"
    for _ in range(dice.randrange(2, 5)):
        child.stdout.readline()
    threading.Event().wait(dice.uniform(0, 0.02))
    os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    child.stdout.close()
    removed = [f"query 0 of turn {at}" for at in range(2)]
    for query in removed:
        assert cache.semantic.get(query, model="m") is None
        found = cache.semantic.get(f"{query}!", model="m", threshold=0.999)
        assert found is None
    there = {key for key in cache.keys("semantic:*")}  # noqa: C416 - an iterator of the cache's
    index = cache.semantic._flows.state.index("default")
    indexed = {f"semantic:{place.scope.hex()}:{place.ident.hex()}" for place in index.places()}
    assert indexed == there
    assert cache.semantic.stats()["mended"] == 0


def test_stats_counts_no_row_over_which_a_process_died(cache, tmp_path):
    """Looked at first, before anything was asked."""
    key = cache.semantic.add("what is the answer", 42, model="m")
    index = cache.semantic._flows.state.index("default")
    scope, _ = places_of(key)
    index.adding(Place(scope, bytes(16)), embed(["what was the question"])[0])
    with Cache(directory=tmp_path / "c") as other:
        found = other.semantic.stats()
    assert (found["entries"], found["indexed"]) == (1, 1)


def test_a_rebuild_loses_nothing_that_is_added_meanwhile(cache, tmp_path, monkeypatch):
    cache.semantic.add("what is the answer", 42, model="m")
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        face = cache.semantic
        list_keys = face._flows._keys

        def then_add(namespace):
            keys = list_keys(namespace)
            monkeypatch.undo()
            other.semantic.add("how late is it", "late", model="m")
            return keys

        monkeypatch.setattr(face._flows, "_keys", then_add)
        assert face.rebuild() == 2
        assert face.get("How late is it?", model="m").response == "late"


def test_a_rebuild_that_died_before_it_compared_is_made_good_by_whoever_looks_next(cache, tmp_path, monkeypatch):
    """Another process added what the rebuild had not listed: its row went with the file that was replaced."""
    cache.semantic.add("what is the answer", 42, model="m")
    with Cache(directory=tmp_path / "c") as other, Cache(directory=tmp_path / "c") as third:
        for one in (other, third):
            one.semantic.use(embed, "words")
            assert one.semantic.get("What is the answer?", model="m").response == 42
        face = cache.semantic
        list_keys = face._flows._keys

        def then_add(namespace):
            keys = list_keys(namespace)
            other.semantic.add("how late is it", "late", model="m")
            return keys

        def die(namespace):
            raise KeyboardInterrupt

        monkeypatch.setattr(face._flows, "_keys", then_add)
        monkeypatch.setattr(face._flows, "compare", die)
        with pytest.raises(KeyboardInterrupt):
            face.rebuild()
        monkeypatch.undo()
        third.semantic.get("How late is it?", model="m")  # it had looked before, and sees now that it must compare
        assert third.semantic.get("How late is it?", model="m").response == "late"
        mark = tmp_path / "c" / "semantic"
        assert list(mark.rglob("uncompared")) == []
        with Cache(directory=tmp_path / "c") as fourth:
            fourth.semantic.use(embed, "words")
            assert fourth.semantic.get("How late is it?", model="m").response == "late"


def test_an_index_that_was_only_half_made_anew_is_made_good_at_the_next_opening(cache, tmp_path, monkeypatch):
    import shutil

    for at in range(3):
        cache.semantic.add(f"question number {at}", at, model="m")
    shutil.rmtree(tmp_path / "c" / "semantic")
    append, done = Rows.append, []

    def dies(self, *row):
        if done:
            raise KeyboardInterrupt
        done.append(True)
        return append(self, *row)

    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        monkeypatch.setattr(Rows, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            other.semantic.get("Question number 0?", model="m")
        monkeypatch.undo()
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        for at in range(3):
            assert other.semantic.get(f"Question number {at}?", model="m").response == at


def test_a_comparison_takes_no_answer_for_a_ghost_that_was_being_written(cache, monkeypatch):
    """Its row was there and its entry wasn't when they were listed; both are when the index is amended."""
    key = cache.semantic.add("what is the answer", 42, model="m")
    face, entry = cache.semantic, cache.get(key)
    answering = face._flows
    place, vector = Place(*places_of(key)), embed(["what is the answer"])[0]
    face.remove(key)
    index = answering.state.index("default")
    index.adding(place, vector)
    list_keys = answering._keys

    def then_write(namespace):
        keys = list_keys(namespace)
        cache.set(key, entry)
        index.added(place, vector)
        return keys

    monkeypatch.setattr(answering, "_keys", then_write)
    face.stats()
    assert face.get("What is the answer?", model="m").response == 42


def test_who_opens_the_index_while_an_answer_is_removed_leaves_no_ghost(cache, tmp_path):
    """He finds the row of a removal under way, and its entry still there."""
    key = cache.semantic.add("what is the answer", 42, model="m")
    index, places = cache.semantic._flows.state.index("default"), [Place(*places_of(key))]
    index.removing(places)
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        assert other.semantic.get("What is the answer?", model="m").response == 42
        cache.delete(key)
        index.removed(places)
        assert index.places() == {}
        index.removing(places)
        other.semantic.add("what is the answer", 43, model="m")
        index.removed(places)
        assert cache.semantic.get("What is the answer?", model="m").response == 43


@pytest.mark.parametrize("again", [False, True])
def test_who_rebuilds_the_index_while_an_answer_is_removed_leaves_no_ghost(cache, tmp_path, monkeypatch, again):
    """In the new file the row of the removal is one of many that are live."""
    key = cache.semantic.add("what is the answer", 42, model="m")
    index = cache.semantic._flows.state.index("default")
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        removing, removed = index.removing, index.removed

        def and_rebuilt(places):
            removing(places)
            other.semantic.rebuild()

        def and_added(places):
            if again:
                other.semantic.add("what is the answer", 43, model="m")
            return removed(places)

        monkeypatch.setattr(index, "removing", and_rebuilt)
        monkeypatch.setattr(index, "removed", and_added)
        cache.semantic.remove(key)
        assert len(index.places()) == again
        found = other.semantic.get("What is the answer?", model="m")
        assert (None if found is None else found.response) == (43 if again else None)


def test_who_dies_removing_an_answer_while_the_index_is_rebuilt_leaves_no_ghost(cache, tmp_path):
    key = cache.semantic.add("what is the answer", 42, model="m")
    cache.semantic.add("another question", 1, model="m")
    cache.semantic._flows.state.index("default").removing([Place(*places_of(key))])
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        other.semantic.rebuild()
    cache.delete(key)
    with Cache(directory=tmp_path / "c") as heir:
        heir.semantic.use(embed, "words")
        assert heir.semantic.get("Another question?", model="m").response == 1
        assert len(heir.semantic._flows.state.index("default").places()) == 1


def test_an_answer_that_was_asked_for_while_it_was_written_is_found_afterwards(cache):
    key = cache.semantic.add("what is the answer", 42, model="m")
    place, vector, entry = Place(*places_of(key)), embed(["what is the answer"])[0], cache.get(key)
    index = cache.semantic._flows.state.index("default")
    cache.semantic.remove(key)
    index.adding(place, vector)
    assert cache.semantic.get("What is the answer?", model="m") is None
    cache.set(key, entry)
    index.added(place, vector)
    assert cache.semantic.get("What is the answer?", model="m").response == 42


def test_what_one_process_removes_no_other_serves(cache, tmp_path):
    key = cache.semantic.add("what is the answer", 42, model="m")
    assert cache.semantic.get("What is the answer?", model="m").response == 42
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        assert other.semantic.get("What is the answer?", model="m").response == 42
        other.semantic.remove(key)
        assert cache.semantic.get("What is the answer?", model="m") is None
        other.semantic.add("what is the answer", 43, model="m")
        assert cache.semantic.get("What is the answer?", model="m").response == 43
        other.invalidate("semantic:*")
        assert cache.semantic.get("What is the answer?", model="m") is None


def test_an_index_that_is_gone_is_made_anew_from_the_entries(cache, tmp_path):
    import shutil

    cache.semantic.add("what is the answer", 42, model="m")
    shutil.rmtree(tmp_path / "c" / "semantic")
    with Cache(directory=tmp_path / "c") as other:
        other.semantic.use(embed, "words")
        assert other.semantic.get("What is the answer?", model="m").response == 42


def test_two_tenants_never_meet(cache):
    """The same queries of two tenants and two models, asked in turn: no answer crosses."""
    crossed = 0
    partitions = [("a", "m"), ("b", "m"), ("a", "n"), ("b", "n")]
    for at in range(12):
        for namespace, model in partitions:
            cache.semantic.add(f"common question number {at}", [namespace, model], namespace=namespace, model=model)
    for at in range(12):
        for namespace, model in partitions:
            for threshold in (None, 0.0):
                hit = cache.semantic.get(f"Common question number {at}?", namespace=namespace, model=model,
                                         threshold=threshold)  # fmt: skip
                crossed += hit.response != [namespace, model]
    assert crossed == 0


def test_a_forked_child_works_on(cache):
    cache.semantic.add("what is the answer", 42, model="m")
    pid = os.fork()
    if pid == 0:
        found = cache.semantic.get("What is the answer?", model="m")
        os._exit(0 if found is not None and found.response == 42 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_index_that_cannot_be_written_is_a_miss_and_a_warning(cache, tmp_path, caplog):
    (tmp_path / "c" / "semantic").write_text("in the way")
    assert cache.semantic.add("what is the answer", 42, model="m") is None
    assert cache.semantic.get("What is the answer?", model="m") is None
    assert cache.semantic.remove(f"semantic:{'0' * 32}:{'1' * 32}") is False
    assert "semantic" in caplog.text
    with Cache(directory=tmp_path / "c", raise_errors=True) as strict:
        strict.semantic.use(embed, "words")
        with pytest.raises(TierUnavailable, match="the semantic tier can't answer"):
            strict.semantic.add("what is the answer", 42, model="m")
