"""The async RESP client beside a real redis-server, and beside peers that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from node.net.client import WINDOW_BYTES, Refused, RespClient
from node.net.resp import Failure, Push
from node.platform import Platform
from tests.support import RedisServer, free_port


@asynccontextmanager
async def peer(story: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[RespClient]:
    """A client joined to a listener that does with it as `story` tells."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, story, [listener])
        port = listener.socket.getsockname()[1]
        async with await RespClient.connect(Platform(), "127.0.0.1", port) as client:
            yield client
        nursery.cancel_scope.cancel()


async def answer(stream: trio.SocketStream, data: bytes) -> None:
    await stream.receive_some()
    await stream.send_all(data)
    await trio.sleep_forever()


async def test_calls_pipelines_and_errors_as_values() -> None:
    with RedisServer() as server:
        async with await RespClient.connect(Platform(), "127.0.0.1", server.port) as client:
            assert await client.call("SET", "n", 41) == b"OK"
            assert await client.pipeline([[b"INCR", b"n"], [b"LPUSH", b"n", b"x"], [b"GET", b"n"]]) == [
                42,
                Failure(b"WRONGTYPE Operation against a key holding the wrong kind of value"),
                b"42",
            ]
            with pytest.raises(Refused, match=rf"127.0.0.1:{server.port}: ERR unknown command"):
                await client.asked("NONSENSE")
            assert client.is_open
            big = b"x" * (3 * WINDOW_BYTES)
            assert (await client.pipeline([[b"ECHO", big]] * 5)) == [big] * 5
            assert await client.pipeline([]) == []


async def test_several_tasks_share_a_client() -> None:
    with RedisServer() as server:
        async with await RespClient.connect(Platform(), "127.0.0.1", server.port) as client:
            answers: dict[int, object] = {}

            async def ask(number: int) -> None:
                answers[number] = await client.call("ECHO", number)

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, number)
            assert answers == {number: b"%d" % number for number in range(20)}


async def test_pushes_are_no_replies() -> None:
    with RedisServer() as server:
        async with await RespClient.connect(Platform(), "127.0.0.1", server.port) as client:
            pushes: list[Push] = []
            client.on_push = pushes.append
            await client.call("HELLO", 3)
            await client.call("CLIENT", "TRACKING", "ON")
            await client.call("GET", "k")
            await client.call("SET", "k", "v")
            await client.call("PING")
            assert pushes == [[b"invalidate", [b"k"]]]


async def test_nobody_there() -> None:
    port = free_port()
    with pytest.raises(ConnectionError, match=rf"127.0.0.1:{port}: .*refused"):
        await RespClient.connect(Platform(), "127.0.0.1", port)


async def test_a_late_reply_closes() -> None:
    async with peer(lambda stream: trio.sleep_forever()) as client:
        with pytest.raises(TimeoutError, match="no reply within 20 ms"):
            await client.call("PING", timeout_ms=20)
        assert not client.is_open
        with pytest.raises(ConnectionError, match="closed"):
            await client.call("PING")


async def test_a_cancelled_call_closes() -> None:
    async with peer(lambda stream: trio.sleep_forever()) as client:
        with trio.move_on_after(0.01):
            await client.call("PING")
        assert not client.is_open


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"HTTP/1.1 400\r\n", "not a reply"), (b"+PONG\r\n+PONG\r\n", "more replies than there were commands")],
)
async def test_what_no_server_says(data: bytes, why: str) -> None:
    async with peer(lambda stream: answer(stream, data)) as client:
        with pytest.raises(ConnectionError, match=why):
            await client.call("PING")
        assert not client.is_open


async def test_the_end_of_the_stream() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async with peer(hang_up) as client:
        with pytest.raises(ConnectionError, match="closed by the other end"):
            await client.call("PING")
