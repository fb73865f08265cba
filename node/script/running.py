"""The script that runs, and the node meanwhile.

One script runs at a time, and nothing else happens to the data until it is over: time stands still for it, its effects
are one unit of the journal. One that runs for longer than `busy-reply-threshold` lets the node live: at each tick of
its hook the reactor serves what has come, new clients are let in, and the timers run that only speak to other nodes.
Clients are told BUSY, but for the commands that may come then (SCRIPT KILL, SHUTDOWN NOSAVE); what a primary sends
waits, since nothing may change under a script.
"""

from collections.abc import Callable
from typing import Any, Protocol

from node.config.config import Config
from node.keyspace.journal import TO_ALL, Journal
from node.keyspace.keyspace import Keyspace
from node.log import Log
from node.net.reactor import Reactor
from node.net.resp import CommandError, Failure, Reply
from node.net.session import Session, Waiting
from node.platform import Platform
from node.script.engine import CompileError, Engine
from node.script.scripts import Cache, Flags
from node.table import DENY_OOM, MAY_REPLICATE, NO_SCRIPT, WRITE
from node.timers import Timers

CALLS_BETWEEN_LOOKS = 64
"""How many commands a script may call before the clock is looked at: the hook of the engine counts only Lua's steps."""
CACHE_NAME = b"@user_script"


class ScriptsHost(Protocol):
    """What scripts need of their node."""

    platform: Platform
    config: Config
    log: Log
    journal: Journal
    keyspace: Keyspace
    reactor: Reactor
    timers: Timers
    time_stands_still: bool
    let_in: Callable[[], None]

    def conditions_changed(self) -> None: ...
    def has_room(self, argv: list[bytes]) -> bool:
        """Is the data set within `maxmemory`, after an attempt to make room?"""


class Run:
    """A script or function that runs now."""

    __slots__ = (
        "against", "calls", "client", "flags", "is_function", "killed", "name", "out_of_memory", "read_only", "repl",
        "slot", "started_ns", "wrote",
    )  # fmt: skip

    def __init__(
        self, client: Any, name: bytes, flags: Flags, read_only: bool, started_ns: int, is_function: bool
    ) -> None:
        self.client = client
        self.name = name  # the SHA1 of the script, or the function's name
        self.flags = flags
        self.read_only = read_only  # by the command (EVAL_RO) or by its flags
        self.is_function = is_function
        self.started_ns = started_ns
        self.against = NO_SCRIPT | (WRITE | MAY_REPLICATE if read_only else 0)  # flags of commands that may be refused
        self.out_of_memory = False  # when it began: what needs memory is refused, until something was written
        self.wrote = False  # a command that writes was called
        self.killed = b""  # the error that it ends with
        self.slot = -1  # of the keys that it uses, in cluster mode
        self.calls = 0
        self.repl = TO_ALL


class Running(Waiting):
    """The client of a long script: nothing it sends is served before the end."""

    __slots__ = ()


Call = Callable[[Run, list[bytes]], Reply]
"""Runs a command of a script; a refusal is a Failure."""
AclCheck = Callable[[Run, list[bytes]], bool | None]

KILLED = b"ERR Script killed by user with SCRIPT KILL..."
FUNCTION_KILLED = b"ERR Script killed by user with FUNCTION KILL."
LOAD_TIMEOUT = b"ERR FUNCTION LOAD timeout"
NODE_ENDS = b"ERR The server is shutting down"
BUSY = Failure(b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")
BUSY_FUNCTION = Failure(b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")
NOT_BUSY = Failure(b"NOTBUSY No scripts in execution right now.")
UNKILLABLE = Failure(
    b"UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script "
    b"termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
)


class Scripts:
    """Everything about scripts in one node. It is the host of the engine, which is made when the first script comes."""

    def __init__(self, host: ScriptsHost, version: str, call: Call, acl_check: AclCheck) -> None:
        self._host = host
        self._version = version
        self._call = call
        self._acl_check = acl_check
        self._engine: Engine | None = None
        self.cache = Cache(self._compile)
        self.running: Run | None = None
        self.busy = False  # the running one has taken longer than it should
        self.load_until_ns = 0  # how long a library that is being loaded may take; 0: as long as it likes
        self.node_ends = False  # SHUTDOWN NOSAVE came meanwhile

    @property
    def engine(self) -> Engine:
        """The engine of EVAL."""
        if self._engine is None:
            self._engine = self.new_engine(CACHE_NAME)
        return self._engine

    def new_engine(self, name: bytes) -> Engine:
        """Another engine whose scripts run under this node's rules; `name` is their chunk name."""
        return Engine(self, self._version, name)

    @property
    def used_bytes(self) -> int:
        """Memory of the engine."""
        return 0 if self._engine is None else self._engine.used_bytes

    def _compile(self, text: bytes) -> Any:
        try:
            return self.engine.compile(text)
        except CompileError as error:
            raise CommandError(b"ERR Error compiling script (new function): " + error.text) from None

    def flush(self) -> None:
        """Forget all scripts, and what they left in memory."""
        self.cache.clear()
        self._engine = None

    # --- running --------------------------------------------------------------------------------------------------

    def run(
        self,
        client: Session[Any],
        name: bytes,
        flags: Flags,
        read_only: bool,
        engine: Engine,
        evaluate: Callable[[], Reply],
        is_function: bool = False,
        slot: int = -1,
    ) -> Reply:
        """Run a script for a client: `evaluate` runs it in `engine`. What it did is journalled as one unit.

        `slot` is that of the keys which it was given, in cluster mode; -1 without any.
        """
        host = self._host
        journal, keyspace = host.journal, host.keyspace
        dirty, db = keyspace.dirty, client.db
        command, resp3, may_block = client.last_command, client.resp3, client.may_block
        run = self.running = Run(client, name, flags, read_only, host.platform.clock_ns(), is_function)
        if not flags.allow_oom and not host.has_room([]):
            run.out_of_memory = True
            run.against |= DENY_OOM
        run.slot = slot
        in_unit = journal.in_unit
        if not in_unit:
            journal.begin_unit()
        client.resp3 = client.may_block = False
        try:
            reply = evaluate()
        finally:
            if not in_unit:
                journal.end_unit()
            journal.unit_readers = TO_ALL
            self.running = None
            client.db, client.last_command, client.resp3, client.may_block = db, command, resp3, may_block
            if self.busy:
                self._calm_down(client)
        if keyspace.dirty != dirty:
            keyspace.journal_instead(db=db.index)  # its commands have said it all
        if type(reply) is Failure:
            return _explained(reply, engine, run.name)
        return reply

    # --- what the engine asks -------------------------------------------------------------------------------------

    def call(self, argv: list[bytes]) -> Reply:
        """`redis.call` and `redis.pcall`."""
        run = self.running
        if run is None:  # a library that is being loaded
            return Failure(b"ERR redis.call/pcall can only be called inside a script invocation")
        run.calls += 1
        if not run.calls % CALLS_BETWEEN_LOOKS:
            ended = self.tick()
            if ended:
                return Failure(ended)
        return self._call(run, argv)

    def log(self, level: int, text: bytes) -> None:
        """`redis.log`."""
        log = self._host.log
        (log.debug, log.verbose, log.notice, log.warning)[level](text.decode("utf-8", "replace"))

    def set_resp(self, resp3: bool) -> None:
        """`redis.setresp`."""
        if self.running is not None:
            self.running.client.resp3 = resp3

    def set_repl(self, readers: int) -> None:
        """`redis.set_repl`."""
        self._host.journal.unit_readers = readers

    def acl_check(self, argv: list[bytes]) -> bool | None:
        """`redis.acl_check_cmd`."""
        return None if self.running is None else self._acl_check(self.running, argv)

    def tick(self) -> bytes | None:
        """Some time has passed: is it a long script by now, is it to end?"""
        run, host = self.running, self._host
        if run is None:
            late = self.load_until_ns and host.platform.clock_ns() > self.load_until_ns
            return LOAD_TIMEOUT if late else None
        if not run.killed:
            threshold_ms = host.config["busy-reply-threshold"]
            elapsed_ms = (host.platform.clock_ns() - run.started_ns) // 1_000_000
            if not threshold_ms or elapsed_ms < threshold_ms:
                return None
            if not self.busy:
                self._become_busy(run, elapsed_ms)
            self._live_on()
            if self.node_ends:
                run.killed = NODE_ENDS
        return run.killed or None

    # --- long scripts ---------------------------------------------------------------------------------------------

    def _become_busy(self, run: Run, elapsed_ms: int) -> None:
        host = self._host
        way = "FUNCTION KILL" if run.is_function else "SCRIPT KILL"
        host.log.warning(
            f"Slow script detected: still in execution after {elapsed_ms} milliseconds. You can try killing the script "
            f"using the {way} command. Script name is: {run.name.decode('latin-1')}."
        )
        self.busy = host.time_stands_still = True
        if run.client.parked is None and not run.client.closing:
            run.client.parked = Running()
        host.conditions_changed()

    def _live_on(self) -> None:
        """Serve what has come meanwhile."""
        host = self._host
        host.let_in()
        host.reactor.turn_within()
        host.timers.run_vital()

    def _calm_down(self, client: Session[Any]) -> None:
        host = self._host
        if self.node_ends:
            return  # nobody is to see half of what it did
        self.busy = host.time_stands_still = False
        if type(client.parked) is Running:
            client.parked = None
        client.touch()
        host.conditions_changed()

    def kill(self, function: bool = False) -> Reply:
        """SCRIPT KILL, or FUNCTION KILL; None once the running one will end."""
        run = self.running
        if run is None:
            return NOT_BUSY
        if run.wrote:
            return UNKILLABLE
        if run.is_function != function:
            return self.busy_reply
        run.killed = FUNCTION_KILLED if function else KILLED
        return None

    @property
    def busy_reply(self) -> Failure:
        """What other clients get while a long script runs."""
        return BUSY_FUNCTION if self.running is not None and self.running.is_function else BUSY

    def shut_down(self) -> None:
        """SHUTDOWN NOSAVE while a script runs: it ends, and nobody hears of what it did."""
        if self.running is not None:
            self.node_ends = True
            self._host.journal.forget_unit()


def _explained(failure: Failure, engine: Engine, name: bytes) -> Failure:
    """An error of a script as its client sees it: with the place where it came up."""
    place = engine.place
    if place is None:
        return failure
    return Failure(b"%b script: %b, on %b:%b." % (failure, name, place.source, place.line))
