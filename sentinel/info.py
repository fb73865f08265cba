"""What a node's INFO tells a Sentinel, as a value. Bad lines are passed over: a peer of another version may say
anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from node.datatypes.numbers import parse_int

PORT_MAX = 65535


@dataclass(slots=True)
class NodeInfo:
    """The fields that matter here; None where INFO did not say."""

    run_id: str = ""
    is_primary: bool | None = None
    replicas: list[tuple[str, int]] = field(default_factory=list)
    link_down_s: int | None = None
    primary_host: str | None = None
    primary_port: int | None = None
    primary_link_is_up: bool | None = None
    priority: int | None = None
    offset: int | None = None
    is_announced: bool | None = None


def parse_info(text: bytes) -> NodeInfo:
    """Read the reply to INFO."""
    info = NodeInfo()
    for name, value in _fields(text.decode("utf-8", "surrogateescape")):
        if name == "run_id":
            info.run_id = value[:40]
        elif name == "role":
            info.is_primary = value == "master" if value in ("master", "slave") else None
        elif name.startswith("slave") and name[5:].isdigit():
            info.replicas += _replica_line(value)
        elif name == "master_link_down_since_seconds":
            info.link_down_s = _number(value)
        elif name == "master_host":
            info.primary_host = value
        elif name == "master_port":
            info.primary_port = _number(value)
        elif name == "master_link_status":
            info.primary_link_is_up = value.lower() == "up"
        elif name == "slave_priority":
            info.priority = _number(value)
        elif name == "slave_repl_offset":
            info.offset = _number(value)
        elif name == "replica_announced":
            info.is_announced = _number(value) != 0
    return info


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        name, colon, value = line.rstrip("\r").partition(":")
        if colon:
            yield name, value


def _replica_line(value: str) -> list[tuple[str, int]]:
    """`ip=…,port=…,state=…`, or as old versions wrote it: `ip,port,state`."""
    parts = value.split(",")
    if "=" in value:
        named = dict(part.partition("=")[::2] for part in parts)
        host, port = named.get("ip", ""), _number(named.get("port", ""))
    else:
        host, port = parts[0], _number(parts[1]) if len(parts) > 1 else 0
    return [(host, port)] if host and 0 < port <= PORT_MAX else []


def _number(text: str) -> int:
    return parse_int(text.encode("utf-8", "surrogateescape")) or 0
