"""Django: django-redis as its cache, and sessions that several processes share."""

from __future__ import annotations

import pytest

from tests.programs.running import Programs
from tests.support import Server

pytestmark = pytest.mark.long
PROGRAM = "django-redis"

SHOP = ("python", "-m", "tests.programs.django_shop")


def test_the_cache(programs: Programs) -> None:
    assert programs.drive(*SHOP, "cache") == {
        "many": sum(range(100)),
        "ttl": True,
        "forever": None,
        "incr": [2, 12, 11],
        "add": [False, True, 5],
        "missing": [None, "else", 0],
        "or set": [7, 7],
        "touch": [True, False],
        "keys": 100,
        "iterated": 11,
        "version": [True, None, "two"],
        "deleted": [11, True, False],
        "locked out": False,
        "left": 91,
        "cleared": 0,
    }


def test_sessions_in_two_processes(server: Server, programs: Programs) -> None:
    seen = programs.drive(*SHOP, "login", "ann", "5")
    assert seen["replies"] == [{"visits": number, "name": "ann"} for number in range(1, 6)]
    with server.wire() as wire:
        wire("SELECT", 1)
        (key,) = wire("KEYS", f"*{seen['session']}")
        assert 0 < wire("TTL", key) <= 14 * 24 * 3600
        assert programs.drive(*SHOP, "read", seen["session"]) == {
            "reply": {"visits": 6, "name": "ann"},
            "after leaving": {"visits": 1, "name": "ann"},
        }
        assert wire("EXISTS", key) == 0
