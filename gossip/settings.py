"""The settings that the cluster machine reads, each under its directive's name without `cluster-`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node.config.networks import NetworkAddress


@dataclass(slots=True)
class ClusterSettings:
    """Values as they hold now.  The owner may change them at any time and then tells the machine by SettingsChanged."""

    port: int = 6379
    """Client port to announce: cluster-announce-port or the port we listen on; the TLS one with tls-cluster."""
    pport: int = 0
    """The other of the plain and the TLS port to announce, 0 for none."""
    cport: int = 16379
    """Bus port to announce."""
    announce_ip: str = ""
    """cluster-announce-ip; empty: the address is learned from the links."""
    seeds: tuple[tuple[str, int, int], ...] = ()
    """cluster-seeds: (name or address, client port, bus port) of nodes that may know where the others are."""
    networks: Mapping[str, NetworkAddress] = field(default_factory=dict)
    """cluster-announce-network: where the clients of a network reach us."""
    announce_hostname: str = ""
    announce_human_nodename: str = ""
    tls: bool = False
    """tls-cluster: `port` is the TLS port."""
    node_timeout_ms: int = 15000
    ping_interval_ms: int = 0
    """A node that has been silent for so long is pinged; 0 for half the node timeout."""
    hand_over_when_behind: bool = True
    """A primary that came back with less data than a replica has makes way for that one."""
    replica_validity_factor: int = 10
    replica_no_failover: bool = False
    replica_votes: bool = False
    """Replicas may have votes, too, where all nodes are Hexad and allow it."""
    migration_barrier: int = 1
    allow_replica_migration: bool = True
    require_full_coverage: bool = True
    allow_reads_when_down: bool = False
    allow_pubsubshard_when_down: bool = True
    preferred_endpoint_type: str = "ip"
    """ip, hostname or unknown-endpoint."""
    ping_replica_period_s: int = 10
    """repl-ping-replica-period."""
