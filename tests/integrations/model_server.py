"""A real HTTP server that answers as OpenAI and Anthropic do, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def chat(model: str) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}  # fmt: skip


def message(model: str) -> dict[str, Any]:
    return {"id": "m1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": "hello"}],
            "usage": {"input_tokens": 7, "output_tokens": 3}}  # fmt: skip


def responses(model: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": "hey", "annotations": []}]
    return {"id": "r1", "object": "response", "created_at": 1, "status": "completed", "model": model, "tools": [],
            "output": [{"type": "message", "id": "o1", "role": "assistant", "status": "completed", "content": content}],
            "parallel_tool_calls": True, "tool_choice": "auto", "usage": None}  # fmt: skip


def embeddings(model: str) -> dict[str, Any]:
    return {"object": "list", "model": model, "usage": {"prompt_tokens": 3, "total_tokens": 3},
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]}  # fmt: skip


ANSWERS = {"completions": chat, "messages": message, "responses": responses, "embeddings": embeddings}


def events(path: str, model: str) -> list[bytes]:
    """The pieces of a stream."""
    if path.endswith("messages"):
        told: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**message(model), "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ]
        return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]
    said = [(one, None) for one in "hi"] + [("", "stop")]
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model}
    pieces = [{**head, "choices": [{"index": 0, "delta": {"content": one}, "finish_reason": end}]} for one, end in said]
    return [*(f"data: {json.dumps(one)}\n\n".encode() for one in pieces), b"data: [DONE]\n\n"]


class Models:
    """What was asked, as ``(path, body, headers)``; *broken* streams lose their last pieces."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.status, self.broken, self.cookie = 200, 0, "secret=1"
        self.url = ""


@contextmanager
def serving() -> Iterator[Models]:
    """Run the server on a free port."""
    models = Models()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer({"data": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            models.asked.append((self.path, body, {name.lower(): value for name, value in self.headers.items()}))
            if models.status != 200:
                self.answer({"error": {"message": "no", "type": "overloaded_error"}})
            elif body.get("stream"):
                self.stream(events(self.path, body["model"]))
            else:
                self.answer(ANSWERS[self.path.partition("?")[0].rpartition("/")[2]](body["model"]))

        def answer(self, said: dict[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.begin("application/json", ("content-length", str(len(body))))
            self.wfile.write(body)

        def begin(self, kind: str, *more: tuple[str, str]) -> None:
            self.send_response(models.status)
            own = (("content-type", kind), ("x-request-id", "req-1"), ("set-cookie", models.cookie), ("x-limit", "9"))
            for name, value in (*own, *more):
                self.send_header(name, value)
            self.end_headers()

        def stream(self, pieces: list[bytes]) -> None:
            self.begin("text/event-stream; charset=utf-8", ("transfer-encoding", "chunked"))
            for piece in [*pieces[: len(pieces) - models.broken], b""]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    models.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield models
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
