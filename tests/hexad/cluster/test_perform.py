"""The order in which the performer tells nodes things, where another order would lose keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hexad.cluster.access import Access, Word
from hexad.cluster.mover import Pace, WorldChanged
from hexad.cluster.perform import KEEP, OWNER, STRAY, Performer
from hexad.cluster.picture import Node
from hexad.cluster.steps import GatherKeys, Step, TakeSlots
from node.net.resp import Failure, Status
from tests.hexad.cluster.pictures import Model, picture
from tests.hexad.cluster.test_mover import SOURCE, TARGET, Script

OK = Status(b"OK")


class Believing(Performer):
    """Takes for granted what it would wait for."""

    async def _until(self, missing: Callable[[], Awaitable[str]], timeout_s: float) -> None:
        return


async def performed(access: Access, step: Step, *models: Model, on_conflict: str = KEEP) -> Performer:
    performer = Believing(access, ("h", 1), Pace(), on_conflict=on_conflict)
    performer.picture = picture(models)
    await performer.perform(step, lambda *_: None)
    return performer


async def test_who_loses_a_slot_lets_go_of_it_before_it_can_hear_of_the_winner() -> None:
    """It would drop its keys otherwise: here the source holds keys of slot 1, and none of slot 2."""

    def answer(node: Node, words: list[Word]) -> Any:
        return (3 if words[2] == 1 else 0) if words[1] == "COUNTKEYSINSLOT" else OK

    access = Script(answer)
    await performed(access, TakeSlots(TARGET.id, (1, 2, 3), (SOURCE.id,)), Model("s", {1, 2}), Model("t"))
    assert access.asked == [
        "s COUNTKEYSINSLOT 1",
        "s COUNTKEYSINSLOT 2",
        "s COUNTKEYSINSLOT 3",
        "s DELSLOTS 1",
        "s SETSLOT 1 NODE t*",
        "s SETSLOT 1 IMPORTING t*",
        "s DELSLOTS 2",
        "s SETSLOT 2 NODE t*",
        "s DELSLOTS 3",
        "s SETSLOT 3 NODE t*",
        "t DELSLOTS 1 2",
        "t ADDSLOTS 1 2 3",
        "t BUMPEPOCH",
    ]


async def test_a_refusal_is_another_world() -> None:
    refusing = Script(lambda _node, words: Failure(b"ERR Slot 1 is already busy") if words[1] == "ADDSLOTS" else OK)
    with pytest.raises(WorldChanged, match="already busy"):
        await performed(refusing, TakeSlots(TARGET.id, (1,)), Model("t"))
    with pytest.raises(WorldChanged, match="no member any more"):
        await performed(Script(lambda *_: OK), TakeSlots(TARGET.id, (1,)))


class Twice:
    """A stray node whose two keys the owner has, too: one of them with the same value."""

    def __init__(self) -> None:
        self.keys = [b"same", b"other"]

    def __call__(self, node: Node, words: list[Word]) -> Any:
        if words[0] == "DUMP":
            return b"dump" if words[1] == b"same" else node.id.encode()
        if words[1:2] == ["GETKEYSINSLOT"]:
            return list(self.keys)
        if words[0] == "DEL" or (words[0] == "MIGRATE" and "REPLACE" in words):
            self.keys = [key for key in self.keys if key not in words]
        elif words[0] == "MIGRATE":
            return Failure(b"ERR Target instance replied with error: BUSYKEY Target key name already exists.")
        return OK


@pytest.mark.parametrize(
    ("on_conflict", "left", "told"),
    [
        (KEEP, [(1, b"other")], ["DEL same"]),
        (OWNER, [], ["DEL same", "DEL other"]),
        (STRAY, [], []),
    ],
)
async def test_a_key_that_is_there_twice(on_conflict: str, left: list[tuple[int, bytes]], told: list[str]) -> None:
    twice = Twice()
    access = Script(twice)
    step = GatherKeys(1, TARGET.id, SOURCE.id)
    performer = await performed(access, step, Model("s"), Model("t", {1}), on_conflict=on_conflict)
    assert performer.conflicts == left and twice.keys == [key for _, key in left]
    assert [asked[2:] for asked in access.asked if " DEL " in asked] == told
    assert access.asked[:2] == ["s SETSLOT 1 NODE t*", "s SETSLOT 1 IMPORTING t*"]
    assert access.asked[-1] == "s SETSLOT 1 STABLE"
