"""Places on the earth as numbers: longitude and latitude, halved in turn 26 times, make 52 bits that fit a double.

The bits of the longitude stand at the odd places, those of the latitude at the even ones, so that near places have
near numbers, and a box of the grid of some step is a range of them. The arithmetic is Redis's, operation for operation:
the same doubles, so the same boxes, distances and order.
"""

from math import asin, cos, pi, sin, sqrt
from typing import Final, NamedTuple

STEPS_MAX: Final = 26
LONGITUDE_MAX: Final = 180.0
LATITUDE_MAX: Final = 85.05112878
"""The poles are beyond: the grid is that of the Mercator projection."""
EARTH_RADIUS_M: Final = 6372797.560856
MERCATOR_MAX_M: Final = 20037726.37
"""Half the way round: a radius as big as that needs the coarsest grid."""

DEGREE: Final = pi / 180.0
ODD_BITS: Final = 0xAAAAAAAAAAAAAAAA
EVEN_BITS: Final = 0x5555555555555555
ALPHABET: Final = b"0123456789bcdefghjkmnpqrstuvwxyz"
TEXT_LENGTH: Final = 11


class Place(NamedTuple):
    """A point, in degrees."""

    longitude: float
    latitude: float


class Box(NamedTuple):
    """A box of the grid with 2**`step` columns and rows."""

    bits: int
    step: int

    @property
    def scores(self) -> tuple[int, int]:
        """The scores from and up to which the places in this box have theirs."""
        shift = 2 * (STEPS_MAX - self.step)
        return self.bits << shift, self.bits + 1 << shift


class Edges(NamedTuple):
    """West, south, east and north of an area, in degrees."""

    west: float
    south: float
    east: float
    north: float


def _spread(number: int) -> int:
    """Put the 32 bits of `number` at the even places."""
    number = (number | number << 16) & 0x0000FFFF0000FFFF
    number = (number | number << 8) & 0x00FF00FF00FF00FF
    number = (number | number << 4) & 0x0F0F0F0F0F0F0F0F
    number = (number | number << 2) & 0x3333333333333333
    return (number | number << 1) & EVEN_BITS


def _gather(number: int) -> int:
    """The bits at the even places."""
    number &= EVEN_BITS
    number = (number | number >> 1) & 0x3333333333333333
    number = (number | number >> 2) & 0x0F0F0F0F0F0F0F0F
    number = (number | number >> 4) & 0x00FF00FF00FF00FF
    number = (number | number >> 8) & 0x0000FFFF0000FFFF
    return (number | number >> 16) & 0xFFFFFFFF


def encode(place: Place, step: int = STEPS_MAX, latitude_max: float = LATITUDE_MAX) -> Box:
    """The box in which a place lies."""
    column = int((place.longitude + LONGITUDE_MAX) / (2 * LONGITUDE_MAX) * (1 << step)) & 0xFFFFFFFF
    row = int((place.latitude + latitude_max) / (2 * latitude_max) * (1 << step)) & 0xFFFFFFFF
    return Box(_spread(row) | _spread(column) << 1, step)


def edges(box: Box) -> Edges:
    """Where a box lies."""
    row, column, cells = _gather(box.bits), _gather(box.bits >> 1), 1 << box.step
    height, width = 2 * LATITUDE_MAX, 2 * LONGITUDE_MAX
    return Edges(
        -LONGITUDE_MAX + column / cells * width,
        -LATITUDE_MAX + row / cells * height,
        -LONGITUDE_MAX + (column + 1) / cells * width,
        -LATITUDE_MAX + (row + 1) / cells * height,
    )


def decode(score: float) -> Place:
    """The middle of the box that a score means."""
    west, south, east, north = edges(Box(int(score), STEPS_MAX))
    return Place(
        max(-LONGITUDE_MAX, min(LONGITUDE_MAX, (west + east) / 2)),
        max(-LATITUDE_MAX, min(LATITUDE_MAX, (south + north) / 2)),
    )


def text(place: Place) -> bytes:
    """The usual geohash of a place, of 11 letters: over latitudes up to 90, and of 52 bits, so that the last is 0."""
    bits = encode(place, latitude_max=90.0).bits
    letters = [ALPHABET[bits >> 52 - 5 * (at + 1) & 0x1F] for at in range(TEXT_LENGTH - 1)]
    return bytes(letters) + ALPHABET[:1]


def latitude_distance_m(first: float, second: float) -> float:
    """Between two latitudes, in metres."""
    return EARTH_RADIUS_M * abs(second * DEGREE - first * DEGREE)


def distance_m(first: Place, second: Place) -> float:
    """Along the great circle (haversine), in metres."""
    v = sin((second.longitude * DEGREE - first.longitude * DEGREE) / 2)
    if v == 0.0:
        return latitude_distance_m(first.latitude, second.latitude)
    south, north = first.latitude * DEGREE, second.latitude * DEGREE
    u = sin((north - south) / 2)
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(u * u + cos(south) * cos(north) * v * v))


class Area:
    """What is searched: a circle, or a box, around a place; lengths in metres."""

    __slots__ = ("centre", "height_m", "radius_m", "width_m")

    def __init__(self, centre: Place, radius_m: float | None, width_m: float = 0.0, height_m: float = 0.0) -> None:
        self.centre = centre
        self.radius_m = radius_m  # None: a box
        self.width_m = width_m
        self.height_m = height_m

    def distance_m(self, place: Place) -> float | None:
        """How far from the centre a place is; None if it is not in the area."""
        if self.radius_m is not None:
            distance = distance_m(self.centre, place)
            return None if distance > self.radius_m else distance
        if latitude_distance_m(place.latitude, self.centre.latitude) > self.height_m / 2:
            return None
        if distance_m(place, Place(self.centre.longitude, place.latitude)) > self.width_m / 2:
            return None
        return distance_m(self.centre, place)

    def _edges(self) -> Edges:
        """A box of degrees around it."""
        longitude, latitude = self.centre
        if self.radius_m is not None:
            height = width = self.radius_m
        else:
            height, width = self.height_m / 2, self.width_m / 2
        rise = height / EARTH_RADIUS_M / DEGREE
        # The parallel further from the equator is the shorter one: there a metre is more degrees.
        parallel = latitude - rise if latitude < 0 else latitude + rise
        reach = width / EARTH_RADIUS_M / cos(parallel * DEGREE) / DEGREE
        return Edges(longitude - reach, latitude - rise, longitude + reach, latitude + rise)

    def boxes(self) -> list[Box]:
        """The boxes of the grid to search, in the order in which Redis does: the centre's, and those around it."""
        bounds = self._edges()
        radius_m = self.radius_m
        if radius_m is None:
            radius_m = sqrt((self.width_m / 2) * (self.width_m / 2) + (self.height_m / 2) * (self.height_m / 2))
        step = _step_for(radius_m, self.centre.latitude)
        centre = encode(self.centre, step)
        if step > 1 and not _neighbours_cover(centre, bounds):
            centre = encode(self.centre, step - 1)
        return _distinct([box for box in _around(centre, bounds) if box is not None])


def _step_for(radius_m: float, latitude: float) -> int:
    """The step of the grid whose boxes are as big as the radius, or a little bigger."""
    if radius_m == 0:
        return STEPS_MAX
    step = 1
    while radius_m < MERCATOR_MAX_M:
        radius_m *= 2
        step += 1
    step -= 2
    if abs(latitude) > 66:  # towards the poles the boxes get narrow
        step -= 1
        if abs(latitude) > 80:
            step -= 1
    return max(1, min(STEPS_MAX, step))


def _moved(box: Box, east: int, north: int) -> Box:
    """The box so many columns and rows (-1, 0, 1) away; behind the edge of the grid comes its other side."""
    mask = (1 << 2 * box.step) - 1
    columns, rows = ODD_BITS & mask, EVEN_BITS & mask
    x, y = box.bits & ODD_BITS, box.bits & EVEN_BITS
    if east:
        x = ((x | rows) + 1 if east > 0 else x - 1) & columns
    if north:
        y = ((y | columns) + 1 if north > 0 else y - 1) & rows
    return Box(x | y, box.step)


def _neighbours_cover(centre: Box, bounds: Edges) -> bool:
    return (
        edges(_moved(centre, 0, 1)).north >= bounds.north
        and edges(_moved(centre, 0, -1)).south <= bounds.south
        and edges(_moved(centre, 1, 0)).east >= bounds.east
        and edges(_moved(centre, -1, 0)).west <= bounds.west
    )


AROUND: Final = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""(columns east, rows north) of the nine boxes: centre, N, S, E, W, NE, NW, SE, SW."""


def _around(centre: Box, bounds: Edges) -> list[Box | None]:
    """The nine boxes; None for those that the bounds do not reach."""
    found: list[Box | None] = []
    here = edges(centre)
    for east, north in AROUND:
        useless = centre.step >= 2 and (
            (north < 0 and here.south < bounds.south)
            or (north > 0 and here.north > bounds.north)
            or (east < 0 and here.west < bounds.west)
            or (east > 0 and here.east > bounds.east)
        )
        found.append(None if useless else _moved(centre, east, north))
    return found


def _distinct(boxes: list[Box]) -> list[Box]:
    """Without those that are the same as the one before, as they are in the coarsest grids."""
    kept: list[Box] = []
    for box in boxes:
        if len(kept) < 2 or box != kept[-1]:
            kept.append(box)
    return kept
