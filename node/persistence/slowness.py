"""`rdb-key-save-delay` and `key-load-delay`: saving and loading so slow that one can look on.

Either is in microseconds a key, or if negative one microsecond for so many keys.
"""

from collections.abc import Callable

from node.persistence.host import PersistenceHost

NAP_MS_MAX = 100
"""A delay is slept in such pieces at most, so that a change of it, and calling off, take effect soon."""

REST_US = 10_000
"""Shorter rests are taken together: each takes a millisecond more than it is to."""


def step_keys(delay_us: int, most: int) -> int:
    """How many keys to deal with between two rests, `most` of them without any."""
    return max(1, min(most, REST_US // delay_us)) if delay_us > 0 else most


def delay_ms(delay_us: int, keys: int) -> float:
    """How long work on so many keys is to be held up."""
    return keys * (delay_us if delay_us >= 0 else -1 / delay_us) / 1000


async def rest_after_saving(host: PersistenceHost, keys: int, is_wanted: Callable[[], bool]) -> None:
    """So many keys have been written, to whatever end: `rdb-key-save-delay`. `is_wanted` is asked before each piece."""
    await _rest(host, keys, lambda: host.config.rdb_key_save_delay, is_wanted)


async def rest_after_loading(host: PersistenceHost, keys: int, is_wanted: Callable[[], bool]) -> None:
    """So many keys have been loaded, from wherever: `key-load-delay`. `is_wanted` is asked before each piece."""
    await _rest(host, keys, lambda: host.config.key_load_delay, is_wanted)


async def _rest(host: PersistenceHost, keys: int, delay_us: Callable[[], int], is_wanted: Callable[[], bool]) -> None:
    if not delay_us():
        return
    platform = host.platform
    began_ms = platform.monotonic_ms()
    while (left_ms := began_ms + delay_ms(delay_us(), keys) - platform.monotonic_ms()) > 0 and is_wanted():
        await platform.sleep_until_ms(platform.monotonic_ms() + min(left_ms, NAP_MS_MAX))
