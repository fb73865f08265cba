"""What SENTINEL MASTER, REPLICAS, SENTINELS, CKQUORUM and INFO tell, field by field in Redis's order. Tools parse
them."""

from __future__ import annotations

from node.votes import majority
from sentinel.core import Core
from sentinel.state import Fellow, Instance, Primary, Replica

Fields = dict[bytes, bytes]


def describe(core: Core, instance: Instance) -> Fields:
    """One instance: every value is a text."""
    values: dict[str, object] = {
        "name": instance.name,
        "ip": core.state.told(instance.address),
        "port": instance.address.port,
        "runid": instance.run_id,
        "flags": ",".join(instance.flags()),
        "link-pending-commands": instance.link.pending,
        "link-refcount": len(instance.link.users),
    }
    if isinstance(instance, Primary) and instance.in_failover:
        values["failover-state"] = instance.step.value
    values |= _liveness(core, instance)
    if isinstance(instance, Primary | Replica):
        values |= _role(core, instance)
    if isinstance(instance, Primary):
        values |= _primary(instance)
    elif isinstance(instance, Replica):
        values |= _replica(instance)
    elif isinstance(instance, Fellow):
        values |= _fellow(core, instance)
    return {name.encode(): str(value).encode("utf-8", "surrogateescape") for name, value in values.items()}


def _liveness(core: Core, instance: Instance) -> dict[str, object]:
    link, now_ms = instance.link, core.now_ms
    values: dict[str, object] = {
        "last-ping-sent": now_ms - link.ping_unanswered_ms if link.ping_unanswered_ms else 0,
        "last-ok-ping-reply": now_ms - link.available_ms,
        "last-ping-reply": now_ms - link.answered_ms,
    }
    if instance.is_down:
        values["s-down-time"] = now_ms - instance.down_since_ms
    if isinstance(instance, Primary) and instance.is_objectively_down:
        values["o-down-time"] = now_ms - instance.objectively_down_since_ms
    return values | {"down-after-milliseconds": instance.config.down_after_ms}


def _role(core: Core, instance: Instance) -> dict[str, object]:
    return {
        "info-refresh": core.now_ms - instance.info_ms if instance.info_ms else 0,
        "role-reported": "master" if instance.role_is_primary else "slave",
        "role-reported-time": core.now_ms - instance.role_since_ms,
    }


def _primary(primary: Primary) -> dict[str, object]:
    config = primary.config
    values: dict[str, object] = {
        "config-epoch": primary.config_epoch,
        "num-slaves": len(primary.replicas),
        "num-other-sentinels": len(primary.fellows),
        "quorum": config.quorum,
        "failover-timeout": config.failover_timeout_ms,
        "parallel-syncs": config.parallel_syncs,
    }
    if config.notification_script:
        values["notification-script"] = config.notification_script
    if config.reconfig_script:
        values["client-reconfig-script"] = config.reconfig_script
    return values


def _replica(replica: Replica) -> dict[str, object]:
    return {
        "master-link-down-time": replica.link_down_ms,
        "master-link-status": "ok" if replica.primary_link_is_up else "err",
        "master-host": replica.primary_host or "?",
        "master-port": replica.primary_port,
        "slave-priority": replica.priority,
        "slave-repl-offset": replica.offset,
        "replica-announced": int(replica.is_announced),
    }


def announced(primary: Primary) -> list[Replica]:
    """The replicas that clients are told of: `replica-announced no` keeps one for itself."""
    return [replica for replica in primary.replicas.values() if replica.is_announced]


def _fellow(core: Core, fellow: Fellow) -> dict[str, object]:
    return {
        "last-hello-message": core.now_ms - fellow.hello_ms,
        "voted-leader": fellow.leader or "?",
        "voted-leader-epoch": fellow.leader_epoch,
    }


def quorum(primary: Primary) -> tuple[bool, str]:
    """SENTINEL CKQUORUM: whether a failover could be agreed on and authorized now, and the text of the reply."""
    usable = 1 + sum(not fellow.is_down and fellow.link.is_connected for fellow in primary.fellows.values())
    text = f"{usable} usable Sentinels. "
    lacks = ""
    if usable < primary.config.quorum:
        lacks = "Not enough available Sentinels to reach the specified quorum for this master"
    if usable < majority(len(primary.fellows) + 1):
        lacks += ". " if lacks else ""
        lacks += "Not enough available Sentinels to reach the majority and authorize a failover"
    if lacks:
        return False, f"NOQUORUM {text}{lacks}"
    return True, f"OK {text}Quorum and failover authorization can be reached"


def info_fields(core: Core) -> dict[str, object]:
    """INFO's section Sentinel."""
    state = core.state
    since_s = (core.now_ms - state.tilt_since_ms) // 1000 if state.tilt_since_ms else -1
    fields: dict[str, object] = {
        "sentinel_masters": len(state.primaries),
        "sentinel_tilt": int(bool(state.tilt_since_ms)),
        "sentinel_tilt_since_seconds": since_s,
        "sentinel_running_scripts": core.scripts.running,
        "sentinel_scripts_queue_length": len(core.scripts.jobs),
        "sentinel_simulate_failure_flags": state.simulated,
    }
    for index, primary in enumerate(state.primaries.values()):
        status = "odown" if primary.is_objectively_down else "sdown" if primary.is_down else "ok"
        fields[f"master{index}"] = (
            f"name={primary.name},status={status},address={state.told(primary.address)}:{primary.address.port},"
            f"slaves={len(primary.replicas)},sentinels={len(primary.fellows) + 1}"
        )
    return fields
