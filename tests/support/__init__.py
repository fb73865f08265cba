"""What all tests share: servers to talk to, a bare client to compare bytes with, and bounded waiting.

    from tests.support import HexadServer, RedisServer, Wire, free_port, wait_until

No test sleeps to wait: it waits for a condition with `wait_until`, which fails loudly at its bound.
"""

from tests.support.ports import free_port
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import TookTooLong, wait_until
from tests.support.wire import BigNumber, Push, ReplyError, RespMap, RespSet, Simple, Verbatim, Wire, encode

__all__ = [
    "BigNumber",
    "HexadServer",
    "Push",
    "RedisServer",
    "ReplyError",
    "RespMap",
    "RespSet",
    "Server",
    "Simple",
    "TookTooLong",
    "Verbatim",
    "Wire",
    "encode",
    "free_port",
    "wait_until",
]
