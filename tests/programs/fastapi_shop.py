"""A FastAPI application on redis.asyncio: counted visits, a cache, a limit on calls, and messages to who listens."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

LISTEN_TIMEOUT_S = 30
MOST_CALLS = 5

LIMIT = """
local calls = redis.call('INCR', KEYS[1])
if calls == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return calls
"""

store = redis.Redis(port=int(os.environ["HEXAD_PORT"]), decode_responses=True, protocol=3)
limit = store.register_script(LIMIT)


@asynccontextmanager
async def life(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await store.aclose()


app = FastAPI(lifespan=life)


@app.post("/visit/{page}")
async def visit(page: str) -> dict[str, int]:
    """Counts and ranks in one transaction."""
    async with store.pipeline(transaction=True) as pipe:
        counted, ranked = await pipe.incr(f"visits:{page}").zincrby("ranking", 1, page).execute()
    return {"visits": counted, "score": int(ranked)}


@app.get("/top")
async def top() -> list[tuple[str, float]]:
    return await store.zrevrange("ranking", 0, 9, withscores=True)


@app.post("/buy/{item}")
async def buy(item: str) -> dict[str, int]:
    """Takes one of what is left, by WATCH: somebody else's purchase in between makes it look again."""
    async with store.pipeline() as pipe:
        while True:
            try:
                await pipe.watch(f"stock:{item}")
                left = int(await pipe.get(f"stock:{item}") or 0)
                if left == 0:
                    raise HTTPException(410)
                pipe.multi()
                await pipe.set(f"stock:{item}", left - 1).execute()
                return {"left": left - 1}
            except redis.WatchError:
                continue


@app.get("/limited/{user}")
async def limited(user: str) -> dict[str, int]:
    calls = int(await limit(keys=[f"calls:{user}"], args=[60_000]))
    if calls > MOST_CALLS:
        raise HTTPException(429)
    return {"calls": calls}


@app.post("/say/{room}/{word}")
async def say(room: str, word: str) -> int:
    return await store.publish(f"room:{room}", word)


@app.get("/listen/{room}")
async def listen(room: str) -> StreamingResponse:
    """What is said in a room from now on, a line each, until somebody says "bye"."""

    async def lines() -> AsyncIterator[str]:
        async with store.pubsub() as pubsub:
            await pubsub.subscribe(f"room:{room}")
            while message := await pubsub.get_message(timeout=LISTEN_TIMEOUT_S):
                if message["type"] == "subscribe":
                    yield "listening\n"
                    continue
                yield message["data"] + "\n"
                if message["data"] == "bye":
                    return

    return StreamingResponse(lines(), media_type="text/plain")
