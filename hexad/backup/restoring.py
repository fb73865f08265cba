"""A backup goes back into a cluster of any shape, or a server: each key to the primary of its slot.

Before anything is changed every file is read once, and the target is looked at. Keys then go in pipelines, to all
primaries at once, and a batch is over when all of it was taken; where a slot or a primary has moved meanwhile, the
layout is looked at again and what was refused is sent again, for `RETRY_S_MAX` at most. How far each file is stands in
a state file. A restore that was cut short goes on there: of the keys that were taken already it asks only whether they
are there (the target may have been lost in between), and sends those that are not.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from hexad.backup.feeding import Entry, comes_in_pieces, commands_of
from hexad.backup.manifest import BackupError
from hexad.backup.nodes import Address, Layout, Nodes, Primary
from hexad.backup.reading import Source, entries, inspect
from hexad.backup.telling import Teller
from hexad.view import size_text
from node.net.client import RespClient
from node.net.resp import Argv, Failure, Reply

BATCH_BYTES = 1 << 20
"""Of so many bytes of commands one primary's share of a batch is at most, unless one key alone has more."""
RETRY_S_MAX = 30.0
RETRY_WAIT_S = 0.2
REPLY_MS_MAX = 60_000
STATE_MS = 1000
"""So often it is noted down how far the files are."""
GOES_ON = "The same words again go on from there"
ELSEWHERE = ("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")
"""Answers after which the same command may be taken: by another node, or a little later."""


Asked = tuple[int, Argv]
"""A command and its database."""


@dataclass(slots=True)
class Outcome:
    """What a restore has done."""

    restored: int = 0
    there: int = 0
    """Keys that an earlier run had restored."""
    expired: int = 0
    strays: int = 0
    """Keys in a shard's file that were another shard's: the remains of a move."""
    functions: int = 0
    primaries: int = 0
    done: dict[str, int] = field(default_factory=dict)
    """Keys of each file that are over, by its name."""


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
        self.nodes = nodes
        self.seed = seed
        self.teller = teller
        self.state_path = state_path
        self.replace = replace
        self.flush = flush
        self.outcome = Outcome()
        self._platform = nodes.platform
        self._layout = Layout(False, ())
        self._owners: dict[int, Primary] = {}
        self._links: dict[Address, RespClient] = {}
        self._selected: dict[Address, int] = {}
        self._is_resumed = False
        self._resumed: dict[str, int] = {}
        """Keys of each file that were over when an earlier run ended."""
        self._saved_ms = 0.0

    async def run(self, sources: Sequence[Source]) -> Outcome:
        """Do it. Raises BackupError, OSError; then the same call goes on where this one ended."""
        try:
            size = size_text(sum(source.size_bytes for source in sources))
            self.teller.say(f"{len(sources)} files, {size}: they are read and checked first")
            for source in sources:
                await self._platform.in_thread(inspect, self._platform, source)
            await self._look()
            await self._prepare(sources)
            with self.teller.progress():
                for source in sources:
                    await self._put(source)
            self._platform.remove_if_there(self.state_path)
            self.outcome.primaries = len(self._layout.primaries)
            return self.outcome
        finally:
            for link in self._links.values():
                link.close()

    # --- before ---------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        self._layout = await self.nodes.look(self.seed)
        self._owners = self._layout.owners()

    async def _prepare(self, sources: Sequence[Source]) -> None:
        """Refuse what cannot end well, and make room. Raises BackupError, OSError."""
        others = {db for source in sources for db in source.databases} - {0}
        if self._layout.clustered and others:
            raise BackupError(f"the files have keys in database {min(others)}, and a cluster has database 0 alone")
        self._is_resumed = self._platform.exists(self.state_path)
        if self._is_resumed:
            self._resumed = self._read_state(sources)
        keys = sum([await self._number(primary, b"DBSIZE") for primary in self._layout.primaries])
        if self._is_resumed:
            self.teller.say("going on with a restore that was cut short")
        elif self.flush:
            for primary in self._layout.primaries:
                await self._order(primary, [b"FLUSHALL"])
                await self._order(primary, [b"FUNCTION", b"FLUSH"])
        elif keys and not self.replace:
            raise BackupError(
                f"the target holds {keys} keys: --replace overwrites those that are in the backup, too, "
                "--flush removes them all first"
            )
        self._write_state()
        await self._put_functions(sources)

    async def _put_functions(self, sources: Sequence[Source]) -> None:
        codes = list(dict.fromkeys(code for source in sources for code in source.functions))
        for primary in self._layout.primaries if codes else ():
            listed = await self._order(primary, [b"FUNCTION", b"LIST", b"WITHCODE"])
            there = set(_words_in(listed))
            for code in codes:
                if code not in there:
                    how = [b"REPLACE"] if self.replace or self._is_resumed else []
                    await self._order(primary, [b"FUNCTION", b"LOAD", *how, code])
        self.outcome.functions = len(codes)

    # --- one file -------------------------------------------------------------------------------------------------

    async def _put(self, source: Source) -> None:
        """All of its keys."""
        told_bytes = number = 0
        resumed = self._resumed.get(source.name, 0)
        for batch, read_bytes in entries(self._platform, source):
            taken = []
            for entry in batch:
                number += 1
                if self._is_wanted(source, entry):
                    entry.insists = self.replace or self._is_resumed
                    taken.append((entry, number <= resumed))
            known = [entry for entry, is_known in taken if is_known]
            wanted = [entry for entry, is_known in taken if not is_known]
            missing = await self._missing(known)
            self.outcome.there += len(known) - len(missing)
            await self._send([*missing, *wanted])
            self.outcome.restored += len(missing) + len(wanted)
            self.outcome.done[source.name] = max(number, resumed)
            self._write_state_at_times()
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

    async def _missing(self, known: Sequence[Entry]) -> list[Entry]:
        """Which of the keys that an earlier run has put are not there."""
        missing: list[Entry] = []
        shares: dict[Primary, list[Entry]] = {}
        for entry in known:
            shares.setdefault(self._owners[entry.slot], []).append(entry)
        for primary, share in shares.items():
            try:
                replies = await self._ask(primary, [_in_db(entry, [b"EXISTS", entry.key]) for entry in share])
            except OSError:
                replies = [None] * len(share)  # they are sent, and replace themselves
            missing += [entry for entry, reply in zip(share, replies, strict=True) if reply != 1]
        return missing

    # --- sending --------------------------------------------------------------------------------------------------

    async def _send(self, batch: Sequence[Entry]) -> None:
        """Until all are taken. Raises BackupError, OSError."""
        left, why = list(batch), ""
        give_up_s = trio.current_time() + RETRY_S_MAX
        while left:
            refused, reason = await self._send_once(left)
            why = reason or why
            if len(refused) < len(left):
                give_up_s = trio.current_time() + RETRY_S_MAX
            left = refused
            if not left:
                return
            if trio.current_time() >= give_up_s:
                raise BackupError(f"{why}; nothing was taken for {RETRY_S_MAX:g} s. {GOES_ON}")
            await trio.sleep(RETRY_WAIT_S)
            try:
                await self._look()
            except (BackupError, OSError) as error:
                if str(error) != why:
                    self.teller.say(f"waiting: {error}")
                why = str(error)

    async def _send_once(self, batch: Sequence[Entry]) -> tuple[list[Entry], str]:
        """Each entry to its primary; which were not taken, and why one of them was not."""
        shares: dict[Primary, list[Entry]] = {}
        for entry in batch:
            shares.setdefault(self._owners[entry.slot], []).append(entry)
        refused: list[Entry] = []
        reasons = [""]
        failures: list[Exception] = []

        async def send(primary: Primary, share: list[Entry]) -> None:
            try:
                for entry, reason in await self._send_share(primary, share):
                    refused.append(entry)
                    reasons[0] = reason
            except BackupError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for primary, share in shares.items():
                nursery.start_soon(send, primary, share)
        if failures:
            raise failures[0]
        return refused, reasons[0]

    async def _send_share(self, primary: Primary, share: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """One primary's entries in pipelines; those that were not taken, with the reason. Raises BackupError."""
        refused: list[tuple[Entry, str]] = []
        at = 0
        while at < len(share):
            commands: list[Asked] = []
            ends: list[int] = []
            size = 0
            while at + len(ends) < len(share) and (not ends or size < BATCH_BYTES):
                entry = share[at + len(ends)]
                own = commands_of(entry)
                if comes_in_pieces(own) and not entry.insists:
                    await self._refuse_if_there(primary, entry)
                commands += [_in_db(entry, argv) for argv in own]
                ends.append(len(commands))
                size += sum(len(word) for argv in own for word in argv)
            try:
                replies = await self._ask(primary, commands)
            except OSError as error:
                # Nobody knows which of them were taken: they are sent again, and replace themselves.
                for entry in share[at:]:
                    entry.insists = True
                return [*refused, *((entry, str(error)) for entry in share[at:])]
            begin = 0
            for entry, end in zip(share[at : at + len(ends)], ends, strict=True):
                reason = self._reason(entry, replies[begin:end])
                if reason:
                    entry.insists = entry.insists or end - begin > 1
                    refused.append((entry, reason))
                begin = end
            at += len(ends)
        return refused

    def _reason(self, entry: Entry, replies: Sequence[Reply]) -> str:
        """Why an entry was not taken, and is to be sent again; empty if it was. Raises BackupError if it never will."""
        for reply in replies:
            if isinstance(reply, Failure):
                text = reply.decode("utf-8", "replace")
                if text.startswith(ELSEWHERE):
                    return text
                key = entry.key[:64].decode("utf-8", "backslashreplace")
                if text.startswith("BUSYKEY"):
                    raise _busy(key)
                raise BackupError(f"key {key!r} is refused: {text}")
        return ""

    async def _refuse_if_there(self, primary: Primary, entry: Entry) -> None:
        """What RESTORE does by itself."""
        try:
            (reply,) = await self._ask(primary, [_in_db(entry, [b"EXISTS", entry.key])])
        except OSError:
            return  # the link is asked again with the key itself
        if reply == 1:
            raise _busy(entry.key[:64].decode("utf-8", "backslashreplace"))

    # --- links ----------------------------------------------------------------------------------------------------

    async def _link(self, primary: Primary) -> RespClient:
        link = self._links.get(primary.address)
        if link is None or not link.is_open:
            link = self._links[primary.address] = await self.nodes.client(primary.address)
            self._selected[primary.address] = 0
        return link

    async def _ask(self, primary: Primary, commands: Sequence[Asked]) -> list[Reply]:
        """The replies to commands, each for a database. Raises OSError."""
        link = await self._link(primary)
        sent: list[Argv] = []
        kept: list[bool] = []
        selected = self._selected[primary.address]
        for db, argv in commands:
            if db != selected:
                selected = db
                sent.append([b"SELECT", b"%d" % db])
                kept.append(False)
            sent.append(argv)
            kept.append(True)
        self._selected[primary.address] = selected
        replies = await link.pipeline(sent, timeout_ms=REPLY_MS_MAX, idle=True)
        for reply, is_kept in zip(replies, kept, strict=True):
            if not is_kept and isinstance(reply, Failure):
                raise BackupError(f"{primary.name}: {reply.decode('utf-8', 'replace')}")
        return [reply for reply, is_kept in zip(replies, kept, strict=True) if is_kept]

    async def _order(self, primary: Primary, argv: Argv) -> Reply:
        (reply,) = await self._ask(primary, [(0, argv)])
        if isinstance(reply, Failure):
            name = b" ".join(argv[:2]).decode("utf-8", "replace")
            raise BackupError(f"{primary.name} refuses {name}: {reply.decode('utf-8', 'replace')}")
        return reply

    async def _number(self, primary: Primary, name: bytes) -> int:
        reply = await self._order(primary, [name])
        return reply if isinstance(reply, int) else 0

    # --- how far it is --------------------------------------------------------------------------------------------

    def _read_state(self, sources: Sequence[Source]) -> dict[str, int]:
        """How far an earlier run was with each file. Raises BackupError if it was another restore's."""
        try:
            told = json.loads(self._platform.read_file(self.state_path))
            same = not self._layout.members.isdisjoint(told["target"])
            same = same and told["files"].keys() <= {source.name for source in sources}
            found = {str(name): int(keys) for name, keys in told["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BackupError(f"{self.state_path} is damaged: remove it to begin anew") from None
        if not same:
            raise BackupError(
                f"{self.state_path} tells of a restore of other files, or into another target, that was cut short: "
                "remove it to begin anew"
            )
        return found

    def _write_state(self) -> None:
        state = {
            "target": [primary.id for primary in self._layout.primaries],
            "files": {**self._resumed, **self.outcome.done},
        }
        self._platform.replace_file(self.state_path, json.dumps(state).encode() + b"\n")
        self._saved_ms = self._platform.monotonic_ms()

    def _write_state_at_times(self) -> None:
        if self._platform.monotonic_ms() - self._saved_ms >= STATE_MS:
            self._write_state()


def _busy(key: str) -> BackupError:
    return BackupError(f"key {key!r} is there already, or in two files: --replace lets the last one count")


def _in_db(entry: Entry, argv: Argv) -> Asked:
    return entry.db, argv


def _words_in(reply: Reply) -> list[bytes]:
    """All texts anywhere in a reply."""
    if isinstance(reply, bytes):
        return [reply]
    return [word for part in reply for word in _words_in(part)] if isinstance(reply, list) else []
