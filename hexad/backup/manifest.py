"""`manifest.json`: what a backup holds, written when all of it is there. Pure.

{"format": "hexad backup", "version": 1, "created_ms": ..., "clustered": true, "paused_ms": ..., "shards": [
  {"file": "shard-1.rdb", "size_bytes": ..., "sha256": "...", "slots": [[0, 5460]], "node_id": "...", "address": "h:p",
   "config_epoch": 1, "replication_id": "...", "offset": ..., "keys": ..., "redis_version": "7.2.6"}, ...]}

`offset` is where the shard's replication stream stood, `keys` what DBSIZE said; `slots` of a server without a cluster
are all.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hexad.sight import SLOT_COUNT, Range

NAME = "manifest.json"
FORMAT, VERSION = "hexad backup", 1


class BackupError(Exception):
    """What was asked for cannot be done; the text says why, and what to do next."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard's file, and where it comes from."""

    file: str
    size_bytes: int
    sha256: str
    slots: tuple[Range, ...]
    node_id: str
    address: str
    config_epoch: int
    replication_id: str
    offset: int
    keys: int
    redis_version: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of a backup. `paused_ms` is how long writers were held back, at most."""

    created_ms: int
    clustered: bool
    paused_ms: int
    shards: tuple[Shard, ...]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def text(self) -> bytes:
        """The file."""
        return json.dumps(self.as_json(), indent=2).encode() + b"\n"


def parse(text: bytes) -> Manifest:
    """The manifest in a file. Raises BackupError."""
    try:
        told = json.loads(text)
        if told["format"] != FORMAT or told["version"] != VERSION:
            raise BackupError(f"{NAME}: {told['format']!r} of version {told['version']!r} is not read by this version")
        shards = tuple(_shard(each) for each in told["shards"])
        found = Manifest(int(told["created_ms"]), bool(told["clustered"]), int(told["paused_ms"]), shards)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{NAME} is damaged: {type(error).__name__}: {error}") from None
    _check(found.shards)
    return found


def _shard(told: dict[str, Any]) -> Shard:
    slots = tuple((int(first), int(last)) for first, last in told["slots"])
    texts = {name: str(told[name]) for name in _TEXTS}
    numbers = {name: int(told[name]) for name in _NUMBERS}
    return Shard(slots=slots, **texts, **numbers)  # type: ignore[arg-type]


_TEXTS = ("file", "sha256", "node_id", "address", "replication_id", "redis_version")
_NUMBERS = ("size_bytes", "config_epoch", "offset", "keys")


def _check(shards: Sequence[Shard]) -> None:
    owners: dict[int, str] = {}
    for shard in shards:
        if "/" in shard.file or shard.file.startswith("."):
            raise BackupError(f"{NAME} is damaged: {shard.file!r} is no file of this directory")
        for first, last in shard.slots:
            if not 0 <= first <= last < SLOT_COUNT:
                raise BackupError(f"{NAME} is damaged: {first}-{last} are no slots")
            for slot in range(first, last + 1):
                if owners.setdefault(slot, shard.file) != shard.file:
                    raise BackupError(f"{NAME} is damaged: slot {slot} is in {owners[slot]} and in {shard.file}")
