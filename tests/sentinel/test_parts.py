"""Parts of the machine by themselves: the file both ways, hellos and INFO of any content, scripts, shared links."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config.errors import ConfigFileError
from node.config.lines import read_lines
from node.net.resp import Failure, Status
from sentinel import conf, failover, links, observation, report, roster
from sentinel.core import Core
from sentinel.events import (
    Answer,
    CloseLink,
    Dial,
    Heard,
    HelloReceived,
    KillScript,
    LinkDown,
    LinkUp,
    Monitor,
    QuestionReceived,
    Replied,
    RunScript,
    ScriptEnded,
    ScriptStarted,
    SentinelError,
    SetOptions,
    Wakeup,
)
from sentinel.info import parse_info
from sentinel.machine import SentinelMachine
from sentinel.state import Address, State

ME, FELLOW = "a" * 40, "b" * 40
NOW_MS = 1_700_000_000_000


class NoWorld:
    """Facts of a machine that has no node around it."""

    def port(self) -> int:
        return 26379

    def password(self) -> str:
        return ""

    def resolve(self, host: str) -> str:
        return "10.1.1.1" if host == "known.example" else ""

    def is_executable(self, path: str) -> bool:
        return path.startswith("/bin/")


def loaded(text: str) -> State:
    core = Core(State(), NoWorld(), Random(1))
    core.begin(NOW_MS)
    conf.load(core, read_lines(text))
    core.state.my_id = core.state.my_id or ME
    core.state.check()
    return core.state


def written(state: State) -> list[str]:
    return [line for _, lines in conf.wanted_lines(state) for line, _ in lines]


def machine(text: str = "sentinel monitor m 10.0.0.1 6379 2") -> SentinelMachine:
    return SentinelMachine(loaded(text), NoWorld(), Random(1))


# --- the file ---------------------------------------------------------------------------------------------------------

FULL = f"""\
sentinel myid {ME}
sentinel deny-scripts-reconfig no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel monitor m known.example 6379 2
sentinel down-after-milliseconds m 1000
sentinel failover-timeout m 2000
sentinel parallel-syncs m 3
sentinel notification-script m /bin/true
sentinel client-reconfig-script m /bin/false
sentinel auth-pass m "two words"
sentinel auth-user m somebody
sentinel master-reboot-down-after-period m 5
sentinel config-epoch m 3
sentinel leader-epoch m 4
sentinel known-replica m 10.0.0.2 6379
sentinel known-sentinel m 10.0.0.9 26379 {FELLOW}
sentinel rename-command m config secretconfig
sentinel current-epoch 7
sentinel announce-ip 1.2.3.4
sentinel announce-port 5
sentinel sentinel-user us
sentinel sentinel-pass them
"""


def test_a_full_file_is_written_as_it_was_read_in_any_order() -> None:
    lines = FULL.splitlines()
    assert written(loaded(FULL)) == lines
    for seed in range(20):
        Random(seed).shuffle(lines)
        assert written(loaded("\n".join(lines))) == FULL.splitlines()


def test_old_words_are_read_and_epochs_raise_the_current_one() -> None:
    state = loaded("sentinel monitor m 10.0.0.1 6379 2\nsentinel known-slave m 10.0.0.2 1\nsentinel config-epoch m 9")
    assert "sentinel known-replica m 10.0.0.2 1" in written(state) and state.current_epoch == 9


def test_a_promoted_replica_stands_as_the_primary_before_the_switch() -> None:
    text = "sentinel monitor m 10.0.0.1 6379 2\nsentinel known-replica m 10.0.0.2 6379"
    subject = machine(text)
    primary = subject.state.primaries["m"]
    core = subject.core
    core.begin(NOW_MS)
    failover.start(core, primary)
    primary.promoted = next(iter(primary.replicas.values()))
    primary.step = failover.Step.WAIT_PROMOTION
    failover.promoted(core, primary, primary.promoted)
    assert "sentinel monitor m 10.0.0.2 6379 2" in written(subject.state)
    assert "sentinel known-replica m 10.0.0.1 6379" in written(subject.state)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=60))
def test_any_line_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigFileError):
        loaded(f"sentinel monitor m 10.0.0.1 6379 2\nsentinel {text}")


# --- what others say --------------------------------------------------------------------------------------------------

hello_fields = st.sampled_from(["10.0.0.9", "26379", ME, FELLOW, "0", "3", "m", "6379", "x", "", "-1", str(1 << 70)])


@given(
    st.one_of(
        st.binary(max_size=80), st.lists(hello_fields, min_size=7, max_size=9).map(lambda f: ",".join(f).encode())
    )
)
def test_any_hello_leaves_a_sound_state(payload: bytes) -> None:
    subject = machine()
    subject.handle(HelloReceived(payload), NOW_MS)
    subject.state.check()
    assert ME not in subject.state.primaries["m"].fellows


@given(st.binary(max_size=200))
def test_any_info_can_be_read(text: bytes) -> None:
    parse_info(text)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0", [("10.0.0.2", 6379)]),
        (b"slave0:10.0.0.2,6379,online", [("10.0.0.2", 6379)]),
        (b"slave0:ip=10.0.0.2,port=0", []),
        (b"slave0:ip=10.0.0.2,port=99999", []),
        (b"slave0:", []),
        (b"slave_priority:5", []),
    ],
)
def test_replicas_of_a_primary(line: bytes, found: list[tuple[str, int]]) -> None:
    assert parse_info(b"role:master\r\n" + line + b"\r\n").replicas == found


def test_a_replica_that_does_not_want_to_be_known_is_kept_back() -> None:
    subject = machine("sentinel monitor m 10.0.0.1 6379 2\n" + "sentinel known-replica m 10.0.0.2 6379\n")
    primary = subject.state.primaries["m"]
    (replica,) = primary.replicas.values()
    for said, told in ((b"0", []), (b"1", [replica])):
        subject.core.begin(NOW_MS)
        observation.learn(subject.core, replica, b"role:slave\r\nreplica_announced:" + said)
        assert report.announced(primary) == told
        assert report.describe(subject.core, primary)[b"num-slaves"] == b"1"


def hello(
    subject: SentinelMachine, port: int, run_id: str, name: str = "m", epoch: int = 0, at: str = "10.0.0.1"
) -> None:
    subject.handle(HelloReceived(f"10.0.0.9,{port},{run_id},{epoch},{name},{at},6379,{epoch}".encode()), NOW_MS)
    subject.state.check()


def test_a_fellow_that_moves_and_one_that_takes_its_place() -> None:
    subject = machine("sentinel monitor m 10.0.0.1 6379 2\nsentinel monitor n 10.0.0.5 6379 2")
    hello(subject, 26379, FELLOW)
    hello(subject, 26379, FELLOW, "n", at="10.0.0.5")
    m, n = subject.state.primaries.values()
    assert m.fellows[FELLOW].link is n.fellows[FELLOW].link and len(m.fellows[FELLOW].link.users) == 2
    hello(subject, 26380, FELLOW)
    assert m.fellows[FELLOW].address.port == n.fellows[FELLOW].address.port == 26380
    hello(subject, 26380, "c" * 40)
    assert list(m.fellows) == ["c" * 40] and not n.fellows


def test_a_later_config_epoch_moves_the_primary() -> None:
    subject = machine("sentinel monitor m 10.0.0.1 6379 2\nsentinel known-replica m 10.0.0.2 6379")
    hello(subject, 26379, FELLOW, epoch=5, at="10.0.0.2")
    primary = subject.state.primaries["m"]
    assert (primary.address.ip, primary.config_epoch, subject.state.current_epoch) == ("10.0.0.2", 5, 5)
    assert list(primary.replicas) == ["10.0.0.1:6379"]
    hello(subject, 26379, FELLOW, epoch=4, at="10.0.0.1")
    assert primary.address.ip == "10.0.0.2"


def ask(subject: SentinelMachine, epoch: int, run_id: str) -> object:
    effects = subject.handle(QuestionReceived("10.0.0.1", 6379, epoch, run_id), NOW_MS)
    return next(effect.reply for effect in effects if isinstance(effect, Answer))


def test_one_vote_an_epoch() -> None:
    subject = machine()
    assert ask(subject, 3, "*") == [0, b"*", 0]
    assert ask(subject, 3, FELLOW) == [0, FELLOW.encode(), 3]
    assert ask(subject, 3, "c" * 40) == [0, FELLOW.encode(), 3]
    assert ask(subject, 2, "c" * 40) == [0, FELLOW.encode(), 3]
    assert ask(subject, 4, "c" * 40) == [0, b"c" * 40, 4]
    restarted = SentinelMachine(loaded("\n".join(written(subject.state))), NoWorld(), Random(1))
    assert ask(restarted, 4, FELLOW) == [0, b"*", 4]


# --- links and scripts ------------------------------------------------------------------------------------------------


def test_replies_of_any_kind_and_late_ones_do_no_harm() -> None:
    subject = machine()
    subject.handle(Wakeup(), NOW_MS)
    primary = subject.state.primaries["m"]
    for number in (1, 2):
        subject.handle(LinkUp(number, "10.0.0.8", "10.0.0.1"), NOW_MS)
    assert primary.link.is_connected
    asked = [effect.ask for effect in subject.handle(Wakeup(), NOW_MS + 1100) if hasattr(effect, "ask") and effect.ask]
    for reply in (None, 5, [], [1, 2, 3], Failure(b"BUSY"), Status(b"PONG"), b"role:master", {b"a": b"b"}):
        for each in asked:
            subject.handle(Replied(1, each, reply), NOW_MS + 1200)
        subject.handle(Heard(2, reply), NOW_MS + 1200)
    core = subject.core
    core.begin(NOW_MS)
    roster.remove_primary(core, primary)
    for each in asked:
        subject.handle(Replied(1, each, b"role:slave"), NOW_MS + 1300)
    subject.handle(LinkDown(1), NOW_MS + 1300)
    assert not core.links


def test_a_node_that_does_not_let_us_listen_shows_as_disconnected() -> None:
    """A password that is missing or wrong is seen in the flags; that AUTH is not wanted does no harm."""
    subject = machine("sentinel monitor m 10.0.0.1 6379 2\nsentinel auth-pass m secret")
    subject.handle(Wakeup(), NOW_MS)
    primary = subject.state.primaries["m"]
    for number in (1, 2):
        subject.handle(LinkUp(number, "10.0.0.8", "10.0.0.1"), NOW_MS)
    for _auth_and_setname in range(2):
        subject.handle(Heard(2, Failure(b"ERR no")), NOW_MS)
    assert list(primary.flags()) == ["master"]
    assert CloseLink(2) in subject.handle(Heard(2, Failure(b"NOAUTH Authentication required.")), NOW_MS)
    assert list(primary.flags()) == ["master", "disconnected"]
    dialled = [effect.listens for effect in subject.handle(Wakeup(), NOW_MS + 1100) if isinstance(effect, Dial)]
    assert dialled == [True]


def test_a_name_is_dialled_and_followed_to_its_new_address() -> None:
    subject = machine("sentinel resolve-hostnames yes\nsentinel monitor m known.example 6379 2")
    dialled = [effect.host for effect in subject.handle(Wakeup(), NOW_MS) if isinstance(effect, Dial)]
    assert dialled == ["known.example"] * 2
    subject.handle(LinkUp(1, "10.0.0.8", "10.1.1.2"), NOW_MS)
    assert subject.state.primaries["m"].address == Address("known.example", "10.1.1.2", 6379)
    assert "sentinel monitor m known.example 6379 2" in written(subject.state)


def test_names_that_nobody_knows_yet_stop_nothing() -> None:
    """The resolver may be down, or the node gone for a while, when the Sentinel starts."""
    text = "sentinel resolve-hostnames yes\nsentinel monitor m gone.example 6379 2\n"
    subject = machine(text + "sentinel known-replica m one.example 1\nsentinel known-replica m two.example 1")
    primary = subject.state.primaries["m"]
    assert primary.address == Address("gone.example", "", 6379) and len(primary.replicas) == 2
    dialled = [effect.host for effect in subject.handle(Wakeup(), NOW_MS) if isinstance(effect, Dial)]
    assert sorted(set(dialled)) == ["gone.example", "one.example", "two.example"]
    assert report.describe(subject.core, primary)[b"ip"] == b"gone.example"
    with pytest.raises(SentinelError, match="Invalid IP address or hostname specified"):
        subject.handle(Monitor("n", "gone.example", 6379, 1), NOW_MS)


def test_a_renamed_command_is_sent_by_its_name() -> None:
    subject = machine()
    subject.handle(SetOptions("m", ("rename-command", "PING", "pong")), NOW_MS)
    subject.handle(Wakeup(), NOW_MS)
    sent = [effect.argv[0] for effect in subject.handle(LinkUp(1, "", ""), NOW_MS) if hasattr(effect, "argv")]
    assert sent == [b"CLIENT", b"pong"]


def test_options_are_checked_before_any_is_set() -> None:
    subject = machine()
    with pytest.raises(SentinelError, match="Invalid argument 'x' for SENTINEL SET 'quorum'"):
        subject.handle(SetOptions("m", ("parallel-syncs", "9", "quorum", "x")), NOW_MS)
    assert subject.state.primaries["m"].config.parallel_syncs == 1


def test_scripts_are_few_at_a_time_killed_and_tried_again() -> None:
    subject = machine()
    core = subject.core
    core.begin(NOW_MS)
    for number in range(300):
        core.scripts.schedule(core, (f"/bin/{number}",))
    assert len(core.scripts.jobs) == 256 and core.scripts.jobs[0].argv == ("/bin/44",)
    started = [effect for effect in subject.handle(Wakeup(), NOW_MS) if isinstance(effect, RunScript)]
    assert len(started) == 16
    subject.handle(ScriptStarted(started[0].job, 99), NOW_MS)
    subject.state.looked_ms = NOW_MS + 60_001
    late = [effect for effect in subject.handle(Wakeup(), NOW_MS + 60_001) if isinstance(effect, KillScript)]
    assert [effect.job for effect in late] == [effect.job for effect in started]
    subject.handle(ScriptEnded(started[0].job, 0, 9), NOW_MS)
    job = core.scripts.jobs[0]
    assert (job.is_running, job.retries, job.start_ms) == (False, 1, NOW_MS + 30_000)
    subject.handle(ScriptEnded(started[1].job, 2, 0), NOW_MS)
    assert started[1].job not in {job.number for job in core.scripts.jobs}
    job.retries, job.is_running = 10, True
    subject.handle(ScriptEnded(job.number, 1, 0), NOW_MS)
    assert job not in core.scripts.jobs


def test_no_more_than_a_hundred_unanswered_commands_a_user() -> None:
    subject = machine()
    subject.handle(Wakeup(), NOW_MS)
    for number in (1, 2):
        subject.handle(LinkUp(number, "10.0.0.8", "10.0.0.1"), NOW_MS)
    link = subject.state.primaries["m"].link
    core = subject.core
    core.begin(NOW_MS)
    while link.pending < 100:
        links.order(core, subject.state.primaries["m"], "PING")
    sent = [effect for effect in subject.handle(Wakeup(), NOW_MS + 1500) if hasattr(effect, "argv")]
    assert sent == []


def test_an_address_is_the_same_by_name_and_by_number() -> None:
    address = Address("Known.example", "10.1.1.1", 6379)
    assert address.is_same("known.example", 6379) and address.is_same("10.1.1.1", 6379)
    assert not address.is_same("10.1.1.1", 6380)
