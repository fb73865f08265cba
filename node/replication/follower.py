"""The replica's side, a story told in sequence: connect, shake hands, PSYNC, take a snapshot if need be, follow.

Whatever goes wrong ends the attempt, is logged in Redis's words, and the story begins again after a pause that grows up
to `RETRY_MS_MAX`: a failure of the primary never hurts the replica.
"""

from collections.abc import Callable

import trio

from node.net.dialogue import Dialogue, DialogueError
from node.net.peer import CLOSE_NOW
from node.platform import Socket
from node.rdb.codec import RdbError
from node.replication.failover import Failover
from node.replication.handshake import NOT_YET, Refused, ask, full_resync, introduce, shown
from node.replication.host import ReplicationHost
from node.replication.intake import Intake
from node.replication.link import Apply, PrimarySession
from node.replication.primary import Primary
from node.timers import Timer

RETRY_MS_MIN = 100
RETRY_MS_MAX = 1000
"""Pauses between attempts: Redis tries once a second; a first quick try heals a short break."""
ACK_MS = 1000


class Follower:
    """Follows the primary at `address` until it is stopped. `state` is what ROLE shows."""

    def __init__(
        self,
        host: ReplicationHost,
        primary: Primary,
        address: tuple[str, int],
        apply: Apply,
        is_primary_there: Callable[[], bool],
        failover: Failover,
        data_replaced: Callable[[], None],
        *,
        resumable: bool,
    ) -> None:
        self.host = host
        self.address = address
        self.state = "connect"
        self.session: PrimarySession | None = None
        self.has_data = False
        """The data set is of this primary's history: it was copied from it, or it went on from where we were."""
        self.down_since_ms = host.timers.monotonic_ms()
        self.has_been_up = False
        self.intake: Intake | None = None  # the snapshot that is being taken
        self._primary = primary  # our own part as a primary of other replicas
        self.resumable = resumable  # our offset and ids are worth a PSYNC
        self._apply = apply
        self._is_primary_there = is_primary_there
        self._failover = failover
        self._data_replaced = data_replaced
        self._scope = trio.CancelScope()
        self._ack_timer: Timer | None = None

    @property
    def connected(self) -> bool:
        return self.session is not None

    def was_down_as(self, other: "Follower") -> None:
        """INFO goes on to tell since when there has been no primary."""
        self.has_been_up, self.down_since_ms = other.has_been_up, other.down_since_ms

    async def run(self) -> None:
        """Follow until `stop`."""
        with self._scope:
            pause_ms = RETRY_MS_MIN
            while True:
                self.state = "connecting"
                if await self._attempt():
                    pause_ms = RETRY_MS_MIN
                self.state = "connect"
                await trio.sleep(pause_ms / 1000)
                pause_ms = min(RETRY_MS_MAX, pause_ms * 2)

    def stop(self) -> None:
        """Follow no longer: the link is closed, the offset stays."""
        self._scope.cancel()
        if self.session is not None:
            self.session.on_lost = _nobody
            self.session.close(CLOSE_NOW)
            self._lost()

    async def _attempt(self) -> bool:
        """One life of the link; True if it came as far as following."""
        host, log = self.host, self.host.log
        socket = await self._connect()
        if socket is None:
            return False
        dialogue = Dialogue(host.platform, socket)
        session = None
        try:
            session = await self._synchronize(dialogue, socket)
        except Refused as error:
            log.warning(str(error))
        except RdbError as error:
            source = "disk" if self.intake is not None and self.intake.on_disk else "socket"
            log.warning(f"Failed trying to load the MASTER synchronization DB from {source}: {error}")
        except trio.TooSlowError:
            log.warning("Timeout connecting to the MASTER or receiving data from it")
        except (OSError, DialogueError) as error:
            log.warning(f"I/O error trying to sync with MASTER: {error}")
        finally:
            self.intake = None
            host.saver.look()  # while a data set was loaded nothing could be saved
            if session is None:
                socket.close()
        if session is None:
            return False
        await self._follow(socket, session, dialogue.rest())
        return True

    async def _connect(self) -> Socket | None:
        host, (name, port) = self.host, self.address
        host.log.notice(f"Connecting to MASTER {name}:{port}")
        try:
            with trio.fail_after(host.config["repl-timeout"]):
                socket = await host.tls.dial(name, port, is_tls=host.config["tls-replication"])
        except (OSError, trio.TooSlowError) as error:
            host.log.warning(f"Error condition on socket for SYNC: {str(error) or 'Connection timed out'}")
            return None
        host.log.notice("MASTER <-> REPLICA sync started")
        return socket

    async def _synchronize(self, dialogue: Dialogue, socket: Socket) -> PrimarySession:
        """Come to where the stream goes on; the session that takes it from there."""
        host, history = self.host, self._primary.history
        self.state = "handshake"
        with trio.fail_after(host.config["repl-timeout"]):
            await introduce(host, dialogue)
        failover = self._failover.handing_over
        answer = await ask(host, history, dialogue, resumable=self.resumable, failover=failover)
        if failover:
            self._failover.answered(answer.startswith(b"+CONTINUE") or full_resync(answer) is not None)
        await host.platform.checkpoint()  # the last moment at which we may have been stopped
        knows_offsets = True
        if answer.startswith(b"+CONTINUE") and self.resumable:
            self._continue(shown(answer).split()[1:])
        elif (place := full_resync(answer)) is not None:
            await self._full_sync(dialogue, *place)
        elif answer.startswith(NOT_YET):
            raise Refused(f"Master is currently unable to PSYNC but should be in the future: {shown(answer)}")
        else:
            host.log.warning(f"Unexpected reply to PSYNC from master: {shown(answer)}")
            host.log.notice("Retrying with SYNC...")
            await dialogue.send(b"SYNC\r\n")
            await self._full_sync(dialogue, host.platform.random_hex(), host.journal.offset)
            self.resumable = knows_offsets = False
        session = PrimarySession(host, self._apply, _nobody)
        session.acknowledges = knows_offsets
        session.addr, session.laddr = host.platform.addresses_of(socket)
        return session

    def _continue(self, words: list[str]) -> None:
        """+CONTINUE, under the name in `words` if there is one."""
        host, history = self.host, self._primary.history
        host.log.notice("Successful partial resynchronization with master.")
        if words and words[0] != history.replid:
            history.continue_as(words[0], host.journal.offset)
            host.log.notice(f"Master replication ID changed to {words[0]}")
            self._primary.stream.drop_replicas()  # they come back and learn the new name
        self.has_data = True
        host.log.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.")

    async def _full_sync(self, dialogue: Dialogue, replid: str, offset: int) -> None:
        """Take another data set for our own, if it is our primary that offers it. (Who can go on from our offset has
        shown by that that he has our history.)"""
        host = self.host
        if not self._is_primary_there():
            raise Refused(
                f"The cluster has not heard my master at {self.address[0]}:{self.address[1]}, "
                "or it came back with less than I have: not taking data"
            )
        self.state = "sync"
        host.log.notice(f"Full resync from master: {replid}:{offset}")
        intake = self.intake = Intake(host, dialogue, same_history=replid == self._primary.history.replid)
        await intake.take()
        host.read_clock()
        if intake.on_disk:
            await intake.load_from_disk(self._give_up_place)
            host.read_clock()
        else:
            intake.put_in_place()
        self.intake = None
        self.resumable = self.has_data = True
        self._primary.history.renew(replid)
        host.journal.offset = offset
        host.journal.stream_db = intake.stream_db
        self._primary.restart_stream()
        self._data_replaced()
        host.log.notice("MASTER <-> REPLICA sync: Finished with success")
        await intake.settle()
        await host.platform.checkpoint()  # the last moment at which we may have been stopped

    def _give_up_place(self) -> None:
        """The data set is dropped: nobody can go on from where it stood, we no more than our replicas."""
        self.resumable = self.has_data = False
        self._primary.history.renew(self.host.platform.random_hex())
        self._primary.restart_stream()

    # --- following ------------------------------------------------------------------------------------------------

    async def _follow(self, socket: Socket, session: PrimarySession, rest: bytes) -> None:
        """Serve the stream until the link is lost."""
        host = self.host
        gone = trio.Event()

        def lost(_reason: str) -> None:
            session.on_lost = _nobody
            self._lost()
            gone.set()

        session.on_lost = lost
        self.session = session
        self.state = "connected"
        self.has_been_up = True
        host.register(session)
        host.reactor.add(socket, session)
        host.conditions_changed()
        host.read_clock()
        if rest:
            session.receive(rest)
        session.acknowledge()
        self._ack_timer = host.timers.after(ACK_MS, self._acknowledge, vital=True)
        await gone.wait()
        host.log.warning("Connection with master lost.")
        host.log.notice("Caching the disconnected master state.")

    def _lost(self) -> None:
        self.session = None
        self.state = "connect"
        self.down_since_ms = self.host.timers.monotonic_ms()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        self.host.conditions_changed()

    def _acknowledge(self) -> None:
        """Once a second: say how far we are, and look whether the primary still says anything."""
        session = self.session
        if session is None:
            return
        now_ms = self.host.timers.monotonic_ms()
        if session.parked is not None:
            session.last_io_ms = now_ms  # held back by CLIENT PAUSE: what it says meanwhile stays unread
        if now_ms - session.last_io_ms > self.host.config["repl-timeout"] * 1000:
            self.host.log.warning("MASTER timeout: no data nor PING received...")
            session.close(CLOSE_NOW)
            return
        session.acknowledge()
        self._ack_timer = self.host.timers.after(ACK_MS, self._acknowledge, vital=True)


def _nobody(_reason: str) -> None:
    pass
