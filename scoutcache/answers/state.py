"""What one open cache keeps of its semantic side: the embedder, the indexes by namespace, what was heard and served.

Rule 1: it is made when the semantic cache is first used, and shared by every face and view of the cache.
Rule 2: entries that lie in this process's memory alone have an index of their own, in a folder that ends with it: what
        other processes keep in the directory is not for them, nor the other way round.
        Where a policy keeps entries off the disk, so is what leads to them: their index lies in memory.
Rule 3: where a server is shared, what other machines write is heard of in their announcements and added here; after a
        gap in those everything is compared once (`heard`), as it is where they wrote much and nobody asked.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.core.core import Core
from scoutcache.entry import Ref
from scoutcache.errors import CacheError
from scoutcache.meaning.scopes import is_here, key_of, places_of
from scoutcache.semantic.embedding import Embedder, Encoding
from scoutcache.semantic.index import Index
from scoutcache.semantic.models import folder_name

if TYPE_CHECKING:
    from scoutcache.answers.checks import Passed
    from scoutcache.coherence.messages import Message
    from scoutcache.meaning.verified import Model

__all__ = ["Served", "State", "state_of"]

_SERVED: Final = 4096
_MANY: Final = 10_000
"""Keys that others wrote and nobody has asked for: those of more are compared with all entries instead."""


class Served(NamedTuple):
    """A hit that feedback may come for."""

    key: str
    query: str
    scope: dict[str, Any]


class State:
    """See the module."""

    def __init__(self, core: Core) -> None:
        config = core.config.semantic
        self._directory, self.now, self._kind = core.directory, core.clocks.monotonic, config.index
        self._model = config.model
        self._is_brief = core.clocks.looking
        """A command that looks into the cache embeds a query, and is over."""
        self.encoding = Encoding(self._load)
        self._folder = self._choose_folder(core)
        self._indexes: dict[str, Index] = {}
        self._here: dict[str, Index] = {}
        self._policy = core.world.policy
        self._heard = _Heard(core) if "redis" in core.config.tiers else None
        if self._heard is not None:
            core.follower.watch(self._heard)
        self.served: OrderedDict[str, Served] = OrderedDict()
        self.same: Callable[[Any, Any], Any] | None = None
        """Tells whether two responses are the same, where equality doesn't."""
        self.models: dict[Ref, tuple[int, Model | None]] = {}
        """What was learned, and from how many labels, by where those are kept."""
        self.judge: Callable[[str, Any, Any], Any] | None = None
        """The same, told the query too; it goes before `same`."""
        self._passed: OrderedDict[Ref, Passed] = OrderedDict()
        """Requests that were not served."""
        self.settled: dict[str, str | None] = {}
        """The namespaces whose index this process found whole or made so, with its generation."""
        self.in_part: dict[str, float] = {}
        """Those of them of which a tier could not be asked, and when by the monotonic clock it may be again."""
        self.rests_until = 0.0
        """Nothing is asked by meaning before that time of the monotonic clock, but by who calls `cache.semantic`."""
        self._lock = threading.Lock()
        core.at_fork.append(self.renew)

    @property
    def pool(self) -> str:
        """By what the labels of this embedder are named."""
        return hashlib.sha256(self.encoding.name.encode()).hexdigest()[:16]

    def _choose_folder(self, core: Core) -> Path:
        if any(tier is not core.memory for tier in core.tiers):
            return core.directory / "semantic"
        folder = Path(tempfile.mkdtemp(prefix="scoutcache-semantic-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _load(self) -> Embedder:
        from scoutcache.semantic.models import load_embedder

        return load_embedder(self._model, self._directory, brief=self._is_brief)

    def renew(self) -> None:
        """Called in a forked child."""
        self._lock = threading.Lock()
        self.encoding.renew()
        for index in (*self._indexes.values(), *self._here.values()):
            index.renew()

    def use(
        self, embed: Callable[[list[str]], Any] | None, name: str | None, same: Callable[[Any, Any], Any] | None,
        judge: Callable[[str, Any, Any], Any] | None = None,
    ) -> None:  # fmt: skip
        """Make vectors by *embed*, and compare responses by *same* or *judge*, from now on."""
        for what, given in (("embed", embed), ("same", same), ("judge", judge)):
            if given is not None and not callable(given):
                raise CacheError(f"{what} is a function, not {given!r:.80}")
        self.same, self.judge = same or self.same, judge or self.judge
        if embed is None:
            return
        from scoutcache.semantic.models import Function

        called = name or f"{getattr(embed, '__module__', '?')}:{getattr(embed, '__qualname__', type(embed).__name__)}"
        with self._lock:
            self.encoding = Encoding(lambda: Function(embed, called))
            self._indexes, self._here, self.settled = {}, {}, {}

    def index(self, namespace: str) -> Index:
        """The index of *namespace*, in memory where a policy forbids the disk to its answers."""
        with self._lock:
            found = self._indexes.get(namespace)
            if found is None:
                folder = self._folder / folder_name(namespace) if self._may_lie_on_disk(namespace) else None
                found = self._indexes[namespace] = Index(folder, self.encoding, self._kind, self.now)
            return found

    def _may_lie_on_disk(self, namespace: str) -> bool:
        said = None if self._policy is None else self._policy(Ref(namespace, key_of(bytes(16), bytes(16))))
        return said is None or said.allows("disk")

    def here(self, namespace: str, *, make: bool = False) -> Index | None:
        """The index of what must stay in memory; None until something was, unless it is to be made."""
        with self._lock:
            if make and namespace not in self._here:
                self._here[namespace] = Index(None, self.encoding, self._kind, self.now)
            return self._here.get(namespace)

    def note_served(self, hit_id: str, served: Served) -> None:
        """Remember a hit for the feedback to it."""
        with self._lock:
            self.served[hit_id] = served
            while len(self.served) > _SERVED:
                self.served.popitem(last=False)

    def note_passed(self, ref: Ref, passed: Passed) -> None:
        """Remember a request that was not served, for the answer that its caller computes."""
        with self._lock:
            self._passed[ref] = passed
            while len(self._passed) > _SERVED:
                self._passed.popitem(last=False)

    def take_passed(self, ref: Ref) -> Passed | None:
        """What is known of the request that is answered now."""
        with self._lock:
            return self._passed.pop(ref, None)

    def heard(self, namespace: str) -> list[str] | None:
        """Keys that other machines wrote since the last call; None when that is not known."""
        return [] if self._heard is None else self._heard.take(namespace)


class _Heard:
    """Hears what other machines write."""

    def __init__(self, core: Core) -> None:
        self._core = weakref.ref(core)
        self._keys: dict[str, list[str]] = {}
        self._compared: set[str] = set()
        """The namespaces that were compared since the last gap: of others nothing need be noted."""

    def apply(self, message: Message) -> None:
        """Note the keys of answers that another machine wrote."""
        core = self._core()
        if core is None or message.kind != "written" or _machine(message.source) == _machine(core.world.source):
            return
        if message.namespace not in self._compared:
            return
        noted = self._keys.setdefault(message.namespace, [])
        noted += [key for key in message.names if places_of(key) is not None and not is_here(key)]
        if len(noted) > _MANY:
            self._compared.discard(message.namespace)
            noted.clear()

    def drop(self) -> None:
        """There was a gap."""
        self._keys, self._compared = {}, set()

    def take(self, namespace: str) -> list[str] | None:
        """The keys that were noted, None after a gap."""
        if namespace not in self._compared:
            self._compared.add(namespace)
            return None
        noted = self._keys.get(namespace, [])
        taken = noted[:]
        del noted[: len(taken)]  # in place: more may be coming
        return taken


def _machine(source: str) -> str:
    return source.rpartition(".")[0]


_states: weakref.WeakKeyDictionary[Core, State] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def state_of(core: Core) -> State:
    """The semantic side of *core*."""
    found = _states.get(core)
    if found is None:
        with _making:
            found = _states.get(core)
            if found is None:
                found = _states[core] = State(core)
    return found
