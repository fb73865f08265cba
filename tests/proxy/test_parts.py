"""The deciding parts of the proxy without sockets: topology, settings, routes and retries, plans of transactions."""

from __future__ import annotations

from typing import Any

import pytest

from node.commands import families
from node.config.errors import ConfigFileError
from node.net.resp import Argv
from node.slots import SLOTS
from node.table import CommandTable
from proxy.blocking import MOMENT_MS, Deadline
from proxy.calls import AGAIN_MS
from proxy.keywise import Keywise, shares_of
from proxy.link import OUT_BYTES_MAX
from proxy.scatter import put_together
from proxy.session import ANSWERS_MAX, IN_FLIGHT, SLOW_CLIENT, SLOW_NODE
from proxy.session import OUT_BYTES_MAX as CLIENT_BYTES_MAX
from proxy.settings import ProxySettings, read
from proxy.topology import LinkKey, MalformedView, Shard, parse_own_slots, parse_slots, whole
from tests.proxy.inside import LocalProxy
from tests.proxy.world import HALVES, A, B, C, World
from tests.support.wire import encode

COMMANDS = CommandTable(families.specs())


def begin_keywise(world: World, argv: Argv) -> list[list[int]]:
    """Send a command key by key; returns the places of the keys that go alone, by node."""
    asker: Any = type(
        "Asker", (), {"resp3": False, "answered": world.answered, "detour": world.detour, "unknown": world.unknown}
    )
    command, shares = COMMANDS.resolve(argv), shares_of(world.router, argv, LinkKey())
    assert command is not None and shares is not None
    Keywise(asker, world.router, command, argv, LinkKey()).send(shares)
    return [places for _, places in shares.rows]


def test_a_redirect_is_followed_and_believed() -> None:
    world = World()
    world.send(b"GET", b"foo")  # slot 12182
    assert world.sent("b:2") == [[b"GET", b"foo"]]
    world.at("b:2").receive(b"-MOVED 12182 a:1\r\n")
    assert world.sent("a:1") == [[b"GET", b"foo"]] and world.topology.owners[12182] is world.topology.nodes[A]
    world.at("a:1").receive(b"$1\r\nx\r\n")
    assert world.answers == [b"$1\r\nx\r\n"] and world.looks == 1 and world.detours == 1


def test_ask_is_followed_once_and_not_believed() -> None:
    world = World()
    world.send(b"INCR", b"foo")
    world.at("b:2").receive(b"-ASK 12182 a:1\r\n")
    assert world.sent("a:1") == [[b"ASKING"], [b"INCR", b"foo"]]
    assert world.topology.owners[12182] is world.topology.nodes[B]
    world.at("a:1").receive(b"+OK\r\n:1\r\n")
    assert world.answers == [b":1\r\n"]


def test_redirects_in_a_circle_come_to_an_end() -> None:
    world = World()
    world.send(b"GET", b"foo")
    for _ in range(200):
        for name, other in (("a:1", b"b:2"), ("b:2", b"a:1")):
            if world.sent(name):
                world.at(name).receive(b"-MOVED 12182 " + other + b"\r\n")
        world.pass_time(AGAIN_MS)
    (answer,) = world.answers
    assert answer.startswith(b"-CLUSTERDOWN proxy: not run")


def test_what_was_sent_is_told_as_unknown_unless_it_only_reads() -> None:
    world = World()
    world.send(b"INCR", b"foo")
    world.send(b"GET", b"foo", reads=True)
    world.at("b:2").lost("reset")
    assert (
        world.answers == [b"-ERR proxy: lost b:2 (reset) after the command was sent: its outcome is unknown\r\n"]
        and world.router.unknown_outcomes == world.unknowns == 1
    )
    world.pass_time(AGAIN_MS)
    assert world.sent("b:2") == [[b"GET", b"foo"]]


def test_what_was_not_sent_is_sent_again() -> None:
    world = World()
    link = world.link(world.topology.nodes[B], LinkKey())
    link.ready = False
    world.send(b"INCR", b"foo")
    link.failed("refused")
    assert world.answers == []
    world.pass_time(AGAIN_MS)
    assert world.sent("b:2") == [[b"INCR", b"foo"]]


@pytest.mark.parametrize("code", [b"TRYAGAIN x", b"CLUSTERDOWN x", b"LOADING x", b"READONLY x"])
def test_a_node_that_serves_later(code: bytes) -> None:
    world = World()
    world.send(b"INCR", b"foo")
    world.at("b:2").receive(b"-" + code + b"\r\n")
    assert world.sent("b:2") == [] and world.detours == 1
    world.pass_time(AGAIN_MS)
    assert world.sent("b:2") == [[b"INCR", b"foo"]]
    for _ in range(40):
        if world.sent("b:2"):
            world.at("b:2").receive(b"-" + code + b"\r\n")
        world.pass_time(AGAIN_MS)
    assert len(world.answers) == 1 and code in world.answers[0]


@pytest.mark.parametrize("raw", [b"-MOVED\r\n", b"-MOVED x y\r\n", b"-MOVED 99999 a:1\r\n", b"-MOVED 1 a:no\r\n"])
def test_a_redirect_that_makes_no_sense_is_the_clients(raw: bytes) -> None:
    world = World()
    world.send(b"GET", b"foo")
    world.at("b:2").receive(raw)
    assert world.answers == [raw]


def test_a_node_that_talks_nonsense_loses_its_link_alone() -> None:
    world = World()
    world.send(b"SET", b"foo", b"1")
    world.send(b"SET", b"bar", b"1")  # slot 5061
    world.at("b:2").receive(b"hello\r\n")
    assert world.answers[0].startswith(b"-ERR proxy: lost b:2") and ("b:2", LinkKey()) not in world.links
    world.at("a:1").receive(b"+OK\r\n")
    assert world.answers[1] == b"+OK\r\n"
    world.at("a:1").receive(b"+more than was asked for\r\n")
    assert ("a:1", LinkKey()) not in world.links


def test_nodes_come_and_go() -> None:
    world = World()
    topology = world.topology
    topology.check()
    assert [node.name for node in topology.primaries] == ["a:1", "b:2"] and topology.is_whole
    view = [Shard(C, (), ((0, 8191),)), HALVES[1]]
    assert topology.adopt(view) and not world.dropped, "one view may be behind the times"
    topology.adopt(view)
    assert [node.name for node in world.dropped] == ["a:1"] and topology.nodes.keys() == {B, C}
    assert not topology.adopt(view)
    topology.check()


def test_views() -> None:
    reply = [[0, 8191, [b"a", 1, b"id", []], [b"c", 3, b"id", []]], [8192, 16383, [b"", 2, b"id"]]]
    assert parse_slots(reply, ("b", 9)) == HALVES
    assert whole(A, [B]) == [Shard(A, (B,), ((0, SLOTS - 1),))]
    for nonsense in ([[0, 20000, [b"a", 1]]], [[1]], b"x", [[0, 1, [b"a", 0]]], None):
        with pytest.raises(MalformedView):
            parse_slots(nonsense, A)
    text = (
        b"i1 a:1@9 myself,master - 0 0 1 connected 0-2 7 [5->-i2] [9-<-i2]\ni2 b:2@9,host master - 0 0 1 connected 5\n"
    )
    assert parse_own_slots(text) == ({0, 1, 2, 7}, {5: B})
    with pytest.raises(MalformedView):
        parse_own_slots(b"nonsense")


def test_parts_are_put_together() -> None:
    assert put_together([(1, [b"DEL", b"a"], [0]), (2, [b"DEL", b"b"], [1])], [b":1\r\n", b":2\r\n"], b"") == b":3\r\n"
    plan = [(1, [b"GET", b"a"], [1]), (2, [b"MGET", b"b", b"c"], [0, 2])]
    answers = [b"-WRONGTYPE x\r\n", b"*2\r\n$1\r\nb\r\n$-1\r\n"]
    assert put_together(plan, answers, b"$-1\r\n") == b"*3\r\n$1\r\nb\r\n$-1\r\n$-1\r\n"
    assert put_together(plan, [b"-ERR x\r\n", answers[1]], b"_\r\n") == b"-ERR x\r\n"


def test_an_mget_is_answered_whatever_becomes_of_its_parts() -> None:
    world = World()
    for node in world.topology.primaries:
        node.links[LinkKey()] = world.link(node, LinkKey())
    names = [b"foo", b"hello", b"bar", b"abc"]  # slots 12182, 866, 5061, 7638

    def begin() -> None:
        assert begin_keywise(world, [b"MGET", *names]) == [[1], [2, 3, 4]]

    begin()
    world.at("b:2").receive(b"-MOVED 12182 a:1\r\n")
    world.at("a:1").receive(b"$1\r\n1\r\n-WRONGTYPE x\r\n$-1\r\n")
    assert world.answers == [] and world.detours == 1
    world.at("a:1").receive(b"$1\r\nf\r\n")
    assert world.answers.pop() == b"*4\r\n$1\r\nf\r\n$1\r\n1\r\n$-1\r\n$-1\r\n"
    world.topology.adopt(HALVES)
    begin()
    link = world.at("a:1")
    link.receive(b"$1\r\n1\r\n")
    world.at("b:2").receive(b"$1\r\nf\r\n")
    link.lost("reset")
    world.pass_time(AGAIN_MS)
    assert world.sent("a:1") == [[b"GET", b"bar"], [b"GET", b"abc"]]
    world.at("a:1").receive(b"-NOPERM no\r\n$1\r\n3\r\n")
    assert world.answers == [b"-NOPERM no\r\n"], "what reads is asked again; a refusal is the whole's"


def test_keys_of_an_mget_that_share_a_slot_are_asked_for_together() -> None:
    world = World()
    argv = [b"mget", b"{bar}1", b"hello", b"{foo}1", b"{bar}2", b"foo"]  # slots 5061, 866, 12182
    world.link(world.topology.nodes[A], LinkKey())
    assert shares_of(world.router, argv, LinkKey()) is None, "b is not connected"
    for node in world.topology.primaries:
        node.links[LinkKey()] = world.link(node, LinkKey())

    assert shares_of(world.router, [b"MGET", b"foo", b"{foo}1"], LinkKey()) is None, "one reply, as it comes"

    def begin() -> None:
        assert len(begin_keywise(world, argv)) == 2, "both nodes must have room"

    begin()
    assert world.at("a:1").out.count(b"\r\nGET\r\n") == 1
    assert world.sent("a:1")[1:] == [[b"mget", b"{bar}1", b"{bar}2"]]
    assert world.sent("b:2") == [[b"mget", b"{foo}1", b"foo"]]
    world.at("b:2").receive(b"-MOVED 12182 a:1\r\n")
    world.at("a:1").receive(b"$1\r\nh\r\n*2\r\n$2\r\nb1\r\n$-1\r\n*2\r\n$2\r\nf1\r\n$1\r\nf\r\n")
    expected = b"*5\r\n$2\r\nb1\r\n$1\r\nh\r\n$2\r\nf1\r\n$-1\r\n$1\r\nf\r\n"
    assert world.answers.pop() == expected and world.detours == 1
    for nonsense in (b"*1\r\n$-1\r\n", b"+OK\r\n", b"$2\r\nab\r\n", b"-ERR no\r\n"):
        world.topology.adopt(HALVES)
        begin()
        world.at("a:1").receive(b"$1\r\nh\r\n*2\r\n$2\r\nb1\r\n$-1\r\n")
        world.at("b:2").receive(nonsense)
        assert world.answers.pop()[:5] == b"-ERR "


@pytest.mark.parametrize(("command", "reads"), [(b"DEL", False), (b"EXISTS", True)])
def test_what_the_nodes_count_key_by_key_is_added_up(command: bytes, reads: bool) -> None:
    world = World()
    for node in world.topology.primaries:
        node.links[LinkKey()] = world.link(node, LinkKey())
    argv = [command.lower(), b"foo", b"{bar}1", b"hello", b"{bar}2"]  # slots 12182, 5061, 866

    begin_keywise(world, argv)
    assert world.at("b:2").out == encode(command, "foo")
    assert world.at("a:1").out == encode(command, "hello") + encode(command.lower(), "{bar}1", "{bar}2")
    world.at("b:2").receive(b"-MOVED 12182 a:1\r\n")
    world.at("a:1").receive(b":0\r\n:2\r\n:1\r\n")
    assert world.answers.pop() == b":3\r\n" and world.detours == 1
    world.topology.adopt(HALVES)
    for odd, told in ((b"-NOPERM no\r\n", b"-NOPERM no\r\n"), (b"+OK\r\n", b"-ERR proxy: a node's reply makes no")):
        begin_keywise(world, argv)
        world.at("a:1").receive(b":1\r\n:2\r\n")
        world.at("b:2").receive(odd)
        assert world.answers.pop().startswith(told)
    begin_keywise(world, argv)
    world.at("b:2").receive(b":1\r\n")
    world.at("a:1").receive(b":1\r\n")
    world.at("a:1").lost("reset")
    world.pass_time(AGAIN_MS)
    if reads:
        assert world.sent("a:1") == [[command.lower(), b"{bar}1", b"{bar}2"]] and not world.unknowns
        world.at("a:1").receive(b":2\r\n")
        assert world.answers == [b":4\r\n"]
    else:
        assert world.answers[0].startswith(b"-ERR proxy: lost a:1 (reset)") and world.unknowns == 1


def test_what_comes_while_something_is_under_way_waits_for_its_turn() -> None:
    home = LocalProxy()
    client = home.client()
    client.raw("GET", "a")
    row = (("SET", "a", "1"), ("GET", "a"), ("PING",), ("SET", "b", "2"), ("MGET", "a", "b"))
    client.send(*(encode(*command) for command in row))
    assert client.take() == b"+OK\r\n$1\r\n1\r\n+PONG\r\n+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n"


def test_what_comes_alone_is_sent_on_as_it_came_unless_something_is_in_its_way() -> None:
    home = LocalProxy()
    client = home.client()
    assert client.raw("get", "a") == b"$-1\r\n"
    (link,) = home.proxy.links
    client.session.receive(encode("SET", "a", "1"))
    assert link.out == encode("SET", "a", "1") and home.proxy.commands.find(b"set").calls == 1
    client.session.receive(encode("GET", "a"))
    assert link.out == encode("SET", "a", "1") + encode("GET", "a")
    home.pump()
    assert client.take() == b"+OK\r\n$1\r\n1\r\n" and home.proxy.commands_processed == 3
    link.out += bytes(OUT_BYTES_MAX + 1)  # the node does not read
    client.session.receive(encode("GET", "a"))
    assert client.session.parked is SLOW_NODE and not link.pending and home.proxy.commands_processed == 3
    link.out.clear()
    link.sent()
    home.pump()
    assert client.take() == b"$1\r\n1\r\n"
    client.session.out += bytes(CLIENT_BYTES_MAX + 1)  # the client does not read
    client.session.receive(encode("GET", "a"))
    assert client.session.parked is SLOW_CLIENT and len(link.pending) == 1
    client.send(encode("GET", "a"))
    assert client.chunks, "it is not read"
    assert client.take().endswith(b"\0$1\r\n1\r\n")
    home.pump()
    assert client.take() == b"$1\r\n1\r\n"


def test_what_comes_alone_does_not_overtake_what_is_on_a_detour() -> None:
    home = LocalProxy()
    client = home.client()
    client.raw("SET", "a", "1")
    home.change = lambda data: data.replace(b"$1\r\n1\r\n", b"-TRYAGAIN x\r\n")
    client.send(encode("GET", "a"))
    home.change = lambda data: data
    client.send(encode("SET", "a", "2"))
    assert client.take() == b""
    home.pass_ms(AGAIN_MS)
    assert client.take() == b"$1\r\n1\r\n+OK\r\n"


def test_a_client_has_so_much_under_way_and_no_more_however_it_comes() -> None:
    home = LocalProxy()
    client = home.client()
    client.raw("GET", "a")
    for _ in range(ANSWERS_MAX + 1):
        client.session.receive(encode("GET", "a"))
    assert len(client.session.answers) == ANSWERS_MAX and client.session.parked is IN_FLIGHT
    home.pump()
    assert client.take() == b"$-1\r\n" * (ANSWERS_MAX + 1)


def settings(options: str, files: dict[str, str] | None = None) -> tuple[ProxySettings, str]:
    return read("proxy.yaml" if files else None, options, lambda path: (files or {})[path])


def test_a_wait_that_begins_when_its_time_is_over_has_an_end() -> None:
    """A wait of no time would be one without an end."""
    world: Any = World()
    deadline = Deadline(world, [b"0.01"], 0)
    for now_ms, left_ms in ((4.0, 6.0), (10.0, MOMENT_MS), (12.0, MOMENT_MS)):
        world.now_ms = now_ms
        assert deadline.wait_ms == left_ms > 0
    assert Deadline(world, [b"0"], 0).wait_ms == 0


def test_settings() -> None:
    found, rest = settings("cluster a:1,[::1]:2\nlisten 127.0.0.1:7\nretry-timeout 5\ncross-slot strict\nmaxclients 9")
    assert found.seeds == [A, ("::1", 2)] and found.is_cluster and found.retry_timeout_ms == 5
    assert found.cross_slot == "strict"
    assert "port 7" in rest and "bind 127.0.0.1" in rest and '"maxclients" "9"' in rest and "databases 1" in rest
    found, rest = settings("", {"proxy.yaml": "nodes: [a:1, b:2]\nread-policy: nearest\nrequirepass: word\n"})
    assert found.seeds == [A, B] and found.read_policy == "nearest" and "databases 16" in rest


@pytest.mark.parametrize(
    "options",
    ["", "cluster", "cluster a", "cluster a:1\nnodes b:2", "sentinel a:1", "cluster a:1\ncross-slot maybe",
     "cluster a:1\nretry-timeout soon", "cluster a:99999", "nodes a:1\nmaster-name a b"],
)  # fmt: skip
def test_settings_that_make_no_sense(options: str) -> None:
    with pytest.raises(ConfigFileError):
        settings(options)
