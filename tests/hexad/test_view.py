"""What the view shows: by tables, and drawn on a terminal that is a string."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from hexad.sight import parse_nodes
from hexad.view import NodeStatus, View, describe, news, row, size_text, status_of, summary_state, table, with_lags

INFO = {
    "role": "slave",
    "master_port": "7000",
    "master_link_status": "up",
    "slave_repl_offset": "900",
    "instantaneous_ops_per_sec": "1234",
    "used_memory": "2097152",
    "db0": "keys=1500,expires=0,avg_ttl=0",
    "connected_clients": "2",
}
NODES = b"a 127.0.0.1:7003@17003 myself,slave b 0 0 1 connected\nb 127.0.0.1:7000@17000 master - 0 0 1 connected 0-5\n"
PRIMARY = NodeStatus(7000, 1, "up", "primary", None, "0-5", "ok", "", 1000)
REPLICA = status_of(7003, 2, INFO, parse_nodes(NODES), "ok")
DOWN = NodeStatus(7000, 1, "down (exit code 1)", log=("the last", "lines"))


def test_a_replica() -> None:
    assert row(with_lags([PRIMARY, REPLICA])[1]) == (
        *("7003", "2", "replica of 7000", "1 500", "100 B", "1 234", "2.0 M", "2"),
    )


def test_lag_is_unknown_without_a_primary() -> None:
    assert with_lags([REPLICA])[0].lag_bytes is None
    assert with_lags([replace(PRIMARY, offset=None), REPLICA])[1].lag_bytes is None
    assert with_lags([replace(PRIMARY, offset=800), REPLICA])[1].lag_bytes == 0  # seen a moment earlier


def test_a_node_that_says_little() -> None:
    bare = status_of(7000, 1, {}, (), "")
    assert row(bare) == ("7000", "1", "primary", "0", "", "", "", "")
    assert status_of(7000, 1, {"loading": "1"}, (), "").condition == "loading"


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (PRIMARY, "primary of slots 0-5"),
        (replace(PRIMARY, slots=""), "primary without slots"),
        (replace(PRIMARY, slots="", cluster=""), "primary"),
        (REPLICA, "replica of 7000"),
        (replace(REPLICA, link="down"), "replica of 7000, without its data"),
        (DOWN, "down (exit code 1)"),
    ],
)
def test_descriptions(node: NodeStatus, text: str) -> None:
    assert describe(node) == text


def test_news_is_what_changed() -> None:
    both = [PRIMARY, REPLICA]
    assert news([], both) == [
        "node 7000 (pid 1): primary of slots 0-5",
        "node 7003 (pid 2): replica of 7000",
        "cluster_state:ok",
    ]
    assert news(both, [replace(PRIMARY, ops=5, offset=2000), REPLICA]) == []
    assert news(both, [DOWN, replace(REPLICA, cluster="fail")]) == [
        "node 7000 (pid 1): down (exit code 1)",
        "    the last",
        "    lines",
        "cluster_state:fail",
    ]


def test_state_of_all() -> None:
    assert summary_state([]) == summary_state([replace(PRIMARY, cluster="")]) == summary_state([DOWN]) == ""
    assert summary_state([PRIMARY, REPLICA, DOWN]) == "ok"
    assert summary_state([PRIMARY, replace(REPLICA, cluster="fail")]) == "fail"


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 K"), (1536 << 10, "1.5 M"), (3 << 40, "3.0 T")],
)
def test_sizes(size: int | None, text: str) -> None:
    assert size_text(size) == text


def test_without_a_terminal_each_change_is_a_line() -> None:
    out = StringIO()
    view = View(Console(file=out, width=20))
    view.progress("Starting 6 nodes")
    view.progress("Starting 6 nodes")
    with view.watching():
        view.show("cluster", [PRIMARY])
        view.show("cluster", [PRIMARY])
        view.show("cluster", [DOWN])
    view.say("[Stopped.]")  # no markup, and no line is broken
    assert out.getvalue().splitlines() == [
        "Starting 6 nodes",
        "node 7000 (pid 1): primary of slots 0-5",
        "cluster_state:ok",
        "node 7000 (pid 1): down (exit code 1)",
        "    the last",
        "    lines",
        "[Stopped.]",
    ]


def test_a_terminal_shows_the_table_and_the_news_above_it() -> None:
    out = StringIO()
    view = View(Console(file=out, force_terminal=True, width=100, color_system=None))
    view.progress("Starting 6 nodes")
    with view.watching():
        view.show("cluster", [PRIMARY, REPLICA])
        drawn = out.getvalue()
        assert "cluster_state:ok" in drawn and "replica of 7000" in drawn and "Op/s" in drawn
        assert "node 7000 (pid 1)" not in drawn
        view.show("cluster", [DOWN, REPLICA])
        assert "node 7000 (pid 1): down (exit code 1)\n" in out.getvalue()


def test_the_table_fits_eighty_columns() -> None:
    out = StringIO()
    busy = replace(PRIMARY, pid=1234567, slots="10923-16383", keys=1_234_567, ops=12_345)
    Console(file=out, width=80).print(table("cluster at 127.0.0.1:7000-7005", [busy, REPLICA]))
    assert "primary 10923-16383" in out.getvalue() and "1 234 567" in out.getvalue()
    assert "…" not in out.getvalue()


class Gone(StringIO):
    def write(self, _: str) -> int:
        raise OSError("the terminal is gone")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_that_is_gone_hinders_nothing(is_terminal: bool) -> None:
    view = View(Console(file=Gone(), force_terminal=is_terminal))
    view.progress("Starting")
    view.say("Started")
    with view.watching():
        view.show("cluster", [PRIMARY])
