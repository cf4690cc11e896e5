"""Namespaces whose policy says ``strategy = "semantic"``: keys are questions, on both faces."""

from __future__ import annotations

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.answers.state import state_of
from scoutcache.errors import PolicyError, TierUnavailable
from scoutcache.keys import CacheKey

from ..semantic.words import embed  # noqa: TID252 - tests are no package

ASKED = "What is the capital of France"
ALIKE = "what is the capital of France?"
OTHER = "How do I bake bread at home"
POLICY = {"policy_id": "questions", "namespaces": ["faq"], "strategy": "semantic"}


@pytest.fixture
def cache(open_cache, tiers):
    one = open_cache(tiers, policies=[POLICY])
    one.semantic.use(embed, "words")
    return one


@pytest.fixture
def faq(cache):
    """The calls of the namespace."""

    class Faq:
        def __getattr__(self, name):
            return lambda *args, **more: getattr(cache, name)(*args, namespace="faq", **more)

    return Faq()


class Model:
    """A factory that counts its calls."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), 0

    def __call__(self):
        self.calls += 1
        return self.answers.pop(0)


def test_what_was_set_answers_what_means_the_same(cache, faq):
    assert faq.set(ASKED, ["Paris"])
    assert faq.get(ASKED) == faq.get(ALIKE) == ["Paris"]
    assert faq.get(OTHER, "none") == "none"
    assert cache.get(ALIKE, "none") == "none"  # another namespace


def test_what_was_computed_answers_what_means_the_same(faq):
    model = Model("Paris", "with yeast")
    assert [faq.get_or_compute(asked, model) for asked in (ASKED, ALIKE, ASKED, OTHER)] == [
        "Paris", "Paris", "Paris", "with yeast",
    ]  # fmt: skip
    assert model.calls == 2


def test_a_near_answer_is_not_stored_again(faq):
    faq.set(ASKED, "Paris")
    faq.get_or_compute(ALIKE, Model("never"))
    assert faq.exists(ASKED)
    assert not faq.exists(ALIKE)


def test_a_near_answer_that_is_refused_is_computed(faq):
    faq.set(ASKED, "Lyon")
    assert faq.get_or_compute(ALIKE, Model("Paris"), validate=lambda value: value == "Paris") == "Paris"


@pytest.mark.parametrize("call", ["get_or_compute", "get_with_validation"])
def test_a_near_answer_that_is_refused_is_no_hit(cache, faq, call):
    faq.set(ASKED, "Lyon")
    validate = {"validate": lambda value: value == "Paris"}
    if call == "get_or_compute":
        faq.get_or_compute(ALIKE, Model("Paris"), **validate)
    else:
        assert faq.get_with_validation(ALIKE, default="none", **validate) == "none"
        assert faq.exists(ASKED)
    found = cache.stats()
    assert (found.total_requests, found.cache_hits) == (1, 0)


def test_it_changes_and_goes_with_the_entry_that_it_leads_to(faq, fake_clock):
    faq.set(ASKED, "Lyon", tags=["towns"])
    faq.set(ASKED, "Paris", tags=["towns"], ttl=60)
    assert faq.get(ALIKE) == "Paris"
    faq.delete(ASKED)
    assert faq.get(ALIKE) is None
    faq.set(ASKED, "Paris", tags=["towns"], ttl=60)
    faq.set(OTHER, "with yeast", ttl=60)
    faq.invalidate(tags=["towns"])
    assert (faq.get(ALIKE), faq.get(OTHER)) == (None, "with yeast")
    fake_clock.advance(61)
    assert faq.get("how do I bake bread at home?") is None


def test_a_prefix_must_match_exactly(faq):
    faq.set(f"geo:{ASKED}", "Paris")
    assert faq.get(f"geo:{ALIKE}") == "Paris"
    assert faq.get(ALIKE) is None
    assert faq.get(f"food:{ALIKE}") is None


@pytest.mark.parametrize("key", [CacheKey("geo", "France"), "geo:", "geo: "])
def test_a_key_that_is_no_question_is_asked_exactly(faq, key):
    faq.set(key, 1)
    assert faq.get(key) == 1
    assert faq.get(CacheKey("geo", "france?")) is None


def test_a_request_counts_once(cache, faq):
    faq.set(ASKED, "Paris")
    for asked in (ALIKE, OTHER):
        faq.get(asked)
        faq.get_or_compute(f"{asked}?", Model("with yeast"))
    found = cache.stats()
    assert (found.total_requests, found.cache_hits, found.cache_misses) == (4, 2, 2)


def test_what_is_not_stored_is_found_by_nobody(faq):
    faq.get_or_compute(ASKED, Model("Paris"), store_if=lambda value: False)
    faq.set(OTHER, "with yeast", ttl=0)
    assert (faq.get(ALIKE), faq.get("how do I bake bread at home?")) == (None, None)


@pytest.mark.parametrize("trouble", [ZeroDivisionError("out of order"), OSError("gone")])
def test_an_embedder_that_fails_is_a_miss_and_a_warning(open_cache, tiers, trouble, caplog, fake_clock):
    cache, asked = open_cache(tiers, policies=[POLICY]), []

    def fail(texts):
        asked.append(texts)
        if len(asked) == 1:
            raise trouble
        return embed(texts)

    cache.semantic.use(fail, "words")
    assert cache.set(ASKED, "Paris", namespace="faq")
    assert cache.get(ALIKE, namespace="faq") is None
    assert cache.get_or_compute(ASKED, Model("never"), namespace="faq") == "Paris"
    assert (len(asked), caplog.text.count(str(trouble))) == (1, 1)  # nor is it asked at once again
    fake_clock.advance(31)
    cache.set(ASKED, "Paris", namespace="faq")
    assert cache.get(ALIKE, namespace="faq") == "Paris"


def test_who_wants_errors_gets_them(open_cache, tiers):
    cache = open_cache(tiers, policies=[POLICY], raise_errors=True)
    cache.semantic.use(lambda texts: 1 / 0, "words")
    with pytest.raises(TierUnavailable, match="semantic"):
        cache.get(ALIKE, namespace="faq")


def test_what_must_not_be_at_rest_in_plain_is_in_no_index(open_cache, tmp_path):
    secret = {"policy_id": "secret", "namespaces": ["faq"], "encrypt_at_rest": True, "allowed_backends": ["memory"]}
    cache = open_cache(["memory", "disk"], policies=[POLICY, secret])
    cache.semantic.use(embed, "words")
    assert cache.set(ASKED, "Paris", namespace="faq")
    assert cache.get(ALIKE, namespace="faq") is None
    with pytest.raises(PolicyError, match="'secret' requires encryption at rest, and the index"):
        cache.semantic.add(ASKED, "Paris", namespace="faq", model="m")
    assert cache.semantic.add(ASKED, "Paris", model="m")


def test_index_and_entries_agree(cache, faq):
    faq.set(ASKED, "Paris")
    faq.set(OTHER, "with yeast")
    faq.delete(OTHER)
    found = [cache.semantic.stats("faq") for _ in range(2)]
    assert [(stats["entries"], stats["indexed"], stats["mended"]) for stats in found] == [(1, 1, 1), (1, 1, 0)]


PRIVATE = {"policy_id": "private", "namespaces": ["faq"], "applies_to": ["private:*"], "allowed_backends": ["memory"]}


def files_with(directory, *texts):
    return {file.name for file in directory.rglob("*") if file.is_file()
            for text in texts if text in file.read_bytes()}  # fmt: skip


def vector_of(text):
    """The begin of it, as it would stand in a file."""
    vector = embed([text])[0]
    return (vector / (vector**2).sum() ** 0.5).astype("<f4").tobytes()[4:16]


@pytest.mark.parametrize("allowed", [["memory"], ["memory", "redis"]])
def test_what_leads_to_an_entry_stands_where_that_may(open_cache, tmp_path, allowed):
    """Neither its question, nor the digests and vector of that, come to lie on the disk; it is found all the same."""
    cache = open_cache(["memory", "disk"], policies=[POLICY, {**PRIVATE, "allowed_backends": allowed}])
    cache.semantic.use(embed, "words")
    cache.set(f"private:{ASKED}", "Paris", namespace="faq")
    cache.set(f"open:{OTHER}", "with yeast", namespace="faq")
    assert cache.get(f"private:{ALIKE}", namespace="faq") == "Paris"
    assert cache.get(f"open:{OTHER}?", namespace="faq") == "with yeast"
    assert cache.get(f"open:{ALIKE}", namespace="faq") is None
    keys = [key for key in cache.keys("semantic:*", namespace="faq")]  # noqa: C416 - an iterator of the cache's
    [own] = [key for key in keys if key.startswith("semantic:here:")]
    assert cache.get_entry(own, namespace="faq").backend == "memory"
    cache.flush()
    assert files_with(tmp_path, vector_of(ASKED), bytes.fromhex(own.rpartition(":")[2])) == set()
    assert "rows" in files_with(tmp_path, vector_of(OTHER))


def test_what_stays_in_memory_lives_changes_and_goes_with_its_entry(open_cache, fake_clock):
    cache = open_cache(["memory", "disk"], policies=[POLICY, PRIVATE])
    cache.semantic.use(embed, "words")
    key = f"private:{ASKED}"
    ends = [lambda: cache.delete(key, namespace="faq"), lambda: cache.invalidate("semantic:*", namespace="faq"),
            lambda: cache.semantic.clear("faq"), lambda: cache.clear("faq"),
            lambda: fake_clock.advance(11)]  # fmt: skip
    for end in ends:
        cache.set(key, "Lyon", namespace="faq", ttl="10s")
        cache.set(key, "Paris", namespace="faq", ttl="10s")
        assert cache.get(f"private:{ALIKE}", namespace="faq") == "Paris"
        end()
        assert cache.get(f"private:{ALIKE}", namespace="faq") is None


def test_feedback_to_what_stays_in_memory_stays_there_too(open_cache):
    cache = open_cache(["memory", "disk"], policies=[POLICY, PRIVATE])
    cache.semantic.use(embed, "words")
    cache.set(f"private:{ASKED}", "Paris", namespace="faq")
    hit = cache.semantic.get(f"{ASKED}?", namespace="faq", model="-", prefix="private")
    assert hit.key.startswith("semantic:here:")
    assert cache.semantic.feedback(hit.hit_id, False, "faq")
    assert cache.semantic.get(f"{ASKED}?", namespace="faq", model="-", prefix="private") is None
    evidence = [key for key in cache.keys("semantic:*", namespace="faq") if "evidence" in key]
    assert [cache.get_entry(key, namespace="faq").backend for key in evidence] == ["memory"]
    assert cache.semantic.remove(hit.key, "faq")


def test_a_namespace_that_may_not_be_on_the_disk_has_no_index_there(open_cache, tmp_path):
    here = {"policy_id": "here", "namespaces": ["faq"], "allowed_backends": ["memory"]}
    cache = open_cache(["memory", "disk"], policies=[here])
    cache.semantic.use(embed, "words")
    cache.semantic.add(ASKED, "Paris", namespace="faq", model="m")
    assert cache.semantic.get(ALIKE, namespace="faq", model="m").response == "Paris"
    assert cache.semantic.rebuild("faq") == 1
    assert cache.semantic.get(ALIKE, namespace="faq", model="m").response == "Paris"
    assert cache.semantic.stats("faq")["indexed"] == 1
    cache.flush()
    assert files_with(tmp_path, ASKED.encode()) == set()
    assert list((tmp_path).rglob("rows")) == []
    cache.semantic.add(ASKED, "Paris", model="m")
    assert len(list(tmp_path.rglob("rows"))) == 1


def test_the_index_in_memory_is_rid_of_what_memory_let_go_of(open_cache, monkeypatch):
    from scoutcache.semantic import compacting, index

    monkeypatch.setattr(index, "_MANY", 20)
    monkeypatch.setattr(compacting, "LEAST", 10)
    cache = open_cache(["memory", "disk"], policies=[POLICY, PRIVATE], memory={"max_entries": 8})
    cache.semantic.use(embed, "words")
    found = []
    for at in range(120):
        cache.set(f"private:question number {at}", at, namespace="faq")
        found.append(cache.get(f"private:Question number {at}?", namespace="faq"))
    assert found[:3] == [0, 1, 2]
    assert state_of(cache.cache._core).here("faq").rows.count < 80
