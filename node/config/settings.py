"""The typed values of a configuration, one attribute a directive: `repl-timeout` is `repl_timeout`.

Units are those of the directive in redis.conf, sizes in bytes.  An unset string is the empty one.  A negative
`maxmemory_clients` is a share of `maxmemory` in percent.  `save` holds (seconds, changes).
"""

from node.config.networks import AnnouncedNetwork
from node.config.values import OutputLimits


class Settings:
    """Declared for the type checker; `Config` fills them from the table."""

    acl_pubsub_default: str
    aclfile: str
    acllog_max_len: int
    active_defrag_cycle_max: int
    active_defrag_cycle_min: int
    active_defrag_ignore_bytes: int
    active_defrag_max_scan_fields: int
    active_defrag_threshold_lower: int
    active_defrag_threshold_upper: int
    active_expire_effort: int
    activedefrag: bool
    activerehashing: bool
    always_show_logo: bool
    aof_disable_auto_gc: bool
    aof_load_truncated: bool
    aof_rewrite_incremental_fsync: bool
    aof_timestamp_enabled: bool
    aof_use_rdb_preamble: bool
    aof_rewrite_cpulist: str
    appenddirname: str
    appendfilename: str
    appendfsync: str
    appendonly: bool
    auto_aof_rewrite_min_size: int
    auto_aof_rewrite_percentage: int
    bgsave_cpulist: str
    bind: tuple[str, ...]
    bind_source_addr: str
    bio_cpulist: str
    busy_reply_threshold: int
    client_output_buffer_limit: OutputLimits
    client_query_buffer_limit: int
    cluster_allow_pubsubshard_when_down: bool
    cluster_allow_reads_when_down: bool
    cluster_allow_replica_migration: bool
    cluster_announce_bus_port: int
    cluster_announce_hostname: str
    cluster_announce_human_nodename: str
    cluster_announce_ip: str
    cluster_announce_network: tuple[AnnouncedNetwork, ...]
    cluster_announce_port: int
    cluster_announce_tls_port: int
    cluster_config_file: str
    cluster_enabled: bool
    cluster_hand_over_when_behind: bool
    cluster_link_sendbuf_limit: int
    cluster_migration_barrier: int
    cluster_node_timeout: int
    cluster_ping_interval: int
    cluster_port: int
    cluster_preferred_endpoint_type: str
    cluster_replica_no_failover: bool
    cluster_replica_validity_factor: int
    cluster_replica_votes: bool
    cluster_require_full_coverage: bool
    cluster_seeds: tuple[str, ...]
    cluster_slot_stats_enabled: bool
    crash_log_enabled: bool
    crash_memcheck_enabled: bool
    daemonize: bool
    databases: int
    dbfilename: str
    dir: str
    disable_thp: bool
    dynamic_hz: bool
    enable_debug_command: str
    enable_module_command: str
    enable_protected_configs: str
    hash_max_listpack_entries: int
    hash_max_listpack_value: int
    hll_sparse_max_bytes: int
    hz: int
    ignore_warnings: str
    io_threads: int
    io_threads_do_reads: bool
    jemalloc_bg_thread: bool
    key_load_delay: int
    latency_monitor_threshold: int
    latency_tracking: bool
    latency_tracking_info_percentiles: tuple[float, ...]
    lazyfree_lazy_eviction: bool
    lazyfree_lazy_expire: bool
    lazyfree_lazy_server_del: bool
    lazyfree_lazy_user_del: bool
    lazyfree_lazy_user_flush: bool
    lfu_decay_time: int
    lfu_log_factor: int
    list_compress_depth: int
    list_max_listpack_size: int
    loading_process_events_interval_bytes: int
    locale_collate: str
    logfile: str
    loglevel: str
    masterauth: str
    masteruser: str
    maxclients: int
    maxmemory: int
    maxmemory_clients: int
    maxmemory_eviction_tenacity: int
    maxmemory_policy: str
    maxmemory_samples: int
    min_replicas_max_lag: int
    min_replicas_to_write: int
    no_appendfsync_on_rewrite: bool
    notify_keyspace_events: str
    oom_score_adj: str
    oom_score_adj_values: tuple[int, int, int]
    pidfile: str
    port: int
    proc_title_template: str
    propagation_error_behavior: str
    protected_mode: bool
    proto_max_bulk_len: int
    rdb_del_sync_files: bool
    rdb_key_save_delay: int
    rdb_save_incremental_fsync: bool
    rdbchecksum: bool
    rdbcompression: bool
    repl_backlog_size: int
    repl_backlog_ttl: int
    repl_disable_tcp_nodelay: bool
    repl_diskless_load: str
    repl_diskless_sync: bool
    repl_diskless_sync_delay: int
    repl_diskless_sync_max_replicas: int
    repl_ping_replica_period: int
    repl_timeout: int
    replica_announce_ip: str
    replica_announce_port: int
    replica_announced: bool
    replica_ignore_disk_write_errors: bool
    replica_ignore_maxmemory: bool
    replica_lazy_flush: bool
    replica_priority: int
    replica_read_only: bool
    replica_serve_stale_data: bool
    replicaof: tuple[str, int] | None
    requirepass: str
    sanitize_dump_payload: str
    save: tuple[tuple[int, int], ...]
    server_cpulist: str
    set_max_intset_entries: int
    set_max_listpack_entries: int
    set_max_listpack_value: int
    set_proc_title: bool
    shutdown_on_sigint: tuple[str, ...]
    shutdown_on_sigterm: tuple[str, ...]
    shutdown_timeout: int
    slowlog_log_slower_than: int
    slowlog_max_len: int
    socket_mark_id: int
    stop_writes_on_bgsave_error: bool
    stream_node_max_bytes: int
    stream_node_max_entries: int
    supervised: str
    syslog_enabled: bool
    syslog_facility: str
    syslog_ident: str
    tcp_backlog: int
    tcp_keepalive: int
    timeout: int
    tls_auth_clients: str
    tls_ca_cert_dir: str
    tls_ca_cert_file: str
    tls_cert_file: str
    tls_ciphers: str
    tls_ciphersuites: str
    tls_client_cert_file: str
    tls_client_key_file: str
    tls_client_key_file_pass: str
    tls_cluster: bool
    tls_dh_params_file: str
    tls_key_file: str
    tls_key_file_pass: str
    tls_port: int
    tls_prefer_server_ciphers: bool
    tls_protocols: str
    tls_replication: bool
    tls_session_cache_size: int
    tls_session_cache_timeout: int
    tls_session_caching: bool
    tracking_table_max_keys: int
    unixsocket: str
    unixsocketperm: int
    use_exit_on_panic: bool
    watchdog_period: int
    zset_max_listpack_entries: int
    zset_max_listpack_value: int
