"""What must happen at once on the server.

Rule 1: what a script compares is text that sorts as numbers do: a Lua number holds 53 bits, and stamps have 64.
Rule 2: a script touches the slot of one entry only, or on a single server also the stream and the versions.
"""

from __future__ import annotations

from typing import Final

from scoutcache.server.commands import APPEND_AFTER, Script

__all__ = ["END_OLDER", "LOST", "MOVED", "OLDER", "SOFTEN", "USAGE", "WRITE"]

TAKEN, OLDER, MOVED, LOST = 1, 2, 3, 4

WRITE: Final = Script(APPEND_AFTER + """
local position = redis.call('GET', KEYS[2])
if not position or string.sub(position, 1, 1) == '~' then return 4 end
if position > ARGV[1] then return 3 end
local there = redis.call('GETRANGE', KEYS[1], 0, 15)
if #there == 16 then
  local start = string.sub(ARGV[2], 1, 16)
  if there > start and not (there > ARGV[3] and ARGV[3] >= start) then return 2 end
end
if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4]) end
if ARGV[7] then redis.call('HSET', KEYS[5], ARGV[7], ARGV[8]) end
if not KEYS[3] or ARGV[5] == '' then return 1 end
local before = newest(KEYS[3], KEYS[4])
local id = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'p', before, 'm', ARGV[5])
redis.call('SET', KEYS[4], id)
return {before, id}
""")
"""Store an entry unless something was announced since the writer looked, or what stands began later.

Keys: the entry, the position, the stream, the id of its last message, the hash of versions.  Arguments: the position
that the writer has heard, the value, the latest start that doesn't lie in the future, milliseconds to live or nothing,
a message or nothing, the stream's length, the name of a mark to renew, its version.  Answers a code, or the ids before
the message and of it.
"""

END_OLDER: Final = Script("""
local there = redis.call('GETRANGE', KEYS[1], 0, 15)
if #there ~= 16 or there > ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
""")
"""Remove the entry unless it began later than the one that could not be written in its place."""

SOFTEN: Final = Script("""
for at = 1, #ARGV do
  local standing = redis.call('HGET', KEYS[1], ARGV[at])
  if standing then
    local life, count = string.match(standing, '^(%d+)%.(%d+)$')
    if life then
      redis.call('HSET', KEYS[1], ARGV[at], life .. '.' .. string.format('%.0f', (tonumber(count) + 1) % 16777216))
    end
  end
end
return #ARGV
""")
"""Let each mark go on in its life with the next count: what carries it is stale."""


USAGE: Final = Script("""
local answer = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local bytes = 0
for _, name in ipairs(answer[2]) do
  local size = redis.pcall('STRLEN', name)
  if type(size) == 'number' then bytes = bytes + size end
end
return {answer[1], #answer[2], bytes}
""")
"""One step of a scan: how it goes on, how many entries it met, and their bytes; no name travels."""
