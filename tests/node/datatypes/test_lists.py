"""Lists beside a plain Python list, and the sizes that decide what Redis would call them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.datatypes.lists import CHUNK_MAX, List, _length, packed_bytes
from node.rdb import listpack
from node.rdb.dump import dump, restore

FILL = -2
ELEMENTS = [b"a", b"b", b"", b"12", b"-300", b"x" * 70]
elements = st.sampled_from(ELEMENTS)
places = st.integers(0, 10**6)
steps = st.lists(
    st.tuples(
        st.sampled_from("left right popleft popright drop_left drop_right insert remove set copy range grow".split()),
        elements,
        places,
    ),
    max_size=60,
)


class Model:
    """A list and what it has to be equal to."""

    def __init__(self, size: int) -> None:
        self.plain = [ELEMENTS[number % 5] for number in range(size)]
        self.real = List(self.plain)

    def step(self, name: str, element: bytes, place: int) -> None:
        plain, real = self.plain, self.real
        index = place % len(plain) if plain else 0
        count = min(len(plain), place % 700)
        if name in ("left", "right"):
            real.about_to_take([element], FILL)
            (real.push_left if name == "left" else real.push_right)(element)
            plain.insert(0 if name == "left" else len(plain), element)
        elif name == "grow":
            for _ in range(place % 300):
                self.step("right", element, 0)
        elif name in ("popleft", "popright") and plain:
            taken = real.pop_left() if name == "popleft" else real.pop_right()
            assert taken == plain.pop(0 if name == "popleft" else -1)
        elif name == "drop_left":
            real.drop_left(count)
            del plain[:count]
        elif name == "drop_right":
            real.drop_right(count)
            del plain[len(plain) - count :]
        elif name == "insert":
            assert real.insert(element, b"new", bool(place % 2)) == (element in plain)
            if element in plain:
                plain.insert(plain.index(element) + place % 2, b"new")
        elif name == "remove":
            self.remove(element, place % 7 - 3)
        elif name == "set" and plain:
            real.about_to_take([element], FILL)
            real.set(index, element)
            plain[index] = element
        elif name == "range":
            assert real.range(index, len(plain)) == plain[index:]
            assert real.get(index) == (plain[index] if plain else None)
            assert real.get(-index - 1) == (plain[-index - 1] if plain else None)
        real.has_shrunk(FILL)

    def remove(self, element: bytes, count: int) -> None:
        places = [place for place, other in enumerate(self.plain) if other == element]
        chosen = set(places[count:] if count < 0 else places[: count or None])
        assert self.real.remove(element, count) == len(chosen)
        self.plain = [other for place, other in enumerate(self.plain) if place not in chosen]

    def check(self) -> None:
        self.real.check()
        assert list(self.real) == self.plain and len(self.real) == len(self.plain)
        assert list(reversed(self.real)) == self.plain[::-1]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([0, 3, 40, 1000, 9 * CHUNK_MAX + 7]), steps)
def test_a_list_is_a_list(size: int, trace: list[tuple[str, bytes, int]]) -> None:
    model = Model(size)
    kept: list[tuple[List, list[bytes]]] = []
    for name, element, place in trace:
        if name == "copy":
            kept.append((model.real.copy(), list(model.plain)))
            if place % 2:  # go on with the copy, and keep the original
                model.real, (last, plain) = kept[-1][0], (model.real, kept[-1][1])
                kept[-1] = (last, plain)
        else:
            model.step(name, element, place)
        model.check()
    for copy, plain in kept:
        copy.check()
        assert list(copy) == plain


@settings(max_examples=60, deadline=None)
@given(st.lists(elements, max_size=600), st.integers(1, 4), elements, st.booleans(), st.integers(0, 1700))
def test_positions(some: list[bytes], times: int, element: bytes, backwards: bool, looks_max: int) -> None:
    plain = some * times
    places = range(len(plain))
    looked_at = places[len(plain) - looks_max if looks_max < len(plain) else 0 :] if backwards else places[:looks_max]
    expected = [place for place in looked_at if plain[place] == element]
    assert list(List(plain).positions(element, backwards, looks_max)) == expected[:: -1 if backwards else 1]


NUMBERS = [0, 127, 128, -1, 4095, 4096, -4096, -4097, 32767, 32768, -32769, 8388607, 8388608, 2147483647, 2147483648]
TEXTS = [
    b"",
    b"01",
    b"-",
    b"x" * 63,
    b"x" * 64,
    b"x" * 125,
    b"x" * 126,
    b"x" * 4095,
    b"x" * 4096,
    b"x" * 16378,
    b"9" * 20,
]


def test_sizes_are_those_of_listpacks() -> None:
    for element in [b"%d" % number for number in NUMBERS] + TEXTS + [b"x" * 16380, b"x" * 16381, b"x" * 2097147]:
        assert packed_bytes(element) + 7 == len(listpack.encode([element])), element[:10]


def test_a_list_is_long_beyond_one_node_and_short_again_below_half() -> None:
    value = List()
    for _ in range(1000):  # of 6 bytes each, and 7 for the frame
        value.about_to_take([b"wxyz"], FILL)
        value.push_right(b"wxyz")
    assert not value.is_long(FILL)
    for _ in range(365):
        value.about_to_take([b"wxyz"], FILL)
        value.push_left(b"wxyz")
    assert value.is_long(FILL)
    while len(value) > 683:
        value.pop_left()
        value.has_shrunk(FILL)
        assert value.is_long(FILL), len(value)
    for _ in range(2):
        value.pop_right()
        value.has_shrunk(FILL)
    assert not value.is_long(FILL)
    value.check()


def test_the_size_of_a_node_may_be_counted_in_elements() -> None:
    value = List([b"a"] * 10)
    assert value.is_long(9) and not List([b"a"] * 10).is_long(10) and List([b"x" * 9000]).is_long(10)
    value.drop_left(5)
    value.has_shrunk(9)
    assert value.is_long(9)
    value.drop_left(1)
    value.has_shrunk(9)
    assert not value.is_long(9)


def test_a_dump_is_cut_as_redis_would_and_long_elements_stand_alone() -> None:
    for plain in ([b"x" * 8000, b"y" * 300, b"z" * 9000, b"1", b"2"], [b"%d" % number for number in range(9000)]):
        assert list(restore(dump(List(plain)))) == plain


def test_shedding_ends() -> None:
    value = List([b"x"] * 10 * CHUNK_MAX)
    twin = value.copy()
    while len(value):
        before = len(value)
        value.shed(700)
        assert len(value) == max(0, before - 700)
    twin.check()
    assert len(twin) == 10 * CHUNK_MAX


def test_what_the_ends_cost_does_not_grow() -> None:
    """A step at an end touches one chunk; a copy takes one chunk anew for each of them."""
    for size in (1000, 100_000):
        value = List([b"x"] * size)
        chunks = list(map(id, value._chunks))
        twin = value.copy()
        value.push_left(b"1")
        value.push_right(b"2")
        value.set(size // 2, b"3")
        assert len(set(map(id, value._chunks)) - set(chunks)) <= 4
        assert set(chunks) == set(map(id, twin._chunks))
        assert max(map(_length, value._chunks)) <= CHUNK_MAX


def test_what_lies_between_the_ends_is_packed_and_stays_so() -> None:
    """As a queue: what is pushed is packed on its way, and opened once more when its turn comes."""
    value = List()
    for number in range(20 * CHUNK_MAX):
        value.push_right(b"element:%d" % number)
    packed = [type(chunk) is bytes for chunk in value._chunks]
    assert packed == [False] * 2 + [True] * 16 + [False] * 2
    assert sum(map(len, value._chunks[2:-2])) < 16 * CHUNK_MAX * 20
    seen = set()
    for _ in range(4):  # to and fro over the border of a chunk
        value.push_right(b"x")
        value.pop_right()
        seen.add(tuple(map(id, value._chunks)))
    assert len(seen) == 1
    assert [value.pop_left() for _ in range(len(value))] == [b"element:%d" % n for n in range(20 * CHUNK_MAX)]


def test_big_elements_are_not_packed() -> None:
    value = List([b"x" * 1000] * 20 * CHUNK_MAX)
    assert all(type(chunk) is list for chunk in value._chunks)


def test_a_search_that_meets_a_part_of_a_packed_chunk_goes_on() -> None:
    plain = [b"element:%05d" % number for number in range(10 * CHUNK_MAX)]
    value = List(plain)
    assert list(value.positions(b"ment:0", False, len(plain))) == []
    assert value.remove(b"s", 0) == 0 and not value.insert(b"nt:", b"new", behind=True)
    assert value.insert(plain[1200], b"new", behind=True) and value.get(1201) == b"new"
    assert value.remove(plain[1300], -1) == 1 and value.get(1301) == plain[1301]
    value.check()
