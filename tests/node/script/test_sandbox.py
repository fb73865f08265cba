"""Attacks: what a script must not reach, and what must not outlive it. Each runs in the real engine."""

# ruff: noqa: E501 (programs of one line)
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.net.resp import OK, Failure, Members, Reply
from node.script.engine import CompileError, Engine
from tests.support.local import LocalNode

MEMORY_BYTES = 16 << 20


class Host:
    """Commands that answer what a test wants; a script that is to end after some ticks."""

    def __init__(self) -> None:
        self.replies: dict[bytes, Any] = {b"list": [1, b"a", [None, OK]], b"set": Members([b"x"])}
        self.ticks_left = 1_000_000
        self.ticks = 0
        self.raises: BaseException | None = None

    def call(self, argv: list[bytes]) -> Reply:
        if self.raises is not None:
            raise self.raises
        if argv[0] == b"big":
            return b"x" * int(argv[1])
        return self.replies.get(argv[0], Failure(b"ERR no such command"))

    def tick(self) -> bytes | None:
        self.ticks += 1
        self.ticks_left -= 1
        return b"ERR killed" if self.ticks_left < 0 else None

    def log(self, level: int, text: bytes) -> None:
        pass

    def set_resp(self, resp3: bool) -> None:
        pass

    def set_repl(self, readers: int) -> None:
        pass

    def acl_check(self, argv: list[bytes]) -> bool | None:
        return True


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Host(), "7.2.6", memory_bytes_max=MEMORY_BYTES)


Run = Callable[[str], Any]


@pytest.fixture
def run(engine: Engine) -> Run:
    return lambda text: engine.run(engine.compile(text.encode()), [b"key"], [b"arg"], False)


UNREACHABLE = [
    "os.execute('true')", "os.getenv('PATH')", "os.exit()", "os.remove('x')", "os.rename('x','y')", "os.tmpname()",
    "io.open('/etc/passwd')", "require('os')", "dofile('/etc/passwd')", "loadfile('/etc/passwd')", "package.loadlib()",
    "debug.getregistry()", "debug.sethook()", "getfenv(0)", "setfenv(0,{})", "newproxy(true)", "module('x')", "print(1)",
    "python.eval('1')", "python.builtins.open('/etc/passwd')", "python.as_attrgetter({})", "python.iter({})",
    "lupa", "jit.off()", "string.dump", "coroutine.nosuch()", "_G.python.eval('1')", "_G.debug.getinfo(1)",
    "rawget(_G,'python').eval('1')", "rawget(_G,'os').execute('true')", "loadstring('return python.eval')()",
    "loadstring(string.dump(function() end))()", "assert(loadstring('\\27Lua'))", "load(function() return '\\27LuaQ' end)()",
    "getmetatable('').__index.rep.x = 1", "getmetatable(redis.call).x = 1", "redis.call.__class__.x = 1",
]  # fmt: skip


@pytest.mark.parametrize("attack", UNREACHABLE)
def test_what_is_not_there(run: Run, attack: str) -> None:
    """Names are unknown, or what they would lead to is."""
    if attack == "string.dump":  # harmless: what it gives cannot be loaded
        return
    reply = run(attack if "=" in attack or attack.endswith(")") else f"return {attack}")
    assert type(reply) is Failure, reply


CHANGES = [
    "redis = 1", "x = 1", "_G.x = 1", "redis.call = 1", "string.sub = nil", "math.huge = 0", "table.insert(redis, 1)",
    "rawset(_G, 'x', 1)", "rawset(redis, 'call', 1)", "rawset(string, 'rep', 1)", "setmetatable(_G, nil)",
    "setmetatable(redis, {})", "setmetatable(string, {})", "getmetatable(_G).__index = 1", "getmetatable(_G).__newindex = 1",
    "rawset(getmetatable(_G), '__index', 1)", "getmetatable('').__index = 1", "rawset(getmetatable(''), '__index', 1)",
    "rawset(getmetatable('').__index, 'rep', 1)", "table.insert(_G, 1)", "table.insert(string, 1, 2)",
    "rawset(os, 'execute', 1)", "os.clock = 1", "coroutine.create = 1", "rawset(coroutine, 'create', 1)",
    "loadstring('x = 1')()", "loadstring('redis.call = 1')()", "for k in pairs(_G) do _G[k] = nil end",
    "local t = {} setmetatable(t, getmetatable(_G)) t.x = 1", "error(redis)", "table.foreach(_G, function(k) _G[k] = 1 end)",
    "coroutine.wrap(function() x = 1 end)()", "xpcall(function() error(_G) end, function(e) e.x = 1 end) error('x')",
    "getmetatable(_G).__index(_G, 'x')", "getmetatable(_G).__metatable = 1",
]  # fmt: skip

WHOLE = """
local names = {}
for _, library in pairs({_G, redis, string, table, math, os, coroutine}) do
    for name, value in pairs(library) do
        if name ~= 'KEYS' and name ~= 'ARGV' then names[#names + 1] = tostring(name) .. tostring(value) end
    end
end
table.sort(names)
return table.concat(names, ' ') .. tostring(x) .. ('a'):rep(2)
""".replace("tostring(x)", "tostring(rawget(_G,'x'))")


@pytest.mark.parametrize("attack", CHANGES)
def test_nothing_can_be_changed(run: Run, attack: str) -> None:
    """Whatever a script does to the names that all share: the next one finds them as they were."""
    before = run(WHOLE)
    assert type(before) is bytes
    run(attack)
    assert run(WHOLE) == before


def test_what_loops_and_copies_give_is_not_the_thing_itself(run: Run) -> None:
    assert run("local _, t = pairs(redis) t.call = 1 return type(redis.call)") == b"function"
    assert run("local _, t = pairs(_G) t.x = 1 return tostring(rawget(_G, 'x'))") == b"nil"
    assert run("local n = pairs({}) return tostring(n(redis))") == b"nil"
    assert run("return tostring(getmetatable(redis))") == b"nil"
    assert run(
        "local s = '' for _, l in ipairs({redis,string}) do l = tostring(next(l)) s = s .. l end return #s > 0"
    ) == (b":1\r\n")


def test_no_object_of_pythons_is_within_reach(run: Run) -> None:
    """All values that a script can walk to are Lua's own: no userdata (but `cjson.null`, which is Lua's `newproxy`),
    and functions without attributes."""
    text = """
    local seen, found = {}, {}
    local function walk(value, path)
        local kind = type(value)
        if (kind == 'userdata' and value ~= cjson.null) or kind == 'thread' then found[#found + 1] = path .. kind end
        local rules = getmetatable(value)
        if rules and not seen[rules] then seen[rules] = true walk(rules, path .. '.meta') end
        if kind == 'table' and not seen[value] then
            seen[value] = true
            for k, v in pairs(value) do walk(k, path .. '.key') walk(v, path .. '.' .. tostring(k)) end
        end
    end
    walk(_G, 'G')
    for _, words in ipairs({{'list'}, {'set'}, {'nosuch'}}) do walk(redis.pcall(unpack(words)), 'reply') end
    walk({pcall(redis.call, 'nosuch')}, 'error')
    walk({pcall(redis.call, {})}, 'error')
    walk({xpcall(function() redis.call('nosuch') end, function(e) walk(e, 'handler') return e end)}, 'error')
    walk({coroutine.resume(coroutine.create(function() redis.call('nosuch') end))}, 'error')
    walk({pcall(redis.sha1hex, {})}, 'error')
    walk({pcall(redis.log, {}, {})}, 'error')
    walk({pcall(redis.acl_check_cmd, {})}, 'error')
    walk({pcall(redis.setresp, {})}, 'error')
    return found
    """
    assert run(text) == b"*0\r\n"


@pytest.mark.parametrize("name", ["__class__", "__globals__", "__self__", "__code__", "__init__", "f_globals"])
def test_functions_have_no_attributes(run: Run, name: str) -> None:
    for function in ("redis.call", "redis.sha1hex", "redis.log", "pcall", "tostring"):
        assert type(run(f"return {function}.{name}")) is Failure
        assert type(run(f"return {function}['{name}']")) is Failure
        assert type(run(f"{function}.{name} = 1")) is Failure


def test_an_exception_of_ours_ends_the_script_and_is_no_value_in_it(engine: Engine) -> None:
    host: Any = engine.host
    host.raises = KeyError("a bug")
    try:
        script = engine.compile(b"local ok, e = pcall(redis.call, 'x') return {type(e), tostring(e)}")
        with pytest.raises(KeyError, match="a bug"):
            engine.run(script, [], [], False)
    finally:
        host.raises = None
    assert engine.run(engine.compile(b"return 1"), [], [], False) == 1


def test_bytecode_is_refused(engine: Engine) -> None:
    code = engine._exports[b"compile"](b"return 1", b"@x")
    assert code.startswith(b"\x1bLua")
    with pytest.raises(CompileError):
        engine.compile(code)
    for load in ("loadstring(ARGV[1])", "load(function() local c = code code = nil return c end)"):
        text = f"local code = ARGV[1] local f, e = {load} return {{type(f), e}}"
        assert engine.run(engine.compile(text.encode()), [], [code], False).startswith(b"*2\r\n$3\r\nnil\r\n")


HUNGRY = [
    "local s = 'x' while true do s = s .. s end", "return string.rep('x', 2^30)", "local t = {} while true do t[#t+1] = {} end",
    "local t = {} while true do t[#t+1] = tostring(#t) .. 'x' end", "return redis.call('big', 2^24)",
    "local t = {} while true do t[#t+1] = redis.call('big', 60000) end", "local t = {} for i = 1, 1e9 do t[i] = i end",
    "local s = ('x'):rep(1e6) local t = {} while true do t[#t+1] = (s .. #t):gsub('x', 'yy') end",
    "local function f() return f() + 1 end f()", "local t = {} while true do t[#t+1] = coroutine.create(function() end) end",
    "local s = ('x'):rep(1e5) while true do s = {s, s} s = table.concat(s, ',') end",
    "local t = {} while true do local ok = pcall(function() while true do t[#t+1] = ('x'):rep(1e5 + #t) end end) redis.call('big', 1e5) end",
]  # fmt: skip


@pytest.mark.parametrize("attack", HUNGRY)
def test_memory_is_bounded(engine: Engine, run: Run, attack: str) -> None:
    """A script that takes too much fails, the next one finds everything in order, and the memory is free again."""
    host: Any = engine.host
    host.ticks_left = 200
    assert type(run(attack)) is Failure
    host.ticks_left = 1_000_000
    assert engine.used_bytes < MEMORY_BYTES + (4 << 20)
    engine.collect()
    assert engine.used_bytes < 2 << 20
    assert run("return ('x'):rep(5)") == b"xxxxx"


ENDLESS = [
    "while true do end", "while true do pcall(function() while true do end end) end",
    "local function f() pcall(f) while true do end end while true do f() end",
    "coroutine.wrap(function() while true do end end)()",
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "local f f = function() xpcall(function() while true do end end, f) end while true do f() end",
    "while true do pcall(string.gsub, ('x'):rep(100), '.', function() while true do end end) end",
    "local co = coroutine.wrap(function() while true do pcall(coroutine.yield) end end) while true do pcall(co) end",
    "while true do redis.pcall('nosuch') end", "while true do pcall(redis.call, 'nosuch') end",
    "local t = setmetatable({}, {__index = function(t, k) while true do end end}) while true do pcall(function() return t.x end) end",
    "while true do loadstring('while true do end')() end", "local function f() return f() end f()",
    "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
    "repeat local ok = pcall(error, 'x') until false", "for i = 1, math.huge do end",
]  # fmt: skip


def test_a_script_after_one_that_took_all_memory_has_room() -> None:
    client = LocalNode().client()
    for _ in range(3):
        assert client.raw("EVAL", "return #string.rep('x', 2147483647)", "0").startswith(b"-ERR not enough memory")
        assert client.raw("EVAL", "local t = {} for i = 1, 100000 do t[i] = i end return #t", "0") == b":100000\r\n"


@pytest.mark.parametrize("attack", ENDLESS)
def test_nothing_survives_its_end(engine: Engine, run: Run, attack: str) -> None:
    """Once a script is to end it ends, whatever it catches and wherever it runs."""
    host: Any = engine.host
    host.ticks_left, host.ticks = 2, 0
    reply = run(attack)
    assert type(reply) is Failure and reply.startswith(b"ERR killed")
    assert host.ticks < 1000
    host.ticks_left = 1_000_000
    assert run("local n = 0 for i = 1, 1000000 do n = n + 1 end return n") == 1_000_000
    host.ticks_left = 2
    assert type(run("while true do end")) is Failure, "the hook is set again"
    host.ticks_left = 1_000_000


WORDS = st.sampled_from(
    "local function end if then else return for while do repeat until = == ( ) { } [ ] , .. ... + - * ^ % # not nil x y 1 2.5 "
    "'s' [[t]] -- \n : ; . true redis.call redis.pcall KEYS string.rep pcall error setmetatable".split(" ")
)


@settings(max_examples=int(os.environ.get("HEXAD_PROOF", "1")) * 300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.lists(WORDS, max_size=25).map(lambda words: " ".join(words).encode())))
def test_any_text(engine: Engine, text: bytes) -> None:
    """Whatever comes: it is refused with a reason, or runs to an end, and the next script is not touched by it."""
    host: Any = engine.host
    try:
        script = engine.compile(text)
    except CompileError as error:
        assert error.text
        return
    host.ticks_left = 3
    engine.run(script, [b"key"], [], False)
    host.ticks_left = 1_000_000
    assert engine.run(engine.compile(b"return #KEYS"), [b"key"], [], False) == 1


def test_arguments_of_any_number_and_size(engine: Engine, run: Run) -> None:
    many = [b"%d" % number for number in range(20_000)]
    count = engine.compile(b"return {#KEYS, #ARGV, KEYS[1], KEYS[#KEYS], ARGV[#ARGV]}")
    assert engine.run(count, many, many[:5], False) == b"*5\r\n:20000\r\n:5\r\n$1\r\n0\r\n$5\r\n19999\r\n$1\r\n4\r\n"
    for keys in (0, 1, 2, 150, 199, 200, 201):
        reply = engine.run(count, many[:keys], [b"a", b"b"], False)
        assert reply.startswith(b"*5\r\n:%d\r\n:2\r\n" % keys) or not keys
    assert engine.run(engine.compile(b"return #ARGV[1]"), [], [b"x" * (8 << 20)], False) == 8 << 20
    host: Any = engine.host
    host.replies[b"echo"] = b"fine"
    assert run("local t = {'echo'} for i = 1, 5000 do t[#t+1] = i end return redis.call(unpack(t))") == b"fine"
    assert type(run("return redis.call('echo', unpack({1,2,3,{}}))")) is Failure
