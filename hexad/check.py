"""`hexad check`: what files of data hold, how far they are good, and a damaged tail cut off after asking."""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import IO, Any

from node.persistence.inspection import AofInspection, Findings, inspection_of
from node.platform import Platform

READ_BYTES = 1 << 20
PROGRESS_BYTES = 64 << 20
"""A file longer than this tells how far it is, and again after so many bytes."""
GOOD, DAMAGED, UNUSABLE = 0, 1, 2

DESCRIPTION = """\
Look at RDB files and append-only files, at all that is in them: versions, counts, the biggest keys,
the first error and how far the data is good. Nothing is changed, unless --fix is given and agreed to.
"""

EPILOG = """\
A manifest (appendonly.aof.manifest) stands for the files that it names.

examples:
  hexad check dump.rdb
  hexad check --json hexad-data/*/dump.rdb
  hexad check --fix appendonlydir/appendonly.aof.manifest     cut a torn tail off

exit codes: 0 all good; 1 a file is damaged; 2 wrong use, or a file cannot be read.
"""


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run `hexad check`; the exit code."""
    platform = platform or Platform()
    try:
        wanted = parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    results, code = [], GOOD
    for path in wanted.files:
        for each in _files_of(platform, path):
            try:
                findings = inspect(platform, each)
            except OSError as error:
                platform.write_error(f"hexad check: {each}: {error.strerror or error}\n")
                code = UNUSABLE
                continue
            results.append(as_json(each, findings))
            if not wanted.json:
                platform.write_out("\n".join(lines_of(each, findings)) + "\n")
            if findings.error is not None and not (wanted.fix and _fix(platform, each, findings)):
                code = max(code, DAMAGED)
    if wanted.json:
        platform.write_out(json.dumps(results, indent=2) + "\n")
    return code


def parser() -> argparse.ArgumentParser:
    """The options of `hexad check`."""
    made = argparse.ArgumentParser(
        prog="hexad check",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("files", nargs="+", metavar="FILE", help="an RDB file, an append-only file, or a manifest")
    made.add_argument("--json", action="store_true", help="tell it as JSON, a list with an object for each file")
    made.add_argument("--fix", action="store_true", help="offer to cut an append-only file where it is good no more")
    return made


def _files_of(platform: Platform, path: str) -> list[str]:
    """What a name stands for: a manifest for its files, anything else for itself."""
    if not path.endswith(".manifest"):
        return [path]
    try:
        lines = platform.read_file(path).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return [path]  # whoever opens it hears why that fails
    directory = path.rpartition("/")[0] or "."
    found = []
    for words in (line.split() for line in lines if not line.startswith("#")):
        pairs = dict(zip(words[::2], words[1::2], strict=False))
        if pairs.get("type") in ("b", "i") and "file" in pairs:
            found.append(platform.join_path(directory, pairs["file"].strip('"')))
    return found or [path]


# --- looking ----------------------------------------------------------------------------------------------------------


def inspect(platform: Platform, path: str) -> Findings:
    """Look at a whole file. Raises OSError."""
    size = platform.file_size(path)
    with platform.open_read(path) as file:
        data = file.read(READ_BYTES)
        is_begun = not data and path.endswith(".aof")  # as every increment begins
        inspection = AofInspection(Findings()) if is_begun else inspection_of(data)
        if inspection is None:
            findings = Findings(size_bytes=size)
            findings.fail(0, "This is no RDB file and no append-only file" if data else "The file is empty")
            return findings
        _feed(inspection.feed, data, file, _progress(platform, path, size))
        inspection.finish()
    inspection.findings.size_bytes = size
    return inspection.findings


def _feed(feed: Callable[[bytes], bool], data: bytes, file: IO[bytes], progress: Callable[[int], None]) -> None:
    done = 0
    while data and feed(data):
        done += len(data)
        progress(done)
        data = file.read(READ_BYTES)


def _progress(platform: Platform, path: str, size: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if done % PROGRESS_BYTES < READ_BYTES and size > PROGRESS_BYTES:
            platform.write_error(f"{path}: {100 * done // size} %\n")

    return tell


# --- telling ----------------------------------------------------------------------------------------------------------


def text_of(key: bytes) -> str:
    """A key as people can read it."""
    return key.decode("utf-8", "backslashreplace")


def lines_of(path: str, found: Findings) -> list[str]:
    """What is said about a file."""
    version = "" if found.version is None else f" of version {found.version}"
    lines = [f"{path}: {found.kind}{version}, {found.size_bytes} bytes"]
    if found.aux:
        told = ", ".join(f"{text_of(name)} {text_of(value)}" for name, value in sorted(found.aux.items()))
        lines.append(f"  written with  {told}")
    if found.kind != "AOF":
        types = ", ".join(f"{name} {count}" for name, count in found.types.most_common())
        lines.append(f"  keys          {found.keys}, {found.expiring} of them expire{': ' if types else ''}{types}")
        lines += [f"  database {db:<5}{keys} keys" for db, keys in sorted(found.databases.items())]
        ranges = ", ".join(f"{first}-{last} {keys}" for first, last, keys in found.slot_ranges())
        lines.append(f"  slots         {len(found.slots)} in use{': ' if ranges else ''}{ranges}")
        lines += [f"  functions     {found.functions} libraries"] if found.functions else []
        big = [f"{size:>12} bytes  {name}  {text_of(key)}" for size, key, name, _ in found.biggest]
        lines += ["  biggest keys", *big] if big else []
    if found.commands:
        told = ", ".join(f"{name} {count}" for name, count in found.commands.most_common(10))
        lines.append(f"  commands      {found.commands.total()}: {told}")
    lines += _verdict(found)
    return lines


def _verdict(found: Findings) -> list[str]:
    if found.error is None:
        checked = {True: " Its checksum is right.", False: " It carries no checksum.", None: ""}[found.checksum]
        return [f"  all of it is good.{checked}"]
    lines = [
        f"  DAMAGED at offset {found.error_offset}: {found.error}",
        f"  the first {found.good_bytes} of {found.size_bytes} bytes are good",
    ]
    if found.commands or found.kind == "AOF":
        lines.append("  next: `hexad check --fix` cuts it there; what follows is lost")
    else:
        lines.append("  next: put a backup, or the file of a replica, in its place")
    return lines


def as_json(path: str, found: Findings) -> dict[str, Any]:
    """The same for programs."""
    return {
        "file": path,
        "kind": found.kind,
        "version": found.version,
        "size_bytes": found.size_bytes,
        "good_bytes": found.good_bytes,
        "good": found.error is None,
        "error": found.error,
        "error_offset": found.error_offset,
        "checksum": found.checksum,
        "aux": {text_of(name): text_of(value) for name, value in found.aux.items()},
        "keys": found.keys,
        "expiring": found.expiring,
        "types": dict(found.types),
        "databases": {str(db): keys for db, keys in sorted(found.databases.items())},
        "slots_in_use": len(found.slots),
        "slot_ranges": [{"first": first, "last": last, "keys": keys} for first, last, keys in found.slot_ranges()],
        "functions": found.functions,
        "biggest": [
            {"key": text_of(key), "type": name, "database": db, "bytes": size} for size, key, name, db in found.biggest
        ],
        "commands": dict(found.commands),
    }


# --- mending ----------------------------------------------------------------------------------------------------------


def _fix(platform: Platform, path: str, found: Findings) -> bool:
    """Cut an append-only file where it is good no more, if that is agreed to."""
    if found.kind == "RDB" or found.kind == "unknown" or not (found.commands or found.kind == "AOF"):
        platform.write_error(f"hexad check: {path}: only the commands of an append-only file can be cut\n")
        return False
    lost = found.size_bytes - found.good_bytes
    platform.write_out(f"Cut {path} from {found.size_bytes} to {found.good_bytes} bytes? {lost} are lost. [y/N] ")
    if platform.read_line().strip().lower() not in ("y", "yes"):
        platform.write_out("Nothing was changed.\n")
        return False
    try:
        platform.cut_file(path, found.good_bytes)
    except OSError as error:
        platform.write_error(f"hexad check: {path}: {error.strerror or error}\n")
        return False
    platform.write_out(f"{path} has {found.good_bytes} bytes now: all of them good.\n")
    return True
