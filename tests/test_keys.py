"""Keys: what may be one, how CacheKey writes one, what a store keeps it under."""

from __future__ import annotations

import doctest
import hashlib
import pickle
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoutcache import keys
from scoutcache.entry import Ref
from scoutcache.errors import InvalidKey
from scoutcache.keys import (
    MAX_KEY_BYTES,
    MAX_PHYSICAL_BYTES,
    CacheKey,
    check_namespace,
    check_tag,
    digest_of_text,
    key_text,
    physical_key,
    physical_keys,
    physical_prefix,
    physical_scan_prefix,
    prefix_of,
)

PARTS = st.text(alphabet="ab:%{v1\x00\n\ud800é" + "0123456789abcdef", max_size=6) | st.text(max_size=30)
PARAMETERS = st.dictionaries(st.text(max_size=3), st.integers(0, 2) | st.text(max_size=3), max_size=2)
LEGAL = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


def test_the_examples_of_the_documentation_run():
    assert doctest.testmod(keys).failed == 0


@pytest.mark.parametrize(
    "key", ["a", "llm:x", "with space", "ключ:値:😀", "%", ":", "a\u202eb", "\u00a0", "x" * MAX_KEY_BYTES]
)
def test_a_text_is_taken_as_it_is(key):
    assert key_text(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a\nb",
        "\x00",
        "a\x1b[2J",
        "\x7f",
        "\x85",
        "\ud800",
        "x" * (MAX_KEY_BYTES + 1),
        "é" * (MAX_KEY_BYTES // 2 + 1),
        None,
        5,
        b"a",
        ["a"],
        ("a",),
    ],
)
def test_what_is_no_key_is_refused_and_named(key):
    with pytest.raises(InvalidKey) as caught:
        key_text(key)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@given(LEGAL)
def test_any_unicode_is_a_key(text):
    assert key_text(text) == text


def test_namespaces_and_tags_are_texts_of_their_own_limits():
    assert check_namespace("tenant-ä") == "tenant-ä"
    assert check_tag("model:gpt") == "model:gpt"
    for check, longest in ((check_namespace, 128), (check_tag, 1024)):
        assert check("x" * longest)
        for wrong in ("", "x" * (longest + 1), "a\x00", None, 1):
            with pytest.raises(InvalidKey):
                check(wrong)


@pytest.mark.parametrize(("key", "prefix"), [("llm:a:b", "llm"), ("llm", ""), (":a", ""), ("a:", "a")])
def test_the_prefix_is_what_stands_before_the_first_colon(key, prefix):
    assert prefix_of(key) == prefix


# CacheKey


def test_a_key_is_prefix_identifier_version_and_hash():
    prefix, identifier, version, hashed = (
        CacheKey(prefix="llm", identifier="sum", parameters={"t": 0.5}).generate().split(":")
    )
    assert (prefix, identifier, version) == ("llm", "sum", "v1")
    assert len(hashed) >= 16
    assert int(hashed, 16)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "a:b:v1"),
        ({"version": "2"}, "a:b:2"),
        ({"include_version": False}, "a:b"),
        ({"identifier": ("b", "c")}, "a:b:c:v1"),
        ({"parameters": {"n": 1, "m": ["x:y"]}, "hash_parameters": False}, 'a:b:v1:{"m"=["x%3Ay"],"n"=1}'),
    ],
)
def test_parts_stand_as_asked(options, text):
    assert CacheKey(**{"prefix": "a", "identifier": "b", **options}).generate() == text


def identity(key: CacheKey) -> tuple[object, ...]:
    return (
        key.prefix,
        key.identifier,
        key.include_version and key.version,
        repr(sorted(key.parameters.items())),
        key.hash_parameters if key.parameters else None,
    )


MADE = st.builds(
    CacheKey,
    prefix=PARTS,
    identifier=PARTS,
    version=PARTS,
    include_version=st.booleans(),
    parameters=PARAMETERS,
    hash_parameters=st.booleans(),
)


@given(MADE, MADE)
def test_two_different_inputs_never_give_the_same_key(one, other):
    assert (one.generate() == other.generate()) == (identity(one) == identity(other))


@given(PARTS, PARTS, PARTS)
def test_a_part_never_passes_for_a_hash_or_for_readable_parameters(prefix, identifier, version):
    hashed = CacheKey(prefix, identifier, {"n": 1}, include_version=False)
    shown = CacheKey(prefix, identifier, {"n": 1}, include_version=False, hash_parameters=False)
    for text in (hashed.generate(), shown.generate()):
        forged = text.rpartition(":")[2]
        assert CacheKey(prefix, identifier, version=forged).generate() != text
        assert CacheKey.build(prefix, identifier, forged).generate() != text


@given(st.lists(PARTS, min_size=1, max_size=4), st.lists(PARTS, min_size=1, max_size=4))
def test_built_keys_are_equal_only_for_equal_parts(one, other):
    assume(one != [""] and other != [""])
    assert (CacheKey.build(*one).generate() == CacheKey.build(*other).generate()) == (one == other)


@given(st.text(min_size=1), st.text())
def test_whatever_the_parts_the_key_is_a_legal_one(prefix, identifier):
    text = CacheKey(prefix, identifier).generate()
    assert key_text(text) == text == key_text(CacheKey(prefix, identifier))


def test_numbers_and_uuids_are_parts_as_their_text():
    assert str(CacheKey.build("user", 42, UUID(int=7))) == f"user:42:{UUID(int=7)}"
    for wrong in (1.5, True, None, b"x", ["a"]):
        with pytest.raises(InvalidKey):
            CacheKey.build("user", wrong)
    with pytest.raises(InvalidKey):
        CacheKey.build()


def test_long_parts_are_hashed_and_still_told_apart():
    one, other = CacheKey("doc", "x" * 100_000), CacheKey("doc", "x" * 99_999 + "y")
    assert one != other
    assert len(one.generate()) < 200


def test_equal_texts_are_equal_keys_and_hash_alike():
    one, other = CacheKey("a", "b", {"x": 1, "y": {2, 3}}), CacheKey("a", "b", {"y": {3, 2}, "x": 1})
    assert one == other
    assert len({one, other, CacheKey("a", "b", {"x": 1.0, "y": {2, 3}})}) == 2
    assert one != one.generate()


def test_a_later_change_of_the_parameters_changes_nothing():
    parameters = {"x": [1]}
    key = CacheKey("a", "b", parameters)
    before = key.generate()
    parameters["x"].append(2)
    assert key.generate() == before


def test_copies_are_written_anew():
    key = CacheKey("a", "b", {"x": 1})
    assert key.model_copy(update={"version": "v2"}).generate() == CacheKey("a", "b", {"x": 1}, version="v2").generate()
    assert pickle.loads(pickle.dumps(key)) == key
    assert CacheKey.model_validate(key.model_dump()) == key
    assert CacheKey.model_validate_json(key.model_dump_json()) == key


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": b"a"},
        {"prefix": None},
        {"identifier": 5},
        {"parameters": [1]},
        {"version": 2},
        {"parameters": {1: 2}},
        {"parameters": {"x": object()}},
    ],
)
def test_fields_of_the_wrong_type_are_refused_not_converted(wrong):
    with pytest.raises(InvalidKey):
        CacheKey(**{"prefix": "a", "identifier": "b", **wrong})


def test_parameters_stay_out_of_its_repr():
    assert "secret" not in repr(CacheKey("llm", "x", {"prompt": "secret"}))


@given(st.lists(st.text(max_size=5)))
def test_a_text_in_chunks_has_the_digest_of_the_whole(chunks):
    assert digest_of_text(chunks) == digest_of_text("".join(chunks))
    assert digest_of_text("x") == digest_of_text(b"x") == hashlib.sha256(b"x").hexdigest()


# Physical keys

NAMESPACES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=10) | st.sampled_from(
    ["1", "1:a", ":", "a"]
)
LONG = st.builds(lambda text, times: text * times, LEGAL, st.integers(1, 400))
REFS = st.builds(Ref, NAMESPACES, LEGAL | LONG)


def test_a_physical_key_is_the_namespace_with_its_length_then_the_key():
    assert physical_key(Ref("default", "llm:a")) == "7:default:llm:a"


@given(REFS, REFS)
def test_two_entries_never_share_a_physical_key(one, other):
    assert (physical_key(one) == physical_key(other)) == (one == other)


@given(REFS, NAMESPACES)
def test_a_physical_key_is_short_and_begins_with_its_own_namespace_alone(ref, other):
    text = physical_key(ref)
    assert len(text.encode()) <= MAX_PHYSICAL_BYTES
    assert text.startswith(physical_prefix(ref.namespace))
    assert text.startswith(physical_prefix(other)) == (ref.namespace == other)


@given(REFS, st.integers(0, 1000))
def test_scanning_by_a_prefix_finds_every_key_that_begins_with_it(ref, length):
    assert physical_key(ref).startswith(physical_scan_prefix(ref.namespace, ref.key[:length]))


def test_a_key_can_not_be_written_to_pass_for_a_hashed_one():
    hashed = physical_key(Ref("n", "x" * 1000))
    with pytest.raises(InvalidKey):
        key_text(hashed.removeprefix(physical_prefix("n")))


SHORT_AND_LONG = st.tuples(st.text("aé🎉:", min_size=1, max_size=32), st.text("kλ🎉%", min_size=1, max_size=300))


@given(st.lists(SHORT_AND_LONG, max_size=6))
def test_many_physical_keys_are_what_each_would_be(pairs):
    refs = [Ref(*pair) for pair in pairs]
    assert physical_keys(refs) == [physical_key(ref) for ref in refs]


def test_a_byte_that_the_locale_could_not_read_is_named_with_the_remedy():
    """As the shell's "café" arrives under LC_ALL=C."""
    with pytest.raises(InvalidKey, match="lone surrogates are refused") as caught:
        key_text("caf\udcc3\udca9")
    assert caught.value.hint is not None
    assert "a byte 0xc3 that could not be read as text" in caught.value.hint
    assert "LC_ALL=C.UTF-8 or PYTHONUTF8=1" in caught.value.hint
