"""What must happen at once on the server.

Rule 1: what a script compares is text that sorts as numbers do: a Lua number holds 53 bits, and stamps have 64.
Rule 2: a script touches the slot of one entry only, or on a single server also the stream and the versions.
"""

from __future__ import annotations

from typing import Final

from scoutcache.server.commands import APPEND_AFTER, Script
from scoutcache.server.joining import Joinable

__all__ = ["END_OLDER", "LOST", "MOVED", "OLDER", "SOFTEN", "USAGE", "WRITE"]

TAKEN, OLDER, MOVED, LOST = 1, 0, -1, -2

WRITE: Final = Joinable(APPEND_AFTER + """
local count = tonumber(ARGV[1])
local stream, last = KEYS[count + 2], KEYS[count + 3]
local place = KEYS[count + 1]
local position, before = unpack(last and redis.call('MGET', place, last) or {redis.call('GET', place)})
local id

local function write(at)
  local own = 5 * at - 2
  if not position or string.sub(position, 1, 1) == '~' then return -2 end
  if position > ARGV[own] then return -1 end
  local value, latest, left, message = ARGV[own + 1], ARGV[own + 2], ARGV[own + 3], ARGV[own + 4]
  local there = redis.call('GETRANGE', KEYS[at], 0, 15)
  if #there == 16 then
    local start = string.sub(value, 1, 16)
    if there > start and not (there > latest and latest >= start) then return 0 end
  end
  if left == '0' then redis.call('SET', KEYS[at], value) else redis.call('SET', KEYS[at], value, 'PX', left) end
  if KEYS[count + 4] then redis.call('HSET', KEYS[count + 4], ARGV[own + 5], ARGV[own + 6]) end
  if message == '' then return 1 end
  before = id or before or newest(stream, last)
  id = redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'p', before, 'm', message)
  return {before, id}
end

local answers = {}
if count == 1 then answers = write(1) end
for at = 1, count > 1 and count or 0 do
  local done, answer = pcall(write, at)
  answers[at] = done and answer or {err = 'NOSCRIPT it failed beside others'}
end
if id then redis.call('SET', last, id) end
return answers
""", keys=3, arguments=1, own=5)
"""Store entries unless something was announced since their writer looked, or what stands began later.

Keys: the entries, the position, the stream, the id of its last message; for one entry alone, the hash of versions.
Arguments: how many entries, the stream's length; for each the position that its writer has heard, the value, the latest
start that doesn't lie in the future, milliseconds to live or 0, a message or nothing; for one entry alone, the
name of a mark to renew, its version.  Answers for each a code, or the ids before the message and of it.
"""

END_OLDER: Final = Script("""
local there = redis.call('GETRANGE', KEYS[1], 0, 15)
if #there ~= 16 or there > ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
""")
"""Remove the entry unless it began later than the one that could not be written in its place."""

SOFTEN: Final = Script("""
local softened = 0
for at = 1, #ARGV do
  local standing = redis.call('HGET', KEYS[1], ARGV[at])
  if standing then
    local life, count = string.match(standing, '^(%d+)%.(%d+)$')
    if life then
      redis.call('HSET', KEYS[1], ARGV[at], life .. '.' .. string.format('%.0f', (tonumber(count) + 1) % 16777216))
      softened = softened + 1
    end
  end
end
return softened
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
