-- The library `cmsgpack`: MessagePack, with the choices of lua-cmsgpack 0.4.0: whole numbers become the shortest
-- integer, others a single where it holds them exactly; a table whose keys are 1 to n is an array; what lies deeper
-- than 16 tables, and what is no value, becomes nil. No bin and no ext types.
local support = ...
local error, next, rawget, rawset, select, type, unpack = error, next, rawget, rawset, select, type, unpack
local byte, char, format, sub = string.byte, string.char, string.format, string.sub
local concat = table.concat
local floor = math.floor
local fail, bad_argument = support.fail, support.bad_argument
local four_bytes, four_at = support.four_bytes, support.four_at

local TABLES_MAX = 16
local STACK_MAX = 7999 -- what Lua's stack of a C function holds
local DEPTH_MAX = 3999 -- and so many tables within tables, each with what it waits for
local ARGUMENTS_MAX = 3999
local MANY_RESULTS = "too many return values at once; use unpack_one or unpack_limit instead."

local function two_bytes(number)
    return char(floor(number / 256), number % 256)
end

local function packed_integer(number)
    if number >= 0 then
        if number < 128 then
            return char(number)
        elseif number < 256 then
            return char(204, number)
        elseif number < 65536 then
            return "\205" .. two_bytes(number)
        elseif number < 4294967296 then
            return "\206" .. four_bytes(number)
        end
        return "\207" .. four_bytes(floor(number / 4294967296)) .. four_bytes(number % 4294967296)
    elseif number >= -32 then
        return char(256 + number)
    elseif number >= -128 then
        return char(208, 256 + number)
    elseif number >= -32768 then
        return "\209" .. two_bytes(65536 + number)
    elseif number >= -2147483648 then
        return "\210" .. four_bytes(4294967296 + number)
    end
    return "\211" .. four_bytes(floor(number / 4294967296) % 4294967296) .. four_bytes(number % 4294967296)
end

local function packed_number(number)
    if number == floor(number) and number >= -9223372036854775808 and number < 9223372036854775808 then
        return packed_integer(number)
    end
    local single = support.single(number)
    if support.from_single(single, 1) == number then
        return "\202" .. single
    end
    return "\203" .. support.double(number)
end

-- The head of a value of `count` parts: `fixed` plus the count where it is less than `limit`.
local function head(count, fixed, limit, sixteen_bits)
    if count < limit then
        return char(fixed + count)
    elseif count < 65536 then
        return char(sixteen_bits) .. two_bytes(count)
    end
    return char(sixteen_bits + 1) .. four_bytes(count)
end

local function packed_string(text)
    local size = #text
    if size >= 32 and size < 256 then
        return char(217, size) .. text
    end
    return head(size, 160, 32, 218) .. text
end

local function is_array(values)
    local greatest, count = 0, 0
    for key in next, values do
        if type(key) ~= "number" or key <= 0 or key ~= floor(key) then
            return false
        end
        count = count + 1
        greatest = key > greatest and key or greatest
    end
    return greatest == count
end

local pack_value

local function pack_table(values, pieces, depth)
    if is_array(values) then
        local size = #values
        pieces[#pieces + 1] = head(size, 144, 16, 220)
        for index = 1, size do
            pack_value(rawget(values, index), pieces, depth + 1)
        end
        return
    end
    local size = 0
    for _ in next, values do
        size = size + 1
    end
    pieces[#pieces + 1] = head(size, 128, 16, 222)
    for key, value in next, values do
        pack_value(key, pieces, depth + 1)
        pack_value(value, pieces, depth + 1)
    end
end

function pack_value(value, pieces, depth)
    local kind = type(value)
    if kind == "string" then
        pieces[#pieces + 1] = packed_string(value)
    elseif kind == "number" then
        pieces[#pieces + 1] = packed_number(value)
    elseif kind == "boolean" then
        pieces[#pieces + 1] = value and "\195" or "\194"
    elseif kind == "table" and depth < TABLES_MAX then
        pack_table(value, pieces, depth)
    else
        pieces[#pieces + 1] = "\192"
    end
end

-- How unpacking ends early: what C has no value for either.
local function missing()
    fail("Missing bytes in input.")
end

local function need(text, at, size)
    if at + size - 1 > #text then
        missing()
    end
end

-- Eight bytes are a C long in either case.
local function integer_at(text, at, size, is_signed)
    local number
    if size == 1 then
        number = byte(text, at)
    elseif size == 2 then
        local high, low = byte(text, at, at + 1)
        number = high * 256 + low
    elseif size == 4 then
        number = four_at(text, at)
    else
        local high, low = four_at(text, at), four_at(text, at + 4)
        if high >= 2147483648 then
            high = high - 4294967296
        end
        return high * 4294967296 + low
    end
    if is_signed and number >= 2 ^ (size * 8 - 1) then
        number = number - 2 ^ (size * 8)
    end
    return number
end

local unpack_value

local function string_at(text, at, size)
    need(text, at, size)
    return sub(text, at, at + size - 1), at + size
end

local function check_depth(depth, why)
    if depth > DEPTH_MAX then
        fail("stack overflow (" .. why .. ")")
    end
end

local function array_at(text, at, size, depth)
    check_depth(depth, "in function mp_decode_to_lua_array")
    local values = {}
    for index = 1, size do
        values[index], at = unpack_value(text, at, depth + 1)
    end
    return values, at
end

local function map_at(text, at, size, depth)
    check_depth(depth, MANY_RESULTS)
    local values = {}
    for _ = 1, size do
        local key, value
        key, at = unpack_value(text, at, depth + 1)
        value, at = unpack_value(text, at, depth + 1)
        if key == nil then
            error("table index is nil", 0)
        elseif key ~= key then
            error("table index is NaN", 0)
        end
        rawset(values, key, value)
    end
    return values, at
end

-- Heads of 192 to 223: what follows, and how many bytes its number or its length has.
local HEADS = {
    [202] = { "single", 4 },
    [203] = { "double", 8 },
    [204] = { "unsigned", 1 },
    [205] = { "unsigned", 2 },
    [206] = { "unsigned", 4 },
    [207] = { "unsigned", 8 },
    [208] = { "signed", 1 },
    [209] = { "signed", 2 },
    [210] = { "signed", 4 },
    [211] = { "signed", 8 },
    [217] = { "string", 1 },
    [218] = { "string", 2 },
    [219] = { "string", 4 },
    [220] = { "array", 2 },
    [221] = { "array", 4 },
    [222] = { "map", 2 },
    [223] = { "map", 4 },
}

local function long_value(text, at, first, depth)
    local known = HEADS[first]
    if known == nil then
        fail("Bad data format in input.")
    end
    local kind, size = known[1], known[2]
    need(text, at, size)
    if kind == "single" then
        return support.from_single(text, at), at + size
    elseif kind == "double" then
        return support.from_double(text, at), at + size
    end
    local number = integer_at(text, at, size, kind == "signed")
    at = at + size
    if kind == "string" then
        local value, stop = string_at(text, at, number)
        return value, stop
    elseif kind == "array" then
        local value, stop = array_at(text, at, number, depth)
        return value, stop
    elseif kind == "map" then
        local value, stop = map_at(text, at, number, depth)
        return value, stop
    end
    return number, at
end

-- The value at `at` and the place behind it.
function unpack_value(text, at, depth)
    local first = byte(text, at)
    if first == nil then
        missing()
    end
    at = at + 1
    local value, stop
    if first < 128 then
        return first, at
    elseif first < 144 then
        value, stop = map_at(text, at, first - 128, depth)
    elseif first < 160 then
        value, stop = array_at(text, at, first - 144, depth)
    elseif first < 192 then
        value, stop = string_at(text, at, first - 160)
    elseif first >= 224 then
        return first - 256, at
    elseif first == 192 then
        return nil, at
    elseif first == 194 or first == 195 then
        return first == 195, at
    else
        value, stop = long_value(text, at, first, depth)
    end
    return value, stop
end

-- As C prints a long where it promised an int.
local function as_int(number)
    return (number + 2147483648) % 4294967296 - 2147483648
end

-- Up to `limit` values from the offset on (all: 0 and 0); if not all were asked for, before them where the next one
-- begins, or -1 behind the last.
local function unpacked(text, limit, offset)
    if offset < 0 or limit < 0 then
        fail(format("Invalid request to unpack with offset of %d and limit of %d.", as_int(offset), #text))
    elseif offset > #text then
        fail(format("Start offset %d greater than input length %d.", as_int(offset), #text))
    end
    local all = limit == 0 and offset == 0
    local results, count, at = {}, all and 0 or 1, offset + 1
    local last = all and 1 / 0 or count + limit
    while at <= #text and count < last do
        if count > STACK_MAX - 1 then
            fail("stack overflow (" .. MANY_RESULTS .. ")")
        end
        count = count + 1
        results[count], at = unpack_value(text, at, 1)
    end
    if not all then
        results[1] = at > #text and -1 or at - 1
    end
    return results, count
end

local cmsgpack = {
    _NAME = "cmsgpack",
    _VERSION = "lua-cmsgpack 0.4.0",
    _COPYRIGHT = "Copyright (C) 2012, Salvatore Sanfilippo",
    _DESCRIPTION = "MessagePack C implementation for Lua",
}

function cmsgpack.pack(...)
    local count = select("#", ...)
    if count == 0 then
        bad_argument(0, "MessagePack pack needs input.")
    elseif count > ARGUMENTS_MAX then
        bad_argument(0, "Too many arguments for MessagePack pack.")
    end
    local values, pieces = { ... }, {}
    for index = 1, count do
        pack_value(values[index], pieces, 0)
    end
    return concat(pieces)
end

function cmsgpack.unpack(...)
    local text = support.text(1, ...)
    local results, count = unpacked(text, 0, 0)
    return unpack(results, 1, count)
end

function cmsgpack.unpack_one(...)
    local offset = support.whole(2, 0, ...)
    local text = support.text(1, ...)
    local results, count = unpacked(text, 1, offset)
    return unpack(results, 1, count)
end

function cmsgpack.unpack_limit(...)
    local limit = support.whole(2, nil, ...)
    local offset = support.whole(3, 0, ...)
    local text = support.text(1, ...)
    local results, count = unpacked(text, limit, offset)
    return unpack(results, 1, count)
end

return cmsgpack
