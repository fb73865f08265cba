"""Inputs that nobody would send, and what takes them: the protocol, ACL rules, Lua sources and configuration lines.

Each kind builds its inputs from the pieces of its own language and from noise, by one seed, and hands them to the code
that meets a stranger's bytes. An exception that is not the refusal of that code is a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

from node.acl.file import FileRefused, read_users
from node.acl.users import RefusedRule, UnmatchedParenthesis
from node.config import DIRECTIVES, Config, ConfigError, ConfigFileError
from node.config.errors import ConfigSetError
from node.script.running import KILLED
from tests.node.script.programs import PROGRAMS
from tests.support.local import LocalClient, LocalNode
from tests.support.wire import encode

FLUSH_AFTER = 500
"""How many inputs a node takes before its keys and scripts are forgotten."""
TICKS_MAX = 2
"""So often a script is asked whether it goes on before it is ended."""

Fuzzer = Callable[[Random, int], None]
"""(luck, how many inputs)"""

WORDS = (
    b"0", b"1", b"-1", b"10", b"9223372036854775807", b"-9223372036854775808", b"1.5", b"inf", b"nan", b"", b"a", b"b",
    b"{a}1", b"(1", b"[a", b"+", b"-", b"$", b">", b"*", b"NX", b"XX", b"GT", b"EX", b"PX", b"COUNT",
    b"LIMIT", b"MATCH",
    b"WITHSCORES", b"STREAMS", b"BLOCK", b"GROUP", b"BY", b"GET", b"STORE", b"LEFT", b"RIGHT", b"KEYS", b"WEIGHTS",
    b"AGGREGATE", b"FROMMEMBER", b"BYRADIUS", b"m", b"u8", b"#0", b"OVERFLOW", b"ID", b"help", b"\r\n",
    b"\0\xff", b"x" * 600,
)  # fmt: skip
LEFT_OUT = (
    b"bgrewriteaof", b"bgsave", b"debug", b"config", b"failover", b"migrate", b"pfselftest", b"psync",
    b"replicaof", b"save",
    b"shutdown", b"slaveof", b"sync",
)  # fmt: skip
"""What needs files or other nodes, which a node without sockets has not, or seconds."""


def new_node() -> LocalNode:
    node = LocalNode()
    commands = node.server.commands
    for name in LEFT_OUT:
        if commands.find(name) is not None:
            commands.rename(name, b"")
    return node


def mutated(luck: Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, lost, doubled or moved."""
    out = bytearray(data)
    for _ in range(luck.randrange(4)):
        at = luck.randrange(len(out) + 1)
        match luck.randrange(4):
            case 0:
                out[at : at + luck.randrange(4)] = b""
            case 1:
                out[at:at] = luck.randbytes(luck.randrange(1, 5))
            case 2:
                out[at:at] = out[max(0, at - luck.randrange(30)) : at]
            case _:
                out[at : at + 1] = luck.choice(b"\r\n*$:-+0123456789 \"'(){}[]~%").to_bytes()
    return bytes(out)


def _noise(luck: Random, names: list[bytes]) -> bytes:
    """A few commands as a client sends them, or nearly so."""
    parts = []
    for _ in range(luck.randrange(1, 4)):
        name = luck.choice(names).split(b"|")
        words = [*name, *luck.choices(WORDS, k=luck.randrange(7))]
        line = encode(*words) if luck.random() < 0.9 else b" ".join(words) + b"\r\n"
        parts.append(mutated(luck, line) if luck.random() < 0.4 else line)
    return b"".join(parts)


def _names(node: LocalNode) -> list[bytes]:
    """All commands with their subcommands, but for the one that makes everybody wait."""
    every = [command.full_name.encode() for command in node.server.commands.every()]
    return [name for name in every if name.split(b"|")[0] not in LEFT_OUT and name != b"client|pause"]


def fuzz_protocol(luck: Random, rounds: int) -> None:
    """Bytes to a session, whole or in two parts. The next client finds a node that answers."""
    node = new_node()
    names = _names(node)
    client = node.client()
    for number in range(rounds):
        if client.session.closing or client.session.parked is not None or luck.random() < 0.05:
            client.session.lost("over")
            client = node.client()
        _feed(luck, node, client, _noise(luck, names))
        if number % FLUSH_AFTER == 0:
            _restore(node)
    client.session.lost("over")


def _feed(luck: Random, node: LocalNode, client: LocalClient, data: bytes) -> None:
    session, cut = client.session, luck.randrange(len(data) + 1) if luck.random() < 0.3 else len(data)
    node.server.read_clock()
    for part in (data[:cut], data[cut:]):
        session.receive(part)
        while session.more:
            session.proceed()
    node.server.before_send()
    session.out.clear()


RESTORING = (
    "CLIENT UNPAUSE", "FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH", "ACL LOG RESET", "SLOWLOG RESET", "LATENCY RESET",
)  # fmt: skip


def _restore(node: LocalNode) -> None:
    """No keys, no scripts, no users but the first, and time for what frees memory in slices."""
    other = node.client()
    for line in RESTORING:
        other.raw(*line.split())
    for user in node.server.access.users.sorted():
        if user.name != b"default":
            other.raw("ACL", "DELUSER", user.name)
    other.raw("ACL", "SETUSER", "default", "reset", "on", "nopass", "+@all", "~*", "&*")
    other.session.lost("over")
    node.pass_ms(1000)
    witness = node.client()
    assert witness.raw("PING") == b"+PONG\r\n"
    assert witness.raw("DBSIZE") == b":0\r\n"
    witness.session.lost("over")


ACL_PIECES = (
    b"on", b"off", b"nopass", b"reset", b"allkeys", b"~", b"%R~", b"%RW~", b"&", b"+", b"-", b"+@", b"-@",
    b"all", b"get",
    b"config", b"|", b"read", b"select|0", b">", b"<", b"#", b"!", b"(", b")", b"*", b"[", b"]", b"\\", b" ",
    b"\n", b'"',
    b"clearselectors", b"resetpass", b"resetkeys", b"sanitize-payload", b"\0", b"\xff", b"f" * 64,
)  # fmt: skip


def fuzz_acl(luck: Random, rounds: int) -> None:
    """Rules for a user, and files of users: taken or refused, and what was taken can be said again."""
    users = new_node().server.access.users
    for _ in range(rounds):
        rules = [b"".join(luck.choices(ACL_PIECES, k=luck.randrange(6))) for _ in range(luck.randrange(5))]
        user = users.new(b"u")
        with suppress(RefusedRule, UnmatchedParenthesis):
            user.apply_all(rules)
        again = users.new(b"u")
        again.apply_all(user.rules().split(b" "))
        assert again.line() == user.line(), rules
        with suppress(FileRefused):
            read_users(mutated(luck, b"user u " + b" ".join(rules)), "f", users)


LUA_PIECES = (
    b"redis.call(", b"redis.pcall(", b"'set','a',1", b"'get',KEYS[1]", b"ARGV[1]", b"local t={}",
    b"t[#t+1]=", b"for i=1,9 do ",
    b" end ", b"while true do ", b"if ", b" then ", b"return ", b"function() ", b"pcall(", b"error(",
    b"string.rep('x',",
    b"string.format(", b"cjson.decode(", b"cjson.encode(", b"cmsgpack.unpack(", b"struct.pack(",
    b"bit.lshift(", b"'\\255%s'",
    b"{", b"}", b")", b",", b"1e9", b"-1", b"nil", b"'", b"\"", b"..", b"[[", b"]]", b"--", b"\n", b"\x1bLua", b"\0",
    b"coroutine.wrap(", b"setmetatable(", b"_G", b"getfenv", b"loadstring(", b"unpack(", b"redis.setresp(3)", b"goto x",
    b"#!lua flags=", b"tostring(", b"string.gsub(", b"table.concat(", b"table.sort(",
)  # fmt: skip


def _lua(luck: Random, programs: list[bytes]) -> bytes:
    if luck.random() < 0.6:
        return mutated(luck, luck.choice(programs))
    return b"".join(luck.choices(LUA_PIECES, k=luck.randrange(1, 9)))


def fuzz_lua(luck: Random, rounds: int) -> None:
    """Scripts to EVAL, and libraries to FUNCTION LOAD; the node, and its next script, are as before."""
    node = new_node()
    programs = [line.encode() for line in PROGRAMS]
    _make_impatient(node)
    client = node.client()
    for number in range(rounds):
        source = _lua(luck, programs)
        if luck.random() < 0.1:
            client.raw("FUNCTION", "LOAD", "REPLACE", b"#!lua name=l\n" + source)
        else:
            client.raw("EVAL", source, 1, "a", "b", "c")
        if number % FLUSH_AFTER == 0:
            _restore(node)
            assert client.raw("EVAL", "return {KEYS[1], #ARGV, type(redis.call)}", 1, "k", "x") == (
                b"*3\r\n$1\r\nk\r\n:1\r\n$8\r\nfunction\r\n"
            )


def _make_impatient(node: LocalNode) -> None:
    """A script is ended as SCRIPT KILL would, after so many ticks of its hook instead of some seconds."""
    scripts, ticks = node.server.scripts, [0, 0]

    def tick() -> bytes | None:
        run = id(scripts.running)
        ticks[:] = [run, ticks[1] + 1 if ticks[0] == run else 1]
        if ticks[1] <= TICKS_MAX:
            return None
        if scripts.running is not None:
            scripts.running.killed = KILLED
        return KILLED

    scripts.tick = tick  # type: ignore[method-assign]


CONFIG_PIECES = (
    b"yes", b"no", b"0", b"1", b"-1", b"100mb", b"1gb", b"10%", b"9223372036854775808", b"900 1 300 10",
    b"normal 0 0 0",
    b"replica 256mb 64mb 60", b'"', b"'", b"\\x41", b"\\", b" ", b"\t", b"#", b"", b"everysec",
    b"allkeys-lru", b"KEA", b"*",
    b"127.0.0.1 6379", b"user u on", b"rename-command GET G", b"a.b", b"\xff", b"\0", b"save",
)  # fmt: skip


def _nothing_there(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def _lines(luck: Random, names: list[str]) -> Iterator[bytes]:
    for _ in range(luck.randrange(1, 4)):
        line = luck.choice(names).encode() + b" " + b" ".join(luck.choices(CONFIG_PIECES, k=luck.randrange(4)))
        yield mutated(luck, line) if luck.random() < 0.5 else line


def fuzz_configuration(luck: Random, rounds: int) -> None:
    """Files at a start, and CONFIG SET: taken whole or refused whole; what was taken can be written and read again."""
    names, living = sorted(DIRECTIVES), Config()
    for _ in range(rounds):
        text = b"\n".join(_lines(luck, names)).decode("utf-8", "surrogateescape")
        with suppress(ConfigFileError):
            config = Config.load(stdin=text, read_file=_nothing_there, find_files=lambda _pattern: [])
            _written_and_read(config)
        name = luck.choice(names)
        before = living.text(DIRECTIVES[name].name)
        value = b" ".join(luck.choices(CONFIG_PIECES, k=luck.randrange(3))).decode("utf-8", "surrogateescape")
        try:
            living.set([(name, value)], is_local=True)
        except (ConfigSetError, ConfigError):
            assert living.text(DIRECTIVES[name].name) == before, (name, value)


def _written_and_read(config: Config) -> None:
    text = config.rewrite("")
    again = Config.load(stdin=text, read_file=_nothing_there, find_files=lambda _pattern: [])
    assert again.get(["*"]) == config.get(["*"]), text


FUZZERS: dict[str, Fuzzer] = {
    "protocol": fuzz_protocol,
    "ACL strings": fuzz_acl,
    "Lua sources": fuzz_lua,
    "configuration": fuzz_configuration,
}
