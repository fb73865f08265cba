"""The documentation of commands, beside what Debian's redis-server 7.0 says of the same ones.

Facts must be equal: names, types, tokens, flags, versions. Wording must not be: it is ours. The tables below hold what
7.2 changed since; where 7.0 is silent (display_text, the commands that came later) only our own files are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from node.commands.docs import ARGUMENT_TYPES, HOLDER_TYPES, Argument, Doc, docs_reply, load
from node.commands.help import TEXTS, describe, help_lines
from tests.support import HexadServer, RedisServer
from tests.support.servers import Server
from tests.support.wire import ReplyError, RespMap, RespSet, Simple

# Names that 7.2 gave to arguments: "name()" is a holder, "name=TOKEN" an argument with a token, "name" any other.
RENAMED: dict[str, dict[str, str]] = {
    "acl|cat": {"categoryname": "category"},
    "bitcount": {"index()": "range", "index_unit()": "unit"},
    "bitfield": {
        "encoding_offset()": "get-block",
        "wrap_sat_fail()": "overflow-block",
        "write_operation()": "write-operation",
        "encoding_offset_value()": "set-block",
        "encoding_offset_increment()": "incrby-block",
    },
    "bitfield_ro": {"encoding_offset()": "get-block"},
    "bitpos": {"index()": "range", "end_index()": "end-unit-block", "index_unit()": "unit"},
    "client|reply": {"on_off_skip()": "action"},
    "client|unblock": {"timeout_error()": "unblock-type"},
    "cluster|addslotsrange": {"start-slot_end-slot()": "range"},
    "cluster|delslotsrange": {"start-slot_end-slot()": "range"},
    "cluster|meet": {"cluster_bus_port": "cluster-bus-port"},
    "cluster|reset": {"hard_soft()": "reset-type"},
    "cluster|setslot": {"node-id=IMPORTING": "importing", "node-id=MIGRATING": "migrating", "node-id=NODE": "node"},
    "config|set": {"parameter_value()": "data"},
    "flushall": {"async()": "flush-type"},
    "flushdb": {"async()": "flush-type"},
    "function|flush": {"async()": "flush-type"},
    "geoadd": {"longitude_latitude_member()": "data"},
    "georadius_ro": {"count()": "count-block"},
    "georadiusbymember_ro": {"count()": "count-block"},
    "geosearch": {"longitude_latitude()": "fromlonlat", "count()": "count-block"},
    "geosearchstore": {"longitude_latitude()": "fromlonlat", "count()": "count-block"},
    "hello": {"username_password()": "auth"},
    "hmset": {"field_value()": "data"},
    "hset": {"field_value()": "data"},
    "lcs": {"len=MINMATCHLEN": "min-match-len"},
    "migrate": {
        "key_or_empty_string()": "key-selector",
        "empty_string=": "empty-string",
        "password=AUTH": "auth",
        "username_password()": "auth2",
        "key=KEYS": "keys",
    },
    "mset": {"key_value()": "data"},
    "msetnx": {"key_value()": "data"},
    "script|flush": {"async()": "flush-type"},
    "sentinel|debug": {"parameter_value()": "data"},
    "sentinel|set": {"option_value()": "data"},
    "shutdown": {"nosave_save()": "save-selector"},
    "sort": {"pattern=BY": "by-pattern", "pattern=GET": "get-pattern", "offset_count()": "limit"},
    "sort_ro": {"pattern=BY": "by-pattern", "pattern=GET": "get-pattern", "offset_count()": "limit"},
    "xadd": {"id_or_auto()": "id-selector", "auto_id=*": "auto-id", "field_value()": "data"},
    "xclaim": {"id=LASTID": "lastid"},
    "xgroup|create": {
        "groupname": "group",
        "id()": "id-selector",
        "new_id=$": "new-id",
        "entries_read=ENTRIESREAD": "entriesread",
    },
    "xgroup|createconsumer": {"groupname": "group", "consumername": "consumer"},
    "xgroup|delconsumer": {"groupname": "group", "consumername": "consumer"},
    "xgroup|destroy": {"groupname": "group"},
    "xgroup|setid": {
        "groupname": "group",
        "id()": "id-selector",
        "new_id=$": "new-id",
        "entries_read=ENTRIESREAD": "entriesread",
    },
    "xinfo|consumers": {"groupname": "group"},
    "xreadgroup": {"group_consumer()": "group-block"},
    "xsetid": {"entries_added=ENTRIESADDED": "entries-added", "max_deleted_entry_id=MAXDELETEDID": "max-deleted-id"},
    "zadd": {"score_member()": "data"},
    "zrange": {"offset_count()": "limit"},
    "zrangebylex": {"offset_count()": "limit"},
    "zrangebyscore": {"offset_count()": "limit"},
    "zrangestore": {"offset_count()": "limit"},
    "zrevrangebylex": {"offset_count()": "limit"},
    "zrevrangebyscore": {"offset_count()": "limit"},
}
# Commands whose arguments 7.2 arranges otherwise than 7.0.
RESHAPED = {
    "bitop",  # the operation is a choice
    "client|kill",  # every filter has its own name, SKIPME is a choice
    "client|list",  # ID takes several numbers without a block
    "georadius",  # STORE and STOREDIST are a choice
    "georadiusbymember",  # the same
    "psubscribe",  # no block around the patterns
    "sentinel|simulate-failure",  # its words have tokens
    "xinfo|stream",  # FULL is a word of its own
    "zrank",  # WITHSCORE
    "zrevrank",  # WITHSCORE
}
DEPRECATED_IN_72 = {"quit": "7.2.0", "setex": "2.6.12", "psetex": "2.6.12", "setnx": "2.6.12"}
TIPS_CHANGED = {"acl|deluser", "acl|save", "acl|setuser", "client|setname", "config|resetstat", "config|rewrite"} | {
    "latency|reset",
    "msetnx",
    "randomkey",
    "scan",
}
SINCE_IN_72 = {"client|pause": "3.0.0"}
COMPLEXITY_NONE = {"lolwut", "monitor", "psync", "sync"} | {
    f"sentinel|{name}" for name in ("ckquorum", "failover", "pending-scripts", "simulate-failure")
}
VERSION = re.compile(r"\d+\.\d+\.\d+")


class SentinelServer(Server):
    """Debian's redis-sentinel; the first argument is its configuration file."""

    program = ("redis-sentinel",)
    environment: ClassVar[dict[str, str]] = {}


@dataclass(frozen=True)
class Theirs:
    """What real servers say: COMMAND DOCS and the tips of COMMAND INFO by full name, HELP by container."""

    docs: dict[str, dict[str, Any]]
    tips: dict[str, list[str]]
    help: dict[str, list[str]]


@pytest.fixture(scope="module")
def docs() -> dict[str, Doc]:
    return load()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    config: Path = tmp_path_factory.mktemp("sentinel") / "sentinel.conf"
    config.touch()
    docs: dict[str, dict[str, Any]] = {}
    tips: dict[str, list[str]] = {}
    helps: dict[str, list[str]] = {}
    with (
        SentinelServer(str(config)) as sentinel,
        RedisServer(cluster_enabled="yes", enable_debug_command="yes") as server,
    ):
        for peer in (sentinel, server):
            with peer.wire(protocol=3) as wire:
                docs.update(flatten(plain(wire("COMMAND", "DOCS"))))
                tips.update(tips_of(plain(wire("COMMAND", "INFO"))))
                for container in TEXTS:
                    reply = wire(container, "HELP")
                    if not isinstance(reply, ReplyError):
                        helps[container] = [line.text for line in reply]
    yield Theirs(docs, tips, helps)


def plain(reply: Any) -> Any:
    """A RESP3 reply as dict, list and str."""
    match reply:
        case RespMap(pairs):
            return {plain(name): plain(value) for name, value in pairs}
        case RespSet(items) | list(items):
            return [plain(item) for item in items]
        case tuple():
            return [plain(item) for item in reply]
        case dict():
            return {plain(name): plain(value) for name, value in reply.items()}
        case Simple(text):
            return text
        case bytes():
            return reply.decode()
    return reply


def flatten(docs: dict[str, Any]) -> dict[str, Any]:
    """Commands and their subcommands side by side, by full name."""
    inner = (doc.get("subcommands", {}) for doc in docs.values())
    return docs | {name: doc for subcommands in inner for name, doc in subcommands.items()}


def tips_of(commands: list[Any]) -> dict[str, list[str]]:
    """Tips by full name, from the elements of COMMAND INFO: name first, tips eighth, subcommands last."""
    tips: dict[str, list[str]] = {}
    for command in commands:
        tips |= {command[0]: command[7]} | tips_of(command[9])
    return tips


def arguments_of(arguments: tuple[Argument, ...]) -> Iterator[Argument]:
    for argument in arguments:
        yield argument
        yield from arguments_of(argument.arguments)


def renamed(command: str, argument: dict[str, Any]) -> dict[str, Any]:
    """An argument of 7.0 under the names of 7.2."""
    name = argument["name"]
    if "arguments" in argument:
        kind = f"{name}()"
    else:
        kind = f"{name}={argument['token']}" if "token" in argument else name
    changed = {**argument, "name": RENAMED.get(command, {}).get(kind, name)}
    if "arguments" in argument:
        changed["arguments"] = [renamed(command, inner) for inner in argument["arguments"]]
    return changed


def without_display(argument: dict[str, Any]) -> dict[str, Any]:
    bare = {field: value for field, value in argument.items() if field != "display_text"}
    if "arguments" in bare:
        bare["arguments"] = [without_display(inner) for inner in bare["arguments"]]
    return bare


def test_each_command_says_what_it_is_for_since_when_and_at_what_cost(docs: dict[str, Doc]) -> None:
    for name, doc in docs.items():
        assert name == name.lower()
        assert doc.summary and "\n" not in doc.summary, name
        assert VERSION.fullmatch(doc.since), name
        assert bool(doc.complexity) == (name not in COMPLEXITY_NONE), name
        assert ("deprecated" in doc.doc_flags) == (doc.deprecated_since is not None) == (doc.replaced_by is not None)
        assert all(VERSION.fullmatch(version) and change for version, change in doc.history), name
        assert name.partition("|")[0] in docs, f"{name} has no container"


def test_arguments_are_of_the_types_that_clients_know(docs: dict[str, Doc]) -> None:
    for name, doc in docs.items():
        for argument in arguments_of(doc.arguments):
            assert argument.type in ARGUMENT_TYPES, name
            assert bool(argument.arguments) == (argument.type in HOLDER_TYPES), (name, argument.name)
            assert argument.type != "pure-token" or argument.token is not None, (name, argument.name)
            assert argument.type in ("key", "pattern") or argument.key_spec_index is None, (name, argument.name)
            assert not (argument.type in HOLDER_TYPES and argument.display_text), (name, argument.name)


def test_files_are_sorted(docs: dict[str, Doc]) -> None:
    groups = {doc.group for doc in docs.values()}
    for group in groups:
        names = [name for name, doc in docs.items() if doc.group == group]
        assert names == sorted(names)


def test_every_command_of_a_real_server_is_there(docs: dict[str, Doc], theirs: Theirs) -> None:
    assert theirs.docs.keys() - docs.keys() == set()


def test_facts_are_those_of_a_real_server(docs: dict[str, Doc], theirs: Theirs) -> None:
    for name, their in theirs.docs.items():
        ours = docs[name]
        deprecated_in_72 = ["deprecated"] if name in DEPRECATED_IN_72 else []
        assert ours.group == their["group"], name
        assert ours.since == SINCE_IN_72.get(name, their["since"]), name
        assert list(ours.doc_flags) == their.get("doc_flags", deprecated_in_72), name
        assert ours.deprecated_since == their.get("deprecated_since", DEPRECATED_IN_72.get(name)), name
        assert (ours.complexity is None) == ("complexity" not in their), name
        versions = [version for version, _ in ours.history if not version.startswith("7.2")]
        assert versions == [version for version, _ in their.get("history", [])], name


def test_arguments_are_those_of_a_real_server(docs: dict[str, Doc], theirs: Theirs) -> None:
    ours = flatten(plain(docs_reply(docs, docs=docs)))
    for name, their in theirs.docs.items():
        if name not in RESHAPED:
            expected = [renamed(name, argument) for argument in their.get("arguments", [])]
            assert [without_display(argument) for argument in ours[name].get("arguments", [])] == expected, name


def test_tips_are_those_of_a_real_server(docs: dict[str, Doc], theirs: Theirs) -> None:
    changed = {name for name, tips in theirs.tips.items() if list(docs[name].tips) != tips}
    assert changed == TIPS_CHANGED


def test_the_tables_of_changes_are_no_longer_than_needed(docs: dict[str, Doc], theirs: Theirs) -> None:
    ours = flatten(plain(docs_reply(docs, docs=docs)))
    for name in RENAMED.keys() | RESHAPED:
        arguments = [without_display(argument) for argument in ours[name]["arguments"]]
        assert arguments != theirs.docs[name]["arguments"], name


def test_fields_come_in_the_order_of_a_real_server(docs: dict[str, Doc], theirs: Theirs) -> None:
    ours = flatten(plain(docs_reply(docs, docs=docs)))
    for name, their in theirs.docs.items():
        common = [field for field in ours[name] if field in their]
        assert common == [field for field in their if field in ours[name]], name


def test_wording_is_our_own(docs: dict[str, Doc], theirs: Theirs) -> None:
    for name, their in theirs.docs.items():
        ours = docs[name]
        assert ours.summary.rstrip(".").lower() != their["summary"].rstrip(".").lower(), name
        said = {change for _, change in their.get("history", [])}
        assert not said & {change for _, change in ours.history}, name
        if re.search(r"[a-z]{3}", re.sub(r"O\(.*\)", "", their.get("complexity", ""))):
            assert ours.complexity != their["complexity"], name


def test_reply_shows_only_what_the_node_has(docs: dict[str, Doc]) -> None:
    reply = docs_reply(["client", "client|id", "get"], docs=docs)
    assert list(reply) == [b"client", b"get"]
    client = reply[b"client"]
    assert isinstance(client, dict) and isinstance(client[b"subcommands"], dict)
    assert list(client[b"subcommands"]) == [b"client|id"]


def test_reply_to_names_keeps_their_order_and_leaves_out_unknown_ones(docs: dict[str, Doc]) -> None:
    available = ["client", "client|id", "get", "set"]
    asked = ["SET", "nonesuch", "Client|ID", "client|list", "lpop", "get"]
    assert list(docs_reply(available, asked, docs)) == [b"set", b"client|id", b"get"]
    assert docs_reply(available, [], docs) == {}


def test_reply_has_the_shape_of_7_2(docs: dict[str, Doc]) -> None:
    assert docs_reply(["zrank"], docs=docs) == {
        b"zrank": {
            b"summary": docs["zrank"].summary.encode(),
            b"since": b"2.0.0",
            b"group": b"sorted-set",
            b"complexity": (docs["zrank"].complexity or "").encode(),
            b"history": ([b"7.2.0", b"Knows `WITHSCORE`."],),
            b"arguments": [
                {b"name": b"key", b"type": b"key", b"display_text": b"key", b"key_spec_index": 0},
                {b"name": b"member", b"type": b"string", b"display_text": b"member"},
                {
                    b"name": b"withscore",
                    b"type": b"pure-token",
                    b"display_text": b"withscore",
                    b"token": b"WITHSCORE",
                    b"since": b"7.2.0",
                    b"flags": ("optional",),
                },
            ],
        }
    }


def test_display_text_stands_everywhere_but_at_holders(docs: dict[str, Doc]) -> None:
    ours = flatten(plain(docs_reply(docs, docs=docs)))
    waiting = [argument for doc in ours.values() for argument in doc.get("arguments", [])]
    while waiting:
        argument = waiting.pop()
        assert ("display_text" in argument) == (argument["type"] not in HOLDER_TYPES)
        waiting += argument.get("arguments", [])
    [kill] = ours["client|kill"]["arguments"]
    assert kill["arguments"][0]["display_text"] == "ip:port"


def test_commands_newer_than_the_real_server(docs: dict[str, Doc], theirs: Theirs) -> None:
    newer = {name: doc for name, doc in docs.items() if name not in theirs.docs}
    assert {"client|setinfo", "client|no-touch", "waitaof", "cluster|myshardid", "hexpire", "hgetex"} <= newer.keys()
    assert all(doc.since >= "7.2" for doc in newer.values())


def test_help_has_the_syntax_lines_of_a_real_server(theirs: Theirs) -> None:
    assert theirs.help.keys() == TEXTS.keys()
    for container, their in theirs.help.items():
        ours = help_lines(container, describe(container))
        assert ours[0] == their[0]
        syntax = [line for line in their if not line.startswith("    ")]
        assert [line for line in syntax if line not in ours] == [], container
        order = [line for line in ours if line in syntax]
        assert order == syntax, container


def test_help_explains_in_our_own_words(theirs: Theirs) -> None:
    facts = re.compile(r" +(\*.*|\[OPTIN\].*|<id> <ip:port>.*)")
    for container, their in theirs.help.items():
        explained = [line for line in describe(container) if line.startswith(" ") and not facts.fullmatch(line)]
        assert not {line.strip(" .").lower() for line in explained} & {line.strip(" .").lower() for line in their}


def test_help_ends_with_itself() -> None:
    assert help_lines("xinfo", ["A", "    b"]) == [
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "A",
        "    b",
        "HELP",
        "    Print this help.",
    ]


def test_help_offers_only_what_the_node_has() -> None:
    assert describe("COMMAND", {"count"}) == [
        "(no subcommand)",
        "    Describes all commands of this server.",
        "COUNT",
        "    Tells how many commands this server has.",
    ]
    assert describe("client", {"tracking"})[1].startswith("         [OPTIN]")
    with pytest.raises(KeyError):
        describe("get")


def test_help_knows_every_documented_subcommand(docs: dict[str, Doc]) -> None:
    hidden = {"cluster|slaves", "sentinel|slaves"}  # old names, which Redis does not offer either
    for name in docs.keys() - hidden:
        container, bar, subcommand = name.partition("|")
        if bar and subcommand != "help":
            assert describe(container, {subcommand}) != describe(container, set()), name


@pytest.mark.parametrize(
    "found",
    [
        {"summary": "x", "since": "1.0.0", "colour": "red"},
        {"since": "1.0.0"},
        {"summary": "x", "since": "1.0.0", "arguments": [{"name": "a", "type": "number"}]},
        {"summary": "x", "since": "1.0.0", "arguments": [{"name": "a", "type": "key", "flags": ["often"]}]},
        {"summary": "x", "since": "1.0.0", "history": [["1.0.0"]]},
    ],
)
def test_a_bad_entry_is_refused_with_its_name(found: dict[str, Any]) -> None:
    from node.commands.docs import _doc

    with pytest.raises(ValueError, match="documentation of 'lpop'"):
        _doc("lpop", "list", found)


def test_each_help_has_head_and_end(theirs: Theirs) -> None:
    with HexadServer(cluster_enabled="yes", enable_debug_command="yes") as server, server.wire() as wire:
        for container, lines in theirs.help.items():
            if container != "sentinel":
                ours = [line.text for line in wire(container, "HELP")]
                assert (ours[0], ours[-2]) == (lines[0], lines[-2]), container
