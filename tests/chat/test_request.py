"""What makes two requests the same, and that nothing else does."""

from __future__ import annotations

import base64
import copy
import json
import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, create_model

from scoutcache.chat.defaults import DEFAULTS
from scoutcache.chat.request import MAX_CHARACTERS, canonical_request, normalised, request_digest
from scoutcache.config.sections import LlmSection
from scoutcache.errors import InvalidKey

IGNORED = LlmSection().ignored_fields
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS},
        optional={"name": TEXTS, "tool_call_id": TEXTS},
    ),
    max_size=4,
)
MODELS = st.sampled_from(["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "llama3", "openai/gpt-4o"])
PARAMETERS = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "max_tokens", "seed", "n", "stop", "tools", "mine", "response_format"]),
    VALUES, max_size=4,
)  # fmt: skip
REQUESTS = st.builds(lambda model, messages, more: {**more, "model": model, "messages": messages}, MODELS, MESSAGES,
                     PARAMETERS)  # fmt: skip
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def digest(request):
    return request_digest(canonical_request(request, IGNORED).fields)


def is_same(one, other):
    """Would JSON say so, with texts composed?"""
    def plain(value):
        return json.loads(json.dumps(value), parse_int=float)

    return composed(plain(one)) == composed(plain(other))


def composed(value):
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {composed(key): composed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [composed(inner) for inner in value]
    return ("bool", value) if isinstance(value, bool) else value


def shuffled(value, data):
    """The same, with objects in another order, texts in another form, lists as tuples, whole numbers as floats."""
    if isinstance(value, dict):
        keys = data.draw(st.permutations(list(value)))
        return {key: shuffled(value[key], data) for key in keys}
    if isinstance(value, list):
        inner = [shuffled(one, data) for one in value]
        return tuple(inner) if data.draw(st.booleans()) else inner
    if isinstance(value, str):
        return unicodedata.normalize(data.draw(st.sampled_from(["NFC", "NFD"])), value)
    if type(value) is int and abs(value) < 2**53:
        return data.draw(st.sampled_from([value, float(value)]))
    return value


def unique_keys(value):
    if isinstance(value, dict):
        return len({unicodedata.normalize("NFC", key) for key in value}) == len(value) and all(
            unique_keys(one) for one in value.values()
        )
    return all(unique_keys(one) for one in value) if isinstance(value, list) else True


@settings(max_examples=60)
@given(REQUESTS, st.data())
def test_what_means_the_same_has_the_same_key(request_, data):
    assume(unique_keys(request_))
    assert digest(request_) == digest(shuffled(request_, data))


@settings(max_examples=60)
@given(REQUESTS, REQUESTS)
def test_two_requests_share_a_key_only_if_they_are_the_same(one, other):
    assume(unique_keys(one) and unique_keys(other))
    fields = [canonical_request(request, IGNORED).fields for request in (one, other)]
    assert (digest(one) == digest(other)) is is_same(*fields)


@settings(max_examples=60)
@given(REQUESTS, st.data())
def test_any_difference_that_matters_makes_another_key(request_, data):
    """One leaf of the request is changed, or an item taken from a list."""
    assume(unique_keys(request_))
    changed = copy.deepcopy(request_)
    place = data.draw(st.sampled_from(list(places(changed))))
    holder, key = place
    kind = data.draw(st.sampled_from(["change", "drop"] if isinstance(holder, list) else ["change"]))
    if kind == "drop":
        del holder[key]
    else:
        holder[key] = data.draw(LEAVES.filter(lambda value: not is_same(value, holder[key])))
    if place[0] is not changed:  # somewhere in messages, tools or a parameter: nothing there has a default
        assert digest(request_) != digest(changed)
    else:
        fields = [canonical_request(request, IGNORED).fields for request in (request_, changed)]
        assert (digest(request_) == digest(changed)) is is_same(*fields)


def places(value):
    """Every leaf, as what holds it and where; the model's name stays what it is."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list) and inner:
            yield from places(inner)
        if key != "model":
            yield value, key


@pytest.mark.parametrize("name", sorted(DEFAULTS["openai"]))
def test_a_documented_default_is_the_same_as_nothing(name):
    default = DEFAULTS["openai"][name]
    assert digest(ASK) == digest({**ASK, name: default})
    assert digest(ASK) != digest({**ASK, name: "another"})


@pytest.mark.parametrize("model", ["llama3", "openai/gpt-4o", "gpt-oss-120b", ""])
def test_where_no_default_is_documented_nothing_is_nothing(model):
    ask = {**ASK, "model": model}
    for more in ({"temperature": 1}, {"temperature": None}, {"stream": False}, {"n": 1}):
        assert digest(ask) != digest({**ask, **more})


def test_a_default_is_one_of_its_own_type():
    assert digest(ASK) != digest({**ASK, "n": True})
    assert digest(ASK) != digest({**ASK, "temperature": "1"})
    assert digest(ASK) == digest({**ASK, "temperature": 1.0})


def test_the_default_of_tool_choice_goes_by_the_tools():
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert digest(ASK) == digest({**ASK, "tool_choice": "none"}) != digest({**ASK, "tool_choice": "auto"})
    with_tools = {**ASK, "tools": tools}
    assert digest(with_tools) == digest({**with_tools, "tool_choice": "auto"})
    assert digest(with_tools) != digest({**with_tools, "tool_choice": "none"})


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5", "llama3"])
def test_a_text_and_a_list_of_that_text_alone_are_the_same(model):
    def asked(content, system="be kind"):
        return digest({"model": model, "system": system, "messages": [{"role": "user", "content": content}]})

    part = {"type": "text", "text": "hello"}
    assert asked("hello") == asked([part]) == asked("hello", [{"type": "text", "text": "be kind"}])
    others = [[part, part], [{**part, "cache_control": {"type": "ephemeral"}}], [{**part, "type": "code"}], [["hello"]],
              [{"type": "text", "text": 5}], [{"type": ["text"], "text": "hello"}], [], ["hello"]]  # fmt: skip
    assert len({asked("hello"), *map(asked, others)}) == len(others) + 1


def test_a_response_is_asked_for_by_a_text_or_by_a_message_with_it():
    def asked(*messages):
        return digest({"model": "gpt-4o", "input": messages[0] if isinstance(messages[0], str) else list(messages)})

    part, message = {"type": "input_text", "text": "hello"}, {"role": "user", "content": "hello"}
    assert asked("hello") == asked(message) == asked({**message, "type": "message"})
    assert asked("hello") == asked({**message, "content": [part]})
    others = [asked({**message, "role": "developer"}), asked({**message, "id": "1"}), asked(message, message)]
    assert len({asked("hello"), *others}) == 4


def test_anthropics_documented_choice_of_tools_is_left_out():
    short = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    choice = {"type": "auto", "disable_parallel_tool_use": False}
    assert digest({**short, "tool_choice": choice}) == digest({**short, "tool_choice": {"type": "auto"}})


@pytest.mark.parametrize("name", ["user", "metadata", "store", "service_tier", "timeout", "prompt_cache_key"])
def test_what_has_no_part_in_the_answer_makes_no_difference(name):
    assert digest(ASK) == digest({**ASK, name: "somebody"})
    assert request_digest(canonical_request({**ASK, name: "x"}).fields) != digest(ASK)


PICTURE = base64.b64encode(bytes(range(256)) * 3).decode()


def with_picture(url):
    return {**ASK, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.parametrize(
    "other",
    [
        f"data:IMAGE/png;base64,{PICTURE}",
        "data:image/png;base64," + "\n".join(PICTURE[at : at + 76] for at in range(0, len(PICTURE), 76)),
        f"data:image/png;base64,{PICTURE.rstrip('=')}",
    ],
)
def test_a_picture_is_its_bytes(other):
    assert digest(with_picture(f"data:image/png;base64,{PICTURE}")) == digest(with_picture(other))


def test_another_picture_or_kind_of_it_is_another():
    first = f"data:image/png;base64,{PICTURE}"
    changed = base64.b64encode(b"other" + bytes(range(256))).decode()
    others = [f"data:image/png;base64,{changed}", f"data:image/jpeg;base64,{PICTURE}", "https://example.com/a.png",
              f"data:image/png;base64,{PICTURE}A", "data:image/png;base64,*not base64*"]  # fmt: skip
    assert len({digest(with_picture(url)) for url in [first, *others]}) == 6


def test_a_picture_of_anthropics_is_its_bytes_too():
    def ask(data, kind="image/png"):
        source = {"type": "base64", "media_type": kind, "data": data}
        return {"model": "claude-x", "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}

    assert digest(ask(PICTURE)) == digest(ask(PICTURE[:40] + "\n" + PICTURE[40:], "Image/PNG"))
    assert digest(ask(PICTURE)) != digest(ask("AAAA"))


@given(st.binary(max_size=300), st.integers(1, 80))
def test_a_digest_of_bytes_is_that_of_any_way_to_write_them(data, width):
    text = base64.b64encode(data).decode()
    wrapped = "\r\n".join(text[at : at + width] for at in range(0, len(text), width))
    url = "data:a/b;base64,"
    one, *others = [normalised({"url": url + way}) for way in (text, wrapped, text.rstrip("="))]
    assert [one, one] == others


def test_a_text_that_reads_like_a_picture_is_a_text():
    texts = ["data:text/plain;base64,QQ==", "data:text/plain;base64,QR==", "data:text/plain;base64,Q Q=="]
    asked = [{"model": "gpt-4o", "messages": [{"role": "user", "content": text}]} for text in texts]
    assert len(set(map(digest, asked))) == 3


def test_headers_part_answers_unless_they_are_known_to_be_harmless():
    plain = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    with_ = lambda **headers: {**plain, "extra_headers": headers}  # noqa: E731 - short
    same = [plain, {**plain, "extra_headers": None}, with_(**{"X-Request-Id": "1"}), with_(traceparent="2")]
    assert len(set(map(digest, same))) == 1
    assert digest(with_(**{"X-Tenant": "a"})) == digest(with_(**{"x-tenant": "a", "x-request-id": "3"}))
    others = [plain, with_(**{"X-Tenant": "a"}), with_(**{"X-Tenant": "b"}), with_(**{"anthropic-beta": "1m"})]
    assert len(set(map(digest, others))) == 4


def test_nothing_that_json_can_hold_looks_like_bytes():
    real = canonical_request(with_picture(f"data:image/png;base64,{PICTURE}")).fields
    fake = json.loads(json.dumps(real))
    assert request_digest(real) != request_digest(canonical_request(fake).fields)


class Colour(Enum):
    RED = "red"


class Message(BaseModel):
    role: str
    content: str | None = None
    refusal: str | None = None


def test_models_of_pydantic_and_enums_stand_for_their_data():
    said = Message(role="user", content="hello")
    assert digest({**ASK, "messages": [said]}) == digest(ASK)
    assert normalised({"a": Colour.RED}) == {"a": "red"}


class Person(BaseModel):
    name: str


@dataclass
class Place:
    name: str


def _another(kind: type, called: str = "Person") -> type[BaseModel]:
    return create_model(called, __module__=__name__, name=(kind, ...))


def test_a_class_that_the_answer_is_read_as_parts_answers_by_its_name_and_its_schema():
    digests = {
        digest({"model": "gpt-4o", "response_format": shape})
        for shape in (Person, Place, _another(int), _another(str, "Someone"), {"type": "text"},
                      Person.model_json_schema(), ["class", __name__, "Person", ""])
    }  # fmt: skip
    assert len(digests) == 7
    assert digest({"response_format": Person}) == digest({"response_format": _another(str)})


def test_a_class_without_a_schema_is_refused_by_name():
    class Strange(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        of: object
        call: Callable[[], int]

    with pytest.raises(InvalidKey, match=r"request\['response_format'\] is the class .*Strange, which has no"):
        digest({"response_format": Strange})


def test_an_answer_that_was_parsed_may_stand_in_a_request(recwarn):
    parsed = pytest.importorskip("openai.types.chat.parsed_chat_completion", reason="needs the client of OpenAI")
    said = parsed.ParsedChatCompletionMessage.construct(role="assistant", content="{}", parsed=Person(name="Ann"))
    assert digest({"messages": [said]}) == digest({"messages": [said.model_dump(exclude_unset=True, warnings=False)]})
    assert not recwarn.list


def test_what_a_client_leaves_out_is_left_out():
    openai = pytest.importorskip("openai", reason="needs the client of OpenAI")
    assert digest({**ASK, "top_p": openai.NOT_GIVEN, "stop": openai.omit}) == digest(ASK)


def a_circle():
    messages: list = []
    messages.append(messages)
    return messages


HOSTILE = {
    "bytes": (b"x", r"request\['messages'\] is of type bytes"),
    "set": ({1}, "of type set"),
    "object": ([{"content": object()}], r"request\['messages'\]\[0\]\['content'\] is of type object"),
    "decimal": (Decimal(1), "of type Decimal"),
    "nan": ([{"weight": math.nan}], "is nan"),
    "infinity": (-math.inf, "is -inf"),
    "key": ([{1: 2}], "has the key 1, which is not text"),
    "surrogate": ([{"content": "a\ud800b"}], r"lone surrogate U\+D800 at character 2"),
    "surrogate in a key": ([{"\udfff": 1}], r"lone surrogate"),
    "two forms": ([{"e\u0301": 1, "\u00e9": 2}], "twice"),
    "circle": (a_circle(), "holds itself"),
    "depth": (json.loads("[" * 95 + "]" * 95), "deeper than 90"),
    "generator": ((one for one in ()), "of type generator"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_no_request_can_hold_is_refused_by_name(kind):
    value, said = HOSTILE[kind]
    with pytest.raises(InvalidKey, match=said):
        canonical_request({"model": "m", "messages": value})


@pytest.mark.parametrize("request_", [None, "hello", [ASK], 3, {"model": 3, "messages": []}])
def test_what_is_no_request_is_refused(request_):
    with pytest.raises(InvalidKey, match=r"a request is|name of a model"):
        canonical_request(request_)


def test_a_picture_larger_than_any_model_takes_is_refused():
    with pytest.raises(InvalidKey, match=r"over 67,108,864 characters"):
        canonical_request(with_picture("data:image/png;base64," + "A" * MAX_CHARACTERS))
