"""What answers say of themselves, and which are not to be kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.chat.answers import is_same_model, outline_of, outline_of_chunks


def chat(reason="stop", **more):
    return {"id": "c1", "model": "gpt-4o-2024-08-06", "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": "hi"}}],
            **more}  # fmt: skip


def claude(reason="end_turn", **more):
    return {"id": "m1", "type": "message", "model": "claude-sonnet-4-5-20250929", "stop_reason": reason,
            "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 7, "output_tokens": 3},
            **more}  # fmt: skip


def responses(status="completed", **more):
    return {"id": "r1", "object": "response", "status": status, "model": "gpt-4o", "output": [],
            "usage": {"input_tokens": 7, "output_tokens": 3}, **more}  # fmt: skip


def gemini(reason="STOP", **more):
    return {"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": reason}], **more}


def bedrock(reason="end_turn"):
    return {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": reason}


@pytest.mark.parametrize("answer", [chat(), claude(), responses()])
def test_an_answer_says_its_tokens_and_is_kept(answer):
    outline = outline_of(answer)
    assert outline.tokens == (7, 3)
    assert outline.request_id == answer["id"]
    assert outline.fault(answer["model"]) is None


def test_tokens_that_anthropic_took_from_its_cache_or_put_there_were_sent_too():
    used = {"input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": None, "output_tokens": 3}
    assert outline_of(claude(usage=used)).tokens == (510, 3)
    begin = {"type": "message_start", "message": {"id": "m1", "model": "claude-x", "usage": used}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
    assert outline_of_chunks([begin, end, {"type": "message_stop"}]).tokens == (510, 5)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"error": {"message": "no"}}, "error"),
        ({"type": "error", "error": {}}, "error"),
        (responses("failed", error={"code": "server_error"}), "error"),
        (responses("cancelled"), "error"),
        (chat("content_filter"), "refused"),
        (chat(choices=[{"finish_reason": "stop", "message": {"refusal": "I can't"}}]), "refused"),
        (claude("refusal"), "refused"),
        (responses(output=[{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]), "refused"),
        (responses("incomplete", incomplete_details={"reason": "content_filter"}), "refused"),
        (chat("length"), "truncated"),
        (claude("max_tokens"), "truncated"),
        (claude("model_context_window_exceeded"), "truncated"),
        (responses("incomplete", incomplete_details={"reason": "max_output_tokens"}), "truncated"),
        (responses("queued"), "unfinished"),
        ({"id": "x", "object": "chat.completion", "model": "gpt-4o", "choices": []}, "unfinished"),
        (responses("in_progress"), "unfinished"),
        (chat(model="gpt-4o-mini"), "other_model"),
        (claude(model="claude-haiku-4-5"), "other_model"),
        (gemini("SAFETY"), "refused"),
        (gemini("SPII"), "refused"),
        (gemini("OTHER"), "error"),
        (gemini("MAX_TOKENS"), "truncated"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "refused"),
        (gemini(promptFeedback={"safetyRatings": []}), None),
        (gemini(), None),
        (bedrock("guardrail_intervened"), "refused"),
        (bedrock("content_filtered"), "refused"),
        (bedrock("max_tokens"), "truncated"),
        (bedrock(), None),
        ({"generation": "no", "amazon-bedrock-guardrailAction": "INTERVENED"}, "refused"),
        (chat(error=None), None),
        *((chat(error=nothing), None) for nothing in (False, "", {})),
        (chat("error"), "error"),
        (chat("model_length"), "truncated"),
        ({"finish_reason": "ERROR_TOXIC", "message": {}}, "error"),
        ({"finish_reason": "COMPLETE", "message": {}}, None),
        ({"status": "error", "message": "no"}, "error"),
        (chat(choices=[{"finish_reason": "tool_calls", "message": {"refusal": None}}]), None),
        (claude("tool_use"), None),
        (claude("pause_turn"), None),
    ],
)
def test_what_is_no_good_answer_has_a_fault(answer, fault):
    asked = "claude-sonnet-4-5" if "stop_reason" in answer else "gpt-4o"
    assert outline_of(answer).fault(asked) == fault
    if fault is not None:
        assert outline_of(answer).fault(asked, keep=[fault]) is None


def test_a_model_that_was_asked_for_is_not_the_one_that_answered():
    """What was read out of a text, say: an answer of no provider's shape."""
    outline = outline_of({"id": "VIN1", "model": "Corolla", "year": 2020})
    assert (outline.model, outline.request_id, outline.fault("gpt-4o")) == (None, None, None)


def test_the_worst_fault_is_told_and_keeping_one_keeps_no_other():
    both = outline_of(chat("length", model="gpt-4o-mini"))
    assert both.fault("gpt-4o") == "truncated"
    assert both.fault("gpt-4o", keep=["truncated"]) == "other_model"


@pytest.mark.parametrize("name", ["modelVersion", "model_version"])
@pytest.mark.parametrize(
    ("asked", "answered", "fault"),
    [
        ("gemini-2.0-flash", "gemini-2.0-flash-001", None), ("models/gemini-2.5-pro", "gemini-2.5-pro", None),
        ("gemini-2.5-pro", "gemini-2.5-flash", "other_model"), ("gemini-2.5-flash", None, None),
    ],
)  # fmt: skip
def test_gemini_says_its_model_by_another_name(name, asked, answered, fault):
    whole = gemini(**{name: answered, "responseId": "r1"})
    for outline in (outline_of(whole), outline_of_chunks([{"candidates": [{"content": {}}], name: answered}, whole])):
        assert (outline.model, outline.request_id, outline.fault(asked)) == (answered, "r1", fault)


def test_a_deployments_name_is_no_other_model_when_its_alias_is_known():
    outline = outline_of(chat())
    assert outline.fault("my-deployment") == "other_model"
    assert outline.fault("my-deployment", aliases={"my-deployment": "gpt-4o"}) is None
    assert outline.fault("") is None


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4o", "gpt-4o", True), ("gpt-4o", "gpt-4o-2024-08-06", True), ("gpt-4", "gpt-4-0613", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True), ("GPT-4o", "gpt-4o", True),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929", False),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True), ("gemini-1.5-pro", "models/gemini-1.5-pro-002", True),
        ("us.anthropic.claude-3-5-sonnet-20240620-v1:0", "claude-3-5-sonnet-20240620", True),
        ("gpt-4o-2024-08-06", "gpt-4o", True), ("gpt-3.5-turbo", "gpt-3.5-turbo-0125", True),
        ("gpt-4o", "gpt-4o-mini", False), ("gpt-4o", "gpt-4o-mini-2024-07-18", False), ("gpt-4", "gpt-4o", False),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13", False), ("claude-opus-4-1", "claude-opus-4", False),
        ("o1", "o1-preview", False), ("llama3", "llama3.1", False), ("command-r", "command-r-08-2024", True),
        ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-05-20", True),
        ("gemini-2.5-pro-preview-03-25", "models/gemini-2.5-pro-preview-05-06", False),
        ("gemini-flash-latest", "gemini-2.5-flash-preview-09-2025", True),
        ("gemini-pro-latest", "gemini-2.5-pro", True),
        ("gemini-flash-latest", "gemini-2.5-flash-lite", False), ("gemini-pro-latest", "gemini-2.5-flash", False),
        ("claude-3-5-sonnet-latest", "claude-3-7-sonnet-20250219", False), ("gemini-flash", "gemini-2.5-flash", False),
    ],
)  # fmt: skip
def test_models_are_told_apart_but_not_by_their_date(asked, answered, same):
    assert is_same_model(asked, answered) is same


def chunk(content, reason=None, **more):
    return {"id": "c1", "model": "gpt-4o", **more,
            "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]}  # fmt: skip


CLAUDE_EVENTS = [
    {"type": "message_start", "message": {"id": "m1", "model": "claude-x", "usage": {"input_tokens": 7}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]
RESPONSES_EVENTS = [
    {"type": "response.created", "response": responses("in_progress", usage=None)},
    {"type": "response.output_text.delta", "delta": "hi"},
    {"type": "response.completed", "response": responses()},
]
CONVERSE_EVENTS = [{"messageStart": {"role": "assistant"}},
                   {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "hi"}}},
                   {"messageStop": {"stopReason": "end_turn"}}]  # fmt: skip
GEMINI_CHUNKS = [{"candidates": [{"content": {"parts": [{"text": "h"}]}}]}, gemini(), {"usageMetadata": {}}]
CHAT_CHUNKS = [chunk("h"), chunk("i", "stop"), {"id": "c1", "choices": [], "usage": chat()["usage"]}]


@pytest.mark.parametrize("chunks", [CLAUDE_EVENTS, RESPONSES_EVENTS, CHAT_CHUNKS])
def test_a_stream_says_together_what_a_whole_answer_says(chunks):
    outline = outline_of_chunks(chunks)
    assert outline.tokens == (7, 3)
    assert outline.fault(outline.model) is None


@pytest.mark.parametrize("chunks", [CLAUDE_EVENTS[:-1], RESPONSES_EVENTS[:-1], CHAT_CHUNKS[:1], CONVERSE_EVENTS[:-1],
                                    GEMINI_CHUNKS[:1]])  # fmt: skip
def test_a_stream_without_its_end_is_unfinished(chunks):
    assert outline_of_chunks(chunks).fault("gpt-4o", keep=["other_model"]) == "unfinished"


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        ({"type": "error", "error": {"type": "overloaded_error"}}, "error"),
        ({"type": "response.failed", "response": responses("failed")}, "error"),
        ({"type": "message_delta", "delta": {"stop_reason": "refusal"}}, "refused"),
        ({"promptFeedback": {"blockReason": "OTHER"}}, "refused"),
        ({"messageStop": {"stopReason": "guardrail_intervened"}}, "refused"),
        ({"modelStreamErrorException": {"message": "no"}}, "error"),
        (chunk("", "length"), "truncated"),
        (chunk("", "content_filter"), "refused"),
    ],
)
def test_a_stream_ends_as_badly_as_a_whole_answer(last, fault):
    assert outline_of_chunks([chunk("h"), last]).fault("gpt-4o") == fault


@pytest.mark.parametrize("chunks", [CONVERSE_EVENTS, GEMINI_CHUNKS])
def test_a_stream_of_gemini_or_bedrock_ends(chunks):
    assert outline_of_chunks(chunks).fault("any") is None


def test_a_stream_of_several_choices_ends_with_the_last_of_them():
    def choice(index, reason=None):
        return {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": reason}]}

    begun = [choice(0), choice(1), choice(0, "stop")]
    assert outline_of_chunks(begun).fault("m") == "unfinished"
    assert outline_of_chunks([*begun, choice(1, "stop"), choice(0)]).fault("m") is None
    candidates = [{"candidates": [{"index": at, "finishReason": end}]} for at, end in ((0, "STOP"), (1, None))]
    assert outline_of_chunks(candidates).fault("m") == "unfinished"


def test_a_count_that_no_answer_has_is_not_taken():
    assert outline_of(chat(usage={"prompt_tokens": 10**400, "completion_tokens": 3})).tokens == (None, 3)


def test_pieces_of_text_say_nothing_and_are_kept():
    assert outline_of_chunks(["a", "b", b"c"]).fault("any") is None
    assert outline_of("text").fault("any") is None


def test_deltas_alone_say_nothing_of_an_end_and_are_kept():
    deltas = [{"choices": [{"delta": {"content": one}}]} for one in "hi"]
    used = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    for stream in (deltas, [*deltas, used], CLAUDE_EVENTS[1:2], RESPONSES_EVENTS[1:2]):
        assert outline_of_chunks(stream).fault("any") is None
    assert outline_of_chunks([*deltas, used]).tokens == (7, 3)
    begun = [{**one, "object": "chat.completion.chunk"} for one in deltas]
    for stream in (begun, [*deltas, chunk("x")], [{"choices": []}]):
        assert outline_of_chunks(stream).fault("gpt-4o") == "unfinished"


@settings(max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["type", "choices", "usage", "delta", "response", "message",
                                                       "finish_reason", "output",
                                                       "candidates", "promptFeedback", "messageStop", "index",
                                                       "model", "id", "error"]), inner),
                    max_leaves=20))  # fmt: skip
def test_whatever_an_answer_holds_it_is_looked_at_without_an_error(value):
    outline_of(value).fault("m")
    outline_of_chunks([value, value]).fault("m")
