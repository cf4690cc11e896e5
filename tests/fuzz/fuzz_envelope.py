"""Fuzzing of what lies in a tier: whatever the bytes, a value, CorruptEntry or UnknownType, and no code run.

Run by hand, for ten minutes, with atheris installed::

    python tests/fuzz/fuzz_envelope.py raw      [-max_total_time=600] [corpus folder]
    python tests/fuzz/fuzz_envelope.py repaired [-max_total_time=600] [corpus folder]

``raw`` feeds the bytes as they are.  ``repaired`` first makes the two checksums right, as somebody would who wants to
be let in, so that the parser, the decompressors and the decoders behind them are reached.  The first byte chooses
whether the rest is a head, a head with chunks, or a payload for one of the serializers and compressions.
"""

from __future__ import annotations

import contextlib
import sys
import zoneinfo
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["scoutcache"]):
    from scoutcache.entry import NEVER, Header, Mark, Ref, Sealed
    from scoutcache.errors import CorruptEntry
    from scoutcache.wire import envelope
    from scoutcache.wire.codec import Codec, CodecSettings, UnknownType

import xxhash

REF = Ref("default", "llm:answer")
HEADER = Header(REF, 1, 1.0, 2.0, NEVER, (Mark("model:x", 7),), 0.1, "api")
SERIALIZERS = (1, 2, 2, 2, 3, 4, 4, 5, 64)
CODEC = Codec(CodecSettings(max_value=1 << 20))
SIGNED = Codec(CodecSettings(max_value=1 << 20, signing_keys={"k": b"k" * 32}))
ran: list[str] = []


def audit(event: str, args: tuple[object, ...]) -> None:
    """Note what decoding must never do.  Time zones apart: they are read from the machine's own list, by name."""
    if not armed or event not in FORBIDDEN:
        return
    what = f"{event} {args!r:.200}"
    if ".." in what or not ("/zoneinfo/" in what or "'tzdata" in what or "'importlib" in what):
        ran.append(what)


zoneinfo.ZoneInfo("UTC")  # the decoder imports it at its first time zone: before the audit, that is no finding
armed = False
FORBIDDEN = {"import", "exec", "compile", "os.system", "subprocess.Popen", "pickle.find_class", "open"}


def holds(codec: Codec, sealed: Sealed) -> None:
    """The invariant.  Any other exception, or an audit event of code being run, ends the run as a crash."""
    for look in (lambda: codec.open(REF, sealed).live.value(), lambda: codec.header(None, sealed.head),
                 lambda: envelope.read_checked(sealed.head)):  # fmt: skip
        with contextlib.suppress(CorruptEntry, UnknownType):
            look()


def repair(head: bytes) -> bytes:
    """The head with both checksums made right."""
    body = bytearray(head)
    start = len(envelope.MAGIC)
    body[:start] = envelope.MAGIC
    length = int.from_bytes(body[start : start + 4], "big")
    if envelope.SHORTEST + 8 <= length <= len(body):
        body[length - 8 : length] = xxhash.xxh3_64_digest(bytes(body[: length - 8]))
    return bytes(body) + xxhash.xxh3_64_digest(bytes(body))


def with_payload(choice: int, payload: bytes) -> Sealed:
    """A right head around a payload; *choice* says which serializer and compression it claims."""
    compression, serializer = choice % 4, SERIALIZERS[choice // 4 % len(SERIALIZERS)]
    raw_size = len(payload)
    if compression and len(payload) > 2:
        raw_size, payload = int.from_bytes(payload[:2], "big"), payload[2:]
    covered = envelope.write(HEADER, envelope.Body(serializer, compression, 0, raw_size), b"", payload)
    return Sealed(covered + xxhash.xxh3_64_digest(covered))


def with_chunks(data: bytes) -> Sealed:
    """A head and chunks cut out of the data by its second byte, all of their checksums right."""
    size = max(1, data[0])
    head, *parts = [data[1:][at : at + size] for at in range(0, min(len(data) - 1, size * 4), size)] or [b""]
    covered = envelope.write(HEADER, envelope.Body(2, 0, 0, sum(map(len, parts)), len(parts)), b"", b"s" * 16)
    chunks = [
        envelope.CHUNK_FIXED.pack(b"SCC\x01", 0, 0, b"s" * 16, index + head.count(b"!"), len(parts)) + part
        for index, part in enumerate(parts)
    ]
    sealed = [bytes(chunk) + xxhash.xxh3_64_digest(chunk) for chunk in chunks]
    return Sealed(covered + xxhash.xxh3_64_digest(covered), tuple(sealed))


def raw(data: bytes) -> None:
    """Bytes as they are, alone and as head and chunks."""
    holds(CODEC, Sealed(data))
    holds(SIGNED, Sealed(data))
    holds(CODEC, Sealed(data[: len(data) // 2], (data[len(data) // 2 :],)))


def repaired(data: bytes) -> None:
    """Bytes behind right checksums."""
    if len(data) < 3:
        return
    kind = data[0] % 8
    if kind == 0:
        holds(CODEC, Sealed(repair(data[1:])))
    elif kind == 1:
        holds(CODEC, with_chunks(data[1:]))
    else:
        holds(CODEC, with_payload(data[1], data[2:]))


def seeds() -> list[bytes]:
    """Entries of every type, so that the run starts behind the doors."""
    from datetime import UTC, datetime
    from decimal import Decimal
    from uuid import UUID

    values = [
        {"a": [1, None, "x" * 50]}, (1, {2}), {1: frozenset({"a"})}, datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"),
        UUID(int=1), 1 << 70, "\ud800", 1j, bytearray(b"x"), {"$": 1}, float("inf"),
    ]  # fmt: skip
    found = []
    for serializer in ("msgpack", "json"):
        for number, compression in enumerate(("none", "lz4", "zstd", "gzip")):
            codec = Codec(CodecSettings(serializer=serializer, compression=compression, threshold=0))
            for value in values:
                encoded = codec.encode([value] * 3)
                packed = codec._compressor.compress(encoded.payload)
                found += [
                    b"\0" + codec.seal(HEADER, *codec.hold([value]))[0][:-8],
                    bytes([2, number + 4 * SERIALIZERS.index(encoded.serializer)])
                    + (len(encoded.payload).to_bytes(2, "big") if number else b"")
                    + packed.payload,
                ]
    return found


def test_one_input(data: bytes) -> None:
    """What atheris calls."""
    global armed
    armed = True
    try:
        MODE(data)
    finally:
        armed = False
    if ran:
        raise RuntimeError(f"decoding ran code or touched files: {ran}")


if __name__ == "__main__":
    MODE = {"raw": raw, "repaired": repaired}[sys.argv.pop(1)]
    for folder in [Path(each) for each in sys.argv[1:] if not each.startswith("-")][:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for place, seed in enumerate(seeds()):
            (folder / f"seed{place:03}").write_bytes(seed if MODE is repaired else seed[1:])
    for seed in seeds():
        repaired(seed)  # imports what is imported on first use, before that is forbidden
    sys.addaudithook(audit)
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
