"""``@cache.llm.cached``: any function that asks a model, blocking or not."""

from __future__ import annotations

import functools
import inspect

import pytest

from scoutcache.errors import CacheError, InvalidKey

from .answers import ASK, STREAM, Model, answer, chunks


def test_a_function_of_a_request_is_asked_once(llm):
    model = Model()
    chat = llm.cached(model)
    assert [chat(**ASK), chat(**dict(reversed(ASK.items())))] == [answer()] * 2
    assert model.asked == [ASK]
    assert chat.key(**ASK) == llm.key(ASK)
    assert chat.invalidate(**ASK) is True
    chat(**ASK)
    assert len(model.asked) == 2


def test_it_takes_the_options_of_get_or_call(llm):
    @llm.cached(ttl=60, operation="riddle", source="book", namespace="tenant")
    def chat(**request):
        return answer()

    chat(**ASK)
    assert llm.driven.ttl(chat.key(**ASK), namespace="tenant") == pytest.approx(60, abs=1e-3)
    entry = llm.driven.get_entry(chat.key(**ASK), namespace="tenant")
    assert {"operation:riddle", "source:book"} <= set(entry.tags)
    assert chat.invalidate(**ASK) is True


def test_the_request_is_the_arguments_with_their_defaults(llm):
    asked = []

    @llm.cached
    def chat(messages, model="gpt-4o", *, temperature=0.0, **more):
        asked.append(more)
        return answer()

    chat(ASK["messages"])
    chat(messages=ASK["messages"], model="gpt-4o", temperature=0)
    assert len(asked) == 1
    chat(ASK["messages"], seed=1)
    assert asked == [{}, {"seed": 1}]
    assert chat.key(ASK["messages"]) == llm.key({**ASK, "temperature": 0})


def test_a_lone_request_is_the_request(llm):
    @llm.cached
    def chat(request):
        return request["messages"]

    assert chat(ASK) == ASK["messages"]
    assert chat.key(ASK) == llm.key(ASK)


def test_a_method_shares_answers_among_objects(llm):
    if llm.is_async:
        pytest.skip("binding is the same")
    asked = []

    class Service:
        @llm.driven.cache.llm.cached
        def chat(self, **request):
            asked.append(self)
            return answer()

    assert Service().chat(**ASK) == Service().chat(**ASK) == answer()
    assert len(asked) == 1


def test_streams_are_replayed(llm):
    chat = llm.cached(lambda **request: iter(chunks()))
    assert llm.read(chat(**STREAM)) == llm.read(chat(**STREAM)) == chunks()


def test_a_generator_function_is_asked_for_a_stream(llm):
    taken = []

    def chat(**request):
        for chunk in chunks():
            taken.append(chunk)
            yield chunk

    chat = llm.cached(chat)
    stream = chat(**ASK)
    assert llm.next(stream) == chunks()[0]
    assert llm.read(stream) == chunks()[1:]
    assert llm.read(chat(**ASK)) == chunks() == taken
    assert chat.key(**ASK) == llm.key({**ASK, "stream": True})
    assert llm.cached(Model())(**ASK) == answer()


def test_an_asynchronous_generator_function_is_read_as_it_was(llm):
    if not llm.is_async:
        return
    asked = []

    async def chat(**request):
        asked.append(request)
        for chunk in chunks():
            yield chunk

    chat = llm.cached(chat).wrapped

    async def read():
        unread = chat(**ASK)
        assert asked == []
        broken_off = chat(**ASK)
        assert await anext(broken_off) == chunks()[0]
        await broken_off.aclose()
        assert [chunk async for chunk in chat(**ASK)] == [chunk async for chunk in unread] == chunks()
        assert [chunk async for chunk in await chat(**ASK)] == chunks()

    llm.driven.runner.run(read())
    assert asked == [ASK, ASK]


def test_the_wrapper_looks_like_the_function(llm):
    async def chat(**request):
        """Ask."""
        return answer()

    if not llm.is_async:
        with pytest.raises(CacheError, match="coroutine"):
            llm.cached(chat)
        return
    wrapped = llm.cached(chat).wrapped
    assert (wrapped.__name__, wrapped.__doc__) == ("chat", "Ask.")
    assert inspect.iscoroutinefunction(wrapped)
    assert llm.driven.runner.run(wrapped(**ASK)) == answer()


def test_what_is_no_function_is_refused(llm):
    with pytest.raises(CacheError, match="only what can be called"):
        llm.cached(3)


def test_the_method_of_a_real_client_will_do(llm):
    openai = pytest.importorskip("openai", reason="needs the client of OpenAI")
    httpx = pytest.importorskip("httpx2" if "httpx2" in str(inspect.signature(openai.OpenAI)) else "httpx")
    asked = []

    def handle(request):
        asked.append(request)
        return httpx.Response(200, json=answer())

    with openai.OpenAI(api_key="k", http_client=httpx.Client(transport=httpx.MockTransport(handle))) as client:
        create = client.chat.completions.create
        chat = llm.cached(create)
        assert chat(**ASK).choices[0].message.content == "42"
        assert chat(**ASK) == llm.get_or_call(ASK, create) == llm.get(ASK)
    assert len(asked) == 1


def test_functions_share_no_answer_to_a_request_without_a_model(llm):
    first = llm.cached(lambda text: f"first {text}")
    second = llm.cached(lambda text: f"second {text}")
    assert [first("x"), second("x"), first("x")] == ["first x", "second x", "first x"]

    def summed(text):
        return f"summed {text}"

    summed_up, translated = (llm.cached(operation=name)(summed) for name in ("summarize", "translate"))
    assert len({summed_up.key("x"), translated.key("x"), first.key("x"), second.key("x")}) == 4


@pytest.mark.parametrize("how", [{"operation": "summarize"}, {"operation": "translate"}, {"provider": "azure"}])
def test_the_operation_and_provider_of_a_function_are_part_of_its_key(llm, how):
    plain, told = llm.cached(Model()), llm.cached(Model(), **how)
    assert plain.key(**ASK) == llm.key(ASK) != told.key(**ASK)
    assert told(**ASK) == answer()
    assert llm.get(ASK) is None
    assert told.invalidate(**ASK) is True


class Client:
    def __init__(self, name):
        self.name, self.asked = name, 0

    def chat(self, messages, model=None):
        self.asked += 1
        return f"{self.name} {messages}"


class Named(Client):
    def __cache_key__(self):
        return self.name


def test_objects_share_no_answer_to_a_request_without_a_model(llm):
    if llm.is_async:
        pytest.skip("binding is the same")
    whole = llm.driven.cache.llm.cached
    for ask in (whole(Client.chat), lambda one, *said: whole(one.chat)(*said)):
        with pytest.raises(InvalidKey, match=r"names no model.*class Client ") as refused:
            ask(Client("gpt"), [1])
        assert "give model=" in refused.value.hint
        assert [ask(Named(name), [1]) for name in ("gpt", "claude", "gpt")] == ["gpt [1]", "claude [1]", "gpt [1]"]
    asked = Client("gpt")
    assert [whole(asked.chat)([1], model="m") for _ in range(2)] == ["gpt [1]"] * 2
    assert asked.asked == 1
    with pytest.raises(InvalidKey, match="names no model"):
        whole(Model())(messages=[])


def test_what_a_partial_was_given_is_part_of_the_request(llm):
    def translate(language, text):
        return f"{language} {text}"

    french, german = (llm.cached(functools.partial(translate, one)) for one in ("fr", "de"))
    assert [french("x"), german("x")] == ["fr x", "de x"]


def test_the_field_of_the_cache_can_not_be_given(llm):
    with pytest.raises(InvalidKey, match="the cache's own"):
        llm.cached(Model())(**{**ASK, "@scoutcache.llm.cached": {}})


def test_an_option_that_there_is_not_is_told_where_it_is_given(llm):
    with pytest.raises(TypeError, match="unexpected keyword argument 'tll'; did you mean 'ttl'"):
        llm.cached(tll=3)(Model())
    llm.cached(ttl="1h", operation="qa", semantic=False, source="s", keep="truncated", namespace="n")(Model())
