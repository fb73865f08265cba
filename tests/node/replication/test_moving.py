"""The way to come and to go: a live move from Redis to Hexad and back, under load, with nothing lost."""

from __future__ import annotations

from tests.node.replication.support import TIMEOUT_S, follow, node, offset_of, wait_connected
from tests.node.replication.writing import Writers
from tests.support import Server, Wire, wait_until

WRITES_A_STAGE = 100


def fill(wire: Wire) -> None:
    """Every type that Redis 7.0 has, in two databases."""
    wire.pipeline([("SET", f"string:{number}", "x" * number) for number in range(1000)])
    wire("PFADD", "count", *range(1000))
    wire("SET", "to expire", "1", "EX", 10_000)
    wire("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 'here' end)")
    wire("SELECT", 1)
    wire("RPUSH", "list", *range(500))
    wire("SADD", "set", *range(700), "word")
    # scores that 7.0 and 7.2 write alike, for the digest
    wire("ZADD", "zset", *[word for number in range(300) for word in (number / 4, f"member{number}")])
    wire("HSET", "hash", *range(600))
    wire.pipeline([("XADD", "stream", f"{number}-1", "field", number) for number in range(1, 300)])
    wire("XGROUP", "CREATE", "stream", "group", "0")
    wire("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 20, "STREAMS", "stream", ">")
    wire("SELECT", 0)


def move(old: Server, new: Server, writers: Writers) -> None:
    """Follow, wait, hand over. Who writes learns from READONLY that it is time to look for the new primary."""
    source, target = old.wire(), new.wire()
    follow(target, old.port)
    wait_connected(target)
    wait_until(lambda: "state=online" in source.info("replication").get("slave0", ""), TIMEOUT_S, "it is online")
    wait_until(writers.have_written(WRITES_A_STAGE), TIMEOUT_S, "more writes, which follow by the stream")
    assert source("FAILOVER", "TO", "127.0.0.1", new.port, "TIMEOUT", 10_000) == "OK"
    wait_until(lambda: target("ROLE")[0] == b"master", TIMEOUT_S, "the new one has taken over")
    wait_connected(source)
    wait_until(writers.have_written(WRITES_A_STAGE), TIMEOUT_S, "writers have found the new one")


def test_from_redis_to_hexad_and_on_to_redis_under_load() -> None:
    kinds = ("redis", "hexad", "redis")
    servers = [node(kind, enable_debug_command="yes", repl_timeout=10).start() for kind in kinds]
    try:
        wires = [server.wire() for server in servers]
        fill(wires[0])
        for wire in wires[1:]:
            assert follow(wire, 1) is None  # nobody writes to them before they are in sync
        with Writers(3, servers) as writers:
            move(servers[0], servers[1], writers)
            move(servers[1], servers[2], writers)
        wait_connected(wires[0])  # Redis, of Hexad, of Redis
        wait_until(lambda: len({offset_of(wire) for wire in wires}) == 1, TIMEOUT_S, "the same offset")
        for wire in wires:
            writers.check(wire)
        assert all(writer.refusals and not writer.unknown for writer in writers.each)
        assert len({bytes(str(wire("DEBUG", "DIGEST")), "utf-8") for wire in wires}) == 1
        assert [wire("FUNCTION", "LIST")[0][1] for wire in wires] == [b"lib"] * 3
        assert all(wire("TTL", "to expire") > 9000 for wire in wires)
    finally:
        for server in servers:
            server.close()
