"""HyperLogLogs: what many elements at once cost. Their bytes are compared with a real server's elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

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
