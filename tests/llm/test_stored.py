"""What goes in comes back: models of pydantic and of real clients, whole and in chunks."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Generic, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from scoutcache import register_type
from scoutcache.chat.stored import Chunks, is_stream, pack_chunk, packed, packed_stream, unpacked
from scoutcache.errors import CorruptEntry, SerializationError
from scoutcache.wire.unknown import UnknownType

from .answers import ASK, STREAM, answer, chunks


class Said(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str
    at: datetime | None = None
    renamed: int = Field(default=0, alias="from")


def test_a_model_of_pydantic_comes_back_as_it_was(llm):
    said = Said(text="hi", at=datetime(2026, 1, 1, tzinfo=UTC), more=[1, {"a": None}], **{"from": 7})
    assert llm.get_or_call(ASK, lambda: said) is said
    found = llm.get(ASK)
    assert (type(found), found) == (Said, said)
    assert found.model_fields_set == said.model_fields_set


class Person(BaseModel):
    name: str
    born: date


@dataclass(frozen=True)
class Point:
    x: int


T = TypeVar("T")
U = TypeVar("U")


class Part(BaseModel, Generic[T]):
    model_config = ConfigDict(extra="allow")

    parsed: T | None = None
    n: int = 0


class Parsed(BaseModel, Generic[T]):
    parts: list[Part[T]]


@pytest.mark.parametrize("parsed", [Person(name="Ann", born=date(2000, 1, 2)), [Person(name="A", born=date.min)],
                                    {"a": Person(name="A", born=date.max)}, Point(3), {"name": "Ann"}])  # fmt: skip
def test_what_was_parsed_for_the_user_comes_back_in_the_users_class(llm, parsed):
    """As clients give it, in a class whose parameter stands for nothing."""
    part = Part[U].model_construct(parsed=parsed, more=Person(name="", born=date.max))
    said = Parsed[U].model_construct(parts=[part])
    llm.get_or_call(ASK, lambda: said)
    found = llm.get(ASK)
    assert found == said
    assert isinstance(found, Parsed)
    assert type(found.parts[0].parsed) is type(parsed)
    assert found.parts[0].model_fields_set == part.model_fields_set


def test_a_class_made_for_a_type_is_not_taken_for_another(llm):
    llm.get_or_call(ASK, lambda: Part[int](parsed=1))
    assert llm.get(ASK) is None


def test_what_openais_client_parses_is_kept(llm):
    pytest.importorskip("openai", reason="needs the client of OpenAI")
    from openai.lib._parsing import parse_chat_completion
    from openai.types.chat import ChatCompletion

    whole = ChatCompletion.construct(**answer('{"name": "Ann", "born": "2000-01-02"}'))
    parsed = parse_chat_completion(response_format=Person, input_tools=[], chat_completion=whole)
    llm.get_or_call({**ASK, "response_format": Person}, lambda: parsed)
    found = llm.get({**ASK, "response_format": Person})
    assert found == parsed
    assert found.choices[0].message.parsed == Person(name="Ann", born=date(2000, 1, 2))


def test_what_a_client_notes_on_its_answer_comes_back(llm):
    types = pytest.importorskip("openai.types.chat", reason="needs the client of OpenAI")
    whole = types.ChatCompletion.construct(**answer())
    whole._request_id = "req-7"
    llm.set(ASK, whole)
    assert llm.get(ASK)._request_id == "req-7"


def test_what_the_user_taught_the_cache_is_stored_so(llm):
    class Local(BaseModel):
        text: str

    register_type(Local, lambda one: one.text, lambda text: Local(text=text))
    llm.set(ASK, Local(text="x"))
    assert llm.get(ASK) == Local(text="x")


def test_where_its_class_is_not_known_the_model_is_asked_anew(llm, monkeypatch):
    said = Said(text="hi")
    llm.set(ASK, said)
    monkeypatch.delattr(sys.modules[__name__], "Said")
    assert llm.get(ASK, "?") == "?"
    assert llm.get_or_call(ASK, lambda: "anew") == "anew"
    assert llm.get(ASK) == "anew"


def test_a_class_that_can_not_be_found_again_is_not_stored(llm):
    class Local(BaseModel):
        text: str

    with pytest.raises(SerializationError, match="Local can't be found by its name"):
        llm.set(ASK, Local(text="x"))
    assert llm.get_or_call(ASK, lambda: Local(text="x")).text == "x"
    assert llm.get(ASK) is None
    assert llm.metrics().not_kept == {"unstorable": 1}


def test_answers_of_openais_client_come_back_as_they_were(llm):
    types = pytest.importorskip("openai.types.chat", reason="needs the client of OpenAI")
    whole = types.ChatCompletion.construct(**answer(reason="tool_calls"), mystery={"new": [1, 2]})
    assert llm.get_or_call(ASK, lambda: whole) is whole
    found = llm.get(ASK)
    assert (type(found), found) == (types.ChatCompletion, whole)
    assert type(found.choices[0].message) is type(whole.choices[0].message)
    assert llm.get_entry(ASK).input_tokens == 1000
    pieces = [types.ChatCompletionChunk.construct(**one) for one in chunks()]
    assert llm.read(llm.get_or_call(STREAM, lambda: iter(pieces))) == pieces
    replayed = llm.read(llm.get(STREAM))
    assert replayed == pieces
    assert {type(one) for one in replayed} == {types.ChatCompletionChunk}


def test_answers_of_anthropics_client_come_back_as_they_were(llm):
    types = pytest.importorskip("anthropic.types", reason="needs the client of Anthropic")
    said = {"id": "m", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
                        ],
            "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 2}}  # fmt: skip
    whole = types.Message.construct(**said)
    request = {**ASK, "model": "claude-x"}
    llm.get_or_call(request, lambda: whole)
    found = llm.get(request)
    assert (type(found), found) == (types.Message, whole)
    assert [type(one) for one in found.content] == [types.TextBlock, types.ToolUseBlock]


DATA = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=4),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=10)  # fmt: skip


@given(DATA)
def test_whatever_is_packed_is_unpacked(value):
    assert unpacked(packed(value, {})) == value
    found = unpacked(packed_stream(map(pack_chunk, [value, value]), {}))
    assert found == [value, value]
    assert type(found) is Chunks


@settings(max_examples=60)
@given(DATA | st.fixed_dictionaries({"llm": st.just(1), "meta": st.just({})}, optional={"whole": DATA, "chunks": DATA}))
def test_whatever_is_unpacked_is_an_answer_or_none(stored):
    with suppress(CorruptEntry, UnknownType):
        unpacked(stored)


@pytest.mark.parametrize("name", [["os", "system", "validate"], ["subprocess", "Popen", "construct"],
                                  ["builtins", "eval", "validate"], ["os", "system", "fields"],
                                  [__name__, "Model", "x"], [__name__, "Said", "fields", {"__class__": 1}],
                                  [__name__, "Said", "construct", 3]])  # fmt: skip
def test_a_stored_name_runs_nothing(name):
    with pytest.raises((CorruptEntry, UnknownType)):
        unpacked({"llm": 1, "whole": ["echo hacked", name], "meta": {}})


def test_what_is_a_stream():
    class ClientStream:
        def __iter__(self):
            return iter(())

        def close(self):
            pass

    async def asynchronous():
        yield 1

    for stream in (iter([1]), (one for one in ()), ClientStream(), asynchronous(), map(str, [])):
        assert is_stream(stream)
    for whole in ([1], (1,), {"a": 1}, "text", b"x", None, Said(text="x"), {1}, range(3)):
        assert not is_stream(whole)
