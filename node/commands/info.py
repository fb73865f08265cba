"""INFO: every section and field of Redis 7.2, in its order; scripts wait for some of them for ever.

A field without a meaning here has the value with which Redis says so (no forks, no defragmentation, no module). What
another part knows best it tells itself: `saver.info()`, `replication.info()` and the like give their fields.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TypeAlias

from node.commands.family import command
from node.commands.memory import memory_of, overhead_of
from node.latency import percentile_ns
from node.listening import described
from node.memory import human
from node.net.resp import Argv, Reply, Verbatim
from node.server import HEXAD_VERSION, REDIS_VERSION, Client, Server

Fields = Mapping[str, object]

BUILD_ID = "0" * 16
DAY_S = 24 * 3600
LRU_CLOCK_MAX = (1 << 24) - 1
TTL_SAMPLE = 64
"""How many deadlines the average of `avg_ttl` is taken of."""


@command(
    "info",
    -1,
    "loading stale sentinel",
    acl="dangerous",
    tips="nondeterministic_output request_policy:all_shards response_policy:special",
)
def info(client: Client, argv: Argv) -> Reply:
    """INFO [section ...]."""
    wanted = sections_wanted([word.decode("latin-1") for word in argv[1:]])
    return Verbatim(report(client.host, wanted).encode("utf-8", "surrogateescape"))


def sections_wanted(words: Iterable[str]) -> list[str]:
    """The sections that the arguments of INFO name, in the order in which they are shown."""
    names = {word.lower() for word in words}
    if "module_list" in names:
        names.add("modules")
    if not names or "default" in names:
        names.update(DEFAULT)
    if names & {"all", "everything"}:
        names.update(name for name in SECTIONS if name != "debug")
    return [name for name in SECTIONS if name in names]


def report(server: Server, sections: Iterable[str]) -> str:
    """INFO's text."""
    found = (SECTIONS[name] for name in sections)
    return report_of((title, fields(server)) for title, fields in found)


def report_of(sections: Iterable[tuple[str, Fields]]) -> str:
    """INFO's text of sections, each with its title, that may be another program's."""
    parts = []
    for title, fields in sections:
        lines = "".join(f"{field}:{value}\r\n" for field, value in fields.items())
        parts.append(f"# {title}\r\n{lines}")
    return "\r\n".join(parts)


def server_fields(server: Server) -> Fields:
    platform, config = server.platform, server.config
    now_us = platform.now_us()
    uptime_s = (now_us // 1000 - server.started_ms) // 1000
    fields: dict[str, object] = {
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": BUILD_ID,
        "redis_mode": server.mode,
        "os": platform.system_name(),
        "arch_bits": 64,
        "monotonic_clock": "POSIX clock_gettime",
        "multiplexing_api": "epoll",
        "atomicvar_api": "c11-builtin",
        "gcc_version": platform.compiler_version,
        "process_id": platform.pid,
        "process_supervised": server.supervised,
        "run_id": server.run_id,
        "tcp_port": config["port"],
        "server_time_usec": now_us,
        "uptime_in_seconds": uptime_s,
        "uptime_in_days": uptime_s // DAY_S,
        "hz": config["hz"],
        "configured_hz": config["hz"],
        "lru_clock": now_us // 1_000_000 & LRU_CLOCK_MAX,
        "executable": server.executable,
        "config_file": server.config_file,
        "io_threads_active": 0,
    }
    left_ms = server.shutdown.left_ms()
    if left_ms is not None:
        fields["shutdown_in_milliseconds"] = int(left_ms)
    for index, (kind, addresses, port) in enumerate(described(server.config)):
        binds = "".join(f",bind={address}" for address in addresses)
        fields[f"listener{index}"] = f"name={kind}{binds}" + (f",port={port}" if port else "")
    return fields | {"hexad_version": HEXAD_VERSION}


def clients_fields(server: Server) -> Fields:
    sessions = list(server.clients.sessions.values())
    normal = [client for client in sessions if client.kind == b"normal"]
    blocked = [client for client in sessions if client.parked is not None]
    queues = server.keyspace.waiters.keys.values()
    return {
        "connected_clients": sum(client.kind != b"replica" for client in sessions),
        "cluster_connections": 0 if server.cluster is None else server.cluster.connection_count,
        "maxclients": server.config["maxclients"],
        "client_recent_max_input_buffer": max((client.parser.waiting_bytes for client in normal), default=0),
        "client_recent_max_output_buffer": max((len(client.out) for client in normal), default=0),
        "blocked_clients": len(blocked),
        "tracking_clients": server.tracking.figures().clients,
        "clients_in_timeout_table": sum(client.parked_timer is not None for client in blocked),
        "total_blocking_keys": len(queues),
        "total_blocking_keys_on_nokey": sum(any(waiter.hears_of_loss for waiter in queue) for queue in queues),
    }


def memory_fields(server: Server) -> Fields:
    config = server.config
    overhead = overhead_of(server)
    memory = memory_of(server, overhead)
    uncounted = server.uncounted_bytes()
    maxmemory = config["maxmemory"]
    sized: dict[str, object] = {
        "used_memory": memory.used,
        "used_memory_human": human(memory.used),
        "used_memory_rss": memory.resident,
        "used_memory_rss_human": human(memory.resident),
        "used_memory_peak": memory.peak,
        "used_memory_peak_human": human(memory.peak),
        "used_memory_peak_perc": f"{memory.peak_percent:.2f}%",
        "used_memory_overhead": memory.overhead,
        "used_memory_startup": memory.startup,
        "used_memory_dataset": memory.dataset,
        "used_memory_dataset_perc": f"{memory.dataset_percent:.2f}%",
        "allocator_allocated": memory.allocated,
        "allocator_active": memory.held,
        "allocator_resident": memory.resident,
        "total_system_memory": memory.total,
        "total_system_memory_human": human(memory.total),
    }
    limits: dict[str, object] = {
        "maxmemory": maxmemory,
        "maxmemory_human": human(maxmemory),
        "maxmemory_policy": config["maxmemory-policy"],
    }
    fragmentation: dict[str, object] = {
        "allocator_frag_ratio": f"{memory.held / max(1, memory.allocated):.2f}",
        "allocator_frag_bytes": memory.held - memory.allocated,
        "allocator_rss_ratio": f"{memory.resident / max(1, memory.held):.2f}",
        "allocator_rss_bytes": memory.resident - memory.held,
        "rss_overhead_ratio": "1.00",
        "rss_overhead_bytes": 0,
        "mem_fragmentation_ratio": f"{memory.fragmentation:.2f}",
        "mem_fragmentation_bytes": memory.resident - memory.allocated,
    }
    buffers: dict[str, object] = {
        "mem_not_counted_for_evict": uncounted,
        "mem_replication_backlog": overhead.backlog,
        "mem_total_replication_buffers": overhead.backlog + overhead.replicas,
        "mem_clients_slaves": overhead.replicas,
        "mem_clients_normal": overhead.clients,
        "mem_cluster_links": overhead.links,
        "mem_aof_buffer": overhead.file,
        "mem_allocator": "libc",
        "active_defrag_running": 0,
        "lazyfree_pending_objects": server.background.reclaimer.pending,
        "lazyfreed_objects": server.background.reclaimer.freed,
    }
    return {**sized, **_script_fields(server), **limits, **fragmentation, **buffers}


def _script_fields(server: Server) -> Fields:
    scripts = server.scripts
    vm_bytes, text_bytes = scripts.used_bytes, scripts.cache.size_bytes
    functions = server.functions
    function_vm_bytes, function_bytes = functions.engine_bytes, functions.size_bytes
    return {
        "used_memory_lua": vm_bytes,
        "used_memory_vm_eval": vm_bytes,
        "used_memory_lua_human": human(vm_bytes),
        "used_memory_scripts_eval": text_bytes,
        "number_of_cached_scripts": len(scripts.cache),
        "number_of_functions": len(functions),
        "number_of_libraries": len(functions.libraries),
        "used_memory_vm_functions": function_vm_bytes,
        "used_memory_vm_total": vm_bytes + function_vm_bytes,
        "used_memory_vm_total_human": human(vm_bytes + function_vm_bytes),
        "used_memory_functions": function_bytes,
        "used_memory_scripts": text_bytes + function_bytes,
        "used_memory_scripts_human": human(text_bytes + function_bytes),
    }


def persistence_fields(server: Server) -> Fields:
    loading = server.loading or server.loading_beside
    progress = {} if loading is None else loading.info(server.keyspace.now_ms // 1000)
    return {**server.saver.info(), **server.aof.info(), **progress}


def _denial_fields(server: Server) -> Fields:
    counts = server.access.log.counts
    return {
        "acl_access_denied_auth": counts["auth"],
        "acl_access_denied_cmd": counts["command"],
        "acl_access_denied_key": counts["key"],
        "acl_access_denied_channel": counts["channel"],
    }


def stats_fields(server: Server) -> Fields:
    stats, keyspace, reactor = server.stats, server.keyspace, server.reactor
    counts = server.counts()
    exceeded_ms, exceeded_now_ms = server.eviction.exceeded_ms()
    moved, seconds = server.rates.moved(server.platform.now_ms(), counts)

    def kilobytes(count: int) -> str:
        return f"{count / seconds / 1024:.2f}"

    traffic: dict[str, object] = {
        "total_connections_received": stats.connections_received,
        "total_commands_processed": counts.commands,
        "instantaneous_ops_per_sec": int(moved.commands / seconds),
        "total_net_input_bytes": counts.input_bytes,
        "total_net_output_bytes": counts.output_bytes,
        "total_net_repl_input_bytes": counts.stream_input_bytes,
        "total_net_repl_output_bytes": counts.stream_output_bytes,
        "instantaneous_input_kbps": kilobytes(moved.input_bytes),
        "instantaneous_output_kbps": kilobytes(moved.output_bytes),
        "instantaneous_input_repl_kbps": kilobytes(moved.stream_input_bytes),
        "instantaneous_output_repl_kbps": kilobytes(moved.stream_output_bytes),
        "rejected_connections": stats.connections_rejected,
        "sync_full": stats.sync_full,
        "sync_partial_ok": stats.sync_partial_ok,
        "sync_partial_err": stats.sync_partial_failed,
    }
    keys: dict[str, object] = {
        "expired_keys": keyspace.expired_keys,
        **_expiry_fields(server),
        "evicted_keys": keyspace.evicted_keys,
        "evicted_clients": stats.evicted_clients,
        "total_eviction_exceeded_time": exceeded_ms,
        "current_eviction_exceeded_time": exceeded_now_ms,
        "keyspace_hits": sum(db.hits for db in keyspace.databases),
        "keyspace_misses": sum(db.misses for db in keyspace.databases),
        "pubsub_channels": len(server.pubsub.channels),
        "pubsub_patterns": len(server.pubsub.patterns),
        "pubsubshard_channels": len(server.pubsub.shard_channels),
        "latest_fork_usec": 0,
        "total_forks": 0,
        "migrate_cached_sockets": server.migration.cached_sockets,
        "slave_expires_tracked_keys": 0,
    }
    work: dict[str, object] = {
        "unexpected_error_replies": stats.unexpected_error_replies,
        "total_error_replies": stats.error_replies,
        "dump_payload_sanitizations": 0,
        "total_reads_processed": reactor.reads,
        "total_writes_processed": reactor.writes,
        "io_threaded_reads_processed": 0,
        "io_threaded_writes_processed": 0,
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
        "eventloop_cycles": reactor.turns,
        "eventloop_duration_sum": reactor.busy_ns // 1000,
        "eventloop_duration_cmd_sum": _commands_ns(server) // 1000,
        "instantaneous_eventloop_cycles_per_sec": int(moved.turns / seconds),
        "instantaneous_eventloop_duration_usec": moved.busy_ns // 1000 // max(1, moved.turns),
        **_denial_fields(server),
    }
    return {**traffic, **keys, **NO_DEFRAGMENTATION, **_tracking_fields(server), **work}


NO_DEFRAGMENTATION: Fields = {
    "active_defrag_hits": 0,
    "active_defrag_misses": 0,
    "active_defrag_key_hits": 0,
    "active_defrag_key_misses": 0,
    "total_active_defrag_time": 0,
    "current_active_defrag_time": 0,
}


def _tracking_fields(server: Server) -> Fields:
    figures = server.tracking.figures()
    return {
        "tracking_total_keys": figures.keys,
        "tracking_total_items": figures.items,
        "tracking_total_prefixes": figures.prefixes,
    }


def _expiry_fields(server: Server) -> Fields:
    expiry = server.background.expiry
    return {
        "expired_stale_perc": f"{expiry.stale_percent:.2f}",
        "expired_time_cap_reached_count": expiry.time_cap_reached,
        "expire_cycle_cpu_milliseconds": expiry.spent_ns // 1_000_000,
    }


def _commands_ns(server: Server) -> int:
    return sum(command.time_ns for command in server.commands.every())


def replication_fields(server: Server) -> Fields:
    return server.replication.info()


def cpu_fields(server: Server) -> Fields:
    user, system = server.platform.cpu_times()
    main_user, main_system = server.platform.thread_cpu_times()
    return {
        "used_cpu_sys": f"{system:.6f}",
        "used_cpu_user": f"{user:.6f}",
        "used_cpu_sys_children": "0.000000",
        "used_cpu_user_children": "0.000000",
        "used_cpu_sys_main_thread": f"{main_system:.6f}",
        "used_cpu_user_main_thread": f"{main_user:.6f}",
    }


def no_fields(server: Server) -> Fields:
    return {}


def commandstats_fields(server: Server) -> Fields:
    return {
        f"cmdstat_{command.full_name}": f"calls={command.calls},usec={command.time_ns // 1000},"
        f"usec_per_call={command.time_ns / 1000 / max(1, command.calls):.2f},"
        f"rejected_calls={command.rejected},failed_calls={command.failed}"
        for command in server.commands.every()
        if command.calls or command.rejected or command.failed
    }


def latencystats_fields(server: Server) -> Fields:
    percents = server.config["latency-tracking-info-percentiles"]
    return {
        f"latency_percentiles_usec_{command.full_name}": ",".join(
            f"p{percent:.6f}".rstrip("0").rstrip(".") + f"={percentile_ns(command.latencies, percent) / 1000:.3f}"
            for percent in percents
        )
        for command in server.commands.every()
        if command.latencies
    }


def errorstats_fields(server: Server) -> Fields:
    return {f"errorstat_{code}": f"count={count}" for code, count in sorted(server.stats.errors.items())}


def cluster_fields(server: Server) -> Fields:
    return {"cluster_enabled": int(server.cluster is not None)}


def keyspace_fields(server: Server) -> Fields:
    return {
        f"db{db.index}": f"keys={db.size},expires={db.deadline_count},avg_ttl={_average_ttl_ms(server, db.index)}"
        for db in server.keyspace.databases
        if db.size
    }


def _average_ttl_ms(server: Server, index: int) -> int:
    """The mean time to live of some keys that have a deadline; 0 if none has."""
    db, now_ms = server.keyspace.databases[index], server.keyspace.now_ms
    left: list[int] = []
    number = db.expiring.find(1)
    while number >= 0 and len(left) < TTL_SAMPLE:
        slot = db.slots[number]
        assert slot is not None
        deadlines = islice(slot.deadlines.values(), TTL_SAMPLE - len(left))
        left += [max(0, deadline - now_ms) for deadline in deadlines]
        number = db.expiring.find(1, number + 1)
    return sum(left) // len(left) if left else 0


def debug_fields(server: Server) -> Fields:
    return {
        "eventloop_duration_aof_sum": 0,
        "eventloop_duration_cron_sum": 0,
        "eventloop_duration_max": 0,
        "eventloop_cmd_per_cycle_max": 0,
    }


Sections: TypeAlias = Mapping[str, tuple[str, Callable[[Server], Fields]]]

SECTIONS: Sections = {
    "server": ("Server", server_fields),
    "clients": ("Clients", clients_fields),
    "memory": ("Memory", memory_fields),
    "persistence": ("Persistence", persistence_fields),
    "stats": ("Stats", stats_fields),
    "replication": ("Replication", replication_fields),
    "cpu": ("CPU", cpu_fields),
    "modules": ("Modules", no_fields),
    "commandstats": ("Commandstats", commandstats_fields),
    "errorstats": ("Errorstats", errorstats_fields),
    "latencystats": ("Latencystats", latencystats_fields),
    "cluster": ("Cluster", cluster_fields),
    "keyspace": ("Keyspace", keyspace_fields),
    "debug": ("Debug", debug_fields),
}
DEFAULT = frozenset(SECTIONS) - {"commandstats", "latencystats", "debug"}
