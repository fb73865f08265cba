"""A local topology at work: starts its nodes, joins them, looks at them, stops them. The shell around `topology`.

What to do is decided there; here it is done, with a bound for each wait. Nodes are asked over plain connections, as any
client would.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from hexad.processes import NodeProcess, Place
from hexad.sight import Sight, key_count, parse_info, parse_nodes
from hexad.topology import (
    CLUSTER,
    NAMES,
    REPLICATION,
    SENTINEL,
    SENTINELS,
    AddSlots,
    Decision,
    Do,
    Done,
    Forget,
    Meet,
    Plan,
    Refuse,
    Replicate,
    SetEpoch,
    Step,
    TakeOver,
    Wait,
    decide,
    replace_lost,
    stop_order,
)
from hexad.view import LOG_LINES, NodeStatus, status_of, watched, with_lags
from node.net.client import RespClient
from node.net.resp import Failure, Reply
from node.platform import Platform

POLL_S = 0.05
REPEAT_S = 5.0
"""When a step that has shown no effect is taken again: what gossip carries can get lost."""
START_TIMEOUT_S = 60.0
"""For a node to answer; one that loads its data may take as long as it goes on saying so."""
STALL_TIMEOUT_S = 60.0
"""For the joining to get on: longer than four default node timeouts, since a failover may have to happen first."""
STOP_TIMEOUT_S = 60.0
"""For a node to save and end after it was asked to; then it is killed."""
LOOK_TIMEOUT_MS = 2000.0

Progress = Callable[[str], None]


class LocalError(Exception):
    """The topology cannot be brought up; the text says why."""


class LocalTopology:
    """The nodes of a plan. `stop` must be called once `start` has been, whatever became of it."""

    def __init__(self, plan: Plan, place: Place, program: Sequence[str], platform: Platform) -> None:
        self.plan = plan
        self.place = place
        self.program = program
        self.platform = platform
        self.processes: dict[int, NodeProcess] = {}
        self.proxy: NodeProcess | None = None
        self._taken: dict[Step, float] = {}
        self._links: dict[int, RespClient] = {}
        self._seen: dict[int, NodeStatus] = {}  # what each node said last

    # --- up -------------------------------------------------------------------------------------------------------

    async def start(self, progress: Progress) -> None:
        """Start every node, and return once each answers. Raises LocalError, PlaceError.

        A node whose directory was lost must not come back too soon: its replicas would take the empty newcomer at their
        primary's address for their primary, and drop the only copy of the data. So it starts when they have taken over.
        """
        ports = self.plan.ports
        new = [port for port in ports if not self.place.has_past(port)]
        if len(new) < len(ports) and self.plan.topology in (REPLICATION, SENTINEL) and ports[0] in new:
            raise LocalError(
                f"{self.place.node_directory(ports[0])} holds no data, and the replicas would drop theirs: "
                "copy the dump.rdb of a replica into it, or choose another --dir"
            )
        if self.plan.topology == CLUSTER and 0 < len(new) < len(ports):
            await self._start_nodes([port for port in ports if port not in new], progress)
            await self._until_settled(self._take_over_on, progress)
            await self._start_nodes(new, progress)
        else:
            await self._start_nodes(self.plan.data_ports, progress)
            # Later, since to a Sentinel a node that starts is one that is silent: it might be replaced.
            await self._start_nodes(self.plan.sentinel_ports, progress)

    async def _start_nodes(self, ports: Sequence[int], progress: Progress) -> None:
        if not ports:
            return
        watch = ports == self.plan.sentinel_ports
        progress(f"Starting {len(ports)} Sentinels" if watch else f"Starting {_nodes(len(ports))}")
        for port in ports:
            directory = self.place.node_directory(port)
            options = self.plan.node_options(port)
            if (file := self.plan.first_file(port)) is not None:
                self.place.provide_file(port, *file)
            self.processes[port] = await NodeProcess.start(self.program, port, directory, options)
        for port in ports:
            await self._await_answer(port, progress)

    async def _take_over_on(self) -> str:
        return await self._follow(replace_lost(await self._sights()))

    async def _await_answer(self, port: int, progress: Progress) -> None:
        deadline = trio.current_time() + START_TIMEOUT_S
        answer: object = None
        while trio.current_time() < deadline:
            self._check_running(port)
            try:
                answer = await self._ask_one(port, "PING")
            except OSError as error:
                answer = error
            else:
                if not isinstance(answer, Failure):
                    return
                if answer.startswith(b"LOADING"):
                    progress(f"Node {port} loads its data")
                    deadline = trio.current_time() + START_TIMEOUT_S
                elif answer.startswith(b"MASTERDOWN"):
                    return  # a replica whose primary is not there yet does answer
            await trio.sleep(POLL_S)
        raise LocalError(f"the node at port {port} does not answer PING: {_text(answer)}; its log: {self._log(port)}")

    async def join(self, progress: Progress) -> None:
        """Make one topology of the nodes, whatever they are now; return once it serves. Raises LocalError."""
        if self.plan.topology == CLUSTER:
            await self._until_settled(self._join_on, progress)
        elif self.plan.topology == SENTINEL:
            await self._until_settled(self._watch_on, progress)
        else:
            await self._until_settled(self._sync_on, progress)

    async def _until_settled(self, get_on: Callable[[], Awaitable[str]], progress: Progress) -> None:
        """Call `get_on` until it has nothing left to say. What it said changes, or the time is up."""
        said, deadline = "", trio.current_time() + STALL_TIMEOUT_S
        while True:
            for port in self.processes:
                self._check_running(port)
            try:
                text = await get_on()
            except OSError as error:
                text = str(error)
            if not text:
                return
            if text != said:
                said, deadline = text, trio.current_time() + STALL_TIMEOUT_S
                progress(f"Joining the nodes: {text}")
            if trio.current_time() >= deadline:
                raise LocalError(f"the nodes do not get on: {text} (for {STALL_TIMEOUT_S:.0f} s)")
            await trio.sleep(POLL_S)

    async def _join_on(self) -> str:
        return await self._follow(decide(self.plan, await self._sights()))

    async def _follow(self, decision: Decision) -> str:
        """Do what was decided; what is still to come, or "" at the end."""
        match decision:
            case Done():
                return ""
            case Refuse(why):
                raise LocalError(f"{why}. Nothing was changed; choose another --dir, or mend that one")
            case Wait(why):
                return why
            case Do(steps):
                refusals = [refusal for step in steps if (refusal := await self._take_in_time(step))]
                return refusals[0] if refusals else f"{NAMES[type(steps[0])]} {_nodes(len(steps))}"

    async def _take_in_time(self, step: Step) -> str:
        """Take a step, unless it was taken just before and its effect does not show yet."""
        now = trio.current_time()
        if now < self._taken.get(step, -REPEAT_S) + REPEAT_S:
            return ""
        self._taken[step] = now
        return await self._take(step)

    async def _take(self, step: Step) -> str:
        """Take a step; the text of the refusal, if a node refuses it (what it knows has just changed: look again)."""
        host = self.plan.host
        match step:
            case AddSlots(port, ranges):
                words: list[Any] = ["CLUSTER", "ADDSLOTSRANGE", *(slot for pair in ranges for slot in pair)]
            case SetEpoch(port, epoch):
                words = ["CLUSTER", "SET-CONFIG-EPOCH", epoch]
            case Meet(port, other_port):
                words = ["CLUSTER", "MEET", host, other_port]
            case Replicate(port, primary_id):
                words = ["CLUSTER", "REPLICATE", primary_id]
            case Forget(port, id):
                words = ["CLUSTER", "FORGET", id]
            case TakeOver(port):
                words = ["CLUSTER", "FAILOVER", "FORCE"]
        reply = await self._ask_one(port, *words)
        return f"node {port}: {words[1]}: {_text(reply)}" if isinstance(reply, Failure) else ""

    async def _sights(self) -> list[Sight]:
        sights = []
        for port in self.processes:
            nodes, state, info_text = await self._ask(port, ["CLUSTER", "NODES"], ["CLUSTER", "INFO"], ["INFO"])
            info = parse_info(_bulk(info_text))
            serves = parse_info(_bulk(state)).get("cluster_state") == "ok"
            synced = info.get("role") != "slave" or info.get("master_link_status") == "up"
            offset = int(info.get("slave_repl_offset", info.get("master_repl_offset", "0")))
            sights.append(Sight(port, parse_nodes(_bulk(nodes)), serves, key_count(info), synced, offset))
        return sights

    async def _sync_on(self) -> str:
        """Tell how many replicas of a plain topology still lack their primary's data."""
        replicas = [port for port in self.plan.ports if self.plan.primary_of(port) is not None]
        infos = [parse_info(_bulk((await self._ask(port, ["INFO", "replication"]))[0])) for port in replicas]
        synced = sum(info.get("master_link_status") == "up" for info in infos)
        return "" if synced == len(replicas) else f"{synced} of {_nodes(len(replicas))} have their primary's data"

    async def _watch_on(self) -> str:
        """Tell what is missing until one node is the primary, the others have its data, and all Sentinels know that."""
        ports = self.plan.data_ports
        infos = [parse_info(_bulk((await self._ask(port, ["INFO", "replication"]))[0])) for port in ports]
        primaries = [port for port, info in zip(ports, infos, strict=True) if info.get("role") == "master"]
        synced = sum(info.get("master_link_status") == "up" for info in infos)
        if len(primaries) != 1:
            return f"Sentinels to choose one primary of {len(primaries)}"
        if synced < len(ports) - 1:
            return f"{synced} of {_nodes(len(ports) - 1)} have their primary's data"
        for port in self.plan.sentinel_ports:
            info = parse_info(_bulk((await self._ask(port, ["INFO", "sentinel"]))[0]))
            seen = watched(info)
            if (seen.port, seen.replicas, seen.sentinels) != (primaries[0], len(ports) - 1, SENTINELS):
                return f"the Sentinel at port {port} to know everybody"
        return ""

    async def start_proxy(self, progress: Progress) -> None:
        """Start the proxy of the plan, and return once it answers. Raises LocalError, PlaceError."""
        port = self.plan.proxy_port
        if port is None:
            return
        progress("Starting the proxy")
        program = [*self.program[:-1], "proxy"]  # what starts a node, with another word
        directory = self.place.proxy_directory
        self.proxy = await NodeProcess.start(program, port, directory, self.plan.proxy_options())
        deadline = trio.current_time() + START_TIMEOUT_S
        while trio.current_time() < deadline:
            if not self.proxy.is_running:
                log = "\n    ".join([self.proxy.log_path, *self.proxy.last_log_lines(LOG_LINES)])
                raise LocalError(f"the proxy at port {port} ended ({self.proxy.ending}); its log: {log}")
            try:
                if not isinstance(await self._ask_one(port, "PING"), Failure):
                    return
            except OSError:
                await trio.sleep(POLL_S)
        raise LocalError(f"the proxy at port {port} does not answer PING; its log: {self.proxy.log_path}")

    # --- running --------------------------------------------------------------------------------------------------

    async def look(self) -> list[NodeStatus]:
        """Every node as it is now."""
        found: dict[int, NodeStatus] = {}

        async def look_at(port: int) -> None:
            found[port] = await self._look_at(port)

        async with trio.open_nursery() as nursery:
            for port in self.processes:
                nursery.start_soon(look_at, port)
        return with_lags([found[port] for port in sorted(found)])

    async def _look_at(self, port: int) -> NodeStatus:
        process = self.processes[port]
        if not process.is_running:
            log = tuple(process.last_log_lines(LOG_LINES))
            return NodeStatus(port, process.pid, f"down ({process.ending})", log=log)
        commands = [["INFO"], ["CLUSTER", "NODES"], ["CLUSTER", "INFO"]]
        try:
            replies = await self._ask(port, *(commands if self.plan.topology == CLUSTER else commands[:1]))
            info = parse_info(_bulk(replies[0]))
            known = parse_nodes(_bulk(replies[1])) if len(replies) > 1 else ()
            state = parse_info(_bulk(replies[2])).get("cluster_state", "") if len(replies) > 1 else ""
        except OSError:
            return NodeStatus(port, process.pid, "no answer")
        self._seen[port] = status_of(port, process.pid, info, known, state)
        return self._seen[port]

    @property
    def are_all_down(self) -> bool:
        return not any(process.is_running for process in self.processes.values())

    # --- down -----------------------------------------------------------------------------------------------------

    async def stop(self, progress: Progress) -> bool:
        """Ask the nodes to save and end, replicas first; tell whether all ended well by themselves and in time.

        Cancelled, or after STOP_TIMEOUT_S for a group, what still runs is killed.
        """
        try:
            with trio.CancelScope(shield=True), trio.move_on_after(LOOK_TIMEOUT_MS / 1000):
                await self.look()  # who is a replica now
            if self.proxy is not None and self.proxy.is_running:
                progress("Stopping the proxy")
                self.proxy.terminate()
                with trio.move_on_after(STOP_TIMEOUT_S):
                    await self.proxy.wait()
            sentinels = [port for port in self.plan.sentinel_ports if port in self.processes]
            if sentinels:  # before anybody whom they would miss
                await self._stop_group(sentinels, progress)
            others = [port for port in self.processes if port not in sentinels]
            for ports in stop_order([(port, self._is_replica(port)) for port in others]):
                await self._stop_group(ports, progress)
        finally:
            self._close()
            processes = [*self.processes.values(), *([] if self.proxy is None else [self.proxy])]
            for process in processes:
                process.kill()
            with trio.CancelScope(shield=True):
                for process in processes:
                    await process.wait()
        return all(process.ended_well for process in processes)

    def _is_replica(self, port: int) -> bool:
        seen = self._seen.get(port)
        return seen.role == "replica" if seen else self.plan.primary_of(port) is not None

    async def _stop_group(self, ports: Sequence[int], progress: Progress) -> None:
        for port in ports:
            self.processes[port].terminate()
        with trio.move_on_after(STOP_TIMEOUT_S):
            while running := [port for port in ports if self.processes[port].is_running]:
                progress(f"Stopping: {', '.join(map(str, running))} to save and end")
                await self.processes[running[0]].wait()
        for port in ports:
            if self.processes[port].is_running:
                progress(f"Node {port} did not end within {STOP_TIMEOUT_S:.0f} s: killed")

    def _close(self) -> None:
        for link in self._links.values():
            link.close()

    # --- asking ---------------------------------------------------------------------------------------------------

    async def _ask_one(self, port: int, *words: Any) -> Reply:
        return (await self._ask(port, list(words)))[0]

    async def _ask(self, port: int, *commands: list[Any]) -> list[Reply]:
        """Replies of one node. Raises OSError."""
        link = self._links.get(port)
        if link is None or not link.is_open:
            link = await RespClient.connect(self.platform, self.plan.host, port, timeout_ms=LOOK_TIMEOUT_MS)
            self._links[port] = link
            if self.plan.password:
                await link.call("AUTH", self.plan.password, timeout_ms=LOOK_TIMEOUT_MS)
        encoded = [[str(word).encode() for word in words] for words in commands]
        return await link.pipeline(encoded, timeout_ms=LOOK_TIMEOUT_MS)

    def _check_running(self, port: int) -> None:
        process = self.processes[port]
        if not process.is_running:
            raise LocalError(f"the node at port {port} ended ({process.ending}); its log: {self._log(port)}")

    def _log(self, port: int) -> str:
        process = self.processes[port]
        lines = process.last_log_lines(LOG_LINES)
        return "\n    ".join([process.log_path, *lines])


def _bulk(reply: Reply) -> bytes:
    """The text of a reply. Raises ConnectionError for a refusal: this node cannot be asked now."""
    if isinstance(reply, bytes) and not isinstance(reply, Failure):
        return reply
    raise ConnectionError(_text(reply))


def _text(reply: object) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
