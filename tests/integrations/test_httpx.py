"""A transport that answers from the cache, under both libraries, both faces, a real server and real clients."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.integrations.httpx import AsyncCachingTransport, CachingTransport

from .model_server import chat, embeddings, events, serving

CHAT = "/v1/chat/completions"
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


@pytest.fixture(scope="module")
def server():
    with serving() as models:
        yield models


@pytest.fixture
def models(server):
    """The server, as if it had just been started."""
    server.asked.clear()
    server.status, server.broken, server.cookie = 200, 0, "__cf_bm=secret"
    return server


@pytest.fixture(params=["sync-httpx", "async-httpx2"])
def kind(request):
    """Each face and each library that clients are built on; together they would say nothing more."""
    return request.param.split("-")


@pytest.fixture
def http(kind):
    """The library."""
    return pytest.importorskip(kind[1], reason=f"needs {kind[1]}")


class Sent:
    """A client over a cache, of either face: `post` blocks and reads the answer."""

    def __init__(self, http, face, directory, runner, stack, handle=None, **how):
        self.runner, self.is_async = runner, face == "async"
        lower = http.MockTransport(handle) if handle else None
        headers = {"Authorization": "Bearer sk-test"}
        if self.is_async:
            cache = AsyncCache(directory=directory)
            self.client = http.AsyncClient(transport=AsyncCachingTransport(cache, lower, **how), headers=headers)
            stack.callback(lambda: (self.run(self.client.aclose()), self.run(cache.close())))
        else:
            cache = stack.enter_context(Cache(directory=directory))
            transport = CachingTransport(cache, lower, **how)
            self.client = stack.enter_context(http.Client(transport=transport, headers=headers))
        self.cache = cache

    def run(self, result):
        return self.runner.run(result) if inspect.iscoroutine(result) else result

    def post(self, url, body=ASK, **how):
        return self.run(self.client.post(url, json=body, **how))

    def streamed(self, url, body, take=None):
        """The pieces of an answer as they come; closed after *take*."""
        if not self.is_async:
            with self.client.stream("POST", url, json=body) as response:
                pieces = []
                for piece in response.iter_raw():
                    pieces.append(piece)
                    if len(pieces) == take:
                        break
                return response, pieces

        async def read():
            async with self.client.stream("POST", url, json=body) as response:
                pieces = []
                async for piece in response.aiter_raw():
                    pieces.append(piece)
                    if len(pieces) == take:
                        break
                return response, pieces

        return self.runner.run(read())

    def listed(self, namespace="default"):
        """The keys of the cache."""
        found = self.cache.keys(namespace=namespace)
        return self.runner.run(_listed(found)) if self.is_async else list(found)

    def metrics(self):
        return self.run(self.cache.llm.metrics())


async def _listed(found):
    return [one async for one in found]


@pytest.fixture
def connect(kind, http, tmp_path, runner):
    """Open clients; all are closed with the test."""
    with ExitStack() as stack:
        yield lambda handle=None, **how: Sent(http, kind[0], tmp_path / "cache", runner, stack, handle, **how)


@pytest.fixture
def answering(http):
    """A handler for `MockTransport` that gives what it is told, and remembers the requests."""

    def make(status=200, *, body=None, headers=(("content-type", "application/json"),)):
        def handle(request):
            handle.asked.append(request)
            said = chat("gpt-4o") if body is None else body
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            return http.Response(status, headers=list(headers), content=content)

        handle.asked = []
        return handle

    return make


# -- a real server


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "/v1/embeddings", "/proxy/v1/messages"])
def test_a_model_is_called_once(connect, models, path):
    sent = connect()
    first, second = sent.post(models.url + path), sent.post(models.url + path)
    assert len(models.asked) == 1
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert [one.headers["x-scoutcache"] for one in (first, second)] == ["miss", "hit"]
    assert second.headers["x-request-id"] == "req-1"
    assert first.headers["x-limit"] == "9"
    assert not {"set-cookie", "x-limit"} & set(second.headers)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_stream_is_passed_on_and_replayed_in_the_same_pieces(connect, models, path):
    sent, body = connect(), {**ASK, "stream": True}
    (first, live), (second, replayed) = [sent.streamed(models.url + path, body) for _ in range(2)]
    assert b"".join(live) == b"".join(events(path, "gpt-4o"))
    assert replayed == live
    assert [one.headers["x-scoutcache"] for one in (first, second)] == ["miss", "hit"]
    assert second.headers["content-type"].startswith("text/event-stream")
    assert len(models.asked) == 1
    assert sent.metrics().hits == 1
    assert sent.metrics().input_tokens == (7 if path == "/v1/messages" else 0)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_stream_that_breaks_off_is_not_kept(connect, models, path):
    sent, body = connect(), {**ASK, "stream": True}
    models.broken = 1
    _, pieces = sent.streamed(models.url + path, body)
    assert b"".join(pieces) == b"".join(events(path, "gpt-4o")[:-1])
    models.broken = 0
    assert b"".join(sent.streamed(models.url + path, body)[1]) == b"".join(events(path, "gpt-4o"))
    assert len(models.asked) == 2


def test_a_stream_whose_reader_goes_is_not_kept(connect, models):
    sent, body = connect(), {**ASK, "stream": True}
    sent.streamed(models.url + CHAT, body, take=1)
    assert b"".join(sent.streamed(models.url + CHAT, body)[1]) == b"".join(events(CHAT, "gpt-4o"))
    assert 1 <= len(models.asked) <= 2  # the first piece may have been all of it


def test_errors_are_passed_on_and_not_kept(connect, models):
    sent = connect()
    models.status = 529
    for body in (ASK, {**ASK, "stream": True}):
        answer = sent.post(models.url + CHAT, body)
        assert (answer.status_code, answer.json()["error"]["message"]) == (529, "no")
        assert answer.headers["x-limit"] == "9"
    models.status = 200
    assert sent.post(models.url + CHAT).status_code == 200
    assert len(models.asked) == 3


def test_who_asks_is_told_apart_and_nowhere_written_down(connect, models, tmp_path):
    sent = connect()
    del sent.client.headers["authorization"]
    models.cookie = ""
    headers = [{}, {"Authorization": "Bearer sk-secret-1"}, {"Authorization": "Bearer sk-secret-2"},
               {"x-api-key": "sk-secret-1"}, {"x-api-key": "sk-secret-1", "anthropic-version": "2023-06-01"},
               {"cookie": "session=1"}, {"cookie": "session=2"}]  # fmt: skip
    for one in headers * 2:
        sent.post(models.url + CHAT, headers=one)
    assert len(models.asked) == len(headers)
    assert not any("secret" in key for key in sent.listed())
    sent.run(sent.cache.flush())
    for path in (tmp_path / "cache").rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes(), path


def test_every_header_parts_answers_but_those_known_to_say_nothing(connect, models):
    sent = connect()
    models.cookie = ""
    parting = [{}, {"cookie": "session=1"}, {"cookie": "session=2"}, {"x-tenant-id": "1"}, {"x-tenant-id": "2"},
               {"cf-aig-authorization": "Bearer 1"}, {"helicone-user-id": "u"}, {"openai-project": "p"}]  # fmt: skip
    for one in parting * 2:
        sent.post(models.url + CHAT, headers=one)
    assert len(models.asked) == len(parting)
    for one in ({"user-agent": "u/2"}, {"accept": "*/*, a/b"}, {"X-Stainless-Retry-Count": "1"}, {"traceparent": "00"},
                {"idempotency-key": "7"}, {"x-request-id": "8"}, {"cookie": "__cf_bm=3; _cfuvid=4"}):  # fmt: skip
        assert sent.post(models.url + CHAT, headers=one).headers["x-scoutcache"] == "hit", one
    mixed = {"cookie": "__cf_bm=5; session=1"}
    assert sent.post(models.url + CHAT, headers=mixed).headers["x-scoutcache"] == "hit"


def test_another_host_or_query_is_another_question(connect, models):
    sent = connect()
    other = models.url.replace("127.0.0.1", "localhost")
    for url in (models.url + CHAT, models.url + CHAT + "?a=1", other + CHAT):
        sent.post(url)
    assert len(models.asked) == 3


@pytest.mark.parametrize(
    ("more", "calls"),
    [({}, 1), ({"temperature": 0.0}, 1), ({"temperature": 0.7}, 2), ({"temperature": None}, 2),
     ({"temperature": False}, 2), ({"background": True}, 2), ({"conversation": "conv_1"}, 2),
     ({"container": "container_1"}, 2), ({"container": {"id": "container_1", "skills": []}}, 2),
     ({"container": {"skills": []}}, 1), ({"container": {"id": None}}, 1),
     ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, 2),
     ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}, 3]}, 1),
     ({"tools": [{"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}]}, 2)],
)  # fmt: skip
def test_what_is_sampled_or_kept_at_the_provider_passes_the_cache_by(connect, models, more, calls):
    sent = connect()
    answers = [sent.post(models.url + CHAT, {**ASK, **more}) for _ in range(2)]
    assert len(models.asked) == calls
    assert answers[1].headers["x-scoutcache"] == ("hit" if calls == 1 else "bypass")
    assert sent.metrics().bypassed == (0 if calls == 1 else 2)


def test_what_passes_by_is_logged_so(connect, models):
    sent = connect()
    body = {**ASK, "temperature": 0.7, "stream": True}
    assert b"".join(sent.streamed(models.url + CHAT, body)[1]) == b"".join(events(CHAT, "gpt-4o"))
    sent.post(models.url + CHAT, {**ASK, "temperature": 1})
    sent.run(sent.cache.flush())
    from scoutcache.oplog.totals import collect_stats

    core = sent.cache._core
    told = collect_stats(core.directory, now=core.clocks.wall())
    assert told.total.misses_by_reason == {"bypassed": 2}
    assert sent.listed() == []


def test_any_temperature_where_it_is_wanted(connect, models):
    sent = connect(any_temperature=True)
    for _ in range(2):
        sent.post(models.url + CHAT, {"model": "gpt-4o", "messages": []})
    assert len(models.asked) == 1


@pytest.mark.parametrize("headers", [{"X-Scoutcache": "bypass"}, {"Cache-Control": "max-age=0, no-store"},
                                     {"cache-control": "no-cache"}])  # fmt: skip
def test_a_header_passes_the_cache_by(connect, models, headers):
    sent = connect()
    sent.post(models.url + CHAT)
    assert sent.post(models.url + CHAT, headers=headers).headers["x-scoutcache"] == "bypass"
    assert len(models.asked) == 2
    assert "x-scoutcache" not in models.asked[-1][2]


def test_a_cache_that_is_switched_off_is_passed_by(connect, models, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_ENABLED", "false")
    sent = connect()
    for body in (ASK, {**ASK, "stream": True}):
        assert {sent.post(models.url + CHAT, body).headers["x-scoutcache"] for _ in range(2)} == {"bypass"}
    assert len(models.asked) == 4


def test_anything_else_goes_through_untouched(connect, models):
    sent = connect()
    assert sent.run(sent.client.get(models.url + CHAT)).json() == {"data": []}
    assert "x-scoutcache" not in sent.post(models.url + "/v2/messages").headers
    assert sent.listed() == []


def test_many_who_ask_at_once_make_one_call(connect, models):
    sent, body = connect(), {**ASK, "stream": True}
    if sent.is_async:

        async def all_of_them():
            return await asyncio.gather(*[sent.client.post(models.url + CHAT, json=body) for _ in range(6)])

        answers = sent.runner.run(all_of_them())
    else:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(sent.post(models.url + CHAT, body)))
                   for _ in range(6)]  # fmt: skip
        for one in threads:
            one.start()
        for one in threads:
            one.join(20)
    assert [one.content for one in answers] == [b"".join(events(CHAT, "gpt-4o"))] * 6
    assert len(models.asked) == 1


# -- waiting for another's call


class Slow:
    """Answers with *status*, but not before the second caller has ended, or waits for the first one's call."""

    def __init__(self, http, status=200):
        self.http, self.status, self.asked = http, status, 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def answer(self):
        self.asked += 1
        return self.http.Response(self.status, json=chat("gpt-4o") if self.status == 200 else {"error": {}})

    def handle(self, _):
        self.begun.set()
        assert self.go_on.wait(20)
        return self.answer()

    async def ahandle(self, _):
        while not self.go_on.is_set():
            await asyncio.sleep(0)
        return self.answer()


def both(sent, slow, url, body=ASK, *, ends, **second):
    """What two callers get who ask the same: the second one *ends* before the first call does, or waits for it."""
    if sent.is_async:

        async def ask():
            first = asyncio.ensure_future(sent.client.post(url, json=body))
            while not len(sent.cache._core.world.flights):
                await asyncio.sleep(0)
            other = asyncio.ensure_future(sent.client.post(url, json=body, **second))
            for _ in range(50):
                await asyncio.sleep(0)
            if ends:
                await asyncio.wait([other])
            slow.go_on.set()
            return await asyncio.gather(first, other, return_exceptions=True)

        return sent.runner.run(ask())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(sent.post, url, body)
        assert slow.begun.wait(20)
        (flight,) = sent.cache._core.world.flights._flights.values()
        joins, wait = threading.Event(), flight.future.exception
        flight.future.exception = lambda timeout=None: (joins.set(), wait(timeout))[1]
        other = pool.submit(sent.post, url, body, **second)
        assert joins.wait(20)
        if ends:
            other.exception(20)
        slow.go_on.set()
        return [first.result(20), other.exception(20) or other.result(20)]


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_for_anothers_call_waits_as_long_as_its_own_client_reads(connect, http, kind, stream):
    """It waited for as long as the other one's client did."""
    slow = Slow(http)
    sent = connect(slow.ahandle if kind[0] == "async" else slow.handle)
    patience = http.Timeout(20, read=0.02)
    body = {**ASK, "stream": stream}
    first, other = both(sent, slow, "http://models" + CHAT, body, ends=True, timeout=patience)
    assert (first.status_code, slow.asked) == (200, 1)
    assert isinstance(other, http.ReadTimeout)
    assert "takes longer than this one waits" in str(other)
    assert other.request.url.host == "models"
    assert sent.post("http://models" + CHAT, body, timeout=patience).headers["x-scoutcache"] == "hit"


def test_so_does_who_waits_for_another_process(connect, http, kind):
    slow = Slow(http)
    sent = connect(slow.ahandle if kind[0] == "async" else slow.handle)
    other = connect(lambda _: pytest.fail("the other one calls"))
    url, patience = "http://models" + CHAT, http.Timeout(20, read=0.02)
    if sent.is_async:

        async def ask():
            first = asyncio.ensure_future(sent.client.post(url, json=ASK))
            while not len(sent.cache._core.ports.leases):
                await asyncio.sleep(0)
            with pytest.raises(http.ReadTimeout):
                await other.client.post(url, json=ASK, timeout=patience)
            slow.go_on.set()
            return await first

        assert sent.runner.run(ask()).status_code == 200
        return
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sent.post, url)
        assert slow.begun.wait(20)
        with pytest.raises(http.ReadTimeout):
            other.post(url, timeout=patience)
        slow.go_on.set()
        assert first.result(20).status_code == 200


@pytest.mark.parametrize(("status", "mark", "hits"), [(200, "hit", 1), (500, "miss", 0)])
def test_who_waited_for_a_call_that_failed_has_no_hit(connect, http, kind, status, mark, hits):
    slow = Slow(http, status)
    sent = connect(slow.ahandle if kind[0] == "async" else slow.handle)
    answers = both(sent, slow, "http://models" + CHAT, ends=False)
    assert [(one.status_code, one.headers["x-scoutcache"]) for one in answers] == [(status, "miss"), (status, mark)]
    counted = sent.metrics()
    assert (slow.asked, counted.hits, counted.misses, counted.calls) == (1, hits, 2 - hits, 1)


# -- transports that are told what to answer


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (201, None, [("content-type", "application/json; charset=utf-8")]),
        (200, embeddings("gpt-4o"), [("content-type", "application/json")]),
    ],
)
def test_json_of_any_good_status_is_kept(connect, answering, status, body, headers):
    handle = answering(status, body=body, headers=headers)
    sent = connect(handle)
    assert {sent.post("http://x" + CHAT).status_code for _ in range(2)} == {status}
    assert len(handle.asked) == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "text/html"),
        (b"{not json", "application/json"),
        (b"[1]", "application/json"),
        (b"", "application/json"),
        ({"error": {"message": "no"}}, "application/json"),
        ({**chat("gpt-4o-mini")}, "application/json"),
        ({**chat("gpt-4o"), "choices": [{"finish_reason": "content_filter"}]}, "application/json"),
        ({**chat("gpt-4o"), "choices": [{"finish_reason": "length"}]}, "application/json"),
    ],
)
def test_what_is_no_good_answer_is_passed_on_and_not_kept(connect, answering, body, kind):
    handle = answering(body=body, headers=[("content-type", kind)])
    sent = connect(handle)
    for _ in range(2):
        assert sent.post("http://x" + CHAT).content == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert len(handle.asked) == 2


@pytest.mark.parametrize("content", [b"not json", b"[1, 2]", b'{"messages": [NaN]}', b'{"a": "\\ud800"}', b"\xff",
                                     b"[" * 100_000])  # fmt: skip
def test_what_is_no_question_goes_to_the_provider_as_it_is(connect, answering, content):
    handle = answering()
    sent = connect(handle)
    for _ in range(2):
        assert sent.run(sent.client.post("http://x" + CHAT, content=content)).status_code == 200
    assert [one.content for one in handle.asked] == [content] * 2


def test_a_packed_answer_comes_unpacked(connect, answering):
    import gzip

    packed = gzip.compress(json.dumps(chat("gpt-4o")).encode())
    handle = answering(body=packed, headers=[("content-type", "application/json"), ("content-encoding", "gzip")])
    sent = connect(handle)
    assert [sent.post("http://x" + CHAT).json() for _ in range(2)] == [chat("gpt-4o")] * 2
    assert len(handle.asked) == 1


@pytest.mark.parametrize(("cut", "calls"), [(0, 1), (1, 1), (2, 1), (3, 2)])
def test_the_end_of_a_body_ends_its_last_event(connect, answering, cut, calls):
    whole = b"".join(events(CHAT, "gpt-4o"))
    handle = answering(body=whole[: len(whole) - cut], headers=[("content-type", "text/event-stream")])
    sent, body = connect(handle), {**ASK, "stream": True}
    assert [sent.post("http://x" + CHAT, body).content for _ in range(2)] == [whole[: len(whole) - cut]] * 2
    assert len(handle.asked) == calls


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"temperature": 1}])
def test_an_answer_has_what_one_from_the_line_has(connect, models, more):
    sent = connect()
    for _ in range(2):
        answer = sent.post(models.url + CHAT, {**ASK, **more})
        assert answer.elapsed.total_seconds() > 0
        size = len(answer.content)
        assert (answer.is_closed, answer.is_stream_consumed, answer.num_bytes_downloaded) == (True, True, size)
        assert answer.headers.get("content-length") == (None if "stream" in more else str(size))


def test_an_answer_packed_in_an_unknown_way_says_so_and_is_not_kept(connect, answering):
    handle = answering(body=b"\x0b?", headers=[("content-type", "application/json"), ("content-encoding", "gzip2, x")])
    sent = connect(handle)
    for _ in range(2):
        answer = sent.post("http://x" + CHAT)
        assert (answer.content, answer.headers["content-encoding"]) == (b"\x0b?", "gzip2, x")
    assert len(handle.asked) == 2


def test_what_the_line_raises_is_raised_and_not_kept(connect, http):
    def handle(request):
        raise http.ConnectError("no line", request=request)

    sent = connect(handle)
    for body in (ASK, {**ASK, "stream": True}):
        with pytest.raises(http.ConnectError, match="no line"):
            sent.post("http://x" + CHAT, body)
    assert sent.metrics().errors == 2


def test_defaults_count_as_left_out_for_the_providers_own_hosts_only(connect, answering):
    handle = answering()
    sent = connect(handle)
    for host, calls in (("api.openai.com", 1), ("example.com", 3)):
        for more in ({}, {"top_p": 1}):
            sent.post(f"https://{host}{CHAT}", {**ASK, **more})
        assert len(handle.asked) == calls


@pytest.mark.parametrize("path", ["/openai/deployments/d/chat/completions?api-version=2025-01-01",
                                  "/v1beta/openai/chat/completions", "/api/v1/chat/completions"])  # fmt: skip
def test_chats_are_answered_wherever_their_provider_puts_them(connect, answering, path):
    handle = answering()
    sent = connect(handle)
    marks = [sent.post(f"https://example.com{path}").headers["x-scoutcache"] for _ in range(2)]
    assert (marks, len(handle.asked)) == (["miss", "hit"], 1)


def test_options_are_those_of_the_cache(connect, answering):
    sent = connect(answering(), ttl="5m", tags=["mine"], source="web", namespace="tenant", paths=["/ask"])
    sent.post("http://x/ask")
    (key,) = sent.listed("tenant")
    entry = sent.run(sent.cache.get_entry(key, namespace="tenant"))
    assert {"mine", "source:web", "model:gpt-4o", "operation:ask"} <= set(entry.tags)
    assert sent.run(sent.cache.ttl(key, namespace="tenant")) <= 300


def test_each_transport_wants_its_own_kind_of_cache(tmp_path):
    with Cache(directory=tmp_path) as cache:
        with pytest.raises(CacheError, match="not in a Cache"):
            AsyncCachingTransport(cache)
        with pytest.raises(CacheError, match="keep takes kinds"):
            CachingTransport(cache, keep="all")
        for name in ("tags", "paths"):
            with pytest.raises(InvalidKey, match=f"{name} is a list of them, not '/v1' alone"):
                CachingTransport(cache, **{name: "/v1"})
    with pytest.raises(CacheError, match="not in a dict"):
        CachingTransport({})


# -- real clients


def http_of(client):
    """The library that a client is built on."""
    return import_module("httpx2" if "httpx2" in str(inspect.signature(client)) else "httpx")


def test_openais_client_is_answered_without_a_change_in_it(models, tmp_path):
    openai = pytest.importorskip("openai", reason="needs the client of OpenAI")
    http = http_of(openai.OpenAI)
    with (
        Cache(directory=tmp_path) as cache,
        openai.OpenAI(api_key="k", base_url=f"{models.url}/v1", max_retries=0,
                      http_client=http.Client(transport=CachingTransport(cache))) as client,
    ):  # fmt: skip
        whole = [client.chat.completions.create(**ASK) for _ in range(2)]
        assert whole[0] == whole[1]
        assert whole[0].choices[0].message.content == "hi"
        streams = [[one.choices[0].delta.content for one in client.chat.completions.create(**ASK, stream=True)]
                   for _ in range(2)]  # fmt: skip
        assert streams == [["h", "i", ""]] * 2
        vectors = [client.embeddings.create(model="e", input="x", encoding_format="float") for _ in range(2)]
        assert vectors[0].data[0].embedding == vectors[1].data[0].embedding == [0.5, 0.25]
        assert {client.responses.create(model="m", input="x", temperature=0).output_text for _ in range(2)} == {"hey"}
        assert len(models.asked) == 4
        models.status = 400
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**ASK, "seed": 1})


def test_anthropics_client_is_answered_without_a_change_in_it(models, tmp_path, runner):
    anthropic = pytest.importorskip("anthropic", reason="needs the client of Anthropic")
    http = http_of(anthropic.AsyncAnthropic)
    asked = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

    async def ask():
        async with AsyncCache(directory=tmp_path) as cache:
            transport = AsyncCachingTransport(cache, any_temperature=True)
            client = anthropic.AsyncAnthropic(api_key="k", base_url=models.url, max_retries=0,
                                              http_client=http.AsyncClient(transport=transport))  # fmt: skip
            async with client:
                whole = [await client.messages.create(**asked) for _ in range(2)]
                texts = []
                for _ in range(2):
                    async with client.messages.stream(**asked) as stream:
                        texts.append("".join([text async for text in stream.text_stream]))
        return whole, texts

    whole, texts = runner.run(ask())
    assert whole[0] == whole[1]
    assert texts == ["hello"] * 2
    assert len(models.asked) == 2


def test_a_client_may_outlive_the_cache(http, kind, runner, tmp_path):
    with ExitStack() as stack:
        sent = Sent(http, kind[0], tmp_path, runner, stack, lambda _: http.Response(200, json=chat("hi")))
        sent.run(sent.cache.close())
        assert sent.post(f"http://host{CHAT}").status_code == 200
