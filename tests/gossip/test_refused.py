"""A node without a cluster knows the words of CLUSTER and refuses them, as redis-server does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gossip.moving.commands import registry
from gossip.words import refused
from tests.support import HexadServer, RedisServer
from tests.support.servers import ROOT

LINES = ["ASKING", "CLUSTER", "CLUSTER HELP", "CLUSTER INFO", "CLUSTER INFO x", "CLUSTER MEET a", "CLUSTER SETSLOT x y",
         "CLUSTER ADDSLOTS x", "CLUSTER NOPE", "cluster keyslot a", "ASKING x"]  # fmt: skip


def test_beside_a_real_one() -> None:
    with RedisServer() as theirs, HexadServer() as ours, theirs.wire() as their_wire, ours.wire() as our_wire:
        for line in LINES:
            assert our_wire(*line.split()) == their_wire(*line.split()), line


def test_the_same_is_known_of_them() -> None:
    for spec in refused():
        mine = registry().specs[spec.name]
        assert (mine.arity, mine.flags, mine.acl, mine.tips) == (spec.arity, spec.flags, spec.acl, spec.tips)
    assert {spec.name for spec in refused()} == set(registry().specs)


@pytest.mark.parametrize("module", ["gossip.machine", "gossip.events", "yaml", "rich", "hexad.up", "pickle"])
def test_a_bare_node_loads_no_such_thing(module: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import hexad.__main__, node.program; print(list(sys.modules))"
    )
    loaded = subprocess.check_output([sys.executable, "-I", "-c", code], text=True)
    assert "'node.app'" in loaded and f"'{module}'" not in loaded
