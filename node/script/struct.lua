-- The library `struct`: values packed into bytes and taken out of them, as lua_struct 0.2 does it.
--
-- A format is a row of options: `>` `<` order of bytes, `!n` the greatest alignment, `x` a byte of padding, `b` `h` `l`
-- `i` with their unsigned capitals and `T`: integers, `s` text up to a zero, `cn` text of n bytes, `f` and `d`: floats.
-- Integers have the 64 bits of C's long: bytes beyond them are zeros.
local support = ...
local select, tonumber, unpack = select, tonumber, unpack
local byte, char, find, format = string.byte, string.char, string.find, string.format
local rep, reverse, sub = string.rep, string.reverse, string.sub
local concat = table.concat
local floor, min = math.floor, math.min
local fail, bad_argument = support.fail, support.bad_argument

local ALIGNMENT_MAX = 8
local INTEGER_BYTES_MAX = 32
local NUMBER_MAX = 2147483647
local RESULTS_MAX = 7996 -- what Lua's stack of a C function holds

local SIZES = { B = 1, b = 1, H = 2, h = 2, L = 8, l = 8, T = 8, f = 4, d = 8, x = 1 }
local INTEGERS = { b = true, B = true, h = true, H = true, l = true, L = true, T = true, i = true, I = true }

-- The number in a format at `at` and the place behind it, or the default.
local function number_in(options, at, default)
    local _, stop = find(options, "^%d+", at)
    if stop == nil then
        return default, at
    end
    local number = tonumber(sub(options, at, stop))
    if number > NUMBER_MAX then
        fail("integral size overflow")
    end
    return number, stop + 1
end

-- The size of an option in bytes, and the place behind it.
local function size_of(option, options, at)
    if option == "c" then
        return number_in(options, at, 1)
    elseif option ~= "i" and option ~= "I" then
        return SIZES[option] or 0, at
    end
    local size, behind = number_in(options, at, 4)
    if size > INTEGER_BYTES_MAX then
        fail(format("integral size %d is larger than limit of %d", size, INTEGER_BYTES_MAX))
    end
    return size, behind
end

local function is_power_of_two(number)
    while number > 1 and number % 2 == 0 do
        number = number / 2
    end
    return number == 1
end

-- The lowest bits that a size and a position have in common, for sizes up to 32.
local function common_bits(a, b)
    local result, place = 0, 1
    while a > 0 do
        if a % 2 == 1 and b % 2 == 1 then
            result = result + place
        end
        a, b, place = floor(a / 2), floor(b / 2), place * 2
    end
    return result
end

-- How many bytes of padding an option needs at `length`.
local function padding(length, alignment, option, size)
    if size == 0 or option == "c" or alignment == 1 then
        return 0
    end
    size = size > alignment and alignment or size
    return common_bits(size - 1, size - common_bits(size - 1, length))
end

-- Walks a format: an option, its size in bytes and the padding before it at a time.
local function walk(options)
    local stop = find(options, "%z")
    options = stop and sub(options, 1, stop - 1) or options
    return { options = options, at = 1, alignment = 1, big = false }
end

local function next_option(self, length)
    local option = sub(self.options, self.at, self.at)
    if option == "" then
        return nil
    end
    local size
    size, self.at = size_of(option, self.options, self.at + 1)
    return option, size, padding(length, self.alignment, option, size)
end

local function control(self, option)
    if option == "<" or option == ">" then
        self.big = option == ">"
    elseif option == "!" then
        local alignment
        alignment, self.at = number_in(self.options, self.at, ALIGNMENT_MAX)
        if not is_power_of_two(alignment) then
            fail(format("alignment %d is not a power of 2", alignment))
        end
        self.alignment = alignment
    elseif option ~= " " then
        bad_argument(1, "invalid format option '" .. option .. "'")
    end
end

-- Two's complement; beyond the 64 bits of C's integer zeros follow.
local function integer_bytes(number, size, big)
    number = number < 0 and -floor(-number) or floor(number)
    local bytes = {}
    for place = 1, size do
        local low = place > 8 and 0 or number % 256
        bytes[place] = low
        number = (number - low) / 256
    end
    local packed = char(unpack(bytes, 1, size))
    return big and reverse(packed) or packed
end

local function ordered(packed, big)
    return big and packed or reverse(packed)
end

local function packed_text(option, size, position, value)
    local text = support.text_of(value, position)
    size = size == 0 and #text or size
    if #text < size then
        bad_argument(position + 1, "string too short")
    end
    text = sub(text, 1, size)
    return option == "s" and text .. "\0" or text
end

local function packed_value(option, size, big, position, value)
    if INTEGERS[option] then
        local number = support.number_of(value, position)
        return integer_bytes(number, size, big)
    elseif option == "f" then
        local number = support.number_of(value, position)
        return ordered(support.single(number), big)
    elseif option == "d" then
        local number = support.number_of(value, position)
        return ordered(support.double(number), big)
    elseif option == "c" or option == "s" then
        local text = packed_text(option, size, position, value)
        return text
    end
end

local struct = {}

-- Values that are missing are called nil in errors.
function struct.pack(...)
    local form = walk(support.text(1, ...))
    local position, length, pieces = 2, 0, {}
    while true do
        local option, size, gap = next_option(form, length)
        if option == nil then
            return concat(pieces)
        end
        if gap > 0 then
            pieces[#pieces + 1] = rep("\0", gap)
        end
        local packed
        if option == "x" then
            packed = "\0"
        else
            packed = packed_value(option, size, form.big, position, (select(position, ...)))
            position = packed and position + 1 or position
        end
        if packed then
            pieces[#pieces + 1] = packed
            length = length + gap + #packed
        else
            control(form, option)
            length = length + gap
        end
    end
end

-- An integer of more than 64 bits: its sign is looked for where C's shift by that many ends up, modulo 64.
local function integer_at(data, at, size, option, big)
    local lowest, step = at, 1
    if big then
        lowest, step = at + size - 1, -1
    end
    local halves = { 0, 0 }
    for half = 1, 2 do
        local weight = 1
        for place = (half - 1) * 4, min(size, half * 4) - 1 do
            halves[half] = halves[half] + byte(data, lowest + place * step) * weight
            weight = weight * 256
        end
    end
    local low, high = halves[1], halves[2]
    if not find(option, "%l") then
        return high * 4294967296 + low
    end
    local sign = (size * 8 - 1) % 64
    if sign < 32 and (high > 0 or low >= 2 ^ sign) then
        return low % 2 ^ sign - 2 ^ sign
    elseif sign >= 32 and high >= 2 ^ (sign - 32) then
        high = high % 2 ^ (sign - 32) - 2 ^ (sign - 32)
    end
    return high * 4294967296 + low
end

local function check_room(size, at, length)
    if size > length or at < 0 or at > length - size then
        bad_argument(2, "data string too short")
    end
end

-- The text of an option `cn`: of `c0` the value before it is the length, and is no result itself.
local function text_at(data, at, size, results)
    if size > 0 then
        return sub(data, at + 1, at + size), size
    end
    local last = results[results.count]
    local length = results.count > 0 and tonumber(last)
    if not length then
        fail("format 'c0' needs a previous size")
    end
    results.count = results.count - 1
    length = length < 0 and -floor(-length) or floor(length)
    if length >= 18446744073709551616 then -- as the conversion to C's size_t has it on the usual machines
        length = 0
    elseif length < 0 or length ~= length then
        length = 1 / 0
    end
    check_room(length, at, #data)
    return sub(data, at + 1, at + length), length
end

local function value_at(data, at, option, size, big, results)
    if INTEGERS[option] then
        return integer_at(data, at + 1, size, option, big), size
    elseif option == "f" or option == "d" then
        local packed = ordered(sub(data, at + 1, at + size), big)
        return (option == "f" and support.from_single or support.from_double)(packed, 1), size
    elseif option == "c" then
        local text, length = text_at(data, at, size, results)
        return text, length
    end
    local stop = find(data, "%z", at + 1)
    if stop == nil then
        fail("unfinished string in data")
    end
    return sub(data, at + 1, stop - 1), stop - at
end

function struct.unpack(...)
    local form = walk(support.text(1, ...))
    local data = support.text(2, ...)
    local at = support.whole(3, 1, ...)
    if at == 0 then
        bad_argument(3, "offset must be 1 or greater")
    end
    at = at - 1
    local results = { count = 0 }
    while true do
        local option, size, gap = next_option(form, at)
        if option == nil then
            break
        end
        at = at + gap
        check_room(size, at, #data)
        if results.count > RESULTS_MAX then
            fail("stack overflow (too many results)")
        end
        if INTEGERS[option] or find(option, "[fdcs]") then
            local value
            value, size = value_at(data, at, option, size, form.big, results)
            results.count = results.count + 1
            results[results.count] = value
        elseif option ~= "x" then
            control(form, option)
        end
        at = at + size
    end
    results.count = results.count + 1
    results[results.count] = at + 1
    return unpack(results, 1, results.count)
end

function struct.size(...)
    local form = walk(support.text(1, ...))
    local length = 0
    while true do
        local option, size, gap = next_option(form, length)
        if option == nil then
            return length
        end
        if option == "s" then
            bad_argument(1, "option 's' has no fixed size")
        elseif option == "c" and size == 0 then
            bad_argument(1, "option 'c0' has no fixed size")
        elseif not find(option, "%w") then
            control(form, option)
        end
        length = length + gap + size
    end
end

return struct
