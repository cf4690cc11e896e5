"""The keyring: which bytes it calls whole."""

from __future__ import annotations

import hmac

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.errors import IntegrityError
from scoutcache.wire.integrity import Keyring
from scoutcache.wire.unknown import Unverified

KEY = b"k" * 32


@given(data=st.binary(max_size=100), at=st.integers(0, 1000), bit=st.integers(0, 7))
@pytest.mark.parametrize("keys", [{}, {"a": KEY}])
def test_one_flipped_bit_anywhere_fails(keys, data, at, bit):
    keyring = Keyring(keys, None)
    key_id = b"a" if keys else None
    whole = bytearray(data + keyring.tag(data))
    keyring.verify(bytes(whole), key_id)
    whole[at % len(whole)] ^= 1 << bit
    with pytest.raises(IntegrityError):
        keyring.verify(bytes(whole), key_id)


def test_the_algorithms_are_the_documented_ones():
    assert Keyring({}, None).tag(b"data") == xxhash.xxh3_64_digest(b"data")
    assert Keyring({"a": KEY}, None).tag(b"data") == hmac.digest(KEY, b"data", "sha256")


def test_an_entry_cannot_choose_the_weaker_check():
    keyring = Keyring({"a": KEY}, None)
    with pytest.raises(Unverified, match="unsigned"):
        keyring.verify(b"data" + xxhash.xxh3_64_digest(b"data"), None)


@pytest.mark.parametrize("data", [b"", b"short"])
@pytest.mark.parametrize("keys", [{}, {"a": KEY}])
def test_less_than_an_integrity_field_fails(keys, data):
    with pytest.raises(IntegrityError):
        Keyring(keys, None).verify(data, b"a" if keys else None)


def test_the_only_key_is_active_and_of_several_the_one_named():
    assert Keyring({"a": KEY}, None).active == b"a"
    assert Keyring({"a": KEY, "b": KEY}, "b").active == b"b"
    assert Keyring({}, None).active == b""


def test_an_unknown_key_id_is_named_without_control_codes():
    with pytest.raises(Unverified) as caught:
        Keyring({"a": KEY}, None).verify(bytes(64), b"\x1b]52;evil")
    assert "\x1b" not in str(caught.value)
