"""Both layers of channels_redis: three processes in a group, one that speaks to it."""

from __future__ import annotations

import json

import pytest

from tests.programs.running import STOP_TIMEOUT_S, Programs

pytestmark = pytest.mark.long
PROGRAM = "channels_redis"

MESSAGES = 80
SHOP = ("python", "-m", "tests.programs.channels_shop")


@pytest.mark.parametrize("kind", ["core", "pubsub"])
def test_everyone_in_the_group_hears_everything_in_order(kind: str, programs: Programs) -> None:
    listeners = [programs.start(*SHOP, kind, "listen", f"name{number}", str(MESSAGES)) for number in range(3)]
    for listener in listeners:
        listener.wait_for_log("joined")
    programs.drive(*SHOP, kind, "speak", str(MESSAGES))
    for listener in listeners:
        assert listener.process.wait(STOP_TIMEOUT_S * 2) == 0, listener.log()
        said = json.loads(listener.log().splitlines()[-1])
        assert said == {"heard": list(range(MESSAGES)), "text": "Grüße \u2603", "more": None}
