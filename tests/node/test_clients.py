"""How clients come, live beside one another and go: over real sockets, on a node in this process or as its own."""

import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from node import app
from node.commands import families
from node.config import Config
from node.log import Log
from node.net.resp import OK, Argv, Reply
from node.net.session import Waiting
from node.platform import Platform
from node.server import Client, Server
from node.table import CommandTable, Registry
from tests.support import HexadServer, RedisServer, ReplyError, Wire, encode, free_port, wait_until
from tests.support.local import LocalNode

BOUND_S = 5.0
FIELDS_7_2 = (
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl oll "
    "omem tot-mem events cmd user redir resp lib-name lib-ver"
).split()


@pytest.fixture(scope="module")
def ours() -> Iterator[HexadServer]:
    with HexadServer(enable_debug_command="yes") as server:
        yield server


@pytest.fixture
def wires(ours: HexadServer) -> Iterator[Callable[..., Wire]]:
    """Makes connections that are closed after the test."""
    made: list[Wire] = []

    def connect(**settings: Any) -> Wire:
        made.append(ours.wire(**settings))
        return made[-1]

    yield connect
    for wire in made:
        wire.close()


def described(line: bytes) -> dict[str, str]:
    """The fields of one line of CLIENT LIST."""
    return dict(field.split("=", 1) for field in line.decode().strip().split(" "))  # type: ignore[misc]


def listed(wire: Wire, *words: str | int) -> list[dict[str, str]]:
    return [described(line) for line in wire("CLIENT", "LIST", *words).splitlines()]


# --- what is told -----------------------------------------------------------------------------------------------------


def test_the_line_has_the_fields_of_7_2(wires: Callable[..., Wire]) -> None:
    wire = wires()
    fields = described(wire("CLIENT", "INFO"))
    assert list(fields) == FIELDS_7_2
    with RedisServer() as theirs, theirs.wire() as their:
        assert [name for name in fields if not name.startswith("lib-")] == list(described(their("CLIENT", "INFO")))
        for name in (
            "name",
            "age",
            "idle",
            "flags",
            "db",
            "sub",
            "multi",
            "qbuf",
            "argv-mem",
            "multi-mem",
            "obl",
            "oll",
        ):
            assert fields[name] == described(their("CLIENT", "INFO"))[name], name
        for name in ("omem", "events", "cmd", "user", "redir", "resp"):
            assert fields[name] == described(their("CLIENT", "INFO"))[name], name
    assert fields["laddr"].endswith(f":{wire.socket.getpeername()[1]}")
    assert fields["addr"].endswith(f":{wire.socket.getsockname()[1]}")


def test_the_line_tells_what_was_set(wires: Callable[..., Wire]) -> None:
    wire = wires(protocol=3)
    for words in (
        ("SETNAME", "me"),
        ("SETINFO", "LIB-NAME", "lib(x)"),
        ("SETINFO", "lib-ver", "1.2"),
        ("NO-TOUCH", "on"),
    ):
        assert wire("CLIENT", *words) == "OK"
    wire("CLIENT", "NO-EVICT", "ON"), wire("SELECT", 3)
    fields = described(wire("CLIENT", "INFO").text)
    assert fields["name"] == "me" and fields["lib-name"] == "lib(x)" and fields["lib-ver"] == "1.2"
    assert fields["flags"] == "eT" and fields["db"] == "3" and fields["resp"] == "3" and fields["cmd"] == "client|info"
    assert wire("CLIENT", "SETINFO", "lib-name", "a b") == ReplyError(
        "ERR lib-name cannot contain spaces, newlines or special characters."
    )
    assert wire("CLIENT", "SETINFO", "colour", "red") == ReplyError("ERR Unrecognized option 'colour'")
    wire("RESET")
    fields = described(wire("CLIENT", "INFO"))
    assert fields["flags"] == "N" and fields["name"] == "" and fields["lib-name"] == "lib(x)"


def test_list_and_its_filters(wires: Callable[..., Wire]) -> None:
    first, second, third = wires(), wires(), wires()
    ids = [wire("CLIENT", "ID") for wire in (first, second, third)]
    assert ids == sorted(ids)
    assert {str(one) for one in ids} <= {fields["id"] for fields in listed(first)}
    assert [fields["id"] for fields in listed(first, "ID", ids[2], 999_999, ids[0])] == [str(ids[2]), str(ids[0])]
    assert str(ids[1]) in {fields["id"] for fields in listed(first, "TYPE", "normal")}
    assert listed(first, "TYPE", "pubsub") == []
    assert next(fields for fields in listed(first, "ID", ids[1]))["cmd"] == "client|id"


def test_input_that_waits_is_told(wires: Callable[..., Wire]) -> None:
    watcher, half = wires(), wires()
    number = half("CLIENT", "ID")
    half.send_raw(b"*3\r\n$3\r\nSET\r\n$4\r\nname\r\n$100\r\nabc")
    wait_until(lambda: listed(watcher, "ID", number)[0]["argv-mem"] == "7", BOUND_S, "the arguments that have come")
    assert listed(watcher, "ID", number)[0]["qbuf"] == str(len(b"$100\r\nabc"))


# --- killing ----------------------------------------------------------------------------------------------------------


def test_kill_in_every_form(wires: Callable[..., Wire]) -> None:
    me = wires()
    for form in ("old", "ID", "ADDR", "LADDR", "both"):
        victim = wires()
        number = victim("CLIENT", "ID")
        address = listed(me, "ID", number)[0]["addr"]
        laddr = listed(me, "ID", number)[0]["laddr"]
        if form == "old":
            assert me("CLIENT", "KILL", address) == "OK"
        elif form == "ID":
            assert me("CLIENT", "KILL", "ID", number) == 1
        elif form == "ADDR":
            assert me("CLIENT", "KILL", "addr", address, "USER", "default") == 1
        elif form == "LADDR":
            assert me("CLIENT", "KILL", "LADDR", laddr) >= 1
        else:
            assert me("CLIENT", "KILL", "ID", number, "ADDR", "1.1.1.1:1") == 0
            assert me("CLIENT", "KILL", "ID", number, "ADDR", address, "TYPE", "normal", "SKIPME", "yes") == 1
        assert victim.is_closed(BOUND_S), form
        assert listed(me, "ID", number) == []
    assert me("CLIENT", "KILL", "TYPE", "pubsub") == 0


def test_who_kills_itself_is_answered_first(wires: Callable[..., Wire]) -> None:
    for words in (["ID", "?", "SKIPME", "no"], ["?addr"]):
        wire = wires()
        number = wire("CLIENT", "ID")
        assert wire("CLIENT", "KILL", "ID", number) == 0  # spared unless asked for
        address = listed(wire, "ID", number)[0]["addr"]
        filled = [{"?": str(number), "?addr": address}.get(word, word) for word in words]
        wire.send_raw(encode("CLIENT", "KILL", *filled) + encode("PING"))
        assert wire.read() == ("OK" if len(words) == 1 else 1)
        assert wire.read_to_end() == b""  # nothing more is served


def test_killed_in_the_middle_of_a_batch(wires: Callable[..., Wire]) -> None:
    """A kills B while B's input lies in the same batch; C gets B's descriptor; nobody else is harmed."""
    killer, bystander = wires(), wires()
    for _ in range(20):
        victim = wires()
        number = victim("CLIENT", "ID")
        victim.send_raw(encode("SET", "count", "x" * 1000) * 200)
        killer.send_raw(encode("CLIENT", "KILL", "ID", number) + encode("PING"))
        after = wires()
        assert killer.read() == 1 and killer.read() == "PONG"
        assert victim.is_closed(BOUND_S)
        assert after("PING") == "PONG" and bystander("ECHO", "here") == b"here"


def test_a_client_that_dies_in_its_pipeline(wires: Callable[..., Wire]) -> None:
    bystander = wires()
    for how in ("half", "reset", "close"):
        victim = wires()
        number = victim("CLIENT", "ID")
        victim.send_raw(encode("PING") * 1000 + b"*3\r\n$3\r\nSET\r\n$1\r\n")
        if how == "half":
            victim.half_close()
            assert victim.read_to_end() == b"+PONG\r\n" * 1000
        elif how == "reset":
            victim.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            victim.close()
        else:
            victim.close()
        wait_until(lambda number=number: listed(bystander, "ID", number) == [], BOUND_S, f"{how}: forgotten")
    assert bystander("PING") == "PONG"


def test_a_half_closed_client_that_does_not_read_costs_nothing(wires: Callable[..., Wire], ours: HexadServer) -> None:
    wire = wires()
    wire("SET", "big", "x" * 4_000_000)
    wire.send_raw(encode("GET", "big") * 4 + encode("QUIT"))
    watcher = wires()
    wait_until(lambda: "c" in "".join(line["flags"] for line in listed(watcher)), BOUND_S, "QUIT was served")
    wire.half_close()
    before = _cpu_s(ours.pid)
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started > 0.3, BOUND_S, "a while")
    assert _cpu_s(ours.pid) - before < 0.2
    assert len(wire.read_to_end()) > 16_000_000


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# --- fairness and limits ----------------------------------------------------------------------------------------------


def test_a_huge_pipeline_does_not_starve_the_others(wires: Callable[..., Wire]) -> None:
    greedy, modest = wires(timeout_s=30), wires()
    modest("PING")
    count = 200_000
    payload = encode("GET", "nothing") * count
    slowest = 0.0
    rounds = 0
    greedy.socket.setblocking(False)
    sent = received = 0
    began = time.perf_counter()
    while received < 5 * count:
        if sent < len(payload):
            with suppress(BlockingIOError):
                sent += greedy.socket.send(payload[sent : sent + 1_000_000])
        with suppress(BlockingIOError):
            received += len(greedy.socket.recv(1 << 20))
        started = time.perf_counter()
        assert modest("PING") == "PONG"
        slowest = max(slowest, time.perf_counter() - started)
        rounds += 1
    assert rounds > 20  # it was served many times while the other's work went on...
    assert slowest < (time.perf_counter() - began) / 2  # ...and never waited for all of it


def test_a_short_pipeline_is_run_in_one_turn(wires: Callable[..., Wire]) -> None:
    """However slow it is: as in Redis, nobody gets between its commands."""
    client, other, holder = wires(), wires(), wires()
    holder.send("DEBUG", "SLEEP", "0.1")  # meanwhile both of the others send
    lines = ["SET k mine", "DEBUG SLEEP 0.01", "GET k", "DEL k"]
    client.send_raw(b"".join(encode(*line.split()) for line in lines))
    other.send("SET", "k", "other")
    assert [client.read() for _ in lines] == ["OK", "OK", b"mine", 1]
    assert other.read() == "OK"


def test_maxclients() -> None:
    with HexadServer(maxclients=2) as server, server.wire() as first:
        wait_until(lambda: len(listed(first)) == 1, BOUND_S, "the connection that awaited the start is gone")
        second = server.wire()
        assert first("PING") == second("PING") == "PONG"
        with Wire(server.port) as third:
            assert third.read_to_end() == b"-ERR max number of clients reached\r\n"
        second.close()
        wait_until(lambda: len(listed(first)) == 1, BOUND_S, "a place is free")
        with server.wire() as third:
            assert third("PING") == "PONG"


def test_protected_mode_has_redis_words_for_it() -> None:
    address = _own_address()
    if address is None:
        pytest.fail("this machine has no address but the loopback's")
    heard = []
    for kind in (RedisServer, HexadServer):
        with kind(bind="0.0.0.0") as server, Wire(server.port, address) as wire:
            heard.append(wire.read_to_end())
    assert heard[0] == heard[1] and heard[0].startswith(b"-DENIED ")
    for options in ({"requirepass": "x"}, {"protected_mode": "no"}):
        with HexadServer(bind="0.0.0.0", **options) as server, Wire(server.port, address) as wire:
            wire.send("QUIT")
            assert wire.read() == "OK"


def _own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def test_clients_of_a_unix_socket() -> None:
    lines = []
    for kind in (RedisServer, HexadServer):
        with kind(unixsocket="node.sock") as server, Wire(unix=str(server.directory / "node.sock")) as wire:
            lines.append(described(wire("CLIENT", "INFO")))
            assert wire("CLIENT", "KILL", lines[-1]["addr"]) == "OK" and wire.read_to_end() == b""
    for name in ("addr", "laddr", "flags"):
        theirs, ours = (line[name].rpartition("/")[2] for line in lines)
        assert theirs == ours


def test_hard_output_limit() -> None:
    options = ("client-output-buffer-limit", "normal 1000000 0 0")
    with HexadServer(**{options[0].replace("-", "_"): tuple(options[1].split())}) as server, server.wire() as wire:
        wire("SET", "small", "x" * 900_000), wire("SET", "big", "x" * 1_100_000)
        assert len(wire("GET", "small")) == 900_000
        wire.send("GET", "big")
        assert wire.read_to_end() == b""  # as in Redis, even from one who would read it
        assert "overcoming of output buffer limits" in server.log()
        with server.wire() as slow:
            for _ in range(40):
                slow.send("GET", "small")
            assert slow.is_closed(BOUND_S)


def test_strangers_leave_little_unread() -> None:
    with HexadServer(requirepass="secret") as server, socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stranger.connect(("127.0.0.1", server.port))
        with suppress(ConnectionError):
            for _ in range(300):
                stranger.sendall(encode("GET", "x") * 1000)
        server.wait_for_log("overcoming of output buffer limits")


@pytest.mark.parametrize(
    "words", [("SADD", "SRANDMEMBER"), ("HSET", "HRANDFIELD"), ("ZADD", "ZRANDMEMBER")], ids=lambda words: words[1]
)
def test_who_draws_more_than_he_may_have_is_closed(words: tuple[str, str]) -> None:
    """Long before the reply is complete, which would take all memory. What fits comes."""
    put, draw = words
    with HexadServer(client_output_buffer_limit=("normal", "1000000", "0", "0")) as server, server.wire() as wire:
        wire(put, "key", *(() if put == "SADD" else ("1",)), "1")
        assert wire(draw, "key", -20_000) == [b"1"] * 20_000
        wire.send(draw, "key", -999_999_999)
        assert wire.read_to_end() == b""
        assert server.log().count("overcoming of output buffer limits") == 1


def test_soft_output_limit_closes_who_never_reads() -> None:
    limits = ("normal", "0", "500000", "1")
    with HexadServer(client_output_buffer_limit=limits) as server, server.wire() as wire:
        wire("SET", "big", "x" * 6_000_000)
        with server.wire() as slow:
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.send("GET", "big")  # and nothing is written to it afterwards
            number = wait_until(
                lambda: next((line["id"] for line in listed(wire) if int(line["omem"]) > 500_000), None),
                BOUND_S,
                "output waits",
            )
            assert listed(wire, "ID", number)[0]["events"] == "rw"
            wait_until(lambda: listed(wire, "ID", number) == [], BOUND_S, "it was closed")
        assert len(wire("GET", "big")) == 6_000_000  # one who reads in time stays


def test_query_buffer_limit() -> None:
    with HexadServer(client_query_buffer_limit="1048576") as server, server.wire() as wire, server.wire() as greedy:
        with suppress(ConnectionError):
            greedy.send_raw(b"*2\r\n$3\r\nGET\r\n$3000000\r\n" + b"x" * 2_900_000)
        assert greedy.is_closed(BOUND_S)
        assert "max query buffer length" in server.log()
        assert wire("PING") == "PONG"


def test_idle_clients_go() -> None:
    with HexadServer(timeout="1") as server, server.wire() as idle, server.wire() as busy:
        idle("PING")
        started = time.monotonic()

        def closed() -> bool:
            busy("PING")
            return idle.is_closed(0.02)

        wait_until(closed, BOUND_S, "the idle one is closed")
        assert time.monotonic() - started > 0.9
        assert busy("PING") == "PONG"


# --- waiting, and being held back -------------------------------------------------------------------------------------

TEST_COMMANDS = Registry()


class Patience(Waiting):
    """A waiter of these tests: it waits for nothing at all."""

    def __init__(self) -> None:
        self.was_cancelled = 0

    def cancelled(self, session: Any) -> None:
        self.was_cancelled += 1

    def timeout_reply(self) -> Reply:
        return [b"too late"]


@TEST_COMMANDS.command("wait-here", 2, "fast")
def wait_here(client: Client, argv: Argv) -> Reply:
    return client.park(Patience(), int(argv[1]))


@TEST_COMMANDS.command("spread", 1, "fast may_replicate")
def spread(client: Client, argv: Argv) -> Reply:
    return OK


@asynccontextmanager
async def node() -> AsyncIterator[tuple[Server, Callable[[], Any]]]:
    """A node in this process that knows the commands above, and what opens connections to it."""
    settings = Config()
    settings.set([("bind", "127.0.0.1"), ("port", str(free_port()))])
    platform = Platform()
    server = app.build(platform, settings, Log(platform, lambda _text: None))
    table = CommandTable([*families.specs(), *TEST_COMMANDS.specs.values()])
    server.commands, server.words = table, table.by_word
    async with app.running(server):
        await app.load(server)
        yield server, lambda: Caller.connect(server.config["port"])


class Caller:
    """A client within the same Trio program."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    @classmethod
    async def connect(cls, port: int) -> "Caller":
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def send(self, *words: str | int) -> None:
        await self.stream.send_all(encode(*words))

    async def read(self) -> bytes:
        with trio.fail_after(BOUND_S):
            return bytes(await self.stream.receive_some())

    async def __call__(self, *words: str | int) -> bytes:
        await self.send(*words)
        return await self.read()

    async def is_silent(self) -> bool:
        with trio.move_on_after(0.05):
            await self.stream.receive_some()
            return False
        return True


async def parked(server: Server, count: int = 1) -> list[Client]:
    """Wait until so many sessions are parked, and return them."""
    with trio.fail_after(BOUND_S):
        while len(found := [one for one in server.sessions.values() if one.parked is not None]) < count:
            await trio.sleep(0.002)
    return found


async def test_a_wait_ends_by_its_time() -> None:
    async with node() as (server, connect):
        caller = await connect()
        started = trio.current_time()
        await caller.send("wait-here", 60)
        await caller.send("PING")
        heard = b""
        while len(heard) < len(b"*1\r\n$8\r\ntoo late\r\n+PONG\r\n"):
            heard += await caller.read()
        assert heard == b"*1\r\n$8\r\ntoo late\r\n+PONG\r\n"
        assert trio.current_time() - started >= 0.06
        assert all(session.parked_timer is None for session in server.sessions.values())


async def test_unblock() -> None:
    async with node() as (server, connect):
        waiting, other = await connect(), await connect()
        assert await other("CLIENT", "UNBLOCK", 1) == b":0\r\n"
        for words, reply in (
            ([], b"*1\r\n$8\r\ntoo late\r\n"),
            (["TIMEOUT"], b"*1\r\n$8\r\ntoo late\r\n"),
            (["error"], b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ):
            await waiting.send("wait-here", 0)
            [client] = await parked(server)
            waiter = client.parked
            assert b" flags=b " in await other("CLIENT", "LIST", "ID", client.id)
            assert await other("CLIENT", "UNBLOCK", client.id, *words) == b":1\r\n"
            assert await waiting.read() == reply
            assert waiter.was_cancelled == 1 and client.parked is None
            assert await waiting("PING") == b"+PONG\r\n"
        assert server.stats.errors["UNBLOCKED"] == 1


async def test_unblocked_without_a_reply_where_none_is_wanted() -> None:
    async with node() as (server, connect):
        waiting, other = await connect(), await connect()
        await waiting.send("CLIENT", "REPLY", "SKIP")
        await waiting.send("wait-here", 0)
        [client] = await parked(server)
        assert await other("CLIENT", "UNBLOCK", client.id) == b":1\r\n"
        assert await waiting("PING") == b"+PONG\r\n"


@pytest.mark.parametrize("how", ["kill", "close", "half"])
async def test_who_waits_and_goes_is_forgotten(how: str) -> None:
    async with node() as (server, connect):
        waiting, other = await connect(), await connect()
        await waiting.send("wait-here", 100_000)
        [client] = await parked(server)
        waiter = client.parked
        if how == "kill":
            assert await other("CLIENT", "KILL", "ID", client.id) == b":1\r\n"
        elif how == "close":
            await waiting.stream.aclose()
        else:
            await waiting.stream.send_eof()
        with trio.fail_after(BOUND_S):
            while client.id in server.sessions:
                await trio.sleep(0.002)
        assert waiter.was_cancelled == 1 and client.parked is None
        assert await other("PING") == b"+PONG\r\n"


async def test_a_pause_of_writes_holds_writes_back_in_their_order() -> None:
    async with node() as (server, connect):
        boss, first, second = await connect(), await connect(), await connect()
        gates = server.gates
        assert await boss("CLIENT", "PAUSE", 100_000, "WRITE") == b"+OK\r\n"
        await first.send("SET", "k", "first")
        await parked(server, 1)
        await second.send("SET", "k", "second")
        await second.send("GET", "k")
        await parked(server, 2)
        assert await boss("GET", "k") == b"$-1\r\n"
        assert await first.is_silent() and server.keyspace.dirty == 0
        numbers = [client.id for client in server.clients.postponed]
        line = await boss("CLIENT", "LIST", "ID", numbers[0])
        assert b" flags=b " in line and b" cmd=set " in line
        assert await boss("CLIENT", "UNBLOCK", numbers[0]) == b":0\r\n"  # it has not begun: it cannot be over
        assert await boss("CLIENT", "UNPAUSE") == b"+OK\r\n"
        assert await first.read() == b"+OK\r\n"
        assert await second.read() == b"+OK\r\n$6\r\nsecond\r\n"
        assert not server.clients.postponed and server.gates == gates


@pytest.mark.parametrize("shebang", ["#!lua flags=no-writes\n", "#!lua\n", ""])
def test_scripts_that_say_so_read_during_a_pause_of_writes(shebang: str) -> None:
    node = LocalNode()
    client = node.client()
    text = shebang + "return 1"
    sha = client.raw("SCRIPT", "LOAD", text)[5:-2]
    library = "#!lua name=l\nredis.register_function{function_name='f', callback=function() return 1 end, flags={%s}}"
    client.raw("FUNCTION", "LOAD", library % ("'no-writes'" if "no-writes" in shebang else ""))
    client.raw("CLIENT", "PAUSE", 1000, "WRITE")
    for words in (("EVAL", text, 0), ("EVALSHA", sha, 0), ("FCALL", "f", 0)):
        assert node.client().raw(*words) == (b":1\r\n" if "no-writes" in shebang else b"")


def test_a_script_in_a_transaction_is_what_it_says_it_is() -> None:
    """Where none may be written meanwhile, one that has not said that it only reads is refused with all others."""
    node = LocalNode()
    replies = []
    for shebang in ("#!lua\n", "#!lua flags=no-writes\n", ""):
        client = node.client()
        client.raw("MULTI"), client.raw("EVAL", shebang + "return 1", 0)
        node.client().raw("REPLICAOF", "127.0.0.1", 1)
        replies.append(client.raw("EXEC"))
        node.client().raw("REPLICAOF", "NO", "ONE")
    assert replies == [
        b"-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n",
        *[b"*1\r\n:1\r\n"] * 2,
    ]


async def test_a_pause_of_all_ends_by_its_time_and_is_only_made_stricter() -> None:
    async with node() as (server, connect):
        boss, other = await connect(), await connect()
        started = trio.current_time()
        assert await boss("CLIENT", "PAUSE", 80, "ALL") == b"+OK\r\n"
        await other.send("CLIENT", "PAUSE", 10, "WRITE")
        await other.send("PING")
        await parked(server)
        assert await boss("PING") == b"+PONG\r\n"
        assert trio.current_time() - started >= 0.08
        assert (await other.read()).startswith(b"+OK\r\n")
        server.clients.pause("client", False, 50_000)
        server.clients.pause("client", True, 10)
        pause = server.clients.paused
        assert pause is not None and not pause.writes_only
        assert pause.until_ms > server.timers.monotonic_ms() + 40_000


async def test_two_purposes_of_a_pause() -> None:
    async with node() as (server, connect):
        caller = await connect()
        server.clients.pause("client", True, 100_000)
        server.clients.pause("failover", True, 100_000)
        await caller.send("spread")
        await parked(server)
        server.clients.unpause("client")
        assert await caller.is_silent()
        server.clients.unpause("failover")
        assert await caller.read() == b"+OK\r\n"


async def test_killed_while_held_back() -> None:
    async with node() as (server, connect):
        boss, victim = await connect(), await connect()
        await boss("CLIENT", "PAUSE", 100_000, "WRITE")
        await victim.send("SET", "k", "v")
        [client] = await parked(server)
        assert await boss("CLIENT", "KILL", "ID", client.id) == b":1\r\n"
        assert not server.clients.postponed
        await boss("CLIENT", "UNPAUSE")
        assert await boss("GET", "k") == b"$-1\r\n"


async def test_nothing_expires_while_writes_are_held_back() -> None:
    async with node() as (server, connect):
        caller = await connect()
        db = server.keyspace.databases[0]
        db.set(b"k", b"v")
        await caller("CLIENT", "PAUSE", 100_000, "WRITE")
        db.set_deadline(b"k", server.keyspace.now_ms + 1)
        while server.platform.now_ms() <= server.keyspace.databases[0].deadline(b"k"):
            await trio.sleep(0.001)
        assert await caller("GET", "k") == b"$-1\r\n" and db.size == 1
        await caller("CLIENT", "UNPAUSE")
        assert await caller("GET", "k") == b"$-1\r\n" and db.size == 0


async def test_no_touch_leaves_the_access_clocks_alone() -> None:
    async with node() as (server, connect):
        caller = await connect()
        db = server.keyspace.databases[0]
        assert await caller("SET", "k", "v") == b"+OK\r\n"
        server.started_ms -= 100_000  # a hundred seconds go by
        for mode, idle_s in (("ON", 100), ("OFF", 0)):
            assert await caller("CLIENT", "NO-TOUCH", mode) == b"+OK\r\n"
            assert await caller("GET", "k") == b"$1\r\nv\r\n"
            server.read_clock()
            assert abs(db.idle_seconds(b"k") - idle_s) <= 1


async def test_the_password_may_go() -> None:
    async with node() as (server, connect):
        early = await connect()
        assert await early("PING") == b"+PONG\r\n"
        server.config.set([("requirepass", "sesame")])
        late = await connect()
        assert await early("PING") == b"+PONG\r\n"  # who is in stays in
        assert await late("PING") == b"-NOAUTH Authentication required.\r\n"
        server.config.set([("requirepass", "")])
        assert await late("PING") == b"+PONG\r\n"
        assert server.stats.errors == {"NOAUTH": 1}
