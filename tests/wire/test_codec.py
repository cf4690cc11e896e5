"""The codec as a whole: what goes in comes out, and whatever lies in a tier gives a value or a named error."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.entry import Header, Live, Ref, Sealed
from scoutcache.errors import ConfigError, CorruptEntry, IntegrityError, SerializationError
from scoutcache.wire.codec import (
    Codec,
    CodecSettings,
    UnknownDictionary,
    register_serializer,
    register_type,
    train_dictionary,
)
from scoutcache.wire.compression import NUMBERS
from scoutcache.wire.envelope import header_length
from scoutcache.wire.unknown import Unread, Unverified

KEY = b"k" * 32
OLD_KEY = b"o" * 32
SERIALIZERS = ("msgpack", "json")
SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
quick = settings(max_examples=25, deadline=None, suppress_health_check=SLOW_IS_FINE)


def make(**options) -> Codec:
    return Codec(CodecSettings(**options))


def put(codec: Codec, header: Header, value) -> Sealed:
    live, encoded = codec.hold(value)
    return codec.seal(header, live, encoded)


# -- round trips


@pytest.mark.parametrize("compression", NUMBERS)
@pytest.mark.parametrize("serializer", SERIALIZERS)
@quick
@given(data=st.data())
def test_get_gives_what_set_took_for_every_serializer_and_compression(
    serializer, compression, values, headers, same, data
):
    header, value = data.draw(headers), data.draw(values)
    codec = make(serializer=serializer, compression=compression, threshold=0)
    live, encoded = codec.hold(value)
    assert same(live.value(), value)
    sealed = codec.seal(header, live, encoded)
    opened = codec.open(header.ref, sealed)
    assert same(opened.live.value(), value)
    assert same(opened.value, value)
    assert opened.header == codec.header(header.ref, sealed.head) == header
    assert opened.size == sealed.size
    assert codec.seal(header, opened.live) == sealed


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_each_type_comes_back_as_itself(serializer, one_of_each, header, ref, same):
    codec = make(serializer=serializer)
    for name, value in one_of_each.items():
        assert same(codec.open(ref, put(codec, header, value)).value, value), name


@given(data=st.data())
@quick
def test_a_mutable_value_is_safe_from_what_its_owner_does_to_it_later(values, same, data):
    codec = make()
    items = data.draw(st.lists(values, min_size=1, max_size=3))
    live, encoded = codec.hold(items)
    before = live.value()
    items.clear()
    assert encoded is not None
    assert same(live.value(), before)
    live.value().clear()
    assert same(live.value(), before)


@pytest.mark.parametrize("name", ["str", "int", "aware", "frozenset", "Enum", "UUID", "surrogate"])
def test_an_immutable_value_is_held_by_reference_and_encoded_only_when_sealed(name, one_of_each):
    value = one_of_each[name]
    live, encoded = make().hold(value)
    assert (live.held is value, live.decode, encoded) == (True, None, None)
    assert live.size > 0


def test_plain_data_is_decoded_by_a_bound_method_of_a_msgspec_decoder():
    live, _ = make().hold({"a": [1, 2.5, None, True, b"x"]})
    assert isinstance(live.decode.__self__, msgspec.msgpack.Decoder)
    assert live.size == len(live.held)


def test_the_settings_of_the_writer_are_not_needed_to_read(header, ref):
    value = {"text": "words " * 400}
    for serializer, compression in itertools.product(SERIALIZERS, NUMBERS):
        opened = make().open(ref, put(make(serializer=serializer, compression=compression), header, value))
        assert (opened.value, opened.serializer, opened.compression) == (value, serializer, compression)
        assert len(opened.payload) > 2400


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_a_set_of_several_kinds_gives_the_same_bytes_in_every_process(serializer):
    """Where None lies in memory decides its hash, and another seed decides those of texts."""
    code = (
        "from scoutcache.wire.codec import Codec, CodecSettings\n"
        f"codec = Codec(CodecSettings(serializer={serializer!r}))\n"
        "value = {None, -50, 'a', b'a', (1, 'b'), frozenset({None, 'c'}), 2.5}\n"
        "print(codec.encode(value).payload.hex())"
    )
    seen = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(seed)}, check=True,
                       capture_output=True, text=True).stdout
        for seed in range(1, 6)
    }  # fmt: skip
    assert len(seen) == 1


def test_the_same_set_gives_the_same_bytes_whatever_the_order_it_was_built_in():
    # 8 and 0 meet in a small table, so that the one that came first is iterated first.
    assert list({8, 0}) != list({0, 8})
    assert make().encode({8, 0}) == make().encode({0, 8})


def test_threads_share_a_codec(header, ref):
    codec = make(compression="zstd")
    value = {"text": "words " * 1000}
    results = []

    def work():
        results.extend(codec.open(ref, put(codec, header, value)).value == value for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 400


# -- signatures


def test_with_a_key_configured_an_unsigned_entry_is_refused(header, ref):
    unsigned = put(make(), header, "text")
    with pytest.raises(Unverified, match="unsigned"):
        make(signing_keys={"now": KEY}).open(ref, unsigned)


def test_without_a_key_a_signed_entry_is_refused(header, ref):
    with pytest.raises(Unverified, match="no signing key"):
        make().open(ref, put(make(signing_keys={"now": KEY}), header, "text"))


def test_keys_rotate_and_the_active_one_signs(header, ref):
    old = make(signing_keys={"old": OLD_KEY})
    both = make(signing_keys={"old": OLD_KEY, "new": KEY}, active_key="new")
    new = make(signing_keys={"new": KEY})
    sealed = put(old, header, "text")
    assert both.open(ref, sealed).value == "text"
    with pytest.raises(Unverified, match="'old'"):
        new.open(ref, sealed)
    assert put(both, header, "text") == put(new, header, "text")


def test_another_key_under_the_same_id_gives_no_entry(header, ref):
    with pytest.raises(IntegrityError, match="signature"):
        make(signing_keys={"k": KEY}).open(ref, put(make(signing_keys={"k": OLD_KEY}), header, "text"))


STRANGERS = {"without a key": ({"k": KEY}, {}), "unsigned": ({}, {"k": KEY}), "another key": ({"k": KEY}, {"l": KEY})}


@pytest.mark.parametrize("length", [10, 5000], ids=["whole", "in chunks"])
@pytest.mark.parametrize(("writes", "reads"), STRANGERS.values(), ids=STRANGERS)
def test_what_no_key_here_can_tell_shows_all_but_its_value_and_is_not_sealed_anew(writes, reads, length, header, ref):
    options = {"chunk_size": 1024, "compression": "none"}
    sealed = put(make(signing_keys=writes, **options), header, "x" * length)
    stranger = make(signing_keys=reads, **options)
    with pytest.raises(Unverified) as told:
        stranger.open(ref, sealed)
    assert told.value.unread == Unread(header, 1, 0, None)
    with pytest.raises(Unverified):
        stranger.anew(ref, sealed)


@pytest.mark.parametrize(("writes", "reads"), STRANGERS.values(), ids=STRANGERS)
def test_what_no_key_here_can_tell_is_corrupt_where_its_form_shows_it(writes, reads, header, ref):
    sealed = put(make(signing_keys=writes, compression="none"), header, "text" * 10)
    stranger = make(signing_keys=reads)
    head, length = sealed.head, header_length(sealed.head[:20])
    flipped = [head[:at] + bytes([head[at] ^ 0x41]) + head[at + 1 :] for at in range(length)]
    cut = [head[:at] for at in range(len(head))]
    for wrong in [*flipped, *cut, *([head[:-1] + b"!"] if not writes else [])]:
        with pytest.raises(CorruptEntry):
            stranger.open(ref, Sealed(wrong))
    with pytest.raises(CorruptEntry):
        stranger.open(ref, Sealed(head, (b"stray",)))
    with pytest.raises(IntegrityError, match="another key"):
        stranger.open(Ref("default", "other"), sealed)


def test_a_chunk_that_is_not_signed_as_its_head_is_corrupt(header, ref):
    signed, plain = (
        put(Codec(CodecSettings(signing_keys=keys, chunk_size=1024, compression="none"), token=bytes), header,
            "x" * 2000)
        for keys in ({"k": KEY}, {})
    )  # fmt: skip
    with pytest.raises(CorruptEntry, match="chunk 0"):
        make(signing_keys={"k": KEY}).open(ref, Sealed(signed.head, plain.chunks[: len(signed.chunks)]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"signing_keys": {"a": b"short"}}, r"signing_keys\.a"),
        ({"signing_keys": {"": KEY}}, "1 to 255"),
        ({"signing_keys": {"a": KEY, "b": KEY}}, "active_key"),
        ({"signing_keys": {"a": KEY}, "active_key": "b"}, "active_key"),
        ({"active_key": "b"}, "active_key"),
        ({"allow_pickle": True}, "signing_keys"),
        ({"serializer": "pickle", "signing_keys": {"a": KEY}}, "allow_pickle"),
        ({"serializer": "yaml"}, "msgpack"),
        ({"compression": "brotli"}, "zstd"),
        ({"compression": "zstd", "level": 99}, "22"),
        ({"chunk_size": 10}, "chunk_size"),
    ],
)
def test_settings_that_cannot_be_used_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        make(**options)


def test_keys_do_not_show_in_the_settings_text():
    assert "kkkk" not in repr(CodecSettings(signing_keys={"a": KEY}))


# -- refusals


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_value_over_the_limit_is_refused_when_set_and_when_read(serializer, header, ref, outcome):
    small = make(serializer=serializer, max_value=100)
    for value in ("x" * 200, ["x" * 200]):
        with pytest.raises(SerializationError, match="100 allowed"):
            small.hold(value)
        sealed = put(make(serializer=serializer), header, value)
        assert outcome(small, ref, sealed) == "corrupt"


def test_a_header_that_the_format_cannot_hold_is_refused(header):
    for changes in ({"ref": Ref("n", "\ud800")}, {"start": 1 << 64}, {"provenance": "\udcff"}):
        with pytest.raises(SerializationError, match="header"):
            put(make(), header._replace(**changes), "x")


# -- pickle, custom serializers and registered types


class Odd:
    """A type that nothing but pickle or a registration can store."""

    def __init__(self, word):
        self.word = word

    def __eq__(self, other):
        return type(other) is Odd and self.word == other.word

    __hash__ = None


def test_pickle_needs_the_switch_and_a_key_for_writing_and_for_reading(header, ref):
    codec = make(serializer="pickle", signing_keys={"k": KEY}, allow_pickle=True)
    sealed = put(codec, header, Odd("a"))
    assert codec.open(ref, sealed).live.value() == Odd("a")
    with pytest.raises(CorruptEntry, match="pickle is switched off"):
        make(signing_keys={"k": KEY}).open(ref, sealed)
    with pytest.raises(SerializationError, match="can't be stored"):
        codec.hold(lambda: None)


def test_an_unsigned_pickle_is_never_loaded(header, ref, forge, outcome):
    payload = b"cbuiltins\nexit\n."
    with pytest.raises(Unverified):
        make(serializer="pickle", signing_keys={"k": KEY}, allow_pickle=True).open(ref, forge(header, 5, payload))
    assert outcome(make(), ref, forge(header, 5, payload)) == "corrupt"


def test_a_pickled_class_that_is_gone_is_unknown(header, ref, monkeypatch, outcome):
    codec = make(serializer="pickle", signing_keys={"k": KEY}, allow_pickle=True)
    sealed = put(codec, header, Odd("a"))
    monkeypatch.delattr(sys.modules[__name__], "Odd")
    assert outcome(codec, ref, sealed) == "unknown"


def test_a_custom_serializer_is_chosen_by_name_and_found_again_by_number(header, ref):
    register_serializer("reversed", lambda it: it["t"].encode()[::-1], lambda raw: {"t": raw[::-1].decode()}, number=70)
    codec = make(serializer="reversed")
    live, encoded = codec.hold({"t": "abc"})
    assert (live.held, live.value()) == (b"cba", {"t": "abc"})
    assert make().open(ref, codec.seal(header, live, encoded)).serializer == "reversed"
    assert make().open(ref, codec.seal(header, live)).value == {"t": "abc"}
    with pytest.raises(SerializationError, match="KeyError"):
        codec.hold({"u": 1})
    for name, number in (("json", 71), ("other", 70), ("low", 5)):
        with pytest.raises(ConfigError):
            register_serializer(name, str, str, number=number)


def test_a_serializer_that_nobody_registered_here_is_unknown(header, ref, forge, outcome):
    assert outcome(make(), ref, forge(header, 200, b"x")) == "unknown"


def test_a_live_value_of_a_foreign_decoder_is_refused(header):
    with pytest.raises(SerializationError, match="registered"):
        make().seal(header, Live(b"x", bytes.hex, 1))


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_registered_type_is_stored_by_what_its_encoder_gives(serializer, header, ref):
    register_type(Odd, lambda odd: {"word": odd.word}, lambda content: Odd(content["word"]))
    codec = make(serializer=serializer)
    value = [Odd(("a", {1})), {"in": Odd(None)}]
    assert codec.open(ref, put(codec, header, value)).value == value
    codec.register(Odd, lambda odd: odd.word, Odd)
    assert codec.open(ref, put(codec, header, value)).value == value


# -- dictionaries


@pytest.fixture(scope="module")
def dictionary() -> bytes:
    values = [{"id": n, "role": "assistant", "content": f"answer {n} of many"} for n in range(2000)]
    return train_dictionary([msgspec.msgpack.encode(value) for value in values], 4096)


def test_a_dictionary_makes_small_entries_smaller_and_is_named_in_them(dictionary, header, ref):
    value = [{"id": 77, "role": "assistant", "content": "answer 77 of many"}]
    plain = make(compression="zstd", threshold=0)
    trained = make(compression="zstd", threshold=0, dictionary=dictionary)
    small = put(trained, header, value)
    assert small.size < put(plain, header, value).size
    assert trained.open(ref, small).value == value
    assert make(old_dictionaries=(dictionary,)).open(ref, small).value == value
    with pytest.raises(UnknownDictionary, match="isn't configured here"):
        plain.open(ref, small)
    assert trained.open(ref, put(plain, header, value)).value == value


def test_too_few_samples_are_refused_with_a_hint():
    with pytest.raises(ConfigError) as caught:
        train_dictionary([b"a", b"b"], 1000)
    assert "more samples" in caught.value.hint
