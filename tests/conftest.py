"""Fixtures for all tests; the classes behind them are in tests/support."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from node.platform import Platform
from tests.support import HexadServer, RedisServer

# In CI the same examples each time, so that a change is judged by what it changed; elsewhere, and in `make proof`, new
# ones at each run, so that what nobody has thought of is found.
# No example has a deadline: how long one takes says more about what else the machine does.
settings.register_profile("usual", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "usual")


@pytest.fixture(autouse=True, scope="session")
def nothing_is_frozen() -> Iterator[None]:
    """A node that has loaded its data takes all objects of its process from the collector: here, those of all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Platform, "settle_memory", lambda _platform: None)
        yield


@pytest.fixture
def redis_server() -> Iterator[Callable[..., RedisServer]]:
    """Starts Debian's redis-server with the given options (see `RedisServer`); ended with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(RedisServer(*args, **options))


@pytest.fixture
def hexad_server() -> Iterator[Callable[..., HexadServer]]:
    """Starts our server with the given options (see `HexadServer`); ended with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(HexadServer(*args, **options))
