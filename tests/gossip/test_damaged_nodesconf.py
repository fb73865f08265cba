"""A node whose nodes.conf was damaged does not start, says why, and leaves the file as it is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gossip.nodesconf import parse, render
from gossip.service import ClusterService
from node.app import build
from node.config import Config
from node.log import Log
from node.platform import Platform
from node.server import CannotStart
from tests.sim.world import World
from tests.support import HexadServer, RedisServer

STEP = 13
"""Every so many bytes; a prime, so that fields are cut at all their places."""


def built(directory: Path) -> ClusterService:
    """The cluster's part of a node that would start in this directory. Raises CannotStart."""
    config = Config()
    config.cluster_enabled, config.dir = True, str(directory)
    platform = Platform()
    cluster = build(platform, config, Log(platform, lambda _text: None)).cluster
    assert isinstance(cluster, ClusterService)
    return cluster


def test_no_damage_gives_a_node_another_identity(tmp_path: Path) -> None:
    text = render(parse(World(1).hosts["p1"].durable)).encode()
    (tmp_path / "nodes.conf").write_bytes(text)
    cluster = built(tmp_path)
    whole = cluster.my_id, cluster.state.current_epoch, cluster.state.owned
    refused = 0
    for at in range(1, len(text), STEP):
        for name, damaged in (("cut", text[:at]), ("changed", text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])):
            directory = tmp_path / f"{name}-{at}"  # each its own: the one who fails keeps its file locked a while
            directory.mkdir()
            path = directory / "nodes.conf"
            path.write_bytes(damaged)
            try:
                found = built(directory)
            except CannotStart as error:
                refused += 1
                assert "corrupted cluster config file" in str(error)
                assert path.read_bytes() == damaged
            else:
                assert (found.my_id, found.state.current_epoch, found.state.owned) == whole, damaged
    assert refused > len(text) // STEP


def test_a_process_says_what_is_wrong_with_its_file(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(cluster_enabled="yes")
    server.kill()
    path = server.directory / "nodes.conf"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(RuntimeError), contextlib.suppress(TimeoutError):
        server.start()
    assert "corrupted cluster config file" in server.log_path.read_text()
    assert path.read_text() == text[: len(text) // 2]
    path.write_text(text)
    server.start()


def test_redis_reads_a_file_with_our_variables(tmp_path: Path) -> None:
    """The cluster's id and the checksum mean nothing to it; 7.0 knows no fields behind the hostname either."""
    state = parse(World(1).hosts["p1"].durable)
    state.cluster_id = "a" * 40
    text = "\n".join(re.sub(r",,tls-port\S*", "", line) for line in render(state).splitlines()) + "\n"
    assert "clusterId" in text and "crc32" in text
    (tmp_path / "nodes.conf").write_text(text)
    with RedisServer(cluster_enabled="yes", directory=tmp_path) as server, server.wire() as wire:
        assert wire("CLUSTER", "MYID").decode() == state.myself.id
