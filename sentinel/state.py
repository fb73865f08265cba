"""What one Sentinel knows: the primaries that it watches, their replicas, its fellows, and the link to each of them.

Rules of this file. It holds and decides nothing. All times are Unix milliseconds of the wall clock, 0 for "never"; a
jump of that clock is what TILT is for. Names in code are ours (primary, replica, fellow), `word` is Redis's for the
wire.

Instances of one primary are found by the name under which they became known: a replica's is "host:port", a fellow's its
run id. A fellow that watches several primaries with us is one instance under each of them, all sharing one link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import NamedTuple

RUN_ID_LENGTH = 40


class Address(NamedTuple):
    """Where an instance listens: as it was named, the IP address behind that name, and the port (0: unknown).

    The IP address is empty as long as the name could not be resolved.
    """

    host: str
    ip: str
    port: int

    def is_same(self, host: str, port: int) -> bool:
        """Whether the host, by name or by address, and the port are this address."""
        return self.port == port and host != "" and host.lower() in (self.host.lower(), self.ip.lower())

    def is_there(self, other: Address) -> bool:
        """Whether both are the same place."""
        return self.is_same(other.ip, other.port) or self.is_same(other.host, other.port)


def is_ip(host: str) -> bool:
    """Whether a host is an IPv4 or IPv6 address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Step(Enum):
    """Where a failover stands; the values are the words of SENTINEL MASTER's `failover-state`."""

    NONE = "none"
    WAIT_START = "wait_start"
    SELECT_REPLICA = "select_slave"
    SEND_PROMOTION = "send_slaveof_noone"
    WAIT_PROMOTION = "wait_promotion"
    RECONFIGURE = "reconf_slaves"
    UPDATE_CONFIG = "update_config"


@dataclass(slots=True)
class Periods:
    """The times that SENTINEL DEBUG shows and sets, in its order; all in milliseconds."""

    info_period: int = 10_000
    ping_period: int = 1000
    ask_period: int = 1000
    publish_period: int = 2000
    default_down_after: int = 30_000
    default_failover_timeout: int = 180_000
    tilt_trigger: int = 2000
    tilt_period: int = 30_000
    slave_reconf_timeout: int = 10_000
    min_link_reconnect_period: int = 15_000
    election_timeout: int = 10_000
    script_max_runtime: int = 60_000
    script_retry_delay: int = 30_000


class Timed:
    """Something that remembers when things happened: `times` names those attributes."""

    __slots__ = ()
    times: tuple[str, ...] = ()

    def forget_future(self, now_ms: int) -> None:
        """The clock went back: what is said to be still to come has happened now."""
        for name in self.times:
            if getattr(self, name) > now_ms:
                setattr(self, name, now_ms)


class Link(Timed):
    """The connections to one instance: one for commands, and to nodes with data another that listens for hellos."""

    __slots__ = (
        "answered_ms", "available_ms", "command", "command_dialled_ms", "command_is_up", "dialled_ms", "heard_first",
        "heard_ms", "local_ip", "pending", "ping_sent_ms", "ping_unanswered_ms", "pubsub", "pubsub_dialled_ms",
        "pubsub_is_up", "users",
    )  # fmt: skip
    times = (
        "answered_ms", "available_ms", "command_dialled_ms", "dialled_ms", "heard_ms", "ping_sent_ms",
        "ping_unanswered_ms", "pubsub_dialled_ms",
    )  # fmt: skip

    def __init__(self, user: Instance, now_ms: int) -> None:
        self.users: list[Instance] = [user]
        self.command: int | None = None  # the number of a connection that stands or is being dialled
        self.pubsub: int | None = None
        self.command_is_up = self.pubsub_is_up = False
        self.local_ip = ""  # of our end: what we tell others to be our address
        self.pending = 0  # commands without a reply
        self.dialled_ms = self.command_dialled_ms = self.pubsub_dialled_ms = 0
        self.heard_ms = 0  # anything by the listening connection
        self.heard_first = 0  # so many of its replies still come before the one to SUBSCRIBE
        self.forget_pings(now_ms)

    def forget_pings(self, now_ms: int) -> None:
        """As if all were well now: who never answers is down after the usual time."""
        self.ping_unanswered_ms = now_ms  # when the oldest ping without a valid answer left; 0: all are answered
        self.ping_sent_ms = 0
        self.available_ms = now_ms  # the last valid answer to a ping
        self.answered_ms = now_ms  # the last answer to a ping, whatever it said

    @property
    def is_connected(self) -> bool:
        return self.command_is_up and (self.pubsub_is_up or isinstance(self.users[0], Fellow))


class Instance(Timed):
    """Anything that is watched."""

    __slots__ = (
        "address", "config", "down_since_ms", "gone", "hello_sent_ms", "info", "info_ms", "is_down", "link", "name",
        "role_is_primary", "role_since_ms", "run_id", "script_kill_sent",
    )  # fmt: skip
    times: tuple[str, ...] = ("down_since_ms", "hello_sent_ms", "info_ms", "role_since_ms")
    word = ""

    def __init__(self, name: str, address: Address, config: Config, now_ms: int) -> None:
        self.name = name
        self.address = address
        self.config = config  # of its primary
        self.run_id = ""
        self.link = Link(self, now_ms)
        self.hello_sent_ms = now_ms
        self.is_down = False  # SDOWN
        self.down_since_ms = 0
        self.script_kill_sent = False
        self.info = b""
        self.info_ms = 0
        self.role_is_primary = isinstance(self, Primary)
        self.role_since_ms = now_ms
        self.gone = False  # removed: replies that are still on their way mean nothing

    @property
    def primary(self) -> Primary:
        raise NotImplementedError

    def flags(self) -> Iterator[str]:
        """The words of `flags` in Redis's order."""
        if self.is_down:
            yield "s_down"
        if isinstance(self, Primary) and self.is_objectively_down:
            yield "o_down"
        yield self.word
        if not self.link.is_connected:
            yield "disconnected"
        yield from self.own_flags()
        if self.script_kill_sent:
            yield "script_kill_sent"
        if isinstance(self, Primary) and self.rebooted_ms:
            yield "master_reboot"

    def own_flags(self) -> Iterator[str]:
        return iter(())


@dataclass(slots=True)
class Config:
    """What `sentinel … <name> …` lines and SENTINEL SET say about one primary."""

    quorum: int
    down_after_ms: int
    failover_timeout_ms: int
    parallel_syncs: int = 1
    reboot_down_after_ms: int = 0
    auth_pass: str = ""
    auth_user: str = ""
    notification_script: str = ""
    reconfig_script: str = ""
    renamed: dict[str, str] = field(default_factory=dict)


class Primary(Instance):
    """A primary: its epochs, its failover, and who belongs to it."""

    __slots__ = (
        "config_epoch", "delay_logged_ms", "failover_epoch", "failover_start_ms", "fellows", "forced",
        "is_objectively_down", "leader", "leader_epoch", "objectively_down_since_ms", "promoted", "rebooted_ms",
        "replicas", "step", "step_ms",
    )  # fmt: skip
    times = (
        *Instance.times, "failover_start_ms", "objectively_down_since_ms", "rebooted_ms", "step_ms",
    )  # fmt: skip
    word = "master"

    def __init__(self, name: str, address: Address, config: Config, now_ms: int) -> None:
        super().__init__(name, address, config, now_ms)
        self.replicas: dict[str, Replica] = {}
        self.fellows: dict[str, Fellow] = {}
        self.config_epoch = 0
        self.leader = ""  # whom I voted for...
        self.leader_epoch = 0  # ...in this epoch
        self.is_objectively_down = False
        self.objectively_down_since_ms = 0
        self.rebooted_ms = 0
        self.failover_epoch = 0
        self.failover_start_ms = 0
        self.delay_logged_ms = 0
        self.step = Step.NONE
        self.step_ms = 0
        self.forced = False
        self.promoted: Replica | None = None

    @property
    def primary(self) -> Primary:
        return self

    @property
    def in_failover(self) -> bool:
        return self.step is not Step.NONE

    @property
    def current_address(self) -> Address:
        """Where clients and fellows are to go: the promoted replica, once it is a primary."""
        if self.promoted is not None and self.step in (Step.RECONFIGURE, Step.UPDATE_CONFIG):
            return self.promoted.address
        return self.address

    def own_flags(self) -> Iterator[str]:
        if self.in_failover:
            yield "failover_in_progress"
        if self.forced:
            yield "force_failover"

    def everybody(self) -> list[Instance]:
        """The primary, its replicas and our fellows, in this order."""
        return [self, *self.replicas.values(), *self.fellows.values()]


class Replica(Instance):
    """A replica, by what its INFO says."""

    __slots__ = (
        "_primary", "conf_changed_ms", "is_announced", "link_down_ms", "offset", "primary_host", "primary_link_is_up",
        "primary_port", "priority", "reconfigured", "reconfigured_ms",
    )  # fmt: skip
    times = (*Instance.times, "conf_changed_ms", "reconfigured_ms")
    word = "slave"

    def __init__(self, name: str, address: Address, primary: Primary, now_ms: int) -> None:
        super().__init__(name, address, primary.config, now_ms)
        self._primary = primary
        self.link_down_ms = 0  # for how long it has lost its primary
        self.primary_link_is_up = False
        self.primary_host = ""
        self.primary_port = 0
        self.priority = 100
        self.offset = 0
        self.is_announced = True
        self.conf_changed_ms = now_ms
        self.reconfigured = ""  # "", sent, inprog, done: on its way to the promoted replica
        self.reconfigured_ms = 0

    @property
    def primary(self) -> Primary:
        return self._primary

    @property
    def is_promoted(self) -> bool:
        return self._primary.promoted is self

    def own_flags(self) -> Iterator[str]:
        if self.is_promoted:
            yield "promoted"
        if self.reconfigured:
            yield f"reconf_{self.reconfigured}"


class Fellow(Instance):
    """Another Sentinel that watches the same primary."""

    __slots__ = ("_primary", "asked_ms", "hello_ms", "leader", "leader_epoch", "says_down")
    times = (*Instance.times, "asked_ms", "hello_ms")
    word = "sentinel"

    def __init__(self, name: str, address: Address, primary: Primary, now_ms: int) -> None:
        super().__init__(name, address, primary.config, now_ms)
        self._primary = primary
        self.says_down = False
        self.asked_ms = now_ms  # when it last answered about the primary
        self.leader = ""  # whom it voted for...
        self.leader_epoch = 0  # ...in this epoch
        self.hello_ms = now_ms

    @property
    def primary(self) -> Primary:
        return self._primary

    def own_flags(self) -> Iterator[str]:
        if self.says_down:
            yield "master_down"


class State:
    """All that one Sentinel knows."""

    def __init__(self, my_id: str = "") -> None:
        self.my_id = my_id
        self.current_epoch = 0
        self.primaries: dict[str, Primary] = {}
        self.announce_ip = ""
        self.announce_port = 0
        self.resolve_hostnames = False
        self.announce_hostnames = False
        self.sentinel_user = ""
        self.sentinel_pass = ""
        self.deny_scripts_reconfig = True
        self.periods = Periods()
        self.tilt_since_ms = 0  # 0: not in TILT
        self.looked_ms = 0  # when the timer last came
        self.unsaved = False  # the configuration file could not be written: no promise of now would survive a restart
        self.crash_after_election = self.crash_after_promotion = False

    @property
    def simulated(self) -> int:
        """The flags of SENTINEL SIMULATE-FAILURE as INFO shows them."""
        return self.crash_after_election | self.crash_after_promotion << 1

    def told(self, address: Address) -> str:
        """How an address's host is told to others: as its name only if that is wished."""
        return address.host if self.announce_hostnames or not address.ip else address.ip

    def primary_at(self, host: str, port: int) -> Primary | None:
        """The primary that is watched at this address."""
        return next((each for each in self.primaries.values() if each.address.is_same(host, port)), None)

    def check(self) -> None:
        """Assert what must always hold (for tests)."""
        for name, primary in self.primaries.items():
            assert name == primary.name
            assert primary.leader_epoch <= self.current_epoch and primary.config_epoch <= self.current_epoch
            assert primary.promoted is None or primary.promoted in primary.replicas.values()
            for instance in primary.everybody():
                assert instance in instance.link.users and not instance.gone
                assert instance.primary is primary
