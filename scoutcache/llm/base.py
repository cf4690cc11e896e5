"""What `Llm` and `AsyncLlm` are the same in: arguments are read, questions put, reports counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from scoutcache.calls.calls import Calls, Position
from scoutcache.calls.get_or_compute import How, options
from scoutcache.calls.invalidating import Match
from scoutcache.calls.ruling import invalidate_named
from scoutcache.chat.answers import outline_of
from scoutcache.chat.defaults import provider_of
from scoutcache.chat.stored import is_stream
from scoutcache.core.keeping import is_by_meaning
from scoutcache.engine.effects import Flow
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, InvalidKey, InvalidTTL
from scoutcache.llm.details import Details, names, told_model, verdict_of
from scoutcache.llm.flows import Flows, Making
from scoutcache.llm.question import Question, bound, question_of, tag_of
from scoutcache.models import InvalidationResult
from scoutcache.ttl import parse_duration

if TYPE_CHECKING:
    from scoutcache.face import Face
    from scoutcache.llm.nearness import Near

__all__ = ["LONGEST", "Asking", "Base"]

Named = str | Iterable[str] | None
LONGEST = 1_000_000
"""Hours that can be asked about: 114 years."""
_DETAILS = tuple(Details.__dataclass_fields__)


class Asking:
    """One `get_or_call`, read.  *run* drives a flow; what it gives is to be awaited on an event loop."""

    def __init__(self, flows: Flows, run: Callable[[Flow[Any]], Any], question: Question, call: Any,
                 given: Mapping[str, Any]) -> None:  # fmt: skip
        said = {name: given[name] for name in _DETAILS if name in given}
        details = Details(**said).checked()
        how = options("get_or_call", {name: value for name, value in given.items() if name not in _DETAILS})
        flows.calls.cost(details.cost)
        self.flows, self.run, self.question = flows, run, question
        self.call: Callable[[], Any] = bound(call, question)
        self.how: How = how
        self.making = Making(flows, question, details, how.namespace)
        self.near: Near | None = None
        """The way by meaning, where it was asked for and the question has one."""

    def flow(self, factory: Callable[..., Any]) -> Flow[Any]:
        """What is stored, made by *factory* where nothing is."""
        stored = yield from self.flows.ask(self.making, factory, self.how)
        if self.near is not None and stored is not MISSING:
            yield from self.near.keep(stored)
        return stored


class Base:
    """The part that needs no driver."""

    def __init__(self, cache: Face) -> None:
        self._flows = Flows(cache._calls)

    @property
    def _calls(self) -> Calls:
        return self._flows.calls

    def key(
        self, request: Mapping[str, Any] | None = None, *, text: str | Iterable[str] | None = None,
        operation: str | None = None, options: Mapping[str, Any] | None = None,
    ) -> str:  # fmt: skip
        """The key under which the answer to a question is kept.  Raises `InvalidKey`."""
        return self._question(request, text, operation, options).key

    def _question(self, request: Any, text: Any, operation: str | None, options: Any) -> Question:
        return question_of(self._flows.core.config.llm, request, text, operation, options)

    def _asking(self, request: Any, call: Any, asked: tuple[Any, str | None, Any], cache: Any,
                given: Mapping[str, Any], *, semantic: bool | None) -> Asking:  # fmt: skip
        """A `get_or_call` of *cache*, read."""
        text, operation, options = asked
        question = self._question(request, text, operation, options)
        asking = Asking(self._flows, cache._run, question, call, given)
        if self._is_by_meaning(asking) if semantic is None else semantic:
            # Here, for it takes as long to load as all the rest of this face, which asks exactly by default.
            from scoutcache.llm.nearness import Near, sought_in, sought_in_text

            settings = self._flows.core.config.llm
            by_text = text is not None
            sought = sought_in_text(text, operation or "", options or {}) if by_text else sought_in(settings, request)
            asking.near = None if sought is None else Near(sought, asking.making, asking.how)
        return asking

    def _is_by_meaning(self, asking: Asking) -> bool:
        core = self._flows.core
        ref = self._calls.ref(asking.question.key, asking.how.namespace)
        return core.config.semantic.enabled or is_by_meaning(core.world.policy, ref)

    def _set(
        self, request: Any, response: Any, asked: tuple[Any, str | None, Any], details: Details, ttl: object,
        namespace: str | None, since: Position | None,
    ) -> Flow[bool]:  # fmt: skip
        question = self._question(request, *asked)
        if response is MISSING:
            raise CacheError("there is no response to be kept", hint="cache.llm.set(request, response)")
        if is_stream(response):
            raise CacheError("a stream can't be kept before it has been read",
                             hint="give the list of its chunks, or let get_or_call record it")
        self._calls.cost(details.cost)
        return self._flows.set(question, response, details.checked(), ttl, namespace, since)

    def _invalidated(
        self, operation: Named, model: Named, source: Named, provider: Named, match: Match, namespace: str | None,
        **how: Any,
    ) -> Flow[InvalidationResult]:
        tags = [tag_of(kind, name)
                for kind, named in (("operation", operation), ("model", model), ("source", source),
                                    ("provider", provider))
                for name in names(named)]  # fmt: skip
        if not tags:
            raise InvalidKey("nothing to invalidate was named", hint="give operation=, model=, source= or provider=")
        return invalidate_named(self._calls, (), (), tags, match, namespace, None, cascade=True, action="delete", **how)

    def _reported(
        self, response: Any, provider: str | None, model: str | None, operation: str | None,
        input_tokens: int | None, output_tokens: int | None, cost: float | None, latency: object,
        request_id: str | None, *, error: bool, cached: bool,
    ) -> None:  # fmt: skip
        """Count what another part of the program asked a model, or found elsewhere."""
        details = Details(provider=provider, request_id=request_id, input_tokens=input_tokens,
                          output_tokens=output_tokens, cost=self._calls.cost(cost)).checked()  # fmt: skip
        outline = outline_of(response)
        for kind, said in (("operation", operation), ("model", model)):
            if said:
                tag_of(kind, said)
        name = model or told_model(outline.model)
        seconds = None if latency is None else _latency(latency)
        question = Question("", name, operation, provider or provider_of(name), "", streams=False, given={}, whole=None)
        flows = self._flows
        verdict = verdict_of(flows.core.config, question, details, outline, 0.0)
        if cached:  # an answer that is found again has the id of the call that made it
            flows.count_request(question, None, {"meta": verdict.meta})
            return
        if not flows.is_first_report(details.request_id or outline.request_id):
            return
        flows.count_request(question, None, None)
        if error:
            flows.count(question, None, {"calls": 1, "errors": 1})
        else:
            flows.count_call(question, None, verdict, None if seconds is None else round(seconds * 1e9))

    @staticmethod
    def _hours(hours: float) -> float:
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < math.inf:
            raise CacheError(f"hours is a number of more than 0, not {hours!r:.80}")
        if hours > LONGEST:
            raise CacheError(f"hours is at most {LONGEST:,}, not {hours!r:.80}",
                             hint="counts are kept for [llm] metrics_ttl")
        return hours


def _latency(given: object) -> float:
    try:
        return parse_duration(given)
    except InvalidTTL as error:
        raise InvalidTTL(f"latency: {error}") from None
