"""What the stream's messages and positions need done at once on the server; see `scoutcache.channels.stream`.

The keys of those that append: the stream, the id of its last message, and on a single server the position to move.
"""

from __future__ import annotations

from typing import Final

from scoutcache.server.commands import APPEND_AFTER, Script

__all__ = ["ANNOUNCE", "BREAK", "BUMP", "LOSE", "MARK", "REPLACE"]

_FORMAT: Final = """
local function text(id)
  local ms, number = string.match(id, '(%d+)-(%d+)')
  return string.format('%015.0f-%010.0f', tonumber(ms), tonumber(number))
end
local function append(before, payload, most)
  local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', most, '*', 'p', before, 'm', payload)
  redis.call('SET', KEYS[2], id)
  if KEYS[3] then redis.call('SET', KEYS[3], text(id)) end
  return id
end
"""

ANNOUNCE: Final = Script(_FORMAT + APPEND_AFTER + """
local before = newest(KEYS[1], KEYS[2])
return {before, append(before, ARGV[1], ARGV[2])}
""")
"""Append a message, and move the position where one is named; the ids before it and of it."""

BUMP: Final = Script("""
local standing = redis.call('GET', KEYS[1])
if not standing then return 0 end
if string.sub(standing, 1, 1) == '~' then return redis.call('DEL', KEYS[1]) end
if standing >= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
""")
"""Raise a position; a mark in its place is taken away."""

MARK: Final = Script("""
local standing = redis.call('GET', KEYS[1])
if standing and string.sub(standing, 1, 1) ~= '~' then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
""")
"""Put a mark of one's own where a position was lost."""

REPLACE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""")
"""Put a position where one's own mark still stands."""

LOSE: Final = Script(_FORMAT + """
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
return text(append('lost', '', ARGV[1]))
""")
"""Say that what was announced before may be lost, unless somebody else has: the position, or 0."""

BREAK: Final = Script(_FORMAT + APPEND_AFTER + """
return append('lost', newest(KEYS[1], KEYS[2]), ARGV[1])
""")
"""Say that what was announced after the id that it names is lost."""
