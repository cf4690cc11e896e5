"""Asking by meaning: what is compared, what must be equal, and exact before near before the call."""

from __future__ import annotations

import pytest

from scoutcache.config.sections import LlmSection
from scoutcache.llm.nearness import sought_in, sought_in_text

from .answers import Model, answer, asking, chunks

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What is a cache?"}


def scope(*messages, **more):
    found = sought_in(LlmSection(), {"model": "gpt-4o", "messages": list(messages), **more})
    return None if found is None else tuple(found.scope.items())


def test_the_words_of_the_last_message_are_compared_and_not_in_the_scope():
    found = sought_in(LlmSection(), {"model": "gpt-4o", "messages": [SYSTEM, USER]})
    assert (found.query, found.scope["model"]) == ("What is a cache?", "gpt-4o")
    assert scope(SYSTEM, USER) == scope(SYSTEM, {**USER, "content": "Something else?"})
    block = [{"type": "text", "text": "What is a cache?"}]
    assert sought_in(LlmSection(), {"messages": [{"role": "user", "content": block}]}).query == "What is a cache?"


@pytest.mark.parametrize(
    "other",
    [
        (([{**SYSTEM, "content": "Be long."}, USER]), {}),
        ([SYSTEM, USER, {"role": "assistant", "content": "It is."}, USER], {}),
        ([USER], {}),
        ([SYSTEM, {**USER, "name": "Ada"}], {}),
        ([SYSTEM, USER], {"temperature": 0}),
        ([SYSTEM, USER], {"tools": [{"type": "function"}]}),
        ([SYSTEM, USER], {"stream": True}),
    ],
)
def test_everything_else_must_be_equal(other):
    messages, more = other
    assert scope(SYSTEM, USER) != scope(*messages, **more)


@pytest.mark.parametrize(
    "messages",
    [[], [SYSTEM], [{"role": "tool", "content": "x"}], [{"role": "user", "content": " "}], [{"role": "user"}],
     [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}],
     [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], ["text"]],
)  # fmt: skip
def test_what_has_no_such_words_is_not_asked_by_meaning(messages):
    assert sought_in(LlmSection(), {"model": "m", "messages": messages}) is None


def test_a_text_is_compared_within_its_operation_and_options():
    one = sought_in_text("a text", "qa", {"model": "m", "n": 1})
    assert one == sought_in_text("a text", "qa", {"n": 1.0, "model": "m"})
    assert one.scope != sought_in_text("a text", "summarize", {"model": "m", "n": 1}).scope
    assert one.scope != sought_in_text("a text", "qa", {"model": "m"}).scope
    assert sought_in_text(["a ", "text"], "qa", {}) is None


def by_first_word(llm):
    """*llm*, which takes questions with the same first word for the same."""
    np = pytest.importorskip("numpy", reason="needs numpy")
    pytest.importorskip("faiss", reason="needs faiss")
    from scoutcache.chat.texts import text_digest

    def embed(texts):
        rows = [np.random.default_rng(int(text_digest(text.split()[0])[0][:8], 16)).normal(size=32) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype="float32")

    llm.driven.cache.semantic.use(embed, "by-first-word")
    return llm


@pytest.fixture
def near(llm):
    return by_first_word(llm)


def test_exact_before_near_before_the_call(near):
    model = Model(answer("1"), answer("2"))
    assert near.get_or_call(asking("hello world"), model, semantic=True) == answer("1")
    assert near.get_or_call(asking("hello world"), model, semantic=True) == answer("1")
    assert near.get_or_call(asking("hello there"), model, semantic=True) == answer("1")
    assert len(model.asked) == 1
    assert near.get(asking("hello there")) is None  # a near answer is not stored again
    assert near.get_or_call(asking("goodbye there"), model, semantic=True) == answer("2")
    assert near.get_or_call(asking("hello there", temperature=0), model, semantic=True) == answer("2")
    assert near.get_or_call(asking("hello there"), model) == answer("2")
    found = near.metrics()
    assert (found.hits, found.calls) == (2, len(model.asked))


def test_each_question_is_one_request_in_the_statistics(near):
    """A hit by meaning is one hit and no computation, and what is found in no way is one miss."""
    cache, model, computed = near.driven, Model(answer("1"), answer("2")), []
    near.driven.cache.on("computed", computed.append)
    for request in ("hello a", "hello b", "goodbye"):
        near.get_or_call(asking(request), model, semantic=True)
    found = cache.stats()
    assert (found.cache_hits, found.cache_misses, found.api_calls_saved, len(computed)) == (1, 2, 1, 2)


def test_a_near_answer_is_asked_whether_it_will_do(near):
    model = Model(answer("1"), answer("2"))
    near.get_or_call(asking("hello a"), model, semantic=True)
    asked = {"semantic": True, "validate": lambda it: it != answer("1")}
    assert near.get_or_call(asking("hello b"), model, **asked) == answer("2")
    found = near.driven.stats()
    assert (found.total_requests, found.cache_hits) == (2, 0)


@pytest.mark.parametrize(
    "settings",
    [{"semantic": {"enabled": True}}, {"policies": [{"policy_id": "p", "namespaces": ["default"],
                                                     "strategy": "semantic"}]}],
)  # fmt: skip
def test_the_configuration_may_ask_for_it(open_llm, settings):
    near = by_first_word(open_llm(**settings))
    model = Model(answer("1"), answer("2"), answer("3"))
    near.get_or_call(asking("hello a"), model)
    assert near.get_or_call(asking("hello b"), model) == answer("1")
    assert near.get_or_call(asking("hello b"), model, semantic=False) == answer("2")
    if "policies" in settings:
        near.get_or_call(asking("hello c"), model, namespace="other")
        assert len(model.asked) == 3


def test_without_a_model_the_call_is_made(open_llm, caplog):
    llm = open_llm(semantic={"enabled": True, "model": "/nowhere/model"})
    model = Model(answer("1"))
    assert llm.get_or_call(asking("hello"), model) == llm.get_or_call(asking("hello"), model) == answer("1")
    assert caplog.text.count("the semantic tier can't answer") == 1


def test_a_near_stream_is_replayed(near):
    model = Model(lambda: iter(chunks()))
    assert near.read(near.get_or_call(asking("hello a", stream=True), model, semantic=True)) == chunks()
    assert near.read(near.get_or_call(asking("hello b", stream=True), model, semantic=True)) == chunks()
    assert len(model.asked) == 1


def test_what_is_not_kept_serves_nobody_near(near):
    model = Model(answer(reason="content_filter"), answer("2"))
    near.get_or_call(asking("hello a"), model, semantic=True)
    assert near.get_or_call(asking("hello b"), model, semantic=True) == answer("2")


def test_an_invalidated_answer_serves_nobody_near(near):
    model = Model(answer("1"), answer("2"))
    near.get_or_call(asking("hello a"), model, semantic=True)
    near.invalidate(model="gpt-4o")
    assert near.get_or_call(asking("hello b"), model, semantic=True) == answer("2")


@pytest.mark.parametrize(
    "remove",
    [lambda llm: llm.delete(asking("hello a")), lambda llm: llm.driven.invalidate("llm:*")],
)
def test_a_removed_answer_serves_nobody_near(near, remove):
    model = Model(answer("1"), answer("2"))
    near.get_or_call(asking("hello a"), model, semantic=True)
    remove(near)
    assert near.get_or_call(asking("hello b"), model, semantic=True) == answer("2")


def test_a_corrected_answer_is_what_serves_near(near):
    near.get_or_call(asking("hello a"), Model(answer("1")), semantic=True)
    near.set(asking("hello a"), answer("corrected"))
    found = near.get_or_call(asking("hello b"), Model(answer("2")), semantic=True)
    assert found in (answer("corrected"), answer("2"))


def test_tenants_are_apart(near):
    model = Model(answer("1"), answer("2"))
    near.get_or_call(asking("hello a"), model, semantic=True)
    assert near.get_or_call(asking("hello b"), model, semantic=True, namespace="tenant") == answer("2")
