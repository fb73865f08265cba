"""What is near: places by longitude and latitude, found by distance.

    python examples/nearby.py [port]

GEOADD turns a place into a number whose neighbours lie near by, so GEOSEARCH looks at a few ranges of a sorted set
instead of at every place there is.
"""

import sys
from typing import Any

import redis

STATIONS = {
    "Palermo": (13.361389, 38.115556),
    "Catania": (15.087269, 37.502669),
    "Messina": (15.5542, 38.1938),
    "Roma": (12.4964, 41.9028),
}


class Nearby:
    """Named places of one kind."""

    def __init__(self, client: Any, kind: str) -> None:
        self.client = client
        self.key = f"places:{kind}"

    def put(self, name: str, longitude: float, latitude: float) -> None:
        """Enter a place, or move it."""
        self.client.geoadd(self.key, (longitude, latitude, name))

    def find(self, longitude: float, latitude: float, radius_km: float, count: int) -> list[tuple[str, float]]:
        """The nearest places within a radius, with their distances in kilometres."""
        found = self.client.geosearch(
            self.key,
            longitude=longitude,
            latitude=latitude,
            radius=radius_km,
            unit="km",
            sort="ASC",
            count=count,
            withdist=True,
        )
        return [(name.decode(), distance) for name, distance in found]


def main(port: int) -> None:
    client = redis.Redis(port=port)
    client.delete("places:station")
    stations = Nearby(client, "station")
    for name, (longitude, latitude) in STATIONS.items():
        stations.put(name, longitude, latitude)
    for radius_km in (100, 200, 1000):
        found = stations.find(15, 37.5, radius_km, count=3)
        print(f"within {radius_km} km:", ", ".join(f"{name} {distance:.1f}" for name, distance in found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
