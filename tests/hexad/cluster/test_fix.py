"""Every damage that redis-cli mends, on genuine nodes and on ours: mended, no key lost, and redis-cli agrees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.slots import slot_of
from tests.hexad.cluster.support import KINDS, PASSWORD, agrees, at, bare, each_once, fill, id_of, put_astray, run
from tests.support import wait_until
from tests.support.servers import Server

pytestmark = pytest.mark.long
KEYS = [f"key:{number}" for number in range(300)]
TAGGED = [f"{{fix}}:{number}" for number in range(20)]
SLOT = slot_of(b"{fix}")


@pytest.fixture(scope="module", params=KINDS)
def nodes(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    with bare(KINDS[request.param], 3) as made:
        run("create", "--yes", "--replicas", 0, *map(at, made))
        fill(made, [*KEYS, *TAGGED])
        yield made


def sides(nodes: list[Server]) -> tuple[Server, Server, Server]:
    """The owner of SLOT, and the other two."""
    with nodes[0].wire() as wire:
        owner = next(entry[2][2].decode() for entry in wire("CLUSTER", "SLOTS") if entry[0] <= SLOT <= entry[1])
    source = next(node for node in nodes if id_of(node) == owner)
    others = [node for node in nodes if node is not source]
    return source, others[0], others[1]


def open_slot(
    source: Server, target: Server, *, migrating: bool = True, importing: bool = True, moved: int = 0
) -> None:
    """What a move leaves that was cut short: the slot open on these sides, and so many keys at the target."""
    with source.wire() as here, target.wire() as there:
        if importing:
            assert there("CLUSTER", "SETSLOT", SLOT, "IMPORTING", id_of(source)) == "OK"
        if migrating:
            assert here("CLUSTER", "SETSLOT", SLOT, "MIGRATING", id_of(target)) == "OK"
        if moved:
            assert (
                here("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *TAGGED[:moved])
                == "OK"
            )


def mended(nodes: list[Server], *told: str) -> None:
    found = run("check", at(nodes[0]), code=1)
    for text in told:
        assert text in found
    assert "Mended." in run("fix", at(nodes[1]), "--yes")
    assert "All is well" in run("check", at(nodes[2]))
    agrees(nodes[0])
    each_once(nodes, [*KEYS, *TAGGED])


def test_a_move_that_was_cut_short(nodes: list[Server]) -> None:
    source, target, _ = sides(nodes)
    open_slot(source, target, moved=7)
    mended(nodes, f"1 slot {SLOT} open (migrating)", f"1 slot {SLOT} open (importing)")
    assert sides(nodes)[0] is target, "it is finished, not taken back"


def test_the_key_was_copied_and_not_deleted(nodes: list[Server]) -> None:
    source, target, _ = sides(nodes)
    open_slot(source, target)
    with source.wire() as here:
        words = ["MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "COPY", "AUTH", PASSWORD, "KEYS"]
        assert here(*words, TAGGED[0]) == "OK"
        assert here("SET", TAGGED[0], "written since") == "OK"
    mended(nodes)
    with target.wire() as wire:
        assert wire("GET", TAGGED[0]) == b"written since", "the source served it: its value is the right one"


@pytest.mark.parametrize(("migrating", "importing"), [(True, False), (False, True)])
def test_open_on_one_side(nodes: list[Server], migrating: bool, importing: bool) -> None:
    source, target, _ = sides(nodes)
    open_slot(source, target, migrating=migrating, importing=importing)
    mended(nodes, "open (migrating)" if migrating else "open (importing)")
    assert sides(nodes)[0] is source


def test_keys_on_several_nodes(nodes: list[Server]) -> None:
    """Some have moved to one node, some to another, and nobody says so any more."""
    source, one, two = sides(nodes)
    open_slot(source, one, moved=5)
    with source.wire() as here, one.wire() as there:
        assert there("CLUSTER", "SETSLOT", SLOT, "STABLE") == "OK"
        assert here("CLUSTER", "SETSLOT", SLOT, "STABLE") == "OK"
    put_astray(source, two, SLOT, "{fix}:new")
    mended(nodes, "which others own")
    with source.wire() as here:
        assert here("GET", "{fix}:new") == b"another value" and here("DEL", "{fix}:new") == 1


def test_slots_that_nobody_owns(nodes: list[Server]) -> None:
    source, *_ = sides(nodes)
    for node in nodes:
        with node.wire() as wire:
            for slot in (SLOT, *range(100, 110)):
                assert wire("CLUSTER", "DELSLOTS", slot) == "OK"
    mended(nodes, "nobody owns 11 slots")
    assert sides(nodes)[0] is source, "who has the keys gets the slot"


def test_a_slot_that_two_own(nodes: list[Server]) -> None:
    """Both believe it is theirs: the epochs are alike in what they say, and each holds keys of it."""
    source, thief, _ = sides(nodes)
    put_astray(source, thief, SLOT, "{fix}:stolen")
    with thief.wire() as there:
        assert there("CLUSTER", "SETSLOT", SLOT, "IMPORTING", id_of(source)) == "OK"
        with source.wire() as here:  # which hears no claim of a slot that it imports
            assert here("CLUSTER", "SETSLOT", SLOT, "MIGRATING", id_of(thief)) == "OK"
    told = run("fix", at(nodes[0]), "--yes")
    assert "Mended." in told
    agrees(nodes[0])
    with sides(nodes)[0].wire() as wire:
        assert wire("DEL", "{fix}:stolen") == 1
    each_once(nodes, [*KEYS, *TAGGED])


def test_a_dead_primary_is_given_up(nodes: list[Server]) -> None:
    """Last, for its data is lost."""
    source, dead, _ = sides(nodes)
    dead.kill()
    wait_until(lambda: "does not answer" in run("check", at(source), code=1), 30, "it is told")
    assert "give-up-unreachable" in run("fix", at(source), "--yes", code=1)
    told = run("fix", at(source), "--yes", "--give-up-unreachable", code=1)
    assert "start it again, or hexad cluster remove" in told
    run("remove", at(source), at(dead), "--yes")
    assert "All is well: 16384 slots" in run("check", at(source))
    agrees(source)
