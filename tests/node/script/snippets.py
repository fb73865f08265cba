"""Lua expressions evaluated beside one another: by `redis-server`'s EVAL, and in an engine of ours.

Every expression stands on a line of its own of one script, which returns a text for each: the values, exact and with
their types, or the error with the place that it names.
"""

from collections.abc import Sequence
from typing import Any

from node.net.resp import Encoded, Reply
from node.script.conversions import decoded
from node.script.engine import Engine
from tests.support.wire import Wire

PRELUDE = b"""
local function show(v, depth)
  local kind = type(v)
  if kind == 'number' then
    if v ~= v then return 'nan' end
    if v == 0 then return 1 / v < 0 and '-0' or '0' end
    return string.format('%.17g', v)
  elseif kind == 'string' then return (string.gsub(string.format('%q', v), '\\n', 'n'))
  elseif kind == 'table' then
    if depth > 12 then return '{...}' end
    local parts = {}
    for key, value in pairs(v) do parts[#parts + 1] = show(key, depth + 1) .. '=' .. show(value, depth + 1) end
    return '{' .. table.concat(parts, ',') .. '}'
  elseif kind == 'function' then return 'function' end
  return tostring(v)
end
local results = {}
local function keep(...) return ... end
local function try(f)
  local out = {pcall(f)}
  local parts = {}
  for i = 1, math.min(40, table.maxn(out)) do parts[i] = show(out[i], 0) end
  results[#results + 1] = table.concat(parts, ' | ')
end
""".strip().replace(b"\n", b" ")


def script(expressions: Sequence[bytes]) -> bytes:
    lines = [b"try(function() return keep(%b) end)" % expression for expression in expressions]
    return b"\n".join([PRELUDE, *lines, b"return results"])


def by_redis(wire: Wire, expressions: Sequence[bytes]) -> list[bytes]:
    reply: Any = wire("EVAL", script(expressions), 0)
    assert isinstance(reply, list), reply
    return reply


class Nobody:
    """A node for an engine whose scripts ask for nothing."""

    def call(self, argv: list[bytes]) -> Reply:
        raise AssertionError(argv)

    def tick(self) -> bytes | None:
        return None

    def log(self, level: int, text: bytes) -> None:
        raise AssertionError(text)

    def set_resp(self, resp3: bool) -> None:
        raise AssertionError(resp3)

    def set_repl(self, readers: int) -> None:
        raise AssertionError(readers)

    def acl_check(self, argv: list[bytes]) -> bool | None:
        raise AssertionError(argv)


class Ours:
    """Our libraries in an engine that has no node."""

    def __init__(self) -> None:
        self.engine = Engine(Nobody(), "7.0.15")

    def evaluate(self, expressions: Sequence[bytes]) -> list[bytes]:
        reply = self.engine.run(self.engine.compile(script(expressions)), (), (), False)
        assert type(reply) is Encoded, reply
        results = decoded(reply)
        assert isinstance(results, list)
        return results


def text(value: bytes) -> bytes:
    """A Lua string literal for any bytes."""
    return b'"%b"' % b"".join(b"\\%03d" % byte for byte in value)
