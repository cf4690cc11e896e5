"""Those who share a server: two namespaces, a view, and two prefixes of which one begins with the other."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

from tests.faults.redis_lab import Lab


def tenants(room: Any, lab: Lab, operations: int) -> dict[str, Any]:
    """Two namespaces and two prefixes on one server, the namespaces of one directory too; every API, mixed."""
    url = lab.redis().url
    shared = room.directory()
    first = room.cache({"url": url}, namespace="one", directory=shared)
    caches = {
        "one": first, "two": room.cache({"url": url}, namespace="two", directory=shared),
        "view": first.namespace("three"),
        "p": room.cache({"url": url, "key_prefix": "p:"}), "q": room.cache({"url": url, "key_prefix": "p:q:"}),
    }  # fmt: skip
    tellers = {name: Tenant(name, cache, random.Random(name)) for name, cache in caches.items()}
    dice, began = random.Random(1), time.monotonic()
    for _ in range(operations):
        dice.choice(list(tellers.values())).step()
    found: Counter[str] = Counter()
    for one in tellers.values():
        one.look_at_all()
        found.update(one.bad)
    calls: Counter[str] = Counter()
    for one in tellers.values():
        calls.update(one.calls)
    return {"operations": operations, "cross": found["cross"], "lost": found["lost"], "errors": found["error"],
            "seconds": round(time.monotonic() - began, 1), "apis": len(calls),
            "detail": [line for one in tellers.values() for line in one.lines][:5]}  # fmt: skip


class Tenant:
    """One of those who share a server: does one of everything, and knows what it must find."""

    def __init__(self, name: str, cache: Any, dice: random.Random) -> None:
        self.name, self.cache, self.dice = name, cache, dice
        self.holds: dict[str, Any] = {}
        self.bad: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.lines: list[Any] = []
        self.number = 0
        self.bumped: set[str] = set()
        self._works = [getattr(self, each) for each in dir(type(self)) if each.startswith("do_")]
        self.through = cache.through(loader=self._value, writer=lambda key, value: None)

    def _value(self, key: str) -> Any:
        self.number += 1
        return [self.name, key, self.number]

    def _key(self) -> str:
        return f"k:{self.dice.randrange(40)}"

    def step(self) -> None:
        work = self.dice.choice(self._works)
        self.calls[work.__name__] += 1
        try:
            work(self._key())
        except Exception as error:
            self.bad["error"] += 1
            self.lines.append((self.name, work.__name__, repr(error)))

    def _found(self, key: str, value: Any, what: str) -> None:
        """*value* was answered for *key*."""
        if value is not None and value[0] != self.name:
            self.bad["cross"] += 1
            self.lines.append((self.name, what, key, value))
        elif value != self.holds.get(key):
            self.bad["lost"] += 1
            self.lines.append((self.name, what, key, value, self.holds.get(key)))
            self.holds[key] = value

    def look_at_all(self) -> None:
        for key in list(self.holds):
            self._found(key, self.cache.get(key), "at the end")

    def do_get(self, key: str) -> None:
        self._found(key, self.cache.get(key), "get")

    def do_get_entry(self, key: str) -> None:
        entry = self.cache.get_entry(key)
        self._found(key, None if entry is None else entry.value, "get_entry")

    def do_get_many(self, key: str) -> None:
        keys = [key, self._key()]
        answers = self.cache.get_many(keys)
        for one in keys:
            self._found(one, answers.get(one), "get_many")

    def do_set(self, key: str) -> None:
        value = self._value(key)
        self.cache.set(key, value, tags=[f"t:{key[-1]}"])
        self.holds[key] = value

    def do_set_many(self, key: str) -> None:
        values = {one: self._value(one) for one in (key, self._key())}
        self.cache.set_many(values, tags=["many"])
        self.holds.update(values)

    def do_compute(self, key: str) -> None:
        value = self._value(key)
        answer = self.cache.get_or_compute(key, lambda: value)
        self.holds[key] = self.holds.get(key) or value
        self._found(key, answer, "get_or_compute")

    def do_compute_many(self, key: str) -> None:
        keys = list({key, self._key()})
        values = {one: self._value(one) for one in keys}
        answers = self.cache.get_or_compute_many(keys, lambda missing: {one: values[one] for one in missing})
        for one in keys:
            self.holds[one] = self.holds.get(one) or values[one]
            self._found(one, answers[one], "get_or_compute_many")

    def do_validated(self, key: str) -> None:
        self._found(key, self.cache.get_with_validation(key, lambda value: value[0] == self.name), "validation")

    def do_reload(self, key: str) -> None:
        answer = self.cache.get_or_reload(key, self._value)
        self.holds[key] = self.holds.get(key) or answer
        self._found(key, answer, "reload")

    def do_through(self, key: str) -> None:
        if self.dice.random() < 0.5:
            value = self._value(key)
            self.through.set(key, value)
            self.holds[key] = value
            return
        answer = self.through.get(key)
        self.holds[key] = self.holds.get(key) or answer
        self._found(key, answer, "through")

    def do_exists(self, key: str) -> None:
        if self.cache.exists(key) != (self.holds.get(key) is not None):
            self._found(key, self.cache.get(key), "exists")
            self.bad["lost"] += 1

    def do_ttl(self, key: str) -> None:
        if (self.cache.ttl(key) is None) != (self.holds.get(key) is None):
            self.bad["lost"] += 1

    def do_touch(self, key: str) -> None:
        if self.cache.touch(key, "1h") != (self.holds.get(key) is not None):
            self.bad["lost"] += 1

    def do_delete(self, key: str) -> None:
        self.cache.delete(key)
        self.holds[key] = None

    def do_delete_many(self, key: str) -> None:
        self.cache.delete_many([key, self._key()])
        for one in list(self.holds):
            self.holds[one] = self.cache.get(one) if one != key else None

    def do_keys(self, key: str) -> None:
        if self.dice.random() > 0.05:
            return
        found, held = set(self.cache.keys("k:*")), {one for one, value in self.holds.items() if value is not None}
        if found != held:
            self.bad["lost"] += 1
            self.lines.append((self.name, "keys", sorted(found ^ held)))

    def do_pattern(self, key: str) -> None:
        if self.dice.random() < 0.2:
            self.cache.invalidate(f"{key[:-1]}*")
            self._forget(lambda one, _: one.startswith(key[:-1]))

    def do_dry(self, key: str) -> None:
        if self.dice.random() < 0.05:
            self.cache.invalidate("*", dry_run=True)

    def do_named(self, key: str) -> None:
        self.cache.invalidate(keys=[key])
        self.holds[key] = None

    def do_tags(self, key: str) -> None:
        if self.dice.random() < 0.2:
            self.cache.invalidate(tags=[f"t:{key[-1]}"])
            # Which of them have it only the cache knows: what is there must be its own all the same.
            for one in list(self.holds):
                value = self.cache.get(one)
                if value is not None:
                    self._found(one, value, "tags")
                self.holds[one] = value

    def do_clear(self, key: str) -> None:
        if self.dice.random() < 0.02:
            self.cache.clear()
            self._forget(lambda one, _: True)

    def do_emit(self, key: str) -> None:
        self.cache.emit("nobody.listens", key=key)

    def do_hash(self, key: str) -> None:
        fields = self.cache.hash(f"h:{key}")
        fields.set_field("owner", self.name)
        for found in (fields.get_field("owner"), fields.get_all().get("owner")):
            if found != self.name:
                self.bad["cross" if found else "lost"] += 1

    def do_versioned(self, key: str) -> None:
        versioned = self.cache.versioned("v")
        if self.dice.random() < 0.1:
            before = versioned.key(key)
            versioned.bump()
            if versioned.key(key) == before or before in self.bumped:
                self.bad["lost"] += 1
            self.bumped.add(before)
        elif versioned.key(key) in self.bumped:
            self.bad["lost"] += 1

    def do_stats(self, key: str) -> None:
        if self.dice.random() < 0.002:
            spaces = set(self.cache.stats().stats_by_namespace)
            if self.name == "p" and not spaces <= {"default"}:
                self.bad["cross"] += 1

    def _forget(self, which: Any) -> None:
        for one, value in self.holds.items():
            if which(one, value):
                self.holds[one] = None
