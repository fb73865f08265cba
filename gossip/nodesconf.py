"""nodes.conf: the cluster's state as the text that outlives a restart.

One node a line, then one line of variables:

    <id> <ip>:<port>@<cport>[,hostname[,name=value...]] <flags> <primary id or -> <ping ms> <pong ms> <epoch>
         <connected|disconnected> [slot] [first-last] [[slot->-id]] [[slot-<-id]]
    vars currentEpoch <n> lastVoteEpoch <n> [clusterId <40 hexadecimal digits>] [voters <version>:<epoch>:<id>,<id>...]
         [leftover <first>-<last>[,...]]
         [voterStep <number>:<id>:<number>:<id>:<id>,<id>...:<id>,<id>...] [crc32 <8 hexadecimal digits>]

Redis skips variables that it does not know; the last five are ours.  The two about voters (`gossip.electorate`) tell
the agreed version, and of the step to the next one the round promised, the round accepted, what was proposed in that,
and who takes the step.  The checksum covers everything in front of it but the addresses, which operators and start
scripts write anew: a wrong address is corrected by the bus, a wrong id or epoch by nobody.  A file without a checksum
(of Redis) is read, too.

Redis 7.2 writes `tls-port` or `tcp-port`, `nodename` and `shard-id` behind the hostname; 7.0 stops at the
hostname.  We write the form of 7.2 and read both.  A replica's line carries its primary's epoch; nodes in
handshake are left out.

Only `NodesConfError` is raised for anything a file may contain; it names the line.  The `vars` line is
written last, so a file without it was cut short and is refused: half a table of slots is worse than none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from gossip.electorate import NO_ROUND, Electorate, Round, are_voters
from gossip.packet import (
    FAILED,
    HANDSHAKE,
    MYSELF,
    NOADDR,
    NOFAILOVER,
    PFAIL,
    PRIMARY,
    REPLICA,
    ranges_in,
)
from gossip.state import ClusterState, Node, is_name, is_node_id
from node.slots import SLOTS

FLAG_NAMES = (
    (MYSELF, "myself"),
    (PRIMARY, "master"),
    (REPLICA, "slave"),
    (PFAIL, "fail?"),
    (FAILED, "fail"),
    (HANDSHAKE, "handshake"),
    (NOADDR, "noaddr"),
    (NOFAILOVER, "nofailover"),
)
FLAG_OF = {name: flag for flag, name in FLAG_NAMES}
NUMBER_MAX = 2**63 - 1


class NodesConfError(Exception):
    """The text is no nodes.conf.  `line` counts from 1; 0 when the text as a whole is meant."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"nodes.conf line {line}: {reason}" if line else f"nodes.conf: {reason}")
        self.line = line


# ---- writing ---------------------------------------------------------------------------------------------------


def flag_text(flags: int) -> str:
    """Return the flags as CLUSTER NODES and the file have them."""
    return ",".join(name for flag, name in FLAG_NAMES if flags & flag) or "noflags"


def slot_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Return ranges of slots as ` 0-5 7`, each behind a space."""
    return "".join([f" {first}-{last}" if last > first else f" {first}" for first, last in ranges])


def describe(
    node: Node, state: ClusterState, *, aux: bool, tls: bool = False, host: str | None = None, port: int | None = None
) -> str:
    """Return a node's line without a newline.

    aux -- add the fields of 7.2's file; CLUSTER NODES has none of them.
    tls -- `node.port` is the TLS port, so that the other one is `tcp-port`.
    host, port -- the address and client port to show, the node's own without.
    """
    address = f"{node.ip if host is None else host}:{node.port if port is None else port}@{node.cport}"
    if aux:
        address += f",{node.hostname},{'tcp' if tls else 'tls'}-port={node.pport}"
        address += f",nodename={node.nodename}" if node.nodename else ""
        address += f",shard-id={node.shard_id}" if node.shard_id else ""
    elif node.hostname:
        address += f",{node.hostname}"
    primary_id = node.primary.id if node.primary is not None else "-"
    linked = node is state.myself or node.link_up
    line = (
        f"{node.id} {address} {flag_text(node.flags)} {primary_id} {node.ping_sent_ms} {node.pong_received_ms} "
        f"{node.source.config_epoch} {'connected' if linked else 'disconnected'}{slot_text(node.slot_ranges)}"
    )
    if node is state.myself:
        line += "".join(f" [{slot}->-{target.id}]" for slot, target in sorted(state.migrating.items()))
        line += "".join(f" [{slot}-<-{origin.id}]" for slot, origin in sorted(state.importing.items()))
    return line


def render(state: ClusterState, *, tls: bool = False) -> str:
    """Return the whole file."""
    lines = [describe(node, state, aux=True, tls=tls) for node in state.nodes.values() if not node.in_handshake]
    variables = f"vars currentEpoch {state.current_epoch} lastVoteEpoch {state.ballot.epoch}"
    variables += f" clusterId {state.cluster_id}" if state.cluster_id else ""
    leftover = ",".join(f"{first}-{last}" for first, last in ranges_in(state.leftover))
    variables += f" leftover {leftover}" if leftover else ""
    lines.append(variables + _voter_text(state.electorate))
    return "\n".join(lines) + f" crc32 {checksum(lines)}\n"


def _voter_text(electorate: Electorate) -> str:
    """The variables about voters, each behind a space; none for a node that never heard of them."""
    text = ""
    if electorate.version:
        text += f" voters {electorate.version}:{electorate.epoch}:{','.join(electorate.members)}"
    if electorate.promised != NO_ROUND:
        promised, accepted = electorate.promised, electorate.accepted
        text += f" voterStep {promised.number}:{promised.proposer}:{accepted.number}:{accepted.proposer}"
        text += f":{','.join(electorate.proposal)}:{','.join(electorate.base)}"
    return text


def checksum(lines: list[str]) -> str:
    """The CRC-32 of the lines, without the address (up to the comma) in each node's."""
    text = "".join(_without_address(line) + "\n" for line in lines)
    return f"{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def _without_address(line: str) -> str:
    node_id, _, rest = line.partition(" ")
    if node_id == "vars":
        return line
    address, gap, rest = rest.partition(" ")
    return f"{node_id} {address.partition(',')[2]}{gap}{rest}"


# ---- reading ---------------------------------------------------------------------------------------------------


def parse(text: str, *, tls: bool = False) -> ClusterState:
    """Return the state that the text tells.  Raises NodesConfError.

    tls -- the bus runs by TLS now, so that `Node.port` is to be the TLS port.
    """
    return _Reader(text, tls).read()


class _Reader:
    """One reading of one file.  Lines may name nodes that come later, so relations are tied at the end."""

    def __init__(self, text: str, tls: bool = False) -> None:
        self.tls = tls
        self.lines = text.split("\n")
        self.number = 0
        self.nodes: dict[str, Node] = {}
        self.primaries: list[tuple[Node, str]] = []
        self.slots: list[tuple[int, Node, list[str]]] = []
        self.variables: dict[str, int] | None = None
        self.cluster_id = ""
        self.leftover = 0
        self.electorate = Electorate()
        self.ended = text.endswith("\n")

    def fail(self, reason: str) -> NodesConfError:
        return NodesConfError(self.number, reason)

    def read(self) -> ClusterState:
        for number, line in enumerate(self.lines, 1):
            self.number = number
            words = line.split(" ")
            if line == "":
                continue
            if self.variables is not None:
                raise self.fail("nothing may follow the vars line")
            if words[0] == "vars":
                self.variables = self._variables(words[1:])
            else:
                self._node(words)
        self.number = 0
        if self.variables is None or not self.ended:
            raise self.fail("the vars line is missing or unfinished: the file was cut short")
        return self._state(self.variables)

    def _variables(self, words: list[str]) -> dict[str, int]:
        if len(words) % 2:
            raise self.fail("vars must come in pairs of name and value")
        known = {"currentEpoch": 0, "lastVoteEpoch": 0}
        for at, (name, value) in enumerate(zip(words[::2], words[1::2], strict=True)):
            if name in known:
                known[name] = self._number(value, NUMBER_MAX, name)
            elif name == "clusterId" and is_node_id(value):
                self.cluster_id = value
            elif name == "leftover":
                for word in value.split(","):
                    self.leftover |= self._range(word)
            elif name == "voters" and value.count(":") == 2:
                version, epoch, members = value.split(":")
                self.electorate.version = self._number(version, NUMBER_MAX, "version of the voters")
                self.electorate.epoch = self._number(epoch, NUMBER_MAX, "epoch of the voters")
                self.electorate.members = self._voters(members)
            elif name == "voterStep" and value.count(":") == 5:
                words_of_step = value.split(":")
                self.electorate.promised = self._round(*words_of_step[:2])
                self.electorate.accepted = self._round(*words_of_step[2:4])
                self.electorate.proposal, self.electorate.base = map(self._voters, words_of_step[4:])
            elif name == "crc32":
                self._check(value, " ".join(["vars", *words[: 2 * at]]))
            else:
                raise self.fail(f"unknown or wrong variable '{name[:60]} {value[:60]}'")
        return known

    def _voters(self, text: str) -> tuple[str, ...]:
        ids = tuple(text.split(",")) if text else ()
        if not are_voters(ids) or not all(map(is_node_id, ids)):
            raise self.fail(f"not the ids of voters: '{text[:60]}'")
        return ids

    def _round(self, number: str, proposer: str) -> Round:
        if proposer and not is_node_id(proposer):
            raise self.fail(f"not the id of a voter: '{proposer[:60]}'")
        return Round(self._number(number, NUMBER_MAX, "round of the voters"), proposer)

    def _check(self, told: str, variables: str) -> None:
        """Compare the checksum with that of the lines in front of it."""
        found = checksum([line for line in self.lines[: self.number - 1] if line] + [variables])
        if told != found:
            raise self.fail(f"the checksum is wrong ({told[:60]}, of what is here {found}): the file is damaged")

    def _number(self, text: str, largest: int, what: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= largest):
            raise self.fail(f"{what} is not a number from 0 to {largest}: '{text[:60]}'")
        return int(text)

    def _node(self, words: list[str]) -> None:
        if len(words) < 8:
            raise self.fail(f"a node needs 8 fields, here are {len(words)}")
        node_id, address, flags, primary_id, ping, pong, epoch, link, *slots = words
        if not is_node_id(node_id):
            raise self.fail(f"not a node id: '{node_id[:60]}'")
        if node_id in self.nodes:
            raise self.fail(f"node {node_id} comes twice")
        node = Node(node_id, self._flags(flags))
        self.nodes[node_id] = node
        self._address(node, address)
        node.ping_sent_ms = self._number(ping, NUMBER_MAX, "ping time")
        node.pong_received_ms = self._number(pong, NUMBER_MAX, "pong time")
        node.config_epoch = self._number(epoch, NUMBER_MAX, "config epoch")
        if link not in ("connected", "disconnected"):
            raise self.fail(f"link state is neither connected nor disconnected: '{link[:60]}'")
        if primary_id != "-":
            if not is_node_id(primary_id) or primary_id == node_id:
                raise self.fail(f"not the id of a primary: '{primary_id[:60]}'")
            if not node.is_replica:
                raise self.fail("a node that is no slave has a primary")
            self.primaries.append((node, primary_id))
        self.slots.append((self.number, node, slots))

    def _flags(self, text: str) -> int:
        flags = 0
        for name in text.split(","):
            if name != "noflags" and name not in FLAG_OF:
                raise self.fail(f"Unknown flag in redis cluster config file: '{name[:60]}'")
            flags |= FLAG_OF.get(name, 0)
        if flags & PRIMARY and flags & REPLICA:
            raise self.fail("a node cannot be master and slave")
        return flags

    def _address(self, node: Node, text: str) -> None:
        """Read ``ip:port@cport[,hostname[,name=value...]]``; the ip may hold colons."""
        address, *rest = text.split(",")
        ip, colon, ports = address.rpartition(":")
        port, at, cport = ports.partition("@")
        if not colon or len(ip) > 45 or not ip.isascii() or not ip.isprintable():
            raise self.fail(f"not an address: '{address[:60]}'")
        node.ip = ip
        node.port = self._number(port, 65535, "port")
        node.cport = self._number(cport, 65535, "bus port") if at else min(node.port + 10000, 65535)
        if rest:
            if not is_name(rest[0]):
                raise self.fail(f"not a hostname: '{rest[0][:60]}'")
            node.hostname = rest[0]
        for pair in rest[1:]:
            self._aux(node, *pair.partition("=")[::2])

    def _aux(self, node: Node, name: str, value: str) -> None:
        if name in ("tls-port", "tcp-port"):
            node.pport = self._number(value, 65535, name)
            if self.tls != (name == "tcp-port"):  # it was written when the other port was the cluster's
                node.port, node.pport = node.pport or node.port, node.port if node.pport else 0
        elif name == "nodename" and is_name(value):
            node.nodename = value
        elif name == "shard-id" and is_node_id(value):
            node.shard_id = value
        else:
            raise self.fail(f"unknown or wrong field '{name[:60]}={value[:60]}'")

    def _state(self, variables: dict[str, int]) -> ClusterState:
        mine = [node for node in self.nodes.values() if node.flags & MYSELF]
        if len(mine) != 1:
            raise self.fail(f"{len(mine)} nodes are flagged myself, one must be")
        state = ClusterState(mine[0])
        state.nodes = self.nodes
        state.current_epoch = variables["currentEpoch"]
        state.ballot.epoch = variables["lastVoteEpoch"]
        state.cluster_id = self.cluster_id
        state.leftover = self.leftover
        state.electorate = self.electorate
        try:
            state.electorate.check()
        except AssertionError as error:
            raise self.fail(f"what it tells of voters makes no sense: {error}") from None
        for node, primary_id in self.primaries:
            if primary_id not in self.nodes:
                # It was in handshake when the file was written.  Its first ping will bring its address.
                self.nodes[primary_id] = Node(primary_id, PRIMARY | NOADDR)
            state.attach(node, self.nodes[primary_id])
        for number, node, words in self.slots:
            self.number = number
            for word in words:
                self._slot(state, node, word)
        # The current epoch is at least every other, whatever the file says.
        state.current_epoch = max(state.max_epoch(), state.ballot.epoch)
        return state

    def _slot(self, state: ClusterState, node: Node, word: str) -> None:
        if word.startswith("["):
            self._open_slot(state, node, word)
            return
        bits = self._range(word)
        if bits & state.owned:
            raise self.fail(f"slots of '{word}' belong to a node before")
        state.give(bits, node)

    def _range(self, word: str) -> int:
        """Read ``slot`` or ``first-last``; its bitmap."""
        first, dash, last = word.partition("-")
        start = self._number(first, SLOTS - 1, "slot")
        end = self._number(last, SLOTS - 1, "slot") if dash else start
        if end < start:
            raise self.fail(f"a range of slots ends before it begins: '{word[:60]}'")
        return (1 << (end + 1)) - (1 << start)

    def _open_slot(self, state: ClusterState, node: Node, word: str) -> None:
        """Read ``[slot->-id]`` (migrating) or ``[slot-<-id]`` (importing)."""
        number, arrow, node_id = word[1:-1].partition("->-" if "->-" in word else "-<-")
        slot = self._number(number, SLOTS - 1, "slot")
        other = self.nodes.get(node_id)
        if not arrow or not word.endswith("]") or other is None or node is not state.myself:
            raise self.fail(f"not an open slot of ours with a known node: '{word[:60]}'")
        if arrow == "->-":
            state.set_migrating(slot, other)
        else:
            state.set_importing(slot, other)
