"""HyperLogLogs: what many elements at once cost. Their bytes are compared with a real server's elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from node.datatypes import hyperloglog
from tests.node.commands.test_sortedsets import lines_run


def add(value: bytearray, elements: Iterable[bytes]) -> None:
    marks = hyperloglog.Marks()
    for element in elements:
        hyperloglog.add(value, element, 3000, marks)


def test_many_elements_at_once_do_not_search_from_the_first_opcode_each() -> None:
    value = hyperloglog.new()
    add(value, (b"%d" % number for number in range(1500)))
    one_by_one = bytearray(value)
    more = [b"more %d" % number for number in range(100)]
    for element in more:
        add(one_by_one, (element,))
    assert lines_run(lambda: add(value, more)) < 200_000
    assert value == one_by_one and not hyperloglog.is_dense(value) and len(value) > 2000


@pytest.mark.parametrize("opcode", [b"\0", b"\x80", b"\x40\0"])
def test_a_long_string_that_only_begins_as_one_is_looked_at_no_further_than_registers_go(opcode: bytes) -> None:
    value = hyperloglog.new()[: hyperloglog.HEADER_BYTES] + opcode * (1 << 22)

    def unpack() -> None:
        with pytest.raises(hyperloglog.Corrupted):
            hyperloglog.unpack(value)

    assert hyperloglog.is_valid(value)
    assert lines_run(unpack) < 20 * hyperloglog.REGISTERS
