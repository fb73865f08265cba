"""COMMAND beside a real server: every command that both have is described alike, but for a table of differences."""

from collections.abc import Iterator
from typing import Any

import pytest

from node import app
from node.app import every_spec
from node.commands.command import key_range
from node.config import Config
from node.log import Log
from node.net.resp import OK
from node.platform import Platform
from node.table import MOVABLE_KEYS, Command, CommandTable, Registry, _key_spec
from tests.support import HexadServer, RedisServer, ReplyError, RespMap, RespSet, Simple, Wire, encode

NAME, ARITY, FLAGS, FIRST, LAST, STEP, ACL, TIPS, KEYS, SUBCOMMANDS = range(10)

SPECS = {spec.name: spec for spec in every_spec()}

BLOCKING_POPS = (
    "blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin", "xread", "xreadgroup",
)  # fmt: skip

CHANGED_IN_7_2 = {
    **{name: {FLAGS} for name in BLOCKING_POPS},  # open to scripts, where they do not wait, since 7.2
    **{f"acl|{name}": {TIPS} for name in ("deluser", "save", "setuser")},  # proxies may send them to all nodes
    "command|getkeys": {ARITY},  # -3 since 7.2, -4 before
    "command|getkeysandflags": {ARITY},
    "client|setname": {TIPS},  # proxies may send it to all nodes, 7.2 says
    "config|rewrite": {TIPS},  # likewise
    "config|resetstat": {TIPS},  # likewise
    "cluster|shards": {FLAGS},  # answered while loading since 7.2
    "cluster|slots": {FLAGS},
    "debug": {FLAGS},  # its "protected" is shown since 7.2
    "latency|reset": {TIPS},
    **{f"module|{name}": {FLAGS} for name in ("load", "loadex", "unload")},  # likewise
    "msetnx": {TIPS},
    "randomkey": {TIPS},
    "scan": {TIPS},
    "sinterstore": {KEYS},  # its destination is only written
    "zrank": {ARITY},  # WITHSCORE came with 7.2
    "zrevrank": {ARITY},
    "wait": {FLAGS, ACL},  # blocking, and open to scripts, since 7.2
}
"""Where 7.2 differs from the 7.0 beside which the tests run."""


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RedisServer, HexadServer]]:
    with RedisServer() as theirs, HexadServer() as ours:
        yield theirs, ours


@pytest.fixture
def wires(servers: tuple[RedisServer, HexadServer]) -> Iterator[tuple[Wire, Wire]]:
    with servers[0].wire(protocol=3) as theirs, servers[1].wire(protocol=3) as ours:
        yield theirs, ours


def members(value: Any) -> list[Any]:
    """The members of a set in a fixed order."""
    assert isinstance(value, RespSet)
    return sorted(value.members, key=repr)


def flatten(entries: list[Any]) -> dict[str, list[Any]]:
    """Descriptions by full name, subcommands too; sets in a fixed order."""
    found: dict[str, list[Any]] = {}
    for entry in entries:
        subcommands = entry[SUBCOMMANDS]
        inner = subcommands.members if isinstance(subcommands, RespSet) else subcommands
        found.update(flatten(inner))
        shown = list(entry[:SUBCOMMANDS])
        for field in (FLAGS, ACL, TIPS):
            shown[field] = members(shown[field])
        shown[KEYS] = [[pair for pair in spec.pairs if pair[0] != b"notes"] for spec in shown[KEYS].members]
        found[entry[NAME].decode()] = shown
    return found


def test_descriptions(wires: tuple[Wire, Wire]) -> None:
    theirs, ours = (flatten(wire("COMMAND")) for wire in wires)
    assert {"get", "client|kill", "command", "hello"} <= ours.keys()
    for name in ours.keys() & theirs.keys():
        for field in range(SUBCOMMANDS):
            if field not in CHANGED_IN_7_2.get(name, ()):
                assert ours[name][field] == theirs[name][field], (name, field)


def test_descriptions_byte_by_byte(wires: tuple[Wire, Wire]) -> None:
    for protocol in (3, 2):
        for wire in wires:
            wire("HELLO", protocol)
        theirs, ours = (wire.raw("COMMAND", "INFO", "GET", "client|KILL", "ping", "nope") for wire in wires)
        assert ours == theirs


def test_without_a_word_and_info_without_names_tell_all(wires: tuple[Wire, Wire]) -> None:
    _, ours = wires
    everything = ours("COMMAND")
    assert ours("COMMAND", "INFO") == everything
    assert ours("COMMAND", "COUNT") == len(everything)


def test_lists(wires: tuple[Wire, Wire]) -> None:
    theirs, ours = (set(wire("COMMAND", "LIST")) for wire in wires)
    both = ours & theirs
    assert b"client|kill" in both and b"command" in both
    for words in (["ACLCAT", "connection"], ["aclcat", "READ"], ["PATTERN", "c*t"], ["PATTERN", "CLIENT|*"]):
        listed_theirs, listed_ours = (set(wire("COMMAND", "LIST", "FILTERBY", *words)) for wire in wires)
        assert listed_ours & both == listed_theirs & both, words
        assert listed_ours and listed_ours <= ours


def test_docs_are_there_for_what_is_there(wires: tuple[Wire, Wire]) -> None:
    theirs, ours = (wire("COMMAND", "DOCS", "get", "CLIENT|kill", "nope") for wire in wires)
    assert [name for name, _ in ours.pairs] == [name for name, _ in theirs.pairs]
    kill = ours[b"client|kill"]
    assert isinstance(kill, RespMap) and kill[b"since"] == b"2.4.0" and kill[b"group"] == b"connection"
    assert kill[b"arguments"] and isinstance(kill[b"history"], RespSet)
    everything = wires[1]("COMMAND", "DOCS")
    assert {name.decode() for name, _ in everything.pairs} == {name for name in SPECS if "|" not in name}


def test_help(wires: tuple[Wire, Wire]) -> None:
    for container in ("CLIENT", "COMMAND"):
        theirs, ours = (wire(container, "HELP") for wire in wires)
        assert ours[0] == theirs[0] and ours[-2] == theirs[-2]
        assert all(isinstance(line, Simple) for line in ours)


def test_getkeys_of_one_that_has_none(wires: tuple[Wire, Wire]) -> None:
    """7.2's words for it: 7.0 wanted one word more before it looked."""
    _, ours = wires
    assert ours("COMMAND", "GETKEYS", "PING") == ReplyError("ERR The command has no key arguments")
    assert ours("COMMAND", "GETKEYS", "NOPE") == ReplyError("ERR Invalid command specified")
    assert ours("COMMAND", "GETKEYS", "GET") == ReplyError("ERR Invalid number of arguments specified for command")


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ("", (0, 0, 0)),
        ("@1/range:0:1:0/RO", (1, 1, 1)),
        ("@1/range:-1:2:0/OW", (1, -1, 2)),
        ("@2/range:-2:1:0/RW", (2, -2, 1)),
        ("@1/range:0:1:0/RW @2/range:0:1:0/RW", (1, 2, 1)),
        ("@1/range:0:1:0/OW @2/range:-1:1:0/RO", (1, -1, 1)),
        ("@1/range:0:1:0/OW @3/range:0:1:0/RO", (1, 1, 1)),
        ("@1/range:0:1:0/OW @2/keynum:0:1:1/RO", (1, 1, 1)),
        ("@2/keynum:0:1:1/RO", (0, 0, 0)),
        ("STREAMS@1/range:-1:1:2/RO", (0, 0, 0)),
        ("?/?/RO", (0, 0, 0)),
    ],
)
def test_key_ranges_for_old_clients(specs: str, expected: tuple[int, int, int]) -> None:
    assert key_range(tuple(map(_key_spec, specs.split()))) == expected


def test_every_declared_command_can_be_described(wires: tuple[Wire, Wire]) -> None:
    described = flatten(wires[1]("COMMAND"))
    assert described.keys() == SPECS.keys()
    assert all(described[name][ARITY] == Command(spec).arity for name, spec in SPECS.items())


# --- keys of commands whose families are declared elsewhere: their facts, this module's logic -------------------------

STAND_INS = Registry()
for _name, _arity, _flags, _keys in (
    ("mset", -3, "write denyoom", "@1/range:-1:2:0/OW+UPDATE"),
    ("rename", 3, "write", "@1/range:0:1:0/RW+ACCESS+DELETE @2/range:0:1:0/OW+UPDATE"),
    ("bitop", -4, "write denyoom", "@2/range:0:1:0/OW+UPDATE @3/range:-1:1:0/RO+ACCESS"),
    ("blpop", -3, "write blocking", "@1/range:-2:1:0/RW+ACCESS+DELETE"),
    ("zunionstore", -4, "write denyoom", "@1/range:0:1:0/OW+UPDATE @2/keynum:0:1:1/RO+ACCESS"),
    ("eval", -3, "noscript stale may_replicate no_mandatory_keys", "@2/keynum:0:1:1/RW+ACCESS+UPDATE"),
    ("xread", -4, "blocking readonly", "STREAMS@1/range:-1:1:2/RO+ACCESS"),
    ("georadius_ro", -6, "readonly", "@1/range:0:1:0/RO+ACCESS"),
    ("object|encoding", 3, "readonly", "@2/range:0:1:0/RO"),
    ("publish", 3, "pubsub loading stale fast may_replicate", ""),
    ("spublish", 3, "pubsub loading stale fast may_replicate", "@1/range:0:1:0/NOT_KEY"),
    ("bitfield", -2, "write denyoom", "@1/range:0:1:0/RW+UPDATE+ACCESS+VARIABLE_FLAGS"),
):
    if "|" in _name:
        STAND_INS.container(_name.partition("|")[0])
    STAND_INS.command(_name, _arity, _flags, keys=_keys)(lambda _client, _argv: OK)

KEY_LINES = [
    "mset a 1 b 2 c 3",
    "rename a b",
    "bitop and d a b c",
    "blpop a b c 5",
    "zunionstore d 2 a b weights 1 2",
    "zunionstore d 0 a b",
    "zunionstore d 9 a b",
    "zunionstore d x a b",
    "eval s 2 a b c",
    "eval s 0",
    "eval s 5 a",
    "eval s x a",
    "xread streams a b 1 2",
    "xread count 2 STREAMS a 1",
    "xread count 2 nothing a b",
    "object encoding a",
    "publish a b",
    "spublish a b",
    "bitfield a get u8 0",
    "bitfield a set u8 0 1",
    "bitfield a incrby u8 0 1",
    "set a b",
    "set a b ex 5 get",
    "get a",
]


@pytest.mark.parametrize("line", KEY_LINES)
def test_keys_of_a_command_line(wires: tuple[Wire, Wire], line: str) -> None:
    theirs, _ = wires
    platform = Platform()
    server = app.build(platform, Config(), Log(platform, lambda _text: None))
    own = [spec for name, spec in SPECS.items() if name.startswith(("command", "get", "set"))]
    stand_ins = [spec for name, spec in STAND_INS.specs.items() if name not in {one.name for one in own}]
    server.commands = CommandTable([*own, *stand_ins])
    server.words = server.commands.by_word
    try:
        for subcommand in ("GETKEYS", "GETKEYSANDFLAGS"):
            session = server.new_session()
            session.resp3 = True
            session.receive(encode("COMMAND", subcommand, *line.split()))
            assert bytes(session.out) == theirs.raw("COMMAND", subcommand, *line.split()), subcommand
        described = flatten(theirs("COMMAND", "INFO", line.split()[0]))
        for name, shown in described.items():
            found = server.commands.top.get(name)
            if found is not None and name != "object":
                first = [shown[FIRST], shown[LAST], shown[STEP]]
                assert list(key_range(found.spec.keys)) == first
                movable = Simple("movablekeys") in shown[FLAGS]
                assert bool(found.flags & MOVABLE_KEYS) == movable
    finally:
        server.reactor.close()
