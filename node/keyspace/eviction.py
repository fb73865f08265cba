"""Which key goes next when memory is short. Sans-IO: luck is handed in.

As in Redis, no order of all keys is kept: some are looked at, and of each `maxmemory-samples` of them one goes, the
worst. With ten looks that comes near to exact LRU; with five, the default, nearly. Redis looks at so many for each key
that goes. Here LOOKS keys are looked at and sorted at once, which costs a fraction of that, and the worst of them wait
in a queue: the same share goes. One that was used while it waited has a better score now, and stays.

Redis draws the keys at random. Here a hand for each database goes round and takes the next ones. It goes over the
tables of what is noted of uses, which are an order by hash, so that these are as random as any, and name and use of a
key come in one go. Where a table does not know of every key (a file was loaded, the policy is new) or only keys with a
deadline may go (`volatile-`), the hand goes over the slots. Each key is seen once in a round in either case, and no
weights need be kept up to date for it.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, islice, repeat
from operator import itemgetter
from random import Random
from types import MappingProxyType

from node.keyspace.database import USE_TABLES, Database, Slot
from node.keyspace.keyspace import Keyspace
from node.keyspace.scan import draw, slot_sizes
from node.slots import SLOTS

VICTIMS_MAX = 64
"""So many keys go at once at the most, without a look at the clock."""
LOOKS = 320
"""So many keys of a database are looked at in one go, which takes some 50 us; each costs more where they are fewer."""
SLOT_DRAWS_MAX = 8
"""How often a slot with deadlines is sought in proportion to all keys, before the next one does."""
SKIPPED_MAX = 512
"""The way into a slot of deadlines, in keys, that is gone at the most: a dictionary has no places."""
ROUNDS_MAX = 64
"""How often keys are drawn anew before it is believed that none is left which may go."""

NO_EVICTION = "noeviction"
Scores = Callable[[Database, Sequence[bytes]], list[int]]
"""A score for each key: the lower, the sooner it goes."""
Candidate = tuple[int, int, bytes]
"""(score, database, key)"""
SCORE, DATABASE = itemgetter(0), itemgetter(1)


def _use(db: Database, keys: Sequence[bytes]) -> list[int]:
    return db.uses_of(keys)


def _deadlines(db: Database, keys: Sequence[bytes]) -> list[int]:
    return [db.deadline(key) or 0 for key in keys]


SCORES: Mapping[str, Scores] = MappingProxyType({"lru": _use, "lfu": _use, "ttl": _deadlines})


def goes_by_use(policy: str) -> bool:
    """Does eviction look at when or how often keys are used?"""
    return policy.endswith(("-lru", "-lfu"))


class Victims:
    """Draws the keys that go, a few at a time."""

    def __init__(self, keyspace: Keyspace, random: Random) -> None:
        self._keyspace = keyspace
        self._random = random
        self.policy = NO_EVICTION
        self.samples = 5  # maxmemory-samples
        self._queue: list[Candidate] = []  # those that go next, the first one first
        self._slot_hands = [SlotHand() for _ in keyspace.databases]
        self._use_hands = [UseHand() for _ in keyspace.databases]
        self._next_db = 0  # whose turn it is under the policies that go by luck alone

    def set_policy(self, policy: str) -> None:
        """Go by another rule from now on; one of the words of `maxmemory-policy`."""
        self.policy = policy
        self._queue.clear()

    def next(self, count: int) -> list[tuple[Database, list[bytes]]]:
        """The keys that go next, by database: `count` of them (up to VICTIMS_MAX) or fewer; nothing if none may go."""
        volatile = self.policy.startswith("volatile-")
        scores = SCORES.get(self.policy.rpartition("-")[2])
        return self._random_one(volatile) if scores is None else self._worst(volatile, scores, min(count, VICTIMS_MAX))

    def _candidates(self, volatile: bool) -> list[Database]:
        databases = self._keyspace.databases
        return [db for db in databases if db.deadline_count] if volatile else [db for db in databases if db.size]

    def _random_one(self, volatile: bool) -> list[tuple[Database, list[bytes]]]:
        databases = self._candidates(volatile)
        if not databases:
            return []
        self._next_db += 1
        db = databases[self._next_db % len(databases)]
        key = _draw_volatile(db, self._random) if volatile else draw(db, self._random)
        assert key is not None
        return [(db, [key])]

    def _worst(self, volatile: bool, scores: Scores, count: int) -> list[tuple[Database, list[bytes]]]:
        queue = self._queue
        for _ in range(ROUNDS_MAX):
            if not queue and not self._look(volatile, scores):
                break
            batch = queue[:count]
            del queue[:count]
            found = []
            for index, candidates in groupby(batch, DATABASE):
                db = self._keyspace.databases[index]
                keys = _still_worst(db, list(candidates), volatile, scores)
                if keys:
                    found.append((db, keys))
            if found:
                return found
        return []

    def _look(self, volatile: bool, scores: Scores) -> bool:
        """Look at more keys of each database, and let the worst of them wait; False if there are none."""
        queue = self._queue
        for db in self._candidates(volatile):
            if scores is _use and not volatile and db.notes_all:
                seen = self._use_hands[db.index].take(db, LOOKS)
                keys, scored = [key for key, _ in seen], db.scores_of([noted for _, noted in seen])
            else:
                keys = self._slot_hands[db.index].take(db, LOOKS, volatile)
                if scores is _use:
                    db.note_unnoted(keys)
                scored = scores(db, keys)
            queue += zip(scored, repeat(db.index), keys)
        queue.sort(key=SCORE)  # by nothing else: names are no merit
        del queue[max(1, len(queue) // self.samples) :]
        return bool(queue)


def _still_worst(db: Database, candidates: list[Candidate], volatile: bool, scores: Scores) -> list[bytes]:
    """Of these candidates of `db`, the keys that were not used while they waited; what has gone evicts nobody."""
    now = scores(db, [key for _, _, key in candidates])
    keys = [key for (score, _, key), scored in zip(candidates, now, strict=True) if scored <= score]
    return [key for key in keys if db.deadline(key) is not None] if volatile else keys


class UseHand:
    """Goes round over what is noted of the uses of the keys of one database.

    Each table is gone through from its end, where the newest keys are, to its beginning: the keys that go meanwhile
    are then behind the hand, and none before it changes its place.
    """

    __slots__ = ("_left", "_table")

    def __init__(self) -> None:
        self._table = 0  # the table, and how many of its keys are still to be seen
        self._left = 0

    def take(self, db: Database, count: int) -> list[tuple[bytes, int]]:
        """The next keys and what is noted of each, `count` at the most; each at most once."""
        taken: list[tuple[bytes, int]] = []
        for _ in range(USE_TABLES):
            if not self._left:
                self._table = (self._table + 1) % USE_TABLES
                self._left = len(db.uses[self._table])
            end = self._left
            self._left = max(0, end - count + len(taken))
            taken += islice(db.uses[self._table].items(), self._left, end)
            if len(taken) >= count:
                break
        return taken


class SlotHand:
    """Goes round over the slots of one database."""

    __slots__ = ("_number", "_place")

    def __init__(self) -> None:
        self._number = 0  # the slot, and how many of its keys have been taken
        self._place = 0

    def take(self, db: Database, count: int, volatile: bool) -> list[bytes]:
        """The next keys, `count` at the most; each at most once."""
        table = db.expiring if volatile else db.occupied
        number, place = first, first_place = self._number, self._place
        keys: list[bytes] = []
        turned = False
        while len(keys) < count:
            found = table.find(1, number)
            if found < 0 or (turned and found > first):
                if turned:
                    break
                turned = True
                number = place = 0
                continue
            slot = db.slots[found]
            assert slot is not None
            wanted = count - len(keys)
            if (found != number or not place) and not turned and not volatile and len(slot.values) < wanted:
                keys += slot.values  # a small slot as a whole, as most are
                number, place = found + 1, 0
                continue
            if turned and found == first:  # the slot where it began: the keys before its place are left
                wanted = min(wanted, first_place - (place if found == number else 0))
                if wanted <= 0:
                    break
            taken = _from_place(slot, place if found == number else 0, wanted, volatile)
            place = place + len(taken) if found == number else len(taken)
            number = found
            keys += taken
            if len(keys) < count:
                number, place = number + 1, 0
        self._number, self._place = number, place
        return keys


def _from_place(slot: Slot, place: int, count: int, volatile: bool) -> list[bytes]:
    if volatile:
        return list(islice(slot.deadlines, place, place + count))
    if slot.order is not None:
        return slot.order.keys[place : place + count]
    return list(islice(slot.values, place, place + count))


def _draw_volatile(db: Database, random: Random) -> bytes:
    """A key with a deadline, of a database that has any: of each slot as likely as it has keys, if most have one."""
    slot = db.slots[_slot_with_deadlines(db, random)]
    assert slot is not None
    place = random.randrange(min(len(slot.deadlines), SKIPPED_MAX))
    return next(islice(slot.deadlines, place, None))


def _slot_with_deadlines(db: Database, random: Random) -> int:
    weights = slot_sizes(db)
    for _ in range(SLOT_DRAWS_MAX):
        number, _ = weights.find(random.randrange(db.size))
        if db.expiring[number]:
            return number
    number = db.expiring.find(1, random.randrange(SLOTS))
    return number if number >= 0 else db.expiring.find(1)
