"""nodes.conf: the forms of 7.0 and 7.2, our own text read back, and every way of being cut or mangled."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.nodesconf import NodesConfError, parse, render
from gossip.packet import MYSELF, PRIMARY

A, B, C, S, T = "0f" * 20, "b1" * 20, "c2" * 20, "9a" * 20, "77" * 20
NEW = (
    f"{A} 127.0.0.1:7001@17001,,tls-port=0,shard-id={S} myself,master - 0 0 3 connected 0-99 200 "
    f"[7->-{B}] [300-<-{B}]\n"
    f"{B} 127.0.0.1:7002@17002,n2.local,tls-port=0,nodename=two,shard-id={T} master - 0 1700000000123 2 connected "
    f"100-199 201-16383\n"
    f"{C} fe80::1:7003@17003,,tls-port=0,shard-id={T} slave,fail?,nofailover {B} 1700000000000 1700000000100 2 "
    f"disconnected\n"
    "vars currentEpoch 5 lastVoteEpoch 4\n"
)
OLD = (
    f"{A} 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 1-3 7\n"
    f"{B} 127.0.0.1:7002@17002,host.b master - 0 1795677336935 0 connected 100-200\n"
    "vars currentEpoch 1 lastVoteEpoch 0\n"
)


def test_the_form_of_seven_two_is_read() -> None:
    state = parse(NEW)
    state.check()
    mine, other, replica = (state.nodes[node_id] for node_id in (A, B, C))
    assert state.myself is mine and mine.shard_id == S and mine.slot_count == 101
    assert state.migrating == {7: other} and state.importing == {300: other}
    assert (other.hostname, other.nodename, other.port, other.cport) == ("n2.local", "two", 7002, 17002)
    assert replica.primary is other and replica.ip == "fe80::1" and not replica.may_fail_over
    assert (state.current_epoch, state.ballot.epoch) == (5, 4)


def test_the_form_of_seven_zero_is_read() -> None:
    state = parse(OLD)
    assert state.myself.flags == MYSELF | PRIMARY and state.nodes[B].hostname == "host.b"
    assert state.owned.bit_count() == 4 + 101


def test_what_was_read_is_written_and_read_again() -> None:
    # The link of a node just read does not stand.
    expected = NEW.replace("1700000000123 2 connected", "1700000000123 2 disconnected")
    text, mark, _ = render(parse(NEW)).rpartition(" crc32 ")
    assert mark and f"{text}\n" == expected
    assert render(parse(expected)) == render(parse(NEW)) == render(parse(render(parse(NEW))))


@pytest.mark.parametrize("text", [NEW, OLD])
def test_cut_short_at_any_byte_is_a_clear_error(text: str) -> None:
    for end in range(len(text)):
        with pytest.raises(NodesConfError):
            parse(text[:end])


@given(st.lists(st.tuples(st.integers(0, len(NEW) - 1), st.characters()), min_size=1, max_size=4))
def test_a_mangled_file_raises_nothing_else(hits: list[tuple[int, str]]) -> None:
    text = list(NEW)
    for at, letter in hits:
        text[at] = letter
    with contextlib.suppress(NodesConfError):
        parse("".join(text)).check()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0-99", "0-16384", "line 1"),
        ("0-99", "99-0", "ends before it begins"),
        ("100-199", "50-199", "line 2"),
        ("myself,master", "master", "0 nodes are flagged myself"),
        ("master - 0 1700", "myself,master - 0 1700", "2 nodes are flagged myself"),
        ("slave,fail?", "slave,strange", "strange"),
        ("tls-port=0,nodename", "colour=0,nodename", "colour"),
        ("currentEpoch 5", "currentEpoch five", "currentEpoch"),
        (f"[7->-{B}]", f"[7-<-{'e' * 40}]", "open slot"),
        ("vars", "vars a", "pairs"),
        ("7001@17001", "70010@17001", "port"),
        (C, B, "twice"),
    ],
)
def test_errors_name_the_line_and_the_reason(old: str, new: str, words: str) -> None:
    with pytest.raises(NodesConfError, match=words):
        parse(NEW.replace(old, new, 1))


def test_a_primary_that_the_file_does_not_know_is_kept_by_its_id() -> None:
    state = parse(NEW.replace(f"nofailover {B}", f"nofailover {'d' * 40}"))
    state.check()
    assert state.nodes[C].primary is state.nodes["d" * 40] and not state.nodes["d" * 40].has_address


def identity(text: str) -> tuple[object, ...]:
    """Everything of a file that no gossip would put right again."""
    state = parse(text)
    nodes = [(node.id, node.flags, node.config_epoch, node.slots, node.shard_id) for node in state.nodes.values()]
    return state.myself.id, state.current_epoch, state.ballot.epoch, state.cluster_id, state.owned, nodes


def test_damage_at_any_byte_is_refused_or_changes_an_address_alone() -> None:
    written = render(parse(NEW))
    whole = identity(written)
    for at, letter in enumerate(written):
        for damaged in (written[:at], written[:at] + chr(ord(letter) ^ 1) + written[at + 1 :], written[:at] + "\0"):
            with contextlib.suppress(NodesConfError):
                assert identity(damaged) == whole or not damaged, (at, damaged)


def test_addresses_may_be_written_anew_by_hand() -> None:
    written = render(parse(NEW))
    ip = parse(NEW).myself.ip
    assert parse(written.replace(f" {ip}:", " 10.99.0.1:")).myself.ip == "10.99.0.1"


def test_a_wrong_checksum_is_told() -> None:
    with pytest.raises(NodesConfError, match="checksum is wrong"):
        parse(render(parse(NEW)).replace("currentEpoch ", "currentEpoch 1"))
