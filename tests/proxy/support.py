"""A proxy process for tests, and clusters to put it in front of."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from tests.support.ports import free_port
from tests.support.servers import ROOT, Server


class ProxyServer(Server):
    """`hexad proxy` in front of what `cluster`, `nodes` or `sentinel` names, by ports of this machine."""

    program = (sys.executable, "-m", "hexad", "proxy")
    nodes: list[Server]
    environment: ClassVar[dict[str, str]] = {"PYTHONPATH": str(ROOT)}

    def __init__(self, *, cluster: list[int] | None = None, nodes: list[int] | None = None, **options: Any) -> None:
        seeds = {"cluster": cluster, "nodes": nodes}
        named = {name: ",".join(f"127.0.0.1:{port}" for port in ports) for name, ports in seeds.items() if ports}
        super().__init__(port=free_port(), **named, **options)
