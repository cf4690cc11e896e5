"""What a memory tier drops when a message arrives.

What depends on a key by a mark without a version (it was stored while the authority could not be asked) hears of that
key by its name: whoever changes it knows of no mark to renew.
"""

from __future__ import annotations

from collections.abc import Callable

from scoutcache.coherence.messages import Message, concerns_source
from scoutcache.entry import Ref
from scoutcache.patterns import Pattern
from scoutcache.tiers.memory.tier import MemoryTier

__all__ = ["MemoryHolder"]


class MemoryHolder:
    """Applies messages to *tier*."""

    def __init__(self, tier: MemoryTier) -> None:
        self._tier = tier
        self.lasts: Callable[[Ref], bool] = lambda _: True
        """May what replaces an entry be found below memory?  Else that has ended here."""

    def apply(self, message: Message) -> None:
        """Drop what *message* names, or mark it stale."""
        tier, namespace = self._tier, message.namespace
        dependents = [ref for ref, names in tier.unversioned() if concerns_source(message, ref, names)]
        if message.action != "delete":
            self._age(message)
            tier.age(dependents)
            return
        if dependents:
            tier.remove(dependents)
        if message.is_unresolved:
            tier.drop_marked(namespace, self._doubtful(message))
        match message.kind:
            case "key" | "written":
                refs = [Ref(namespace, key) for key in message.names]
                superseded = [ref for ref in refs if self.lasts(ref)] if message.kind == "written" else []
                tier.remove(superseded, superseded=True)
                tier.remove(refs)
                if message.owed:
                    tier.drop_marked(namespace, message.unrenewed)
            case "pattern":
                for text in message.names:
                    tier.remove_matching(namespace, Pattern.parse(text))
            case "mark":
                tier.drop_marked(namespace, message.names)
            case "namespace":
                tier.clear(namespace)

    def _doubtful(self, message: Message) -> list[str]:
        """The marks of what may depend on what *message* names, of which nobody could say what does."""
        return [name for name in self._tier.marks(message.namespace) if message.may_end(name)]

    def _age(self, message: Message) -> None:
        tier, namespace = self._tier, message.namespace
        if message.is_unresolved:
            tier.age_marked(namespace, self._doubtful(message))
        match message.kind:
            case "key":
                tier.age([Ref(namespace, key) for key in message.names])
            case "pattern":
                for text in message.names:
                    tier.age_matching(namespace, Pattern.parse(text))
            case "mark":
                tier.age_marked(namespace, message.names)

    def drop(self) -> None:
        """Drop everything: a message was missed."""
        self._tier.clear(None)
