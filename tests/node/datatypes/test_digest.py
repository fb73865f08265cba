"""Digests equal those of redis-server over the same data."""

from collections.abc import Iterator

import pytest

from node.datatypes.digest import ZERO, add_database, digest_value
from tests.support import RedisServer, Wire


@pytest.fixture(scope="module")
def redis() -> Iterator[Wire]:
    with RedisServer(enable_debug_command="yes") as server, server.wire() as wire:
        yield wire


def test_an_empty_server_has_a_digest_of_zeros(redis: Wire) -> None:
    redis("FLUSHALL")
    assert redis("DEBUG", "DIGEST") == add_database(ZERO, 0, []).hex()


def test_digests_of_values_and_of_all_databases_equal_those_of_redis(redis: Wire) -> None:
    databases = {
        0: {b"a": b"x", b"n": b"12", b"empty": b"", b"long": bytes(range(256)) * 40},
        3: {b"a": b"x"},
        9: {b"%d" % number: b"%d" % (number * number) for number in range(100)},
    }
    digest = ZERO
    for db, keys in databases.items():
        redis("SELECT", db)
        for key, value in keys.items():
            redis("SET", key, value)
            if len(key) == 1:
                redis("PEXPIRE", key, 10**7)
            assert redis("DEBUG", "DIGEST-VALUE", key) == [digest_value(value, len(key) == 1).hex()]
        digest = add_database(digest, db, [(key, bytearray(value), len(key) == 1) for key, value in keys.items()])
    assert redis("DEBUG", "DIGEST") == digest.hex()
