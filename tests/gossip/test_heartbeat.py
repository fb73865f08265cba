"""Pings to nodes that were silent leave together."""

from __future__ import annotations

from gossip.events import WakeAt, Wakeup
from gossip.packet import PING
from tests.gossip.machines import Alone, sent


def test_pings_that_are_nearly_due_leave_together() -> None:
    """Five nodes fall silent within 40 ms of one another: two wake-ups ping all of them, not five."""
    alone = Alone("p1", timeout_ms=4000)
    state = alone.machine.state
    alone.handle(Wakeup())
    for number, node in enumerate(state.others()):
        node.ping_sent_ms, node.pong_received_ms = 0, alone.now_ms + 10 * number
    alone.machine.core.next_choice_ms = alone.now_ms + 60_000
    end_ms = alone.now_ms + alone.settings.node_timeout_ms // 2 + 200
    pinged: list[int] = []
    wake_ms = alone.now_ms
    while wake_ms < end_ms:
        alone.now_ms = wake_ms
        effects = alone.handle(Wakeup())
        pings = len(sent(effects, PING))
        pinged += [pings] if pings else []
        wake_ms = next(effect.at_ms for effect in effects if isinstance(effect, WakeAt))
    assert sum(pinged) == 5 and len(pinged) == 2, pinged


def test_an_interval_of_pings_that_was_set_takes_the_place_of_half_the_timeout() -> None:
    alone = Alone("p1", timeout_ms=4000)
    alone.settings.ping_interval_ms = 300
    alone.hear_all()
    alone.machine.core.next_choice_ms = alone.now_ms + 60_000
    wake_ms = next(effect.at_ms for effect in alone.handle(Wakeup()) if isinstance(effect, WakeAt))
    assert wake_ms == alone.now_ms + 301
    alone.now_ms = wake_ms
    assert len(sent(alone.handle(Wakeup()), PING)) == 5


def test_a_node_has_a_tenth_of_a_second_to_answer_however_short_the_timeout() -> None:
    alone = Alone("p1", timeout_ms=1)
    node = alone.node("p2")
    node.ping_sent_ms = node.data_received_ms = alone.now_ms
    alone.now_ms += 100
    alone.handle(Wakeup())
    assert not node.is_suspect
    alone.now_ms += 1
    alone.handle(Wakeup())
    assert node.is_suspect
