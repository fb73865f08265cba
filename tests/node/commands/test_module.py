"""MODULE beside a real server, as far as a server without modules can be."""

from __future__ import annotations

import pytest

from tests.support import HexadServer, RedisServer, ReplyError


def test_replies_are_those_of_a_real_server() -> None:
    with RedisServer() as theirs, HexadServer() as ours, theirs.wire() as their_wire, ours.wire() as our_wire:
        for words in (
            ("MODULE",),
            ("MODULE", "NOSUCH"),
            ("MODULE", "LIST"),
            ("MODULE", "LIST", "x"),
            ("MODULE", "LOAD"),
            ("MODULE", "LOAD", "/x.so"),
            ("MODULE", "LOADEX", "/x.so", "ARGS", "1"),
            ("MODULE", "UNLOAD", "x"),
            ("MODULE", "UNLOAD"),
        ):
            assert our_wire(*words) == their_wire(*words), words


@pytest.mark.parametrize("opened", ["yes", "local"])
def test_where_loading_is_allowed_it_is_refused_in_clear_words(opened: str) -> None:
    with HexadServer(enable_module_command=opened) as ours, ours.wire() as wire:
        for words in (("LOAD", "/x.so"), ("LOADEX", "/x.so")):
            refusal = wire("MODULE", *words)
            assert isinstance(refusal, ReplyError) and "loads no modules" in refusal.text
        assert wire("MODULE", "UNLOAD", "x").text.endswith("no such module with that name")  # type: ignore[union-attr]
        assert wire("MODULE", "LIST") == []
