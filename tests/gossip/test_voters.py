"""Agreed voters seen from one node: what it promises and saves, whose votes count, what it refuses, codec and file."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import nodesconf, steps
from gossip.electorate import NO_ROUND, Electorate, Round
from gossip.events import BecomePrimary, SaveConfig, SettingsChanged, Wakeup
from gossip.machine import new_state
from gossip.packet import AUTH_ACK, AUTH_REQUEST, MODULE, PFAIL, PONG, Gossip, GossipEntry, Module
from gossip.packet import decode as decode_packet
from gossip.packet import encode as encode_packet
from gossip.report import info
from gossip.steps import ACCEPT, ACCEPTED, PREPARE, PROMISE, TELL, Step
from gossip.voters import is_lawful
from tests.gossip.machines import IDS, Alone, logged, sent
from tests.gossip.test_election import wait_to_ask

OWNERS = tuple(sorted(IDS[name] for name in ("p1", "p2", "p3")))
WITH_R1 = tuple(sorted((*OWNERS, IDS["r1"])))
EPOCH = 7
SOMEBODY = Alone("p1")


def told(me: str, members: tuple[str, ...] = WITH_R1) -> Alone:
    """A node that has heard of version 5 of the voters."""
    alone = Alone(me)
    effects = alone.hear("p2", MODULE, steps.encode(Step(TELL, 5, epoch=EPOCH, members=members)))
    assert effects[0] == SaveConfig(fsync=True)
    assert alone.machine.state.electorate == Electorate(5, members, EPOCH)
    return alone


def answers(effects: list[object]) -> list[Step]:
    return [step for packet in sent(effects, MODULE) if (step := steps.decode(packet.body)) is not None]  # type: ignore


def ask(alone: Alone, kind: int, number: int, by: str = "p1", version: int = 5, **more: object) -> list[object]:
    step = Step(kind, version, Round(number, IDS[by]), **more)  # type: ignore[arg-type]
    return list(alone.hear(by, MODULE, steps.encode(step)))


# ---- the acceptor --------------------------------------------------------------------------------------------------


def test_a_promise_is_saved_before_it_is_told_and_kept() -> None:
    voter = told("p3")
    effects = ask(voter, PREPARE, 3, members=WITH_R1)
    assert effects[0] == SaveConfig(fsync=True)
    assert answers(effects) == [Step(PROMISE, 5, Round(3, IDS["p1"]), epoch=EPOCH)]
    assert not ask(voter, PREPARE, 2, members=WITH_R1) and not ask(voter, ACCEPT, 2, epoch=9, members=OWNERS)
    accepted = ask(voter, ACCEPT, 3, epoch=9, members=OWNERS)
    assert accepted[0] == SaveConfig(fsync=True) and answers(accepted) == [Step(ACCEPTED, 5, Round(3, IDS["p1"]))]
    again = answers(ask(voter, PREPARE, 4, "p2", members=WITH_R1))
    assert again == [Step(PROMISE, 5, Round(4, IDS["p2"]), EPOCH, OWNERS, Round(3, IDS["p1"]))]


@pytest.mark.parametrize(
    ("kind", "version", "by", "more"),
    [
        (PREPARE, 6, "p1", {"members": WITH_R1}),  # of a version that we do not know
        (PREPARE, 5, "p1", {"members": OWNERS}),  # to others than the voters
        (ACCEPT, 5, "p1", {"epoch": EPOCH - 1, "members": OWNERS}),  # we may have voted beyond
        (ACCEPT, 5, "p1", {"epoch": 9, "members": OWNERS[:2]}),  # two less at once
        (ACCEPT, 5, "p1", {"epoch": 9, "members": WITH_R1}),  # no step at all
    ],
)
def test_what_is_not_answered(kind: int, version: int, by: str, more: dict[str, object]) -> None:
    voter = told("p3")
    assert not answers(ask(voter, kind, 3, by, version, **more))
    assert not voter.machine.state.electorate.is_sealed


def test_a_round_is_its_proposers_alone() -> None:
    voter = told("p3")
    step = Step(PREPARE, 5, Round(3, IDS["p2"]), members=WITH_R1)
    assert not voter.hear("p1", MODULE, steps.encode(step))


def test_who_is_behind_is_told_the_version() -> None:
    voter = told("p3")
    news = Step(TELL, 5, epoch=EPOCH, members=WITH_R1)
    assert answers(ask(voter, PREPARE, 1, version=4, members=OWNERS)) == [news]
    hexad = voter.hear("p2", PONG, Gossip(), mflags=1 << 8, voters=4)
    assert answers(list(hexad)) == [news]
    assert not answers(list(voter.hear("p2", PONG, Gossip(), voters=0))), "a genuine node is told nothing"


def test_the_step_away_from_redis_needs_the_same_owners() -> None:
    voter = Alone("p3")
    assert not answers(ask(voter, PREPARE, 1, version=0, members=OWNERS[:2]))
    assert answers(ask(voter, PREPARE, 1, version=0, members=OWNERS))
    assert not answers(ask(voter, ACCEPT, 1, version=0, epoch=9, members=WITH_R1))
    assert answers(ask(voter, ACCEPT, 1, version=0, epoch=9, members=OWNERS))
    assert voter.machine.state.electorate.base == OWNERS
    assert not answers(ask(Alone("r1"), PREPARE, 1, version=0, members=OWNERS)), "who has no vote takes no step"


def test_lawful_steps() -> None:
    assert is_lawful(WITH_R1, OWNERS, True) and is_lawful(OWNERS, WITH_R1, True) and is_lawful(OWNERS, (), True)
    assert not is_lawful(OWNERS, OWNERS, True) and not is_lawful(WITH_R1, OWNERS[1:], True)
    assert is_lawful(OWNERS, OWNERS, False) and not is_lawful(OWNERS, (), False)


# ---- votes ---------------------------------------------------------------------------------------------------------


def test_a_replica_that_is_a_voter_votes_and_no_other() -> None:
    for me, votes in (("r1", True), ("r2", False), ("p3", True)):
        voter = told(me)
        voter.convict("p2" if me == "r1" else "p1", by="p3" if me == "r1" else "p2")
        asker = "r2" if me == "r1" else "r1"
        assert bool(sent(voter.hear(asker, AUTH_REQUEST, current_epoch=8, voters=5), AUTH_ACK)) == votes


@pytest.mark.parametrize(("epoch", "voters", "given"), [(8, 5, True), (7, 5, False), (8, 4, False), (8, 6, False)])
def test_votes_are_given_under_one_version_and_beyond_its_epoch(epoch: int, voters: int, given: bool) -> None:
    voter = told("p3")
    voter.convict("p1", by="p2")
    assert bool(sent(voter.hear("r1", AUTH_REQUEST, current_epoch=epoch, voters=voters), AUTH_ACK)) == given


def test_who_has_accepted_votes_no_more() -> None:
    voter = told("p3")
    voter.convict("p1", by="p2")
    ask(voter, ACCEPT, 3, epoch=9, members=OWNERS)
    effects = voter.hear("r1", AUTH_REQUEST, current_epoch=10, voters=5)
    assert not sent(effects, AUTH_ACK) and "version 5 of the voters is being replaced" in logged(effects)
    voter.hear("p1", MODULE, steps.encode(Step(TELL, 6, epoch=10, members=OWNERS)))
    assert not sent(voter.hear("r1", AUTH_REQUEST, current_epoch=10, voters=6), AUTH_ACK), "the step passed over 10"
    assert sent(voter.hear("r1", AUTH_REQUEST, current_epoch=11, voters=6), AUTH_ACK)


def test_a_candidate_votes_for_itself_and_counts_votes_of_its_version() -> None:
    alone = told("r1")
    alone.convict("p1", by="p2")
    (request, *_) = sent(wait_to_ask(alone), AUTH_REQUEST)  # type: ignore[arg-type]
    assert request.voters == 5 and alone.machine.state.ballot.epoch == request.current_epoch
    assert alone.machine.core.election.tally.voters == {IDS["r1"]}
    assert BecomePrimary() not in alone.hear("p2", AUTH_ACK, voters=5)
    for stale in (0, 4, 6):
        assert BecomePrimary() not in alone.hear("p3", AUTH_ACK, voters=stale)
    assert BecomePrimary() not in alone.hear("r2", AUTH_ACK, voters=5), "it is no voter"
    assert BecomePrimary() in alone.hear("p3", AUTH_ACK, voters=5)


def test_another_version_begins_a_candidature_anew() -> None:
    alone = told("r1")
    alone.convict("p1", by="p2")
    wait_to_ask(alone)
    alone.hear("p2", AUTH_ACK, voters=5)
    alone.hear("p2", MODULE, steps.encode(Step(TELL, 6, epoch=EPOCH, members=(*OWNERS[1:], IDS["r1"]))))
    assert not alone.machine.core.election.asked
    assert BecomePrimary() not in alone.hear("p3", AUTH_ACK, voters=6)


def test_two_of_three_convict_the_primary_of_one_shard() -> None:
    members = tuple(sorted((IDS["p1"], IDS["r1"], IDS["r2"])))
    alone = told("r1", members)
    assert alone.machine.state.quorum == 2
    assert [node.id for node in alone.machine.state.voters()] == list(members)
    alone.now_ms += 2500
    for name in ("p2", "p3", "r2", "r3"):
        alone.hear(name, PONG, Gossip(), voters=5)
    alone.handle(Wakeup())
    for name in ("p2", "p3", "r2", "r3"):
        alone.hear(name, PONG, Gossip(), voters=5)
    alone.now_ms += 2500
    alone.handle(Wakeup())
    assert alone.node("p1").is_suspect and not alone.node("p1").is_failed
    entry = GossipEntry(IDS["p1"], 0, 0, "10.0.0.1", 7000, 17000, PFAIL)
    alone.hear("p2", PONG, Gossip((entry,)), voters=5)
    assert not alone.node("p1").is_failed, "a primary that is no voter accuses nobody"
    alone.hear("r2", PONG, Gossip((entry,)), voters=5)
    assert alone.node("p1").is_failed


# ---- what an operator sees -----------------------------------------------------------------------------------------


def test_cluster_info_shows_the_voters_where_there_is_something_to_show() -> None:
    alone = Alone("p1")
    assert "voters" not in info(alone.machine.core)
    alone.settings.replica_votes = True
    alone.handle(SettingsChanged())
    effects = alone.handle(Wakeup())
    why = f"node {IDS['p2']} is no Hexad node"
    assert f"cluster-replica-votes has no effect: {why}." in logged(effects)
    shown = info(alone.machine.core)
    assert "cluster_voters_version:0\r\ncluster_voters_agreed:0\r\ncluster_voters_reachable:3\r\n" in shown
    assert shown.endswith(f"cluster_voters_not_agreed_because:{why}\r\n")
    assert "cluster_voters_version:5\r\ncluster_voters_agreed:4\r\n" in info(told("p1").machine.core)


# ---- codec and file ------------------------------------------------------------------------------------------------

ids = st.lists(st.sampled_from([f"{n:02x}" * 20 for n in range(20)]), unique=True).map(
    lambda found: tuple(sorted(found))
)
numbers = st.integers(0, 2**62)
rounds = st.builds(Round, numbers, st.sampled_from([f"{n:02x}" * 20 for n in range(20)])) | st.just(NO_ROUND)


@given(st.builds(Step, st.integers(1, 5), numbers, rounds, numbers, ids, rounds))
def test_steps_survive_the_wire(step: Step) -> None:
    packet = SOMEBODY.packet("p2", MODULE, steps.encode(step), voters=step.version)
    back = decode_packet(encode_packet(packet))
    assert back == packet and isinstance(back.body, Module) and steps.decode(back.body) == step


@given(st.binary(max_size=300), st.integers(0, 255))
def test_nonsense_is_no_step(payload: bytes, kind: int) -> None:
    step = steps.decode(Module(steps.MODULE_ID, kind, payload))
    assert step is None or steps.encode(step).payload == payload
    assert steps.decode(Module(b"another!", 1, payload)) is None


def test_what_could_be_no_set_of_voters_is_no_step() -> None:
    for members in (OWNERS[::-1], (OWNERS[0], OWNERS[0]), ("X" * 40,), tuple(f"{n:040d}" for n in range(64))):
        assert steps.decode(steps.encode(Step(TELL, 9, members=members))) is None
    assert steps.decode(steps.encode(Step(TELL, 2**62 + 1, members=OWNERS))) is None


@given(numbers, numbers, ids, rounds, st.booleans(), ids)
def test_all_of_it_survives_the_file(
    version: int, epoch: int, members: tuple[str, ...], promised: Round, seals: bool, proposal: tuple[str, ...]
) -> None:
    electorate = Electorate(max(version, 1), members, epoch, promised)
    if seals and promised != NO_ROUND:
        electorate.accepted, electorate.proposal = promised, proposal
        electorate.base = () if members else proposal
    state = new_state(Random(1))
    state.electorate = electorate
    assert nodesconf.parse(nodesconf.render(state)).electorate == electorate


@pytest.mark.parametrize(
    "words",
    [
        "voters 1:2", "voters x:2:", "voters 1:2:abc", f"voters 1:2:{IDS['p2']},{IDS['p1']}", "voterStep 1:2:3:4:5:6",
        f"voterStep 1:{IDS['p1']}:2:{IDS['p1']}::", f"voterStep 1:{IDS['p1']}:0:::x",
    ],
)  # fmt: skip
def test_nonsense_about_voters_stops_the_start(words: str) -> None:
    text = nodesconf.render(SOMEBODY.machine.state)
    text = text[: text.index(" crc32")] + f" {words}\n"
    with pytest.raises(nodesconf.NodesConfError):
        nodesconf.parse(text)
