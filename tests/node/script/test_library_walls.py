"""What scripts cannot do with their libraries: change them, get behind them, or stay alive and grow within them."""

from __future__ import annotations

import pytest

from node.net.resp import Failure
from node.script.engine import Engine
from tests.node.script.snippets import Nobody

MEMORY_BYTES = 16 << 20


class Killer(Nobody):
    """Ends a script at its fifth tick."""

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self) -> bytes | None:
        self.ticks += 1
        return b"ERR killed" if self.ticks >= 5 else None


def run(source: str, host: Nobody | None = None) -> object:
    engine = Engine(host or Nobody(), "7.2.6", memory_bytes_max=MEMORY_BYTES)
    reply = engine.run(engine.compile(source.encode()), (), (), False)
    assert engine.run(engine.compile(b"return cjson.encode({1})"), (), (), False) == b"[1]", (
        "the next script is not hurt"
    )
    return reply


@pytest.mark.parametrize(
    "attack",
    [
        "cjson.encode = 1",
        "bit.band = nil",
        "rawset(struct, 'pack', 1)",
        "setmetatable(cmsgpack, {})",
        "table.insert(cjson, 1)",
        "cjson.null.x = 1",
        "return cjson.null.x",
        "return cjson.nosuch.x",
        "return getmetatable(cjson.null).__tostring",
        "return getfenv(cjson.encode)",
        "return loadstring(string.dump(cjson.encode))()",
        "return debug",
        "return newproxy",
        "return support",
    ],
)
def test_attacks_end_in_an_error(attack: str) -> None:
    assert type(run(attack)) is Failure


def test_settings_that_one_has_made_new_are_its_own() -> None:
    assert run("local own = cjson.new() own.encode_max_depth(1) own.encode = 1 return cjson.encode({{1}})") == b"[[1]]"


@pytest.mark.parametrize(
    "source",
    [
        "local big = string.rep('x', 100000) return cjson.encode(setmetatable({}, {})) .. struct.pack('c9999999', big)",
        "local t = {} for i = 1, 200 do t[i] = string.rep('\\1', 60000) end return #cjson.encode(t)",
        "local s = string.rep('\\1', 10000) while true do s = cmsgpack.pack(s, s) end",
        "local s = string.rep('[', 9) while true do s = s .. cjson.encode(cjson.decode(s .. string.rep(']', 9))) end",
        "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
        "return struct.pack('!2147483648 b i', 1, 2)",
        "return struct.unpack('c2147483647', 'x')",
    ],
)
def test_memory_has_a_bound(source: str) -> None:
    assert type(run(source)) is Failure


@pytest.mark.parametrize(
    "work",
    [
        "cjson.decode('[' .. string.rep('{\"a\": [1, 2, 3]},', 20000) .. '1]')",
        "cjson.encode(cjson.decode('[' .. string.rep('1,', 50000) .. '1]'))",
        "cmsgpack.unpack('\\220\\255\\255' .. string.rep('\\1', 65535))",
        "struct.size(string.rep('b', 200000))",
        "bit.bor(unpack({1, 2, 3}))",
    ],
)
def test_a_script_can_be_stopped_within_a_library(work: str) -> None:
    host = Killer()
    assert run(f"while true do pcall(function() while true do local _ = {work} end end) end", host) == b"ERR killed"
    assert host.ticks < 20
