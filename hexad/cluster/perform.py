"""Steps done, one at a time, each wait with a bound. The shell around the plans.

A step that finds the cluster other than its plan took it for raises `WorldChanged`: whoever runs the plan looks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import trio

from hexad.cluster.access import Access, Word, refused, says
from hexad.cluster.look import ask_node, look
from hexad.cluster.mover import MigrateMover, Pace, Progress, WorldChanged, migrate, mover_for
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.cluster.steps import (
    CloseSlot,
    CopyFunctions,
    Forget,
    GatherKeys,
    HandOver,
    Meet,
    MoveSlots,
    Replicate,
    Reset,
    Restart,
    Step,
    TakeSlots,
)
from hexad.reach import Address, show
from hexad.sight import ranges_of, ranges_text
from node.net.resp import Failure, Reply

LOOK_S = 0.1
"""Between two looks while something is waited for."""
AGREE_TIMEOUT_S = 60.0
"""For all nodes to hear of a change by gossip, and for cluster_state to follow."""
HAND_OVER_TIMEOUT_S = 20.0
"""For one manual failover: a node gives one up after five seconds; then it is ordered again."""
HAND_OVER_TRIES_MAX = 3
SYNC_TIMEOUT_S = 600.0
"""For a replica to get its primary's data; counted anew while the sync goes on moving bytes."""
END_TIMEOUT_S = 120.0
"""For a node to save and end."""
BACK_TIMEOUT_S = 300.0
"""For a node to come back; counted anew while it says that it loads its data."""
LAG_BYTES_MAX = 64 * 1024
"""A replica that lacks less than this of its primary's journal has caught up: a busy one is never quite there."""
WAIT_MAX_S = 3600.0
"""For any wait, however much keeps changing."""
SLOTS_AT_ONCE = 1000
"""In one ADDSLOTS, or in one pipeline of SETSLOT."""
KEEP, OWNER, STRAY = "keep", "owner", "stray"
"""What becomes of a key that is on two nodes with two values: both stay, the owner's one, the other one."""


class Performer:
    """Does steps. `conflicts` are the keys that were left on two nodes; `command` restarts nodes, if given."""

    def __init__(
        self, access: Access, seed: Address, pace: Pace, *, on_conflict: str = KEEP, command: str = ""
    ) -> None:
        self._access = access
        self.seed = seed
        self._pace = pace
        self._on_conflict = on_conflict
        self._command = command
        self.picture = Picture(())
        self.conflicts: list[tuple[int, bytes]] = []

    async def look(self) -> Picture:
        """The cluster as it is now. Raises ClusterError."""
        self.picture = await look(self._access, self.seed, [node.address for node in self.picture.answering])
        return self.picture

    async def perform(self, step: Step, progress: Progress) -> None:
        """Do a step. Raises OSError, WorldChanged, ClusterError."""
        match step:
            case MoveSlots(source, target, slots):
                await self._move(self._node(source), self._node(target), slots, progress)
            case TakeSlots(node, slots, losers):
                await self._take(self._node(node), slots, [self._node(id) for id in losers])
            case GatherKeys(slot, owner, source):
                await self._gather(slot, self._node(owner), self._node(source), progress)
            case CloseSlot(node, slot):
                await self._order(self._node(node), "SETSLOT", slot, "STABLE")
            case Meet(node, address, bus_port):
                await self._meet(self._node(node), address, bus_port)
            case CopyFunctions(source, address):
                await self._copy_functions(self._node(source), address)
            case Replicate(node, primary, _):
                await self._replicate(node, primary)
            case Forget(node, lost):
                await self._forget(self._node(node), lost)
            case Reset(address):
                await self._access.order(address, "CLUSTER", "RESET", "SOFT")
            case HandOver(replica, primary, mode):
                await self._hand_over(replica, primary, mode)
            case Restart(node):
                await self._restart(self._node(node))

    def _node(self, id: str) -> Node:
        node = self.picture.by_id.get(id)
        if node is None:
            raise WorldChanged(f"the node {id[:8]} is no member any more")
        return node

    async def _order(self, node: Node, *words: Word) -> Reply:
        """Let a node do what its state should allow. Raises WorldChanged if it refuses."""
        reply = await self._access.ask(node.address, "CLUSTER", *words)
        if isinstance(reply, Failure):
            raise WorldChanged(str(refused(node.address, words, reply)))
        return reply

    # --- slots ----------------------------------------------------------------------------------------------------

    async def _move(self, source: Node, target: Node, slots: Sequence[int], progress: Progress) -> None:
        await self._serving(source, target)
        open_already = {slot for slot, node in self.picture.open_slots() if node.id == source.id}
        if open_already & set(slots):  # begun by MIGRATE, so finished by it
            mover: MigrateMover | None = MigrateMover(self._access, self._pace)
        else:
            mover = None
        await (mover or await mover_for(self._access, source, target, self._pace)).move(source, target, slots, progress)

    async def _serving(self, *nodes: Node) -> None:
        """Nothing moves while the cluster is down: wait until these nodes are primaries that serve."""

        async def do_they() -> str:
            for node in nodes:
                now = await ask_node(self._access, node.address)
                if not now.is_primary or now.id != node.id:
                    raise WorldChanged(f"{node.name} is no primary any more")
                if now.state != "ok":
                    return f"cluster_state is {now.state} on {node.name}"
            return ""

        await self._until(do_they, AGREE_TIMEOUT_S)

    async def _take(self, winner: Node, slots: Sequence[int], losers: Sequence[Node]) -> None:
        """Give slots an owner. The losers let go of theirs first, and keep the keys.

        A loser that heard of the winner's claim before would drop its keys of these slots at once, as Redis does with
        slots that were won by somebody else. One that has given a slot up, and imports it, believes no claim and keeps
        its keys, until GatherKeys has brought them to the owner.
        """
        for start in range(0, len(slots), SLOTS_AT_ONCE):
            part = slots[start : start + SLOTS_AT_ONCE]
            for loser in losers:
                await self._let_go(loser, winner, part)
            taken = [slot for slot in part if winner.owners.get(slot, winner.id) != winner.id]
            missing = [slot for slot in part if winner.owners.get(slot) != winner.id]
            orders: list[list[Word]] = [["CLUSTER", "DELSLOTS", *taken], ["CLUSTER", "ADDSLOTS", *missing]]
            orders = [words for words in orders if len(words) > 2]
            for words, reply in zip(orders, await self._access.ask_all(winner.address, orders), strict=True):
                if isinstance(reply, Failure):
                    raise WorldChanged(str(refused(winner.address, words, reply)))
        await self._order(winner, "BUMPEPOCH")
        await self._until(lambda: self._all_see(winner.id, slots), AGREE_TIMEOUT_S)

    async def _let_go(self, loser: Node, winner: Node, slots: Sequence[int]) -> None:
        commands: list[list[Word]] = []
        counts = await self._access.ask_all(loser.address, [["CLUSTER", "COUNTKEYSINSLOT", slot] for slot in slots])
        for slot, keys in zip(slots, counts, strict=True):
            commands.append(["CLUSTER", "DELSLOTS", slot])
            commands.append(["CLUSTER", "SETSLOT", slot, "NODE", winner.id])
            if keys:
                commands.append(["CLUSTER", "SETSLOT", slot, "IMPORTING", winner.id])
        for words, reply in zip(commands, await self._access.ask_all(loser.address, commands), strict=True):
            if isinstance(reply, Failure) and words[1] != "DELSLOTS":  # which it may have let go of before
                raise WorldChanged(f"{loser.name}: {reply.decode('utf-8', 'replace')}")

    async def _all_see(self, owner: str, slots: Sequence[int]) -> str:
        """What is missing until everybody knows whose the slots are."""
        picture = await self.look()
        for node in picture.answering:
            deaf = dict(node.me.importing)  # to claims of what it imports
            wrong = [slot for slot in slots if node.owners.get(slot) != owner and slot not in deaf]
            if wrong:
                return f"{node.name} does not know the owner of slots {ranges_text(ranges_of(wrong))} yet"
        return ""

    # --- keys astray ----------------------------------------------------------------------------------------------

    async def _gather(self, slot: int, owner: Node, source: Node, progress: Progress) -> None:
        """Bring keys home. An open slot is what lets MIGRATE work on a node that does not own it."""
        await self._serving(owner)
        reply = await self._access.ask(source.address, "CLUSTER", "SETSLOT", slot, "NODE", owner.id)
        if not isinstance(reply, Failure):
            reply = await self._access.ask(source.address, "CLUSTER", "SETSLOT", slot, "IMPORTING", owner.id)
        if isinstance(reply, Failure):
            raise WorldChanged(f"{source.name}: {reply.decode('utf-8', 'replace')}")
        left: set[bytes] = set()
        while True:
            count = self._pace.batch_keys + len(left)
            keys = [key for key in await self._order(source, "GETKEYSINSLOT", slot, count) if key not in left]
            if not keys:
                break
            reply = await migrate(self._access, source, owner, keys, replace=False)
            if isinstance(reply, Failure):
                for key in keys:
                    if not await self._bring(key, owner, source):
                        left.add(key)
            progress(0, len(keys))
            await self._pace.rest(len(keys))
        self.conflicts += [(slot, key) for key in sorted(left)]
        await self._order(source, "SETSLOT", slot, "STABLE")

    async def _bring(self, key: bytes, owner: Node, source: Node) -> bool:
        """Bring one key; False if both nodes have it with two values, and both shall stay."""
        reply = await migrate(self._access, source, owner, [key], replace=self._on_conflict == STRAY)
        if not isinstance(reply, Failure):
            return True
        if not says(reply, b"BUSYKEY"):
            raise WorldChanged(f"{source.name}: MIGRATE: {reply.decode('utf-8', 'replace')}")
        _, stray = await self._access.ask_all(source.address, [["ASKING"], ["DUMP", key]])
        kept = await self._access.ask(owner.address, "DUMP", key)
        if stray != kept and self._on_conflict != OWNER:
            return False
        await self._access.ask_all(source.address, [["ASKING"], ["DEL", key]])
        return True

    # --- members --------------------------------------------------------------------------------------------------

    async def _meet(self, node: Node, address: Address, bus_port: int) -> None:
        (host, *_) = await self._access.platform.resolve(address[0])
        bus = [bus_port] if bus_port not in (0, address[1] + 10000) else []
        await self._order(node, "MEET", host, address[1], *bus)
        new = await ask_node(self._access, address)

        async def known() -> str:
            picture = await self.look()
            if new.id not in picture.by_id:
                return f"{show(address)} is not known yet"
            everybody = set(picture.by_id)
            for one in picture.answering:
                if not everybody <= {known.id for known in one.known}:
                    return f"{one.name} does not know all others yet"
            return ""

        await self._until(known, AGREE_TIMEOUT_S)

    async def _copy_functions(self, source: Node, address: Address) -> None:
        dump = await self._access.ask(source.address, "FUNCTION", "DUMP")
        if isinstance(dump, bytes) and not isinstance(dump, Failure):  # a Redis before 7.0 has no functions
            await self._access.order(address, "FUNCTION", "RESTORE", dump, "REPLACE")

    async def _replicate(self, id: str, primary: str) -> None:
        await self.look()
        await self._order(self._node(id), "REPLICATE", primary)
        await self._until(lambda: self._synced(id, primary), SYNC_TIMEOUT_S)

    async def _synced(self, id: str, primary: str) -> str:
        picture = await self.look()
        node = picture.by_id.get(id)
        if node is None or not node.is_synced:
            left = "" if node is None else node.info.get("master_sync_left_bytes", "")
            return f"{picture.name_of(id)} is without its primary's data yet {left}".rstrip()
        for one in picture.answering:
            if not any(known.id == id and known.primary == primary for known in one.known):
                return f"{one.name} does not know yet whom {node.name} follows"
        return ""

    async def _forget(self, node: Node, lost: str) -> None:
        reply = await self._access.ask(node.address, "CLUSTER", "FORGET", lost)
        if isinstance(reply, Failure) and not says(reply, b"Unknown node"):
            raise WorldChanged(f"{node.name}: FORGET: {reply.decode('utf-8', 'replace')}")

    # --- roles ----------------------------------------------------------------------------------------------------

    async def _hand_over(self, replica: str, primary: str, mode: str) -> None:
        seen = ""
        for _ in range(HAND_OVER_TRIES_MAX):
            await self.look()
            node = self._node(replica)
            if not node.is_primary:
                if not mode:
                    await self._until(lambda: self._caught_up(replica), SYNC_TIMEOUT_S)
                await self._order(node, "FAILOVER", *([mode] if mode else []))
            with trio.move_on_after(HAND_OVER_TIMEOUT_S):
                while seen := await self._is_handed_over(replica, primary, forced=bool(mode)):
                    await trio.sleep(LOOK_S)
                return
        raise ClusterError(f"{self.picture.name_of(replica)} did not take over: {seen}; look at its log")

    async def _caught_up(self, id: str) -> str:
        await self.look()
        node = self._node(id)
        return "" if node.is_synced else f"{node.name} is without its primary's data"

    async def _is_handed_over(self, replica: str, primary: str, *, forced: bool) -> str:
        """What is missing. Where it was forced, more may be wrong with the cluster than this can mend."""
        picture = await self.look()
        node, old = picture.by_id.get(replica), picture.by_id.get(primary)
        if node is None or not node.is_primary:
            return f"{picture.name_of(replica)} is no primary yet"
        if old is not None and old.answers and (old.is_primary or not old.is_synced):
            return f"{old.name} does not follow it yet"
        for one in picture.answering:
            if any(one.owners.get(slot) != replica for slot in node.slots):
                return f"{one.name} has not heard of it yet"
            if one.state != "ok" and not forced:
                return f"cluster_state is {one.state} on {one.name}"
        return ""

    # --- restarts -------------------------------------------------------------------------------------------------

    async def _restart(self, node: Node) -> None:
        before = (await ask_node(self._access, node.address)).info.get("run_id", "")
        if self._command:
            await self._run(self._command_for(node))
        else:
            with suppress(OSError):  # it ends, and says so by nothing else
                reply = await self._access.ask(node.address, "SHUTDOWN", timeout_ms=END_TIMEOUT_S * 1000)
                if isinstance(reply, Failure):
                    raise ClusterError(f"{node.name} does not end: {reply.decode('utf-8', 'replace')}")
        self._access.forget(node.address)
        await self._await_back(node, before)
        await self._until(self._all_well, SYNC_TIMEOUT_S)

    def _command_for(self, node: Node) -> str:
        host, port = node.address
        return self._command.replace("%h", host).replace("%p", str(port)).replace("%i", node.id)

    async def _run(self, command: str) -> None:
        process = await self._access.platform.start_program(["sh", "-c", f"exec 1>&2; {command}"])
        try:
            with trio.move_on_after(END_TIMEOUT_S + BACK_TIMEOUT_S):
                if code := await process.wait():
                    raise ClusterError(f"{command!r} ended with {code}: the node may not have been restarted")
                return
            raise ClusterError(f"{command!r} does not end")
        finally:
            if process.returncode is None:
                process.kill()

    async def _await_back(self, node: Node, before: str) -> None:
        """Wait for another process at the node's address."""
        deadline = trio.current_time() + BACK_TIMEOUT_S
        seen = "it still runs"
        while trio.current_time() < deadline:
            try:
                info = await self._access.ask(node.address, "INFO")
                text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
                if isinstance(info, Failure) or f"run_id:{before}\r\n" in text:
                    seen = "it has not ended" if not isinstance(info, Failure) else text
                elif "\r\nloading:1\r\n" in text:
                    seen, deadline = "it loads its data", trio.current_time() + BACK_TIMEOUT_S
                else:
                    return
            except OSError as error:
                seen = str(error)
            await trio.sleep(LOOK_S)
        raise ClusterError(
            f"{node.name} did not come back: {seen}. Does a supervisor start it again? (or use --command)"
        )

    async def _all_well(self) -> str:
        picture = await self.look()
        for node in picture.nodes:
            if not node.answers:
                return f"{node.name} does not answer: {node.failure}"
            if node.state != "ok":
                return f"cluster_state is {node.state} on {node.name}"
            if any(known.is_failing for known in node.known):
                return f"{node.name} holds a node for dead still"
            if not node.is_synced:
                return f"{node.name} is without its primary's data"
            primary = picture.by_id.get(node.me.primary)
            if primary is not None and primary.offset - node.offset > LAG_BYTES_MAX:
                return f"{node.name} has not caught up with its primary"
        return ""

    # --- waiting --------------------------------------------------------------------------------------------------

    async def _until(self, missing: Callable[[], Awaitable[str]], timeout_s: float) -> None:
        """Wait until nothing is missing. What is missing changes, or the time is up. Raises ClusterError."""
        said, deadline = "", trio.current_time() + timeout_s
        end = trio.current_time() + WAIT_MAX_S
        while True:
            try:
                text = await missing()
            except OSError as error:
                text = str(error)
            if not text:
                return
            if text != said:
                said, deadline = text, trio.current_time() + timeout_s
            if trio.current_time() >= min(deadline, end):
                raise ClusterError(f"{text} (waited {timeout_s:.0f} s)")
            await trio.sleep(LOOK_S)
