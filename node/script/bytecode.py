"""Bytecode of Lua 5.1, as far as the place of an error needs it: calls in tail position that keep their frame.

Lua drops the frame of a function that ends in `return f()`. Redis's own functions are C and keep it, so an error of
`return redis.call(...)` names its line; ours are Lua, and the line would be lost. So in code that we compiled
ourselves, a tail call becomes a call and the return that already follows it: everywhere in the script's main body
(which costs one frame at most), and within functions where a member of a library is called by name. Functions that
call themselves by a tail call go on without growing the stack.

The format is that of `lundump.c` of Lua 5.1: a header, then one function with those nested in it.
"""

import struct

HEADER_BYTES = 12
CALL, TAIL_CALL, GET_TABLE = 28, 29, 6
CONSTANT = 256
"""An operand of this size or more is a constant."""

LIBRARY_MEMBERS = frozenset(
    b"call pcall error_reply status_reply sha1hex log setresp set_repl acl_check_cmd register_function encode decode "
    b"pack unpack unpack_one unpack_limit size encode_sparse_array encode_max_depth decode_max_depth "
    b"encode_number_precision encode_keep_buffer encode_invalid_numbers decode_invalid_numbers tobit bnot band bor "
    b"bxor lshift rshift arshift rol ror bswap tohex".split()
)


class _Reader:
    """Walks through the dump and changes calls in place."""

    def __init__(self, code: bytes) -> None:
        self.code = bytearray(code)
        self.at = HEADER_BYTES
        order = "<" if code[6] else ">"
        self._int = struct.Struct(order + "i")
        self._size = struct.Struct(order + ("Q" if code[8] == 8 else "I"))
        self._instruction = struct.Struct(order + "I")

    def number(self) -> int:
        (number,) = self._int.unpack_from(self.code, self.at)
        self.at += 4
        return int(number)

    def byte(self) -> int:
        self.at += 1
        return self.code[self.at - 1]

    def string(self) -> bytes:
        (size,) = self._size.unpack_from(self.code, self.at)
        start = self.at + self._size.size
        self.at = start + size
        return bytes(self.code[start : self.at - 1]) if size else b""

    def constant(self) -> bytes | None:
        """The next constant, if it is a string."""
        kind = self.byte()
        if kind == 4:
            return self.string()
        self.at += {0: 0, 1: 1, 3: 8}[kind]
        return None

    def function(self, main: bool) -> None:
        self.string()
        self.at += 12  # its lines, upvalues, parameters, stack
        count = self.number()
        start = self.at
        self.at += 4 * count
        constants = [self.constant() for _ in range(self.number())]
        self._keep_frames(start, count, constants, main)
        for _ in range(self.number()):
            self.function(False)
        self._skip_debug()

    def _skip_debug(self) -> None:
        lines = self.number()
        self.at += 4 * lines
        for _ in range(self.number()):
            self.string()
            self.at += 8
        for _ in range(self.number()):
            self.string()

    def _keep_frames(self, start: int, count: int, constants: list[bytes | None], main: bool) -> None:
        from_library: dict[int, bool] = {}  # register -> it was last set to a member of a library
        for at in range(start, start + 4 * count, 4):
            (word,) = self._instruction.unpack_from(self.code, at)
            operation, register = word & 63, word >> 6 & 255
            if operation == TAIL_CALL:
                if main or from_library.get(register):
                    self._instruction.pack_into(self.code, at, word & ~63 | CALL)
            else:
                key = (word >> 14 & 511) - CONSTANT
                known = operation == GET_TABLE and 0 <= key < len(constants) and constants[key] in LIBRARY_MEMBERS
                from_library[register] = known


def keep_frames(code: bytes) -> bytes:
    """The same program, with the frames of tail calls kept where the place of an error asks for it."""
    reader = _Reader(code)
    reader.function(True)
    return bytes(reader.code)
