"""Key to hash slot, as the Redis Cluster specification defines it ("Key distribution model", "Hash tags").

A slot is CRC16/XMODEM of the key modulo 16384; where the key holds a non-empty `{tag}`, only the tag is hashed.
`binascii.crc_hqx` is that CRC16 in C.
"""

from binascii import crc_hqx

SLOTS = 16384
"""How many hash slots there are, in every mode."""

_OPEN = 0x7B  # "{"


def slot_of(key: bytes) -> int:
    """The hash slot of `key`, 0 to 16383."""
    if _OPEN in key:  # rare, so the search for a tag stays off the usual way
        tag, closed, _ = key.partition(b"{")[2].partition(b"}")
        if closed and tag:
            key = tag
    return crc_hqx(key, 0) & 16383


def slots_of(keys: list[bytes]) -> list[int]:
    """The hash slots of several keys: for half the price."""
    if _OPEN in b"".join(keys):
        return [slot_of(key) for key in keys]
    return [crc_hqx(key, 0) & 16383 for key in keys]
