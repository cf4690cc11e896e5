"""What of an answer stays the same when it is made again, whole and in pieces."""

from __future__ import annotations

import pytest

from scoutcache.chat.sameness import lasting, lasting_of_chunks


def chat(text, anew, **message):
    return {"id": f"chat-{anew}", "object": "chat.completion", "created": anew, "model": "m", "usage": {"n": anew},
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": text, **message}}]}  # fmt: skip


def calling(city, anew):
    call = {"id": f"call_{anew}", "type": "function", "function": {"name": "f", "arguments": f'{{"id": "{city}"}}'}}
    return chat(None, anew, tool_calls=[call])


def response(text, anew):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": f"resp_{anew}", "object": "response", "created_at": anew, "status": "completed", "model": "m",
            "output": [{"type": "reasoning", "id": f"rs_{anew}", "encrypted_content": f"{anew}"},
                       {"type": "message", "id": f"msg_{anew}", "role": "assistant", "content": [part]}],
            "usage": {"output_tokens": anew}}  # fmt: skip


def message(text, anew, tool=None):
    content = [{"type": "thinking", "thinking": "hm", "signature": f"s{anew}"}, {"type": "text", "text": text}]
    if tool is not None:
        content.append({"type": "tool_use", "id": f"toolu_{anew}", "name": "f", "input": {"id": tool}})
    return {"id": f"msg_{anew}", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": "end_turn", "usage": {"output_tokens": anew}}  # fmt: skip


def generated(text, anew):
    return {"candidates": [{"content": {"parts": [{"text": text, "thoughtSignature": f"{anew}"}]}}],
            "responseId": f"{anew}", "usageMetadata": {"totalTokenCount": anew}}  # fmt: skip


@pytest.mark.parametrize("shape", [chat, calling, response, message, generated,
                                   lambda text, anew: message("x", anew, text)])  # fmt: skip
def test_an_answer_that_is_made_again_is_the_same_and_another_is_not(shape):
    assert lasting(shape("Oslo", 1)) == lasting(shape("Oslo", 2))
    assert lasting(shape("Oslo", 1)) != lasting(shape("Rome", 1))


@pytest.mark.parametrize("told", [{"id": 7}, {"id": 7, "name": "Ann"}, {"created": 1}, [{"id": 1}], "id", None, 3])
def test_what_has_no_shape_of_a_providers_is_all_that_it_says(told):
    assert lasting(told) == told


def deltas(text, anew, size):
    head = {"id": f"chat-{anew}", "object": "chat.completion.chunk", "created": anew, "obfuscation": "x" * anew}
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    for role, content in [("assistant", ""), *((None, piece) for piece in pieces)]:
        yield {**head, "choices": [{"index": 0, "delta": {"role": role, "content": content}, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**head, "choices": [], "usage": {"n": anew}}


def calls(text, anew, size):
    for at in range(0, len(text), size):
        part = {"index": 0, "function": {"arguments": text[at : at + size]}}
        if at == 0:
            part = {"index": 0, "id": f"call_{anew}", "type": "function",
                    "function": {"name": "f", "arguments": text[:size]}}  # fmt: skip
        yield {"id": f"{anew}", "choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}]}


def events(text, anew, size):
    yield {"type": "response.created", "sequence_number": 0, "response": {**response("", anew), "output": []}}
    for at in range(0, len(text), size):
        yield {"type": "response.output_text.delta", "item_id": f"msg_{anew}", "delta": text[at : at + size]}
    yield {"type": "response.completed", "sequence_number": anew, "response": response(text, anew)}


def blocks(text, anew, size):
    yield {"type": "message_start", "message": {**message("", anew), "content": []}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for at in range(0, len(text), size):
        delta = {"type": "text_delta", "text": text[at : at + size]}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": anew}}
    yield {"type": "message_stop"}


def pieces(text, anew, size):
    yield from (text[at : at + size] for at in range(0, len(text), size))


@pytest.mark.parametrize("stream", [deltas, calls, events, blocks, pieces])
def test_a_stream_is_the_same_in_whatever_pieces_it_comes(stream):
    def told(*how):
        return lasting_of_chunks(list(stream(*how)))

    assert told("Oslo it is", 1, 3) == told("Oslo it is", 2, 4)
    assert told("Oslo it is", 1, 3) != told("Rome it is", 1, 3)


def test_chunks_of_no_known_shape_are_compared_one_by_one():
    assert lasting_of_chunks([{"id": 1}, 2]) == [{"id": 1}, 2]
    assert lasting_of_chunks([{"id": 1}]) != lasting_of_chunks([{"id": 2}])
    assert lasting_of_chunks([]) == []


@pytest.mark.parametrize("chunks", [
    [{"choices": [3]}], [{"choices": [{"delta": {"content": 3}}]}, {"choices": [{"delta": {"content": "a"}}]}],
    [{"choices": [{"delta": "x"}]}, {"choices": [{"delta": {"a": 1}}]}], [{"choices": [{"delta": {"a": [1]}}]}],
    [{"choices": [{"delta": {"a": "b"}}]}, {"choices": [{"delta": {"a": ["b"]}}]}],
    [{"type": "message_start", "index": 1, "content_block": 3, "delta": {"text": 3}}],
    [{"type": "response.completed"}],
])  # fmt: skip
def test_chunks_of_strange_shape_are_compared_all_the_same(chunks):
    assert lasting_of_chunks(chunks) == lasting_of_chunks(chunks)
