"""Keys on their way to the primaries of their slots, in pipelines to all of them at once.

Where a slot or a primary has moved meanwhile, the layout is looked at again, and what was refused is sent again: until
nothing was taken for `RETRY_S_MAX`. What may have been taken by a node that did not answer is sent so that it replaces
itself.
"""

from collections.abc import Iterable, Sequence

import trio

from hexad.backup.feeding import Entry, comes_in_pieces, commands_of
from hexad.backup.manifest import BackupError
from hexad.backup.nodes import Layout, Nodes, Primary
from hexad.backup.telling import Teller
from hexad.reach import Address
from node.net.client import RespClient
from node.net.resp import Argv, Failure, Reply

BATCH_BYTES = 1 << 20
"""A pipeline has so many bytes of commands, or one key that has more."""
RETRY_S_MAX = 30.0
RETRY_WAIT_S = 0.2
REPLY_MS_MAX = 60_000
"""A node from which no byte came for so long is given up."""
GOES_ON = "The same words again go on from there"
ELSEWHERE = ("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")
"""Answers after which the same command may be taken: by another node, or a little later."""

MOVED = ("MOVED ", "ASK ", "TRYAGAIN")
"""Those that only tell of a slot that moves; after the others a node may have lost what it had taken."""

Asked = tuple[int, Argv]
"""A command and its database."""
Refused = tuple[Entry, str]
"""A key that was not taken, and why."""


class Target:
    """The cluster, or server, that the node at `seed` is of."""

    def __init__(self, nodes: Nodes, seed: Address) -> None:
        self.nodes = nodes
        self.seed = seed
        self.layout = Layout(False, ())
        self._owners: dict[int, Primary] = {}
        self._links: dict[Address, RespClient] = {}
        self._selected: dict[Address, int] = {}

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    async def look(self) -> None:
        """Learn who has which slots. Raises BackupError, OSError; then what was known stays."""
        self.layout = await self.nodes.look(self.seed)
        self._owners = self.layout.owners()

    def shares(self, batch: Iterable[Entry]) -> dict[Primary, list[Entry]]:
        """The keys by the primaries of their slots."""
        found: dict[Primary, list[Entry]] = {}
        for entry in batch:
            found.setdefault(self._owners[entry.slot], []).append(entry)
        return found

    async def ask(self, primary: Primary, commands: Sequence[Asked]) -> list[Reply]:
        """The replies to commands, each for a database. Raises OSError, BackupError."""
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
                raise BackupError(f"{primary.name}: {_text(reply)}")
        return [reply for reply, is_kept in zip(replies, kept, strict=True) if is_kept]

    async def order(self, primary: Primary, *words: bytes) -> Reply:
        """The reply to a command that must not be refused. Raises BackupError, OSError."""
        (reply,) = await self.ask(primary, [(0, list(words))])
        if isinstance(reply, Failure):
            raise BackupError(f"{primary.name} refuses {_text(b' '.join(words[:2]))}: {_text(reply)}")
        return reply

    async def _link(self, primary: Primary) -> RespClient:
        link = self._links.get(primary.address)
        if link is None or not link.is_open:
            link = self._links[primary.address] = await self.nodes.client(primary.address)
            self._selected[primary.address] = 0
        return link


class Sender:
    """Sends batches of keys to a target."""

    def __init__(self, target: Target, teller: Teller) -> None:
        self.target = target
        self.teller = teller
        self.lost_data = False
        """A node did not answer, or not as a primary: it may have lost what it had taken before."""

    async def missing(self, known: Sequence[Entry]) -> list[Entry]:
        """Which of the keys that were taken before are not there any more, or cannot be asked for."""
        found: list[Entry] = []
        for primary, share in self.target.shares(known).items():
            replies: list[Reply] = [None] * len(share)
            try:
                replies = await self.target.ask(primary, [(entry.db, [b"EXISTS", entry.key]) for entry in share])
            except OSError as error:
                self.lost_data = True
                self.teller.say(f"waiting: {error}")
            found += [entry for entry, reply in zip(share, replies, strict=True) if reply != 1]
        return found

    async def send(self, batch: Sequence[Entry]) -> None:
        """Until all are taken. Raises BackupError."""
        left, told = list(batch), ""
        give_up_s = trio.current_time() + RETRY_S_MAX
        while left:
            refused = await self._send_once(left)
            if len(refused) < len(left):
                give_up_s = trio.current_time() + RETRY_S_MAX
            left = [entry for entry, _ in refused]
            if not left:
                return
            why = refused[0][1]
            if trio.current_time() >= give_up_s:
                raise BackupError(f"{why}; nothing was taken for {RETRY_S_MAX:g} s. {GOES_ON}")
            await trio.sleep(RETRY_WAIT_S)
            try:
                await self.target.look()
            except (BackupError, OSError) as error:
                why = str(error)
            if why != told and not why.startswith("MOVED "):
                told = why
                self.teller.say(f"waiting: {why}")

    async def _send_once(self, batch: Sequence[Entry]) -> list[Refused]:
        """Each key to its primary. Raises BackupError."""
        refused: list[Refused] = []
        failures: list[BackupError] = []

        async def send(primary: Primary, share: list[Entry]) -> None:
            try:
                for group in _groups(share):
                    refused.extend(await self._send_group(primary, group))
            except BackupError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for primary, share in self.target.shares(batch).items():
                nursery.start_soon(send, primary, share)
        if failures:
            raise failures[0]
        return refused

    async def _send_group(self, primary: Primary, group: Sequence[tuple[Entry, list[Argv]]]) -> list[Refused]:
        """One pipeline; the keys that were not taken. Raises BackupError for one that never will be."""
        try:
            for entry, commands in group:
                if comes_in_pieces(commands) and not entry.insists:
                    await self._refuse_if_there(primary, entry)
            replies = iter(await self.target.ask(primary, [(entry.db, argv) for entry, own in group for argv in own]))
        except OSError as error:
            self.lost_data = True
            for entry, _ in group:
                entry.insists = True  # nobody knows which of them were taken
            return [(entry, str(error)) for entry, _ in group]
        refused: list[Refused] = []
        for entry, commands in group:
            reason = _reason(entry, [next(replies) for _ in commands])
            if reason:
                self.lost_data |= not reason.startswith(MOVED)
                entry.insists |= comes_in_pieces(commands)
                refused.append((entry, reason))
        return refused

    async def _refuse_if_there(self, primary: Primary, entry: Entry) -> None:
        """What RESTORE does by itself. Raises BackupError, OSError."""
        (reply,) = await self.target.ask(primary, [(entry.db, [b"EXISTS", entry.key])])
        if reply == 1:
            raise _is_there(entry)


def _groups(share: Iterable[Entry]) -> Iterable[list[tuple[Entry, list[Argv]]]]:
    """The keys with their commands, as many together as are one pipeline; made when their turn comes."""
    group: list[tuple[Entry, list[Argv]]] = []
    size = 0
    for entry in share:
        commands = commands_of(entry)
        group.append((entry, commands))
        size += sum(len(word) for argv in commands for word in argv)
        if size >= BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _reason(entry: Entry, replies: Iterable[Reply]) -> str:
    """Why a key was not taken, and is to be sent again; empty if it was. Raises BackupError if it never will be."""
    for reply in replies:
        if isinstance(reply, Failure):
            text = _text(reply)
            if text.startswith(ELSEWHERE):
                return text
            if text.startswith("BUSYKEY"):
                raise _is_there(entry)
            raise BackupError(f"key {_shown(entry)} is refused: {text}")
    return ""


def _is_there(entry: Entry) -> BackupError:
    return BackupError(f"key {_shown(entry)} is there already, or in two files: --replace lets the last one count")


def _shown(entry: Entry) -> str:
    return repr(entry.key[:64].decode("utf-8", "backslashreplace"))


def _text(reply: bytes) -> str:
    return reply.decode("utf-8", "replace")
