"""One life of a node after another on a disk that forgets, and what each life must find."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from node import app
from node.config.config import Config
from node.datatypes.digest import digest_value
from node.log import Log
from node.persistence.aof import State
from node.server import Server
from tests.node.persistence.crashdisk import Crashed, CrashPlatform, Disk

DIRECTORY = "/data"

Content = dict[int, dict[bytes, tuple[bytes, int | None]]]


def content(server: Server) -> Content:
    """Every key with a digest of its value, and its deadline, by database."""
    return {
        db.index: {
            key: (digest_value(value, False), slot.deadlines.get(key))
            for slot in db.slots
            if slot
            for key, value in slot.values.items()
        }
        for db in server.keyspace.databases
        if db.size
    }


Words = tuple[str, ...]


class Model:
    """What the data set was after each unit of commands, by a node without files."""

    def __init__(self) -> None:
        self.node = Life(CrashPlatform(Disk(random.Random(1), DIRECTORY)), appendonly=False)
        self.node.server.spawn = lambda *_: None
        self.states: list[Content] = [{}]

    def run(self, *unit: Words) -> None:
        for words in unit:
            self.node.feed(*words)
        self.node.session.out.clear()
        self.states.append(content(self.node.server))


class Life:
    """A node on a platform, from its start to a crash."""

    def __init__(self, platform: CrashPlatform, **options: Any) -> None:
        config = Config()
        values = {"dir": DIRECTORY, "save": [], "appendonly": True, **options}
        for name, value in values.items():
            config.put(name.replace("_", "-"), value)
        self.lines: list[str] = []
        self.platform = platform
        self.server = app.build(platform, config, Log(platform, self.lines.append))
        self.session = self.server.new_session()

    @property
    def aof(self) -> Any:
        return self.server.aof

    async def begin(self, nursery: trio.Nursery) -> None:
        """Load what is on the disk; from now on the node's tasks run."""
        self.server.spawn = self.platform.spawn = lambda task, *args: nursery.start_soon(task, *args)
        nursery.start_soon(app.keep_time, self.server)
        nursery.start_soon(self.server.reactor.run)
        await app.load(self.server)

    def feed(self, *words: str) -> None:
        self.server.read_clock()
        data = b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
        self.session.receive(b"*%d\r\n" % len(words) + data)

    async def call(self, *unit: Words) -> bytes:
        """Run commands in one batch; what the client gets, once it gets it."""
        reactor = self.server.reactor
        for words in unit:
            self.feed(*words)
        reply = bytes(self.session.out)
        self.session.out.clear()
        reactor.send_all()
        reactor.before_rest()
        await self.let_go()
        return reply

    async def let_go(self) -> None:
        """Return once no output is held."""
        while self.server.reactor.held:
            await trio.sleep(0.001)

    async def rewritten(self) -> None:
        """Return once no rewrite runs."""
        while self.aof.rewriter.background is not None or self.aof.rewriter.scheduled:
            await trio.sleep(0.01)


Story = Callable[["Run", Life], Awaitable[None]]


class Run:
    """A story that is told to a node, and what is promised by how far it got: `promised` of `model.states`."""

    def __init__(self, seed: int, fsync: str = "always", **options: Any) -> None:
        self.luck = random.Random(seed)
        self.disk = Disk(self.luck, DIRECTORY)
        self.options = {"appendfsync": fsync, **options}
        self.model = Model()
        self.promised = 0
        self.acknowledged: list[tuple[float, int]] = []  # when, how many units

    async def write(self, life: Life, *unit: Words) -> None:
        """Run a unit, and note what its reply promises."""
        self.model.run(*unit)
        await life.call(*unit)
        if life.aof.state is State.ON:
            self.acknowledged.append((trio.current_time(), len(self.model.states) - 1))
            if self.options["appendfsync"] == "always":
                self.promised = len(self.model.states) - 1

    async def live(self, story: Story, crash_at: int = -1) -> None:
        """Start, be told the story, and crash at that step, or at the story's end."""
        self.disk.crash_at = crash_at
        life = Life(CrashPlatform(self.disk), **self.options)
        with suppress_crash():
            async with trio.open_nursery() as nursery:
                await life.begin(nursery)
                await story(self, life)
                self.disk.crashed = True
                nursery.cancel_scope.cancel()
        now = trio.current_time()
        if self.options["appendfsync"] == "everysec":
            old = [count for when, count in self.acknowledged if when <= now - 2]
            self.promised = max(self.promised, *old, 0)
        life.server.reactor.close()

    async def find(self) -> Content:
        """Restart, and return what is there. Raises LoadError."""
        self.disk.restart()
        life = Life(CrashPlatform(self.disk), **self.options)
        async with trio.open_nursery() as nursery:
            await life.begin(nursery)
            nursery.cancel_scope.cancel()
        life.server.reactor.close()
        return content(life.server)

    async def check(self) -> None:
        """What is found is what was there after some unit, and no earlier one than was promised."""
        found = await self.find()
        fitting = [number for number, state in enumerate(self.model.states) if state == found]
        assert fitting, f"nothing that ever was: {found}"
        assert fitting[-1] >= self.promised, f"{fitting[-1]} of {self.promised} promised units are left"


class suppress_crash(suppress):
    """Swallow a crash, alone or in groups."""

    def __init__(self) -> None:
        super().__init__(Crashed)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, BaseExceptionGroup):
            rest = error.split(Crashed)[1]
            return rest is None
        return bool(super().__exit__(kind, error, trace))
