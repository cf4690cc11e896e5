"""Where a model is, and that nothing heavy is loaded to say that it can't be had."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from scoutcache.errors import CacheError
from scoutcache.semantic.models import load_torch
from scoutcache.semantic.whereabouts import Whereabouts, offline_by, whereabouts


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A home in which nothing was fetched, on a machine with a network."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", "HF_HUB_OFFLINE",
                 "TRANSFORMERS_OFFLINE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def fetched(cache, name):
    folder = cache / f"models--{name}" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


def test_a_folder_is_here_and_what_can_be_nothing_else_is_not(place):
    assert whereabouts(str(place)) is Whereabouts.HERE
    (place / "file").write_text("")
    for wrong in (place / "none", place / "file", "./none", "~/none", "a/b/c"):
        assert whereabouts(str(wrong)) is Whereabouts.NO_FOLDER


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", None])
def test_what_was_fetched_is_here_wherever_it_is_kept(place, monkeypatch, variable):
    cache = place / "home" / "hub"
    if variable is not None:
        cache = place / "elsewhere"
        monkeypatch.setenv(variable, str(cache))
    assert whereabouts("all-MiniLM-L6-v2") is Whereabouts.AWAY
    fetched(cache, "sentence-transformers--all-MiniLM-L6-v2")
    fetched(cache, "bert-base-uncased")
    fetched(cache, "BAAI--bge-small-en")
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "bert-base-uncased",
                 "BAAI/bge-small-en"):  # fmt: skip
        assert whereabouts(name) is Whereabouts.HERE
    (cache / "models--BAAI--begun" / "snapshots").mkdir(parents=True)
    assert whereabouts("BAAI/begun") is Whereabouts.AWAY


def test_offline_is_what_the_library_takes_for_it(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "yes")
    assert (whereabouts("no-such-model"), offline_by()) == (Whereabouts.OFFLINE, "TRANSFORMERS_OFFLINE=yes")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert (whereabouts("no-such-model"), offline_by()) == (Whereabouts.AWAY, None)


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="needs pip install 'scoutcache[test,semantic]'")
@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "/no/such/folder"])
def test_what_cant_be_had_is_said_before_anything_heavy_is_loaded(place, monkeypatch, model):
    """It took torch's ten seconds to say so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code = ("import sys; from scoutcache.semantic.models import load_torch\n"
            f"try: load_torch({model!r})\nexcept Exception as error: print(error)\n"
            "print({'torch', 'sentence_transformers', 'transformers', 'numpy'} & set(sys.modules))")  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said, loaded = ran.stdout.splitlines()
    assert said.startswith(f"the model {model} can't be loaded: ")
    assert loaded == "set()"


def test_where_the_library_lacks_only_what_does_without_it_is_named(place, monkeypatch):
    monkeypatch.setattr("scoutcache.semantic.models.find_spec", lambda _: None)
    with pytest.raises(CacheError, match="needs sentence-transformers: it is not installed") as raised:
        load_torch("all-MiniLM-L6-v2")
    assert raised.value.hint == "pip install 'scoutcache[semantic]'; or name an embedder of your own, module:function"
