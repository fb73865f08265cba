"""The two ways of moving slots, by scripts: what is sent to whom, in which order, and what becomes of refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import trio

from hexad.cluster.access import Access, Word
from hexad.cluster.measure import LOAD, slot_costs
from hexad.cluster.mover import OPEN_MAX, PACED_SLOTS, AtomicMover, MigrateMover, Pace, WorldChanged, mover_for
from hexad.cluster.picture import Node
from hexad.reach import Address, Credentials
from node.net.resp import Failure, Status
from tests.hexad.cluster.pictures import Model, picture

SOURCE, TARGET = picture([Model("s", {1, 2, 3}), Model("t")]).nodes
OK = Status(b"OK")
Answer = Callable[[Node, list[Word]], Any]


class Script(Access):
    """Answers as it is told to, and remembers what was asked: "s SETSLOT 1 MIGRATING"."""

    def __init__(self, answer: Answer, credentials: Credentials | None = None) -> None:
        self.credentials = credentials or Credentials()
        self.timeout_ms = 1000
        self._unguarded = set()
        self.asked: list[str] = []
        self._answer = answer

    async def ask_all(
        self, address: Address, commands: Sequence[Sequence[Word]], *, timeout_ms: float | None = None
    ) -> list[Any]:
        node = SOURCE if address == SOURCE.address else TARGET
        replies = []
        for words in commands:
            self.asked.append(" ".join([node.id[0], *(_text(word) for word in words if word != "CLUSTER")]))
            replies.append(self._answer(node, list(words)))
            await trio.lowlevel.checkpoint()
        return replies


def _text(word: Word) -> str:
    text = word.decode() if isinstance(word, bytes) else str(word)
    return text[0] + "*" if len(text) == 40 else text


class Keys:
    """A source with keys in its slots, two nodes without opinions of their own."""

    def __init__(self, keys: dict[int, list[bytes]]) -> None:
        self.keys = keys
        self.refusals: list[Failure] = []

    def __call__(self, node: Node, words: list[Word]) -> Any:
        if words[1:2] == ["GETKEYSINSLOT"]:
            slot, count = cast(int, words[2]), cast(int, words[3])
            return self.keys.get(slot, [])[:count]
        if words[0] == "MIGRATE":
            if self.refusals:
                return self.refusals.pop(0)
            moved = words[words.index("KEYS") + 1 :]
            self.keys = {slot: [key for key in keys if key not in moved] for slot, keys in self.keys.items()}
        return OK


async def moved(access: Script, mover: type[MigrateMover] | type[AtomicMover], slots: list[int]) -> tuple[int, int]:
    counts = [0, 0]

    def progress(slots: int, keys: int) -> None:
        counts[0] += slots
        counts[1] += keys

    await mover(access, Pace(batch_keys=2)).move(SOURCE, TARGET, slots, progress)
    return counts[0], counts[1]


async def test_slots_are_opened_emptied_and_handed_over() -> None:
    access = Script(Keys({1: [b"a", b"b", b"c"]}), Credentials("me", "pw"))
    assert await moved(access, MigrateMover, [1, 2]) == (2, 3)
    host, port = TARGET.address
    assert access.asked == [
        "t SETSLOT 1 IMPORTING s*",
        "t SETSLOT 2 IMPORTING s*",
        "s SETSLOT 1 MIGRATING t*",
        "s SETSLOT 2 MIGRATING t*",
        "s GETKEYSINSLOT 1 2",
        "s GETKEYSINSLOT 2 2",
        f"s MIGRATE {host} {port}  0 60000 REPLACE AUTH2 me pw KEYS a b",
        "s GETKEYSINSLOT 1 2",
        f"s MIGRATE {host} {port}  0 60000 REPLACE AUTH2 me pw KEYS c",
        "s GETKEYSINSLOT 1 2",
        "t SETSLOT 1 NODE t*",
        "t SETSLOT 2 NODE t*",
        "s SETSLOT 1 NODE t*",
        "s SETSLOT 2 NODE t*",
    ]


async def test_few_slots_are_open_at_a_time() -> None:
    access = Script(Keys({}))
    assert await moved(access, MigrateMover, list(range(2 * OPEN_MAX))) == (2 * OPEN_MAX, 0)
    opened = [at for at, asked in enumerate(access.asked) if "MIGRATING" in asked]
    over = [at for at, asked in enumerate(access.asked) if asked.startswith("s") and "NODE" in asked]
    assert opened[OPEN_MAX] > over[OPEN_MAX - 1]


async def test_a_broken_link_between_the_nodes_is_tried_again() -> None:
    keys = Keys({1: [b"a"]})
    keys.refusals = [Failure(b"IOERR error or timeout reading to target instance")] * 2
    assert await moved(Script(keys), MigrateMover, [1]) == (1, 1)
    keys = Keys({1: [b"a"]})
    keys.refusals = [Failure(b"IOERR error or timeout reading to target instance")] * 3
    with pytest.raises(WorldChanged, match="refuses MIGRATE"):
        await moved(Script(keys), MigrateMover, [1])


async def test_what_the_target_has_already_is_only_told_to_the_source() -> None:
    def answer(node: Node, words: list[Word]) -> Any:
        return Failure(b"ERR I'm already the owner of hash slot 1") if "IMPORTING" in words else OK

    access = Script(answer)
    assert await moved(access, MigrateMover, [1]) == (1, 0)
    assert access.asked == ["t SETSLOT 1 IMPORTING s*", "t SETSLOT 1 NODE t*", "s SETSLOT 1 NODE t*"]


@pytest.mark.parametrize("refused", ["IMPORTING", "MIGRATING", "NODE"])
async def test_another_world_than_the_plan_knew(refused: str) -> None:
    def answer(_node: Node, words: list[Word]) -> Any:
        if refused in words:
            return Failure(b"ERR Please use SETSLOT only with masters.") if refused != "NODE" else Failure(b"ERR no")
        return [] if "GETKEYSINSLOT" in words else OK

    with pytest.raises(WorldChanged, match="refuses SETSLOT 1"):
        await moved(Script(answer), MigrateMover, [1])


# --- atomically -------------------------------------------------------------------------------------------------------


class Tasks:
    """A target that knows CLUSTER MIGRATION: `states` are what it says of a task, look after look."""

    def __init__(self, *states: bytes, earlier: int = 0) -> None:
        self.states = list(states)
        self.earlier = earlier
        self.copied = 0

    def __call__(self, _node: Node, words: list[Word]) -> Any:
        match words[2:4]:
            case ["IMPORT", *_]:
                return b"7" * 40
            case ["STATUS", "ALL"]:
                self.earlier -= 1
                return [[b"id", b"x", b"state", b"snapshot"]] if self.earlier >= 0 else []
            case ["STATUS", "ID"]:
                state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
                self.copied += 2
                told = [b"id", b"7" * 40, b"state", state, b"keys_copied", self.copied]
                return [[*told, b"last_error", b"the source died"]]
        return 1


async def test_an_atomic_migration(autojump_clock: trio.testing.MockClock) -> None:
    access = Script(Tasks(b"connecting", b"snapshot", b"completed", earlier=2))
    assert await moved(access, AtomicMover, [1, 2, 7]) == (3, 6)
    assert (
        access.asked
        == ["t MIGRATION STATUS ALL"] * 3 + ["t MIGRATION IMPORT 1 2 7 7"] + ["t MIGRATION STATUS ID 7*"] * 3
    )


async def test_a_failed_one_tells_why(autojump_clock: trio.testing.MockClock) -> None:
    access = Script(Tasks(b"snapshot", b"failed"))
    with pytest.raises(WorldChanged, match="the migration failed: the source died"):
        await moved(access, AtomicMover, [1])


async def test_whoever_is_cut_short_cancels_its_task(autojump_clock: trio.testing.MockClock) -> None:
    access = Script(Tasks(b"snapshot"))
    with trio.move_on_after(5):
        await moved(access, AtomicMover, [1])
    assert access.asked[-1] == "t MIGRATION CANCEL ID 7*"


async def test_the_way_that_both_know_is_taken() -> None:
    def knowing(*nodes: Node) -> Answer:
        return lambda node, _words: [[b"cluster|migration", -3] if node in nodes else None]

    pace = Pace()
    assert isinstance(await mover_for(Script(knowing(SOURCE, TARGET)), SOURCE, TARGET, pace), AtomicMover)
    assert isinstance(await mover_for(Script(knowing(TARGET)), SOURCE, TARGET, pace), MigrateMover)
    assert isinstance(await mover_for(Script(lambda *_: [None]), SOURCE, TARGET, pace), MigrateMover)


async def test_the_pace(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.current_time()
    keys = Keys({1: [b"%d" % number for number in range(20)]})
    await MigrateMover(Script(keys), Pace(5, keys_per_s=10, pause_ms=500)).move(SOURCE, TARGET, [1], lambda *_: None)
    assert trio.current_time() - started == pytest.approx(20 / 10 + 0.5)


async def test_the_pace_of_atomic_migrations(autojump_clock: trio.testing.MockClock) -> None:
    """They come in small portions then, with a rest after each."""
    started = trio.current_time()
    access = Script(Tasks(b"completed"))
    slots = list(range(PACED_SLOTS + 4))
    await AtomicMover(access, Pace(pause_ms=100)).move(SOURCE, TARGET, slots, lambda *_: None)
    assert [asked for asked in access.asked if "IMPORT" in asked] == [
        "t MIGRATION IMPORT 0 15",
        "t MIGRATION IMPORT 16 19",
    ]
    assert trio.current_time() - started == pytest.approx(0.1 * len(slots))


# --- costs ------------------------------------------------------------------------------------------------------------


async def test_load_is_what_counters_grow_by(autojump_clock: trio.testing.MockClock) -> None:
    """Slot 1 was busy once and slot 2 is now; the other node tells only how many commands it has run in all."""
    looks = {"s": 0, "t": 0}

    def answer(node: Node, words: list[Word]) -> Any:
        if words[1:2] == ["SLOT-STATS"] and node is SOURCE:
            looks["s"] += 1
            return [[1, [b"key-count", 1, b"cpu-usec", 9000]], [2, [b"key-count", 0, b"cpu-usec", 50 * looks["s"]]]]
        if words[1:2] == ["SLOT-STATS"]:
            return Failure(b"ERR unknown subcommand 'SLOT-STATS'. Try CLUSTER HELP.")
        if words == ["CLUSTER", "NODES"]:
            return b"%s 127.0.0.1:1@2 myself,master - 0 0 1 connected 4-5" % node.id.encode()
        if words[0] == "INFO":
            looks["t"] += 1
            return b"total_commands_processed:%d\r\n" % (1000 * looks["t"])
        if words[0] == "CLUSTER" and words[1] == "INFO":
            return b"cluster_state:ok\r\n"
        return {4: 3, 5: 1}.get(cast(int, words[2]), 0) if words[1:2] == ["COUNTKEYSINSLOT"] else 4

    cluster = picture([Model("s", {1, 2}), Model("t", {4, 5})])
    costs = await slot_costs(Script(answer), cluster, LOAD)
    assert costs == {1: 0.0, 2: 50.0, 4: 750.0, 5: 250.0}
