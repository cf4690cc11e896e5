"""Streams: heard while they are recorded, replayed to who asks later, and not kept when they break off."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scoutcache.chat.stored import AsyncReplay, Replay
from scoutcache.llm import feeds

from .answers import ASK, STREAM, Model, answer, chunks

pytestmark = pytest.mark.usefixtures("no_hang")


def streaming(*texts):
    return Model(*((lambda text=text: iter(chunks(text))) for text in texts))


def test_a_stream_is_recorded_and_replayed_chunk_by_chunk(llm):
    model = streaming("hello")
    first = llm.get_or_call(STREAM, model)
    assert first.cached is False
    assert llm.read(first) == chunks()
    second = llm.get_or_call(STREAM, model)
    assert second.cached is True
    assert llm.read(second) == llm.read(llm.get(STREAM)) == llm.get_entry(STREAM).response == chunks()
    assert len(model.asked) == 1
    assert llm.get_entry(STREAM).streamed is True


def test_a_stream_and_a_whole_answer_are_two(llm):
    llm.read(llm.get_or_call(STREAM, streaming("hello")))
    assert llm.get(ASK) is None
    assert llm.get({**ASK, "stream": False}) is None


def test_a_stream_is_whole_when_all_choices_that_were_asked_for_have_ended(llm):
    asked, model = {**STREAM, "n": 2}, streaming("hello")
    for _ in range(2):
        assert llm.read(llm.get_or_call(asked, model)) == chunks()
    assert len(model.asked) == 2
    assert llm.metrics().not_kept == {"unfinished": 2}


def test_what_is_known_of_a_stream_is_what_its_chunks_say(llm):
    llm.read(llm.get_or_call(STREAM, streaming("hello"), source="s"))
    entry = llm.get_entry(STREAM)
    assert (entry.request_id, entry.model, entry.input_tokens, entry.output_tokens, entry.cost) == (
        "chat-2", "gpt-4o-2024-08-06", 1000, 100, pytest.approx(0.003),
    )  # fmt: skip
    assert "source:s" in llm.driven.get_entry(entry.key).tags


def test_chunks_reach_the_reader_before_the_stream_has_ended(llm):
    said, go_on = [], threading.Event()

    def slowly():
        for at, one in enumerate(chunks("ab")):
            if at == 1 and not llm.is_async:
                assert go_on.wait(20)
            said.append(one)
            yield one

    stream = llm.get_or_call(STREAM, slowly)
    assert llm.next(stream) == chunks("ab")[0]
    if not llm.is_async:
        assert len(said) == 1
    go_on.set()
    assert llm.read(stream) == chunks("ab")[1:]


def test_text_chunks_are_a_stream_too(llm):
    asked = {"text": "x", "operation": "qa", "options": {"stream": True}}
    assert llm.read(llm.get_or_call(**asked, call=lambda: iter("abc"))) == list("abc")
    assert llm.read(llm.get(**asked)) == list("abc")


def test_a_stream_nobody_asked_for_is_read_to_its_end_first(llm):
    assert llm.read(llm.get_or_call(ASK, streaming("hello"))) == chunks()
    assert llm.read(llm.get(ASK)) == chunks()


def test_a_whole_answer_where_a_stream_was_asked_for_is_a_whole_answer(llm):
    assert llm.get_or_call(STREAM, Model()) == answer()
    assert llm.get(STREAM) == answer()


def test_chunks_can_be_set(llm):
    assert llm.set(STREAM, chunks()) is True
    assert llm.read(llm.get(STREAM)) == chunks()
    assert llm.set(STREAM, chunks()[:-2]) is False


def broken():
    yield from chunks()[:2]
    raise OSError("the line is dead")


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (lambda: iter(chunks()[:3]), "unfinished"),
        (lambda: iter([*chunks()[:3], {"error": {"message": "overloaded"}}]), "error"),
        (lambda: iter([{**one, "model": "gpt-4o-mini"} for one in chunks()]), "other_model"),
    ],
)
def test_a_stream_that_ends_badly_is_given_and_not_kept(llm, stream, fault):
    assert llm.read(llm.get_or_call(STREAM, stream)) == list(stream())
    assert llm.get(STREAM) is None
    assert llm.metrics().not_kept == {fault: 1}


@pytest.mark.parametrize("asked", [STREAM, ASK])
def test_a_stream_without_chunks_is_given_and_not_kept(llm, asked):
    assert list(llm.read(llm.get_or_call(asked, lambda: iter(())))) == []
    assert llm.get(asked, "none") == "none"
    assert llm.metrics().not_kept == {"unfinished": 1}
    assert llm.set(STREAM, []) is False
    assert llm.read(llm.get_or_call(asked, streaming("hello"))) == chunks()


def test_a_stream_that_breaks_off_raises_where_it_is_read_and_is_not_kept(llm):
    stream = llm.get_or_call(STREAM, broken)
    assert [llm.next(stream), llm.next(stream)] == chunks()[:2]
    with pytest.raises(OSError, match="the line is dead"):
        llm.next(stream)
    assert llm.get(STREAM) is None
    assert llm.driven.left() == []


def test_what_a_call_raises_before_it_streams_is_raised_at_once(llm):
    with pytest.raises(OSError, match="no"):
        llm.get_or_call(STREAM, Model(OSError("no")))


def test_a_stream_whose_reader_stops_is_ended_and_not_kept(llm):
    ended = []

    def stream():
        try:
            yield from chunks()
        finally:
            ended.append(True)

    first = llm.get_or_call(STREAM, stream)
    llm.next(first)
    llm.close(first)
    assert llm.read(llm.get_or_call(STREAM, streaming("other"))) == chunks("other")  # waits for the first one's end
    assert ended == [True]
    assert llm.driven.left() == []
    assert llm.metrics().not_kept == {"abandoned": 1}


def test_a_reader_that_closes_after_the_last_chunk_has_read_it_all(llm):
    stream = llm.get_or_call(STREAM, streaming("hi"))
    said = [llm.next(stream) for _ in chunks("hi")]
    if llm.is_async:
        llm.driven.runner.run(asyncio.sleep(0))
    else:
        stream._recording._at_end.wait(0)
    assert said == chunks("hi")
    with pytest.raises((StopIteration, StopAsyncIteration)):
        llm.next(stream)
    llm.close(stream)
    assert llm.read(llm.get(STREAM)) == chunks("hi")


def test_a_stream_that_nobody_holds_is_ended(llm):
    stream = llm.get_or_call(STREAM, streaming("abc"))
    llm.next(stream)
    del stream
    assert llm.read(llm.get_or_call(STREAM, streaming("other"))) == chunks("other")


def test_a_reader_that_never_comes_to_the_end_holds_nobody_up_for_ever(llm, monkeypatch):
    monkeypatch.setattr(feeds, "PATIENCE", 0.0)
    stream = llm.get_or_call(STREAM, streaming("abc"))
    assert llm.read(llm.get_or_call(STREAM, streaming("other"))) == chunks("abc")
    assert llm.read(stream) == chunks("abc")


def test_streams_can_be_read_in_a_with(llm):
    if not llm.is_async:
        with llm.get_or_call(STREAM, streaming("a")) as live:
            assert list(live) == chunks("a")
        with llm.get(STREAM) as replay:
            assert isinstance(replay, Replay)
            assert next(replay) == chunks("a")[0]
        assert list(replay) == []
        return

    async def read():
        async with await llm.driven.cache.llm.get_or_call(STREAM, streaming("a")) as live:
            first = [one async for one in live]
        async with await llm.driven.cache.llm.get(STREAM) as replay:
            assert isinstance(replay, AsyncReplay)
            await replay.__anext__()
        return first, [one async for one in replay]

    assert llm.driven.runner.run(read()) == (chunks("a"), [])


def test_many_readers_of_one_stream_make_one_call(llm, in_threads):
    model = streaming("hello")
    if not llm.is_async:
        read = [lambda: list(llm.driven.cache.llm.get_or_call(STREAM, model)) for _ in range(8)]
        assert in_threads(*read) == [chunks()] * 8
    else:

        async def one():
            return [chunk async for chunk in await llm.driven.cache.llm.get_or_call(STREAM, model)]

        async def all_of_them():
            return await asyncio.gather(*[one() for _ in range(8)])

        assert llm.driven.runner.run(all_of_them()) == [chunks()] * 8
    assert len(model.asked) == 1
    assert (llm.metrics().hits, llm.metrics().misses, llm.metrics().calls) == (7, 1, 1)


def test_two_who_read_the_same_stream_share_its_chunks_and_both_come_to_its_end(llm, in_threads):
    """A reader that waited for a chunk when the other had the last one waited for ever."""
    stop, asking = threading.Event(), threading.Semaphore(0)

    def model(**_):
        yield from chunks()
        stop.wait(10)

    if not llm.is_async:
        stream = llm.driven.cache.llm.get_or_call(STREAM, model)

        def read():
            asking.release()
            return list(stream)

        def end():
            asking.acquire()
            asking.acquire()
            stop.set()
            return []

        parts = in_threads(read, read, end)
    else:

        async def slowly():
            for chunk in chunks():
                yield chunk
            await asyncio.sleep(0.01)

        async def both():
            stream = await llm.driven.cache.llm.get_or_call(STREAM, slowly)

            async def one():
                return [chunk async for chunk in stream]

            return await asyncio.wait_for(asyncio.gather(one(), one()), 10)

        parts = llm.driven.runner.run(both())
    assert sorted(map(str, [chunk for part in parts for chunk in part])) == sorted(map(str, chunks()))


def test_an_asynchronous_stream_needs_an_event_loop(llm):
    async def stream():
        for one in chunks():
            yield one

    if llm.is_async:
        assert llm.read(llm.get_or_call(STREAM, lambda: stream())) == chunks()
        assert llm.read(llm.get(STREAM)) == chunks()
    else:
        from scoutcache.errors import CacheError

        with pytest.raises(CacheError, match="asynchronous stream"):
            llm.get_or_call(STREAM, lambda: stream())


def test_a_reader_that_is_cancelled_ends_the_call(llm):
    if not llm.is_async:
        pytest.skip("only tasks are cancelled")

    async def cancelled():
        begun, never = asyncio.Event(), asyncio.Event()

        async def stream():
            begun.set()
            await never.wait()
            yield chunks()[0]

        task = asyncio.create_task(llm.driven.cache.llm.get_or_call({**STREAM, "seed": 1}, lambda: hang(begun, never)))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    async def hang(begun, never):
        begun.set()
        await never.wait()

    assert llm.driven.runner.run(cancelled()) is True
    assert llm.driven.left() == []


def test_a_stream_whose_reader_stops_is_not_read_on_for_those_who_wait(llm):
    """They could not be given it, and would make the call only when it had come to its end."""
    if not llm.is_async:
        pytest.skip("only tasks are cancelled")

    async def both():
        read, go = [], asyncio.Event()

        async def call():
            mine = len(read)
            read.append(0)
            for chunk in chunks():
                read[mine] += 1
                yield chunk
                await go.wait()

        cache = llm.driven.cache
        first = await cache.llm.get_or_call(STREAM, call)
        await anext(first)
        second = asyncio.create_task(cache.llm.get_or_call(STREAM, call))
        while not any(flight.followers for flight in cache._core.world.flights._flights.values()):
            await asyncio.sleep(0)
        await first.aclose()
        go.set()
        heard = [chunk async for chunk in await second]
        return read, len(heard)

    read, heard = llm.driven.runner.run(both())
    assert read[0] <= 2
    assert read[1:] == [heard]


def test_a_stale_recording_is_replayed_while_a_fresh_one_is_made(llm, fake_clock):
    model = streaming("old", "new")
    how = {"ttl": 10, "stale_ttl": 1000}
    llm.read(llm.get_or_call(STREAM, model, **how))
    fake_clock.advance(11)
    said = llm.read(llm.get_or_call(STREAM, model, **how))
    assert said in (chunks("old"), chunks("new"))
    llm.driven.settle()
    assert llm.read(llm.get_or_call(STREAM, model, **how)) == chunks("new")
    assert len(model.asked) == 2
