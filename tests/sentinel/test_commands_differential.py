"""A Sentinel's replies beside those of a genuine one that watches the same nodes.

What differs from one Sentinel to the next (ids, ports, ages in milliseconds) is replaced before comparing; names and
order of fields, types and error texts are what tools parse.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.config import ConfigFileError
from node.config.lines import read_lines
from node.platform import Platform
from sentinel.app import load_state
from tests.support.sentinels import HexadSentinel, RedisSentinel, SentinelServer, Watched
from tests.support.servers import RedisServer
from tests.support.wire import Push, RespMap, Verbatim


@pytest.fixture(scope="module")
def group() -> Iterator[Watched]:
    with Watched(RedisServer, [RedisSentinel, HexadSentinel], replicas=1, down_after_ms=30_000) as watched:
        yield watched


def pair(group: Watched) -> tuple[SentinelServer, SentinelServer]:
    theirs, ours = group.sentinels
    return theirs, ours


AGES = re.compile(
    rb"^(last-.*|info-refresh|role-reported-time|link-pending-commands|slave-repl-offset|master-link-down-time|runid"
    rb"|port|name|voted-.*)$"
)


def shape(reply: Any) -> Any:
    """A reply without what differs by nature: values after the names of ages and ids, and numbers of ports."""
    if isinstance(reply, RespMap):
        return "map", [(key, "?" if AGES.match(key) else shape(value)) for key, value in reply.pairs]
    if isinstance(reply, list):
        flat = len(reply) > 2 and len(reply) % 2 == 0 and all(isinstance(each, bytes) for each in reply)
        if flat:
            return ["?" if at % 2 and AGES.match(reply[at - 1]) else value for at, value in enumerate(reply)]
        return [shape(each) for each in reply]
    if isinstance(reply, bytes) and re.fullmatch(rb"[0-9a-f]{40}", reply):
        return "id"
    if isinstance(reply, bytes) and len(reply) > 500:
        return "long"
    return reply


COMMANDS = [
    "SENTINEL",
    "SENTINEL foo",
    "SENTINEL MASTERS",
    "SENTINEL MASTERS extra",
    "SENTINEL MASTER mymaster",
    "SENTINEL MASTER foo",
    "SENTINEL REPLICAS mymaster",
    "SENTINEL SLAVES mymaster",
    "SENTINEL REPLICAS foo",
    "SENTINEL SENTINELS mymaster",
    "SENTINEL SENTINELS foo",
    "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster",
    "SENTINEL get-master-addr-by-name foo",
    "SENTINEL CKQUORUM mymaster",
    "SENTINEL CKQUORUM foo",
    "SENTINEL FAILOVER foo",
    "SENTINEL FLUSHCONFIG",
    "SENTINEL MONITOR other 127.0.0.1 99999 2",
    "SENTINEL MONITOR other 127.0.0.1 9999 0",
    "SENTINEL MONITOR other 127.0.0.1 x 2",
    "SENTINEL MONITOR other 127.0.0.1 9999 x",
    "SENTINEL MONITOR other nohost.invalid 9999 2",
    "SENTINEL MONITOR mymaster 127.0.0.1 9999 2",
    "SENTINEL REMOVE foo",
    "SENTINEL RESET foo",
    "SENTINEL MYID",
    "SENTINEL INFO-CACHE",
    "SENTINEL INFO-CACHE foo",
    "SENTINEL PENDING-SCRIPTS",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 x *",
    "SENTINEL SIMULATE-FAILURE help",
    "SENTINEL SIMULATE-FAILURE foo",
    "SENTINEL DEBUG",
    "SENTINEL DEBUG foo 1",
    "SENTINEL DEBUG info-period 0",
    "SENTINEL DEBUG info-period",
    "SENTINEL DEBUG ask-period 1000 tilt-period 30000",
    "SENTINEL SET foo quorum 1",
    "SENTINEL SET mymaster foo 1",
    "SENTINEL SET mymaster quorum 0",
    "SENTINEL SET mymaster quorum x",
    "SENTINEL SET mymaster quorum",
    "SENTINEL SET mymaster quorum 2 parallel-syncs 1",
    "SENTINEL SET mymaster down-after-milliseconds -1",
    "SENTINEL SET mymaster failover-timeout 6000 parallel-syncs 0",
    "SENTINEL SET mymaster notification-script /bin/true",
    "SENTINEL SET mymaster client-reconfig-script /bin/true",
    "SENTINEL SET mymaster rename-command PING",
    "SENTINEL SET mymaster rename-command INFO INFO2",
    "SENTINEL SET mymaster rename-command INFO INFO",
    "SENTINEL SET mymaster master-reboot-down-after-period -1",
    "SENTINEL SET mymaster master-reboot-down-after-period 0",
    "SENTINEL CONFIG GET announce-port",
    "SENTINEL CONFIG GET foo",
    "SENTINEL CONFIG GET sentinel*",
    "SENTINEL CONFIG SET announce-port x",
    "SENTINEL CONFIG SET announce-port 70000",
    "SENTINEL CONFIG SET foo x",
    "SENTINEL CONFIG SET resolve-hostnames maybe",
    "SENTINEL CONFIG SET resolve-hostnames no",
    "SENTINEL CONFIG SET announce-ip ''",
    "ROLE",
    "PUBLISH foo bar",
    "PUBLISH __sentinel__:hello bar",
    "PUBLISH __sentinel__:hello 1,2,3,4,5,6,7,8",
    "GET a",
    "CONFIG GET port",
    "PING",
    "PING there",
    "INFO foo",
    "CLIENT GETNAME",
    "SHUTDOWN foo",
    "DEBUG SLEEP 0",
    "MULTI",
]


def words_of(line: str) -> list[str]:
    return ["" if word == "''" else word for word in line.split()]


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_command_is_answered_as_by_a_genuine_sentinel(group: Watched, line: str, protocol: int) -> None:
    theirs, ours = pair(group)
    with theirs.wire() as theirs_wire, ours.wire() as ours_wire:
        for wire in (theirs_wire, ours_wire):
            wire("HELLO", str(protocol))
        assert shape(ours_wire(*words_of(line))) == shape(theirs_wire(*words_of(line)))


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_cached_info_has_the_same_form(group: Watched, protocol: int) -> None:
    def form(sentinel: SentinelServer) -> Any:
        with sentinel.wire() as wire:
            wire("HELLO", str(protocol))
            reply = wire("SENTINEL", "INFO-CACHE", "mymaster")
        flat = [part for pair in reply.pairs for part in pair] if isinstance(reply, RespMap) else reply
        return type(reply), flat[0], [[type(age), b"run_id" in text] for age, text in flat[1]]

    theirs, ours = pair(group)
    assert form(ours) == form(theirs)


def test_info_has_the_same_sections_and_fields(group: Watched) -> None:
    def sections(sentinel: SentinelServer, *words: str) -> list[str]:
        with sentinel.wire() as wire:
            reply = wire("INFO", *words)
        text = reply if isinstance(reply, bytes) else reply.data if isinstance(reply, Verbatim) else b""
        return [line.partition(":")[0] for line in text.decode().splitlines() if line]

    theirs, ours = pair(group)
    for words in ((), ("sentinel",), ("everything",), ("all",), ("default",)):
        heads = [line for line in sections(theirs, *words) if line.startswith("#")]
        assert [line for line in sections(ours, *words) if line.startswith("#")] == heads
    assert sections(ours, "sentinel") == sections(theirs, "sentinel")
    assert set(sections(theirs, "clients", "stats", "server")) <= set(sections(ours, "clients", "stats", "server"))


def test_the_commands_are_those_of_a_sentinel(group: Watched) -> None:
    def names(sentinel: SentinelServer) -> set[str]:
        with sentinel.wire() as wire:
            return {name.decode() for name in wire("COMMAND", "LIST")}

    theirs, ours = pair(group)
    assert names(theirs) <= names(ours)
    assert names(ours) - names(theirs) <= {"quit", "client|setinfo", "client|no-touch"}


def test_commands_are_described_alike(group: Watched) -> None:
    def described(sentinel: SentinelServer) -> dict[bytes, tuple[Any, ...]]:
        """Arity, flags and categories of each command; flags and categories in any order."""
        with sentinel.wire() as wire:
            names = [
                name for name in wire("COMMAND", "LIST") if name.startswith((b"sentinel", b"publish", b"role", b"info"))
            ]
            replies = wire("COMMAND", "INFO", *names)
        return {each[0]: (each[1], sorted(map(str, each[2])), sorted(map(str, each[6]))) for each in replies}

    theirs, ours = map(described, pair(group))
    changed = {b"sentinel|config"}  # several options at once since 7.2
    assert {name: ours[name] for name in theirs if name not in changed} == {
        name: fields for name, fields in theirs.items() if name not in changed
    }


def test_events_reach_subscribers_in_the_same_words(group: Watched) -> None:
    def heard(sentinel: SentinelServer) -> list[Any]:
        with sentinel.wire() as listener, sentinel.wire() as wire:
            listener("PSUBSCRIBE", "*")
            wire("SENTINEL", "SET", "mymaster", "quorum", "2")
            wire("SENTINEL", "MONITOR", "second", "127.0.0.1", "1", "1")
            wire("SENTINEL", "SET", "second", "auth-pass", "secret", "auth-user", "somebody")
            wire("SENTINEL", "SET", "second", "auth-pass", "")
            wire("SENTINEL", "RESET", "sec*")
            wire("SENTINEL", "REMOVE", "second")
            messages: list[Any] = []
            while not messages or messages[-1][2] != b"-monitor":
                message = listener.read()
                messages.append(message.items if isinstance(message, Push) else message)
        wanted = (b"+set", b"+monitor", b"-monitor", b"+reset-master")
        return [message for message in messages if message[2] in wanted]

    theirs, ours = pair(group)
    assert heard(ours) == heard(theirs)


LINES = [
    "foo bar",
    "monitor a b c d",
    "monitor a 127.0.0.1 1 x",
    "monitor a 127.0.0.1 70000 1",
    "monitor mymaster 127.0.0.1 1 1",
    "monitor a nohost.invalid 1 1",
    "monitor a 127.0.0.1",
    "down-after-milliseconds foo 1",
    "down-after-milliseconds mymaster 0",
    "failover-timeout mymaster -1",
    "master-reboot-down-after-period mymaster -1",
    "myid abc",
    "notification-script foo /nonexist",
    "notification-script mymaster /nonexist",
    "client-reconfig-script mymaster /nonexist",
    "announce-ip",
    "known-replica x 127.0.0.1 1",
    "known-replica mymaster 127.0.0.1 70000",
    "known-sentinel mymaster 127.0.0.1",
    "rename-command mymaster a b\nsentinel rename-command mymaster A c",
    "deny-scripts-reconfig maybe",
    "resolve-hostnames maybe",
    "announce-hostnames maybe",
    "sentinel-pass",
]


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_line_stops_the_start_with_the_same_words(line: str, tmp_path: Path) -> None:
    path = tmp_path / "s.conf"
    text = f"port 0\nsentinel monitor mymaster 127.0.0.1 1 1\nsentinel {line}\n"
    path.write_text(text)
    done = subprocess.run([*RedisSentinel.program, str(path)], capture_output=True, text=True, timeout=20)
    with pytest.raises(ConfigFileError) as caught:
        load_state(Platform(), [each for each in read_lines(text) if each.words[0] == "sentinel"])
    told = [done.stderr, caught.value.report()]
    theirs, ours = ([part for part in each.splitlines() if part and "FATAL" not in part] for each in told)
    assert done.returncode == 1 and ours == theirs


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, **HexadSentinel.environment}


ENVIRONMENT = _environment()


def test_without_a_file_there_is_no_sentinel() -> None:
    done = subprocess.run([*HexadSentinel.program], capture_output=True, text=True, timeout=20, env=ENVIRONMENT)
    assert done.returncode == 1 and "Sentinel needs config file on disk to save state. Exiting..." in done.stdout


def test_the_server_has_a_sentinel_mode(tmp_path: Path) -> None:
    program = [*HexadSentinel.program[:-1], "server", "--sentinel"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=20, env=ENVIRONMENT)
    assert done.returncode == 1 and "Sentinel needs config file" in done.stdout
