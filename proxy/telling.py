"""What the proxy tells of itself: INFO as a single Redis would, and PROXY INFO, PROXY NODES for its operators."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from node.commands.info import SECTIONS, Fields, report_of, sections_wanted
from node.commands.slowlog import SHOWN
from node.datatypes.numbers import parse_int
from node.net.resp import OK, Argv, CommandError, Reply, Status, Verbatim
from node.server import HEXAD_VERSION
from node.table import Registry, Spec
from proxy import overview
from proxy.everywhere import on_all
from proxy.stories import Story, begin, must

if TYPE_CHECKING:
    from proxy.server import Proxy

OWN_SECTIONS = ("server", "clients", "stats", "replication", "cpu", "modules", "commandstats", "errorstats", "cluster")
"""What the proxy can say of itself..."""
SECTIONS_OF_DATA: dict[str, Callable[[Sequence[overview.Report]], Fields]] = {
    "memory": overview.memory,
    "persistence": overview.persistence,
    "stats": overview.key_events,
    "replication": overview.replicas,
    "keyspace": overview.keyspace,
}
"""...and what the nodes know better: a whole section, or fields of one."""


def info(client: Any, argv: Argv) -> Reply:
    """INFO: the proxy as a server, with the data of all nodes."""
    wanted = sections_wanted([word.decode("latin-1") for word in argv[1:]])
    sections = [name for name in wanted if name in OWN_SECTIONS or name in SECTIONS_OF_DATA]
    if SECTIONS_OF_DATA.keys() & set(sections):
        return begin(client, _info_with_data(client.host, sections))
    return _rendered(client.host, sections, [])


def _info_with_data(proxy: "Proxy", sections: list[str]) -> Story:
    replies = yield from on_all(proxy, [b"INFO"])
    return _rendered(proxy, sections, [overview.parse(bytes(must(reply))) for _, reply in replies])


def _rendered(proxy: "Proxy", names: list[str], reports: list[overview.Report]) -> Reply:
    parts: list[tuple[str, Fields]] = []
    for name in names:
        title, own_fields = SECTIONS[name]
        own = own_fields(proxy) if name in OWN_SECTIONS else {}
        of_data = SECTIONS_OF_DATA[name](reports) if name in SECTIONS_OF_DATA else {}
        parts.append((title, {**own, **of_data}))
    return Verbatim(report_of(parts).encode("utf-8", "surrogateescape"))


def specs() -> list[Spec]:
    """PROXY and its subcommands."""
    registry = Registry()
    registry.container("proxy", -2, "loading stale")
    registry.command("proxy|info", 2, "loading stale fast", acl="admin dangerous")(proxy_info)
    registry.command("proxy|nodes", 2, "loading stale fast", acl="admin dangerous")(proxy_nodes)
    registry.command("proxy|slowlog", -2, "loading stale", acl="admin dangerous")(proxy_slowlog)
    registry.command("proxy|help", 2, "loading stale", acl="admin")(proxy_help)
    return list(registry.specs.values())


def proxy_info(client: Any, _argv: Argv) -> Reply:
    """PROXY INFO: what the proxy has done, in lines as INFO's."""
    proxy: Proxy = client.host
    router, settings = proxy.router, proxy.settings
    fields = {
        "hexad_version": HEXAD_VERSION,
        "mode": settings.source,
        "cross_slot": settings.cross_slot,
        "read_policy": settings.read_policy,
        "connected_clients": len(proxy.sessions),
        "known_nodes": len(proxy.topology.nodes),
        "primaries": len(proxy.topology.primaries),
        "slots_covered": sum(owner is not None for owner in proxy.topology.owners),
        "topology_changes": proxy.topology.changes,
        "backend_connections": len(proxy.links),
        "backend_connections_private": len(proxy.pool.lent),
        "backend_connections_made": proxy.links_made,
        "commands_under_way": sum(len(link.pending) + len(link.queue) for link in proxy.links),
        "commands_waiting": len(router.waiting),
        "redirects_followed": router.redirects,
        "retries": router.retries,
        "given_up": router.given_up,
        "unknown_outcomes": router.unknown_outcomes,
        "relaxed_transactions": proxy.relaxed_transactions,
        "draining": int(proxy.is_draining),
    }
    return Verbatim("".join(f"{name}:{value}\r\n" for name, value in fields.items()).encode())


def proxy_nodes(client: Any, _argv: Argv) -> Reply:
    """PROXY NODES: a line for each node: address, role, slots, connections, commands under way."""
    topology = client.host.topology
    lines = []
    for node in topology.nodes.values():
        links = [link for link in client.host.links if link.node is node]
        pending = sum(len(link.pending) + len(link.queue) for link in links)
        slots = sum(owner is node for owner in topology.owners)
        role = "primary" if node.is_primary else "replica"
        lines.append(f"{node.name} role={role} slots={slots} connections={len(links)} under_way={pending}\n")
    return Verbatim("".join(sorted(lines)).encode())


def proxy_slowlog(client: Any, argv: Argv) -> Reply:
    """PROXY SLOWLOG [GET [count] | LEN | RESET]: commands whose answers took long to come, in milliseconds' steps.

    SLOWLOG is about what the proxy itself has done; this is about the nodes, and the ways to them.
    """
    log = client.host.slow_calls
    option = argv[2].lower() if len(argv) > 2 else b"get"
    if option == b"len" and len(argv) == 3:
        return len(log)
    if option == b"reset" and len(argv) == 3:
        log.reset()
        return OK
    count = parse_int(argv[3]) if len(argv) == 4 else SHOWN
    if option != b"get" or len(argv) > 4 or count is None or count < -1:
        raise CommandError("ERR syntax error")
    return [list(entry) for entry in log.latest(count)]


def proxy_help(_client: Any, _argv: Argv) -> Reply:
    """PROXY HELP."""
    lines = [
        "PROXY <subcommand>. Subcommands are:",
        "INFO",
        "    What this proxy has done, and what is under way.",
        "NODES",
        "    The nodes behind this proxy.",
        "SLOWLOG [GET [<count>] | LEN | RESET]",
        "    Commands whose answers took long to come from the nodes.",
        "HELP",
        "    These lines.",
    ]
    return [Status(line.encode()) for line in lines]
