"""Numbers as Redis reads and prints them.

Three kinds: 64-bit integers in canonical text; doubles (scores, and most replies); and the 80-bit extended doubles of
x86 (64 bits of mantissa) in which INCRBYFLOAT and HINCRBYFLOAT count. The last are kept as exact integers here, so
that they come out the same on every machine.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
INT_TEXT_BYTES_MAX: Final = 20
"""The longest text of a 64-bit integer: -9223372036854775808."""
SHARED_MAX: Final = 10_000
SHARED: Final = tuple(b"%d" % number for number in range(SHARED_MAX))
"""Texts of the smaller numbers, which all counters share, as in Redis: nothing is made and freed when one counts on."""

LONG_DOUBLE_TEXT_BYTES_MAX: Final = 5 * 1024 - 1
"""A longer text is no long double to Redis, whatever it says."""
MANTISSA_BITS: Final = 64
EXPONENT_MIN: Final = -16445
"""The weight of the lowest bit of the smallest (subnormal) long double."""
EXPONENT_MAX: Final = 16383
"""The weight of the highest bit of the largest one."""
DECIMAL_EXPONENT_MAX: Final = 6000
"""Beyond it any mantissa of a text that is short enough overflows or underflows."""
FRACTION_DIGITS: Final = 17

DOUBLE_AS_INT_MAX: Final = float(1 << 62)

DECIMAL: Final = re.compile(rb"[+-]?(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d+))?", re.ASCII)
HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0[xX](?:([0-9a-fA-F]+)(?:\.([0-9a-fA-F]*))?|\.([0-9a-fA-F]+))(?:[pP]([+-]?\d+))?", re.ASCII
)
INFINITY: Final = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE)


def parse_int(text: bytes | bytearray) -> int | None:
    """Return the 64-bit integer whose canonical text this is (no plus, spaces, leading zeros), or None."""
    length = len(text)
    if not 0 < length <= INT_TEXT_BYTES_MAX:
        return None
    digits = text[1:] if text[0] == 45 else text
    if not digits.isdigit() or (digits[0] == 48 and length > 1):
        return None
    number = int(text)
    return number if INT64_MIN <= number <= INT64_MAX else None


def parse_float(text: bytes) -> float | None:
    """Return the double that `text` means, as the C library reads it: decimal, hexadecimal or infinite.

    None for anything else, for not-a-number, and for what is too large or too small for a double.
    """
    if DECIMAL.fullmatch(text):
        number = float(text)
        # Overflow and underflow are errors, where Python says inf and 0.
        if math.isinf(number) or (number == 0 and _has_digits(text, b"123456789", b"eE")):
            return None
        return number
    if HEXADECIMAL.fullmatch(text):
        try:
            number = float.fromhex(text.decode("ascii"))
        except OverflowError:
            return None
        return None if number == 0 and _has_digits(text, b"123456789abcdefABCDEF", b"pP") else number
    match = INFINITY.fullmatch(text)
    if match is None:
        return None
    return -math.inf if match[1] == b"-" else math.inf


def _has_digits(text: bytes, digits: bytes, exponent_letters: bytes) -> bool:
    """Tell whether one of `digits` stands in `text` before its exponent."""
    for byte in text:
        if byte in exponent_letters:
            return False
        if byte in digits:
            return True
    return False


def format_double(number: float) -> bytes:
    """Return `number` as replies of Redis 7.2 have it: integers up to 2**62 plain, else the shortest exact digits.

    With value = digits * 10**k of n digits and e = abs(k + n - 1): k >= 0 and e < n + 7 gives a plain integer; k < 0
    and (k > -7 or e < 4) a plain decimal; anything else the form d.ddde+20. Zero keeps its sign.
    """
    if -DOUBLE_AS_INT_MAX <= number <= DOUBLE_AS_INT_MAX and number == (whole := int(number)):
        return b"%d" % whole if whole else b"-0" if math.copysign(1, number) < 0 else b"0"
    if number != number:
        return b"nan"
    if math.isinf(number):
        return b"inf" if number > 0 else b"-inf"
    text = repr(number)
    if 0.001 <= abs(number) < 10000 or ("e" not in text and len(text) - text.index(".") <= 7):
        return text.encode()  # e < 4 or k > -7: plain, as Python has it; five times as fast
    sign, digits, k = _shortest_digits(number)
    n = len(digits)
    exponent = abs(k + n - 1)
    if k >= 0 and exponent < n + 7:
        text = digits + "0" * k
    elif k < 0 and (k > -7 or exponent < 4):
        text = _plain_decimal(digits, -k)
    else:
        point = "." if n > 1 else ""
        text = f"{digits[0]}{point}{digits[1:]}e{'-' if k + n - 1 < 0 else '+'}{exponent}"
    return f"{sign}{text}".encode()


def _shortest_digits(number: float) -> tuple[str, str, int]:
    """Return the sign, the fewest digits that read back as `number`, and the power of ten of the last of them."""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    k = int(exponent or 0) - len(fraction)
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    return "-" if number < 0 else "", stripped, k + len(digits) - len(stripped)


def _plain_decimal(digits: str, decimals: int) -> str:
    digits = digits.rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


@dataclass(frozen=True, slots=True)
class LongDouble:
    """The extended double `mantissa` * 2**`exponent`, or an infinity of the mantissa's sign.

    The mantissa is signed and has at most 64 bits. Zero has no sign: nothing that is printed depends on it.
    """

    mantissa: int
    exponent: int
    infinite: bool = False

    def __add__(self, other: "LongDouble") -> "LongDouble | None":
        """Return the sum, rounded to even; None if it would be infinite or not a number, which Redis refuses."""
        if self.infinite or other.infinite:
            return None
        exponent = min(self.exponent, other.exponent)
        total = (self.mantissa << self.exponent - exponent) + (other.mantissa << other.exponent - exponent)
        result = round_long_double(total, 1, exponent)
        return None if result.infinite else result


ZERO: Final = LongDouble(0, 0)


def round_long_double(numerator: int, denominator: int, exponent: int = 0) -> LongDouble:
    """Return the extended double nearest to numerator / denominator * 2**exponent, to even where two are."""
    if not numerator:
        return ZERO
    size = abs(numerator)
    # The quotient shall have 64 or 65 bits, or fewer where the result is subnormal; the rest decides the rounding.
    shift = max(size.bit_length() - denominator.bit_length() - MANTISSA_BITS, EXPONENT_MIN - exponent)
    mantissa = _divide_to_even(size, denominator, shift)
    if mantissa.bit_length() > MANTISSA_BITS:
        shift += 1
        mantissa = _divide_to_even(size, denominator, shift)
    if mantissa and mantissa.bit_length() - 1 + shift + exponent > EXPONENT_MAX:
        return LongDouble(1 if numerator > 0 else -1, 0, infinite=True)
    return LongDouble(mantissa if numerator > 0 else -mantissa, shift + exponent) if mantissa else ZERO


def _divide_to_even(numerator: int, denominator: int, shift: int) -> int:
    """Return numerator / denominator / 2**shift, rounded half to even."""
    if shift >= 0:
        denominator <<= shift
    else:
        numerator <<= -shift
    quotient, remainder = divmod(numerator, denominator)
    return quotient + (2 * remainder + (quotient & 1) > denominator)


def parse_long_double(text: bytes | bytearray) -> LongDouble | None:
    """Return the extended double that `text` means, as the C library reads it; None as for `parse_float`."""
    if len(text) > LONG_DOUBLE_TEXT_BYTES_MAX:
        return None
    match = INFINITY.fullmatch(text)
    if match is not None:
        return LongDouble(-1 if match[1] == b"-" else 1, 0, infinite=True)
    result = _parse_decimal(text) or _parse_hexadecimal(text)
    return None if result is None or result.infinite else result


def _parse_decimal(text: bytes | bytearray) -> LongDouble | None:
    match = DECIMAL.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match[1] or b"", match[2] or match[3] or b""
    # By way of Decimal, since int() refuses more than some thousand digits.
    numerator = int(Decimal((whole + fraction).decode("ascii")))
    if not numerator:
        return ZERO
    exponent = _bounded_exponent(match[4], DECIMAL_EXPONENT_MAX + LONG_DOUBLE_TEXT_BYTES_MAX) - len(fraction)
    if text[:1] == b"-":
        numerator = -numerator
    if exponent >= 0:
        result = round_long_double(numerator * 10**exponent, 1)
    else:
        result = round_long_double(numerator, 10**-exponent)
    return result if result.mantissa else None


def _parse_hexadecimal(text: bytes | bytearray) -> LongDouble | None:
    match = HEXADECIMAL.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match[2] or b"", match[3] or match[4] or b""
    numerator = int(whole + fraction, 16)
    if not numerator:
        return ZERO
    exponent = _bounded_exponent(match[5], 4 * DECIMAL_EXPONENT_MAX + 4 * LONG_DOUBLE_TEXT_BYTES_MAX)
    exponent -= 4 * len(fraction)
    result = round_long_double(-numerator if match[1] == b"-" else numerator, 1, exponent)
    return result if result.mantissa else None


def _bounded_exponent(digits: bytes | None, bound: int) -> int:
    """Return the exponent, or the bound of its sign: both give the same, an overflow or underflow."""
    if not digits:
        return 0
    if len(digits.lstrip(b"+-0")) > len(str(bound)):
        return -bound if digits[:1] == b"-" else bound
    return max(-bound, min(bound, int(Decimal(digits.decode("ascii")))))


def format_long_double(number: LongDouble) -> bytes:
    """Return `number` with up to 17 decimals, without trailing zeros and without an exponent: INCRBYFLOAT's reply."""
    scaled = abs(number.mantissa) * 10**FRACTION_DIGITS
    scaled = scaled << number.exponent if number.exponent >= 0 else _divide_to_even(scaled, 1, -number.exponent)
    digits = f"{Decimal(scaled):f}".rjust(FRACTION_DIGITS + 1, "0")
    text = f"{digits[:-FRACTION_DIGITS]}.{digits[-FRACTION_DIGITS:]}".rstrip("0").rstrip(".")
    return f"-{text}".encode() if number.mantissa < 0 and text != "0" else text.encode()
