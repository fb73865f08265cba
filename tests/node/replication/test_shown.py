"""What nodes say of themselves by INFO and ROLE, field by field beside genuine Redis, through the life of a chain."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.node.replication.support import (
    TIMEOUT_S,
    follow,
    is_connected,
    node,
    offset_of,
    wait_connected,
    wait_same_offset,
)
from tests.support import Wire, wait_until

OWN = re.compile(r"replid|offset|histlen|first_byte|_seconds|port")
"""Fields whose values differ from run to run; only their form is compared."""
Told = dict[str, tuple[dict[str, str], list[object]]]


def form(name: str, value: str) -> str:
    if name.startswith("slave0"):
        return re.sub(r"(port|offset|lag)=\d+", r"\1=N", value)
    if not OWN.search(name):
        return value
    if set(value) == {"0"}:
        return value if name.startswith("master_replid") else "N"
    return re.sub(r"\w{40}", "ID", re.sub(r"^\d+$", "N", value))


class Teller:
    """Keeps what each node says at each stage."""

    def __init__(self) -> None:
        self.told: Told = {}

    def ask(self, stage: str, wire: Wire) -> None:
        fields, role = wire.info("replication"), wire("ROLE")
        self.told[stage] = {name: form(name, value) for name, value in fields.items()}, shape(role)


def shape(reply: object) -> list[object]:
    """ROLE without its ports and offsets."""
    assert isinstance(reply, list)
    return [shape(each) if isinstance(each, list) else form_of_role(each) for each in reply]


def form_of_role(each: object) -> object:
    if isinstance(each, bytes) and each.isdigit():
        return b"N"
    return "N" if isinstance(each, int) and each >= 0 else each


def replica_is_online(wire: Wire) -> bool:
    return "state=online" in wire.info("replication").get("slave0", "")


def life_of(kind: str) -> Told:
    """A chain of three: begun, cut off from its top, promoted, renamed, led astray."""
    teller = Teller()
    with ExitStack() as stack:
        top, middle, leaf = (
            stack.enter_context(node(kind, min_replicas_to_write=1, repl_ping_replica_period=1)) for _ in range(3)
        )
        first, second, third = top.wire(), middle.wire(), leaf.wire()
        teller.ask("a lone node", first)
        follow(second, top.port)
        wait_connected(second)
        follow(third, middle.port)
        wait_connected(third)
        wait_until(lambda: replica_is_online(first) and replica_is_online(second), TIMEOUT_S, "all are online")
        assert first("SET", "a", "1") == "OK"
        assert first("WAIT", 1, 5000) == 1
        wait_same_offset(first, second, third)
        for stage, wire in (("top", first), ("middle", second), ("leaf", third)):
            teller.ask(stage, wire)
        top.kill()
        wait_until(lambda: not is_connected(second), TIMEOUT_S, "the middle notices")
        teller.ask("middle, cut off", second)
        teller.ask("leaf of one that is cut off", third)
        assert second("REPLICAOF", "NO", "ONE") == "OK"
        wait_until(lambda: replica_is_online(second), TIMEOUT_S, "the leaf is back")
        wait_until(lambda: offset_of(second) == offset_of(third), TIMEOUT_S, "the same offset")
        teller.ask("promoted", second)
        teller.ask("leaf of a promoted one", third)
        names = ("replica-announce-ip", "10.1.1.1", "replica-announce-port", "77", "replica-announced", "no")
        assert third("CONFIG", "SET", "replica-priority", "7", *names) == "OK"
        assert second("CLIENT", "KILL", "TYPE", "replica") == 1
        wait_until(lambda: "10.1.1.1" in second.info("replication").get("slave0", ""), TIMEOUT_S, "it is back")
        wait_until(lambda: replica_is_online(second), TIMEOUT_S, "it is online")
        wait_connected(third)
        teller.ask("promoted, with a renamed one", second)
        teller.ask("renamed", third)
        assert third("REPLICAOF", "127.0.0.1", 1) == "OK"
        wait_until(lambda: second.info("replication")["connected_slaves"] == "0", TIMEOUT_S, "it has gone")
        teller.ask("promoted, alone", second)
        teller.ask("led astray", third)
    return teller.told


def test_info_and_role_are_those_of_redis() -> None:
    with ThreadPoolExecutor() as workers:
        theirs, ours = workers.map(life_of, ("redis", "hexad"))
    assert list(theirs) == list(ours)
    for stage, (fields, role) in theirs.items():
        assert (stage, list(ours[stage][0])) == (stage, list(fields))
        assert (stage, ours[stage][0]) == (stage, fields)
        assert (stage, ours[stage][1][:3]) == (stage, role[:3])


def killed_link(kind: str) -> tuple[object, bool, bool]:
    """What a replica says right after its link was killed, before another request is served."""
    with node(kind) as primary, node(kind) as replica:
        wire = replica.wire()
        follow(wire, primary.port)
        wait_connected(wire)
        wire.pipeline([("MULTI",), ("CLIENT", "KILL", "TYPE", "master"), ("INFO", "replication"), ("ROLE",)])
        killed, info, role = wire("EXEC")
        return killed, b"master_link_status:down" in info, role[3] == b"connected"


def test_a_link_that_was_killed_is_down_at_once() -> None:
    """A cluster reckons by it how old a replica's data are, even if the next command takes long."""
    assert killed_link("hexad") == killed_link("redis") == (1, True, False)
