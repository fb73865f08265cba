"""Elections seen from one node: each reason to refuse a vote, what is saved before it leaves, who asks and when."""

from __future__ import annotations

import pytest

from gossip.events import BecomePrimary, Failover, PauseWrites, SaveConfig, Send, UnpauseWrites, Wakeup
from gossip.packet import AUTH_ACK, AUTH_REQUEST, FORCE_ACK, MFSTART, PAUSED, PING, PONG, PRIMARY, Gossip
from tests.gossip.machines import IDS, Alone, logged, sent


def test_a_vote_is_saved_before_it_is_sent_and_given_once_an_epoch() -> None:
    voter = Alone("p3")
    voter.convict("p1", by="p2")
    effects = voter.hear("r1", AUTH_REQUEST, current_epoch=4)
    kinds = [type(effect) for effect in effects]
    assert effects[0] == SaveConfig(fsync=True) and kinds.index(SaveConfig) < kinds.index(Send)
    (ack,) = sent(effects, AUTH_ACK)
    assert ack.current_epoch == 4 and voter.machine.state.ballot.epoch == 4
    again = voter.hear("r1", AUTH_REQUEST, current_epoch=4)
    assert not sent(again, AUTH_ACK) and "already voted for epoch 4" in logged(again)
    voter.convict("p2", by="r1")
    other = voter.hear("r2", AUTH_REQUEST, current_epoch=4)
    assert not sent(other, AUTH_ACK) and "already voted for epoch 4" in logged(other)
    assert sent(voter.hear("r2", AUTH_REQUEST, current_epoch=5), AUTH_ACK)


@pytest.mark.parametrize(
    ("asker", "changes", "words"),
    [
        ("r1", {"current_epoch": 2}, "reqEpoch (2) < curEpoch(3)"),
        ("p2", {"current_epoch": 4}, "it is a master node"),
        ("r2", {"current_epoch": 4}, "its master is up"),
        ("r1", {"current_epoch": 4, "config_epoch": 0}, "slot 0 epoch (1) > reqEpoch (0)"),
    ],
)
def test_each_reason_to_refuse_has_its_words(asker: str, changes: dict[str, int], words: str) -> None:
    voter = Alone("p3")
    voter.convict("p1", by="p2")
    voter.node(asker).nodename = "cellar 7"
    effects = voter.hear(asker, AUTH_REQUEST, **changes)
    assert not sent(effects, AUTH_ACK)
    assert f"Failover auth denied to {IDS[asker]} (cellar 7): {words}" in logged(effects)


def test_one_vote_for_a_primary_in_two_timeouts() -> None:
    voter = Alone("p3")
    voter.convict("p1", by="p2")
    assert sent(voter.hear("r1", AUTH_REQUEST, current_epoch=4), AUTH_ACK)
    voter.now_ms += 3999
    denied = voter.hear("r1", AUTH_REQUEST, current_epoch=5)
    assert not sent(denied, AUTH_ACK) and "can't vote about this master before 1 milliseconds" in logged(denied)
    voter.now_ms += 1
    assert sent(voter.hear("r1", AUTH_REQUEST, current_epoch=6), AUTH_ACK)


def test_an_order_is_not_held_up_by_the_vote_before_it() -> None:
    """CLUSTER FAILOVER twice within two timeouts: Redis refuses the second, and stops the writers in vain."""
    voter = Alone("p3")
    assert sent(voter.hear("r1", AUTH_REQUEST, current_epoch=4, mflags=FORCE_ACK), AUTH_ACK)
    voter.now_ms += 1
    assert sent(voter.hear("r1", AUTH_REQUEST, current_epoch=5, mflags=FORCE_ACK), AUTH_ACK)
    again = voter.hear("r1", AUTH_REQUEST, current_epoch=5, mflags=FORCE_ACK)
    assert not sent(again, AUTH_ACK), "one vote an epoch, whoever asks"


def test_an_unknown_primary_is_a_reason_too() -> None:
    voter = Alone("p3")
    voter.machine.state.detach(voter.node("r1"))
    assert "I don't know its master" in logged(voter.hear("r1", AUTH_REQUEST, current_epoch=4))


def test_force_is_voted_for_though_the_primary_lives() -> None:
    assert sent(Alone("p3").hear("r1", AUTH_REQUEST, current_epoch=4, mflags=FORCE_ACK), AUTH_ACK)


def test_who_has_no_slots_does_not_vote() -> None:
    replica = Alone("r3")
    replica.convict("p1", by="p2")
    assert replica.hear("r1", AUTH_REQUEST, current_epoch=4) is not None
    assert replica.machine.state.ballot.epoch == 0


def candidate() -> Alone:
    alone = Alone("r1")
    alone.convict("p1", by="p2")
    return alone


def wait_to_ask(alone: Alone) -> list[object]:
    for _ in range(12):
        effects = alone.handle(Wakeup())
        if sent(effects, AUTH_REQUEST):
            return list(effects)
        alone.now_ms += 100
        alone.hear_all()
    return []


def test_a_candidate_waits_asks_counts_and_wins() -> None:
    alone = candidate()
    effects = wait_to_ask(alone)
    assert alone.machine.state.current_epoch == 4 and effects[0] == SaveConfig(fsync=True)
    assert not any(isinstance(e, BecomePrimary) for e in alone.hear("p2", AUTH_ACK))
    twice = alone.hear("p2", AUTH_ACK)
    assert BecomePrimary() not in twice, "one voter is counted once"
    assert BecomePrimary() not in alone.hear("r2", AUTH_ACK), "a replica has no vote"
    assert BecomePrimary() not in alone.hear("p3", AUTH_ACK, current_epoch=3), "a vote of an earlier epoch"
    won = alone.hear("p3", AUTH_ACK, current_epoch=4)
    assert BecomePrimary() in won and won[0] == SaveConfig(fsync=True)
    myself = alone.machine.state.myself
    assert myself.is_primary and myself.slot_count == 5461 and myself.config_epoch == 4
    assert len(sent(won, PONG)) == 5, "everybody is told"


def test_a_candidate_with_old_data_stays_away() -> None:
    alone = candidate()
    alone.silence_ms = 10_000 + 2000 * 10 + 2000 + 1
    assert not wait_to_ask(alone)
    alone.settings.replica_validity_factor = 0
    assert wait_to_ask(alone)


@pytest.mark.parametrize(("offset", "rank"), [(99, 0), (100, 0), (101, 1)])
def test_more_data_goes_first(offset: int, rank: int) -> None:
    alone = Alone("r1")
    alone.hear("r2", PONG, body=Gossip(), primary_id=IDS["p1"], offset=offset, slots=alone.node("p1").slots_wire)
    alone.convict("p1", by="p2")
    assert f"(rank #{rank}, offset 100)" in logged(alone.handle(Wakeup()))


def test_too_few_votes_and_the_next_epoch() -> None:
    alone = candidate()
    wait_to_ask(alone)
    alone.now_ms += 4001
    alone.hear_all()
    assert "Failover attempt expired." in logged(alone.handle(Wakeup()))
    alone.now_ms += 4001
    alone.hear_all()
    assert "Start of election delayed" in logged(alone.handle(Wakeup()))
    assert wait_to_ask(alone) and alone.machine.state.current_epoch == 5


def test_the_hand_shake_of_an_ordered_failover() -> None:
    replica, primary = Alone("r1"), Alone("p1")
    assert sent(replica.handle(Failover()), MFSTART)
    effects = primary.hear("r1", MFSTART)
    assert PauseWrites(primary.now_ms + 10_000) in effects
    (ping,) = sent(effects, PING)
    assert ping.mflags & PAUSED and ping.offset == 100
    replica.data_offset = 60
    replica.hear("p1", PING, body=Gossip(), mflags=PAUSED, offset=100)
    assert not sent(replica.handle(Wakeup()), AUTH_REQUEST), "data is missing"
    replica.data_offset = 100
    replica.now_ms += 10
    (request, *_) = sent(replica.handle(Wakeup()), AUTH_REQUEST)
    assert request.mflags & FORCE_ACK
    replica.now_ms += 5001
    assert "Manual failover timed out." in logged(replica.handle(Wakeup()))


def test_a_replica_asks_for_its_primary_s_place_until_it_is_heard() -> None:
    """The primary may hear only later whose primary it is: an order for the next failover can be as early as that."""
    replica, primary = Alone("r1"), Alone("p1")
    assert sent(replica.handle(Failover()), MFSTART)
    for _ in range(2):
        replica.now_ms += 99
        assert not sent(replica.handle(Wakeup()), MFSTART)
        replica.now_ms += 1
        assert sent(replica.handle(Wakeup()), MFSTART)
    effects = primary.hear("r1", MFSTART)
    assert PauseWrites(primary.now_ms + 10_000) in effects
    primary.now_ms += 4000
    effects = primary.hear("r1", MFSTART)
    assert sent(effects, PING) and UnpauseWrites() not in effects and "requested" not in logged(effects)
    assert PauseWrites(primary.now_ms + 10_000) in effects, "the replica may have been told again, and tries for longer"
    primary.now_ms += 4000
    assert "timed out" not in logged(primary.handle(Wakeup()))
    replica.data_offset = 60
    replica.hear("p1", PING, body=Gossip(), mflags=PAUSED, offset=100)
    replica.now_ms += 100
    assert not sent(replica.handle(Wakeup()), MFSTART)


def test_a_new_replica_tells_everybody_at_once() -> None:
    alone = Alone("p1")
    taken = alone.node("p1").slots_wire
    effects = alone.hear("r1", PONG, body=Gossip(), flags=PRIMARY, primary_id="", slots=taken, config_epoch=9)
    assert alone.node("p1").primary is alone.node("r1")
    told = [effect for effect in effects if isinstance(effect, Send) and effect.packet.primary_id == IDS["r1"]]
    assert sum(len(effect.links) for effect in told) == len(IDS) - 1


def test_a_stranger_cannot_pause_a_primary() -> None:
    effects = Alone("p1").hear("r2", MFSTART)
    assert not any(isinstance(effect, PauseWrites) for effect in effects)


def test_a_replica_that_knows_no_primary_does_nothing() -> None:
    alone = Alone("r1")
    for name in ("p1", "p2", "p3"):
        alone.hear(name, PONG, body=Gossip(), primary_id=IDS["r2"])
    alone.machine.state.ok = True
    assert not sent(alone.handle(Wakeup()), AUTH_REQUEST)
