"""Two tenants who ask the same questions of the same models by meaning: no answer ever crosses.

``python tests/faults/semantic_tenants.py --queries 100000`` prints what was asked, hit and crossed as JSON; exit code 1
when an answer crossed.  With ``--model FOLDER`` the vectors are those of a model of sentence-transformers.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "semantic"))

from scoutcache import Cache

TENANTS, MODELS, QUESTIONS = ("one", "two"), ("m", "n"), 150
WORDS = ("password", "refund", "invoice", "account", "delivery", "address", "order", "card", "login", "update",
         "limit", "letter", "branch", "number", "contract")  # fmt: skip
WORDINGS = ("How do I change my {}", "how do i change my {}?", "please, how do I change my {}", "my {}: how to change")


def question(at: int) -> str:
    dice = random.Random(at)
    return " ".join(dice.sample(WORDS, 4))


class Partition:
    """One tenant's use of one model: whatever it is served must be its own."""

    def __init__(self, cache: Any, tenant: str, model: str, dice: random.Random, seen: Counter[str]) -> None:
        self.cache, self.semantic, self.dice, self.seen = cache, cache.semantic, dice, seen
        self.tenant, self.model = tenant, model
        self.keys: list[str] = []
        self.hits: list[str] = []

    def asked(self) -> str:
        return self.dice.choice(WORDINGS).format(question(self.dice.randrange(QUESTIONS)))

    def answer(self) -> list[str]:
        return [self.tenant, self.model, str(self.dice.random())]

    def judge(self, what: str, response: Any) -> None:
        self.seen[f"{what} served"] += 1
        if response[:2] != [self.tenant, self.model]:
            self.seen["cross"] += 1

    def ask(self) -> None:
        """Ask by meaning, at the preset's threshold, at none, or with every gate open; compute what isn't served."""
        query, threshold = self.asked(), self.dice.choice((None, None, 0.8, 0.0))
        without = ("slots", "entities", "order") if self.dice.random() < 0.2 else ()
        hit = self.semantic.get(query, namespace=self.tenant, model=self.model, threshold=threshold,
                                without_gates=without)  # fmt: skip
        self.seen["queries"] += 1
        if hit is not None:
            self.judge("semantic.get", hit.response)
            self.hits = [*self.hits[-20:], hit.hit_id]
        elif self.dice.random() < 0.5:
            self.keys.append(self.semantic.add(query, self.answer(), namespace=self.tenant, model=self.model) or "")

    def ask_by_key(self) -> None:
        """The same through keys that are questions."""
        key = f"{self.model}:{self.asked()}"
        self.seen["queries"] += 1
        self.judge("get_or_compute", self.cache.get_or_compute(key, self.answer, namespace=self.tenant))

    def explain(self) -> None:
        query = self.asked()
        self.seen["queries"] += 1
        told = self.semantic.explain(query, namespace=self.tenant, model=self.model, threshold=0.0)
        for one in told["candidates"]:
            entry = self.cache.get(one["key"], namespace=self.tenant)
            if entry is not None and entry["alias_of"] is None and entry["kept_at"] is None:
                self.judge("explain", entry["response"])

    def remove(self) -> None:
        if self.keys:
            self.semantic.remove(self.keys.pop(self.dice.randrange(len(self.keys))), namespace=self.tenant)

    def step(self, other: Partition) -> None:
        chance = self.dice.random()
        if chance < 0.70:
            self.ask()
        elif chance < 0.94:
            self.ask_by_key()
        elif chance < 0.96:
            self.explain()
        elif chance < 0.99:
            self.remove()
        elif other.hits and self.semantic.feedback(self.dice.choice(other.hits), False, namespace=self.tenant):
            self.seen["cross"] += other.tenant != self.tenant


def tenants(directory: Path, queries: int, embed: Any, policy: str, seed: int = 0) -> dict[str, Any]:
    """*queries* of two tenants and two models in one directory, in turn."""
    dice, seen, began = random.Random(seed), Counter[str](), time.monotonic()
    by_meaning = {"policy_id": "questions", "applies_to": ["m:*", "n:*"], "strategy": "semantic"}
    settings = {"directory": directory, "semantic": {"policy": policy, "max_error": 0.05, "check_share": 0.02},
                "policies": [by_meaning], "oplog": {"enabled": False}}  # fmt: skip
    with Cache(settings) as cache:
        cache.semantic.use(embed, "campaign")
        partitions = [Partition(cache, tenant, model, random.Random(dice.random()), seen)
                      for tenant in TENANTS for model in MODELS]  # fmt: skip
        while seen["queries"] < queries:
            one, other = dice.sample(partitions, 2)
            one.step(other)
        entries = sum(cache.semantic.stats(tenant)["entries"] for tenant in TENANTS)
    return {"policy": policy, "queries": seen["queries"], "served_by_meaning": seen["semantic.get served"],
            "by_key": seen["get_or_compute served"], "explained": seen["explain served"], "cross": seen["cross"],
            "entries": entries, "seconds": round(time.monotonic() - began, 1)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="a folder of sentence-transformers; without it vectors are made of words")
    options = parser.parse_args()
    folder, crossed = Path(tempfile.mkdtemp(prefix="sc-tenants-")), 0
    try:
        embed = _embedder(options.model, folder)
        for policy in ("threshold", "verified"):
            found = tenants(folder / policy, options.queries // 2, embed, policy, options.seed)
            print(json.dumps(found), flush=True)
            crossed += found["cross"]
    finally:
        shutil.rmtree(folder)
    return 1 if crossed else 0


def _embedder(model: str | None, folder: Path) -> Any:
    if model is None:
        from words import embed

        return embed
    from scoutcache.semantic.models import load_embedder, prepared_in
    from scoutcache.semantic.prepared import prepare

    prepare(model, prepared_in(folder, model), model)
    return load_embedder(model, folder).embed


if __name__ == "__main__":
    sys.exit(main())
