"""The thread behind `Platform.worker`."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from node.platform import Platform, Worker


async def rung(worker: Worker) -> None:
    """Return once the worker's bell has rung and its work is done."""
    while not worker.is_done():
        await trio.lowlevel.wait_readable(worker.bell.fileno())


async def test_a_worker_does_one_thing_after_another_in_one_other_thread() -> None:
    worker = Platform().worker()
    done: list[tuple[int, int]] = []
    for number in range(100):
        worker.start(lambda number=number: done.append((number, threading.get_ident())))
        await rung(worker)
        assert len(done) == number + 1
    worker.close()
    assert [number for number, _ in done] == list(range(100))
    assert len({thread for _, thread in done}) == 1 and done[0][1] != threading.get_ident()


async def test_the_loop_goes_on_while_a_worker_works() -> None:
    worker, gate = Platform().worker(), threading.Event()
    worker.start(lambda: None if gate.wait(10) else pytest.fail("nobody else ran"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rung, worker)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    worker.close()


async def test_what_the_work_raises_is_raised_where_it_is_waited_for() -> None:
    worker = Platform().worker()
    worker.start(lambda: pytest.fail("a bug"))
    with pytest.raises(pytest.fail.Exception, match="a bug"):
        await rung(worker)
    worker.close()


async def test_a_worker_that_nobody_waits_for_any_more_ends_its_work() -> None:
    worker, gate, done = Platform().worker(), threading.Event(), []

    def work() -> None:
        gate.wait(10)
        done.append(1)

    worker.start(work)
    with trio.move_on_after(0):
        await rung(worker)
    gate.set()
    worker.close()
    assert done == [1]


def test_a_worker_that_never_worked_is_closed() -> None:
    Platform().worker().close()
