"""Replicas of a version before 7.4: they hold all that 7.0 can hold, and are spared what they cannot."""

from __future__ import annotations

from tests.node.replication.support import TIMEOUT_S, follow, full_syncs, node, wait_connected, wait_same_offset
from tests.support import Wire, wait_until

DEADLINES = [
    ("HEXPIRE", "h", 100, "FIELDS", 1, "f"),
    ("HPEXPIRE", "h", 100_000, "FIELDS", 1, "f"),
    ("HEXPIREAT", "h", 1 << 32, "FIELDS", 1, "f"),
    ("HPEXPIREAT", "h", 1 << 42, "FIELDS", 1, "f"),
    ("HSETEX", "h", "EX", 100, "FIELDS", 1, "f", "v"),
    ("HGETEX", "h", "EX", 100, "FIELDS", 1, "f"),
]


def has_replicas(wire: Wire, count: int) -> bool:
    return wire.info("replication")["connected_slaves"] == str(count)


def test_fields_get_no_deadline_while_an_elder_follows() -> None:
    with node("hexad") as primary, node("hexad") as child, node("redis") as elder:
        up, young, old = primary.wire(), child.wire(), elder.wire()
        up("HSET", "h", "f", "v")
        up("HSET", "with", "f", "v")
        follow(young, primary.port)
        wait_connected(young)
        assert up("HEXPIRE", "with", 100, "FIELDS", 1, "f") == [1]  # a Hexad knows them
        payload = up("DUMP", "with")
        follow(old, primary.port)
        elder.wait_for_log("MASTER aborted replication with an error: ERR This data set has fields with deadlines")
        # It tries again at once, by PSYNC and then by SYNC: let in between the two, it would know no offset.
        assert old("REPLICAOF", "NO", "ONE") == "OK"
        assert up("HPERSIST", "with", "FIELDS", 1, "f") == [1]
        follow(old, primary.port)
        wait_connected(old)
        wait_same_offset(up, young, old)
        for words in [*DEADLINES, ("RESTORE", "other", 0, payload)]:
            reply = up(*words)
            assert reply.text.startswith(f"ERR '{words[0].lower()}' needs replicas that know deadlines of fields: ")
            assert reply.text.endswith(f"127.0.0.1:{elder.port} may be a Redis before 7.4")
        assert up("EVAL", "return redis.pcall('hexpire', 'h', 9, 'fields', 1, 'f')", 0).code == "ERR"
        assert up("HGETEX", "h", "FIELDS", 1, "f") == [b"v"] and up("HGETDEL", "h", "FIELDS", 1, "f") == [b"v"]
        wait_same_offset(up, young, old)
        assert old("EXISTS", "h") == 0 and full_syncs(elder) == 1
        # what it has missed holds a deadline
        assert old("REPLICAOF", "127.0.0.1", 1) == "OK"
        wait_until(lambda: has_replicas(up, 1), TIMEOUT_S, "the elder is gone")
        assert up("HSETEX", "h", "EX", 100, "FIELDS", 1, "f", "v") == 1 and up("DEL", "h") == 1
        follow(old, primary.port)
        wait_until(lambda: full_syncs(elder) == 2, TIMEOUT_S, "a copy")
        wait_connected(old)
        assert "CRITICAL" not in elder.log()


def test_streams_and_all_other_types_come_to_a_redis_of_7_0() -> None:
    with node("hexad", enable_debug_command="yes") as primary, node("redis", enable_debug_command="yes") as elder:
        up, old = primary.wire(), elder.wire()
        for number in range(300):
            up("XADD", "stream", "MAXLEN", 250, f"{number + 1}-1", "field", number, "other", "x" * 30)
        up("XGROUP", "CREATE", "stream", "group", "100-1")
        up("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 10, "STREAMS", "stream", ">")
        up("XDEL", "stream", "200-1", "110-1")
        up("SADD", "small", *range(100))
        up("SADD", "words", "a", "b", "c")
        up("ZADD", "zset", 1, "a", 2.5, "b")
        up("RPUSH", "list", *(["x" * 3000] * 9))
        up("HSET", "hash", "a", "1")
        up("PFADD", "count", *range(1000))
        follow(old, primary.port)
        wait_connected(old)
        up("XCLAIM", "stream", "group", "another", 0, "101-1")
        up("XADD", "stream", "*", "live", "1")
        up("XAUTOCLAIM", "stream", "group", "another", 0, "0", "COUNT", 3)
        wait_same_offset(up, old)
        assert up("DEBUG", "DIGEST") == old("DEBUG", "DIGEST")
        for section in ("STREAM", "GROUPS"):
            mine, his = up("XINFO", section, "stream"), old("XINFO", section, "stream")
            assert pairs(mine) == pairs(his)


def pairs(reply: list[object]) -> list[object]:
    """Without the sizes of a radix tree, which differ by how entries are packed."""
    if reply and isinstance(reply[0], list):
        return [pairs(each) for each in reply if isinstance(each, list)]
    return [pair for pair in zip(reply[::2], reply[1::2], strict=True) if b"radix" not in bytes(str(pair[0]), "utf-8")]
