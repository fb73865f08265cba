"""nodes.conf between its saves: what is made durable later, and when the files that were replaced are let go."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from gossip.conffile import SETTLED_MS
from node.server import CannotGoOn
from tests.support.local import LocalNode

OK = b"+OK\r\n"


class Saving:
    """A node whose tasks are run by hand; `synced` is what was in nodes.conf each time that it was made durable."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = directory / "nodes.conf"
        self.node = LocalNode(dir=str(directory), cluster_enabled=True)
        self.client = self.node.client()
        self.tasks: list[Callable[[], Awaitable[None]]] = []
        self.synced: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.node.server.spawn = lambda task, *_: self.tasks.append(task)
        monkeypatch.setattr(self.node.platform, "fsync_with_name", self._sync)

    def _sync(self, file: IO[bytes], path: str) -> None:
        assert Path(path) == self.path and os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        self.synced.append(self.path.read_text())
        self.meanwhile()
        assert not file.closed

    def save(self, *words: str | int) -> None:
        assert self.client.raw("CLUSTER", *words) == OK

    def settle(self) -> None:
        """Let the time go by after which a file is settled, and do that."""
        self.node.pass_ms(SETTLED_MS)
        (task,) = self.tasks
        self.tasks.clear()
        trio.run(task)

    def open_files(self) -> int:
        """How many files there are at this node, the one that stands there and those that it replaced."""
        here = Path("/proc/self/fd")
        return sum(os.readlink(one).startswith(str(self.path)) for one in here.iterdir() if one.is_symlink())


@pytest.fixture
def saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saving:
    return Saving(tmp_path, monkeypatch)


def test_a_burst_of_saves_is_made_durable_once_and_its_files_are_closed(saving: Saving) -> None:
    for slot in range(3):
        saving.save("ADDSLOTS", slot)
    assert saving.open_files() == 4 and not saving.synced
    saving.settle()
    assert saving.synced == [saving.path.read_text()] and " 0-2" in saving.synced[0]
    assert saving.open_files() == 1
    saving.node.pass_ms(10 * SETTLED_MS)
    assert not saving.tasks, "nothing is left to do"


def test_what_is_durable_already_is_not_made_so_again(saving: Saving) -> None:
    saving.save("ADDSLOTS", 0)
    saving.save("SAVECONFIG")
    saving.settle()
    assert not saving.synced and saving.open_files() == 1


def test_a_save_while_one_is_made_durable_has_its_turn_after_it(saving: Saving) -> None:
    saving.save("ADDSLOTS", 0)

    def save_again() -> None:
        saving.meanwhile = lambda: None
        saving.save("ADDSLOTS", 1)
        saving.node.pass_ms(SETTLED_MS)
        assert not saving.tasks, "the file that is on its way to the disk would be closed"

    saving.meanwhile = save_again
    saving.settle()
    assert saving.open_files() == 2
    saving.settle()
    assert [" 0-1" in text for text in saving.synced] == [False, True]
    assert saving.open_files() == 1


def test_a_node_whose_save_does_not_become_durable_ends(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(saving.node.platform, "fsync_with_name", fail)
    monkeypatch.setattr(saving.node.server.log, "warning", said.append)
    saving.save("ADDSLOTS", 0)
    with pytest.raises(CannotGoOn):
        saving.settle()
    assert said == ["Fatal: can't update cluster config file: [Errno 5] Input/output error"]
