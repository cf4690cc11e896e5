"""An embedder is known by its name and by what it makes of a fixed text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import Cache
from scoutcache.errors import CacheError
from scoutcache.semantic.identity import identity_of, is_same, name_in

from .words import embed

COMPONENTS = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


@given(COMPONENTS, st.floats(-1e-5, 1e-5))
def test_differences_of_a_build_make_no_other_embedder(probe, moved):
    assert is_same(identity_of("m", probe), identity_of("m", [one + moved for one in probe]))


@given(COMPONENTS, st.integers(0, 23), st.floats(2e-3, 0.5))
def test_other_weights_do(probe, at, moved):
    other = list(probe)
    other[at % len(other)] += moved if other[at % len(other)] < 0 else -moved
    assert not is_same(identity_of("m", probe), identity_of("m", other))


@pytest.mark.parametrize("stranger", ["m", "", "m#", "m#?", "n#AAE=", "m#AAE", "#"])
def test_what_says_no_weights_is_nobodys(stranger):
    assert not is_same(stranger, identity_of("m", [0.0256]))
    assert not is_same(stranger, stranger) or stranger == "n#AAE="


def test_a_name_may_hold_the_mark():
    assert name_in(identity_of("a#b", [0.5])) == "a#b"


def trained_on(texts):
    """The same name, other weights: vectors that are turned."""
    return embed(texts)[:, ::-1]


@pytest.fixture
def cache(tmp_path):
    with Cache(directory=tmp_path) as one:
        one.semantic.use(embed, "words")
        yield one


def test_an_embedder_of_the_same_name_with_other_weights_is_refused(cache):
    cache.semantic.add("what is the answer", 42, model="m")
    cache.semantic.use(trained_on, "words")
    with pytest.raises(CacheError, match="another one of that name, with other weights") as raised:
        cache.semantic.get("What is the answer?", model="m")
    assert "rebuild" in raised.value.hint


def unreachable(texts):
    raise CacheError("no model is here")


def test_taking_out_and_looking_around_need_no_model(cache):
    """Nor do they load one, which takes seconds."""
    key = cache.semantic.add("what is the answer", 42, model="m")
    cache.semantic.add("what was the question", 43, model="m")
    cache.semantic.use(unreachable, "words")
    assert cache.semantic.remove(key)
    found = cache.semantic.stats()
    assert (found["entries"], found["indexed"], found["model"]) == (1, 1, "words")
    cache.semantic.clear()
    assert cache.semantic.stats()["indexed"] == 0
    with pytest.raises(CacheError, match="no model is here"):
        cache.semantic.add("what is the answer", 42, model="m")


def test_a_rebuild_takes_no_vectors_of_other_weights(cache):
    cache.semantic.add("what is the answer", 42, model="m")
    cache.semantic.use(trained_on, "words")
    assert cache.semantic.rebuild() == 1
    hit = cache.semantic.get("What is the answer?", model="m")
    assert hit.response == 42
    assert hit.similarity == pytest.approx(1.0, abs=1e-5)
    cache.semantic.use(lambda texts: trained_on(texts) + np.float32(1e-6), "words")
    assert cache.semantic.get("What's the answer? What is the answer", model="m", threshold=0.5) is not None


def test_labels_of_other_weights_teach_nothing(tmp_path):
    with Cache(directory=tmp_path, semantic={"policy": "verified"}) as cache:
        cache.semantic.use(embed, "words")
        for at in range(4):
            cache.semantic.add(f"some words about topic {at}", at, model="m")
        [key] = cache.keys("semantic:labels:*")
        assert cache.get(key)["count"] == 3
        cache.semantic.use(trained_on, "words")
        cache.semantic.rebuild()
        cache.semantic.add("some words about another topic", 9, model="m")
        assert cache.get(key)["count"] == 1
