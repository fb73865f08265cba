"""The end of a node: SHUTDOWN, SIGTERM and SIGINT go the same way. Sans-IO but for the last save.

asked  --no replica lags, NOW, or shutdown-timeout 0-->  finish
asked  --replicas lag--> writes are paused, until they have caught up or the time is over -->  finish
finish --saved (if it was to be)--> `ended(0)`;   --not saved--> the node goes on and says so
SHUTDOWN ABORT takes a wait back.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from node.net.resp import Failure, Reply
from node.net.session import Session, Waiting
from node.platform import SIGINT, SIGTERM
from node.server import Client, Server

LOOK_AT_REPLICAS_MS = 100
"""How often the acknowledgements of lagging replicas are looked at while a shutdown waits for them."""

FAILED = Failure(b"ERR Errors trying to SHUTDOWN. Check logs.")


class Wishes(NamedTuple):
    """The options of SHUTDOWN, or of shutdown-on-sigterm and -sigint."""

    save: bool = False
    nosave: bool = False
    now: bool = False
    force: bool = False


class Ending(Waiting):
    """A client that has sent SHUTDOWN: it gets a reply only if the node does not end."""

    __slots__ = ("shutdown",)

    def __init__(self, shutdown: "Shutdown") -> None:
        self.shutdown = shutdown

    def cancelled(self, session: Client) -> None:
        self.shutdown.clients.pop(session, None)


class Shutdown:
    """The ending of one node. `ended` is called with the exit code once there is nothing left to do."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ended: Callable[[int], None] = lambda _code: None
        self.before_end: Callable[[], None] = lambda: None
        self.tell_supervisor: Callable[[str], None] = lambda _text: None
        self.clients: dict[Session[Server], None] = {}
        self.wishes = Wishes()
        self.deadline_ms: float | None = None  # of the wait for replicas
        self.signalled = 0  # a signal that nobody has acted on yet, or that the running wait stems from
        self.signals_wait = False  # DEBUG PAUSE-CRON

    # --- asking ---------------------------------------------------------------------------------------------------

    def act_on_signal(self) -> None:
        """SIGTERM or SIGINT was received, as `signalled` tells: end, unless that was taken back or we are ending."""
        if not self.signalled or self.signals_wait or self.deadline_ms is not None:
            return
        name = {SIGTERM: "shutdown-on-sigterm", SIGINT: "shutdown-on-sigint"}[self.signalled]
        words = self.server.config[name]
        self.begin(Wishes(*(word in words for word in Wishes._fields)))

    def ask(self, client: Client, wishes: Wishes) -> Reply:
        """SHUTDOWN: the client waits, and hears something only if the node goes on."""
        reply = client.park(Ending(self))
        self.clients[client] = None
        if self.deadline_ms is None:
            self.begin(wishes)
        return reply

    def begin(self, wishes: Wishes) -> None:
        """End the node, at once or as soon as its replicas have everything."""
        server = self.server
        if server.loading is not None:  # what is in memory now is not the data set
            wishes = wishes._replace(save=False, nosave=True)
        self.wishes = wishes
        server.log.notice("User requested shutdown...")
        self.tell_supervisor("STOPPING=1\n")
        timeout_s = server.config["shutdown-timeout"]
        if wishes.now or not timeout_s or not self._lagging():
            self.finish()
            return
        server.clients.pause("shutdown", True, math.inf)
        server.log.notice("Waiting for replicas before shutting down.")
        self.deadline_ms = server.timers.monotonic_ms() + timeout_s * 1000
        self._look_again()

    def let_signals_wait(self, wanted: bool) -> None:
        """Whether signals are acted on only once this is called again: until then SHUTDOWN ABORT takes them back."""
        self.signals_wait = wanted
        self.act_on_signal()

    def abort(self) -> bool:
        """SHUTDOWN ABORT; False if there is nothing to take back."""
        if self.deadline_ms is None and not self.signalled:
            return False
        self._go_on()
        self.server.log.notice("Shutdown manually aborted.")
        return True

    def left_ms(self) -> float | None:
        """How much longer the node waits for its replicas; None if it is not about to end."""
        return None if self.deadline_ms is None else max(0.0, self.deadline_ms - self.server.timers.monotonic_ms())

    # --- waiting and ending ---------------------------------------------------------------------------------------

    def _lagging(self) -> list[str]:
        return self.server.replication.lagging()

    def _look_again(self) -> None:
        if self.deadline_ms is None:
            return
        if self.server.timers.monotonic_ms() >= self.deadline_ms or not self._lagging():
            self.finish()
        else:
            self.server.timers.after(LOOK_AT_REPLICAS_MS, self._look_again)

    def finish(self) -> None:
        """Save if that is wished, and end; a failed save keeps the node alive unless forced."""
        server, log = self.server, self.server.log
        server.replication.log_at_shutdown()
        if not self._save():
            log.warning("Errors trying to shut down the server. Check the logs for more information.")
            self._go_on()
            return
        self.before_end()
        log.warning("Redis is now ready to exit, bye bye...")
        self.ended(0)

    def _save(self) -> bool:
        server, wishes = self.server, self.wishes
        if server.saver is None:
            return True
        if not server.aof.may_end(wishes.force):
            self.tell_supervisor("STATUS=Writing initial AOF, can't exit.\n")
            return False
        server.saver.cancel_background(ending=True)
        if wishes.nosave or not (wishes.save or server.config["save"]):
            return True
        server.log.notice("Saving the final RDB snapshot before exiting.")
        self.tell_supervisor("STATUS=Saving the final RDB snapshot\n")
        if server.saver.save_at_shutdown():
            return True
        if wishes.force:
            server.log.warning("Error trying to save the DB. Exit anyway.")
            return True
        server.log.warning("Error trying to save the DB, can't exit.")
        self.tell_supervisor("STATUS=Error trying to save the DB, can't exit.\n")
        return False

    def _go_on(self) -> None:
        if self.deadline_ms is not None:
            self.server.clients.unpause("shutdown")
        self.deadline_ms = None
        self.signalled = 0
        clients, self.clients = self.clients, {}
        for client in clients:
            client.resume(FAILED)
