"""What each call of `cache.llm` does, written once for both faces: find, judge, keep, count.

Rules.

1. What a model answers is judged when it comes; what is no good answer goes to who asked and is not stored.
2. A request is counted as a hit where no call was made for it; a call is counted where it was made.  Who waited for
   another's call, and got what is no good answer, has missed as well.  What goes past the cache, or asks one that is
   switched off, is neither: it is counted as bypassed.
3. The time to live is what the caller says, else what a policy says of the key, else the operation's in
   ``[llm] operation_ttls``, else what holds for ``llm:`` keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from scoutcache.calls.calls import Calls, Options, Position
from scoutcache.calls.get_or_compute import How, obtain, obtain_anew
from scoutcache.chat.answers import Outline, outline_of, outline_of_chunks
from scoutcache.chat.prices import cost_of
from scoutcache.chat.stored import FORM, Chunks, LlmAnswer, opened, pack_chunk, packed, packed_stream, told
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING, NEVER, Ref
from scoutcache.errors import SerializationError
from scoutcache.llm.details import Details, Verdict, verdict_of
from scoutcache.llm.ledger import Label, ledger_of, read_rows
from scoutcache.llm.metrics import NOT_KEPT, LlmMetrics, metrics_of
from scoutcache.llm.question import CHAT, Question

__all__ = ["Flows", "Making"]

FAULT: Final = "fault"
"""Why an answer is not kept, in what is known of it."""

_BYPASSED: Final = {"bypassed": 1}


class Flows:
    """The calls of `cache.llm` in the namespace of *calls*."""

    def __init__(self, calls: Calls) -> None:
        self.calls, self.core = calls, calls.core

    # -- reading

    def get(self, question: Question, namespace: str | None) -> Flow[Any]:
        """The answer, or `MISSING`; a request either way."""
        stored = yield from self.calls.get(question.key, MISSING, namespace)
        response = opened(stored)
        if self.core.config.enabled:
            self.count_request(question, namespace, None if response is MISSING else stored)
        else:
            self.count(question, namespace, _BYPASSED)
        return response

    def get_entry(self, question: Question, namespace: str | None) -> Flow[LlmAnswer | None]:
        """The answer and what is known of it; no request."""
        entry = yield from self.calls.get_entry(question.key, namespace)
        response = MISSING if entry is None or entry.is_stale(now=self._now()) else opened(entry.value)
        return None if response is MISSING or entry is None else told(question.key, entry.value, response)

    def _now(self) -> Any:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.core.world.now(), UTC)

    # -- writing

    def set(
        self, question: Question, response: Any, details: Details, ttl: object, namespace: str | None,
        since: Position | None,
    ) -> Flow[bool]:  # fmt: skip
        """Store an answer, unless it is none to be kept; True if some tier took it."""
        if isinstance(response, list | tuple) and question.streams:
            chunks = list(response)
            verdict = self.judge(question, details, outline_of_chunks(chunks))
            stored = packed_stream(map(pack_chunk, chunks), verdict.meta)
        else:
            verdict = self.judge(question, details, _outlined(response))
            stored = packed(response, verdict.meta)
        ref = self.calls.ref(question.key, namespace)
        options = Options(self.ttl(ref, question, ttl), tags=verdict.tags, namespace=namespace, cost=verdict.cost,
                          since=since)  # fmt: skip
        self.calls.lifetime(ref, options.ttl)  # what can't be meant is refused, kept or not
        if verdict.fault is not None:
            self.count(question, namespace, {NOT_KEPT + verdict.fault: 1})
            return False
        return (yield from self.calls.set(question.key, stored, options))

    def judge(self, question: Question, details: Details, outline: Outline) -> Verdict:
        """What becomes of an answer."""
        return verdict_of(self.core.config, question, details, outline, self.core.world.now())

    def ttl(self, ref: Ref, question: Question, ttl: object) -> object:
        """The time to live by rule 3; None for what holds anyway."""
        own = self.core.config.llm.operation_ttls.get(question.operation or "")
        if ttl is not None or own is None:
            return ttl
        policy = self.core.world.policy
        said = None if policy is None else policy(ref)
        return own if said is None or said.ttl_seconds is None else None

    # -- asking

    def ask(self, making: Making, factory: Callable[..., Any], how: How) -> Flow[Any]:
        """What is stored for the question of *making*, made by *factory* once however many ask.

        `MISSING` where a stream was broken off by who read it.
        """
        question = making.question
        how = how._replace(
            ttl=self.ttl(self.calls.ref(question.key, how.namespace), question, how.ttl),
            condition=making.observed(how.condition), store_if=_of_response(how.store_if),
            validate=_of_response(how.validate),
        )  # fmt: skip
        try:
            stored = yield from obtain(self.calls, question.key, factory, how, making.until)
            if stored is not MISSING and not making.called and opened(stored) is MISSING:
                stored = yield from obtain_anew(self.calls, question.key, factory, how)
        except BaseException:
            if making.bypassed:
                self.count(question, making.namespace, _BYPASSED)
            elif making.called:
                self.count_request(question, making.namespace, None)
            raise
        if making.bypassed:
            self.count(question, making.namespace, _BYPASSED)
        else:
            making.hit = not making.called and stored is not MISSING and FAULT not in stored["meta"]
            self.count_request(question, making.namespace, stored if making.hit else None)
        return stored

    # -- counting

    def count(self, question: Question, namespace: str | None, numbers: Mapping[str, float],
              latency_ns: int | None = None) -> None:  # fmt: skip
        """Add to the counts of what the question is counted by."""
        label = Label(namespace or self.calls.namespace, question.provider or "", question.model,
                      question.operation or CHAT, question.size)  # fmt: skip
        ledger_of(self.core).count(self.core.clocks.wall(), label, numbers, latency_ns)

    def count_request(self, question: Question, namespace: str | None, stored: Any) -> None:
        """A request that was answered by what is *stored*, or missed where that is None."""
        if stored is None:
            self.count(question, namespace, {"misses": 1})
            return
        meta = stored["meta"]
        tokens_in, tokens_out, cost = meta.get("input_tokens"), meta.get("output_tokens"), meta.get("cost")
        if cost is None:
            cost = cost_of(self.core.config.costs, (meta.get("model"), question.model), tokens_in, tokens_out)
        numbers = {"hits": 1, "input_tokens_saved": tokens_in or 0, "output_tokens_saved": tokens_out or 0}
        self.count(question, namespace, numbers | _priced(cost, "cost_saved_usd", "saved_costed"))

    def count_call(self, question: Question, namespace: str | None, verdict: Verdict, latency_ns: int | None) -> None:
        """A call that was made and answered."""
        meta = verdict.meta
        numbers = {"calls": 1, "input_tokens": meta["input_tokens"] or 0, "output_tokens": meta["output_tokens"] or 0}
        if verdict.fault is not None:
            numbers[NOT_KEPT + verdict.fault] = 1
        self.count(question, namespace, numbers | _priced(verdict.cost, "cost_usd", "costed"), latency_ns)

    def is_first_report(self, request_id: str | None) -> bool:
        """Was this call not reported before, as far as this process knows?"""
        return request_id is None or ledger_of(self.core).is_new(request_id)

    def metrics(self, hours: float) -> Flow[LlmMetrics]:
        """What all processes counted in the last *hours*, to ten minutes."""
        end = self.core.clocks.wall()
        rows = yield from read_rows(self.calls, end - hours * 3600)
        return metrics_of(rows, end - hours * 3600, end)


class Making:
    """One asking: whether its own call was made, what that gave, and how long it took."""

    def __init__(self, flows: Flows, question: Question, details: Details, namespace: str | None) -> None:
        self.flows, self.question, self.details, self.namespace = flows, question, details, namespace
        self.called = self.hit = False
        self.bypassed = not flows.core.config.enabled  # where the condition isn't asked for
        self.until = NEVER
        """When, by the monotonic clock, whoever asks stops waiting for another's call."""
        self.response: Any = MISSING
        """What the own call gave, as it gave it."""
        self._took_ns = 0

    def observed(self, condition: Callable[[], bool] | None) -> Callable[[], bool] | None:
        """*condition*, whose answer is noted."""
        if condition is None or not callable(condition):  # which is refused where the other options are
            return condition

        def ask() -> bool:
            self.bypassed = not condition()
            return not self.bypassed

        return ask

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around the call itself."""
        self.called, clock = True, self.flows.core.clocks.monotonic_ns
        began = clock()
        try:
            yield
            self._took_ns = clock() - began
        except Exception:
            self.flows.count(self.question, self.namespace, {"calls": 1, "errors": 1})
            raise
        except BaseException:  # whoever wanted it was cancelled
            self.abandoned()
            raise

    def abandoned(self) -> Any:
        """Whoever read the stream has stopped: `MISSING`."""
        self.flows.count(self.question, self.namespace, {"calls": 1, f"{NOT_KEPT}abandoned": 1})
        return MISSING

    def whole(self, ctx: Any, response: Any) -> dict[str, Any]:
        """The answer as it is stored, and *ctx* told how."""
        self.response = response
        verdict = self.flows.judge(self.question, self.details, _outlined(response))
        try:
            stored = packed(response, verdict.meta)
        except SerializationError:
            stored = {"llm": FORM, "whole": [response, None], "meta": verdict.meta}
            verdict = Verdict(verdict.tags, verdict.cost, verdict.fault or "unstorable", verdict.meta)
        return self._said(ctx, verdict, stored)

    def stream(self, ctx: Any, chunks: Iterable[Any]) -> dict[str, Any]:
        """The same of a recorded stream."""
        self.response = recorded = Chunks(chunks)
        verdict = self.flows.judge(self.question, self.details, outline_of_chunks(recorded))
        try:
            stored = packed_stream(map(pack_chunk, recorded), verdict.meta)
        except SerializationError:
            stored = {"llm": FORM, "chunks": [[chunk, None] for chunk in recorded], "meta": verdict.meta}
            verdict = Verdict(verdict.tags, verdict.cost, verdict.fault or "unstorable", verdict.meta)
        return self._said(ctx, verdict, stored)

    def body(self, ctx: Any, body: Any, outline: Outline) -> dict[str, Any]:
        """The same of something that *outline* tells of."""
        self.response = body
        verdict = self.flows.judge(self.question, self.details, outline)
        return self._said(ctx, verdict, packed(body, verdict.meta))

    def _said(self, ctx: Any, verdict: Verdict, stored: dict[str, Any]) -> dict[str, Any]:
        ctx.tags, ctx.cost = [*ctx.tags, *verdict.tags], verdict.cost
        if verdict.fault is not None:
            ctx.store, stored["meta"][FAULT] = False, verdict.fault  # read by who waited for it: it is not stored
        self.flows.count_call(self.question, self.namespace, verdict, self._took_ns)
        return stored


def _outlined(response: Any) -> Outline:
    """What a whole answer says of itself; None is no answer yet."""
    outline = outline_of(response)
    outline.finished &= response is not None
    return outline


def _of_response(ask: Callable[[Any], bool] | None) -> Callable[[Any], bool] | None:
    """A question about answers, as one about what is stored."""
    if ask is None or not callable(ask):
        return ask
    return lambda stored: (response := opened(stored)) is not MISSING and bool(ask(response))


def _priced(cost: float | None, name: str, known: str) -> dict[str, float]:
    return {} if cost is None else {name: cost, known: 1}
