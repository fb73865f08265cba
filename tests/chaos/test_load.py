"""The load of the chaos tests notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.load import Writer
from tests.support import RedisServer, Wire, wait_until

WAIT_S = 10.0


@pytest.fixture
def writer(redis_server: Callable[..., RedisServer]) -> Iterator[Writer]:
    """A writer at work on a primary with a replica."""
    primary = redis_server(repl_diskless_sync_delay=0)
    redis_server(replicaof=("127.0.0.1", str(primary.port)))
    writer = Writer("w", primary.port, [primary.port], ["a", "b"])
    writer.start()
    wait_until(lambda: len(writer.confirmed) > 5, WAIT_S, "confirmed writes")
    yield writer
    writer.end()
    writer.join(WAIT_S)


def test_nothing_is_missed_where_nothing_is_lost(writer: Writer) -> None:
    writer.end()
    writer.join(WAIT_S)
    assert not writer.lost(writer.port) and not writer.violations


def test_lost_writes_are_missed_at_once_and_at_the_end(writer: Writer) -> None:
    with Wire(writer.port) as wire:
        wire("FLUSHALL")
    wait_until(lambda: writer.violations, WAIT_S, "a violation")
    writer.end()
    writer.join(WAIT_S)
    assert writer.lost(writer.port)


def test_what_no_replica_has_is_not_confirmed(redis_server: Callable[..., RedisServer]) -> None:
    port = redis_server().port
    alone = Writer("w", port, [port], ["a"])
    alone.start()
    wait_until(lambda: alone.unconfirmed > 2, WAIT_S, "writes")
    alone.end()
    alone.join(WAIT_S)
    assert not alone.confirmed
