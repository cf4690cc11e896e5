"""Server-sent events, as streams of answers arrive in HTTP: the data of each event, and whether the last one came.

The format is that of the HTML standard ("event stream interpretation"); only ``data`` matters here, for the data of
every provider's events names their kind.  A stream is whole when it ended with what its provider ends streams with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["DONE", "events_of", "is_whole"]

DONE: Final = "[DONE]"
"""What ends a stream of OpenAI's chat completions, and of most who speak like it."""

_LAST: Final = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})


def events_of(body: bytes) -> Iterator[Any]:
    """The data of the events in *body*: parsed where it is JSON, as text where it isn't."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for block in text.split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            data = "\n".join(lines)
            try:
                yield data if data == DONE else json.loads(data)
            except ValueError:
                yield data


def is_whole(events: list[Any], body: bytes) -> bool:
    """Did the stream end with its provider's last event, and that event with its blank line?"""
    if not events or not body.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
        return False
    last = events[-1]
    return last == DONE or (isinstance(last, Mapping) and str(last.get("type")) in _LAST)
