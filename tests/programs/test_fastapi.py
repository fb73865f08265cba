"""A FastAPI application in two uvicorn processes on redis.asyncio, over RESP3."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.programs.running import Programs
from tests.support import Server, free_port, wait_until

pytestmark = pytest.mark.long
PROGRAM = "FastAPI"

HTTP_TIMEOUT_S = 40
GONE, TOO_MANY = 410, 429


def request(port: int, path: str, *, post: bool = False) -> Any:
    """The JSON of a reply, or its status where that is an error."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST" if post else "GET")
    try:
        with urllib.request.urlopen(asked, timeout=HTTP_TIMEOUT_S) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code


def listen(port: int, room: str, heard: list[str]) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/listen/{room}", timeout=HTTP_TIMEOUT_S) as reply:
        heard.extend(line.decode().strip() for line in reply)


def test_transactions_watch_scripts_and_messages(server: Server, programs: Programs) -> None:
    ports = [free_port() for _ in range(2)]
    for port in ports:
        programs.start(
            "uvicorn", "tests.programs.fastapi_shop:app", "--port", str(port), "--log-level", "info"
        ).wait_for_log("Uvicorn running")
    with server.wire() as wire, ThreadPoolExecutor(16) as pool:

        def many(count: int, path: str, *, post: bool = True) -> list[Any]:
            return list(pool.map(lambda n: request(ports[n % 2], path.format(n % 5), post=post), range(count)))

        visits = many(200, "/visit/page{0}")
        assert Counter(reply["visits"] for reply in visits) == dict.fromkeys(range(1, 41), 5)
        assert sorted(request(ports[0], "/top")) == [[f"page{number}", 40.0] for number in range(5)]
        wire("SET", "stock:book", 50)
        bought = many(60, "/buy/book")
        assert bought.count(GONE) == 10
        assert sorted(reply["left"] for reply in bought if reply != GONE) == list(range(50))
        calls = many(20, "/limited/ann", post=False)
        assert calls.count(TOO_MANY) == 15 and sorted(c["calls"] for c in calls if c != TOO_MANY) == [1, 2, 3, 4, 5]
        heard: list[list[str]] = [[] for _ in ports]
        threads = [
            threading.Thread(target=listen, args=(port, "a", into)) for port, into in zip(ports, heard, strict=True)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: wire("PUBSUB", "NUMSUB", "room:a") == [b"room:a", 2], 30, "both listen")
        words = [f"word{number}" for number in range(30)]
        assert [request(ports[0], f"/say/a/{word}", post=True) for word in [*words, "bye"]] == [2] * 31
        for thread in threads:
            thread.join(HTTP_TIMEOUT_S)
        assert heard == [["listening", *words, "bye"]] * 2
        wait_until(lambda: wire("PUBSUB", "CHANNELS") == [], 10, "nobody listens any more")
