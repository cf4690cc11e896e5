"""What a lease is on a server, and the plans that take it, renew it, and let it go.

A lease is a hash with a time to live, so that it ends with its owner, however that ends:

    o           the owner, a random token: whoever isn't it changes nothing
    n           how often it was renewed: an owner whose number grows is alive
    q           there when somebody waits, in whatever process: letting go then tells the stream of wakes
    w:<random>  the name of a lease that the owner waits for

Rule 1: every command may be carried out twice without harm (`scoutcache.server.commands`, rule 4).
Rule 2: a lease that is gone without its owner knowing (expired while it was paused, lost with its server) is made anew
        when the owner renews it, unless somebody else has it by now.  What it waits for is said anew each time: what
        was said, or taken back, while the server was away is not known there.
Rule 3: whoever gets a lease has heard all that was announced before: what the last owner stored must be found.
Rule 4: a lease without an end would stand for ever: where a server refuses to set that, the lease goes, and who finds
        one takes it.
Rule 5: a token begins with its owner's machine where that holds the machine's own lease as well.  So whoever has that
        by now takes from such an owner: it is dead, or has let go and the server has yet to hear so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from scoutcache.channels.heard import position_of
from scoutcache.channels.stream import StreamChannel
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Batch, Command, Plan, Script, replies
from scoutcache.server.layout import Layout

__all__ = ["LIFE", "LeasePlans", "Looked", "Owned"]

LIFE: Final = 3.0
"""Seconds a lease lasts after it was taken or renewed."""

_WAKES: Final = 1000
"""Wakes that the stream keeps: who misses one looks for itself half a second later."""

_END: Final = """
local function refused_to_end()
  local ends = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
  if type(ends) ~= 'table' then return nil end
  redis.call('DEL', KEYS[1])
  return ends
end
"""
"""For scripts that hold a lease: give it ARGV[2] milliseconds; the error where that is refused (Rule 4)."""

_TAKE: Final = Script(_END + """
local owner = redis.call('HGET', KEYS[1], 'o')
if owner and owner ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left ~= -1 and (ARGV[4] == '' or string.sub(owner, 1, #ARGV[4]) ~= ARGV[4]) then
    if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'q', '1') end
    return {0, left}
  end
  local waited = redis.call('HEXISTS', KEYS[1], 'q')
  redis.call('DEL', KEYS[1])
  if waited == 1 then redis.call('HSET', KEYS[1], 'q', '1') end
end
redis.call('HSET', KEYS[1], 'o', ARGV[1])
local refused = refused_to_end()
if refused then return refused end
local last = KEYS[2] and redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return {1, last and last[1] and last[1][1] or '0-0'}
""")
"""Take a lease, from an owner too whose token begins so: 1 and the last id of the events, or 0 and the milliseconds
that another one's has left."""

_RENEW: Final = Script(_END + """
local owner = redis.call('HGET', KEYS[1], 'o')
if owner and owner ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'n', ARGV[3])
local noted = {}
for at = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  noted[ARGV[at]] = true
end
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  if string.sub(fields[at], 1, 2) == 'w:' and not noted[fields[at]] then redis.call('HDEL', KEYS[1], fields[at]) end
end
return refused_to_end() or 1
""")

_FREE: Final = Script("""
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
local waited = redis.call('HEXISTS', KEYS[1], 'q')
redis.call('DEL', KEYS[1])
if waited == 0 then return 1 end
if KEYS[2] then redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'k', KEYS[1]) end
return 2
""")
"""Let a lease go and tell who waits; on a cluster, where that lies in another slot, 2 says that it is to be done."""

_NOTE: Final = Script("""
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
""")


class Owned(Protocol):
    """A lease of this process: its name on the server, its owner's token, and by a random word what that waits for.

    *beats* is how often it was renewed; it is *unsure* once something was asked about it and not answered.
    """

    name: bytes
    token: bytes
    notes: dict[bytes, bytes]
    beats: int
    unsure: bool


class Looked(NamedTuple):
    """What stands in a lease: who owns it and how often that renewed it, and the leases that it waits for."""

    beat: tuple[bytes, bytes]
    awaited: Collection[bytes]


class LeasePlans:
    """The leases of the cache that *layout* names; *channel* hears its events."""

    def __init__(self, layout: Layout, channel: StreamChannel) -> None:
        self._layout, self._channel = layout, channel
        self._wakes = layout.wakes
        self._near = [] if layout.sharded else [layout.wakes]
        """What a script may touch besides a lease."""

    def name(self, ref: Ref) -> bytes:
        """The name of a key's lease."""
        return self._layout.lease(ref).encode("utf-8", "surrogatepass")

    def take(self, name: bytes, token: bytes, *, waits: bool, instead_of: bytes = b"") -> Plan[float | None]:
        """None when it is taken (Rule 3), else the seconds that another owner's has left; *waits* to be woken then.

        It is taken from an owner whose token begins with *instead_of* (Rule 5).  Where it raises `TierUnavailable` that
        says whether it may be taken all the same.
        """
        sharded, channel = self._layout.sharded, self._channel
        keys = [name] if sharded else [name, self._layout.events]
        ((taken, said),) = yield from replies(_TAKE.call(keys, token, _ms(LIFE), int(waits), instead_of))
        if not taken:
            return float(max(0, said)) / 1000
        if sharded or position_of(said) > channel.end():
            try:
                yield from channel.catch_up()
            except TierUnavailable as error:
                error.uncertain = True  # it has given the lease
                raise
        return None

    def free(self, owned: Sequence[tuple[bytes, bytes]]) -> Plan[None]:
        """Let leases go, named with their owners' tokens; what is another one's stays.

        What a server refuses to let go of ends of itself.
        """
        answers = yield Batch([_FREE.call([name, *self._near], token, _WAKES) for name, token in owned])
        if self._layout.sharded:
            waited = [name for (name, _), answer in zip(owned, answers, strict=True) if answer == 2]
            if waited:
                yield from replies(*[("XADD", self._wakes, "MAXLEN", "~", _WAKES, "*", "k", name) for name in waited])

    def renew(self, leases: Iterable[Owned]) -> Plan[list[bool]]:
        """Go on holding them; which of them are this process's still (Rule 2)."""
        answers = yield from replies(*[self._renewing(one) for one in leases])
        return [bool(answer) for answer in answers]

    def _renewing(self, lease: Owned) -> Command:
        lease.beats += 1
        notes = [part for word, target in list(lease.notes.items()) for part in (b"w:" + word, target)]
        return _RENEW.call([lease.name], lease.token, _ms(LIFE), lease.beats, *notes)

    def note(self, leases: Iterable[Owned], word: bytes, target: bytes) -> Plan[None]:
        """Their owner waits for *target*."""
        yield from replies(*[_NOTE.call([one.name], one.token, b"w:" + word, target) for one in leases])

    def wipe(self, names: Iterable[bytes], word: bytes) -> list[Command]:
        """What ends such a note."""
        return [("HDEL", name, b"w:" + word) for name in names]

    def look(self, names: Sequence[bytes]) -> Plan[dict[bytes, Looked]]:
        """What stands in those leases that are held."""
        answers = yield from replies(*[("HGETALL", name) for name in names])
        return {name: _looked(_mapping(answer)) for name, answer in zip(names, answers, strict=True) if answer}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _mapping(answer: Any) -> Mapping[bytes, bytes]:
    """A hash, as a bare connection gives it or redis-py's pipeline."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def _looked(fields: Mapping[bytes, bytes]) -> Looked:
    awaited = [target for field, target in fields.items() if field.startswith(b"w:")]
    return Looked((fields.get(b"o", b""), fields.get(b"n", b"")), awaited)
