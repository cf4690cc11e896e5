"""LangChain's own suites for caches, over both faces, and a model that is asked through it."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("langchain_core", reason="needs langchain-core")
suites = pytest.importorskip("langchain_tests.integration_tests", reason="needs langchain-tests")

from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from scoutcache import AsyncCache, Cache
from scoutcache.errors import CacheError
from scoutcache.integrations.langchain import ScoutCache


@pytest.fixture
def blocking(tmp_path):
    with Cache(directory=tmp_path / "cache") as cache:
        yield cache


@pytest.fixture
def awaited(tmp_path, runner):
    cache = AsyncCache(directory=tmp_path / "cache")
    yield cache
    runner.run(cache.close())


class TestBlocking(suites.SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, blocking):
        return ScoutCache(blocking)


class TestAwaitedOverBlocking(suites.AsyncCacheTestSuite):
    @pytest.fixture
    def cache(self, blocking):
        return ScoutCache(blocking)


class TestAwaited(suites.AsyncCacheTestSuite):
    @pytest.fixture
    def cache(self, awaited):
        return ScoutCache(awaited)


def chat(content="hi", **metadata):
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return ChatGeneration(message=AIMessage(content=content, response_metadata=metadata, usage_metadata=usage,
                                            tool_calls=[{"name": "f", "args": {"a": [1]}, "id": "t"}]))  # fmt: skip


LLM = '{"kwargs": {"model_name": "gpt-4o", "temperature": 0.7}}---[(\'stop\', None)]'


def test_messages_come_back_as_they_were(blocking):
    cache = ScoutCache(blocking, ttl="2h", tags=["mine"])
    said = [chat(finish_reason="tool_calls", model_name="gpt-4o-2024-08-06")]
    cache.update("prompt", LLM, said)
    found = cache.lookup("prompt", LLM)
    assert found == said
    assert found[0].message.tool_calls == said[0].message.tool_calls
    (key,) = blocking.keys()
    assert key.startswith("llm:langchain:gpt-4o:v1:")
    assert {"mine", "model:gpt-4o", "operation:langchain"} <= set(blocking.get_entry(key).tags)
    assert blocking.ttl(key) > 7000
    assert blocking.llm.metrics().input_tokens_saved == 7
    assert cache.lookup("prompt", LLM + " ") is None


@pytest.mark.parametrize("metadata", [{"finish_reason": "length"}, {"stop_reason": "refusal"},
                                      {"finish_reason": "content_filter"}, {"model_name": "gpt-4o-mini"}])  # fmt: skip
def test_what_is_no_good_answer_is_not_kept(blocking, metadata):
    ScoutCache(blocking).update("prompt", LLM, [chat(**metadata)])
    assert ScoutCache(blocking).lookup("prompt", LLM) is None


class Mine(Generation):
    pass


def test_what_can_not_be_kept_is_said_and_no_error(blocking, caplog):
    cache = ScoutCache(blocking)
    with caplog.at_level(logging.WARNING, "scoutcache.langchain"):
        cache.update("a", LLM, [Mine(text="x")])
        cache.update("b", LLM, [Generation(text="x", generation_info={"o": object()})])
    assert caplog.text.count("is not kept") == 2
    assert cache.lookup("a", LLM) is None
    cache.update("c", LLM, [Generation(text="y")])
    assert cache.lookup("c", LLM) == [Generation(text="y")]


def test_clear_takes_what_langchain_keeps_and_nothing_else(blocking):
    cache, other = ScoutCache(blocking), ScoutCache(blocking, namespace="tenant")
    blocking.set("llm:mine", 1)
    cache.update("a", LLM, [chat()])
    other.update("a", LLM, [chat("theirs")])
    cache.clear()
    assert cache.lookup("a", LLM) is None
    assert other.lookup("a", LLM) == [chat("theirs")]
    assert blocking.get("llm:mine") == 1


def test_models_are_asked_once(blocking):
    set_llm_cache(ScoutCache(blocking))
    try:
        model = FakeListChatModel(responses=["one", "two"])
        assert [model.invoke("hello").content, model.invoke("hello").content] == ["one", "one"]
        assert model.invoke("hello?").content == "two"
    finally:
        set_llm_cache(None)


async def test_models_are_asked_once_on_a_loop(awaited, runner):
    model = GenericFakeChatModel(messages=iter(["one", "two"]), cache=ScoutCache(awaited))
    first, second = await model.ainvoke("hello"), await model.ainvoke("hello")
    assert (first.content, second.content) == ("one", "one")


def test_the_wrong_kind_of_cache_is_refused(awaited):
    with pytest.raises(CacheError, match="not in a dict"):
        ScoutCache({})
    with pytest.raises(CacheError, match="asked without waiting"):
        ScoutCache(awaited).lookup("a", "b")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"tags": "daily"}, "tags is a list"), ({"ttl": "soon"}, "no time to live"), ({"keep": "all"}, "keep takes")],
)
def test_what_can_not_be_meant_is_refused_where_it_is_given(tmp_path, wrong, told):
    with Cache(directory=tmp_path) as cache, pytest.raises(CacheError, match=told):
        ScoutCache(cache, **wrong)
