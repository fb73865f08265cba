"""Fixtures for the tests of real programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.programs.running import Programs, programs_of
from tests.programs.sends import seen, told
from tests.proxy.support import ProxyServer
from tests.support import HexadServer, RedisServer, Server
from tests.support.cluster import LocalCluster

KIND = RedisServer if os.environ.get("HEXAD_PROGRAMS_ON") == "redis" else HexadServer
"""HEXAD_PROGRAMS_ON=redis runs them against redis-server instead, which shows whether a test asks for what is right."""


@contextmanager
def node() -> Iterator[Server]:
    with KIND() as server:
        yield server


@contextmanager
def proxy() -> Iterator[Server]:
    """A proxy before three primaries with a replica each: the programs take it for one server."""
    with LocalCluster(KIND, nodes=6, replicas=1) as cluster, ProxyServer(cluster=cluster.ports) as server:
        server.nodes = cluster.nodes
        yield server


@pytest.fixture(params=[node, proxy], ids=["node", "proxy"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A node or a proxy of its own for each test. It has answered everybody, and said nothing of a bug, at its end."""
    with request.param() as server:
        yield server
        with server.wire() as wire:
            assert wire("PING") == "PONG"
        program = getattr(request.module, "PROGRAM", "")
        if program and isinstance(server, ProxyServer):
            found = seen(server, server.nodes)
            assert found.is_within(told()[program]), f"{program} sends what docs/proxy.md does not tell: {found}"
        assert "BUG REPORT" not in server.log() and "Traceback" not in server.log(), server.log()


@pytest.fixture
def programs(server: Server) -> Iterator[Programs]:
    with programs_of(server.port) as programs:
        programs.is_cluster = isinstance(server, ProxyServer)
        yield programs
