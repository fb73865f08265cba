"""What CLUSTER's asking subcommands answer, as texts and as values.

Values are built of bytes, int, None, list and dict (a dict is a map in RESP3 and a flat array in RESP2), in the
order in which Redis gives them.  Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gossip.core import Core, known_node
from gossip.events import ClusterError
from gossip.networks import is_ip
from gossip.nodesconf import describe
from gossip.packet import KIND_NAMES
from gossip.state import Node
from gossip.suspicion import REPORT_LIFE

Value = Any
"""bytes, int, None, or a list or dict of such."""


def preferred_endpoint(core: Core, node: Node, network: str = "") -> str | None:
    """Return how clients are told to reach a node: its address in their network, if it has one there, else by
    `cluster-preferred-endpoint-type`.

    None is an unknown endpoint ("where you reached me"); `?` a hostname that was asked for and is not known.
    """
    there = node.networks.get(network) if network else None
    if there is not None:
        return there.host
    kind = core.settings.preferred_endpoint_type
    if kind == "hostname":
        return node.hostname or "?"
    return node.ip if kind == "ip" else None


def client_port(core: Core, node: Node, *, tls: bool, network: str = "") -> int:
    """Return the port for clients that came by TLS, or for those that did not; the only one if there is but one."""
    there = node.networks.get(network) if network else None
    if there is not None and (port := there.tls_port if tls else there.port):
        return port
    return node.port if tls == core.settings.tls or not node.pport else node.pport


def _bulk(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


# ---- texts -----------------------------------------------------------------------------------------------------


def nodes(core: Core, *, tls: bool = False, network: str = "") -> str:
    """CLUSTER NODES, for a client that came by TLS or not, and through a network with a name or none."""
    return "".join(_line(core, node, tls, network) + "\n" for node in core.state.nodes.values())


def _line(core: Core, node: Node, tls: bool, network: str) -> str:
    host = preferred_endpoint(core, node, network) if network in node.networks else None
    return describe(node, core.state, aux=False, host=host, port=client_port(core, node, tls=tls, network=network))


def replicas(core: Core, node_id: str, *, tls: bool = False, network: str = "") -> list[bytes]:
    """CLUSTER REPLICAS: the replicas' lines as in CLUSTER NODES.  Raises ClusterError."""
    node = known_node(core, node_id)
    if node.is_replica:
        raise ClusterError("ERR The specified node is not a master")
    return [_line(core, replica, tls, network).encode() for replica in node.replicas]


def info(core: Core, links_over_limit: int = 0) -> str:
    """CLUSTER INFO.

    links_over_limit -- how many links were closed because of cluster-link-sendbuf-limit.
    """
    state = core.state
    failed = sum(node.slot_count for node in state.nodes.values() if node.is_failed)
    suspect = sum(node.slot_count for node in state.nodes.values() if node.is_suspect)
    assigned = state.owned.bit_count()
    lines = [
        f"cluster_state:{'ok' if state.ok else 'fail'}",
        f"cluster_slots_assigned:{assigned}",
        f"cluster_slots_ok:{assigned - failed - suspect}",
        f"cluster_slots_pfail:{suspect}",
        f"cluster_slots_fail:{failed}",
        f"cluster_known_nodes:{len(state.nodes)}",
        f"cluster_size:{state.size}",
        f"cluster_current_epoch:{state.current_epoch}",
        f"cluster_my_epoch:{core.myself.source.config_epoch}",
        *_message_counts("sent", core.sent),
        *_message_counts("received", core.received),
        f"total_cluster_links_buffer_limit_exceeded:{links_over_limit}",
        *_voters(core),
    ]
    return "\r\n".join(lines) + "\r\n"


def _voters(core: Core) -> Iterator[str]:
    """Who votes, where `cluster-replica-votes` or an agreement says more than Redis's rule."""
    electorate = core.state.electorate
    if not core.settings.replica_votes and not electorate.version:
        return
    yield f"cluster_voters_version:{electorate.version}"
    yield f"cluster_voters_agreed:{len(electorate.members)}"
    yield f"cluster_voters_reachable:{sum(not node.is_troubled for node in core.state.voters())}"
    yield f"cluster_voters_majority:{core.state.quorum}"
    yield f"cluster_voters_change_pending:{int(electorate.is_sealed)}"
    if core.proposal.why_not:
        yield f"cluster_voters_not_agreed_because:{core.proposal.why_not}"


def _message_counts(way: str, counts: list[int]) -> Iterator[str]:
    for name, count in zip(KIND_NAMES, counts, strict=True):
        if count:
            yield f"cluster_stats_messages_{name}_{way}:{count}"
    yield f"cluster_stats_messages_{way}:{sum(counts)}"


# ---- values ----------------------------------------------------------------------------------------------------


def slots(core: Core, *, tls: bool = False, network: str = "") -> Value:
    """CLUSTER SLOTS: first, last, primary, replicas that have data, for each range in order; alike on every node."""
    found = [
        (first, last, node) for node in core.state.nodes.values() if node.slots for first, last in node.slot_ranges
    ]
    found.sort(key=lambda entry: entry[0])
    return [
        [first, last, _slots_node(core, node, tls, network)]
        + [
            _slots_node(core, replica, tls, network)
            for replica in _by_id(node.replicas)
            if _is_available(core, replica)
        ]
        for first, last, node in found
    ]


def _by_id(nodes: list[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: node.id)


def _is_available(core: Core, replica: Node) -> bool:
    return not replica.is_failed and _offset(core, replica) != 0


def _offset(core: Core, node: Node) -> int:
    return core.facts.offset() if node is core.myself else node.offset


def _slots_node(core: Core, node: Node, tls: bool, network: str) -> Value:
    """Endpoint, port, id, and what else is known of its addresses: nothing, where they are of another network."""
    kind = core.settings.preferred_endpoint_type
    more: dict[bytes, Value] = {}
    if network not in node.networks:
        if kind != "ip":
            more[b"ip"] = node.ip.encode()
        if kind != "hostname" and node.hostname:
            more[b"hostname"] = node.hostname.encode()
    port = client_port(core, node, tls=tls, network=network)
    return [_bulk(preferred_endpoint(core, node, network)), port, node.id.encode(), more]


def shards(core: Core, *, loading: bool = False, network: str = "") -> Value:
    """CLUSTER SHARDS: each shard's slots and nodes, primaries first.

    loading -- this node is loading its data.
    """
    members: dict[str, list[Node]] = {}
    for node in core.state.nodes.values():
        if not node.in_handshake:
            members.setdefault(node.source.shard_id or node.source.id, []).append(node)
    shards_found = []
    for shard in members.values():
        shard.sort(key=lambda node: node.is_replica)
        ranges = [bound for node in shard for pair in node.slot_ranges for bound in pair]
        shards_found.append(
            {b"slots": ranges, b"nodes": [_shards_node(core, node, loading, network) for node in shard]}
        )
    return shards_found


def _shards_node(core: Core, node: Node, loading: bool, network: str) -> Value:
    offset = _offset(core, node)
    value: dict[bytes, Value] = {b"id": node.id.encode()} | _shards_ports(core, node, network)
    endpoint = preferred_endpoint(core, node, network) or ""
    ip, hostname = node.ip, node.hostname
    if network in node.networks:
        ip, hostname = (endpoint, "") if is_ip(endpoint) else (ip, endpoint)
    value |= {b"ip": ip.encode(), b"endpoint": endpoint.encode()}
    if hostname:
        value[b"hostname"] = hostname.encode()
    no_data = node.is_replica and offset == 0
    health = b"fail" if node.is_failed else b"loading" if no_data or (loading and node is core.myself) else b"online"
    return value | {
        b"role": b"replica" if node.is_replica else b"master",
        b"replication-offset": offset,
        b"health": health,
    }


def _shards_ports(core: Core, node: Node, network: str) -> dict[bytes, Value]:
    """The plain and the TLS port, as far as there are such."""
    plain, secure = (node.pport, node.port) if core.settings.tls else (node.port, node.pport)
    there = node.networks.get(network)
    if there is not None:
        plain, secure = there.port or plain, there.tls_port or secure
    return {name: port for name, port in ((b"port", plain), (b"tls-port", secure)) if port}


def links(core: Core, buffers: Callable[[int], tuple[int, int]]) -> Value:
    """CLUSTER LINKS.

    buffers -- tells of a link how many bytes its output has room for, and how many wait there.
    """
    found = []
    for node in core.state.others():
        for direction, link, created_ms in (
            (b"to", node.link if node.link_up else None, node.link_created_ms),
            (b"from", node.inbound, node.inbound_created_ms),
        ):
            if link is not None:
                room, waiting = buffers(link)
                found.append(
                    {
                        b"direction": direction,
                        b"node": node.id.encode(),
                        b"create-time": created_ms,
                        b"events": b"rw" if waiting else b"r",
                        b"send-buffer-allocated": room,
                        b"send-buffer-used": waiting,
                    }
                )
    return found


def failure_reports(core: Core, node_id: str, now_ms: int) -> int:
    """CLUSTER COUNT-FAILURE-REPORTS.  Raises ClusterError."""
    oldest_ms = now_ms - REPORT_LIFE * core.timeout_ms
    return sum(1 for said_ms in known_node(core, node_id).reports.values() if said_ms >= oldest_ms)
