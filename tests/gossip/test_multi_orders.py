"""Orders of CLUSTER within MULTI: replies as Redis gives them."""

from __future__ import annotations

from tests.support import HexadServer, RedisServer
from tests.support.servers import Server

TALK = (
    "MULTI", "CLUSTER SET-CONFIG-EPOCH 7", "CLUSTER SET-CONFIG-EPOCH 8", "CLUSTER ADDSLOTS 1 2",
    "CLUSTER COUNTKEYSINSLOT 1", "EXEC", "SET {06S} v", "MULTI", "CLUSTER RESET", "CLUSTER RESET HARD",
    "CLUSTER SET-CONFIG-EPOCH 3", "CLUSTER BUMPEPOCH", "EXEC", "CLUSTER SLOTS",
)  # fmt: skip


def told(kind: type[Server]) -> list[str]:
    with kind(cluster_enabled="yes") as server, server.wire() as wire:
        return [repr(wire(*line.split())) for line in TALK]


def test_orders_in_a_transaction_are_redis_s() -> None:
    assert told(HexadServer) == told(RedisServer)
