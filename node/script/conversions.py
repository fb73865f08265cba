"""Values on their way between commands and scripts, as Redis 7.2 converts them.

Into Lua (`to_lua`), by what the script asked for with `redis.setresp`:

    reply            RESP2                     RESP3
    int, bytes       number, string            same
    status, error    {ok=...}, {err=...}       same
    None             false                     nil
    list             array                     array
    dict, set        flat array, array         {map={...}}, {set={member=true}}
    float, boolean   string, 1 or 0            {double=n}, true or false
    big number       string                    {big_number=text}
    verbatim         string                    {verbatim_string={string=text, format="txt"}}

Out of Lua, values are written in the wire's form by the sandbox itself; `whole_number` is how Lua's numbers become
integers.
"""

import math
from collections.abc import Callable
from typing import Any

from node.datatypes.numbers import format_double
from node.net.replies import ReplyParser
from node.net.resp import (
    BigNumber,
    Encoded,
    Failure,
    Members,
    NullArray,
    Push,
    Reply,
    Status,
    Truth,
    Verbatim,
)

INTEGER_MIN = -(2**63)
WHOLE_MAX = 2**62
"""Up to here a number without a fraction is written as an integer, as in Redis."""

MakeTable = Callable[[Any], Any]


def decoded(reply: Encoded) -> Reply:
    """A reply that was encoded already, as a value again."""
    parser = ReplyParser()
    parser.feed(reply)
    (value,) = parser.parse()
    return value


def to_lua(reply: Reply, make_table: MakeTable, resp3: bool) -> Any:
    """What a script gets for a reply; `make_table` makes a Lua table of a list or a dict."""
    kind = type(reply)
    if kind is bytes or kind is int:
        return reply
    if reply is None or kind is NullArray:
        return None if resp3 else False
    if kind is list or kind is tuple:
        return make_table([_inner(item, make_table, resp3) for item in reply])
    return _TO_LUA[kind](reply, make_table, resp3)


def _inner(reply: Reply, make_table: MakeTable, resp3: bool) -> Any:
    return reply if type(reply) is bytes else to_lua(reply, make_table, resp3)


def _encoded(reply: Encoded, make_table: MakeTable, resp3: bool) -> Any:
    return to_lua(decoded(reply), make_table, resp3)


def _map(reply: dict[Any, Any], make_table: MakeTable, resp3: bool) -> Any:
    if not resp3:
        flat = [part for pair in reply.items() for part in pair]
        return to_lua(flat, make_table, resp3)
    members = {
        to_lua(name, make_table, resp3): to_lua(value, make_table, resp3)
        for name, value in reply.items()
        if name is not None
    }
    return make_table({b"map": make_table(members)})


def _set(reply: Members, make_table: MakeTable, resp3: bool) -> Any:
    if not resp3:
        return to_lua(list(reply), make_table, resp3)
    return make_table({b"set": make_table({to_lua(member, make_table, resp3): True for member in reply})})


def _double(reply: float, make_table: MakeTable, resp3: bool) -> Any:
    return make_table({b"double": reply}) if resp3 else format_double(reply)


def _truth(reply: Truth, make_table: MakeTable, resp3: bool) -> Any:
    return reply.value if resp3 else int(reply.value)


def _big_number(reply: BigNumber, make_table: MakeTable, resp3: bool) -> Any:
    return make_table({b"big_number": bytes(reply)}) if resp3 else bytes(reply)


def _verbatim(reply: Verbatim, make_table: MakeTable, resp3: bool) -> Any:
    if not resp3:
        return bytes(reply)
    return make_table({b"verbatim_string": make_table({b"string": bytes(reply), b"format": b"txt"})})


_TO_LUA: dict[type, Callable[[Any, MakeTable, bool], Any]] = {
    bytearray: lambda reply, _make_table, _resp3: bytes(reply),
    Encoded: _encoded,
    Status: lambda reply, make_table, _resp3: make_table({b"ok": bytes(reply)}),
    Failure: lambda reply, make_table, _resp3: make_table({b"err": bytes(reply)}),
    dict: _map,
    Members: _set,
    Push: lambda reply, make_table, resp3: to_lua(list(reply), make_table, resp3),
    float: _double,
    Truth: _truth,
    BigNumber: _big_number,
    Verbatim: _verbatim,
}


def argument(value: Any) -> bytes | None:
    """An argument of a command as a script wrote it; None if it is neither string nor number."""
    kind = type(value)
    if kind is bytes:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return b"%d" % value if -WHOLE_MAX <= value <= WHOLE_MAX else format_double(float(value))
    if kind is not float:
        return None
    return format_double(value) if value == value else b"-nan" if math.copysign(1, value) < 0 else b"nan"


def whole_number(value: float) -> int:
    """A number of Lua as the integer of a reply: cut off towards zero; what does not fit is the least integer."""
    if -(2.0**63) <= value < 2.0**63:
        return int(value)
    return INTEGER_MIN
