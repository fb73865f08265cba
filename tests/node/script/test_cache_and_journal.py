"""The scripts a node knows, what a script leaves in the journal, and calls that keep their frames."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.net.resp import CommandError, RequestParser
from node.script.bytecode import keep_frames
from node.script.conversions import argument, whole_number
from node.script.scripts import EVALUATED_MAX, Cache, Flags, split_shebang
from tests.support.local import LocalNode


class Reader:
    """The journal's entries, as commands."""

    def __init__(self, node: LocalNode) -> None:
        self.entries: list[bytes] = []
        node.server.journal.add_reader(self)

    def take_entry(self, db: int, entry: bytes) -> None:
        parser = RequestParser(1 << 30)
        parser.feed(entry)
        (argv,) = parser.parse()
        self.entries.append(b"%d " % db + b" ".join(argv))

    def take(self) -> list[bytes]:
        taken, self.entries = self.entries, []
        return taken


JOURNALLED = [
    ("return 1", []),
    ("return redis.call('get','a')", []),
    ("return redis.call('set','a','1')", [b"0 set a 1"]),
    ("redis.call('set','a','1') redis.call('incr','a')", [b"0 MULTI", b"0 set a 1", b"0 incr a", b"0 EXEC"]),
    ("redis.call('set','a',1) error('x')", [b"0 set a 1"]),
    ("redis.call('set','a',1) redis.call('lpush','a',1)", [b"0 set a 1"]),
    ("redis.call('select',2) redis.call('set','a',1)", [b"2 set a 1"]),
    ("redis.call('setex','a',10,'x')", [b"0 SET a x PXAT 1800000010000"]),
    ("redis.call('set','a',1,'ex',10) return redis.call('time')", [b"0 SET a 1 PXAT 1800000010000"]),
    ("redis.set_repl(redis.REPL_NONE) redis.call('set','a',1)", []),
    ("redis.set_repl(redis.REPL_REPLICA) redis.call('set','a',1)", []),
    ("redis.set_repl(redis.REPL_AOF) redis.call('set','a',1)", [b"0 set a 1"]),
    ("redis.call('set','a',1) redis.set_repl(0) redis.call('set','b',1)", [b"0 set a 1"]),
]


@pytest.mark.parametrize(("program", "entries"), JOURNALLED)
def test_effects_are_one_unit(program: str, entries: list[bytes]) -> None:
    node = LocalNode()
    reader, client = Reader(node), node.client()
    client.raw("EVAL", program, 0)
    assert [entry.upper() for entry in reader.take()] == [entry.upper() for entry in entries]
    client.raw("SET", "after", "x")
    assert reader.take() == [b"0 SET after x"], "neither the database nor whom effects are for is kept"


def test_in_a_transaction_all_is_one_unit() -> None:
    node = LocalNode()
    reader, client = Reader(node), node.client()
    for line in ("MULTI", "SET a 1", "EVAL redis.call('set','b',1)redis.call('set','c',1) 0", "SET d 1", "EXEC"):
        client.raw(*line.split())
    assert reader.take() == [b"0 MULTI", b"0 SET a 1", b"0 set b 1", b"0 set c 1", b"0 SET d 1", b"0 EXEC"]


def test_who_waits_is_served_after_the_script_and_the_script_itself_never_waits() -> None:
    node = LocalNode()
    waits, pushes = node.client(), node.client()
    assert waits.raw("BLPOP", "l", 0) == b""
    reply = pushes.raw("EVAL", "redis.call('rpush','l','a') return redis.call('llen','l')", 0)
    assert reply == b":1\r\n" and bytes(waits.session.out) == b"*2\r\n$1\r\nl\r\n$1\r\na\r\n"
    assert pushes.raw("EVAL", "return redis.call('blpop','l',0)", 0) == b"$-1\r\n"
    assert pushes.raw("PING") == b"+PONG\r\n"


def test_calls_are_counted_whatever_way_they_take() -> None:
    node = LocalNode()
    client, watcher = node.client(), node.client()
    program = "for i=1,3 do redis.call('incr','n') redis.call('InCr','n') end return redis.pcall('lpush','n',1)"
    assert client.raw("EVAL", program, 0).startswith(b"-WRONGTYPE")
    watcher.raw("MONITOR")
    watcher.session.out.clear()
    client.raw("EVAL", program, 0)
    assert bytes(watcher.session.out).count(b' lua] "') == 7, "who monitors sees the commands of scripts"
    stats = client.raw("INFO", "commandstats").split()
    (incr,) = [line for line in stats if line.startswith(b"cmdstat_incr:")]
    (lpush,) = [line for line in stats if line.startswith(b"cmdstat_lpush:")]
    assert incr.startswith(b"cmdstat_incr:calls=12,") and lpush.endswith(b",failed_calls=2")
    assert client.raw("GET", "n") == b"$2\r\n12\r\n"
    refused = client.raw("EVAL_RO", "return redis.call('incr','n')", 0)
    assert refused.startswith(b"-ERR Write commands are not allowed from read-only scripts.")


def test_a_session_is_as_it_was() -> None:
    node = LocalNode()
    client = node.client()
    client.raw("HELLO", 3)
    client.raw("SELECT", 1)
    for program in (
        "redis.call('select',5) error('x')",
        "redis.setresp(2) return redis.call('select',5)",
        "redis.call('nosuch')",
    ):
        client.raw("EVAL", program, 0)
        assert client.session.resp3 and client.session.may_block and client.session.db.index == 1
    client.raw("HSET", "h", "f", "v")
    assert client.raw("EVAL", "return redis.call('hgetall','h')", 0) == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert client.raw("EVAL", "redis.setresp(3) return redis.call('hgetall','h')", 0) == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"


def test_evaluated_scripts_are_forgotten_the_oldest_first() -> None:
    compiled: list[bytes] = []
    cache = Cache(lambda text: compiled.append(text))
    loaded = cache.load(b"loaded").sha
    first = cache.of_text(b"return 0").sha
    for number in range(EVALUATED_MAX):
        cache.of_text(b"return %d" % number)
        assert cache.of_sha(first) is not None, "it was used just now"
    cache.of_text(b"one more")
    assert len(cache) == EVALUATED_MAX + 1 and cache.evicted == 1
    assert cache.knows(loaded.upper()) and cache.knows(first) and not cache.knows(cache.of_text(b"x").sha[::-1])
    assert cache.size_bytes > 0 and compiled.count(b"return 0") == 1
    cache.clear()
    assert not len(cache) and cache.of_sha(loaded) is None


def test_monitors_see_the_script_first_and_whose_commands_are_its_own() -> None:
    node = LocalNode()
    sees, runs = node.client(), node.client()
    sees.raw("MONITOR")
    runs.raw("EVAL", "return redis.call('get',KEYS[1])", 1, "k")
    first, second = bytes(sees.session.out).splitlines()[-2:]
    assert first.endswith(b'"k"') and b'] "EVAL" ' in first
    assert second.endswith(b'[0 lua] "get" "k"')


def test_info_tells_of_scripts() -> None:
    client = LocalNode().client()
    assert b"number_of_cached_scripts:0\r\n" in client.raw("INFO", "memory")
    client.raw("SCRIPT", "LOAD", "return 1")
    text = client.raw("INFO", "memory")
    assert b"number_of_cached_scripts:1\r\n" in text and b"used_memory_vm_eval:0\r\n" not in text
    client.raw("SCRIPT", "FLUSH")
    assert b"number_of_cached_scripts:0\r\n" in client.raw("INFO", "memory")


def test_flags() -> None:
    assert split_shebang(b"return 1") == (Flags(allow_cross_slot_keys=True), b"return 1")
    flags, text = split_shebang(b"#!lua flags=no-writes,allow-oom\nx")
    assert flags == Flags(declared=True, no_writes=True, allow_oom=True) and text == b"\nx"
    for bad in (b"#!lua", b"#!\nx", b"#!py\nx", b"#!lua x=y\nx", b"#!lua flags=x\nx"):
        with pytest.raises(CommandError):
            split_shebang(bad)


@given(st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70)))
def test_numbers_go_over_as_they_are(number: Any) -> None:
    text = argument(float(number))
    assert text is not None and float(text) == float(number)
    whole = whole_number(float(number))
    assert -(2**63) <= whole < 2**63
    if abs(number) < 2**53:
        assert whole == int(float(number))


RETURNS = ["f(1)", "redis.call(1)", "a.b.call(1)", "call(f(2), f(3))", "(f(1))", "f(1), 2", "a:call(1)"]
SHAPES = [
    "return {}",
    "local x = 1 return {}",
    "local function g() return {} end return g()",
    "if f(1) then return {} end",
]


@settings(max_examples=60)
@given(st.sampled_from(SHAPES), st.sampled_from(RETURNS))
def test_kept_frames_change_nothing_else(shape: str, returned: str) -> None:
    """The changed program gives what the unchanged one gives."""
    from lupa.lua51 import LuaRuntime

    lua: Any = LuaRuntime(encoding=None)
    lua.execute("function f(...) return ... end call = f redis = {call = f} a = {b = redis, call = f}")
    text = shape.format(returned).encode()
    dumped = lua.eval("string.dump(loadstring(...))", text)
    changed = keep_frames(dumped)
    assert len(changed) == len(dumped)
    run = lua.eval("function(code) local t = {pcall(loadstring(code))} return #t, tostring(t[2]), tostring(t[3]) end")
    mine, other = run(changed), run(dumped)
    assert [str(value)[:9] for value in mine] == [str(value)[:9] for value in other]


def test_what_needs_memory_where_there_is_none() -> None:
    client = LocalNode().client()
    client.raw("SET", "a", "x" * 100)
    client.raw("CONFIG", "SET", "maxmemory", 1)
    write = "return redis.call('set','b','x')"
    assert client.raw("EVAL", write, 0).startswith(b"-OOM command not allowed when used memory > 'maxmemory'.")
    assert client.raw("EVAL", "return redis.call('get','a')", 0).startswith(b"$100")
    assert client.raw("EVAL", "redis.call('del','a') " + write, 0) == b"+OK\r\n", "it has begun to write"
    assert client.raw("EVAL", "#!lua\nreturn 1", 0).startswith(b"-OOM allow-oom flag is not set on the script")
    assert client.raw("EVAL", "#!lua flags=allow-oom\n" + write, 0) == b"+OK\r\n"
