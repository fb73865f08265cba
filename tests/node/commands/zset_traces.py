"""Random commands of sorted sets and places, for the tests that hold us against a real server."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.node.commands.traces import Line, cased, line, options, pair
from tests.node.commands.traces import numbers as odd_numbers

COMMANDS_AN_EXAMPLE = 75

keys = st.sampled_from([b"a", b"b", b"c", b"{t}1", b"big", b"str"])
member_names = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"d", b"m1", b"m2", b"m3", b"7", b"-12", b"", b"\xff\0", b"x" * 64, b"y" * 65]),
    st.integers(0, 200).map(lambda n: b"%d" % n),
)
# such as 7.0 and 7.2 print alike
plain_scores = st.one_of(
    st.integers(-20, 20).map(lambda n: b"%d" % n),
    st.integers(-40, 40).map(lambda n: b"%.2f" % (n / 4)),
    st.sampled_from([b"inf", b"-inf", b"+inf", b"-0", b"0", b"1e3", b"0x10", b"1000000", b"3.5", b"-2.25"]),
)
scores = st.one_of(plain_scores, plain_scores, plain_scores, st.sampled_from([b"nan", b"x", b"", b" 1", b"1e400"]))
ends = st.one_of(
    plain_scores,
    plain_scores.map(lambda text: b"(" + text),
    st.sampled_from([b"-inf", b"+inf", b"(", b"", b" 3", b"1e400", b"x", b"((1", b"nan"]),
)
lex_ends = st.one_of(
    member_names.map(lambda name: b"[" + name),
    member_names.map(lambda name: b"(" + name),
    st.sampled_from([b"-", b"+", b"[", b"(", b"", b"x", b"-1", b"+x"]),
)
ranks = st.one_of(st.integers(-12, 12).map(lambda n: b"%d" % n), odd_numbers)
small_numbers = st.one_of(st.integers(-2, 12).map(lambda n: b"%d" % n), st.sampled_from([b"x", b"", b"1.0"]))
limit = st.tuples(cased("LIMIT"), small_numbers, small_numbers)
with_scores = cased("WITHSCORES")
members = st.lists(member_names, min_size=1, max_size=4)
pairs = st.lists(st.tuples(scores, member_names), min_size=1, max_size=4).map(
    lambda found: [w for p in found for w in p]
)
same_scores = st.lists(member_names, min_size=1, max_size=6).map(lambda names: [w for n in names for w in (b"0", n)])
zadd_options = options(*[cased(word) for word in ("NX", "XX", "GT", "LT", "CH", "INCR")], most=3)
some_keys = st.lists(keys, min_size=1, max_size=3)
counted_keys = st.one_of(
    some_keys.map(lambda names: [b"%d" % len(names), *names]),
    some_keys.map(lambda names: [b"%d" % len(names), *names]),
    st.tuples(st.sampled_from([b"0", b"-1", b"x", b"2", b"9"]), some_keys).map(lambda two: [two[0], *two[1]]),
)
weights = st.lists(scores, min_size=1, max_size=3).map(lambda numbers: [b"WEIGHTS", *numbers])
aggregate = pair("AGGREGATE", st.sampled_from([b"sum", b"MIN", b"max", b"x"]))
range_options = options(limit, with_scores, cased("REV"), cased("BYSCORE"), cased("BYLEX"), most=3)
old_options = options(limit, with_scores, most=2)
where = st.sampled_from([b"MIN", b"max", b"MAX", b"x"])

zset_commands = st.one_of(
    line("ZADD", keys, pairs),
    line("ZADD", keys, pairs),
    line("ZADD", keys, pairs),
    line("ZADD", keys, zadd_options, pairs),
    line("ZADD", st.just(b"lex"), same_scores),
    line("ZADD", keys, zadd_options, scores, member_names),
    line("ZINCRBY", keys, scores, member_names),
    line("ZREM", keys, members),
    line("ZCARD", keys),
    line("ZSCORE", keys, member_names),
    line("ZMSCORE", keys, members),
    line("ZRANK", keys, member_names),
    line("ZREVRANK", keys, member_names),
    line("ZCOUNT", keys, ends, ends),
    line("ZLEXCOUNT", st.just(b"lex"), lex_ends, lex_ends),
    line("ZRANGE", keys, ranks, ranks, range_options),
    line("ZRANGE", keys, ends, ends, cased("BYSCORE"), range_options),
    line("ZRANGE", st.just(b"lex"), lex_ends, lex_ends, cased("BYLEX"), range_options),
    line("ZREVRANGE", keys, ranks, ranks, old_options),
    line("ZRANGEBYSCORE", keys, ends, ends, old_options),
    line("ZREVRANGEBYSCORE", keys, ends, ends, old_options),
    line("ZRANGEBYLEX", st.just(b"lex"), lex_ends, lex_ends, old_options),
    line("ZREVRANGEBYLEX", st.just(b"lex"), lex_ends, lex_ends, old_options),
    line("ZRANGESTORE", keys, keys, ranks, ranks, range_options),
    line("ZRANGESTORE", keys, keys, ends, ends, cased("BYSCORE"), range_options),
    line("ZREMRANGEBYRANK", keys, ranks, ranks),
    line("ZREMRANGEBYSCORE", keys, ends, ends),
    line("ZREMRANGEBYLEX", st.just(b"lex"), lex_ends, lex_ends),
    line("ZPOPMIN", keys, st.lists(small_numbers, max_size=1)),
    line("ZPOPMAX", keys, st.lists(small_numbers, max_size=1)),
    line("ZMPOP", counted_keys, where, options(pair("COUNT", small_numbers), most=2)),
    line("ZRANDMEMBER", keys, st.lists(st.sampled_from([b"3", b"-3", b"0", b"1000", b"x", b"9223372036854775807",
                                                        b"-9223372036854775808"]), max_size=1),
         options(with_scores, st.just(b"x"), most=1)),
    line("ZSCAN", keys, st.sampled_from([b"0", b"x", b""]),
         options(pair("COUNT", st.sampled_from([b"1000", b"0", b"x"])), pair("MATCH", st.sampled_from([b"*", b"m?"])),
                 st.just(b"NOVALUE"))),
)  # fmt: skip
algebra_commands = st.one_of(
    line("ZUNION", counted_keys, options(weights, aggregate, with_scores)),
    line("ZINTER", counted_keys, options(weights, aggregate, with_scores)),
    line("ZDIFF", counted_keys, options(weights, with_scores, most=2)),
    line("ZUNIONSTORE", keys, counted_keys, options(weights, aggregate, with_scores)),
    line("ZINTERSTORE", keys, counted_keys, options(weights, aggregate)),
    line("ZDIFFSTORE", keys, counted_keys, options(weights, with_scores, most=1)),
    line("ZINTERCARD", counted_keys, options(pair("LIMIT", small_numbers), with_scores, most=2)),
)

places = st.sampled_from([b"geo", b"geo", b"geo2", b"a", b"str"])
cities = st.sampled_from([b"Palermo", b"Catania", b"Roma", b"p1", b"p2", b"p3", b"p4", b"p5", b"nowhere"])
longitudes = st.one_of(
    st.floats(-180, 180).map(lambda x: b"%.4f" % x),
    st.sampled_from([b"13.361389", b"15.087269", b"180", b"-180", b"179.99", b"-179.99", b"0", b"181", b"x"]),
)
latitudes = st.one_of(
    st.floats(-85, 85).map(lambda x: b"%.4f" % x),
    st.sampled_from([b"38.115556", b"37.502669", b"85", b"-85", b"0", b"80.5", b"67", b"-70", b"86", b"", b"nan"]),
)
near_longitudes = st.integers(0, 300).map(lambda n: b"%.3f" % (13 + n / 100))
near_latitudes = st.integers(0, 300).map(lambda n: b"%.3f" % (37 + n / 100))
triples = st.lists(
    st.one_of(st.tuples(longitudes, latitudes, cities), st.tuples(near_longitudes, near_latitudes, cities)),
    min_size=1,
    max_size=4,
).map(lambda found: [word for triple in found for word in triple])
units = st.sampled_from([b"m", b"km", b"KM", b"ft", b"mi", b"parsec"])
lengths = st.sampled_from([b"0", b"1", b"100", b"200.5", b"5000", b"12345678", b"20000000", b"-1", b"x", b"1e9"])
told = st.one_of(cased("WITHDIST"), cased("WITHHASH"), cased("WITHCOORD"))
ordering = st.one_of(cased("ASC"), cased("DESC"))
geo_count = pair("COUNT", st.sampled_from([b"1", b"2", b"3", b"100", b"0", b"-1", b"x"]))
found_options = options(told, told, ordering, geo_count, cased("ANY"), most=4)
store_options = options(told, ordering, geo_count, pair("STORE", places), pair("STOREDIST", places), most=3)
around = st.one_of(
    st.tuples(cased("FROMMEMBER"), cities),
    st.tuples(cased("FROMLONLAT"), longitudes, latitudes),
    st.tuples(cased("FROMLONLAT"), near_longitudes, near_latitudes),
)
shapes = st.one_of(
    st.tuples(cased("BYRADIUS"), lengths, units),
    st.tuples(cased("BYBOX"), lengths, lengths, units),
)
geo_commands = st.one_of(
    line("GEOADD", places, triples),
    line("GEOADD", places, triples),
    line("GEOADD", places, options(cased("NX"), cased("XX"), cased("CH"), most=2), triples),
    line("GEOPOS", places, st.lists(cities, max_size=3)),
    line("GEOHASH", places, st.lists(cities, max_size=3)),
    line("GEODIST", places, cities, cities, st.lists(units, max_size=2)),
    line("GEORADIUS", places, longitudes, latitudes, lengths, units, st.one_of(found_options, store_options)),
    line("GEORADIUS", places, near_longitudes, near_latitudes, lengths, units, found_options),
    line("GEORADIUSBYMEMBER", places, cities, lengths, units, st.one_of(found_options, store_options)),
    line("GEORADIUS_RO", places, near_longitudes, near_latitudes, lengths, units,
         st.one_of(found_options, store_options)),
    line("GEORADIUSBYMEMBER_RO", places, cities, lengths, units, found_options),
    line("GEOSEARCH", places, around, shapes, found_options),
    line("GEOSEARCH", places, around, shapes, found_options),
    line("GEOSEARCH", places, options(around, shapes, told, ordering, geo_count, most=4), st.just(b"ASC")),
    line("GEOSEARCHSTORE", places, places, around, shapes, options(told, ordering, geo_count, cased("ANY"),
                                                                   cased("STOREDIST"), most=3)),
)  # fmt: skip
other_commands = st.one_of(
    line("DEL", keys),
    line("SADD", keys, members),
    line("TYPE", keys),
    line("OBJECT", st.just(b"ENCODING"), keys),
    line("DEBUG", st.just(b"DIGEST-VALUE"), some_keys),
    line("SET", st.just(b"str"), st.just(b"x")),
    line("RENAME", keys, keys),
    line("COPY", keys, keys),
    line("EXPIRE", keys, st.just(b"1000")),
    line("PERSIST", keys),
)
fill = st.tuples(st.integers(1, 150), st.integers(1, 7)).map(
    lambda two: [b"ZADD", b"big", *(word for n in range(two[0]) for word in (b"%d" % (n * two[1] % 10), b"%d" % n))]
)
# Each place is another distance away: in what order Redis tells equally distant ones is chance, where it counts them.
crowd = st.tuples(st.integers(1, 150), st.integers(1, 7)).map(
    lambda two: [
        b"GEOADD",
        b"geo2",
        *(
            word
            for n in range(two[0])
            for word in (b"%.3f" % (n * two[1] * 7.13 % 300 - 150), b"%.3f" % (n * 9.17 % 160 - 80), b"%d" % n)
        ),
    ]
)


def traces(filled: st.SearchStrategy[Line], *families: st.SearchStrategy[Line]) -> st.SearchStrategy[list[Line]]:
    """Rows of commands of these families, with a few of others between; `filled` makes a big set."""
    known = st.one_of(*families)
    rare = st.one_of(
        st.tuples(known, members).map(lambda two: two[0] + two[1]),
        known.map(lambda words: words[:-1] if len(words) > 1 else words),
    )
    return st.lists(
        st.one_of(*[known] * 8, other_commands, other_commands, filled, rare),
        min_size=COMMANDS_AN_EXAMPLE,
        max_size=COMMANDS_AN_EXAMPLE + 20,
    )
