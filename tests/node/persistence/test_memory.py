"""What a save needs beside the data set: the values overwritten before their turn, and little else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.persistence import kept_beside
from tests.node.persistence.support import Node


@pytest.mark.long
def test_a_save_under_full_write_load_keeps_old_values_and_no_more(tmp_path: Path) -> None:
    node = Node(tmp_path)
    most, overwritten = kept_beside(node, 30_000, 100)
    node.close()
    assert overwritten > 0.5, "writes came before the save had read what they changed"
    assert most <= 1.3 * overwritten
