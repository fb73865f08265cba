"""A node that kills itself by SIGKILL, once, at the point of a migration that the file `deadly` in its directory names.

python -m tests.gossip.deadly OPTIONS...    as `hexad server OPTIONS...`
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from gossip.moving.mover import Mover
from gossip.service import ClusterService
from node.program import main

FILE = "deadly"


class DeadlyMover(Mover):
    def __init__(self, service: ClusterService) -> None:
        super().__init__(service)
        self.passes = die_there


def die_there(point: str) -> None:
    file = Path(FILE)  # the node's directory is the current one
    if file.exists() and file.read_text() == point:
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    import gossip.service

    gossip.service.Mover = DeadlyMover
    sys.exit(main(sys.argv[1:]))
