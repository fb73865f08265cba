"""The parts of backups that need no server: the manifest, keys as commands, command lines."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexad.backup.feeding import CHUNK_BYTES, CHUNK_ELEMENTS, LONG_ELEMENTS, Entry, comes_in_pieces, commands_of
from hexad.backup.manifest import BackupError, Manifest, Shard, parse
from hexad.cluster.program import main
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.rdb.dump import restore
from tests.hexad.backup.support import Heard

SHARD = Shard("shard-1.rdb", 100, "0" * 64, ((0, 99), (200, 200)), "a" * 40, "h:1", 3, "b" * 40, 17, 2, "7.2.6")
MANIFEST = Manifest(1_700_000_000_000, True, 12, (SHARD, replace(SHARD, file="shard-2.rdb", slots=((100, 199),))))


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert parse(MANIFEST.text()) == MANIFEST


@pytest.mark.parametrize(
    ("shard", "reason"),
    [
        ({"slots": [[0, 16384]]}, "are no slots"),
        ({"slots": [[5, 4]]}, "are no slots"),
        ({"slots": [[150, 150]]}, "slot 150 is in"),
        ({"file": "../shard-1.rdb"}, "no file of this directory"),
        ({"file": ".."}, "no file of this directory"),
        ({"keys": "many"}, "damaged"),
        ({"slots": None}, "damaged"),
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused(shard: dict[str, object], reason: str) -> None:
    told = json.loads(MANIFEST.text())
    told["shards"][0] |= shard
    with pytest.raises(BackupError, match=reason):
        parse(json.dumps(told).encode())


@given(st.binary(max_size=200), st.integers(0, 3000), st.integers(0, 3000))
def test_no_bytes_are_more_than_refused(data: bytes, start: int, cut: int) -> None:
    text = MANIFEST.text()
    start %= len(text)
    with contextlib.suppress(BackupError):
        parse(text[:start] + data + text[start + cut :])


def test_a_manifest_of_another_version_is_not_guessed_at() -> None:
    told = json.loads(MANIFEST.text()) | {"version": 2}
    with pytest.raises(BackupError, match="is not read by this version"):
        parse(json.dumps(told).encode())


# ---- keys as commands ----------------------------------------------------------------------------------------------


def test_a_short_key_is_one_restore() -> None:
    entry = Entry(0, b"key", b"value", 5000, idle_s=7)
    (argv,) = commands_of(entry)
    assert argv[:3] == [b"RESTORE", b"key", b"5000"] and argv[4:] == [b"ABSTTL", b"IDLETIME", b"7"]
    assert restore(argv[3]) == b"value"
    (argv,) = commands_of(replace(entry, deadline_ms=None, idle_s=None, freq=9, insists=True))
    assert argv[2] == b"0" and argv[4:] == [b"REPLACE", b"FREQ", b"9"]
    assert not comes_in_pieces([argv])


def test_a_long_one_comes_in_pieces_that_are_short() -> None:
    scores = SortedSet()
    for number in range(LONG_ELEMENTS + 1):
        scores.put(b"m%d" % number, number / 3)
    first, *commands, last = commands_of(Entry(0, b"key", scores, 5000, insists=True))
    assert first == [b"DEL", b"key"] and last == [b"PEXPIREAT", b"key", b"5000"]
    assert comes_in_pieces(commands) and all(len(argv) <= 2 + 2 * CHUNK_ELEMENTS for argv in commands)
    pairs = [pair for argv in commands for pair in zip(argv[3::2], map(float, argv[2::2]), strict=True)]
    assert sorted(pairs) == sorted(scores)


def test_few_big_elements_are_long_as_well() -> None:
    words = [bytes([number]) * CHUNK_BYTES for number in range(6)]  # compressed they would be nothing
    members = Set(word[:-1] + b"%d" % at for at, word in enumerate(words))
    commands = commands_of(Entry(0, b"key", members, None))
    text = commands_of(Entry(0, b"key", b"".join(words), None))
    assert [argv[0] for argv in text] == [b"SET", *[b"APPEND"] * 5]
    assert b"".join(argv[2] for argv in text) == b"".join(words)
    assert commands[0][0] == b"RESTORE", "a payload that is short is sent as one"


# ---- command lines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nothing"],
        ["backup"],
        ["backup", "a", "b"],
        ["backup", "a", "--node", "7000"],
        ["backup", "a", "--pause-ms", "10"],
        ["restore"],
        ["restore", "a", "--timeout-ms", "0"],
    ],
)
def test_wrong_use_is_2(words: list[str]) -> None:
    assert main(words, Heard()) == 2


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_help_fits_a_terminal(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([name, "--help"], Heard()) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100 and "--node" in text


def test_certificates_that_are_not_there_are_named(tmp_path: object) -> None:
    heard = Heard()
    assert main(["backup", f"{tmp_path}/b", "--tls", "--cacert", "/no/ca.crt"], heard) == 1
    assert "--tls: /no/ca.crt" in heard.err
