"""The commands on real processes, genuine and ours: one story from a new cluster to a removed node."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from hexad.cluster.program import main
from tests.hexad.cluster.support import (
    PASSWORD,
    Told,
    agrees,
    at,
    bare,
    each_once,
    events,
    fill,
    id_of,
    put_astray,
    run,
    slots_of,
)
from tests.support.servers import HexadServer, RedisServer, Server

LIBRARY = "#!lua name=l\nredis.register_function{function_name='f', callback=function() return 1 end}"
KEYS = [f"key:{number}" for number in range(400)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Server]]:
    """Six genuine nodes; the first three are made a cluster."""
    with bare(RedisServer, 6) as made:
        told = run("create", "--yes", "--replicas", 0, *map(at, made[:3]))
        assert "The cluster is made." in told
        fill(made[:3], KEYS)
        yield made


def test_a_new_cluster(nodes: list[Server]) -> None:
    agrees(nodes[0])
    assert [slots_of(node) for node in nodes[:3]] == [5461, 5462, 5461]
    again = run("create", "--yes", "--replicas", 0, *map(at, nodes[:3]))
    assert "The cluster is made." in again, "what was made is only looked at"
    assert "already: CLUSTER RESET it" in run("create", "--yes", "--replicas", 0, *map(at, nodes[1:4]), code=1)
    assert "needs 3 to vote" in run("create", "--yes", *map(at, nodes[:3]), code=1)


def test_looking(nodes: list[Server]) -> None:
    told = run("check", at(nodes[1]))
    assert "All is well: 16384 slots are served." in told and "has no replica" in told
    assert f"{len(KEYS)} keys in 3 primaries" in run("info", at(nodes[2]))
    found = events("check", at(nodes[0]))
    assert [one["address"] for one in found if one["event"] == "node"] == sorted(map(at, nodes[:3]))
    assert found[-1] == {"event": "end", "ok": True, "problems": 0, "warnings": 3}
    assert {one["severity"] for one in found if one["event"] == "finding"} == {"warning"}
    seen = events("watch", at(nodes[0]), "--looks", 1)
    assert [one["event"] for one in seen] == ["node"] * 3 + ["cluster"] and seen[-1] == {
        "event": "cluster",
        "state": "ok",
    }


class Interrupted(Told):
    """Somebody presses Ctrl-C instead of answering."""

    def read_line(self) -> str:
        signal.raise_signal(signal.SIGINT)
        return "y"


def test_plans_are_shown_and_asked_for(nodes: list[Server]) -> None:
    words = ["reshard", at(nodes[0]), "--to", at(nodes[0]), "--slots", "16000-16001"]
    before = slots_of(nodes[0])
    assert "nobody can be asked here" in run(*words, code=1)
    plan = events(*words, "--dry-run")[0]
    assert plan["slots"] == 2 and plan["steps"][0]["slots"] == "16000-16001"
    told = Told("n\n", terminal=True)
    assert main(words, told) == 1 and "Run it? [y/N]" in told.out and "Nothing was changed." in told.out
    assert slots_of(nodes[0]) == before
    told = Interrupted(terminal=True)
    assert main(words, told) == 1 and told.err.endswith("nothing was changed\n")
    assert slots_of(nodes[0]) == before
    told = Told("y\n", terminal=True)
    assert main(words, told) == 0, told.out + told.err
    assert slots_of(nodes[0]) == before + 2
    assert "owns these slots." in run(*words, "--yes"), "nothing is left to do"
    agrees(nodes[0])


def test_wrong_words(nodes: list[Server], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", "/nowhere", "--node", "127.0.0.1:1"], Told()) == 1
    for words in (["check"], ["frobnicate"], ["check", "nowhere"], ["reshard", at(nodes[0]), "--to", "x"], []):
        assert main(words, Told()) == 2
    for words in (["rebalance", at(nodes[0]), "--weight", "x"], ["reshard", "h:1", "--to", "x", "--slots", "5-3"]):
        assert main(words, Told()) == 2
    capfd.readouterr()
    assert main(["--help"], Told()) == 0
    shown = capfd.readouterr().out
    for name in (
        "create",
        "check",
        "fix",
        "info",
        "add",
        "remove",
        "rebalance",
        "reshard",
        "failover",
        "watch",
        "backup",
    ):
        assert f"    {name} " in shown
    assert "WRONGPASS" in run("check", at(nodes[0]), "--password", "wrong", code=1)
    assert "All is well" in run("check", at(nodes[0]), "--user", "default", "--password", PASSWORD)
    assert "name a node that runs" in run("check", "127.0.0.1:1", code=1)
    assert "is no node of this cluster" in run("failover", at(nodes[0]), "127.0.0.1:1", "--yes", code=1)


@pytest.mark.long
def test_nodes_come_and_go(nodes: list[Server]) -> None:
    seed, primary, replica = nodes[0], nodes[3], nodes[4]
    for node in nodes[:3]:
        with node.wire() as wire:
            assert wire("FUNCTION", "LOAD", LIBRARY) == b"l"
    assert "owns no slots yet" in run("add", at(seed), at(primary), "--yes")
    assert "is a member already" in run("add", at(seed), at(primary), "--yes")
    with primary.wire() as wire:
        assert wire("FCALL", "f", 0) == 1
    run("add", at(seed), at(replica), "--replica-of", "auto", "--yes")
    agrees(replica)
    with replica.wire() as wire:
        followed = next(node for node in nodes if node.port == int(wire.info("replication")["master_port"]))
    few = [word for node in nodes[:3] for word in ("--weight", f"{at(node)}=50")]
    assert "Balanced. " in run("rebalance", at(seed), *few, "--yes")
    assert 100 <= slots_of(primary) <= 120
    agrees(seed)
    assert "balanced within" in run("rebalance", at(seed), *few, "--yes")
    run("failover", at(seed), at(followed), "--yes")
    with replica.wire() as wire:
        assert wire.info("replication")["role"] == "master"
    run("failover", at(replica), at(followed), "--yes")  # the one who is named takes over
    agrees(seed)
    assert "Removed." in run("remove", at(primary), at(primary), "--yes")
    agrees(seed)
    each_once(nodes[:3], KEYS)
    with primary.wire() as wire:
        assert b"cluster_known_nodes:1\r\n" in wire("CLUSTER", "INFO") and wire("DBSIZE") == 0
    assert "Removed." in run("remove", at(seed), id_of(replica), "--yes")
    agrees(seed)


def test_costs_of_slots(nodes: list[Server]) -> None:
    """Hot slots are told apart by keys, and by memory; where only sums are known they are spread by keys."""
    names = [f"{{a}}{number}" for number in range(300)]
    fill(nodes[:3], names)
    for by in ("keys", "memory"):
        plan = events("rebalance", at(nodes[0]), "--by", by, "--threshold", 0, "--dry-run")[0]
        assert plan["slots"] < 1000
    run("rebalance", at(nodes[0]), "--by", "keys", "--threshold", 40, "--yes")
    agrees(nodes[0])
    each_once(nodes[:3], [*KEYS, *names])


def test_a_key_on_two_nodes(nodes: list[Server]) -> None:
    """Told apart from what can be mended, and mended as it was asked for."""
    owner, stray = nodes[0], nodes[1]
    with owner.wire() as here, stray.wire() as there:
        slot, name = next((here("CLUSTER", "KEYSLOT", key), key) for key in KEYS if here("EXISTS", key) == 1)
        put_astray(owner, stray, slot, name)
        told = run("fix", at(owner), "--yes", code=1)
        assert "is on two nodes with two values" in told
        assert here("GET", name) == name.encode()
        run("fix", at(owner), "--yes", "--conflicts", "owner")
        assert here("GET", name) == name.encode() and there("CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    agrees(owner)
    each_once(nodes[:3], KEYS)


def test_our_own_nodes() -> None:
    """In short: made, damaged, mended, and slots moved from one to the other."""
    with bare(HexadServer, 3) as nodes:
        run("create", "--yes", "--replicas", 0, *map(at, nodes))
        fill(nodes, KEYS)
        run("reshard", at(nodes[0]), "--to", id_of(nodes[2])[:8], "--count", 60, "--from", at(nodes[1]), "--yes")
        agrees(nodes[0])
        for node in nodes:
            with node.wire() as wire:
                assert wire("CLUSTER", "DELSLOTS", 5) == "OK"
        assert "nobody owns 1 slot 5" in run("check", at(nodes[0]), code=1)
        run("fix", at(nodes[0]), "--yes")
        agrees(nodes[0])
        each_once(nodes, KEYS)


class Impatient(Told):
    """Somebody presses Ctrl-C as soon as the first step is told of."""

    def write_out(self, text: str) -> None:
        super().write_out(text)
        if text.startswith("[1/"):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reshard", "--slots", "16200-16202", "--to"], "The same words again go on from what is there"),
        (["reshard", "--count", "3", "--to"], "The command that was printed first goes on with it"),
        (["rolling-restart", "--outage", "--only"], "leaves alone who has been restarted, if that is said at once"),
    ],
)
def test_how_to_go_on(nodes: list[Server], words: list[str], told: str) -> None:
    impatient = Impatient()
    assert main([words[0], at(nodes[0]), *words[1:], at(nodes[1]), "--yes"], impatient) == 1
    assert told in impatient.err, impatient.out + impatient.err
