"""``doctor`` on answers by meaning: what is said of libraries, model and index, and that nothing heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import Cache
from scoutcache.semantic.models import folder_name, prepared_in
from scoutcache.semantic.prepared import ABOUT, source_digest

WORDS = Path(__file__).resolve().parents[2] / "semantic"
sys.path.insert(0, str(WORDS))
from words import embed

sys.path.pop(0)


@pytest.fixture(autouse=True)
def place(workplace, monkeypatch):
    monkeypatch.syspath_prepend(str(WORDS))
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(workplace / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return workplace / "cache"


@pytest.fixture
def said(cli):
    def checks():
        found = json.loads(cli("doctor", "--json").out)["checks"]
        return {one["name"]: one for one in found if one["name"].startswith("semantic")}

    return checks


@pytest.fixture
def index(place, monkeypatch):
    """A cache with two answers, made of words."""
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "words:embed")
    with Cache(directory=place, semantic={"model": "words:embed"}) as cache:
        for at in range(2):
            cache.semantic.add(f"what is the answer number {at}", at, model="m")
    return place / "semantic" / folder_name("default")


def test_nothing_is_said_where_nothing_is_asked_by_meaning(said):
    assert said() == {}


def test_a_sound_index_is_said_to_be(said, index):
    found = said()
    assert found["semantic model"]["detail"] == "words:embed, a function"
    assert found["semantic index"]["status"] == "ok"
    told = "2 answers in default, 0 rows to be removed; it agrees with the entries"
    assert found["semantic index"]["detail"] == told


def test_what_disagrees_is_counted_and_not_mended(said, index, place):
    with Cache(directory=place) as cache:
        cache.delete(next(iter(cache.keys("semantic:*"))))
    for _ in range(2):
        found = said()["semantic index"]
        assert (found["status"], found["fix"]) == ("warn", "scoutcache semantic stats repairs it")
        assert "0 answers not in it, 1 row of it without an answer" in found["detail"]


def test_an_index_of_another_embedder_or_none_at_all_is_a_fault(said, index, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "words:other")
    found = said()["semantic index"]
    assert (found["status"], "rebuild" in found["fix"]) == ("fail", True)
    assert "made by the embedder words:embed, but words:other is configured" in found["detail"]
    (index / "rows").write_bytes(b"nonsense")
    assert "can't be read" in said()["semantic index"]["detail"]


def test_models_that_are_not_there_are_told_apart(said, place, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__ENABLED", "true")
    assert "will be downloaded at its first use" in said()["semantic model"]["detail"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert said()["semantic model"]["status"] == "fail"
    cached = place.parent / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached / "config.json").write_text("{}")
    found = said()["semantic model"]
    assert (found["status"], found["fix"]) == ("warn", "scoutcache semantic prepare")
    assert "is not prepared" in found["detail"]
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "/no/such/folder")
    assert said()["semantic model"]["detail"] == "there is no folder /no/such/folder"
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "no_such_module:f")
    assert "there is no module no_such_module" in said()["semantic model"]["detail"]


def test_a_prepared_model_is_compared_with_its_files_and_with_the_index(said, place, monkeypatch):
    model = place.parent / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", str(model))
    with Cache(directory=place) as cache:
        cache.semantic.use(embed, str(model))
        cache.semantic.add("what is the answer", 42, model="m")
        probe = cache.semantic._flows.state.index("default").rows.about.probe
    prepared = prepared_in(place, str(model))
    prepared.mkdir(parents=True)
    about = {"source": source_digest(str(model)), "probe": list(probe)}
    (prepared / ABOUT).write_text(json.dumps(about))
    found = said()
    assert found["semantic model"]["detail"] == f"{model}, prepared in {prepared}"
    assert found["semantic index"]["status"] == "ok"
    (model / "weights").write_text("2")
    assert "changed after it was prepared" in said()["semantic model"]["detail"]
    about["probe"] = [-one for one in probe]
    (prepared / ABOUT).write_text(json.dumps(about))
    assert "with other weights" in said()["semantic index"]["detail"]
    (prepared / ABOUT).write_text("{")
    assert said()["semantic model"]["fix"] == "scoutcache semantic prepare --force"


def test_missing_libraries_are_named_with_the_remedy(said, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__ENABLED", "true")
    monkeypatch.setattr("scoutcache.cli.checks.semantic.find_spec",
                        lambda name: None if name == "faiss" else find_spec(name))  # fmt: skip
    found = said()["semantic libraries"]
    assert (found["status"], found["detail"]) == ("fail", "not installed: faiss")
    assert found["fix"] == "pip install 'scoutcache[semantic]'"


def test_no_model_and_no_index_library_is_loaded(index):
    code = ("import sys; from scoutcache.cli.main import run\n"
            "sys.argv = ['scoutcache', 'doctor', '--json']\n"
            "try: run()\nexcept SystemExit: pass\n"
            "heavy = {'faiss', 'torch', 'onnxruntime', 'sentence_transformers', 'words'} & set(sys.modules)\n"
            "print('heavy:', sorted(heavy), file=sys.stderr)")  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=WORDS)
    assert "semantic index" in ran.stdout
    assert ran.stderr.endswith("heavy: []\n")
