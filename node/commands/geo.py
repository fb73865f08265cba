"""Places in sorted sets: a member's score is its geohash of 52 bits (`node.datatypes.geohash`).

GEOSEARCH and the older GEORADIUS forms are read by one class, `_Search`, which checks in Redis's order.
"""

from typing import NamedTuple

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.commands.sortedsets import READ_ONE, add, parse_score, put_new
from node.datatypes import geohash
from node.datatypes.geohash import Area, Place
from node.datatypes.numbers import parse_float
from node.datatypes.sortedsets import SortedSet
from node.net.resp import NULL_ARRAY, Argv, CommandError, Encoded, Reply
from node.server import Client

UNIT_METRES = {b"M": 1.0, b"KM": 1000.0, b"FT": 0.3048, b"MI": 1609.34}

STORE_RADIUS = "@1/range:0:1:0/RO+ACCESS STORE@{0}/range:0:1:0/OW+UPDATE STOREDIST@{0}/range:0:1:0/OW+UPDATE"


# --- arguments and replies --------------------------------------------------------------------------------------------


def _place(longitude_text: bytes, latitude_text: bytes) -> Place:
    place = Place(parse_score(longitude_text), parse_score(latitude_text))
    if abs(place.longitude) > geohash.LONGITUDE_MAX or abs(place.latitude) > geohash.LATITUDE_MAX:
        raise CommandError(f"ERR invalid longitude,latitude pair {place.longitude:f},{place.latitude:f}")
    return place


def _unit(text: bytes) -> float:
    metres = UNIT_METRES.get(text.upper())
    if metres is None:
        raise CommandError("ERR unsupported unit provided. please use M, KM, FT, MI")
    return metres


def _length(text: bytes, name: str) -> float:
    length = parse_float(text)
    if length is None:
        raise CommandError(f"ERR need numeric {name}")
    return length


def _radius(words: Argv) -> tuple[float, float]:
    """A radius and the metres of its unit."""
    radius = _length(words[0], "radius")
    if radius < 0:
        raise CommandError("ERR radius cannot be negative")
    return radius, _unit(words[1])


def _box(words: Argv) -> tuple[float, float, float]:
    """Width, height, and the metres of their unit."""
    width, height = _length(words[0], "width"), _length(words[1], "height")
    if width < 0 or height < 0:
        raise CommandError("ERR height or width cannot be negative")
    return width, height, _unit(words[2])


def _place_of(found: SortedSet, member: bytes) -> Place:
    score = found.score(member)
    if score is None:
        raise CommandError("ERR could not decode requested zset member")
    return geohash.decode(score)


def _degrees(client: Client, degrees: float) -> Reply:
    """A coordinate: 17 decimals without the zeros at their end."""
    text = b"%.17f" % degrees
    text = text.rstrip(b"0").rstrip(b".")
    if text == b"-0":
        text = b"0"
    return Encoded(b",%b\r\n" % text) if client.resp3 else text


def _coordinates(client: Client, place: Place) -> list[Reply]:
    return [_degrees(client, place.longitude), _degrees(client, place.latitude)]


# --- places -----------------------------------------------------------------------------------------------------------


@command("geoadd", -5, "write denyoom", acl="geo", keys="@1/range:0:1:0/RW+UPDATE")
def geoadd(client: Client, argv: Argv) -> Reply:
    at = 2
    flags = set()
    while at < len(argv) and (word := argv[at].upper()) in (b"NX", b"XX", b"CH"):
        flags.add(word)
        at += 1
    if (len(argv) - at) % 3 or {b"NX", b"XX"} <= flags or at == len(argv):
        raise SYNTAX
    triples = zip(argv[at::3], argv[at + 1 :: 3], argv[at + 2 :: 3], strict=True)
    scores = [(member, geohash.encode(_place(longitude, latitude)).bits) for longitude, latitude, member in triples]
    keyspace = client.db.keyspace
    dirty = keyspace.dirty
    reply = add(client, argv[1], [(member, float(score)) for member, score in scores], flags)
    if keyspace.dirty != dirty:
        words = [part for member, score in scores for part in (b"%d" % score, member)]
        keyspace.journal_instead((b"ZADD", argv[1], *argv[2:at], *words), db=client.db.index)
    return reply


@command("geopos", -2, "readonly", acl="geo", keys=READ_ONE)
def geopos(client: Client, argv: Argv) -> Reply:
    scores = _scores(client, argv)
    return [NULL_ARRAY if score is None else _coordinates(client, geohash.decode(score)) for score in scores]


@command("geohash", -2, "readonly", acl="geo", keys=READ_ONE)
def geohash_(client: Client, argv: Argv) -> Reply:
    return [None if score is None else geohash.text(geohash.decode(score)) for score in _scores(client, argv)]


def _scores(client: Client, argv: Argv) -> list[float | None]:
    found = client.db.read_kind(argv[1], SortedSet)
    return [None if found is None else found.score(member) for member in argv[2:]]


@command("geodist", -4, "readonly", acl="geo", keys=READ_ONE)
def geodist(client: Client, argv: Argv) -> Reply:
    if len(argv) > 5:
        raise SYNTAX
    unit_m = _unit(argv[4]) if len(argv) == 5 else 1.0
    found = client.db.read_kind(argv[1], SortedSet)
    if found is None:
        return None
    first, second = found.score(argv[2]), found.score(argv[3])
    if first is None or second is None:
        return None
    return b"%.4f" % (geohash.distance_m(geohash.decode(first), geohash.decode(second)) / unit_m)


# --- searching --------------------------------------------------------------------------------------------------------


class _Hit(NamedTuple):
    """A member in the searched area."""

    member: bytes
    score: float
    place: Place
    distance_m: float


class _Search:
    """What is searched for, and what of it is to be told or stored.

    The set is looked up first: a member to search around must be in it, unless there is no set at all.
    """

    __slots__ = (
        "_any", "_boxed", "_centre", "_centred_by", "_found", "_radius_m", "_size_m", "count", "order", "searches",
        "store_distance", "target", "told", "unit_m",
    )  # fmt: skip

    def __init__(self, found: SortedSet | None, searches: bool) -> None:
        self._found = found
        self.searches = searches  # GEOSEARCH's words, not GEORADIUS's
        self._centre: Place | None = None
        self._centred_by = b""  # the word that did it: the other one may not come any more
        self._radius_m: float | None = None
        self._boxed = False
        self._size_m = 0.0, 0.0
        self._any = False
        self.unit_m = 1.0
        self.count = 0
        self.order = b""
        self.told: set[bytes] = set()  # WITHDIST, WITHHASH, WITHCOORD
        self.target: bytes | None = None
        self.store_distance = False

    def set_centre(self, member: bytes) -> None:
        """Search around a member of the set."""
        self._centre = Place(0.0, 0.0) if self._found is None else _place_of(self._found, member)

    def set_place(self, words: Argv) -> None:
        """Search around this longitude and latitude."""
        self._centre = _place(*words)

    def set_radius(self, words: Argv) -> None:
        """Search within a radius: its number and its unit."""
        radius, self.unit_m = _radius(words)
        self._radius_m = radius * self.unit_m

    def set_box(self, words: Argv) -> None:
        """Search within a box: two numbers and their unit."""
        width, height, self.unit_m = _box(words)
        self._boxed = True
        self._size_m = width * self.unit_m, height * self.unit_m

    def read_options(self, words: Argv, storing: str, name: bytes) -> None:
        """Read all that comes behind the fixed arguments.

        `storing` says how the command is told to store: "" never, "option" by STORE and STOREDIST, "target" always.
        """
        at = 0
        while at < len(words):
            at += 1 + self._option(words[at].upper(), words[at + 1 :], storing)
        if self.target is not None and self.told:
            what = "GEOSEARCHSTORE" if storing == "target" else "STORE option in GEORADIUS"
            raise CommandError(f"ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        if self.searches and self._centre is None:
            raise CommandError(b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + name)
        if self.searches and self._radius_m is None and not self._boxed:
            raise CommandError(b"ERR exactly one of BYRADIUS and BYBOX can be specified for " + name)
        if self._any and not self.count:
            raise CommandError("ERR the ANY argument requires COUNT argument")

    def _option(self, word: bytes, rest: Argv, storing: str) -> int:
        """Take one option; how many words it took behind its own."""
        if word in (b"WITHDIST", b"WITHHASH", b"WITHCOORD"):
            self.told.add(word)
        elif word == b"ANY":
            self._any = True
        elif word in (b"ASC", b"DESC"):
            self.order = word
        elif word == b"COUNT" and rest:
            self.count = integer(rest[0])
            if self.count <= 0:
                raise CommandError("ERR COUNT must be > 0")
            return 1
        elif word in (b"STORE", b"STOREDIST") and storing == "option" and rest:
            self.target = rest[0]
            self.store_distance = word == b"STOREDIST"
            return 1
        elif word == b"STOREDIST" and storing == "target":
            self.store_distance = True
        elif self.searches:
            return self._area_option(word, rest)
        else:
            raise SYNTAX
        return 0

    def _area_option(self, word: bytes, rest: Argv) -> int:
        if word == b"FROMMEMBER" and rest and self._centred_by in (b"", word):
            self._centred_by = word
            self.set_centre(rest[0])
            return 1
        if word == b"FROMLONLAT" and len(rest) >= 2 and self._centred_by in (b"", word):
            self._centred_by = word
            self.set_place(rest[:2])
            return 2
        if word == b"BYRADIUS" and len(rest) >= 2 and not self._boxed:
            self.set_radius(rest[:2])
            return 2
        if word == b"BYBOX" and len(rest) >= 3 and self._radius_m is None:
            self.set_box(rest[:3])
            return 3
        raise SYNTAX

    def hits(self) -> list[_Hit]:
        """The members found, in the order and up to the number wanted."""
        found = self._found
        assert found is not None and self._centre is not None
        area = Area(self._centre, self._radius_m, *self._size_m)
        hits = _hits(found, area, self.count if self._any else 0)
        order = self.order or (b"ASC" if self.count and not self._any else b"")
        if order:
            hits.sort(key=lambda hit: hit.distance_m, reverse=order == b"DESC")
        return hits[: self.count] if self.count else hits


def _hits(found: SortedSet, area: Area, enough: int) -> list[_Hit]:
    """The members in an area, box by box; with `enough` no more than that many."""
    hits: list[_Hit] = []
    for box in area.boxes():
        low, high = box.scores
        start, stop = found.count_below(low, inclusive=False), found.count_below(high, inclusive=False)
        for member, score in found.pairs(start, max(start, stop)):
            place = geohash.decode(score)
            distance = area.distance_m(place)
            if distance is not None:
                hits.append(_Hit(member, score, place, distance))
                if len(hits) == enough:
                    return hits
    return hits


def _answer(client: Client, search: _Search, found: SortedSet | None) -> Reply:
    """Tell or store what is found."""
    hits = [] if found is None else search.hits()
    if search.target is not None:
        pairs = [(hit.member, hit.distance_m / search.unit_m if search.store_distance else hit.score) for hit in hits]
        event = "geosearchstore" if search.searches else "georadiusstore"
        return put_new(client, search.target, pairs, event, each=True)
    return [_told(client, hit, search) for hit in hits] if search.told else [hit.member for hit in hits]


def _told(client: Client, hit: _Hit, search: _Search) -> list[Reply]:
    parts: list[Reply] = [hit.member]
    if b"WITHDIST" in search.told:
        parts.append(b"%.4f" % (hit.distance_m / search.unit_m))
    if b"WITHHASH" in search.told:
        parts.append(int(hit.score))
    if b"WITHCOORD" in search.told:
        parts.append(_coordinates(client, hit.place))
    return parts


# --- the commands -----------------------------------------------------------------------------------------------------


def _around_place(client: Client, argv: Argv, storing: str) -> Reply:
    found = client.db.read_kind(argv[1], SortedSet)
    search = _Search(found, searches=False)
    search.set_place(argv[2:4])
    search.set_radius(argv[4:6])
    search.read_options(argv[6:], storing, argv[0])
    return _answer(client, search, found)


def _around_member(client: Client, argv: Argv, storing: str) -> Reply:
    found = client.db.read_kind(argv[1], SortedSet)
    search = _Search(found, searches=False)
    if found is not None:
        search.set_centre(argv[2])
        search.set_radius(argv[3:5])
    search.read_options(argv[5:], storing, argv[0])
    return _answer(client, search, found)


@command("georadius", -6, "write denyoom", acl="geo", keys=STORE_RADIUS.format(6))
def georadius(client: Client, argv: Argv) -> Reply:
    return _around_place(client, argv, "option")


@command("georadius_ro", -6, "readonly", acl="geo", keys=READ_ONE)
def georadius_ro(client: Client, argv: Argv) -> Reply:
    return _around_place(client, argv, "")


@command("georadiusbymember", -5, "write denyoom", acl="geo", keys=STORE_RADIUS.format(5))
def georadiusbymember(client: Client, argv: Argv) -> Reply:
    return _around_member(client, argv, "option")


@command("georadiusbymember_ro", -5, "readonly", acl="geo", keys=READ_ONE)
def georadiusbymember_ro(client: Client, argv: Argv) -> Reply:
    return _around_member(client, argv, "")


@command("geosearch", -7, "readonly", acl="geo", keys=READ_ONE)
def geosearch(client: Client, argv: Argv) -> Reply:
    found = client.db.read_kind(argv[1], SortedSet)
    search = _Search(found, searches=True)
    search.read_options(argv[2:], "", argv[0])
    return _answer(client, search, found)


@command(
    "geosearchstore",
    -8,
    "write denyoom",
    acl="geo",
    keys="@1/range:0:1:0/OW+UPDATE @2/range:0:1:0/RO+ACCESS",
)
def geosearchstore(client: Client, argv: Argv) -> Reply:
    found = client.db.read_kind(argv[2], SortedSet)
    search = _Search(found, searches=True)
    search.target = argv[1]
    search.read_options(argv[3:], "target", argv[0])
    return _answer(client, search, found)
