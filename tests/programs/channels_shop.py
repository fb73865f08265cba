"""A process on a channel layer of channels_redis: it joins a group and prints what it hears, or it speaks.

channels_shop KIND listen NAME MESSAGES | channels_shop KIND speak MESSAGES
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

HOSTS = [f"redis://127.0.0.1:{os.environ['HEXAD_PORT']}/0"]
KINDS = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}
RECEIVE_TIMEOUT_S = 30


def new_layer(kind: str) -> Any:
    if kind == "core" and os.environ.get("HEXAD_CLUSTER"):  # its scripts need all its keys in one slot
        return RedisChannelLayer(hosts=HOSTS, prefix="{asgi}")
    return KINDS[kind](hosts=HOSTS)


async def listen(layer: Any, name: str, messages: int) -> dict[str, Any]:
    """All messages to the group, in the order in which they came; nothing from a group that it has left."""
    channel = await layer.new_channel(name)
    await layer.group_add("room", channel)
    await layer.group_add(f"left-{name}", channel)
    await layer.group_discard(f"left-{name}", channel)
    print("joined", channel, flush=True)
    heard = [await asyncio.wait_for(layer.receive(channel), RECEIVE_TIMEOUT_S) for _ in range(messages)]
    await layer.group_send(f"left-{name}", {"type": "late"})
    more = None
    with contextlib.suppress(TimeoutError):
        more = await asyncio.wait_for(layer.receive(channel), 0.5)
    return {"heard": [message["number"] for message in heard], "text": heard[-1]["text"], "more": more}


async def speak(layer: Any, messages: int) -> None:
    for number in range(messages):
        await layer.group_send("room", {"type": "said", "number": number, "text": "Grüße \u2603"})


async def main(kind: str, what: str, *words: str) -> Any:
    layer = new_layer(kind)
    try:
        if what == "listen":
            return await listen(layer, words[0], int(words[1]))
        return await speak(layer, int(words[0]))
    finally:
        if kind == "core":
            await layer.close_pools()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
