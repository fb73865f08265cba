"""What a machine asks its node about, where a test's node has little to tell: `gossip.events.Facts`."""

from __future__ import annotations


class PlainFacts:
    """A node with `keys` in each slot and in all, at `data_offset`, which heard its primary `silence_ms` ago."""

    def __init__(self, keys: int = 0, data_offset: int = 0, silence_ms: int = 0) -> None:
        self.keys, self.data_offset, self.silence_ms = keys, data_offset, silence_ms

    def key_count(self) -> int:
        return self.keys

    def keys_in_slot(self, slot: int) -> int:
        return self.keys

    def offset(self) -> int:
        return self.data_offset

    def data_is_complete(self) -> bool:
        return False

    def holds_data_of(self, slots: int) -> bool:
        return True

    def primary_silence_ms(self, now_ms: int) -> int:
        return self.silence_ms
