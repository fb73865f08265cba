"""`maxmemory`: room is made before a command that may need some, and the command is refused if there is none.

Sans-IO. The guard asks `has_room` before each command that Redis flags `denyoom`, while a limit is set. Mostly the
answer is a subtraction: a look at the memory account says how much may come in before the next look (`_room`), and
every command takes from that what its arguments bring. Evicting goes a little below the limit (SLACK_BYTES), so that at
the limit, too, only every eightieth small command or so looks, and lets go as many keys in one go.

A slice of eviction takes as long as `maxmemory-eviction-tenacity` allows; if it does not get there, commands pass
nevertheless, and a timer goes on with it, as in Redis. What was removed and waits to be freed is freed first: evicting
more keys would not make room any sooner.

Nobody is refused on the word of an estimate that is older than a reading of the allocators need be.
"""

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Protocol

from node.config.config import Config
from node.keyspace.eviction import NO_EVICTION, Victims, goes_by_use
from node.keyspace.keyspace import Keyspace
from node.keyspace.reclaim import Reclaimer
from node.latencymonitor import LatencyMonitor
from node.log import Log
from node.memory import MemoryAccount
from node.net.resp import Argv, CommandError
from node.timers import Timer, Timers

ARGUMENT_BYTES = 64
"""What an argument is taken to bring beside its own bytes: the head of an object, a place in a table."""
SLACK_BYTES = 16384
"""How far below the limit eviction goes, so that not every command has to evict..."""
SLACK_SHARE = 256
"""...but not more than this share of the limit."""
SLACK_LEFT_SHARE = 4
"""When no more than this share of the slack is left, the next keys go: where commands overwrite what is there, they
would else come to the limit by ever smaller steps, with a look at each."""
LOOK_SHARE = 64
"""No more than this share of the limit comes in between two looks at the account."""
CONTINUE_MS = 0
"""Between two slices of a long eviction: the clients have their turn all the same."""
KEYS_GONE_SHARE = 8
"""If this share of the keys has gone since the latest reading, otherwise than by eviction, it is out of date."""

PATIENT_US = 500
TENACITY_FLAT, TENACITY_ENDLESS = 10, 100
TENACITY_GROWTH = 1.15
"""`maxmemory-eviction-tenacity` as a time: 50 us a point up to 10, 15 % more for each point above, 100: endless."""

OUT_OF_MEMORY = CommandError("OOM command not allowed when used memory > 'maxmemory'.").reply


class EvictionHost(Protocol):
    """What eviction needs of its node."""

    config: Config
    log: Log
    keyspace: Keyspace
    timers: Timers
    memory: MemoryAccount
    latency: LatencyMonitor

    @property
    def clock_ns(self) -> Callable[[], int]: ...
    def conditions_changed(self) -> None: ...
    def uncounted_bytes(self) -> int:
        """Of used memory, what eviction must not count: it grows by evicting (replicas' buffers, the file's)."""

    def may_evict(self) -> bool:
        """Is this node's data its own to evict: no replica that leaves it to its primary?"""


class State(Enum):
    """What became of an attempt to get below the limit."""

    ROOM = 1
    GOING_ON = 2  # not there yet: more slices follow
    FULL = 3  # nothing is left that may go


def slice_us(tenacity: int) -> float:
    """How long a slice of eviction may take, in microseconds."""
    if tenacity <= TENACITY_FLAT:
        return PATIENT_US / TENACITY_FLAT * tenacity
    if tenacity < TENACITY_ENDLESS:
        return float(PATIENT_US * TENACITY_GROWTH ** (tenacity - TENACITY_FLAT))
    return float("inf")


class Eviction:
    """Keeps a node below its `maxmemory`. `limit` is 0 where there is none, or where it is not ours to keep."""

    def __init__(self, host: EvictionHost, reclaimer: Reclaimer, random: Random) -> None:
        self._host = host
        self._reclaimer = reclaimer
        self._victims = Victims(host.keyspace, random)
        self.limit = 0
        self.out_of_memory = False  # as of the latest command that asked: scripts go by what was so at their start
        self._room = 0.0
        self._slice_ns = 0.0
        self._keys = 0  # at the latest reading, less those evicted since
        self._dirty = 0  # how many changes there had been at that reading
        self._timer: Timer | None = None
        self._exceeded_since_ns: int | None = None
        self._exceeded_ns = 0
        config = host.config
        for name in (
            "maxmemory-policy", "maxmemory-samples", "maxmemory-eviction-tenacity", "replica-ignore-maxmemory",
            "lfu-log-factor", "lfu-decay-time",
        ):  # fmt: skip
            config.on_change(name, lambda _value: self.configure())
        config.on_change("maxmemory", self._limit_changed)

    # --- what is wanted -------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """The settings have changed, or the role."""
        config, keyspace = self._host.config, self._host.keyspace
        self.limit = config.maxmemory if self._host.may_evict() else 0
        self._slice_ns = slice_us(config.maxmemory_eviction_tenacity) * 1000
        self._room = 0.0
        victims = self._victims
        victims.samples = config.maxmemory_samples
        policy = config.maxmemory_policy
        if policy != victims.policy:
            victims.set_policy(policy)
        keyspace.use_rules.log_factor = config.lfu_log_factor
        keyspace.use_rules.decay_minutes = config.lfu_decay_time
        keyspace.note_uses(counts=policy.endswith("-lfu"), matters=bool(self.limit) and goes_by_use(policy))
        if not self.limit:
            self.out_of_memory = False

    def _limit_changed(self, limit: int) -> None:
        host = self._host
        if limit and (used := host.memory.read()) > limit:
            host.log.warning(
                f"WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory "
                f"usage ({used}). This will result in key eviction and/or the inability to accept new write commands "
                "depending on the maxmemory-policy."
            )
        self.configure()
        host.conditions_changed()
        self._continue_soon()  # not now: a transaction that sets the limit still has its keys

    # --- keeping to it --------------------------------------------------------------------------------------------

    def has_room(self, argv: Argv) -> bool:
        """May a command with these arguments run? Evicts what has to go before. What they bring counts for the next."""
        if self._room <= 0:
            self.out_of_memory = self.make_room() is State.FULL
            if self.out_of_memory:
                return False
        brings = ARGUMENT_BYTES * len(argv) + sum(map(len, argv))
        self._host.memory.charged += brings
        self._room -= brings
        return True

    def make_room(self) -> State:
        """Get below the limit, as far as one slice goes."""
        state = self._make_room() if self.limit and not self._host.keyspace.paused else State.ROOM
        self._count_time(state)
        if state is State.GOING_ON:
            self._continue_soon()
        return state

    def tick(self) -> None:
        """Some time has passed in which commands ran: some that nobody refuses take memory, too."""
        if self.limit and self._timer is None:
            self.make_room()

    def _make_room(self) -> State:
        memory, keyspace = self._host.memory, self._host.keyspace
        if memory.refresh():
            self._note_reading()
        if self._excess() > 0 and self._is_out_of_date():
            self._read()
        state = State.ROOM
        slack = min(SLACK_BYTES, self.limit // SLACK_SHARE)
        if self._excess() > -slack // SLACK_LEFT_SHARE and self._victims.policy != NO_EVICTION:
            started_ns = self._host.clock_ns()
            state = self._evict(slack)
            self._note_delay("eviction-cycle", started_ns)
        if state is not State.GOING_ON:
            if self._excess() > 0 and keyspace.dirty != self._dirty:
                self._read()
            state = State.FULL if self._excess() > 0 else State.ROOM
        self._room = min(max(0, -self._excess()), self.limit // LOOK_SHARE) / max(1.0, memory.stayed)
        return state

    def _note_delay(self, event: str, started_ns: int) -> None:
        self._host.latency.add(event, (self._host.clock_ns() - started_ns) // 1_000_000)

    def _excess(self) -> int:
        """How far above the limit the node is, in bytes; negative: how much is left."""
        return self._host.memory.used - self._host.uncounted_bytes() - self.limit

    def _read(self) -> None:
        self._host.memory.read()
        self._note_reading()

    def _note_reading(self) -> None:
        self._keys, self._dirty = self._host.keyspace.size, self._host.keyspace.dirty

    def _is_out_of_date(self) -> bool:
        return self._host.keyspace.size < self._keys - self._keys // KEYS_GONE_SHARE

    def _evict(self, slack: int) -> State:
        """Let keys go until `slack` bytes are free, nothing is left that may go, or the time is over."""
        host, reclaimer = self._host, self._reclaimer
        started_ns = host.clock_ns()
        end_ns = started_ns + self._slice_ns
        while not reclaimer.idle:
            if reclaimer.slice(0) and host.clock_ns() >= end_ns:
                self._note_delay("eviction-lazyfree", started_ns)
                return State.GOING_ON
            self._read_if_freed()
        watched = bool(host.latency.threshold_ms)
        lazily = host.config.lazyfree_lazy_eviction
        each = host.memory.used // max(1, host.keyspace.size) + 1  # what a key takes, about
        needed = self._excess() + slack
        while needed > 0:
            victims = self._victims.next(needed // each + 1)
            if not victims:
                return State.FULL if reclaimer.idle else State.GOING_ON
            freed, evicted = 0, host.keyspace.evicted_keys
            for db, keys in victims:
                began_ns = host.clock_ns() if watched else 0
                freed += db.evict(keys, lazily=lazily)
                if watched:
                    self._note_delay("eviction-del", began_ns)
            evicted = host.keyspace.evicted_keys - evicted
            self._keys -= evicted
            host.memory.discharge(freed)
            needed -= freed
            each = freed // max(1, evicted) + 1
            if needed > 0 and host.clock_ns() >= end_ns:
                return State.GOING_ON
        return State.ROOM

    def _read_if_freed(self) -> None:
        if self._reclaimer.idle:
            self._read()

    def _continue_soon(self) -> None:
        if self._timer is None:
            self._timer = self._host.timers.after(CONTINUE_MS, self._continue)

    def _continue(self) -> None:
        self._timer = None
        self.make_room()

    # --- what is told ---------------------------------------------------------------------------------------------

    def _count_time(self, state: State) -> None:
        """Note since when the node is above its limit."""
        if state is not State.ROOM:
            if self._exceeded_since_ns is None:
                self._exceeded_since_ns = self._host.clock_ns()
        elif self._exceeded_since_ns is not None:
            self._exceeded_ns += self._host.clock_ns() - self._exceeded_since_ns
            self._exceeded_since_ns = None

    def exceeded_ms(self) -> tuple[int, int]:
        """For how long the node was above its limit: in all, and this time (0: it is not)."""
        now_ns, since_ns = self._host.clock_ns(), self._exceeded_since_ns
        current_ns = 0 if since_ns is None else now_ns - since_ns
        return (self._exceeded_ns + current_ns) // 1_000_000, current_ns // 1_000_000

    def forget_counts(self) -> None:
        """CONFIG RESETSTAT."""
        self._exceeded_ns = 0
        self._host.keyspace.evicted_keys = 0
        if self._exceeded_since_ns is not None:
            self._exceeded_since_ns = self._host.clock_ns()
