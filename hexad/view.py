"""What people see of a local topology: a live table at a terminal, otherwise one line for each thing that changed.

What is shown is computed by pure functions from `NodeStatus`; `View` prints it. A reader that is gone (a closed
terminal, a pipe into `head`) never hinders the nodes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from hexad.sight import Known, key_count, ranges_text

LOG_LINES = 5
"""How much of a dead node's log is shown."""
UNITS = ("B", "K", "M", "G", "T")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node as the view shows it. Counts are None where the node did not say."""

    port: int
    pid: int
    condition: str
    """"up", "loading", "no answer", "down (exit code 1)"."""
    role: str = ""
    primary_port: int | None = None
    slots: str = ""
    cluster: str = ""
    """"ok", "fail", or empty without a cluster."""
    link: str = ""
    """"up" or "down": a replica's link to its primary, or the primary that a Sentinel watches."""
    offset: int | None = None
    lag_bytes: int | None = None
    ops: int | None = None
    memory_bytes: int | None = None
    keys: int | None = None
    clients: int | None = None
    log: tuple[str, ...] = field(default=(), compare=False)
    """The last lines of its log, if it is down."""
    host: str = ""
    """Where it is, in a topology of several hosts; empty on one machine, where ports tell nodes apart."""
    primary_host: str = ""

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}" if self.host else str(self.port)

    @property
    def primary_name(self) -> str:
        return f"{self.primary_host}:{self.primary_port}" if self.primary_host else str(self.primary_port)

    @property
    def is_up(self) -> bool:
        return self.condition == "up"


def status_of(port: int, pid: int, info: dict[str, str], known: Sequence[Known], state: str) -> NodeStatus:
    """A node that answered, from its INFO, and from its CLUSTER NODES and cluster_state if it is in a cluster."""
    if info.get("redis_mode") == "sentinel":
        return _sentinel_status(port, pid, info)
    me = next((node for node in known if "myself" in node.flags), None)
    is_replica = info.get("role") == "slave"
    return NodeStatus(
        port,
        pid,
        "loading" if info.get("loading", "0") == "1" else "up",
        "replica" if is_replica else "primary",
        _number(info, "master_port") if is_replica else None,
        ranges_text(me.ranges) if me else "",
        state,
        info.get("master_link_status", "") if is_replica else "",
        _number(info, "slave_repl_offset" if is_replica else "master_repl_offset"),
        None,
        _number(info, "instantaneous_ops_per_sec"),
        _number(info, "used_memory"),
        key_count(info),
        _number(info, "connected_clients"),
    )


class Watched(NamedTuple):
    """What a Sentinel says of the primary that it watches, in INFO's section `sentinel`."""

    port: int | None
    status: str
    replicas: int
    sentinels: int


def watched(info: dict[str, str]) -> Watched:
    """Read the line of the first primary."""
    fields = dict(part.partition("=")[::2] for part in info.get("master0", "").split(","))
    port = fields.get("address", "").rpartition(":")[2]
    replicas, sentinels = (int(fields.get(name, "0")) for name in ("slaves", "sentinels"))
    return Watched(int(port) if port.isdigit() else None, fields.get("status", ""), replicas, sentinels)


def _sentinel_status(port: int, pid: int, info: dict[str, str]) -> NodeStatus:
    seen = watched(info)
    return NodeStatus(
        port,
        pid,
        "up",
        "sentinel",
        seen.port,
        link="up" if seen.status == "ok" else "down",
        ops=_number(info, "instantaneous_ops_per_sec"),
        clients=_number(info, "connected_clients"),
    )


def with_lags(nodes: Sequence[NodeStatus]) -> list[NodeStatus]:
    """The same nodes, with what each replica lacks of its primary's journal."""
    offsets = {node.name: node.offset for node in nodes if node.role == "primary"}
    return [_with_lag(node, offsets.get(node.primary_name)) for node in nodes]


def _with_lag(node: NodeStatus, primary_offset: int | None) -> NodeStatus:
    if node.role != "replica" or node.offset is None or primary_offset is None:
        return node
    return replace(node, lag_bytes=max(0, primary_offset - node.offset))


def _number(info: dict[str, str], name: str) -> int | None:
    text = info.get(name, "")
    return int(text) if text.lstrip("-").isdigit() else None


def describe(node: NodeStatus) -> str:
    """What a node is, without what moves all the time: two equal texts mean that nothing happened."""
    if not node.is_up:
        return node.condition
    if node.role == "sentinel":
        return f"sentinel of {node.primary_port}" + (", which is down" if node.link != "up" else "")
    if node.role == "replica":
        return f"replica of {node.primary_name}" + (", without its data" if node.link != "up" else "")
    return f"primary of slots {node.slots}" if node.slots else "primary without slots" if node.cluster else "primary"


def news(before: Sequence[NodeStatus], now: Sequence[NodeStatus]) -> list[str]:
    """What has changed, a line each; everything if there was nothing before."""
    old = {node.name: describe(node) for node in before}
    lines = []
    for node in now:
        text = describe(node)
        if old.get(node.name) != text:
            lines.append(f"node {node.name} (pid {node.pid}): {text}")
            lines += [f"    {line}" for line in node.log]
    state = summary_state(now)
    if state and state != summary_state(before):
        lines.append(f"cluster_state:{state}")
    return lines


def summary_state(nodes: Sequence[NodeStatus]) -> str:
    """ "ok" if every node that is up says so, "fail" if one does not, empty without a cluster or without an answer."""
    states = {node.cluster for node in nodes if node.is_up and node.cluster}
    return "" if not states else "ok" if states == {"ok"} else "fail"


HEADINGS = ("Node", "Pid", "Role and slots", "Keys", "Lag", "Op/s", "Memory", "Clients")


def row(node: NodeStatus) -> tuple[str, ...]:
    """A node's cells under `HEADINGS`."""
    if not node.is_up:
        return (node.name, str(node.pid), node.condition, *[""] * (len(HEADINGS) - 3))
    role = f"{node.role} {node.slots}" if node.primary_port is None else f"{node.role} of {node.primary_name}"
    return (
        node.name,
        str(node.pid),
        role.rstrip(),
        _count(node.keys),
        "" if node.role != "replica" else size_text(node.lag_bytes) if node.link == "up" else f"link {node.link}",
        _count(node.ops),
        size_text(node.memory_bytes),
        _count(node.clients),
    )


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}".replace(",", " ")


def size_text(size_bytes: int | None) -> str:
    """A size for people: "1.5 M"."""
    if size_bytes is None:
        return ""
    size = float(size_bytes)
    for unit in UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {UNITS[-1]}"


class Terminal(Console):
    """A console whose reader may go away: what is printed after that is lost, and nothing else happens."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()


class View:
    """Prints progress, the table, and news."""

    def __init__(self, console: Console, caption: str = "Ctrl-C stops all nodes") -> None:
        self.console = console
        self._caption = caption
        self._live: Live | None = None
        self._status: Status | None = None
        self._before: Sequence[NodeStatus] = ()
        self._said = ""

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.end_progress()
        self._print(text)

    def progress(self, text: str) -> None:
        """Tell what is going on: in place at a terminal, a line each time it changes elsewhere."""
        if text == self._said:
            return
        self._said = text
        if not self.console.is_terminal:
            self._print(text)
            return
        with suppress(OSError):
            if self._status is None:
                self._status = self.console.status(Text(text))
                self._status.start()
            self._status.update(Text(text))

    def end_progress(self) -> None:
        self._said = ""
        if self._status is not None:
            with suppress(OSError):
                self._status.stop()
            self._status = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, `show` may be called."""
        self.end_progress()
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            with suppress(OSError):
                self._live.start()
        try:
            yield
        finally:
            if self._live is not None:
                with suppress(OSError):
                    self._live.stop()
                self._live = None

    def show(self, title: str, nodes: Sequence[NodeStatus]) -> None:
        """Show the nodes as they are now."""
        lines = news(self._before, nodes)
        is_first, self._before = not self._before, nodes
        if self._live is None:
            self._print("\n".join(lines))
            return
        with suppress(OSError):
            if not is_first:
                self._print("\n".join(lines))  # above the table
            self._live.update(table(title, nodes, self._caption), refresh=True)

    def _print(self, text: str) -> None:
        if text:
            with suppress(OSError):
                self.console.print(Text(text), soft_wrap=True)


def table(title: str, nodes: Sequence[NodeStatus], caption: str = "") -> Table:
    """The live view; it fits a terminal of 80 columns, where only long lists of slots are folded."""
    state = summary_state(nodes)
    title = f"{title}   cluster_state:{state}" if state else title
    shown = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in HEADINGS:
        is_role = heading == HEADINGS[2]
        shown.add_column(heading, justify="left" if is_role else "right", no_wrap=not is_role, overflow="fold")
    for node in nodes:
        shown.add_row(*map(Text, row(node)), style="" if node.is_up else "red")
    return shown
