"""The manifest of an append-only file: which files make up the data set, in which order.

A line a file: `file NAME seq N type T`, pairs in any order, unknown ones ignored; T is b (base), i (increment) or h
(history: no longer needed, to be removed). At most one base; the numbers of the increments rise. A `#` begins a
comment.
Pure: a change makes a new manifest, so that one that could not be written is simply not taken.
"""

from typing import NamedTuple

from node.config.words import quote
from node.net.resp import split_words

LINE_BYTES_MAX = 1024
BASE, HISTORY, INCREMENT = "b", "h", "i"


class ManifestError(Exception):
    """A manifest that cannot be read: what is wrong, in which line (from 1) and how that goes."""

    def __init__(self, reason: str, line: int, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.text = text

    def __str__(self) -> str:
        return f"Reading the manifest file, at line {self.line}\n>>> '{self.text}'\n{self.reason}"


class AofFile(NamedTuple):
    """One file: its name within the directory, its number, and what it is."""

    name: str
    seq: int
    kind: str


class Manifest(NamedTuple):
    """The files of one append-only file. `name` is `appendfilename`, which all new names begin with."""

    name: str
    base: AofFile | None = None
    increments: tuple[AofFile, ...] = ()
    history: tuple[AofFile, ...] = ()
    base_seq: int = 0
    increment_seq: int = 0

    @property
    def file_name(self) -> str:
        """Of the manifest itself."""
        return f"{self.name}.manifest"

    @property
    def temporary_increment(self) -> str:
        """What is written to while the first base of an append-only file that was turned on is still being made."""
        return f"temp-{self.name}.incr"

    @property
    def files(self) -> tuple[AofFile, ...]:
        """What is to be loaded, in order."""
        return ((self.base,) if self.base is not None else ()) + self.increments

    def with_increment(self) -> "Manifest":
        """One more increment, empty: the one that is written from now on."""
        seq = self.increment_seq + 1
        new = AofFile(f"{self.name}.{seq}.incr.aof", seq, INCREMENT)
        return self._replace(increments=(*self.increments, new), increment_seq=seq)

    def with_base(self, *, is_rdb: bool, keep: int) -> "Manifest":
        """A new base that holds what the old one and all but the last `keep` increments did."""
        seq = self.base_seq + 1
        base = AofFile(f"{self.name}.{seq}.base.{'rdb' if is_rdb else 'aof'}", seq, BASE)
        kept = self.increments[len(self.increments) - keep :]
        gone = self.increments[: len(self.increments) - keep]
        old = (self.base,) if self.base is not None else ()
        history = tuple(file._replace(kind=HISTORY) for file in (*gone, *old))
        return self._replace(base=base, increments=kept, history=(*history, *self.history), base_seq=seq)

    def without_history(self) -> "Manifest":
        return self._replace(history=())

    def to_bytes(self) -> bytes:
        """The text of the manifest file."""
        base = (self.base,) if self.base is not None else ()
        lines = (
            f"file {_shown(file.name)} seq {file.seq} type {file.kind}\n"
            for file in (*base, *self.history, *self.increments)
        )
        return "".join(lines).encode("utf-8", "surrogateescape")


def upgraded(name: str) -> Manifest:
    """The manifest of a single file as Redis wrote it before 7.0, which becomes the base under its own name."""
    return Manifest(name, AofFile(name, 1, BASE), base_seq=1)


def parse(name: str, data: bytes) -> Manifest:
    """Read a manifest. Raises ManifestError."""
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ManifestError("Found an empty AOF manifest", 0)
    manifest = Manifest(name)
    for number, line in enumerate(lines, 1):
        if line.startswith(b"#"):
            continue
        text = line.decode("utf-8", "surrogateescape")
        try:
            manifest = _with_line(manifest, line)
        except ValueError as error:
            raise ManifestError(str(error), number, text[:LINE_BYTES_MAX]) from None
    return manifest


def _with_line(manifest: Manifest, line: bytes) -> Manifest:
    file = _parse_line(line)
    if file.kind == BASE:
        if manifest.base is not None:
            raise ValueError("Found duplicate base file information")
        return manifest._replace(base=file, base_seq=file.seq)
    if file.kind == HISTORY:
        return manifest._replace(history=(*manifest.history, file))
    if file.seq <= manifest.increment_seq:
        raise ValueError("Found a non-monotonic sequence number")
    return manifest._replace(increments=(*manifest.increments, file), increment_seq=file.seq)


def _parse_line(line: bytes) -> AofFile:
    """One line as a file. Raises ValueError with Redis's words."""
    if len(line) >= LINE_BYTES_MAX:
        raise ValueError("The AOF manifest file contains too long line")
    words = split_words(line.strip(b" \t\r\n"))
    if words is None or len(words) < 6 or len(words) % 2:
        raise ValueError("Invalid AOF manifest file format")
    name, seq, kind = "", 0, ""
    for key, value in zip(words[::2], words[1::2], strict=True):
        if key.lower() == b"file":
            name = value.decode("utf-8", "surrogateescape")
        elif key.lower() == b"seq":
            seq = int(value) if value.isdigit() and len(value) < 19 else 0
        elif key.lower() == b"type":
            kind = value.decode("latin-1")
    if "/" in name or "\\" in name:
        raise ValueError("File can't be a path, just a filename")
    if not name or not seq or not kind:
        raise ValueError("Invalid AOF manifest file format")
    if kind not in (BASE, HISTORY, INCREMENT):
        raise ValueError("Unknown AOF file type")
    return AofFile(name, seq, kind)


def _shown(name: str) -> str:
    """A name as it stands in a line: quoted where it would not be one word."""
    data = name.encode("utf-8", "surrogateescape")
    if data and all(0x21 <= byte < 0x7F and byte not in b"\\\"'" for byte in data):
        return name
    return quote(name)
