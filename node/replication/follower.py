"""The replica's side, a story told in sequence: connect, shake hands, PSYNC, take a snapshot if need be, follow.

Whatever goes wrong ends the attempt, is logged in Redis's words, and the story begins again after a pause that grows up
to `RETRY_MS_MAX`: a failure of the primary never hurts the replica.
"""

from collections.abc import Callable
from typing import Any

import trio

from node.keyspace.database import Database
from node.net.dialogue import Dialogue, DialogueError
from node.net.peer import CLOSE_NOW
from node.net.resp import Argv, encode_command
from node.persistence.loader import StreamLoader
from node.platform import Socket
from node.rdb.codec import RdbError
from node.replication.history import NO_ID, History
from node.replication.host import ReplicationHost
from node.replication.link import PrimarySession

RETRY_MS_MIN = 100
RETRY_MS_MAX = 1000
"""Pauses between attempts: Redis tries once a second; a first quick try heals a short break."""
ACK_MS = 1000
EOF_MARK_BYTES = 40
NOT_YET = (b"-NOMASTERLINK", b"-LOADING")
"""Answers to PSYNC of a primary that is not ready: ask again later, with the same offset."""


class Refused(Exception):
    """The primary said no; the text tells why."""


class Follower:
    """Follows the primary at `address` until it is stopped. `state` is what ROLE shows."""

    def __init__(
        self,
        host: ReplicationHost,
        history: History,
        address: tuple[str, int],
        apply: Callable[[Any, Argv], None],
        new_history: Callable[[], None],
    ) -> None:
        self.host = host
        self.history = history
        self.address = address
        self.state = "connect"
        self.session: PrimarySession | None = None
        self.down_since_ms = host.timers.monotonic_ms()
        self.loader: StreamLoader | None = None
        self._fresh: list[Database] = []  # where a snapshot is loaded, beside what is there
        self.transfer_bytes = -1  # of the snapshot; -1 while its length is not known
        self.transfer_read_bytes = 0
        self.transfer_io_ms = 0.0
        self.has_data = False  # what we hold is a copy of this primary's, however old
        self.resumable = True  # our offset and ids are worth a PSYNC
        self._apply = apply
        self._new_history = new_history
        self._scope = trio.CancelScope()
        self._ack_timer: Any = None

    @property
    def connected(self) -> bool:
        return self.session is not None

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
            self._lost("")

    async def _attempt(self) -> bool:
        """One life of the link; True if it came as far as following."""
        log, (name, port) = self.host.log, self.address
        log.notice(f"Connecting to MASTER {name}:{port}")
        timeout_s = self.host.config["repl-timeout"]
        try:
            with trio.fail_after(timeout_s):
                source = self.host.config["bind-source-addr"] or ""
                socket = await self.host.platform.connect_tcp(name, port, source)
        except (OSError, trio.TooSlowError) as error:
            log.warning(f"Error condition on socket for SYNC: {error or 'Connection timed out'}")
            return False
        log.notice("MASTER <-> REPLICA sync started")
        dialogue = Dialogue(self.host.platform, socket)
        handed_over = False
        try:
            with trio.fail_after(timeout_s):
                await self._shake_hands(dialogue)
                answer = await self._ask(dialogue)
            await self._answered(dialogue, answer)
            handed_over = True
        except Refused as error:
            log.warning(str(error))
        except RdbError as error:
            log.warning(f"Failed trying to load the MASTER synchronization DB from socket: {error}")
        except (OSError, DialogueError, trio.TooSlowError) as error:
            log.warning(f"MASTER timeout or I/O error during sync: {error or 'timeout'}")
        finally:
            self._loading_over()
            if not handed_over:
                socket.close()
        if handed_over:
            await self._follow(socket, dialogue.rest())
        return handed_over

    # --- the handshake --------------------------------------------------------------------------------------------

    async def _shake_hands(self, dialogue: Dialogue) -> None:
        self.state = "handshake"
        config = self.host.config
        self.host.log.notice("Non blocking connect for SYNC fired the event.")
        await dialogue.send(b"PING\r\n")
        reply = await dialogue.line()
        if reply[:1] != b"+" and not reply.startswith((b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")):
            raise Refused(f"Error reply to PING from master: '{reply.decode('utf-8', 'replace')}'")
        self.host.log.notice("Master replied to PING, replication can continue...")
        requests: list[list[bytes]] = []
        password = config["masterauth"]
        if password:
            user = config["masteruser"]
            requests.append([b"AUTH", *([user.encode()] if user else []), password.encode()])
        port = config["replica-announce-port"] or config["port"]
        requests.append([b"REPLCONF", b"listening-port", b"%d" % port])
        if config["replica-announce-ip"]:
            requests.append([b"REPLCONF", b"ip-address", config["replica-announce-ip"].encode()])
        requests.append([b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])
        await dialogue.send(b"".join(map(encode_command, requests)))
        for request in requests:
            reply = await dialogue.line()
            if reply[:1] == b"-":
                words = reply.decode("utf-8", "replace")
                if request[0] == b"AUTH":
                    raise Refused(f"Unable to AUTH to MASTER: {words}")
                self.host.log.notice(f"(Non critical) Master does not understand {request[1].decode()}: {words}")

    async def _ask(self, dialogue: Dialogue) -> bytes:
        """PSYNC; the primary's answer."""
        if self.resumable and self.history.replid != NO_ID:
            replid, offset = self.history.replid, self.host.journal.offset + 1
            self.host.log.notice(f"Trying a partial resynchronization (request {replid}:{offset}).")
        else:
            replid, offset = "?", -1
            self.host.log.notice("Partial resynchronization not possible (no cached master)")
        await dialogue.send(encode_command([b"PSYNC", replid.encode(), b"%d" % offset]))
        return await self._patient_line(dialogue)

    async def _patient_line(self, dialogue: Dialogue) -> bytes:
        """The next line that is not empty: a primary that needs time sends empty ones meanwhile."""
        while True:
            with trio.fail_after(self.host.config["repl-timeout"]):
                line = await dialogue.line()
            if line:
                return line

    async def _answered(self, dialogue: Dialogue, answer: bytes) -> None:
        words = answer.decode("utf-8", "replace").split()
        if words[:1] == ["+CONTINUE"]:
            self._continue(words[1] if len(words) > 1 else self.history.replid)
            return
        if words[:1] == ["+FULLRESYNC"] and len(words) == 3 and len(words[1]) == 40 and words[2].isdigit():
            await self._full_sync(dialogue, words[1], int(words[2]))
            return
        if answer.startswith(NOT_YET):
            raise Refused(f"Master is currently unable to PSYNC but should be in the future: {answer.decode()}")
        raise Refused(f"Unexpected reply to PSYNC from master: {answer.decode('utf-8', 'replace')}")

    def _continue(self, replid: str) -> None:
        self.has_data = True
        self.host.log.notice("Successful partial resynchronization with master.")
        if replid != self.history.replid:
            self.history.continue_as(replid, self.host.journal.offset)
            self.host.log.notice(f"Master replication ID changed to {replid}")
            self._new_history()
        self.host.log.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.")

    # --- the snapshot ---------------------------------------------------------------------------------------------

    async def _full_sync(self, dialogue: Dialogue, replid: str, offset: int) -> None:
        self.state = "sync"
        self.host.log.notice(f"Full resync from master: {replid}:{offset}")
        header = await self._patient_line(dialogue)
        if header[:1] == b"-":
            raise Refused(f"MASTER aborted replication with an error: {header[1:].decode('utf-8', 'replace')}")
        if header[:1] != b"$":
            raise Refused(
                "Bad protocol from MASTER, the first byte is not '$', are you sure the host and port are right?"
            )
        if header.startswith(b"$EOF:"):
            await self._take_marked(dialogue, header[5:])
        else:
            await self._take_counted(dialogue, int(header[1:]))
        self._put_in_place()
        self.has_data = True
        self.history.renew(replid)
        self.host.journal.offset = offset
        self.host.journal.stream_db = -1
        self.resumable = True
        self._new_history()
        self.host.log.notice("MASTER <-> REPLICA sync: Finished with success")

    def _begin_loading(self) -> StreamLoader:
        """Load beside the data that is there, which goes on being served: a transfer that fails loses nothing."""
        self.host.log.notice("MASTER <-> REPLICA sync: Loading DB in memory")
        keyspace = self.host.keyspace
        self._fresh = [Database(db.index, keyspace) for db in keyspace.databases]
        self.loader = StreamLoader(self.host, self._fresh)
        return self.loader

    def _put_in_place(self) -> None:
        """The snapshot is whole: what was there before makes room for it."""
        self.host.log.notice("MASTER <-> REPLICA sync: Flushing old data")
        for db, fresh in zip(self.host.keyspace.databases, self._fresh, strict=True):
            db.swap_contents(fresh)
        self.host.reclaim(self._fresh)

    def _loading_over(self) -> None:
        self.loader = None
        self._fresh = []
        self.transfer_bytes = -1

    async def _receive(self, dialogue: Dialogue) -> bytes:
        with trio.fail_after(self.host.config["repl-timeout"]):
            data = await dialogue.some()
        self.transfer_io_ms = self.host.timers.monotonic_ms()
        self.transfer_read_bytes += len(data)
        return data

    async def _take_marked(self, dialogue: Dialogue, mark: bytes) -> None:
        """A payload that ends with the mark that was announced."""
        self.host.log.notice("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to parser")
        loader = self._begin_loading()
        self.transfer_read_bytes = 0
        while not loader.finished:
            loader.feed(await self._receive(dialogue))
            await self._load(loader)
        tail = bytearray(loader.rest)
        while len(tail) < len(mark):
            tail += await self._receive(dialogue)
        if not tail.startswith(mark):
            raise RdbError(self.transfer_read_bytes, "the payload does not end with the announced mark")
        dialogue.buffer[:0] = tail[len(mark) :]

    async def _take_counted(self, dialogue: Dialogue, size: int) -> None:
        """A payload of `size` bytes."""
        self.host.log.notice(f"MASTER <-> REPLICA sync: receiving {size} bytes from master to parser")
        loader = self._begin_loading()
        self.transfer_bytes, self.transfer_read_bytes = size, 0
        left = size
        while left > 0:
            data = await self._receive(dialogue)
            loader.feed(data[:left])
            if len(data) > left:
                dialogue.buffer[:0] = data[left:]
            left -= len(data)
            await self._load(loader)
        if not loader.finished:
            raise RdbError(size, "the payload ends before its last opcode")

    async def _load(self, loader: StreamLoader) -> None:
        while loader.step():
            await self.host.platform.checkpoint()

    # --- following ------------------------------------------------------------------------------------------------

    async def _follow(self, socket: Socket, rest: bytes) -> None:
        """Serve the stream until the link is lost."""
        gone = trio.Event()
        reasons: list[str] = []

        def lost(reason: str) -> None:
            reasons.append(reason)
            gone.set()

        session = PrimarySession(self.host, 0, self._apply, lost)
        session.addr, session.laddr = self.host.platform.addresses_of(socket)
        self.session = session
        self.state = "connected"
        self.host.reactor.add(socket, session)
        self.host.conditions_changed()
        if rest:
            session.receive(rest)
        session.acknowledge()
        self._ack_timer = self.host.timers.after(ACK_MS, self._acknowledge)
        await gone.wait()
        self._lost("Connection with master lost.")

    def _lost(self, reason: str) -> None:
        self.session = None
        self.state = "connect"
        self.down_since_ms = self.host.timers.monotonic_ms()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if reason:
            self.host.log.warning(reason)
            self.host.log.notice("Caching the disconnected master state.")
        self.host.conditions_changed()

    def _acknowledge(self) -> None:
        """Once a second: say how far we are, and look whether the primary still says anything."""
        session = self.session
        if session is None:
            return
        silent_ms = self.host.timers.monotonic_ms() - session.last_io_ms
        if silent_ms > self.host.config["repl-timeout"] * 1000:
            self.host.log.warning("MASTER timeout: no data nor PING received...")
            session.close(CLOSE_NOW)
            return
        session.acknowledge()
        self._ack_timer = self.host.timers.after(ACK_MS, self._acknowledge)


def _nobody(_reason: str) -> None:
    pass
