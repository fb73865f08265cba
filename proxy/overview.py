"""INFO about the data: what the primaries say of their memory, files and keys, told as one Redis would.

What clients do (connections, commands, traffic, CPU) the proxy tells of itself. Here numbers of bytes, keys and events
add up; of the others that one is told which an operator has to know.
"""

from collections.abc import Iterable, Mapping, Sequence

from node.commands.info import Fields
from node.memory import human

Section = Mapping[str, str]
Report = Mapping[str, Section]
"""One node's INFO: its sections by their names in lower case."""

KEY_EVENTS = ("expired_keys", "evicted_keys", "keyspace_hits", "keyspace_misses")
"""Of the section "stats": what happened to keys."""
SHARES = {
    "used_memory_peak_perc": ("used_memory", "used_memory_peak"),
    "used_memory_dataset_perc": ("used_memory_dataset", "used_memory"),
    "allocator_frag_ratio": ("allocator_active", "allocator_allocated"),
    "allocator_rss_ratio": ("allocator_resident", "allocator_active"),
    "rss_overhead_ratio": ("used_memory_rss", "allocator_resident"),
    "mem_fragmentation_ratio": ("used_memory_rss", "used_memory"),
}
ADDED = ("rdb_changes_since_last_save", "rdb_saves", "aof_rewrites")
ADDED_ENDINGS = ("_size", "_keys_expired", "_keys_loaded", "_keys_processed", "_keys_total", "_bytes")
"""Numbers of the section "persistence" that add up, by their names or ends."""
LEAST = ("rdb_last_save_time", "aof_enabled")
"""Numbers of which the least is told: when all had saved, whether all have a file. Of the rest the highest is."""


def parse(text: bytes) -> Report:
    """A node's INFO."""
    report: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if line.startswith("# "):
            section = report.setdefault(line[2:].strip().lower(), {})
        elif colon:
            section[name] = value
    return report


def memory(reports: Sequence[Report]) -> Fields:
    """The section "memory" of all; `maxmemory` is 0, no limit, where one node has none."""
    fields: dict[str, object] = {}
    numbers: dict[str, int] = {}
    for name, values in _common(reports, "memory"):
        fields[name] = values[0]
        if (found := _integers(values)) is not None:
            fields[name] = numbers[name] = 0 if name == "maxmemory" and 0 in found else sum(found)
    for name in fields:
        if name in SHARES:
            part, whole = (numbers.get(word, 0) for word in SHARES[name])
            share = part / max(1, whole)
            fields[name] = f"{100 * share:.2f}%" if name.endswith("_perc") else f"{share:.2f}"
        elif name.endswith("_human"):
            fields[name] = human(numbers.get(name.removesuffix("_human"), 0))
    return fields


def persistence(reports: Sequence[Report]) -> Fields:
    """The section "persistence" of all; a status is "ok" where it is so everywhere."""
    fields: dict[str, object] = {}
    for name, values in _common(reports, "persistence"):
        numbers = _integers(values)
        if numbers is None:
            fields[name] = next((value for value in values if value != "ok"), "ok")
        elif name in ADDED or name.endswith(ADDED_ENDINGS):
            fields[name] = sum(numbers)
        else:
            fields[name] = min(numbers) if name in LEAST else max(numbers)
    return fields


def key_events(reports: Sequence[Report]) -> Fields:
    """Fields of the section "stats": what happened to the keys of all nodes."""
    return {name: sum(map(int, values)) for name, values in _common(reports, "stats") if name in KEY_EVENTS}


def replicas(reports: Sequence[Report]) -> Fields:
    """A field of the section "replication": the fewest replicas that a primary has, as WAIT counts them."""
    return {
        name: min(map(int, values)) for name, values in _common(reports, "replication") if name == "connected_slaves"
    }


def keyspace(reports: Sequence[Report]) -> Fields:
    """The section "keyspace": the databases' keys of all nodes; `avg_ttl` is the longest."""
    databases: dict[str, dict[str, int]] = {}
    for report in reports:
        for name, figures in report.get("keyspace", {}).items():
            fields = databases.setdefault(name, {"keys": 0, "expires": 0, "avg_ttl": 0})
            for word in figures.split(","):
                field, _, value = word.partition("=")
                if field in fields and value.isdigit():
                    fields[field] = max(fields[field], int(value)) if field == "avg_ttl" else fields[field] + int(value)
    return {
        name: ",".join(f"{field}={value}" for field, value in fields.items())
        for name, fields in sorted(databases.items(), key=lambda item: int(item[0].removeprefix("db")))
    }


def _common(reports: Sequence[Report], section: str) -> Iterable[tuple[str, list[str]]]:
    """The fields that every node's section has, with its values: nodes of several versions may stand together."""
    first, *others = (report.get(section, {}) for report in reports)
    for name, value in first.items():
        if all(name in other for other in others):
            yield name, [value, *(other[name] for other in others)]


def _integers(values: Sequence[str]) -> list[int] | None:
    try:
        return [int(value) for value in values]
    except ValueError:
        return None
