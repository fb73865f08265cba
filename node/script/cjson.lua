-- The library `cjson`: JSON, with the choices, limits, settings and errors of lua-cjson 2.1.0.
--
-- A table whose keys are numbers from 1 is an array, an empty one an object. `null` is a value of its own. Settings hold
-- for all who share the library; `new` makes one with settings of its own. Numbers are read as C's strtod reads them.
local support = ...
local getmetatable, newproxy, next, rawget, rawset = getmetatable, newproxy, next, rawget, rawset
local select, tonumber, type = select, tonumber, type
local byte, char, find, format, gsub, lower, sub =
    string.byte, string.char, string.find, string.format, string.gsub, string.lower, string.sub
local concat = table.concat
local floor = math.floor
local fail, bad_argument = support.fail, support.bad_argument

local INTEGER_MAX = 2147483647
local NEST_MAX = 3998 -- what Lua's stack of a C function holds, whatever the settings say

-- As a C pointer to nothing shows itself; scripts find no metatable.
local null = newproxy(true)
getmetatable(null).__tostring = function()
    return "userdata: (nil)"
end
getmetatable(null).__metatable = false

-- --- encoding -------------------------------------------------------------------------------------------------------

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\127"] = "\\u007f" }
for code = 0, 31 do
    ESCAPES[char(code)] = format("\\u%04x", code)
end
ESCAPES["\b"], ESCAPES["\t"], ESCAPES["\n"], ESCAPES["\f"], ESCAPES["\r"] = "\\b", "\\t", "\\n", "\\f", "\\r"

local function quoted(text)
    if find(text, '[%c"\\/]') then
        text = gsub(text, '[%c"\\/]', ESCAPES)
    end
    return '"' .. text .. '"'
end

local function refuse(value, why)
    fail(format("Cannot serialise %s: %s", type(value), why))
end

local function number_text(settings, number)
    if number ~= number or number == 1 / 0 or number == -1 / 0 then
        if settings.encode_invalid_numbers == false then
            refuse(number, "must not be NaN or Inf")
        elseif settings.encode_invalid_numbers == "null" then
            return "null"
        elseif number ~= number then
            return "nan"
        end
    end
    return format(settings.number_format, number)
end

-- The length of a table as an array; nil if it is none.
local function array_length(settings, values)
    local greatest, count = 0, 0
    for key in next, values do
        if type(key) ~= "number" or key < 1 or key > INTEGER_MAX or key ~= floor(key) then
            return nil
        end
        count = count + 1
        greatest = key > greatest and key or greatest
    end
    local ratio = settings.encode_sparse_ratio
    if ratio > 0 and greatest > count * ratio and greatest > settings.encode_sparse_safe then
        if not settings.encode_sparse_convert then
            refuse(values, "excessively sparse array")
        end
        return nil
    end
    return greatest > 0 and greatest or nil
end

local encode_value

local function encode_array(settings, values, length, pieces, depth)
    pieces[#pieces + 1] = "["
    for index = 1, length do
        if index > 1 then
            pieces[#pieces + 1] = ","
        end
        encode_value(settings, rawget(values, index), pieces, depth)
    end
    pieces[#pieces + 1] = "]"
end

local function encode_object(settings, values, pieces, depth)
    local before = "{"
    for key, value in next, values do
        local kind = type(key)
        if kind == "string" then
            pieces[#pieces + 1] = before .. quoted(key) .. ":"
        elseif kind == "number" then
            pieces[#pieces + 1] = before .. '"' .. number_text(settings, key) .. '":'
        else
            refuse(key, "table key must be a number or string")
        end
        before = ","
        encode_value(settings, value, pieces, depth)
    end
    pieces[#pieces + 1] = before == "{" and "{}" or "}"
end

local function encode_table(settings, values, pieces, depth)
    if depth > settings.encode_max_depth or depth > NEST_MAX then
        fail(format("Cannot serialise, excessive nesting (%d)", depth))
    end
    local length = array_length(settings, values)
    if length then
        encode_array(settings, values, length, pieces, depth)
    else
        encode_object(settings, values, pieces, depth)
    end
end

function encode_value(settings, value, pieces, depth)
    local kind = type(value)
    if kind == "string" then
        pieces[#pieces + 1] = quoted(value)
    elseif kind == "number" then
        pieces[#pieces + 1] = number_text(settings, value)
    elseif kind == "table" then
        encode_table(settings, value, pieces, depth + 1)
    elseif kind == "boolean" then
        pieces[#pieces + 1] = value and "true" or "false"
    elseif value == nil or value == null then
        pieces[#pieces + 1] = "null"
    else
        refuse(value, "type not supported")
    end
end

-- --- decoding: tokens -----------------------------------------------------------------------------------------------

local function skip_blanks(text, at)
    return find(text, "[^ \t\n\r]", at) or #text + 1
end

local UNESCAPED = {
    ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", t = "\t", n = "\n", f = "\f", r = "\r",
}

local function utf8_bytes(code)
    if code < 128 then
        return char(code)
    elseif code < 2048 then
        return char(192 + floor(code / 64), 128 + code % 64)
    elseif code < 65536 then
        return char(224 + floor(code / 4096), 128 + floor(code / 64) % 64, 128 + code % 64)
    end
    return char(240 + floor(code / 262144), 128 + floor(code / 4096) % 64, 128 + floor(code / 64) % 64, 128 + code % 64)
end

local function hexadecimal_at(text, at)
    local _, _, digits = find(text, "^(%x%x%x%x)", at)
    return digits and tonumber(digits, 16)
end

-- The bytes that `\uXXXX` at `at` stands for, with its second half if it is one of a pair, and the place behind it.
local function unicode_at(text, at)
    local code = hexadecimal_at(text, at + 2)
    if not code then
        return nil
    end
    local behind = at + 6
    if code >= 55296 and code < 57344 then
        local second = code < 56320 and sub(text, behind, behind + 1) == "\\u" and hexadecimal_at(text, behind + 2)
        if not second or second < 56320 or second >= 57344 then
            return nil
        end
        code, behind = (code - 55296) * 1024 + second - 56320 + 65536, behind + 6
    end
    return utf8_bytes(code), behind
end

-- The string whose quote stands at `at` and the place behind it; or nil, where it goes wrong, and how.
local function string_at(text, at)
    local start = at + 1
    local stop = find(text, '["\\%z]', start)
    if stop and byte(text, stop) == 34 then
        return sub(text, start, stop - 1), stop + 1
    end
    local pieces = {}
    while true do
        local mark = stop and sub(text, stop, stop)
        if mark == nil or mark == "\0" then
            return nil, stop or #text + 1, "unexpected end of string"
        end
        pieces[#pieces + 1] = sub(text, start, stop - 1)
        if mark == '"' then
            return concat(pieces), stop + 1
        end
        local letter = sub(text, stop + 1, stop + 1)
        local piece, behind = UNESCAPED[letter], stop + 2
        if letter == "u" then
            piece, behind = unicode_at(text, stop)
            if piece == nil then
                return nil, stop, "invalid unicode escape code"
            end
        elseif piece == nil then
            return nil, stop, "invalid escape code"
        end
        pieces[#pieces + 1] = piece
        start = behind
        stop = find(text, '["\\%z]', start)
    end
end

-- The last place of the text from `at` on that C's strtod takes for a number; nil without any.
local function number_end(text, at)
    local _, digits = find(text, "^[-+]?%d+%.?%d*", at)
    if not digits then
        _, digits = find(text, "^[-+]?%.%d+", at)
    end
    if digits then
        local _, hexadecimal = find(text, "^[-+]?0[xX]%x+%.?%x*", at)
        if not hexadecimal then
            _, hexadecimal = find(text, "^[-+]?0[xX]%.%x+", at)
        end
        local _, exponent = find(text, hexadecimal and "^[pP][-+]?%d+" or "^[eE][-+]?%d+", (hexadecimal or digits) + 1)
        return exponent or hexadecimal or digits
    end
    local _, word = find(text, "^[-+]?[iI][nN][fF]", at)
    if word then
        local _, whole = find(text, "^[iI][nN][iI][tT][yY]", word + 1)
        return whole or word
    end
    _, word = find(text, "^[-+]?[nN][aA][nN]", at)
    if word then
        local _, whole = find(text, "^%([%w_]*%)", word + 1)
        return whole or word
    end
    return nil
end

-- Is what begins at `at` a number for strtod that JSON does not have?
local function is_foreign_number(text, at)
    if find(text, "^%+", at) then
        return true
    end
    at = find(text, "^%-", at) and at + 1 or at
    local first = byte(text, at) or 0
    if first == 48 then
        return find(text, "^[xX0-9]", at + 1) ~= nil
    elseif first <= 57 then
        return false
    end
    local word = lower(sub(text, at, at + 2))
    return word == "inf" or word == "nan"
end

local function number_at(text, at)
    local stop = number_end(text, at)
    if not stop then
        return nil, at, "invalid number"
    end
    local number = tonumber(sub(text, at, stop))
    if not number then
        number = tonumber((gsub(sub(text, at, stop), "%(.*", "")))
    end
    return number, stop + 1
end

-- A number from `at` on and the place behind it; or nil, the place and what is wrong.
local function checked_number_at(settings, text, at)
    if not settings.decode_invalid_numbers and is_foreign_number(text, at) then
        return nil, at, "invalid number"
    end
    return number_at(text, at)
end

local MARKS = {
    [123] = "T_OBJ_BEGIN", [125] = "T_OBJ_END", [91] = "T_ARR_BEGIN", [93] = "T_ARR_END", [44] = "T_COMMA",
    [58] = "T_COLON", [0] = "T_END",
}

-- What the token at `at` is called in errors, and the place that they name.
local function named_token(settings, text, at)
    local first = byte(text, at) or 0
    if MARKS[first] then
        return MARKS[first], at
    elseif first == 34 then
        local value, where, fault = string_at(text, at)
        return value and "T_STRING" or fault, value and at or where
    elseif first == 45 or (first >= 48 and first <= 57) then
        local value, where, fault = checked_number_at(settings, text, at)
        return value and "T_NUMBER" or fault, value and at or where
    elseif find(text, "^true", at) or find(text, "^false", at) then
        return "T_BOOLEAN", at
    elseif find(text, "^null", at) then
        return "T_NULL", at
    elseif find(text, "^[fint+IN]", at) and settings.decode_invalid_numbers and is_foreign_number(text, at) then
        local value, where, fault = number_at(text, at)
        return value and "T_NUMBER" or fault, value and at or where
    end
    return "invalid token", at
end

local function unexpected(settings, text, at, expected)
    local found, where = named_token(settings, text, at)
    fail(format("Expected %s but found %s at character %d", expected, found, where))
end

-- --- decoding: values -----------------------------------------------------------------------------------------------

local value_at

local function descend(settings, depth, at)
    if depth > settings.decode_max_depth or depth > NEST_MAX then
        fail(format("Found too many nested data structures (%d) at character %d", depth, at))
    end
end

local function array_at(settings, text, at, depth)
    local values, index = {}, 0
    at = skip_blanks(text, at + 1)
    if byte(text, at) == 93 then
        return values, at + 1
    end
    while true do
        index = index + 1
        values[index], at = value_at(settings, text, at, depth)
        at = skip_blanks(text, at)
        local mark = byte(text, at)
        if mark == 93 then
            return values, at + 1
        elseif mark ~= 44 then
            unexpected(settings, text, at, "comma or array end")
        end
        at = skip_blanks(text, at + 1)
    end
end

local function object_at(settings, text, at, depth)
    local values = {}
    at = skip_blanks(text, at + 1)
    if byte(text, at) == 125 then
        return values, at + 1
    end
    while true do
        local key, behind
        if byte(text, at) == 34 then
            key, behind = string_at(text, at)
        end
        if key == nil then
            unexpected(settings, text, at, "object key string")
        end
        at = skip_blanks(text, behind)
        if byte(text, at) ~= 58 then
            unexpected(settings, text, at, "colon")
        end
        local value
        value, at = value_at(settings, text, skip_blanks(text, at + 1), depth)
        rawset(values, key, value)
        at = skip_blanks(text, at)
        local mark = byte(text, at)
        if mark == 125 then
            return values, at + 1
        elseif mark ~= 44 then
            unexpected(settings, text, at, "comma or object end")
        end
        at = skip_blanks(text, at + 1)
    end
end

local function word_at(settings, text, at)
    if find(text, "^true", at) then
        return true, at + 4
    elseif find(text, "^false", at) then
        return false, at + 5
    elseif find(text, "^null", at) then
        return null, at + 4
    elseif find(text, "^[in+IN]", at) and settings.decode_invalid_numbers and is_foreign_number(text, at) then
        return number_at(text, at)
    end
    return nil, at
end

-- The value whose first byte stands at `at`, and the place behind it.
function value_at(settings, text, at, depth)
    local first = byte(text, at)
    local value, behind
    if first == 34 then
        value, behind = string_at(text, at)
    elseif first == 123 or first == 91 then
        descend(settings, depth + 1, at)
        value, behind = (first == 123 and object_at or array_at)(settings, text, at, depth + 1)
    elseif first and (first == 45 or (first >= 48 and first <= 57)) then
        value, behind = checked_number_at(settings, text, at)
    elseif first then
        value, behind = word_at(settings, text, at)
    end
    if value == nil then
        unexpected(settings, text, at, "value")
    end
    return value, behind
end

-- --- the library ----------------------------------------------------------------------------------------------------

local function only_argument(...)
    if select("#", ...) ~= 1 then
        bad_argument(1, "expected 1 argument")
    end
end

local function check_count(most, ...)
    if select("#", ...) > most then
        bad_argument(most + 1, "found too many arguments")
    end
end

-- Each of these sets what its argument at `position` says, unless that is nil, and returns what holds then. Numbers out
-- of range are said to be the first argument, whichever they are.
local function integer_setting(settings, name, position, least, most, ...)
    if select(position, ...) ~= nil then
        local value = support.integer(position, ...)
        if value < least or value > most then
            bad_argument(1, format("expected integer between %d and %d", least, most))
        end
        settings[name] = value
    end
    return settings[name]
end

local SWITCHES = { off = false, on = true }

-- A switch: a boolean or its word; `third` is one more word that it may be.
local function switch_setting(settings, name, position, third, ...)
    local value = select(position, ...)
    if value == nil then
        return settings[name]
    end
    if type(value) ~= "boolean" then
        local word = support.text(position, ...)
        value = SWITCHES[word]
        if third and word == third then
            value = third
        elseif value == nil then
            bad_argument(position, format("invalid option '%s'", word))
        end
    end
    settings[name] = value
    return value
end

local function library()
    local settings = {
        encode_sparse_convert = false,
        encode_sparse_ratio = 2,
        encode_sparse_safe = 10,
        encode_max_depth = 1000,
        decode_max_depth = 1000,
        encode_invalid_numbers = false,
        decode_invalid_numbers = true,
        encode_keep_buffer = true, -- remembered and without meaning: there is no buffer to keep
        encode_number_precision = 14,
        number_format = "%.14g",
    }
    local cjson = { null = null, _NAME = "cjson", _VERSION = "2.1.0", new = library }

    function cjson.encode(...)
        only_argument(...)
        local pieces = {}
        encode_value(settings, (...), pieces, 0)
        return concat(pieces)
    end

    function cjson.decode(...)
        only_argument(...)
        local text = support.text(1, ...)
        if #text >= 2 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
            fail("JSON parser does not support UTF-16 or UTF-32")
        end
        local value, behind = value_at(settings, text, skip_blanks(text, 1), 0)
        behind = skip_blanks(text, behind)
        if (byte(text, behind) or 0) ~= 0 then
            unexpected(settings, text, behind, "the end")
        end
        return value
    end

    function cjson.encode_sparse_array(...)
        check_count(3, ...)
        local convert = switch_setting(settings, "encode_sparse_convert", 1, nil, ...)
        local ratio = integer_setting(settings, "encode_sparse_ratio", 2, 0, INTEGER_MAX, ...)
        local safe = integer_setting(settings, "encode_sparse_safe", 3, 0, INTEGER_MAX, ...)
        return convert, ratio, safe
    end

    function cjson.encode_max_depth(...)
        check_count(1, ...)
        local depth = integer_setting(settings, "encode_max_depth", 1, 1, INTEGER_MAX, ...)
        return depth
    end

    function cjson.decode_max_depth(...)
        check_count(1, ...)
        local depth = integer_setting(settings, "decode_max_depth", 1, 1, INTEGER_MAX, ...)
        return depth
    end

    function cjson.encode_number_precision(...)
        check_count(1, ...)
        local digits = integer_setting(settings, "encode_number_precision", 1, 1, 14, ...)
        settings.number_format = "%." .. digits .. "g"
        return digits
    end

    function cjson.encode_keep_buffer(...)
        check_count(1, ...)
        local keep = switch_setting(settings, "encode_keep_buffer", 1, nil, ...)
        return keep
    end

    function cjson.encode_invalid_numbers(...)
        check_count(1, ...)
        local allowed = switch_setting(settings, "encode_invalid_numbers", 1, "null", ...)
        return allowed
    end

    function cjson.decode_invalid_numbers(...)
        check_count(1, ...)
        local allowed = switch_setting(settings, "decode_invalid_numbers", 1, nil, ...)
        return allowed
    end

    return cjson
end

return library()
