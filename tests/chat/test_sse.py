"""Server-sent events: what they hold, and whether the stream came to its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.chat.sse import DONE, events_of, is_whole


def test_events_are_read_whatever_ends_their_lines():
    for end in ("\n", "\r\n", "\r"):
        body = f": hello{end}event: x{end}data: {{\"a\":{end}data: 1}}{end}{end}data:[DONE]{end}{end}".encode()
        assert list(events_of(body)) == [{"a": 1}, DONE]


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"data: {}\n\ndata: [DONE]\n\n", True),
        (b"data: {}\n\ndata: [DONE]\n", False),
        (b"data: {}\n\n", False),
        (b"", False),
        (b'data: {"type": "message_stop"}\n\n', True),
        (b'data: {"type": "response.completed"}\r\n\r\n', True),
        (b'data: {"type": "message_delta"}\n\n', False),
    ],
)
def test_a_stream_is_whole_with_its_providers_last_event(body, whole):
    assert is_whole(list(events_of(body)), body) is whole


@given(st.binary(max_size=200))
def test_whatever_the_bytes_they_are_read_without_an_error(body):
    is_whole(list(events_of(body)), body)
