"""An embedder turns texts into vectors of unit length; this wraps whatever makes them: checked, batched, remembered.

Rule 1: what comes out is float32 of shape (n, dim), finite and of unit length, whatever came in; a vector of zeros or
        NaN is an error, never a neighbour of everything, and so is another dim than before.
Rule 2: threads that ask at once are answered by one batch: whoever gets the model embeds for all that wait.  Of a
        batch that fails each text is tried alone, so that only those who asked for a bad one are told.
Rule 3: the last texts are remembered, so that a miss and the answer stored after it cost one encoding.
Rule 4: a long text is embedded in pieces of `PIECE` characters (fewer of other scripts, `room_of`), cut at blanks, and
        stands for the mean of their vectors (of more than `PIECES` pieces: the first three quarters of so many, and the
        last), for models take 256 tokens.
"""

from __future__ import annotations

import inspect
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Protocol

from scoutcache.errors import CacheError
from scoutcache.meaning.wording import DENSE, FOREIGN, PIECE, room_of
from scoutcache.semantic.identity import PROBE, identity_of, is_same

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
else:
    Vectors = Any

__all__ = ["PIECES", "Embedder", "Encoding", "Vectors", "pieces", "similarity_of"]

PIECES: Final = 16
_REMEMBERED: Final = 2048
_BATCH: Final = 32


def similarity_of(one: Vectors, other: Vectors) -> float:
    """The cosine of two vectors of unit length, cut to 0-1: rounding leads beyond 1, and opposites are strangers."""
    return min(max(float(one @ other), 0.0), 1.0)


class Embedder(Protocol):
    """Makes vectors; *name* tells it from others.  It may know some already: ``known``, vectors by their texts."""

    name: str

    def embed(self, texts: list[str]) -> Any:
        """An array of shape (n, dim), or what numpy makes one of."""


class _Job:
    """A text that somebody waits for."""

    __slots__ = ("error", "text", "vector")

    def __init__(self, text: str) -> None:
        self.text = text
        self.vector: Vectors | None = None
        self.error: Exception | None = None


class Encoding:
    """Vectors of texts by one embedder, which is loaded when the first is asked for."""

    def __init__(self, load: Callable[[], Embedder]) -> None:
        self._load = load
        self._embedder: Embedder | None = None
        self._identity: str | None = None
        self._dim: int | None = None
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self.calls = 0
        """How often the embedder was called, for whoever wants to see batches."""
        self.renew()

    def renew(self) -> None:
        """Called in a forked child: nobody here waits, and no lock is held."""
        self._mutex, self._running = threading.Lock(), threading.Lock()
        self._waiting: list[_Job] = []

    @property
    def name(self) -> str:
        """The embedder's name, which loads it."""
        return self._loaded().name

    @property
    def identity(self) -> str:
        """The embedder's name and what it makes of a fixed text, by which its vectors are known."""
        if self._identity is None:
            self._identity = identity_of(self.name, self.one(PROBE).tolist())
        return self._identity

    def made(self, identity: str) -> bool:
        """Did this embedder make the vectors that say *identity*?"""
        return is_same(identity, self.identity)

    def _loaded(self) -> Embedder:
        if self._embedder is None:
            with self._running:
                if self._embedder is None:
                    embedder = self._load()
                    for text, vector in getattr(embedder, "known", {}).items():
                        self._remember(text, vector)
                    self._embedder = embedder
        return self._embedder

    def one(self, text: str) -> Vectors:
        """The vector of *text*.  Raises `CacheError` for an embedder that can't be loaded or gives no vectors."""
        self._loaded()
        with self._mutex:
            known = self._known.get(text)
            if known is not None:
                self._known.move_to_end(text)
                return known
        job = _Job(text)
        with self._mutex:
            self._waiting.append(job)
        with self._running:
            if job.vector is None and job.error is None:
                self._run_waiting()
        if job.error is not None:
            raise job.error
        assert job.vector is not None
        return job.vector

    def _run_waiting(self) -> None:
        """Embed for everybody who waits; the caller is among them."""
        with self._mutex:
            jobs, self._waiting = self._waiting, []
        for at in range(0, len(jobs), _BATCH):
            batch = jobs[at : at + _BATCH]
            if not self._run(batch) and len(batch) > 1:
                for job in batch:
                    self._run([job])

    def _run(self, batch: list[_Job]) -> bool:
        """Embed for *batch*; False where that failed, of which a lone job is told."""
        try:
            vectors = self._embed([job.text for job in batch])
        except Exception as error:  # noqa: BLE001  # who waits for it raises it
            if len(batch) == 1:
                batch[0].error = error
            return False
        for job, vector in zip(batch, vectors, strict=True):
            job.vector = vector
            self._remember(job.text, vector)
        return True

    def _remember(self, text: str, vector: Vectors) -> None:
        with self._mutex:
            self._known[text] = vector
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    def many(self, texts: Sequence[str]) -> Vectors:
        """The vectors of *texts*, in batches; for bulk work, which is not remembered."""
        import numpy as np

        self._loaded()
        parts = []
        for at in range(0, len(texts), _BATCH):
            with self._running:
                parts.append(self._embed(list(texts[at : at + _BATCH])))
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _embed(self, texts: list[str]) -> Vectors:
        """The vectors of *texts*, pieces and all, by one call of the embedder."""
        import numpy as np

        cut = [pieces(text) for text in texts]
        self.calls += 1
        assert self._embedder is not None
        given = [piece for one in cut for piece in one]
        found = checked(_embedded(self._embedder, given), len(given), self._embedder)
        self._keep_dim(found.shape[1])
        if len(found) == len(texts):
            return found
        ends = np.cumsum([len(one) for one in cut])
        means = [found[end - len(one) : end].mean(axis=0) for end, one in zip(ends, cut, strict=True)]
        return checked(means, len(texts), self._embedder)

    def _keep_dim(self, dim: int) -> None:
        """Raise `CacheError` for vectors of another dimension than the first ones had."""
        if self._dim is None:
            self._dim = dim
        if dim != self._dim:
            raise CacheError(f"the embedder {self.name} gives vectors of {dim} numbers, and gave such of {self._dim}",
                             hint="two models are two embedders: give each a cache of its own")  # fmt: skip


def _embedded(embedder: Embedder, texts: list[str]) -> Any:
    """What *embedder* gives.  Raises `CacheError` for whatever it raises."""
    try:
        found = embedder.embed(texts)
    except CacheError:
        raise
    except Exception as error:
        raise CacheError(f"the embedder {embedder.name} failed: {type(error).__name__}: {error!s:.300}") from error
    if inspect.iscoroutine(found):
        found.close()
        raise CacheError(f"the embedder {embedder.name} is a coroutine function: it has to give its vectors at once",
                         hint="AsyncCache calls it in a thread, where it may wait")  # fmt: skip
    return found


def checked(vectors: Any, count: int, embedder: Embedder) -> Vectors:
    """*vectors* as float32 of unit length (rule 1).  Raises `CacheError`."""
    import numpy as np

    try:
        found = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise CacheError(f"the embedder {embedder.name} gives no array of numbers: {error}") from error
    if found.ndim != 2 or found.shape[0] != count or found.shape[1] == 0:
        raise CacheError(
            f"the embedder {embedder.name} gives an array of shape {found.shape} for {count} texts",
            hint="expected one row for each text: (n, dim)",
        )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise CacheError(f"the embedder {embedder.name} gives a vector of zeros, or one that isn't finite")
    unit: Vectors = found / lengths
    return unit


def pieces(text: str) -> list[str]:
    """*text* in pieces that a model takes whole (rule 4)."""
    if room_of(text) <= PIECE:
        return [text]
    found, at = [], 0
    while at < len(text):
        end = at + _fitting(text[at : at + PIECE])
        if end < len(text) and (blank := text.rfind(" ", (at + end) // 2, end)) > 0:
            end = blank
        found.append(text[at:end])
        at = end
    head = PIECES * 3 // 4
    return found if len(found) <= PIECES else [*found[:head], *found[head - PIECES :]]


def _fitting(text: str) -> int:
    """How many characters of *text* are one piece."""
    if text.isascii():
        return min(len(text), PIECE)
    return bisect_right(list(accumulate(DENSE if one > "\x7f" else FOREIGN for one in text)), PIECE)
