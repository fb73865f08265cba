"""Fixtures for the tests of real programs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.programs.running import Programs, programs_of
from tests.support import HexadServer, RedisServer, Server

KIND = RedisServer if os.environ.get("HEXAD_PROGRAMS_ON") == "redis" else HexadServer
"""HEXAD_PROGRAMS_ON=redis runs them against redis-server instead, which shows whether a test asks for what is right."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A node of its own for each test. It has answered everybody, and said nothing of a bug, when the test ends."""
    with KIND() as server:
        yield server
        with server.wire() as wire:
            assert wire("PING") == "PONG"
        assert "BUG REPORT" not in server.log() and "Traceback" not in server.log(), server.log()


@pytest.fixture
def programs(server: Server) -> Iterator[Programs]:
    with programs_of(server.port) as programs:
        yield programs
