"""`cache.llm` through both faces: asking once, keeping what is known, leaving what is no good answer, invalidating."""

from __future__ import annotations

import inspect
import math
from datetime import UTC, datetime

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.errors import CacheError, InvalidKey, InvalidTTL, SerializationError
from scoutcache.llm import AsyncLlm, Llm

from .answers import ASK, Model, answer, asking, chunks


def test_a_model_is_asked_once(llm):
    model = Model()
    assert llm.get(ASK) is None
    assert llm.get(ASK, "?") == "?"
    for _ in range(3):
        assert llm.get_or_call(ASK, model) == answer()
    assert llm.get(dict(reversed(ASK.items()))) == answer()
    assert model.asked == [ASK]


def test_what_is_set_is_what_is_got(llm):
    for value in (answer(), "a text", ["a", "list"], 7, {"nested": (1, 2)}):
        assert llm.set(ASK, value) is True
        assert llm.get(ASK, "?") == value
        assert type(llm.get(ASK, "?")) is type(value)
    assert llm.delete(ASK) is True
    assert llm.get(ASK, "?") == "?"


@pytest.mark.parametrize("temperature", [0, 0.7, 2, None])
def test_calling_is_asking_whatever_the_temperature(llm, temperature):
    model, request = Model(), asking("x", temperature=temperature)
    assert [llm.get_or_call(request, model), llm.get_or_call(request, model)] == [answer()] * 2
    assert len(model.asked) == 1


def test_the_key_says_the_model_and_nothing_of_the_prompt(llm):
    key = llm.key(ASK)
    assert key.startswith("llm:chat:gpt-4o:v1:")
    assert len(key.rpartition(":")[2]) == 32
    assert llm.key(ASK, operation="riddle") == key
    assert llm.key({"messages": []}).startswith("llm:chat:-:v1:")
    assert llm.key(text="a text", operation="summarize", options={"model": "m"}).startswith("llm:summarize:m:v1:")
    assert llm.key({**ASK, "model": "a:b%c"}).startswith("llm:chat:a%3Ab%25c:v1:")


def test_keys_of_today_are_those_of_tomorrow(llm):
    """Whoever changes these makes every cache out there cold: raise the version in the key instead."""
    assert llm.key(ASK) == "llm:chat:gpt-4o:v1:55f059829c608b750cd5ef23237053c7"
    assert llm.key(text="a text", operation="qa", options={"question": "why?"}) == (
        "llm:qa:-:v1:3dd21a563227542e2dcdd7302f4b6e52"
    )


def test_an_answer_is_kept_with_what_is_known_of_it(llm, fake_clock):
    llm.get_or_call(ASK, Model(), operation="riddle", source=["book:1", "book:2"], tags=["mine"])
    entry = llm.get_entry(ASK)
    assert entry.response == answer()
    assert (entry.request_id, entry.provider, entry.model, entry.operation) == (
        "chat-1", "openai", "gpt-4o-2024-08-06", "riddle",
    )  # fmt: skip
    assert (entry.input_tokens, entry.output_tokens, entry.cost) == (1000, 100, pytest.approx(0.003))
    assert entry.sources == ("book:1", "book:2")
    assert entry.cached_at == datetime.fromtimestamp(fake_clock.wall(), UTC)
    assert entry.streamed is False
    stored = llm.driven.get_entry(llm.key(ASK))
    assert set(stored.tags) == {"operation:riddle", "model:gpt-4o", "model:gpt-4o-2024-08-06", "provider:openai",
                                "source:book:1", "source:book:2", "mine"}  # fmt: skip
    assert stored.cost == pytest.approx(0.003)
    assert llm.get_entry(asking("something else")) is None


def test_what_the_caller_says_goes_before_what_the_answer_says(llm):
    said = {"provider": "azure", "request_id": "r", "input_tokens": 1, "output_tokens": 2, "cost": 0.5}
    llm.set(ASK, answer(), **said)
    entry = llm.get_entry(ASK)
    assert {name: getattr(entry, name) for name in said} == said


FAULTY = {
    "error": {"error": {"message": "overloaded"}},
    "refused": answer(reason="content_filter"),
    "truncated": answer(reason="length"),
    "other_model": answer(model="gpt-4o-mini"),
    "unfinished": {"object": "response", "status": "in_progress", "model": "gpt-4o"},
}


@pytest.mark.parametrize("fault", FAULTY)
def test_what_is_no_good_answer_is_given_and_not_kept(llm, fault):
    model = Model(FAULTY[fault])
    assert llm.get_or_call(ASK, model) == FAULTY[fault]
    assert llm.set(ASK, FAULTY[fault]) is False
    assert llm.get(ASK) is None
    assert llm.get_or_call(ASK, model) == FAULTY[fault]
    assert len(model.asked) == 2
    assert llm.metrics().not_kept == {fault: 3}


@pytest.mark.parametrize("fault", FAULTY)
def test_it_is_kept_where_the_caller_wants_it(llm, fault):
    assert llm.get_or_call(ASK, Model(FAULTY[fault]), keep=fault) == FAULTY[fault]
    assert llm.get(ASK) == FAULTY[fault]


def test_no_answer_at_all_is_not_kept(llm):
    assert llm.get_or_call(ASK, lambda: None) is None
    assert llm.get(ASK, "none") == "none"
    assert llm.set(ASK, None) is False
    assert llm.metrics().not_kept == {"unfinished": 2}
    assert llm.get_or_call(ASK, Model()) == answer()
    llm.record_metrics(model="m")
    assert llm.metrics().not_kept == {"unfinished": 2}


def test_cut_off_answers_and_deployments_by_the_configuration(open_llm):
    llm = open_llm(llm={"keep_truncated": True, "model_aliases": {"mine": "gpt-4o"}})
    assert llm.set(ASK, FAULTY["truncated"]) is True
    assert llm.set({**ASK, "model": "mine"}, answer()) is True
    assert llm.set({**ASK, "model": "other"}, answer()) is False


def test_what_a_call_raises_is_raised_and_not_kept(llm):
    model = Model(OSError("the line is dead"), answer())
    with pytest.raises(OSError, match="the line is dead"):
        llm.get_or_call(ASK, model)
    assert llm.get_or_call(ASK, model) == answer()
    assert llm.metrics().errors == 1


def test_text_operation_and_options(llm):
    asked = {"text": "a long text", "operation": "summarize", "options": {"length": 3}}
    assert llm.get_or_call(**asked, call=lambda text, length: text[:length]) == "a l"
    assert llm.get(**asked) == "a l"
    assert llm.get(text=["a lo", "ng text"], operation="summarize", options={"length": 3.0}) == "a l"
    for other in ({"text": "a long text."}, {"operation": "qa"}, {"options": {"length": 4}}, {"options": None}):
        assert llm.get(**{**asked, **other}) is None
    assert llm.driven.keys("llm:summarize:*") == [llm.key(**asked)]


def test_operations_have_times_to_live_of_their_own(open_llm):
    llm = open_llm(ttl={"llm": "2h"}, llm={"operation_ttls": {"mine": "5m"}})

    def life(operation, **how):
        llm.set(text="x", operation=operation, response="y", **how)
        return llm.driven.ttl(llm.key(text="x", operation=operation))

    hours = {"summarize": 2, "key_points": 2, "sentiment": 24, "questions": 1, "qa": 0.5, "mine": 1 / 12, "other": 2}
    for operation, expected in hours.items():
        assert life(operation) == pytest.approx(expected * 3600, abs=1e-3)
    assert life("qa", ttl="1m") == pytest.approx(60, abs=1e-3)
    llm.get_or_call(ASK, Model(), operation="sentiment")
    assert llm.driven.ttl(llm.key(ASK)) == pytest.approx(86400, abs=1e-3)


def test_a_policy_goes_before_the_operations_time(open_llm):
    llm = open_llm(policies=[{"policy_id": "p", "applies_to": "llm:qa:*", "ttl_seconds": "10s"}])
    llm.set(text="x", operation="qa", response="y")
    assert llm.driven.ttl(llm.key(text="x", operation="qa")) == pytest.approx(10, abs=1e-3)


def test_a_text_stands_in_a_key_only_where_that_is_wanted(open_llm):
    llm = open_llm(llm={"plain_texts": True, "hash_above": 10})
    assert llm.key(text="a text", operation="qa").startswith("llm:qa:-:v1:a text:")
    assert "a longer text" not in llm.key(text="a longer text", operation="qa")
    assert llm.key(text="a:b", operation="qa") != llm.key(text="a", operation="qa")


def test_answers_go_by_model_operation_and_source(llm):
    llm.set(ASK, answer(), operation="riddle", source="book:1")
    llm.set(asking("b"), answer(), source="book:2")
    llm.set(text="c", operation="qa", response="d", options={"model": "m"}, source="book:1")

    def left():
        asked = [llm.get(ASK), llm.get(asking("b")), llm.get(text="c", operation="qa", options={"model": "m"})]
        return [one is not None for one in asked]

    both = llm.invalidate(model="gpt-4o", source="book:1", match="all", dry_run=True)
    assert (both.matched, both.invalidated, left()) == (1, 0, [True, True, True])
    llm.invalidate(model="gpt-4o", source="book:1", match="all")
    assert left() == [False, True, True]
    llm.invalidate(operation=["qa", "none"])
    assert left() == [False, True, False]
    assert llm.invalidate(model="gpt-4o-2024-08-06", count=True).matched == 1
    assert left() == [False, False, False]
    with pytest.raises(InvalidKey, match="nothing to invalidate was named"):
        llm.invalidate()


def test_answers_of_another_namespace_are_invalidated_by_its_name(llm):
    llm.set(ASK, answer())
    llm.set(ASK, answer(), namespace="tenant")
    assert llm.invalidate(model="gpt-4o", namespace="tenant", count=True).matched == 1
    assert (llm.get(ASK) is None, llm.get(ASK, namespace="tenant")) == (False, None)


def test_an_invalidation_beats_a_call_that_began_before_it(llm):
    cache = llm.driven.cache

    def invalidated_meanwhile():
        cache.llm.invalidate(model="gpt-4o")
        return answer()

    async def invalidated_meanwhile_async():
        await cache.llm.invalidate(model="gpt-4o")
        return answer()

    assert llm.get_or_call(ASK, invalidated_meanwhile_async if llm.is_async else invalidated_meanwhile) == answer()
    assert llm.get(ASK) is None
    since = cache.position()
    llm.invalidate(model="gpt-4o")
    assert llm.set(ASK, answer(), since=since) is False


def test_the_options_of_get_or_compute_hold(llm, fake_clock):
    model = Model(answer("1"), answer("2"), answer("3"))
    assert llm.get_or_call(ASK, model, ttl=10, stale_ttl=100) == answer("1")
    fake_clock.advance(11)
    assert llm.get(ASK) is None
    assert llm.get_entry(ASK) is None
    assert llm.get_or_call(ASK, model, ttl=10, stale_ttl=100, soft_timeout="never") == answer("2")
    assert llm.get_or_call(ASK, model, condition=lambda: False) == answer("3")
    assert llm.get_or_call(ASK, model, validate=lambda said: said != answer("2")) == answer("3")
    assert llm.get_or_call(asking("b"), model, store_if=lambda said: False) == answer("3")
    assert llm.get(asking("b")) is None
    assert llm.metrics().bypassed == 1


def test_namespaces_are_apart(llm):
    llm.set(ASK, answer("mine"))
    llm.set(ASK, answer("theirs"), namespace="tenant")
    assert (llm.get(ASK), llm.get(ASK, namespace="tenant")) == (answer("mine"), answer("theirs"))
    assert llm.get(ASK, namespace="nobody") is None


def test_a_cache_that_is_off_asks_each_time(open_llm):
    llm, model = open_llm(enabled=False), Model()
    assert [llm.get_or_call(ASK, model), llm.get_or_call(ASK, model)] == [answer()] * 2
    assert (len(model.asked), llm.get(ASK)) == (2, None)
    assert llm.metrics().requests == 0


FORMS = {
    "nothing": lambda: "said",
    "the request": lambda request: request["messages"] and "said",
    "its fields": lambda model, messages: (model, messages) and "said",
    "some fields": lambda messages, other=3: messages and "said",
    "all fields": lambda **request: request == ASK and "said",
    "defaults": lambda this="said": this,
    "positional": lambda request, /: request == ASK and "said",
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_called_may_take_nothing_the_request_or_its_fields(llm, form):
    assert llm.get_or_call(ASK, FORMS[form]) == "said"


@pytest.mark.parametrize("call", [None, 3, lambda a, b: 0, lambda *, prompt: 0])
def test_what_can_not_be_called_is_refused(llm, call):
    with pytest.raises(CacheError, match="call"):
        llm.get_or_call(ASK, call)


def test_a_coroutine_function_needs_an_event_loop(llm):
    async def ask(**_):
        return answer()

    if llm.is_async:
        assert llm.get_or_call(ASK, ask) == answer()
    else:
        with pytest.raises(CacheError, match="coroutine"):
            llm.get_or_call(ASK, ask)


WRONG = {
    "nothing asked": (lambda llm: llm.get(), InvalidKey, "nothing is asked"),
    "both": (lambda llm: llm.get(ASK, text="x", operation="qa"), InvalidKey, "a question is"),
    "no operation": (lambda llm: llm.get(text="x"), InvalidKey, "a question is"),
    "no text": (lambda llm: llm.get(options={}), InvalidKey, "a question is"),
    "options": (lambda llm: llm.get(text="x", operation="qa", options=[1]), InvalidKey, "options is a mapping"),
    "nan": (lambda llm: llm.get({**ASK, "temperature": math.nan}), InvalidKey, r"request\['temperature'\] is nan"),
    "bytes": (lambda llm: llm.get({**ASK, "x": b""}), InvalidKey, r"request\['x'\] is of type bytes"),
    "no text at all": (lambda llm: llm.get(text=3, operation="qa"), InvalidKey, "text or chunks of text, not int"),
    "model": (lambda llm: llm.get_or_call({**ASK, "model": "a\x1b"}, Model()), InvalidKey, "control codes"),
    "provider, a name": (lambda llm: llm.get_or_call(ASK, Model(), provider="a\x1b"), InvalidKey, "control codes"),
    "sources": (lambda llm: llm.set(ASK, "x", source=3), InvalidKey, "source is a name, not int"),
    "models": (lambda llm: llm.invalidate(model=3), InvalidKey, "model is a name, not int"),
    "no name": (lambda llm: llm.invalidate(model=""), InvalidKey, "model is a name, and can't be empty"),
    "reported model": (lambda llm: llm.record_metrics(model=3), InvalidKey, "model is a name, not int"),
    "reported operation": (lambda llm: llm.record_metrics(operation=3), InvalidKey, "operation is a name, not int"),
    "text": (lambda llm: llm.get(text=b"x", operation="qa"), InvalidKey, "text"),
    "surrogate": (lambda llm: llm.get(text="\ud800", operation="qa"), InvalidKey, "lone surrogate"),
    "operation": (lambda llm: llm.get(ASK, operation="a\nb"), InvalidKey, "control codes"),
    "an operation of no name": (lambda llm: llm.get(text="x", operation=""), InvalidKey, "operation is a name, and"),
    "a text that has been read": (lambda llm: llm.get_or_call(text=iter("ab"), operation="qa", call=lambda text: text),
                                  CacheError, "call needs text, which the request doesn't have"),
    "condition": (lambda llm: llm.get_or_call(ASK, Model(), condition=5), CacheError, "condition is a function"),
    "operations": (lambda llm: llm.get(text="x", operation=3), InvalidKey, "operation is a name, not int"),
    "source": (lambda llm: llm.set(ASK, "x", source="a\x00"), InvalidKey, "control codes"),
    "keep": (lambda llm: llm.set(ASK, "x", keep="all"), CacheError, "keep takes kinds"),
    "tokens": (lambda llm: llm.set(ASK, "x", input_tokens=-1), CacheError, "input_tokens is a whole number"),
    "cost": (lambda llm: llm.set(ASK, "x", cost=-1), CacheError, "cost is"),
    "provider": (lambda llm: llm.set(ASK, "x", provider=3), CacheError, "provider is text"),
    "ttl": (lambda llm: llm.set(ASK, "x", ttl="soon"), InvalidTTL, "soon"),
    "no response": (lambda llm: llm.set(ASK), CacheError, "no response"),
    "a stream": (lambda llm: llm.set(ASK, iter([1])), CacheError, "stream"),
    "unstorable": (lambda llm: llm.set(ASK, {"x": object()}), SerializationError, "object"),
    "option": (lambda llm: llm.get_or_call(ASK, Model(), tll=3), TypeError, "did you mean 'ttl'"),
    "hours": (lambda llm: llm.metrics(0), CacheError, "hours"),
    "latency": (lambda llm: llm.record_metrics(latency="soon"), CacheError, "latency: 'soon' is no duration"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_can_not_be_meant_is_refused_by_name(llm, kind):
    call, error, said = WRONG[kind]
    with pytest.raises(error, match=said):
        call(llm)
    assert llm.driven.keys() == []


def test_an_answer_that_can_not_be_stored_is_given_all_the_same(llm):
    one = object()
    assert llm.get_or_call(ASK, lambda: {"said": one})["said"] is one
    assert llm.get(ASK) is None


@pytest.mark.parametrize("named", ["gpt\x1b[31m", "m" * 2000, "\ud800"])
def test_an_answer_whose_model_gives_itself_a_name_of_no_use_is_given_all_the_same(llm, named):
    """It was paid for; what the server says is none of the caller's doing."""
    assert llm.get_or_call(ASK, lambda: answer(model=named)) == answer(model=named)
    assert llm.get(ASK) is None  # another model's
    llm.record_metrics(answer(model=named))
    assert llm.metrics().calls == 2


def test_what_something_else_stored_under_the_key_is_no_answer(llm):
    later = {"llm": 99, "whole": ["x", None], "meta": {}}
    for value in ("text", {"llm": 1}, later, {"llm": 1, "whole": 3, "meta": {}}):
        llm.driven.set(llm.key(ASK), value)
        assert llm.get(ASK) is None
        assert llm.get_entry(ASK) is None
    assert llm.get_or_call(ASK, Model()) == answer()
    assert llm.get(ASK) == answer()


def test_what_may_be_read_only_once_is_read_once(llm):
    llm.get_or_call(ASK, Model(), source=(one for one in ["a", "b"]), tags=iter(["t"]), keep=iter(["truncated"]))
    assert llm.get_entry(ASK).sources == ("a", "b")
    assert "t" in llm.driven.get_entry(llm.key(ASK)).tags


def test_machines_share_answers_and_counts_by_a_server(open_llm, tmp_path, face):
    """Two machines, each with a directory of its own."""
    here, there = (open_llm(["memory", "redis", "disk"], directory=tmp_path / name) for name in "ab")
    model = Model()
    assert here.get_or_call(ASK, model) == there.get_or_call(ASK, model) == answer()
    stream = {**ASK, "stream": True}
    assert here.read(here.get_or_call(stream, lambda: iter(chunks()))) == chunks()
    assert there.read(there.get_or_call(stream, model)) == chunks()
    assert len(model.asked) == 1
    here.driven.flush()
    told = there.metrics()
    assert (told.requests, told.calls, told.hits) == (4, 2, 2)
    there.invalidate(model="gpt-4o")
    here.driven.turn()
    assert (here.get(ASK), there.get(ASK)) == (None, None)


def test_both_faces_have_the_same_methods_with_the_same_arguments():
    def public(kind):
        return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}

    ours, theirs = public(Llm), public(AsyncLlm)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        mine, other = inspect.signature(method), inspect.signature(theirs[name])
        assert list(mine.parameters.values()) == list(other.parameters.values()), name
        assert inspect.iscoroutinefunction(theirs[name]) is (name not in {"key", "cached"})
        assert method.__doc__
        assert theirs[name].__doc__
    assert isinstance(Cache.llm, property)
    assert isinstance(AsyncCache.llm, property)
