from __future__ import annotations

import json

import pytest

from scoutcache.bench.compression import Samples, bench_compression, samples_from_files, shipped_samples
from scoutcache.bench.samples import synthetic_chats
from scoutcache.errors import ConfigError

ALIKE = Samples(tuple(b'{"name": "entry", "number": %d, "text": "%s"}' % (n, b"abc" * 40) for n in range(20)), "alike")


def by_codec(result):
    return {(row.codec, row.level, row.dictionary): row for row in result.results}


def test_each_codec_is_measured_with_its_usual_levels():
    result = bench_compression(ALIKE, rounds=1)
    rows = by_codec(result)
    assert {codec for codec, _, _ in rows} == {"none", "lz4", "zstd", "gzip"}
    assert rows["none", None, False].ratio == 1.0
    assert rows["zstd", 3, False].ratio > 2
    assert rows["zstd", 3, False].saved_percent == pytest.approx(100 * (1 - 1 / rows["zstd", 3, False].ratio))
    assert result.samples == 20


def test_speed_is_megabytes_of_values_per_second_of_the_clock():
    ticks = iter(range(0, 10**9, 1_000_000))
    (row,) = bench_compression(ALIKE, codecs=["none"], rounds=3, clock=lambda: next(ticks)).results
    total = sum(map(len, ALIKE.values))
    assert row.compress_mb_s == row.decompress_mb_s == pytest.approx(total / 1e6 / 0.001)


def test_levels_can_be_chosen_where_a_codec_knows_them():
    rows = by_codec(bench_compression(ALIKE, codecs=["zstd", "none"], levels=[-3, 19], rounds=1))
    assert set(rows) == {("zstd", -3, False), ("zstd", 19, False), ("none", None, False)}


def test_a_dictionary_is_measured_on_values_it_was_not_trained_on():
    result = bench_compression(shipped_samples(), codecs=["zstd"], levels=[3], train=True, rounds=1)
    rows = by_codec(result)
    assert rows["zstd", 3, True].ratio > 1.5 * rows["zstd", 3, False].ratio
    assert result.samples == len(shipped_samples().values) // 2
    assert any("others" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"codecs": ["brotli"]}, "brotli"), ({"codecs": []}, "none was named"), ({"levels": [99]}, "level 99")],
)
def test_unknown_codecs_and_levels_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        bench_compression(ALIKE, rounds=1, **options)


@pytest.mark.parametrize("values", [(), (b"", b"")])
def test_nothing_to_measure_is_said_so(values):
    with pytest.raises(ConfigError, match="no values"):
        bench_compression(Samples(values, "nothing"))


def test_too_few_values_for_a_dictionary_are_said_so():
    with pytest.raises(ConfigError, match="dictionary"):
        bench_compression(Samples((b"one", b"two"), "few"), train=True, rounds=1)


def test_files_are_values_and_the_lines_of_jsonl_are(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    samples = samples_from_files([tmp_path / "a.jsonl", tmp_path / "b.txt"])
    assert samples.values == (b'{"a": 1}', b'{"a": 2}', b"one\ntwo\n")
    with pytest.raises(ConfigError, match=r"none\.txt"):
        samples_from_files([tmp_path / "none.txt"])


def test_more_values_than_can_be_measured_are_cut_and_that_is_said():
    result = bench_compression(Samples((b"value",) * 5000, "many"), codecs=["none"], rounds=1)
    assert result.samples == 2000
    assert "first 2000 of 5000" in result.notes[0]


def test_shipped_samples_are_json_say_they_are_made_up_and_never_change():
    assert synthetic_chats(5) == synthetic_chats(5)
    assert all(json.loads(chat)["choices"][0]["message"]["content"] for chat in synthetic_chats(20))
    assert "made-up" in shipped_samples().origin
