"""Commands whose sources are in several slots: their keys are fetched, the command runs here, its result is stored.

Set and sorted set algebra, PFCOUNT and PFMERGE, BITOP, SORT, GEOSEARCHSTORE, ZRANGESTORE, LCS: each source comes by
DUMP, the command itself runs as at a node on the copies, and what it stores goes to its node by RESTORE. So replies
and errors are a node's own. Each source is read atomically, the result is written atomically; the sources are not read
at one instant, and a keyspace event of the result is "restore".
"""

from typing import TYPE_CHECKING, Any

from node.keyspace.database import Database
from node.net.resp import OK, Argv, CommandError, Failure, Reply, RequestParser
from node.net.session import Session
from node.rdb.codec import RdbError
from node.rdb.dump import dump, restore
from node.table import Command, Run
from proxy.stories import Ask, Story, must

if TYPE_CHECKING:
    from proxy.server import Proxy

SOURCE_BYTES_MAX = 64 << 20
"""All sources together, as DUMP gives them: what is put together here takes the proxy's time from all clients."""


class Kitchen:
    """Where a command runs on copies: a database that is empty before and after."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.db: Database = proxy.keyspace.databases[0]
        self._session: Session[Any] = Session(proxy, 0, self.db, RequestParser(0))
        self._session.may_block = False

    def cook(
        self, run: Run, argv: Argv, sources: dict[bytes, bytes | None], target: bytes | None, *, resp3: bool
    ) -> tuple[Reply, bytes | None]:
        """The reply of a command run on these payloads, and the payload of `target` afterwards."""
        keyspace, db, session = self._proxy.keyspace, self.db, self._session
        session.resp3 = resp3
        try:
            for key, payload in sources.items():
                if payload is not None:
                    db.set(key, restore(payload))
            try:
                reply = run(session, argv)
            except CommandError as error:
                reply = error.reply
            value = db.peek(target) if target is not None else None
            return reply, None if value is None else dump(value)
        except RdbError as error:
            raise CommandError(f"ERR proxy: a value that a node dumped cannot be read here: {error}") from None
        finally:
            keyspace.effects = None
            db.flush()


def targets_and_sources(command: Command, argv: Argv) -> tuple[bytes | None, list[bytes]]:
    """The key that a command stores to, if it does, and the keys that it looks at. CommandError: they make no sense."""
    positions = command.key_positions(argv)
    if positions is None:
        raise CommandError("ERR syntax error")
    if command.name in ("sort", "georadius", "georadiusbymember"):  # the source first, and perhaps where to store
        target = argv[positions[-1]] if len(positions) > 1 else None
        return target, [argv[positions[0]]]
    target = None
    sources: dict[bytes, None] = {}
    for spec in command.spec.keys:
        for at in spec.positions(argv) or ():
            if "OW" in spec.flags or (command.name == "pfmerge" and at == 1):
                target = argv[at]
            if "OW" not in spec.flags:
                sources[argv[at]] = None
    return target, list(sources)


def merge(client: Any, argv: Argv) -> Story:
    """The story of a command whose keys are in several slots."""
    proxy: Proxy = client.host
    command = proxy.commands.resolve(argv)
    assert command is not None
    target, sources = targets_and_sources(command, argv)
    payloads = yield [Ask(proxy.slot(key), [b"DUMP", key], reads=True) for key in sources]
    size = sum(len(must(payload) or b"") for payload in payloads)
    if size > SOURCE_BYTES_MAX:
        raise CommandError(
            f"ERR proxy: the keys of this command are in different slots and hold {size} bytes together, more than "
            f"the {SOURCE_BYTES_MAX} that a proxy puts together"
        )
    fetched = dict(zip(sources, payloads, strict=True))
    run = proxy.originals[command.full_name]
    reply, result = proxy.kitchen.cook(run, argv, fetched, target, resp3=client.resp3)
    if target is None or type(reply) is Failure:
        return reply
    if result is None:
        order: Argv = [b"DEL", target]
    else:
        order = [b"RESTORE", target, b"0", result, b"REPLACE"]
    (stored,) = yield [Ask(proxy.slot(target), order)]
    must(stored)
    return reply if reply != OK else OK
