"""The links to all instances: when they are dialled, what is sent over them, and how answers count.

Every instance gets PING, nodes get INFO, and everybody gets our hello. A link that has too much unanswered is sent
nothing more until it is closed for its silence (`sentinel.suspicion`).
"""

from __future__ import annotations

from node.net.resp import Failure, Status
from sentinel import hello, links, observation
from sentinel.core import Core
from sentinel.events import Dial, Heard, LinkUp, Replied
from sentinel.state import Fellow, Instance, Primary, Replica

PENDING_MAX = 100
"""So many unanswered commands a link may have for each of its users."""
LISTEN_CHANNEL = b"__sentinel__:hello"
ALIVE = ("PONG", "LOADING", "MASTERDOWN")
"""Answers to PING of a node that works, or will soon."""


# ---- dialling --------------------------------------------------------------------------------------------------------


def reconnect(core: Core, instance: Instance) -> None:
    """Dial what is missing, not more often than once a ping period."""
    link, address = instance.link, instance.address
    if link.is_connected or not address.port or core.now_ms - link.dialled_ms < core.state.periods.ping_period:
        return
    link.dialled_ms = core.now_ms
    if link.command is None:
        link.command, link.command_dialled_ms = core.new_link(link), core.now_ms
        core.emit(Dial(link.command, _dialled(core, instance), address.port, False))
    if link.pubsub is None and not isinstance(instance, Fellow):
        link.pubsub, link.pubsub_dialled_ms = core.new_link(link), core.now_ms
        core.emit(Dial(link.pubsub, _dialled(core, instance), address.port, True))


def _dialled(core: Core, instance: Instance) -> str:
    """A name is resolved anew for each link, since it may have moved."""
    return instance.address.host if core.state.resolve_hostnames else instance.address.ip


def link_up(core: Core, event: LinkUp) -> None:
    """A link stands: log in, name ourselves, and begin."""
    link = core.links.get(event.link)
    if link is None:
        return
    instance = link.users[0]
    _follow_name(instance, event.peer_ip)
    listens = event.link == link.pubsub
    logs_in = _log_in(core, instance, event.link)
    name = f"sentinel-{core.state.my_id[:8]}-{'pubsub' if listens else 'cmd'}"
    links.send(core, instance, event.link, "CLIENT", "SETNAME", name)
    if listens:
        link.pubsub_is_up, link.heard_ms = True, core.now_ms
        link.heard_first = logs_in + 1
        links.send(core, instance, event.link, "SUBSCRIBE", LISTEN_CHANNEL.decode())
        return
    link.command_is_up, link.local_ip = True, event.local_ip
    links.ping(core, instance)


def _follow_name(instance: Instance, peer_ip: str) -> None:
    """The name stands for another address by now."""
    address = instance.address
    if address.host != address.ip and peer_ip and peer_ip != address.ip:
        for user in instance.link.users:
            user.address = address._replace(ip=peer_ip)


def _log_in(core: Core, instance: Instance, number: int) -> bool:
    """Send AUTH, if we have a password for there."""
    state = core.state
    if isinstance(instance, Fellow):
        user, password = state.sentinel_user, state.sentinel_pass
        if not password:
            user, password = "", core.facts.password()
    else:
        user, password = instance.config.auth_user, instance.config.auth_pass
    if password:
        links.send(core, instance, number, "AUTH", *([user] if user else []), password)
    return bool(password)


# ---- sending ---------------------------------------------------------------------------------------------------------


def send_periodically(core: Core, instance: Instance) -> None:
    """PING, INFO and hello, each when it is due."""
    link, periods = instance.link, core.state.periods
    if not link.is_connected or link.pending >= PENDING_MAX * len(link.users):
        return
    now_ms = core.now_ms
    if not isinstance(instance, Fellow) and (
        not instance.info_ms or now_ms - instance.info_ms > _info_period_ms(core, instance)
    ):
        links.ask(core, instance, "info", "INFO")
    ping_period_ms = min(instance.config.down_after_ms, periods.ping_period)
    if now_ms - link.answered_ms > ping_period_ms and now_ms - link.ping_sent_ms > ping_period_ms / 2:
        links.ping(core, instance)
    if now_ms - instance.hello_sent_ms > periods.publish_period:
        hello.send(core, instance)


def _info_period_ms(core: Core, instance: Instance) -> int:
    """Replicas are asked often while their primary is in trouble: they tell of their promotion."""
    period_ms = core.state.periods.info_period
    if isinstance(instance, Replica):
        primary = instance.primary
        if primary.is_objectively_down or primary.in_failover or instance.link_down_ms:
            return min(period_ms, 1000)
    return period_ms


# ---- hearing ---------------------------------------------------------------------------------------------------------


def replied(core: Core, event: Replied) -> None:
    """A reply came: it counts, and means something if we still care for who sent it."""
    link = core.links.get(event.link)
    if link is None:
        return
    link.pending = max(0, link.pending - 1)
    if event.ask is None or event.ask.instance.gone:
        return
    instance, reply = event.ask.instance, event.reply
    if event.ask.kind == "ping":
        _pinged(core, instance, reply)
    elif event.ask.kind == "info":
        if isinstance(reply, bytes) and not isinstance(reply, Failure | Status):
            observation.learn(core, instance, reply)
    elif event.ask.kind == "hello":
        if not isinstance(reply, Failure):
            instance.hello_sent_ms = core.now_ms
    elif isinstance(instance, Fellow):
        _fellow_answered(core, instance, reply)


def _pinged(core: Core, instance: Instance, reply: object) -> None:
    link = instance.link
    link.answered_ms = core.now_ms
    if not isinstance(reply, Failure | Status):
        return
    text = reply.decode("utf-8", "replace")
    if text.startswith(ALIVE):
        link.available_ms, link.ping_unanswered_ms = core.now_ms, 0
        if isinstance(instance, Primary) and text.startswith("PONG"):
            instance.rebooted_ms = 0
    elif text.startswith("BUSY") and instance.is_down and not instance.script_kill_sent:
        links.order(core, instance, "SCRIPT", "KILL")
        instance.script_kill_sent = True


def _fellow_answered(core: Core, fellow: Fellow, reply: object) -> None:
    """The answer of IS-MASTER-DOWN-BY-ADDR: is the primary down for it too, and whom does it vote for?"""
    if not isinstance(reply, list) or len(reply) != 3:
        return
    is_down, leader, epoch = reply
    if not isinstance(is_down, int) or not isinstance(leader, bytes) or not isinstance(epoch, int):
        return
    fellow.asked_ms = core.now_ms
    fellow.says_down = is_down == 1
    if leader != b"*":
        voted = leader.decode("latin-1")
        if fellow.leader_epoch != epoch:
            core.log("verbose", f"{fellow.name} voted for {voted} {epoch}")
        fellow.leader, fellow.leader_epoch = voted, epoch


def heard(core: Core, event: Heard) -> None:
    """Something came over a link that listens: perhaps a fellow's hello."""
    link = core.links.get(event.link)
    if link is None:
        return
    link.heard_ms = core.now_ms
    reply = event.reply
    if link.heard_first:
        link.heard_first -= 1
        return
    if isinstance(reply, Failure):  # we may not listen: an operator is to see that something is wrong with the link
        links.close_pubsub(core, link)
        return
    if not isinstance(reply, list) or len(reply) != 3 or reply[0] != b"message":
        return
    payload = reply[2]
    if isinstance(payload, bytes) and core.state.my_id.encode() not in payload:
        hello.receive(core, payload)
