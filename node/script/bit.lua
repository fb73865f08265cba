-- The library `bit`: operations on 32 bits, with the names, ranges and errors of LuaBitOp 1.0.
--
-- Lua 5.1 has no operations on bits. Numbers are cut into six pieces of six bits, and a table knows the AND of two.
-- OR and XOR follow from it: a + b = (a OR b) + (a AND b), and (a OR b) = (a XOR b) + (a AND b).
local support = ...
local select, type = select, type
local floor, frexp, ldexp = math.floor, math.frexp, math.ldexp
local format, sub, upper = string.format, string.sub, string.upper
local number_argument = support.number

local HALF, WHOLE = 2147483648, 4294967296
local MAGIC = 6755399441055744 -- 2^52 + 2^51: added to a number, it rounds it to an integer, halves to even

local POWER = {}
for exponent = 0, 32 do
    POWER[exponent] = 2 ^ exponent
end

local AND = { [0] = 0 }
for a = 0, 63 do
    for b = 0, 63 do
        local of_halves = AND[floor(a / 2) * 64 + floor(b / 2)]
        AND[a * 64 + b] = 2 * of_halves + (a % 2) * (b % 2)
    end
end

-- Numbers beyond 2^51 keep what the lowest bits of their double hold after MAGIC was added.
local function far_bits(number)
    if number ~= number or number == 1 / 0 or number == -1 / 0 then
        return 0
    end
    local mantissa = frexp(number < 0 and -number or number)
    return ldexp(mantissa, 53) % WHOLE
end

-- The 32 bits of an argument, as a number from 0 to 2^32 - 1.
local function bits_of(number)
    number = number + MAGIC
    if number >= 4503599627370496 and number < 9007199254740992 then
        return number % WHOLE
    end
    return far_bits(number)
end

local function argument(position, ...)
    local value = select(position, ...)
    if type(value) ~= "number" then
        value = number_argument(position, ...)
    end
    return bits_of(value)
end

local function signed(bits)
    return bits >= HALF and bits - WHOLE or bits
end

local function both(a, b)
    local a0, b0 = a % 64, b % 64
    a, b = (a - a0) / 64, (b - b0) / 64
    local a1, b1 = a % 64, b % 64
    a, b = (a - a1) / 64, (b - b1) / 64
    local a2, b2 = a % 64, b % 64
    a, b = (a - a2) / 64, (b - b2) / 64
    local a3, b3 = a % 64, b % 64
    a, b = (a - a3) / 64, (b - b3) / 64
    local a4, b4 = a % 64, b % 64
    a, b = (a - a4) / 64, (b - b4) / 64
    return AND[a0 * 64 + b0]
        + AND[a1 * 64 + b1] * 64
        + AND[a2 * 64 + b2] * 4096
        + AND[a3 * 64 + b3] * 262144
        + AND[a4 * 64 + b4] * 16777216
        + AND[a * 64 + b] * 1073741824
end

local function either(a, b)
    return a + b - both(a, b)
end

local function one(a, b)
    return a + b - 2 * both(a, b)
end

-- Arguments after the first are taken from the last on: so the error names the last of several bad ones.
local function folding(combine)
    return function(...)
        local result = argument(1, ...)
        for position = select("#", ...), 2, -1 do
            result = combine(result, argument(position, ...))
        end
        return signed(result)
    end
end

local function shift_left(bits, count)
    return bits % POWER[32 - count] * POWER[count]
end

local function shift_right(bits, count)
    return floor(bits / POWER[count])
end

local function rotate_left(bits, count)
    return shift_left(bits, count) + shift_right(bits, 32 - count)
end

local function shifting(shift)
    return function(...)
        local bits = argument(1, ...)
        local count = argument(2, ...)
        return signed(shift(bits, count % 32))
    end
end

local bit = {}

function bit.tobit(...)
    local bits = argument(1, ...)
    return signed(bits)
end

function bit.bnot(...)
    local bits = argument(1, ...)
    return signed(WHOLE - 1 - bits)
end

bit.band = folding(both)
bit.bor = folding(either)
bit.bxor = folding(one)
bit.lshift = shifting(shift_left)
bit.rshift = shifting(shift_right)
bit.arshift = shifting(function(bits, count)
    return floor(signed(bits) / POWER[count]) % WHOLE
end)
bit.rol = shifting(rotate_left)
bit.ror = shifting(function(bits, count)
    return rotate_left(bits, (32 - count) % 32)
end)

function bit.bswap(...)
    local bits = argument(1, ...)
    local d = bits % 256
    bits = (bits - d) / 256
    local c = bits % 256
    bits = (bits - c) / 256
    local b = bits % 256
    local a = (bits - b) / 256
    return signed(((d * 256 + c) * 256 + b) * 256 + a)
end

-- The last `digits` hexadecimal digits, eight if it is missing; capitals if it is negative.
function bit.tohex(...)
    local bits = argument(1, ...)
    local digits = select("#", ...) < 2 and 8 or signed(argument(2, ...))
    local text = format("%08x", bits)
    if digits < 0 then
        digits, text = -digits, upper(text)
    end
    return digits >= 8 and text or sub(text, 9 - digits)
end

return bit
