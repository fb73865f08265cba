"""The cluster bus as bytes: every message of Redis's binary bus, encoded and decoded.

Rules of this file.  It knows bytes and fields, never what they mean for the cluster.  All integers on
the wire are big endian.  A message is a header of 2256 bytes and a body that its kind decides:

    0 ping  1 pong  2 meet   gossip entries of 104 bytes, then ping extensions
    3 fail                   the id of the failed node, 40 bytes
    4 publish  10 publishshard   channel length, message length (u32 each), channel, message
    5 auth-req  6 auth-ack  8 mfstart   nothing
    7 update                 config epoch u64, node id 40, slot bitmap 2048
    9 module                 module id u64, length u32, kind u8, payload

Node ids and addresses are text in Python, text padded with zeros on the wire.  A bitmap of slots stays
the 2048 bytes it came as (slot s is bit ``s & 7`` of byte ``s >> 3``): most bitmaps equal the ones known
already, and comparing bytes is what costs least; ``bitmap_of`` and ``bitmap_bytes`` make ints of them.

Nothing but ``PacketError`` is raised for anything that can arrive; its ``closes`` tells whether the link
has lost its framing and must be closed, or the message alone is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from node.slots import SLOTS

PING, PONG, MEET, FAIL, PUBLISH, AUTH_REQUEST, AUTH_ACK, UPDATE, MFSTART, MODULE, PUBLISH_SHARD = range(11)
KIND_NAMES = (
    "ping",
    "pong",
    "meet",
    "fail",
    "publish",
    "auth-req",
    "auth-ack",
    "update",
    "mfstart",
    "module",
    "publishshard",
)
"""Names of the kinds as CLUSTER INFO shows them, by number."""

# Node flags, on the wire and in `gossip.state`.
PRIMARY, REPLICA, PFAIL, FAILED, MYSELF, HANDSHAKE, NOADDR, MEETING, MIGRATE_TO, NOFAILOVER = (
    1 << bit for bit in range(10)
)
TROUBLED = PFAIL | FAILED

# Message flags.  Redis uses the first byte; of the second, which it neither sets nor reads, two bits are ours: the
# sender understands the extensions that only Hexad has, which go to those who showed it, so that a genuine node never
# sees one; and its setting allows agreed voters (see `gossip.voters`).
PAUSED, FORCE_ACK, HAS_EXTENSIONS = 1, 2, 4
SPEAKS_HEXAD, ALLOWS_VOTERS = 1 << 8, 1 << 9

EXT_HOSTNAME, EXT_NODENAME, EXT_FORGOTTEN, EXT_SHARD_ID = range(4)
EXT_STANDING, EXT_CLUSTER_ID, EXT_LEFTOVER, EXT_NETWORKS = 0x4801, 0x4802, 0x4803, 0x4810
"""Ours: one byte of LOADED, WAITS and AHEAD, padded with zeros; the cluster's id, 40 bytes; a bitmap of slots; the text
of `gossip.networks`, ended by a zero."""

# How a node stands to the data of its shard.
LOADED, WAITS, AHEAD = 1, 2, 4
"""It has loaded its data; it is a primary that came back and waits for its replicas; it is a replica that has more."""

BITMAP_BYTES = SLOTS // 8
NO_SLOTS = bytes(BITMAP_BYTES)
ID_BYTES = 40
IP_BYTES = 46

SIGNATURE = b"RCmb"
VERSION = 1

HEADER = Struct("!4sIHHHHQQQ40s2048s40s46sHQ22xHHHBBBx")
ENTRY = Struct("!40sII46sHHHHxx")
EXTENSION_HEAD = Struct("!IHxx")
UPDATE_BODY = Struct("!Q40s2048s")
PUBLISH_HEAD = Struct("!II")
MODULE_HEAD = Struct("!8sIB")
HEADER_BYTES = HEADER.size
EPOCH_MAX = 2**62
"""Largest epoch that is believed: one more for each election never runs over what files and the wire hold."""
PREFIX_BYTES = 14  # signature, length, version, port, kind: enough to know how long a message may be

GOSSIP_LENGTH_MAX = HEADER_BYTES + 65535 * ENTRY.size + (1 << 20)
"""Longest ping a link accepts: the largest count of entries that the header can name, and a MiB of extensions."""
PAYLOAD_LENGTH_MAX = HEADER_BYTES + PUBLISH_HEAD.size + 2 * (512 << 20)
"""Longest publish or module message: channel and message as long as a bulk string may be by default."""


class PacketError(Exception):
    """What a peer sent is not a message of the bus.

    closes -- True when the link's framing is lost, so that the link must be closed; False when only this
    message is dropped and the link stays.
    """

    def __init__(self, reason: str, *, closes: bool = False) -> None:
        super().__init__(reason)
        self.closes = closes


def bitmap_of(bitmap: bytes) -> int:
    """Return a slot bitmap as an int whose bit s is slot s."""
    return int.from_bytes(bitmap, "little")


def bitmap_bytes(slots: int) -> bytes:
    """Return the 2048 bytes of a slot bitmap kept as an int."""
    return slots.to_bytes(BITMAP_BYTES, "little")


def bitmap_from(slots: Iterable[int]) -> int:
    """Return the bitmap of these slots as an int."""
    bits = bytearray(BITMAP_BYTES)
    for slot in slots:
        bits[slot >> 3] |= 1 << (slot & 7)
    return int.from_bytes(bits, "little")


def ranges_in(slots: int) -> list[tuple[int, int]]:
    """Return the bitmap's runs of neighbouring slots, ascending, as (first, last)."""
    runs: list[tuple[int, int]] = []
    bits = f"{slots:b}"[::-1] + "0"  # as text, since each shift of a large int copies it
    first = bits.find("1")
    while first >= 0:
        after = bits.index("0", first)
        runs.append((first, after - 1))
        first = bits.find("1", after)
    return runs


def slots_in(slots: int) -> list[int]:
    """Return the slots of a bitmap, ascending."""
    return [slot for first, last in ranges_in(slots) for slot in range(first, last + 1)]


class GossipEntry(NamedTuple):
    """What a sender tells of one other node.  Times are Unix seconds, as the wire has them.

    A tuple, because a message in a large cluster has a hundred of them, and a frozen dataclass takes several times as
    long to make.
    """

    node_id: str
    ping_sent_s: int
    pong_received_s: int
    ip: str
    port: int
    cport: int
    flags: int
    pport: int = 0


@dataclass(slots=True, frozen=True)
class Extensions:
    """The ping extensions of a message; an absent text is empty, an absent shard id None."""

    hostname: str = ""
    nodename: str = ""
    forgotten: tuple[tuple[str, int], ...] = ()
    """Ids that the sender forgot, and for how many seconds more."""
    shard_id: str | None = None
    standing: int | None = None
    """Of LOADED, WAITS and AHEAD what holds; None from who does not tell."""
    cluster_id: str = ""
    """Id of the sender's cluster; empty from who does not tell."""
    networks: str = ""
    """The sender's addresses for clients, as `gossip.networks` words them."""
    leftover: bytes = b""
    """Bitmap of the slots of which the sender holds keys that are not its shard's; empty where there are none."""
    unknown: tuple[int, ...] = ()
    """Types met that this version does not know; they were skipped and are never sent."""


NO_EXTENSIONS = Extensions()


@dataclass(slots=True, frozen=True)
class Gossip:
    """Body of ping, pong and meet."""

    entries: tuple[GossipEntry, ...] = ()
    extensions: Extensions = NO_EXTENSIONS


@dataclass(slots=True, frozen=True)
class Failed:
    """Body of fail: the node that a quorum holds for failed."""

    node_id: str


@dataclass(slots=True, frozen=True)
class Publish:
    """Body of publish and publishshard."""

    channel: bytes
    message: bytes


@dataclass(slots=True, frozen=True)
class Update:
    """Body of update: which slots a node has had since which config epoch."""

    config_epoch: int
    node_id: str
    slots: bytes


@dataclass(slots=True, frozen=True)
class Module:
    """Body of a module's message; opaque to us, so the id stays bytes."""

    module_id: bytes
    kind: int
    payload: bytes


Body = Gossip | Failed | Publish | Update | Module | None


@dataclass(slots=True, frozen=True)
class Packet:
    """One message: the sender's header and a body that fits `kind`."""

    kind: int
    sender: str
    port: int
    cport: int
    flags: int
    current_epoch: int = 0
    config_epoch: int = 0
    offset: int = 0
    slots: bytes = field(default=NO_SLOTS, repr=False)
    primary_id: str = ""
    """Id of the sender's primary; empty when the sender is a primary."""
    ip: str = ""
    """Address that the sender announces; empty means the peer address of the socket."""
    pport: int = 0
    failing: bool = False
    """Whether the sender's view of the cluster is "fail"."""
    mflags: int = 0
    body: Body = None
    voters: int = 0
    """Version of the agreed voters that the sender knows: 8 bytes of the 30 that Redis leaves zero and never reads."""

    @property
    def name(self) -> str:
        """The kind's name as CLUSTER INFO and the log have it."""
        return KIND_NAMES[self.kind]


# ---- encoding --------------------------------------------------------------------------------------------------


def encode(packet: Packet) -> bytes:
    """Return the message's bytes.  HAS_EXTENSIONS is set in the flags at least when extensions are sent."""
    body = packet.body
    count, extensions, mflags = 0, 0, packet.mflags
    if type(body) is Gossip:
        count = len(body.entries)
        payload = b"".join(map(_encode_entry, body.entries))
        if body.extensions is not NO_EXTENSIONS:
            extras = list(_encode_extensions(body.extensions))
            extensions = len(extras)
            payload += b"".join(extras)
            mflags |= HAS_EXTENSIONS if extensions else 0
    else:
        payload = _encode_body(body)
    header = HEADER.pack(
        SIGNATURE,
        HEADER_BYTES + len(payload),
        VERSION,
        packet.port,
        packet.kind,
        count,
        packet.current_epoch,
        packet.config_epoch,
        packet.offset,
        packet.sender.encode("latin-1"),
        packet.slots,
        packet.primary_id.encode("latin-1"),
        packet.ip.encode("latin-1"),
        extensions,
        packet.voters,
        packet.pport,
        packet.cport,
        packet.flags,
        packet.failing,
        mflags & 0xFF,
        mflags >> 8,
    )
    return header + payload


def _encode_entry(entry: GossipEntry) -> bytes:
    node_id, ping_s, pong_s, ip, port, cport, flags, pport = entry
    return ENTRY.pack(node_id.encode("latin-1"), ping_s, pong_s, ip.encode("latin-1"), port, cport, flags, pport)


def _encode_extensions(extensions: Extensions) -> Iterator[bytes]:
    """Yield each extension in the order in which Redis sends them: by type, the shard id last; then ours."""
    if extensions.hostname:
        yield _extension(EXT_HOSTNAME, extensions.hostname.encode("latin-1") + b"\0")
    if extensions.nodename:
        yield _extension(EXT_NODENAME, extensions.nodename.encode("latin-1") + b"\0")
    for node_id, ttl_s in extensions.forgotten:
        yield _extension(EXT_FORGOTTEN, node_id.encode("latin-1") + ttl_s.to_bytes(8, "big"))
    if extensions.shard_id is not None:
        yield _extension(EXT_SHARD_ID, extensions.shard_id.encode("latin-1"))
    if extensions.standing is not None:
        yield _extension(EXT_STANDING, bytes((extensions.standing,)))
    if extensions.cluster_id:
        yield _extension(EXT_CLUSTER_ID, extensions.cluster_id.encode("latin-1"))
    if extensions.networks:
        yield _extension(EXT_NETWORKS, extensions.networks.encode("latin-1") + b"\0")
    if extensions.leftover:
        yield _extension(EXT_LEFTOVER, extensions.leftover)


def _extension(kind: int, data: bytes) -> bytes:
    padded = data + bytes(-len(data) % 8)
    return EXTENSION_HEAD.pack(EXTENSION_HEAD.size + len(padded), kind) + padded


def _encode_body(body: Body) -> bytes:
    match body:
        case None:
            return b""
        case Failed(node_id):
            return node_id.encode("latin-1")
        case Publish(channel, message):
            return PUBLISH_HEAD.pack(len(channel), len(message)) + channel + message
        case Update(config_epoch, node_id, slots):
            return UPDATE_BODY.pack(config_epoch, node_id.encode("latin-1"), slots)
        case Module(module_id, kind, payload):
            return MODULE_HEAD.pack(module_id, len(payload), kind) + payload
        case Gossip():
            raise AssertionError("gossip is encoded with its header's counts")


# ---- decoding --------------------------------------------------------------------------------------------------


def _text(raw: bytes) -> str:
    """Text padded with zeros.  Latin-1, so that no byte fails here: who uses it as an id or address checks it."""
    end = raw.find(0)
    return (raw if end < 0 else raw[:end]).decode("latin-1")


def decode(data: bytes) -> Packet:
    """Return the message in `data`, which is one whole message.

    Raises PacketError, in Redis's words where it logs any, if version, kind, length or padding are wrong.
    """
    try:
        fields = HEADER.unpack_from(data)
    except StructError:
        raise PacketError("Bad message length or signature received from Cluster bus.", closes=True) from None
    signature, length, version, port, kind, count, current_epoch, config_epoch, offset = fields[:9]
    sender, slots, primary_id, ip, extensions, voters, pport, cport, flags, failing, mflags, more_flags = fields[9:]
    mflags |= more_flags << 8
    if signature != SIGNATURE or length != len(data):
        raise PacketError("Bad message length or signature received from Cluster bus.", closes=True)
    if version != VERSION:
        raise PacketError(f"Received a packet of unknown bus version {version}")
    if kind > PUBLISH_SHARD:
        raise PacketError(f"Received unknown packet type: {kind}")
    if max(current_epoch, config_epoch, voters) > EPOCH_MAX:
        raise PacketError(f"Received a {KIND_NAMES[kind]} packet with an impossible epoch")
    body = BODIES[kind](data, kind, count, extensions if mflags & HAS_EXTENSIONS else 0)
    return Packet(
        kind,
        _text(sender),
        port,
        cport,
        flags,
        current_epoch,
        config_epoch,
        offset,
        slots,
        _text(primary_id),
        _text(ip),
        pport,
        failing != 0,
        mflags,
        body,
        voters,
    )


def _expect_length(data: bytes, kind: int, expected: int) -> None:
    if len(data) != expected:
        raise PacketError(
            f"Received invalid {KIND_NAMES[kind]} packet of length {len(data)} but expected length {expected}"
        )


def _decode_nothing(data: bytes, kind: int, _count: int, _extensions: int) -> Body:
    _expect_length(data, kind, HEADER_BYTES)
    return None


def _decode_gossip(data: bytes, kind: int, count: int, extensions: int) -> Body:
    end = HEADER_BYTES + count * ENTRY.size
    if end > len(data):
        raise PacketError(
            f"Received invalid {KIND_NAMES[kind]} packet with gossip count {count} "
            f"that exceeds total packet length ({len(data)})"
        )
    entries = tuple(
        GossipEntry(_text(node_id), ping_s, pong_s, _text(ip), port, cport, flags, pport)
        for node_id, ping_s, pong_s, ip, port, cport, flags, pport in ENTRY.iter_unpack(data[HEADER_BYTES:end])
    )
    if not extensions:
        _expect_length(data, kind, end)
        return Gossip(entries)
    found, end = _decode_extensions(data, kind, end, extensions)
    _expect_length(data, kind, end)
    return Gossip(entries, found)


def _decode_extensions(data: bytes, kind: int, at: int, count: int) -> tuple[Extensions, int]:
    """Return the `count` extensions that begin at offset `at`, and the offset behind them."""
    hostname = nodename = ""
    shard_id: str | None = None
    standing: int | None = None
    cluster_id = networks = ""
    leftover = b""
    forgotten: list[tuple[str, int]] = []
    unknown: list[int] = []
    for _ in range(count):
        end, extension = _next_extension(data, kind, at)
        body = data[at + EXTENSION_HEAD.size : end]
        if extension == EXT_HOSTNAME:
            hostname = _terminated(body, kind, extension)
        elif extension == EXT_NODENAME:
            nodename = _terminated(body, kind, extension)
        elif extension == EXT_FORGOTTEN and len(body) == ID_BYTES + 8:
            forgotten.append((_text(body[:ID_BYTES]), int.from_bytes(body[ID_BYTES:], "big")))
        elif extension == EXT_SHARD_ID and len(body) == ID_BYTES:
            shard_id = _text(body)
        elif extension == EXT_STANDING and len(body) == 8:
            standing = body[0]
        elif extension == EXT_CLUSTER_ID and len(body) == ID_BYTES:
            cluster_id = _text(body)
        elif extension == EXT_NETWORKS:
            networks = _terminated(body, kind, extension)
        elif extension == EXT_LEFTOVER and len(body) == len(NO_SLOTS):
            leftover = bytes(body)
        else:
            unknown.append(extension)
        at = end
    found = Extensions(
        hostname, nodename, tuple(forgotten), shard_id, standing, cluster_id, networks, leftover, tuple(unknown)
    )
    return found, at


def _next_extension(data: bytes, kind: int, at: int) -> tuple[int, int]:
    """Return where the extension at `at` ends, and its type."""
    name = KIND_NAMES[kind]
    too_long = f"Received invalid {name} packet with extension data that exceeds total packet length ({len(data)})"
    if at + EXTENSION_HEAD.size > len(data):
        raise PacketError(too_long)
    length, extension = EXTENSION_HEAD.unpack_from(data, at)
    if length % 8:
        raise PacketError(f"Received a {KIND_NAMES[kind]} packet without proper padding ({length} bytes)")
    if length < EXTENSION_HEAD.size or at + length > len(data):
        raise PacketError(too_long)
    return at + length, extension


def _terminated(body: bytes, kind: int, extension: int) -> str:
    if b"\0" not in body:
        raise PacketError(
            f"Received {KIND_NAMES[kind]} packet with missing null terminator in extension type {extension}"
        )
    return _text(body)


def _decode_failed(data: bytes, kind: int, _count: int, _extensions: int) -> Body:
    _expect_length(data, kind, HEADER_BYTES + ID_BYTES)
    return Failed(_text(data[HEADER_BYTES:]))


def _decode_publish(data: bytes, kind: int, _count: int, _extensions: int) -> Body:
    start = HEADER_BYTES + PUBLISH_HEAD.size
    if len(data) < start:
        _expect_length(data, kind, start)
    channel_length, message_length = PUBLISH_HEAD.unpack_from(data, HEADER_BYTES)
    _expect_length(data, kind, start + channel_length + message_length)
    return Publish(data[start : start + channel_length], data[start + channel_length :])


def _decode_update(data: bytes, kind: int, _count: int, _extensions: int) -> Body:
    _expect_length(data, kind, HEADER_BYTES + UPDATE_BODY.size)
    config_epoch, node_id, slots = UPDATE_BODY.unpack_from(data, HEADER_BYTES)
    if config_epoch > EPOCH_MAX:
        raise PacketError("Received an update packet with an impossible epoch")
    return Update(config_epoch, _text(node_id), slots)


def _decode_module(data: bytes, kind: int, _count: int, _extensions: int) -> Body:
    start = HEADER_BYTES + MODULE_HEAD.size
    if len(data) < start:
        _expect_length(data, kind, start)
    module_id, length, module_kind = MODULE_HEAD.unpack_from(data, HEADER_BYTES)
    _expect_length(data, kind, start + length)
    return Module(module_id, module_kind, data[start:])


BODIES = (
    _decode_gossip,
    _decode_gossip,
    _decode_gossip,
    _decode_failed,
    _decode_publish,
    _decode_nothing,
    _decode_nothing,
    _decode_update,
    _decode_nothing,
    _decode_module,
    _decode_publish,
)


# ---- framing ---------------------------------------------------------------------------------------------------


class PacketReader:
    """Cuts the bytes of one link into messages.

    `feed` gives back, in order, a Packet for each good message and a PacketError for each bad one.  After
    an error that closes, the reader takes nothing more.  No more than one unfinished message is kept, and
    none that is longer than its kind may be.
    """

    __slots__ = ("_buffer", "_needed", "broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = PREFIX_BYTES
        self.broken = False

    @property
    def held_bytes(self) -> int:
        """How much there is of an unfinished message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Packet | PacketError]:
        """Take bytes as they came and return what they completed."""
        found: list[Packet | PacketError] = []
        self._buffer += data
        while not self.broken and len(self._buffer) >= self._needed:
            try:
                length = self._length()
                self._needed = length
                if len(self._buffer) < length:
                    break
                whole = bytes(self._buffer[:length])
                del self._buffer[:length]
                self._needed = PREFIX_BYTES
                found.append(decode(whole))
            except PacketError as error:
                found.append(error)
                self.broken = error.closes
        if self.broken:
            self._buffer.clear()
        return found

    def _length(self) -> int:
        buffer = self._buffer
        length = int.from_bytes(buffer[4:8], "big")
        kind = int.from_bytes(buffer[12:14], "big")
        if buffer[:4] != SIGNATURE or length < HEADER_BYTES:
            raise PacketError("Bad message length or signature received from Cluster bus.", closes=True)
        if length > (PAYLOAD_LENGTH_MAX if kind in (PUBLISH, MODULE, PUBLISH_SHARD) else GOSSIP_LENGTH_MAX):
            raise PacketError(f"Message of {length} bytes is longer than its type may be.", closes=True)
        return length
