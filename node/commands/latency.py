"""LATENCY: what took long, by the kind of work, and how the times of commands are spread."""

from collections.abc import Iterable

from node.commands.family import command, container
from node.commands.help import describe, help_lines
from node.latency import cumulative
from node.latencymonitor import diagnosis
from node.net.resp import Argv, CommandError, Reply, Status, Verbatim
from node.server import Client
from node.sparkline import sparkline
from node.table import Command, CommandTable

FOR_ADMINS = "admin noscript loading stale"
ALL_NODES = "request_policy:all_nodes"
SPECIAL = f"nondeterministic_output {ALL_NODES} response_policy:special"

GRAPH_ROWS, GRAPH_COLUMNS = 4, 80

container("latency", -2)


@command("latency|latest", 2, FOR_ADMINS, tips=SPECIAL)
def latest(client: Client, argv: Argv) -> Reply:
    """Of each event: its name, when it was last, how long then, and the longest of all times (in ms)."""
    events = client.host.latency.events
    return [[name.encode(), *event.samples[-1], event.max_ms] for name, event in events.items()]


@command("latency|history", 3, FOR_ADMINS, tips=SPECIAL)
def history(client: Client, argv: Argv) -> Reply:
    event = client.host.latency.events.get(_text(argv[2]))
    return [] if event is None else [list(sample) for sample in event.samples]


@command("latency|graph", 3, FOR_ADMINS, tips=SPECIAL)
def graph(client: Client, argv: Argv) -> Reply:
    name = _text(argv[2])
    event = client.host.latency.events.get(name)
    if event is None:
        raise CommandError(b"ERR No samples available for event '%b'" % argv[2])
    now_s = client.host.platform.now_ms() // 1000
    times = [sample.ms for sample in event.samples]
    columns = [(sample.ms, _age(now_s - sample.time_s)) for sample in event.samples]
    head = f"{name} - high {max(times)} ms, low {min(times)} ms (all time high {event.max_ms} ms)"
    drawing = sparkline(columns, GRAPH_ROWS, GRAPH_COLUMNS)
    return Verbatim(f"{head}\n{'-' * GRAPH_COLUMNS}\n{drawing}".encode("utf-8", "surrogateescape"))


@command("latency|doctor", 2, FOR_ADMINS, tips=SPECIAL)
def doctor(client: Client, argv: Argv) -> Reply:
    return Verbatim(diagnosis(client.host.latency).encode())


@command("latency|reset", -2, FOR_ADMINS, tips=f"{ALL_NODES} response_policy:agg_sum")
def reset(client: Client, argv: Argv) -> Reply:
    """LATENCY RESET [event ...]: how many were forgotten."""
    return client.host.latency.reset(map(_text, argv[2:]) if len(argv) > 2 else ())


@command("latency|histogram", -2, FOR_ADMINS, tips=SPECIAL)
def histogram(client: Client, argv: Argv) -> Reply:
    """LATENCY HISTOGRAM [command ...]: of each command that was called, how many calls took up to how many us."""
    table = client.host.commands
    found = table.every() if len(argv) == 2 else _named(table, argv[2:])
    return {
        each.full_name.encode(): {
            b"calls": sum(each.latencies.values()),
            b"histogram_usec": dict(cumulative(each.latencies)),
        }
        for each in found
        if each.latencies
    }


def _named(table: CommandTable, words: Iterable[bytes]) -> Iterable[Command]:
    """The commands that are meant, a container standing for its subcommands; what nothing is called is left out."""
    for word in words:
        head, _, sub = word.lower().partition(b"|")
        each = table.find(head)
        if each is not None and sub:
            each = each.subcommands.get(sub)
        if each is not None:
            yield each
            yield from each.subcommands.values()


@command("latency|help", 2, "loading stale")
def help_(client: Client, argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("latency", describe("latency"))]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _age(seconds: int) -> str:
    """How long ago, in one unit: 12s, 5m, 3h, 2d."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s}{unit}"
    return f"{seconds}s"
