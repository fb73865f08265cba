"""A backup goes back into a cluster of any shape, or a server: each key to the primary of its slot.

Before anything is changed every file is read once, and the target is looked at. How far each file is stands in a state
file. A restore that was cut short goes on there: of the keys that were taken already it asks only whether they are
there (the target may have been lost in between), and sends those that are not; what follows replaces what may be there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from hexad.backup.feeding import Entry
from hexad.backup.manifest import BackupError
from hexad.backup.nodes import Nodes
from hexad.backup.reading import Source, entries, inspect
from hexad.backup.sending import GOES_ON, Sender, Target
from hexad.backup.telling import Teller
from hexad.reach import Address
from hexad.view import size_text
from node.net.resp import Reply

PASSES_MAX = 5
STATE_MS = 1000
"""So often it is noted down how far the files are."""


@dataclass(slots=True)
class Outcome:
    """What a restore has done."""

    restored: int = 0
    there: int = 0
    """Keys that an earlier run, or pass, had restored."""
    expired: int = 0
    strays: int = 0
    """Keys in a shard's file that were another shard's: the remains of a move."""
    functions: int = 0
    primaries: int = 0


@dataclass(slots=True)
class Progress:
    """How far the files are: how many keys of each are over, by the file's name."""

    is_resumed: bool = False
    before: dict[str, int] = field(default_factory=dict)
    """When an earlier run ended."""
    done: dict[str, int] = field(default_factory=dict)


class Restore:
    """Puts files into the cluster, or server, that the node at `seed` is of."""

    def __init__(
        self,
        nodes: Nodes,
        seed: Address,
        teller: Teller,
        state_path: str,
        *,
        replace: bool = False,
        flush: bool = False,
    ) -> None:
        self.target = Target(nodes, seed)
        self.sender = Sender(self.target, teller)
        self.teller = teller
        self.state_path = state_path
        self.replace = replace
        self.flush = flush
        self.outcome = Outcome()
        self.progress = Progress()
        self._platform = nodes.platform
        self._saved_ms = 0.0

    async def run(self, sources: Sequence[Source]) -> Outcome:
        """Do it. Raises BackupError, OSError; then the same call goes on where this one ended."""
        size = size_text(sum(source.size_bytes for source in sources))
        self.teller.say(f"{size} are read and checked first")
        try:
            for source in sources:
                await self._platform.in_thread(inspect, self._platform, source)
            await self.target.look()
            await self._prepare(sources)
            with self.teller.progress():
                await self._put_all(sources)
        finally:
            self.target.close()
        self._platform.remove_if_there(self.state_path)
        self.outcome.primaries = len(self.target.layout.primaries)
        return self.outcome

    # --- before ---------------------------------------------------------------------------------------------------

    async def _prepare(self, sources: Sequence[Source]) -> None:
        """Refuse what cannot end well, and make room. Raises BackupError, OSError."""
        others = {db for source in sources for db in source.databases} - {0}
        if self.target.layout.clustered and others:
            raise BackupError(f"the files have keys in database {min(others)}, and a cluster has database 0 alone")
        if self._platform.exists(self.state_path):
            self._read_state(sources)
            self.teller.say("going on with a restore that was cut short")
        elif self.flush:
            for primary in self.target.layout.primaries:
                await self.target.order(primary, b"FLUSHALL")
                await self.target.order(primary, b"FUNCTION", b"FLUSH")
        elif not self.replace:
            await self._refuse_keys()
        self._write_state()
        await self._put_functions(sources)

    async def _refuse_keys(self) -> None:
        keys = 0
        for primary in self.target.layout.primaries:
            reply = await self.target.order(primary, b"DBSIZE")
            keys += reply if isinstance(reply, int) else 0
        if keys:
            raise BackupError(
                f"the target holds {keys} keys: --replace overwrites those that are in the backup, too, "
                "--flush removes them all first"
            )

    async def _put_functions(self, sources: Sequence[Source]) -> None:
        """Libraries to every primary; one that is there as it is needs nothing."""
        codes = list(dict.fromkeys(code for source in sources for code in source.functions))
        how = [b"REPLACE"] if self._insists else []
        for primary in self.target.layout.primaries if codes else ():
            there = set(_words_in(await self.target.order(primary, b"FUNCTION", b"LIST", b"WITHCODE")))
            for code in codes:
                if code not in there:
                    await self.target.order(primary, b"FUNCTION", b"LOAD", *how, code)
        self.outcome.functions = len(codes)

    @property
    def _insists(self) -> bool:
        """Whether what is there already is replaced."""
        return self.replace or self.progress.is_resumed

    async def _put_all(self, sources: Sequence[Source]) -> None:
        """All files; and again, as long as a node was away meanwhile: what it had taken may be lost."""
        outcome = self.outcome
        for _ in range(PASSES_MAX):
            self.sender.lost_data = False
            for source in sources:
                await self._put(source)
            if not self.sender.lost_data:
                self.outcome = outcome  # what comes a second time is not counted twice
                return
            self.teller.say("a node was away meanwhile: looking whether all keys are there")
            self.progress = Progress(True, self.progress.done)
            self.outcome = Outcome()
        raise BackupError(f"nodes were away in each of {PASSES_MAX} passes. {GOES_ON}")

    # --- one file -------------------------------------------------------------------------------------------------

    async def _put(self, source: Source) -> None:
        """All of its keys."""
        told_bytes = number = 0
        before = self.progress.before.get(source.name, 0)
        for batch, read_bytes in entries(self._platform, source):
            known: list[Entry] = []
            wanted: list[Entry] = []
            for entry in batch:
                number += 1
                if self._is_wanted(source, entry):
                    entry.insists = self._insists
                    (known if number <= before else wanted).append(entry)
            missing = await self.sender.missing(known)
            await self.sender.send([*missing, *wanted])
            self.outcome.there += len(known) - len(missing)
            self.outcome.restored += len(missing) + len(wanted)
            self.progress.done[source.name] = max(number, before)
            if self._platform.monotonic_ms() - self._saved_ms >= STATE_MS:
                self._write_state()
            self.teller.moved(source.name, read_bytes - told_bytes, source.size_bytes)
            told_bytes = read_bytes

    def _is_wanted(self, source: Source, entry: Entry) -> bool:
        if source.slots is not None and entry.slot not in source.slots:
            self.outcome.strays += 1
            return False
        if entry.deadline_ms is not None and entry.deadline_ms <= self._platform.now_ms():
            self.outcome.expired += 1
            return False
        return True

    # --- how far it is --------------------------------------------------------------------------------------------

    def _read_state(self, sources: Sequence[Source]) -> None:
        """How far an earlier run was with each file. Raises BackupError if it was another restore's."""
        try:
            told = json.loads(self._platform.read_file(self.state_path))
            same = not self.target.layout.members.isdisjoint(told["target"])
            same = same and told["files"].keys() <= {source.name for source in sources}
            before = {str(name): int(keys) for name, keys in told["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BackupError(f"{self.state_path} is damaged: remove it to begin anew") from None
        if not same:
            raise BackupError(
                f"{self.state_path} tells of a restore of other files, or into another target, that was cut short: "
                "remove it to begin anew"
            )
        self.progress = Progress(True, before)

    def _write_state(self) -> None:
        ids = [primary.id for primary in self.target.layout.primaries]
        state = {"target": ids, "files": {**self.progress.before, **self.progress.done}}
        self._platform.replace_file(self.state_path, json.dumps(state).encode() + b"\n")
        self._saved_ms = self._platform.monotonic_ms()


def _words_in(reply: Reply) -> list[bytes]:
    """All texts anywhere in a reply."""
    if isinstance(reply, bytes):
        return [reply]
    return [word for part in reply for word in _words_in(part)] if isinstance(reply, list) else []
