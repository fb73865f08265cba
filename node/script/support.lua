-- What the libraries of scripts share: errors and arguments as C functions have them, and the bits of numbers.
--
-- Every library is a chunk that runs once, before the sandbox closes, and keeps what it needs of Lua in locals: a
-- script that replaces a global changes nothing here. No function makes a tail call where an error may arise, so that
-- the frames between an error and the script that caused it can be told by their chunk's name.
local error, select, tonumber, type = error, select, tonumber, type
local byte, char, format, sub = string.byte, string.char, string.format, string.sub
local floor, frexp, ldexp = math.floor, math.frexp, math.ldexp
local getinfo = debug.getinfo

local support = {}
local SOURCE = getinfo(1, "S").source

-- The level, for the caller of this function's caller, of the first frame that is no library's.
local function outside()
    local level = 3
    while true do
        local info = getinfo(level, "S")
        if info == nil or info.source ~= SOURCE then
            return level - 1
        end
        level = level + 1
    end
end

-- Raise `message` at the place where the script called its library.
function support.fail(message)
    local level = outside()
    error(message, level)
end

-- Raise what Lua says of a bad argument, under the name by which the script called the function.
function support.bad_argument(position, message)
    local level = outside()
    local called = getinfo(level - 1, "n")
    local name = called.name or "?"
    if called.namewhat == "method" then
        position = position - 1
        if position == 0 then
            error(format("calling '%s' on bad self (%s)", name, message), level)
        end
    end
    error(format("bad argument #%d to '%s' (%s)", position, name, message), level)
end

local bad_argument = support.bad_argument

-- A value that an argument has, as a number (numerals in strings count) and as a string (numbers count).
local function number_of(value, position, found)
    local number = (type(value) == "number" or type(value) == "string") and tonumber(value)
    if not number then
        bad_argument(position, "number expected, got " .. (found or type(value)))
    end
    return number
end

local function text_of(value, position, found)
    if type(value) == "number" then
        value = value .. ""
    elseif type(value) ~= "string" then
        bad_argument(position, "string expected, got " .. (found or type(value)))
    end
    return value
end

support.number_of, support.text_of = number_of, text_of

-- The same of the argument at `position` of `...`, which may be missing.
function support.number(position, ...)
    local number = number_of((select(position, ...)), position, position > select("#", ...) and "no value")
    return number
end

function support.text(position, ...)
    local text = text_of((select(position, ...)), position, position > select("#", ...) and "no value")
    return text
end

-- A double as C makes an integer of it: without its fraction.
local function truncated(number)
    return number < 0 and -floor(-number) or floor(number)
end

-- The argument at `position` of `...` as a C int.
function support.integer(position, ...)
    local number = support.number(position, ...)
    return (truncated(number) + 2147483648) % 4294967296 - 2147483648
end

-- The same as a C long; `default`, unless that is nil, stands for one that is missing or nil.
function support.whole(position, default, ...)
    if default ~= nil and select(position, ...) == nil then
        return default
    end
    local number = support.number(position, ...)
    return truncated(number)
end

-- A number's sign by its bits, which zero and NaN have too.
local function is_negative(number)
    if number ~= number then
        return sub(format("%f", number), 1, 1) == "-"
    end
    return number < 0 or (number == 0 and 1 / number < 0)
end

-- The nearest integer, the even one of two, of a number from 0 to 2^52.
local function round(number)
    return (number + 4503599627370496) - 4503599627370496
end

-- The 32 bits of a number as an IEEE 754 single, rounded to it.
local function single_bits(number)
    local sign = is_negative(number) and 2147483648 or 0
    if number ~= number then
        return sign + 2143289344
    end
    number = sign == 0 and number or -number
    if number == 0 then
        return sign
    elseif number >= 3.4028235677973366e38 then -- half a step beyond the greatest single
        return sign + 2139095040
    end
    local mantissa, exponent = frexp(number)
    if exponent < -125 then
        return sign + round(ldexp(number, 149))
    end
    return sign + (exponent + 125) * 8388608 + round(mantissa * 16777216)
end

-- The bits of a number as an IEEE 754 double: the upper and the lower 32.
local function double_bits(number)
    local sign = is_negative(number) and 2147483648 or 0
    if number ~= number then
        return sign + 2146959360, 0
    end
    number = sign == 0 and number or -number
    if number == 0 then
        return sign, 0
    elseif number == 1 / 0 then
        return sign + 2146435072, 0
    end
    local mantissa, exponent = frexp(number)
    local bits, biased = ldexp(mantissa, 53) - 4503599627370496, exponent + 1022
    if biased < 1 then
        bits, biased = ldexp(ldexp(number, 537), 537), 0
    end
    local lower = bits % 4294967296
    return sign + biased * 1048576 + (bits - lower) / 4294967296, lower
end

-- The four bytes of a number from 0 to 2^32 - 1, the highest first.
local function four_bytes(bits)
    local d = bits % 256
    bits = (bits - d) / 256
    local c = bits % 256
    bits = (bits - c) / 256
    local b = bits % 256
    return char((bits - b) / 256, b, c, d)
end

-- The bytes of a number as an IEEE 754 single and as a double, the highest first.
function support.single(number)
    return four_bytes(single_bits(number))
end

function support.double(number)
    local upper, lower = double_bits(number)
    return four_bytes(upper) .. four_bytes(lower)
end

support.four_bytes = four_bytes

-- The unsigned number in the four bytes of `text` from `at` on, the highest first.
local function four_at(text, at)
    local a, b, c, d = byte(text, at, at + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

support.four_at = four_at

-- The number whose sign, biased exponent and fraction are these; `bias`, `width` and `top` tell the format.
local function assembled(sign, exponent, fraction, bias, width, top)
    local number
    if exponent == top then
        number = fraction == 0 and 1 / 0 or -(0 / 0)
    elseif exponent == 0 then
        number = ldexp(ldexp(fraction, -width), 1 - bias)
    else
        number = ldexp(1 + ldexp(fraction, -width), exponent - bias)
    end
    return sign == 0 and number or -number
end

-- The number in the four bytes of an IEEE 754 single, the highest first.
function support.from_single(text, at)
    local bits = four_at(text, at)
    local fraction = bits % 8388608
    local exponent = (bits - fraction) / 8388608
    return assembled(floor(exponent / 256), exponent % 256, fraction, 127, 23, 255)
end

-- The number in the eight bytes of an IEEE 754 double, the highest first.
function support.from_double(text, at)
    local upper, lower = four_at(text, at), four_at(text, at + 4)
    local fraction = upper % 1048576
    local exponent = (upper - fraction) / 1048576
    fraction = fraction * 4294967296 + lower
    return assembled(floor(exponent / 2048), exponent % 2048, fraction, 1023, 52, 2047)
end

return support
