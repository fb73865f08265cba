"""Keys that can be drawn at random in O(1) and scanned by position: a list beside a dict.

Removal moves the last key into the hole. A scan that goes from the high end down still meets every key that was there
throughout: what moves comes from above, where the scan has been. (A key may be met twice; Redis allows that.)
"""


class IndexedKeys:
    """A set of keys with positions."""

    __slots__ = ("keys", "places")

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.places = {key: place for place, key in enumerate(keys)}
        assert len(self.places) == len(keys)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        self.places[key] = len(self.keys)
        self.keys.append(key)

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        place = self.places.pop(key)
        last = self.keys.pop()
        if place < len(self.keys):
            self.keys[place] = last
            self.places[last] = place

    def shed(self, count: int) -> None:
        """Let go of up to `count` keys that nobody will ask for any more."""
        places = self.places
        for key in self.keys[-count:]:
            del places[key]
        del self.keys[-count:]
