"""Vectors: checked, batched, remembered, and of long texts the mean of their pieces."""

from __future__ import annotations

import threading

import pytest

np = pytest.importorskip("numpy", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.errors import CacheError
from scoutcache.meaning.wording import PIECE, read, room_of
from scoutcache.semantic.embedding import PIECES, Encoding, pieces
from scoutcache.semantic.models import Function, is_function, load_embedder

from .words import embed


def encoding(function=embed):
    return Encoding(lambda: Function(function, "test"))


def test_vectors_are_of_unit_length_and_remembered():
    one = encoding(lambda texts: [[3.0, 4.0] for _ in texts])
    assert one.one("a").tolist() == pytest.approx([0.6, 0.8])
    one.one("a")
    assert one.calls == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [([[0.0, 0.0]], "zeros"), ([[float("nan"), 1.0]], "finite"), ([1.0], "shape"), ([[1.0], [2.0]], "shape"),
     ("text", "no array"), ([[]], "shape")],
)  # fmt: skip
def test_what_is_no_vector_is_refused(given, said):
    with pytest.raises(CacheError, match=said):
        encoding(lambda _: given).one("a")


def test_threads_that_ask_at_once_share_a_batch():
    begun, go = threading.Event(), threading.Event()
    sizes = []

    def slow(texts):
        sizes.append(len(texts))
        begun.set()
        assert go.wait(20)
        return embed(texts)

    one = encoding(slow)
    threads = [threading.Thread(target=one.one, args=(f"text {at}",)) for at in range(9)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(one._waiting) < 8:
        pass
    go.set()
    for thread in threads:
        thread.join(20)
    assert sizes == [1, 8]


def test_an_error_is_told_to_everybody_and_not_remembered():
    fails = [True]

    def once(texts):
        if fails.pop() if fails else False:
            raise RuntimeError("out of memory")
        return embed(texts)

    one = encoding(once)
    with pytest.raises(CacheError, match="failed: RuntimeError: out of memory"):
        one.one("a")
    assert one.one("a") is not None


def test_long_texts_are_cut_at_blanks_and_bounded():
    text = "some words " * 1000
    cut = pieces(text)
    assert len(cut) == -(-len(text) // PIECE) or len(cut) <= PIECES
    assert all(len(piece) <= PIECE for piece in cut)
    assert len(pieces("x" * 100_000)) == PIECES
    assert "".join(pieces("short")) == "short"
    one = encoding()
    assert np.linalg.norm(one.one(text)) == pytest.approx(1.0, abs=1e-6)
    assert one.many([text, "short"]).shape == (2, 64)


@pytest.mark.parametrize("sign", ["🤗", "’", "é"])
def test_a_sign_outside_ascii_makes_no_long_text(sign):
    text = f"{sign} Datasets assigns a fingerprint to the cache file, and keeps track of its state. " * 4
    assert pieces(text) == [text]


@pytest.mark.parametrize("text", ["wörter und noch mehr davon " * 40, "東京の天気" * 100, "привет мир " * 90,
                                  "é" + "a" * 950])  # fmt: skip
def test_pieces_have_room_for_their_characters_and_lose_none(text):
    cut = pieces(text)
    assert "".join(cut) == text
    assert len(cut) > 1
    assert all(room_of(one) <= PIECE for one in cut)


@pytest.mark.parametrize("text", ["Ein Satz über Bücher, und noch einer. " * 20, "words of plain English " * 20,
                                  "слова и ещё слова " * 14, "wörter " * 90])  # fmt: skip
def test_what_is_embedded_in_pieces_is_long_to_the_gates(text):
    assert read(text).is_long == (len(pieces(text)) > 1)


def test_a_function_is_named_and_loaded(tmp_path):
    assert is_function("package.module:function")
    assert not is_function("sentence-transformers/all-MiniLM-L6-v2")
    assert not is_function("C:/models/x")
    assert load_embedder("json:dumps", tmp_path).name == "json:dumps"
    for wrong in ("no_such_module:f", "json:no_such", "json:__name__"):
        with pytest.raises(CacheError, match=r"semantic\.model"):
            load_embedder(wrong, tmp_path)


def test_a_bad_text_fails_for_those_alone_who_asked_for_it():
    begun, go = threading.Event(), threading.Event()

    def touchy(texts):
        begun.set()
        assert go.wait(20)
        if "bad" in texts:
            raise RuntimeError("no such words")
        return embed(texts)

    one = encoding(touchy)
    told = {}

    def ask(text, at):
        try:
            told[at] = one.one(text)
        except CacheError as error:
            told[at] = str(error)

    texts = ["first", "good", "bad", "fine", "bad", "well"]
    threads = [threading.Thread(target=ask, args=(text, at)) for at, text in enumerate(texts)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(one._waiting) < 5:
        pass
    go.set()
    for thread in threads:
        thread.join(20)
    assert [at for at, answer in told.items() if isinstance(answer, str)] == sorted({2, 4}, key=list(told).index)
    assert all("no such words" in told[at] for at in (2, 4))
    assert np.allclose(told[1], encoding().one("good"))


def test_vectors_of_another_dimension_than_before_are_refused():
    asked = encoding(lambda texts: [[1.0] * len(texts[0]) for _ in texts])
    assert asked.one("ab").shape == (2,)
    with pytest.raises(CacheError, match="vectors of 3 numbers, and gave such of 2"):
        asked.one("abc")
    assert asked.one("cd").shape == (2,)


def test_a_coroutine_function_is_no_embedder():
    async def later(texts):
        return embed(texts)

    with pytest.raises(CacheError, match="coroutine function"):
        encoding(later).one("a")
