"""What Hexad does not do with a directive, so that nothing is ignored in silence.

BEYOND_PYTHON: Python's `ssl` has no call for it, so anything but the default is refused, at the start and by CONFIG
SET.
WITHOUT_MEANING: accepted and shown, but there is nothing here that it could steer.
"""

from node.config.directives import DIRECTIVES

_SESSION_CACHE = "Python's ssl has no call that changes OpenSSL's session cache"

BEYOND_PYTHON = {
    "tls-ciphersuites": "Python's ssl has no call that chooses the cipher suites of TLS 1.3",
    "tls-session-cache-size": _SESSION_CACHE,
    "tls-session-cache-timeout": _SESSION_CACHE,
    "tls-session-caching": _SESSION_CACHE,
}

REFUSED = tuple(BEYOND_PYTHON)
"""Directives of which only the default is taken."""

MODULES_REFUSED = "Hexad loads no modules: they are written for another program's memory"

_NO_THREADS = "one loop serves all clients"
_NO_FORK = "nothing is forked, and the process is not bound to processors"
_PYTHON_MEMORY = "memory is Python's, not jemalloc's"

WITHOUT_MEANING = {
    "active-defrag-cycle-max": _PYTHON_MEMORY,
    "active-defrag-cycle-min": _PYTHON_MEMORY,
    "active-defrag-ignore-bytes": _PYTHON_MEMORY,
    "active-defrag-max-scan-fields": _PYTHON_MEMORY,
    "active-defrag-threshold-lower": _PYTHON_MEMORY,
    "active-defrag-threshold-upper": _PYTHON_MEMORY,
    "activedefrag": f"{_PYTHON_MEMORY}: `yes` is refused as by a Redis without it",
    "activerehashing": "dictionaries are Python's and grow by themselves",
    "aof_rewrite_cpulist": _NO_FORK,
    "bgsave_cpulist": _NO_FORK,
    "bio_cpulist": _NO_FORK,
    "crash-memcheck-enabled": "memory is not tested after a crash",
    "disable-thp": "huge pages hurt a process that forks, and this one does not",
    "dynamic-hz": "nothing is done at a fixed rate that would have to follow the number of clients",
    "ignore-warnings": "the warnings that it silences are never given",
    "io-threads": _NO_THREADS,
    "io-threads-do-reads": _NO_THREADS,
    "jemalloc-bg-thread": _PYTHON_MEMORY,
    "lazyfree-lazy-user-del": "DEL frees what is big in slices, as UNLINK does",
    "lazyfree-lazy-user-flush": "what FLUSHALL and FLUSHDB remove is always freed in slices",
    "list-compress-depth": "lists are kept as they are, none of their nodes is compressed",
    "locale-collate": "texts are ordered by their bytes, as in the C locale",
    "proc-title-template": "the process keeps its command line",
    "propagation-error-behavior": "a command of the primary that fails here is logged, and the replica goes on",
    "repl-disable-tcp-nodelay": "what replicas are sent leaves at once",
    "replica-lazy-flush": "what a full sync replaces is always freed in slices",
    "sanitize-dump-payload": "every payload is checked in full",
    "server_cpulist": _NO_FORK,
    "set-proc-title": "the process keeps its command line",
    "socket-mark-id": "sockets are not marked for a firewall",
    "use-exit-on-panic": "there is no panic to end the process",
}


def refusal(name: str) -> str:
    """Why the directive of that name cannot have what it asks for."""
    only = f"only its default '{DIRECTIVES[name].default}' is taken"
    return f"'{name}' cannot be changed: {BEYOND_PYTHON[name]}: {only}"
