"""Labels that people give: pairs of queries and whether one answer serves both, taken as evidence.

Rule 1: a pair labels what is known of an answer: where one of its queries was answered in the scope, that answer was
        right, or wrong, for a query as near as the other.  A wrong one isn't served to queries as far away or farther.
Rule 2: where one was answered and the other was not, and they are the same, the other becomes an alias: it was said
        that this answer serves it.
Rule 3: the pairs are replayed for the policy ``verified``, in their order, as if they were requests; so they are to be
        as those that come.  What it had learned already from the same pair counts once.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scoutcache.answers.checks import mark_of
from scoutcache.answers.evidence import evidence_of, observe
from scoutcache.answers.verifying import keep_labels
from scoutcache.calls.calls import Options
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import Ref
from scoutcache.errors import CacheError
from scoutcache.meaning.evidence import Evidence, Observation
from scoutcache.meaning.presets import LONGEST
from scoutcache.meaning.scopes import Answer, Asked, asked, check_names
from scoutcache.meaning.verified import Label, figures, pack, unpack
from scoutcache.semantic.embedding import similarity_of

if TYPE_CHECKING:
    from scoutcache.answers.answering import Answering

__all__ = ["Labelled", "label"]


class Labelled(NamedTuple):
    """What became of pairs: how many there were, taught something new, became evidence of an answer, and an alias."""

    pairs: int
    learned: int
    evidence: int
    aliases: int


def label(
    answering: Answering, pairs: Iterable[Sequence[Any]], namespace: str | None, scope: Mapping[str, Any]
) -> Flow[Labelled]:
    """Take *pairs* of queries, each with whether one answer serves both, as evidence in *scope*."""
    check_names("label", scope)
    name, preset = answering.namespace(namespace), answering.preset(0.0)
    rows = [_row(at, pair, scope) for at, pair in enumerate(pairs)]
    if not answering.core.config.enabled:
        return Labelled(len(rows), 0, 0, 0)
    yield from answering.opened(name)
    near = yield from perform(Work(lambda: _similarities(answering, rows)))
    known: dict[bytes, Evidence] = {}
    marks = {mark_of(one) for row in rows for one in row[:2]}
    labels, evidence, aliases = [], 0, 0
    for (one, other, same), similarity in zip(rows, near, strict=True):
        seen = known.get(other.ident) or (yield from _known(answering, name, other, marks))
        labels.append(Label(figures(one.query, other.query, similarity, seen, preset.gates), same))
        known[other.ident] = seen.with_(Observation(similarity, same, mark_of(one)))
        for here, there in ((one, other), (other, one)):
            told = yield from _tell(answering, name, here, there, similarity, same=same)
            evidence, aliases = evidence + told[0], aliases + told[1]
    learned = yield from keep_labels(answering, name, lambda held: _new(held, labels))
    return Labelled(len(rows), learned, evidence, aliases)


def _row(at: int, pair: Any, scope: Mapping[str, Any]) -> tuple[Asked, Asked, bool]:
    whole = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 3
    if not whole or not isinstance(pair[2], bool):
        raise CacheError(f"pair {at + 1} is no (query, other, same): {pair!r:.80}",
                         hint="expected two texts, and True or False for whether one answer serves both")  # fmt: skip
    for text in pair[:2]:
        if isinstance(text, str) and len(text) > LONGEST:
            raise CacheError(f"pair {at + 1} holds a query of more than {LONGEST:,} characters: it can't be "
                             "compared", hint="leave it out")  # fmt: skip
    return asked(pair[0], scope), asked(pair[1], scope), pair[2]


def _similarities(answering: Answering, rows: Sequence[tuple[Asked, Asked, bool]]) -> list[float]:
    """How near the queries of each row are."""
    texts = sorted({one.query for row in rows for one in row[:2]}, key=len)  # alike in length: less padding
    vectors = dict(zip(texts, answering.state.encoding.many(texts), strict=True))
    return [similarity_of(vectors[one.query], vectors[other.query]) for one, other, _ in rows]


def _known(answering: Answering, namespace: str, other: Asked, marks: Collection[str]) -> Flow[Evidence]:
    """What is known of the answer to *other*, but for what these pairs, with their *marks*, said when they came before.

    So the same pairs are the same labels.
    """
    reading = yield from answering.read(Ref(namespace, other.key), {})
    if reading is None:
        return Evidence("")
    found = yield from evidence_of(answering, reading.target, reading.answer.birth)
    return found._replace(seen=tuple([one for one in found.seen if one.mark not in marks]))


def _tell(
    answering: Answering, namespace: str, one: Asked, other: Asked, similarity: float, *, same: bool
) -> Flow[tuple[bool, bool]]:
    """Tell the answer to *other* of *one*, if there is one: was that evidence, and did *one* become an alias?"""
    reading = yield from answering.read(Ref(namespace, other.key), {})
    if reading is None or one.ident == other.ident or reading.target.key == one.key:
        return False, False
    observation = Observation(similarity, same, mark_of(one))
    before = yield from observe(answering, reading.target, reading.answer.birth, observation)
    if before is None:
        return False, False
    if not same or (yield from answering.read(Ref(namespace, one.key), {})) is not None:
        return True, False
    left = reading.fresh_until - answering.core.world.now()
    answer = Answer(one.query, reading.answer.birth, one.scope, b"", "", secrets.token_hex(8), reading.target.key)
    options = Options(ttl="never" if math.isinf(left) else max(left, 0.001), depends_on=[reading.target.key])
    return True, (yield from answering.store(one, namespace, answer, options))


def _new(held: Sequence[Label], labels: Sequence[Label]) -> list[Label]:
    """Those of *labels* that aren't held, as they are when they were packed."""
    there, new = Counter(held), []
    for one in unpack(pack(labels)):
        if there[one]:
            there[one] -= 1
        else:
            new.append(one)
    return new
