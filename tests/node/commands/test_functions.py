"""Functions beside redis-server: loading, calling, listing, dumping and restoring them, and every refusal."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from node.rdb.dump import dump_functions, seal
from tests.support import HexadServer, RedisServer, Wire, wait_until
from tests.support.wire import Argument, ReplyError

PROOF = int(os.environ.get("HEXAD_PROOF", "1"))
BUSY = ReplyError("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")


class Both:
    """The same commands to redis-server and to a node of ours."""

    def __init__(self, theirs: Wire, ours: Wire) -> None:
        self.theirs = theirs
        self.ours = ours

    def __call__(self, *words: Argument) -> Any:
        expected, got = self.theirs(*words), self.ours(*words)
        assert normal(got) == normal(expected), words
        return got

    def flush(self) -> None:
        assert self("FUNCTION", "FLUSH") == "OK"


def normal(reply: Any) -> Any:
    """A reply of FUNCTION LIST with all that has no order in order; others as they are."""
    if type(reply) is list and reply and type(reply[0]) is list and reply[0] and reply[0][0] == b"library_name":
        libraries = []
        for library in reply:
            library[5] = sorted(library[5])
            libraries.append(library)
        return sorted(libraries)
    return reply


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RedisServer, HexadServer]]:
    with RedisServer(enable_debug_command="yes") as theirs, HexadServer(enable_debug_command="yes") as ours:
        yield theirs, ours


@pytest.fixture
def both(servers: tuple[RedisServer, HexadServer]) -> Iterator[Both]:
    with servers[0].wire() as theirs, servers[1].wire() as ours:
        both = Both(theirs, ours)
        both.flush()
        yield both


def library(name: str, *functions: str) -> str:
    return f"#!lua name={name}\n" + " ".join(
        f"redis.register_function('{each}', function(keys, args) return '{name}.{each}' end)" for each in functions
    )


HEADERS = [
    "return 1", "", "#", "#!", "#!\n", "#! \n", "#!lua", "#!lua\nreturn 1", "#!lua name=\nreturn 1",
    "#!lua name=a-b\nreturn 1", "#!lua foo=a\nreturn 1", "#!lua name=a name=b\nreturn 1", "#!js name=a\nreturn 1",
    "#!LUA NAME=a\nreturn 1", "#!  name=a\nreturn 1", "#!lua name='a b'\nreturn 1", '#!lua name="ab"\nreturn 1',
    "#!lua  name=ab \r\nreturn 1", "#!lua name=ab foo\nreturn 1", '#!lua name=ab foo="x\nreturn 1',
    '#!lua name="a"b\nreturn 1', "#!lua name=a\0b\nreturn 1", "#!lua name=a\n\x1bLua",
]  # fmt: skip


@pytest.mark.parametrize("code", HEADERS)
def test_first_lines(both: Both, code: str) -> None:
    both("FUNCTION", "LOAD", code)


BODIES = """
foo bar
return (
error('x')
return pairs
return string
return math.huge
return _G
return KEYS
x = 1
redis.x = 1
return redis.REDIS_VERSION
return redis.LOG_NOTICE
return redis.setresp(3)
return redis.call('get', 'x')
return redis.foo
local x = nil; x()
local x = 1 .. {}
redis.log('x')
redis.register_function('f')
redis.register_function()
redis.register_function('f', 1)
redis.register_function(1, function() end)
redis.register_function('a-b', function() end)
redis.register_function('', function() end)
redis.register_function('f\\0g', function() end)
redis.register_function({}, function() end)
redis.register_function('f', function() end, 1)
redis.register_function('f', function() end) redis.register_function('f', function() end)
redis.register_function('f', function() end) redis.register_function('F', function() end)
redis.register_function(1)
redis.register_function{}
redis.register_function{function_name='f'}
redis.register_function{callback=function() end}
redis.register_function{function_name=1, callback=function() end}
redis.register_function{function_name={}, callback=function() end}
redis.register_function{function_name='f', callback=1}
redis.register_function{function_name='f', callback=function() end, description=1}
redis.register_function{function_name='f', callback=function() end, description={}}
redis.register_function{function_name='f', callback=function() end, flags=1}
redis.register_function{function_name='f', callback=function() end, flags={'x'}}
redis.register_function{function_name='f', callback=function() end, flags={1}}
redis.register_function{function_name='f', callback=function() end, flags={}}
redis.register_function{function_name='f', callback=function() end, flags={'no-cluster', 'no-writes', 'no-writes'}}
redis.register_function{function_name='f', callback=function() end, flags={'allow-oom', 'allow-stale'}}
redis.register_function{function_name='f', callback=function() end, foo=1}
redis.register_function{function_name='f', callback=function() end, [1]=1}
redis.register_function{function_name='f', callback=function() end, [true]=1}
redis.register_function('f', redis.log)
while true do end
""".strip().splitlines()


@pytest.mark.parametrize("body", BODIES)
def test_bodies(both: Both, body: str) -> None:
    """What a library may do while it is loaded, and how the rest is refused."""
    both("FUNCTION", "LOAD", "#!lua name=a\n" + body)
    both("FUNCTION", "LIST")


FUNCTIONS = {
    "pair": "return {#keys, #args, keys, args}",
    "third": "return select('#', ...)",
    "count": "seen = seen + 1 return seen",
    "bad": "error('oops')",
    "bad_table": "error({err='a b'})",
    "bad_type": "\n\nlocal x = nil .. 1",
    "bad_call": "return redis.call('nosuch')",
    "bad_arity": "return redis.call('incr', 'x', 1, 2)",
    "caught": "local r = redis.pcall('nosuch') return {r.err, r.source or 'none', r.line or 'none'}",
    "reply": "return redis.error_reply('MY err')",
    "reply_table": "return {err='a b'}",
    "set": "return redis.call('set', keys[1], args[1])",
    "keys_global": "return KEYS",
    "new_global": "zz = 1",
    "string_member": "string.x = 1",
    "at_load": "return at_load.call('ping')",
    "same": "return at_load == redis",
    "register": "return redis.register_function('zz', function() end)",
    "register_again": "return at_load.register_function('zz', function() end)",
    "names": "local t = {} for k in pairs(redis) do t[#t + 1] = k end table.sort(t) return t",
    "resp3": "redis.setresp(3) return {double=1.5}",
    "json": "return cjson.encode({1, 2, {a=cjson.null}})",
    "nothing": "",
    "env": "return getfenv",
}
LONG = "#!lua name=long\nlocal seen, at_load = 0, redis\n" + "\n".join(
    f"redis.register_function('{name}', function(keys, args, ...) {body} end)" for name, body in FUNCTIONS.items()
)


def test_calls(both: Both) -> None:
    both("FUNCTION", "LOAD", LONG)
    both("FUNCTION", "STATS")
    for name in [*FUNCTIONS, "count", "PAIR", "nosuch"]:
        both("FCALL", name, 0)
        both("FCALL_RO", name, 0)
    for words in (
        ["pair", 1, "a", "b", "c"], ["pair", 2, "a"], ["pair", -1], ["pair", "x"], ["pair"], ["nosuch", "x"],
        ["set", 1, "k", "v"],
    ):  # fmt: skip
        both("FCALL", *words)
        both("FCALL_RO", *words)


def test_read_only_functions(both: Both) -> None:
    code = """#!lua name=ro
    redis.register_function{function_name='w', callback=function(k) return redis.call('set', k[1], 1) end,
                            flags={'no-writes'}}
    redis.register_function{function_name='r', callback=function(k) return redis.call('get', k[1]) end,
                            flags={'no-writes'}}"""
    both("FUNCTION", "LOAD", code)
    for name in "wr":
        both("FCALL", name, 1, "a")
        both("FCALL_RO", name, 1, "a")


def test_options_and_forms(both: Both) -> None:
    both("FUNCTION", "LOAD", library("a", "f"))
    for words in (
        "LOAD XX code", "LOAD REPLACE REPLACE", "LOAD REPLACE", "LOAD", "DELETE zz", "DELETE A", "DELETE", "KILL",
        "FLUSH x", "FLUSH sync async", "DUMP x", "RESTORE x", "RESTORE x FOO", "RESTORE x FLUSH FLUSH", "RESTORE", "xx",
        "STATS x", "LIST LIBRARYNAME", "LIST LIBRARYNAME a LIBRARYNAME b", "LIST WITHCODE WITHCODE", "LIST foo",
        "LIST LIBRARYNAME x", "LIST LIBRARYNAME A WITHCODE", "LIST withcode libraryname [a-b]", "FLUSH async", "LIST",
        "STATS", "DUMP",
    ):  # fmt: skip
        both("FUNCTION", *words.split())
    both("FUNCTION")
    both("FUNCTION", "RESTORE", b"x" * 28)
    both("FUNCTION", "RESTORE", seal(b"\0\1a\1b"))
    both("FUNCTION", "RESTORE", dump_functions([]))


def test_what_scripts_and_transactions_make_of_it(both: Both) -> None:
    both("MULTI")
    both("FUNCTION", "LOAD", library("a", "f"))
    both("FCALL", "f", 0)
    both("FUNCTION", "DELETE", "a")
    both("FUNCTION", "DELETE", "a")
    both("EXEC")
    both("EVAL", "return redis.call('fcall', 'f', 0)", 0)
    both("EVAL", "return redis.call('function', 'list')", 0)


def test_resp3(servers: tuple[RedisServer, HexadServer]) -> None:
    with servers[0].wire() as theirs, servers[1].wire() as ours:
        for wire in (theirs, ours):
            wire("HELLO", 3)
            wire("FUNCTION", "FLUSH")
            wire("FUNCTION", "LOAD", library("a", "f"))
        for words in (["FUNCTION", "LIST", "WITHCODE"], ["FUNCTION", "STATS"], ["FCALL", "f", 0]):
            assert ours(*words) == theirs(*words)


def test_a_library_that_fails_to_load_changes_nothing(both: Both) -> None:
    both("FUNCTION", "LOAD", library("a", "f", "g"))
    both("FUNCTION", "LOAD", library("a", "h"))
    both("FUNCTION", "LOAD", library("b", "h", "G"))
    both("FUNCTION", "LOAD", library("b", "h"))
    both("FUNCTION", "LOAD", "REPLACE", library("b", "f"))
    both("FUNCTION", "LOAD", "REPLACE", library("b"))
    both("FUNCTION", "LOAD", "REPLACE", "#!lua name=b\nnonsense")
    both("FUNCTION", "LIST", "WITHCODE")
    for name in "fgh":
        both("FCALL", name, 0)


STEPS = st.one_of(
    st.tuples(
        st.just("load"),
        st.booleans(),
        st.sampled_from("abcA"),
        st.lists(st.sampled_from("fghF"), unique=True, max_size=3),
    ),
    st.tuples(st.just("delete"), st.sampled_from("abcA")),
    st.tuples(st.just("dump")),
    st.tuples(st.just("restore"), st.integers(0, 3), st.sampled_from(("FLUSH", "APPEND", "REPLACE"))),
    st.tuples(st.just("flush")),
    st.tuples(st.just("call"), st.sampled_from("fghFGH")),
)


def test_any_sequence(both: Both) -> None:
    """Libraries that collide in all ways. Two functions of one library that differ by case are left out: of them
    Redis keeps the one that its hash table happens to give first."""

    @settings(max_examples=25 * PROOF, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(st.lists(STEPS, min_size=8, max_size=30))
    def run(steps: list[tuple[Any, ...]]) -> None:
        both.flush()
        dumps = [dump_functions([])]
        for kind, *rest in steps:
            if kind == "load":
                replace, name, functions = rest
                if len({each.lower() for each in functions}) == len(functions):
                    compare("FUNCTION", "LOAD", *["REPLACE"] * replace, library(name, *functions))
            elif kind == "delete":
                both("FUNCTION", "DELETE", rest[0])
            elif kind == "dump":
                dumps += [both.theirs("FUNCTION", "DUMP"), both.ours("FUNCTION", "DUMP")]
            elif kind == "restore":
                compare("FUNCTION", "RESTORE", dumps[-1 - rest[0] % len(dumps)], rest[1])
            elif kind == "flush":
                both.flush()
            else:
                both("FCALL", rest[0], 0)
            both("FUNCTION", "LIST", "WITHCODE")

    def compare(*words: Argument) -> None:
        """Where several names collide, which of them the error names is chance."""
        expected, got = both.theirs(*words), both.ours(*words)
        assert re.sub(r" \w+ already", " already", str(got)) == re.sub(r" \w+ already", " already", str(expected))

    run()


def test_they_stay_with_the_data_set(both: Both) -> None:
    """FLUSHALL leaves them; DEBUG RELOAD and what INFO tells of them."""
    both("FUNCTION", "LOAD", library("a", "f", "g"))
    both("FLUSHALL")
    both("FCALL", "g", 0)
    both("DEBUG", "RELOAD")
    both("FCALL", "g", 0)
    both("FUNCTION", "LIST", "WITHCODE")
    for name in ("number_of_functions", "number_of_libraries"):
        assert info(both.ours)[name] == info(both.theirs)[name]
    assert int(info(both.ours)["used_memory_vm_functions"]) > 10_000


def test_a_reload_that_keeps_what_is_there_takes_no_library_twice(both: Both) -> None:
    both("FUNCTION", "LOAD", library("a", "f"))
    for wire in (both.theirs, both.ours):
        assert wire("DEBUG", "RELOAD", "NOFLUSH").text.startswith("ERR Error trying to load the RDB")
    both("FUNCTION", "LOAD", library("b", "g"))
    both("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE")
    both("FUNCTION", "LIST", "WITHCODE")


def info(wire: Wire) -> dict[str, str]:
    lines = wire("INFO", "memory").decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def test_a_long_function(hexad_server: Any) -> None:
    """Others hear BUSY, STATS tells what runs, KILL ends it; not once it has written."""
    server = hexad_server(busy_reply_threshold=20)
    with server.wire() as wire, server.wire() as other:
        wire(
            "FUNCTION",
            "LOAD",
            """#!lua name=long
            redis.register_function('loop', function(keys)
                if not keys[1] then
                    while true do pcall(function() while true do end end) end
                end
                redis.call('set', keys[1], 1)
                local began = os.clock()
                while os.clock() - began < 1 do end
                return 'over'
            end)""",
        )
        replies: list[Any] = []
        caller = threading.Thread(target=lambda: replies.append(wire("FCALL", "loop", 0, "an argument")))
        caller.start()
        wait_until(lambda: other("PING") == BUSY, 10, "the function is slow")
        name, running, *_ = other("FUNCTION", "STATS")
        assert name == b"running_script"
        assert running[:4] == [b"name", b"loop", b"command", [b"FCALL", b"loop", b"0", b"an argument"]]
        assert running[4] == b"duration_ms" and running[5] >= 20
        assert other("SCRIPT", "KILL") == BUSY
        assert other("FUNCTION", "KILL") == "OK"
        caller.join()
        assert replies[0].text.startswith("ERR Script killed by user with FUNCTION KILL.")
        assert other("PING") == "PONG"

        caller = threading.Thread(target=lambda: replies.append(wire("FCALL", "loop", 1, "key")))
        caller.start()
        wait_until(lambda: other("PING") == BUSY, 10, "the function is slow again")
        assert other("FUNCTION", "KILL").code == "UNKILLABLE"
        caller.join()
        assert replies[1] == b"over"


def test_files_hold_them(servers: tuple[RedisServer, HexadServer], tmp_path: Any) -> None:
    """What one of the two has saved the other loads."""
    for first, second in ((HexadServer, RedisServer), (RedisServer, HexadServer)):
        directory = tmp_path / first.__name__
        directory.mkdir()
        with first(directory=directory) as server, server.wire() as wire:
            wire("FUNCTION", "LOAD", library("a", "f"))
            wire("FUNCTION", "LOAD", LONG)
            listed = normal(wire("FUNCTION", "LIST", "WITHCODE"))
            wire("SET", "key", "value")
            assert wire("SAVE") == "OK"
        with second(directory=directory) as server, server.wire() as wire:
            assert normal(wire("FUNCTION", "LIST", "WITHCODE")) == listed
            assert wire("FCALL", "f", 0) == b"a.f"
            assert wire("GET", "key") == b"value"


def test_cluster(redis_server: Any, hexad_server: Any) -> None:
    """Keys of functions are routed and refused as a script's are."""
    code = """#!lua name=a
    redis.register_function('get', function(keys, args) return redis.call('get', args[1] or keys[1]) end)
    redis.register_function{function_name='cross', flags={'allow-cross-slot-keys'},
        callback=function(keys, args) return redis.call('get', args[1]) end}
    redis.register_function{function_name='alone', flags={'no-cluster'}, callback=function() return 1 end}"""
    with redis_server(cluster_enabled="yes").wire() as theirs, hexad_server(cluster_enabled="yes").wire() as ours:
        both = Both(theirs, ours)
        for wire in (theirs, ours):
            assert wire("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
            wait_until(lambda wire=wire: b"cluster_state:ok" in wire("CLUSTER", "INFO"), 10, "the cluster is up")
        both("FUNCTION", "LOAD", code)
        both("FCALL", "get", 2, "a", "b")
        both("FCALL", "get", 2, "{a}1", "{a}2")
        both("FCALL", "get", 1, "a", "b")
        both("FCALL", "cross", 1, "a", "b")
        both("FCALL", "alone", 0)
        both("COMMAND", "GETKEYS", "FCALL", "get", 2, "a", "b", "c")
