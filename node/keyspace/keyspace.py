"""The keyspace of one node: its databases, and what is common to them.

Sans-IO: the time of a batch of commands is handed in (`now_ms`), and stands still while a command runs, so that no
key expires half way through.
"""

from collections.abc import Callable, Iterator, Sequence

from node.keyspace.database import FIRST_CLOCK_S, Database
from node.keyspace.journal import Journal
from node.keyspace.uses import CountingDatabase, TimingDatabase, UseRules
from node.keyspace.waiting import Waiters
from node.keyspace.watching import Watching

Notify = Callable[[str, str, bytes, int], None]
"""(class flag, event, key, database): a keyspace event, as `notify-keyspace-events` names its classes."""

NEVER = 1 << 62
"""A count that is not reached."""
NEVER_MS = NEVER
"""A time that does not come."""


class Keyspace:
    """All databases of one node. `dirty` counts changes: save points and the journal go by it."""

    def __init__(self, databases: int, journal: Journal, luck: Callable[[], float] = lambda: 0.0) -> None:
        self.journal = journal
        self.now_ms = 0
        self.clock_s = FIRST_CLOCK_S  # goes by seconds, for access times
        self.use_rules = UseRules(luck)  # of an LFU policy
        self.counts_uses = False  # such a policy is set
        self.dirty = 0
        self.dirty_awaited = NEVER  # `dirty_reached` is called, once, when that many changes have been journalled
        self.dirty_reached: Callable[[], None] = _nobody_counts
        self.expired_keys = 0
        self.evicted_keys = 0
        self.expire_verb = b"DEL"  # UNLINK with lazyfree-lazy-expire
        self.removes_expired = True  # False on a replica: expired keys are only hidden
        self.paused = False  # nothing may change now, not even by expiring
        self.obeying = False  # a primary's stream or a file is applied: it says itself what has expired
        self.own_deadlines: set[tuple[int, bytes]] = set()  # (database, key): given by a writable replica's clients
        self.listening = False  # somebody wants to hear of changes: `notify` and `touched` are called
        self._listeners: set[str] = set()
        self.notify: Notify = _nobody_listens
        self.outdated: Callable[[bytes, bool], None] = _nobody_caches
        """(key, by itself): a key has changed; by itself if that was no client's doing (it expired, was evicted)."""
        self.emptied: Callable[[], None] = _nobody_remembers
        """All keys of a database or of several have gone. Whoever empties them calls it, once for all."""
        self.next_deadline_ms = NEVER_MS  # the rounds of active expiry need not begin before
        self.deadline_came_near: Callable[[int], None] = _nobody_sleeps
        self.discard: Callable[[object], None] = _nobody_reclaims
        """Takes a removed value that need not be freed at once (`node.keyspace.reclaim`): see `Database.discard`."""
        self.waiters = Waiters(self._is_there)
        self.awaited = self.waiters.keys  # (database, key) -> who waits for it
        self.effects: list[tuple[int, Sequence[bytes]]] | None = None
        self.databases = [Database(index, self) for index in range(databases)]
        self.arriving: list[Database] = []  # slots of database 0 on their way here: nobody sees, expires or evicts them
        self.watching = Watching(self.databases, lambda wanted: self.set_listening("watched keys", wanted))

    def _is_there(self, db: int, key: bytes) -> bool:
        """May clients that wait for the key be served? One whose time is over goes now, as for any other reader."""
        database = self.databases[db]
        return database.holds(key) if self.obeying else database.peek(key) is not None

    def set_time(self, now_ms: int, started_ms: int) -> None:
        """The time of the commands to come."""
        self.now_ms = now_ms
        clock_s = FIRST_CLOCK_S + (now_ms - started_ms) // 1000
        if clock_s != self.clock_s:
            self.clock_s = clock_s
            for db in self.databases:
                db.clock_s = clock_s

    def note_uses(self, *, counts: bool, matters: bool) -> None:
        """Note how often each key is used (`counts`), or when it was last if eviction goes by it (`matters`)."""
        kind = CountingDatabase if counts else TimingDatabase if matters else Database
        self.counts_uses = counts
        for db in self.databases:
            if type(db) is not kind:
                db.__class__ = kind
                db.forget_uses()

    def set_listening(self, listener: str, wanted: bool) -> None:
        """Whether this listener (notifications, watched keys, tracked keys) wants to hear of changes from now on."""
        (self._listeners.add if wanted else self._listeners.discard)(listener)
        self.listening = bool(self._listeners)

    @property
    def unheeded(self) -> bool:
        """Nobody wants to hear of changes, and nobody waits for a key."""
        return not self.listening and not self.awaited

    def touched(self, db: Database, key: bytes, by_itself: bool = False) -> None:
        """A key has changed or has gone: spoil the transactions that watch it, and let nobody keep an old copy.

        Called only while `listening`, but for keys that expire. `by_itself`: no client did it.
        """
        if self.watching.keys:
            self.watching.touch(db, key)
        self.outdated(key, by_itself)

    def journal_instead(self, *commands: Sequence[bytes], db: int) -> None:
        """The running command has these effects; what the client sent does not say them well enough.

        No commands at all: it changed something, but nothing that anyone else must know.
        """
        effects = self.effects
        if effects is None:
            effects = self.effects = []
        if commands:
            effects.extend((db, argv) for argv in commands)

    def commit(self, db: int, argv: Sequence[bytes]) -> None:
        """The running command changed something: journal it, or what stands for it."""
        effects, journal = self.effects, self.journal
        if effects is None:
            if journal.unheard:  # as `append` does, but for the call
                journal.offset += 1
            elif not journal.relays_only:
                journal.append(db, argv)
        else:
            self.effects = None
            if effects:
                journal.append_unit(effects)
        if self.dirty >= self.dirty_awaited:
            self._look_at_dirty()

    def commit_row(self, db: int, row: Sequence[Sequence[bytes]]) -> None:
        """As `commit` for each of these commands: all have changed something, and no other stands for any of them."""
        journal = self.journal
        if journal.unheard:
            journal.offset += len(row)
        elif not journal.relays_only:
            journal.append_row(db, row)
        if self.dirty >= self.dirty_awaited:
            self._look_at_dirty()

    def _look_at_dirty(self) -> None:
        if not self.journal.in_unit:
            self.dirty_awaited = NEVER
            self.dirty_reached()

    def appeared(self, db: Database, key: bytes) -> None:
        """A key came to be: whoever waits for it is served after the command."""
        self.waiters.key_appeared(db.index, key)

    def swap(self, first: int, second: int) -> None:
        """SWAPDB: clients of one database see the other's keys."""
        one, other = self.databases[first], self.databases[second]
        self.watching.replace(one, other)
        self.watching.replace(other, one)
        one.swap_contents(other)
        if self.now_ms < self.next_deadline_ms:
            self.deadline_came_near(self.now_ms)  # a round that is under way has seen half of each
        self.waiters.databases_swapped(self, first, second)

    def every(self) -> Iterator[Database]:
        """All databases, and the slots that are on their way here."""
        yield from self.databases
        yield from self.arriving

    @property
    def size(self) -> int:
        return sum(db.size for db in self.databases)


def _nobody_listens(_kind: str, _event: str, _key: bytes, _db: int) -> None:
    pass


def _nobody_caches(_key: bytes, _by_itself: bool) -> None:
    pass


def _nobody_remembers() -> None:
    pass


def _nobody_counts() -> None:
    pass


def _nobody_sleeps(_deadline_ms: int) -> None:
    pass


def _nobody_reclaims(_value: object) -> None:
    pass
