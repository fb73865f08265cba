"""The import contract: a room imports only from lower floors.

Every module stands in a room, every room on a floor. Rooms on floor 0 may use a neighbour as long as nothing goes
round in a circle; the rooms of floors 1, 2 and 4 stand in a fixed order, each on those before it; those of floor 3 do
not know one another, except through what they share below. What stands higher is handed in, never imported.
"""

from __future__ import annotations

from tests.house.source import PACKAGES, Module, module_of, product

# Room -> (floor, step within the floor). The longest name that fits decides.
ROOMS: dict[str, tuple[int, int]] = {
    "node.slots": (0, 0),
    "node.votes": (0, 0),
    "node.glob": (0, 0),
    "node.config": (0, 0),
    "node.platform": (0, 0),
    "node.allocators": (0, 0),
    "node.datatypes": (0, 0),
    "node.rdb": (0, 0),
    "node.log": (0, 0),
    "node.timers": (0, 0),
    "node.latency": (0, 0),
    "node.latencymonitor": (0, 0),
    "node.redaction": (0, 0),
    "node.slowlog": (0, 0),
    "node.sparkline": (0, 0),
    "node.memory": (0, 0),
    "node.descriptors": (0, 0),
    "node.oomscore": (0, 0),
    "node.supervision": (0, 0),
    "node.welcome": (0, 0),
    "node.net.resp": (1, 0),  # the codec knows neither keys nor clients; both speak in its replies
    "node.table": (1, 1),
    "node.acl": (1, 2),
    "node.keyspace": (1, 2),
    "node.net": (1, 3),
    "node.stats": (1, 4),
    "node.tls": (1, 4),
    "node.persistence": (2, 0),
    "node.replication": (2, 1),
    "node.script": (2, 2),
    "node.background": (2, 3),
    "node.pubsub": (2, 3),
    "node.monitoring": (2, 3),
    "node.tracking": (2, 3),
    "node.access": (2, 3),
    "node.client_memory": (2, 3),
    "node.clients": (2, 4),
    "node.eviction": (2, 4),
    "node.server": (2, 5),
    "node.guards": (2, 6),
    "node.dispatch": (2, 7),
    "node.listening": (2, 6),
    "node.shutdown": (2, 6),
    "node.obeying": (2, 8),
    "node.replay": (2, 8),
    "node.migration": (2, 6),
    "node.slotpause": (2, 6),
    "node.commands": (2, 9),
    "node.crash": (2, 10),
    "node.watchdog": (2, 10),
    "gossip": (3, 0),
    "sentinel": (3, 0),
    "proxy": (3, 0),
    "node.app": (4, 0),
    "sentinel.app": (4, 1),  # a node without data that watches others
    "node.program": (4, 2),  # the process around the node that app builds
    "sentinel.program": (4, 3),
    "proxy.app": (4, 3),  # lives as a node does: its listeners, its time, its log
    "hexad": (5, 0),
}
NEIGHBOURS_MEET_ON = (0,)
NEVER_IMPORTED = ("tests", "deploy")


def room_of(name: str) -> str | None:
    """The room in which the module, or a name imported from it, stands."""
    parts = name.split(".")
    return next((room for n in range(len(parts), 0, -1) if (room := ".".join(parts[:n])) in ROOMS), None)


def leans_on(module: Module) -> list[tuple[int, str, str]]:
    """(line, what is imported, its room) for each import of another room of ours."""
    found = []
    for line, name in module.imports():
        room = room_of(name)
        if room and room != room_of(module.name):
            found.append((line, name, room))
    return found


def breach(mine: str, other: str) -> str | None:
    """Why a module of room `mine` may not import from room `other`; None when it may."""
    here, there = ROOMS[mine], ROOMS[other]
    if there[0] > here[0]:
        return f"floor {there[0]} lies above floor {here[0]}"
    if there[0] < here[0]:
        return None
    if here[0] in NEIGHBOURS_MEET_ON or there[1] < here[1]:
        return None
    return f"{other} does not stand below {mine} on floor {here[0]}"


def breaches(modules: list[Module]) -> list[str]:
    """Every import against the contract, as `file:line: what and why`."""
    found = []
    for module in modules:
        mine = room_of(module.name)
        if mine is None:
            found += homeless(module)
            continue
        for line, name, room in leans_on(module):
            if why := breach(mine, room):
                found.append(f"{module.path}:{line}: {mine} imports {name}: {why}")
        for line, name in module.imports():
            if name.split(".")[0] in NEVER_IMPORTED:
                found.append(f"{module.path}:{line}: imports {name}: the product never leans on that")
    return found


def homeless(module: Module) -> list[str]:
    """A package's own `__init__` may have no room, but then imports nothing of ours; any other module needs one."""
    if not module.path.endswith("__init__.py"):
        return [f"{module.path}: stands in no room: give it one in ROOMS"]
    ours = [(line, name) for line, name in module.imports() if name.split(".")[0] in PACKAGES]
    return [f"{module.path}:{line}: imports {name}: it is below every floor" for line, name in ours]


def circles(modules: list[Module]) -> list[str]:
    """Rooms of one floor that lean on each other in a circle, each named once."""
    edges: dict[str, set[str]] = {}
    for module in modules:
        mine = room_of(module.name)
        if mine:
            edges.setdefault(mine, set()).update(room for _, _, room in leans_on(module))

    def reaches(start: str, goal: str) -> bool:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for room in edges.get(todo.pop(), set()) - seen:
                seen.add(room)
                todo.append(room)
        return goal in seen

    return sorted(f"{room} leans on itself through its neighbours" for room in edges if reaches(room, room))


def test_rooms_import_only_from_below() -> None:
    assert breaches(product()) == []


def test_no_circle_of_rooms() -> None:
    assert circles(product()) == []


def test_the_contract_notices() -> None:
    def one(path: str, text: str) -> list[str]:
        return breaches([module_of(path, text)])

    assert one("node/keyspace/db.py", "from node.slots import key_slot\nimport node.datatypes.hashes\n") == []
    assert one("node/keyspace/db.py", "from node import commands\n")
    assert one("node/keyspace/db.py", "from ..commands.strings import get\n")
    assert one("node/net/session.py", "def f():\n    import gossip.state\n")
    assert one("node/net/session.py", "if TYPE_CHECKING:\n    from node.server import Server\n")
    assert one("node/persistence/load.py", "from node.replication.backlog import Backlog\n")
    assert one("node/commands/__init__.py", "from node.server import Server\n") == []
    assert one("node/server.py", "import node.commands\n")
    assert one("gossip/state.py", "import proxy.route\n")
    assert one("gossip/state.py", "import hexad\n")
    assert one("node/app.py", "import gossip.machine\nfrom node.commands import hashes\n") == []
    assert one("hexad/up.py", "import tests.support\n")
    assert one("node/brand_new.py", "")
    assert one("node/__init__.py", "from node.slots import key_slot\n")
    assert one("node/keyspace/journal.py", "from node.net.resp import encode_command\n") == []
    assert one("node/keyspace/journal.py", "from node.net.session import Session\n")
    here, there = (module_of("node/rdb/a.py", "import node.datatypes.b\n"), module_of("node/datatypes/b.py", ""))
    assert circles([here, there]) == []
    back = module_of("node/datatypes/b.py", "from node.rdb import a\n")
    assert len(circles([here, back])) == 2
