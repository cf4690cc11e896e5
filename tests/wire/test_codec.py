"""The codec as a whole: what goes in comes out, and whatever lies in a tier gives a value or a named error."""

from __future__ import annotations

import itertools
import sys
import threading

import msgspec
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.entry import NEVER, Header, Live, Ref, Sealed
from scoutcache.errors import ConfigError, CorruptEntry, IntegrityError, SerializationError
from scoutcache.wire import envelope
from scoutcache.wire.codec import (
    Codec,
    CodecSettings,
    UnknownDictionary,
    UnknownType,
    register_serializer,
    register_type,
    train_dictionary,
)
from scoutcache.wire.compression import NUMBERS

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
    assert opened.stored_size == sealed.size
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
        assert opened.raw_size > 2400


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


# -- whatever the bytes


def outcome(codec: Codec, ref: Ref, sealed: Sealed) -> str:
    """A value or a named error; anything else fails the test."""
    try:
        codec.open(ref, sealed).live.value()
    except CorruptEntry:
        return "corrupt"
    except UnknownType:
        return "unknown"
    return "value"


@pytest.mark.parametrize("keys", [{}, {"now": KEY}])
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_change_to_any_byte_is_noticed(serializer, keys, one_of_each, header, ref):
    codec = make(serializer=serializer, signing_keys=keys)
    head = put(codec, header, one_of_each).head
    for at in range(len(head)):
        changed = head[:at] + bytes([head[at] ^ 0x41]) + head[at + 1 :]
        with pytest.raises(CorruptEntry):
            codec.open(ref, Sealed(changed))


def test_an_entry_cut_off_anywhere_or_with_bytes_to_spare_is_corrupt(header, ref):
    codec = make(threshold=0)
    head = put(codec, header, ["text" * 50]).head
    for at in range(len(head)):
        assert outcome(codec, ref, Sealed(head[:at])) == "corrupt"
    for extra in (b"\0", head, b"x" * 100):
        assert outcome(codec, ref, Sealed(head + extra)) == "corrupt"
        assert outcome(codec, ref, Sealed(extra + head)) == "corrupt"
    assert outcome(codec, ref, Sealed(head, (b"stray",))) == "corrupt"


@given(junk=st.binary(max_size=300))
def test_random_bytes_are_corrupt(junk, ref):
    assert outcome(make(), ref, Sealed(junk)) == "corrupt"
    assert outcome(make(), ref, Sealed(b"SCE\x01" + junk)) == "corrupt"


def repaired(head: bytearray) -> bytes:
    """The head with its two checksums made right again, as somebody would who wants to be let in."""
    length = int.from_bytes(head[8:12], "big")
    if 8 <= length <= len(head) - 8:
        head[length - 8 : length] = xxhash.xxh3_64_digest(bytes(head[: length - 8]))
    return bytes(head[:-8]) + xxhash.xxh3_64_digest(bytes(head[:-8]))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_behind_a_right_checksum_any_byte_may_be_wrong_and_still_it_is_a_value_or_a_named_error(
    data, one_of_each, header, ref
):
    serializer, compression = data.draw(st.sampled_from([*itertools.product(SERIALIZERS, NUMBERS)]))
    codec = make(serializer=serializer, compression=compression, threshold=0, max_value=1 << 20)
    name = data.draw(st.sampled_from(sorted(one_of_each)))
    head = bytearray(put(codec, header, [one_of_each[name]]).head)
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(0, len(head) - 9))] = data.draw(st.integers(0, 255))
    assert outcome(codec, ref, Sealed(repaired(head))) in {"corrupt", "unknown", "value"}


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=80), number=st.sampled_from([1, 2, 3, 4, 5, 0, 63, 64, 255]))
def test_any_payload_behind_a_right_checksum_is_a_value_or_a_named_error(payload, number, header, ref):
    head = envelope.write(header, envelope.Body(number, 0, 0, len(payload), len(payload)), b"") + payload
    assert outcome(make(), ref, Sealed(head + xxhash.xxh3_64_digest(head))) in {"corrupt", "unknown", "value"}


def forge(header: Header, serializer: int, payload: bytes, **options) -> Sealed:
    fields = {"compression": 0, "dictionary": 0, "raw_size": len(payload), "stored_size": len(payload)} | options
    head = envelope.write(header, envelope.Body(serializer=serializer, **fields), b"") + payload
    return Sealed(head + xxhash.xxh3_64_digest(head))


@pytest.mark.parametrize(
    ("serializer", "payload"),
    [
        (1, b"\x91" * 1_000_000 + b"\xc0"),
        (2, b"\x91" * 1_000_000 + b"\xc0"),
        (2, b"\xc7\xff\x01" * 100_000),
        (3, b"[" * 1_000_000 + b"]" * 1_000_000),
        (4, b'{"$":"tuple","v":[' * 100_000 + b"]}" * 100_000),
        (1, b"\xdd\xff\xff\xff\xff" * 1000),
        (1, b"\xdf\xff\xff\xff\xff" * 1000),
        (3, b"1" * 100_000),
        (2, b"\xc7\x09\x09\xa81e999999x"),
    ],
)
def test_a_payload_made_to_blow_up_is_corrupt(serializer, payload, header, ref):
    assert outcome(make(), ref, forge(header, serializer, payload)) == "corrupt"


def test_a_deep_nest_of_extensions_is_corrupt(header, ref):
    payload = b"\xc0"
    for _ in range(400):
        payload = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, payload)])
    assert outcome(make(), ref, forge(header, 2, payload)) == "corrupt"


def test_a_number_that_is_not_a_time_is_corrupt(header, ref):
    for name in ("created", "fresh_until", "expires"):
        broken = header._replace(**{name: float("nan")})
        assert outcome(make(), ref, forge(broken, 1, b"\xc0")) == "corrupt"


@pytest.mark.parametrize(
    "other", [Ref("default", "llm:other"), Ref("tenant", "llm:answer"), Ref("defaultl", "lm:answer")]
)
@pytest.mark.parametrize("keys", [{}, {"now": KEY}])
def test_an_entry_put_under_another_key_or_namespace_is_refused(other, keys, header, ref):
    codec = make(signing_keys=keys)
    sealed = put(codec, header, "secret")
    with pytest.raises(IntegrityError, match="another key"):
        codec.open(other, sealed)
    with pytest.raises(IntegrityError, match="another key"):
        codec.header(other, sealed.head)
    with pytest.raises(IntegrityError, match="another key"):
        codec.reseal(sealed, header._replace(ref=other))


# -- signatures


def test_with_a_key_configured_an_unsigned_entry_is_refused(header, ref):
    unsigned = put(make(), header, "text")
    with pytest.raises(IntegrityError, match="unsigned"):
        make(signing_keys={"now": KEY}).open(ref, unsigned)


def test_without_a_key_a_signed_entry_is_refused(header, ref):
    with pytest.raises(IntegrityError, match="no signing key"):
        make().open(ref, put(make(signing_keys={"now": KEY}), header, "text"))


def test_keys_rotate_and_touching_an_entry_signs_it_with_the_active_one(header, ref):
    old = make(signing_keys={"old": OLD_KEY})
    both = make(signing_keys={"old": OLD_KEY, "new": KEY}, active_key="new")
    new = make(signing_keys={"new": KEY})
    sealed = put(old, header, "text")
    assert both.open(ref, sealed).value == "text"
    with pytest.raises(IntegrityError, match="isn't configured"):
        new.open(ref, sealed)
    later = header._replace(expires=99.0, marks=())
    resealed = both.reseal(sealed, later)
    assert new.open(ref, resealed)[:1] == (later,)
    assert put(both, header, "text") == put(new, header, "text")


def test_another_key_under_the_same_id_gives_no_entry(header, ref):
    with pytest.raises(IntegrityError, match="signature"):
        make(signing_keys={"k": KEY}).open(ref, put(make(signing_keys={"k": OLD_KEY}), header, "text"))


def test_what_is_not_sound_is_not_signed_again(header):
    codec = make(signing_keys={"k": KEY})
    head = put(codec, header, "text").head
    with pytest.raises(IntegrityError):
        codec.reseal(Sealed(head[:-1] + bytes([head[-1] ^ 1])), header)
    with pytest.raises(IntegrityError):
        codec.reseal(put(make(), header, "text"), header)


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


# -- touching


@pytest.mark.parametrize("keys", [{}, {"now": KEY}])
@pytest.mark.parametrize("size", [10, 200_000])
def test_touching_changes_the_header_and_leaves_the_payload(keys, size, header, ref):
    codec = make(signing_keys=keys, chunk_size=50_000, compression="none")
    sealed = put(codec, header, "x" * size)
    later = header._replace(fresh_until=50.5, expires=NEVER, marks=(), cost=None, provenance=None)
    resealed = codec.reseal(sealed, later)
    assert resealed.chunks == sealed.chunks
    opened = codec.open(ref, resealed)
    assert (opened.header, opened.value) == (later, "x" * size)


# -- refusals


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_value_over_the_limit_is_refused_when_set_and_when_read(serializer, header, ref):
    small = make(serializer=serializer, max_value=100)
    for value in ("x" * 200, ["x" * 200]):
        with pytest.raises(SerializationError, match="100 allowed"):
            small.hold(value)
        sealed = put(make(serializer=serializer), header, value)
        assert outcome(small, ref, sealed) == "corrupt"


def test_a_header_that_the_format_cannot_hold_is_refused(header):
    for changes in ({"ref": Ref("n", "\ud800")}, {"start": 1 << 63}, {"provenance": "\udcff"}):
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


def test_an_unsigned_pickle_is_never_loaded(header, ref):
    payload = b"cbuiltins\nexit\n."
    with pytest.raises(IntegrityError):
        make(serializer="pickle", signing_keys={"k": KEY}, allow_pickle=True).open(ref, forge(header, 5, payload))
    assert outcome(make(), ref, forge(header, 5, payload)) == "corrupt"


def test_a_pickled_class_that_is_gone_is_unknown(header, ref, monkeypatch):
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


def test_a_serializer_that_nobody_registered_here_is_unknown(header, ref):
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
