-- The sandbox of a Lua runtime: what a script sees, and how it is run. Loaded once, before any script.
--
-- Rules. Nothing of the host language is ever visible: its functions stay upvalues of the functions below, they never
-- raise (they return a failure instead), and only strings, numbers, booleans, nil and fresh tables come from them.
-- The globals and the tables of the libraries are empty proxies of tables that scripts cannot reach: reading goes
-- through `__index`, every way of writing is refused. The real global table keeps nothing but what the host needs.
--
-- The chunk gets the host's functions and the constants of `redis`, and returns the functions that the host calls.

local host, constants, memory_kb_max, instructions = ...

local SANDBOX = debug.getinfo(1, "S").source
local LIBRARY = "=library" -- the source of what is written in Lua like scripts and may be stopped like them
local getinfo, sethook = debug.getinfo, debug.sethook
local error, type, tostring, tonumber, select, next, unpack = error, type, tostring, tonumber, select, next, unpack
local raw_pairs, ipairs, pcall, xpcall = pairs, ipairs, pcall, xpcall
local rawget, rawset, setmetatable, getmetatable, setfenv = rawget, rawset, setmetatable, getmetatable, setfenv
local raw_loadstring, collectgarbage, newproxy = loadstring, collectgarbage, newproxy
local format, byte, dump, find = string.format, string.byte, string.dump, string.find
local concat, insert = table.concat, table.insert
local floor, clock = math.floor, os.clock
local raw_create, raw_wrap, resume = coroutine.create, coroutine.wrap, coroutine.resume
local standard = {} -- what the trusted texts of libraries see
for name, value in raw_pairs(_G) do
    standard[name] = value
end

-- --- memory ---------------------------------------------------------------------------------------------------------

local OUT_OF_MEMORY = "not enough memory"

-- Called before every call of the host, which needs room for what it returns: it cannot fail half way.
local function check_memory()
    if collectgarbage("count") > memory_kb_max then
        collectgarbage()
        if collectgarbage("count") > memory_kb_max then
            error(OUT_OF_MEMORY, 0)
        end
    end
end

-- --- tables that cannot be changed ----------------------------------------------------------------------------------

local READ_ONLY = "Attempt to modify a readonly table"
local contents_of = {} -- proxy -> the table behind it

local function refuse()
    error(READ_ONLY, 2)
end

local function protected(contents)
    local proxy = {}
    contents_of[proxy] = contents
    return setmetatable(proxy, { __index = contents, __newindex = refuse, __metatable = false })
end

local function copy(contents)
    local fresh = {}
    for name, value in raw_pairs(contents) do
        fresh[name] = value
    end
    return fresh
end

-- Complain as Lua's own functions do of an argument, in the name of the script's line.
local function check_argument(expected, name, ...)
    local value = ...
    if type(value) ~= expected then
        local given = select("#", ...) == 0 and "no value" or type(value)
        error("bad argument #1 to '" .. name .. "' (" .. expected .. " expected, got " .. given .. ")", 3)
    end
end

-- A library function that would write into its first argument without asking the metatable.
local function guarded(name, write)
    return function(...)
        check_argument("table", name, ...)
        if contents_of[(...)] then
            error(READ_ONLY, 0)
        end
        return write(...)
    end
end

local function only(library, names)
    local chosen = {}
    for name in names:gmatch("%S+") do
        chosen[name] = library[name]
    end
    return chosen
end

-- --- the global names -----------------------------------------------------------------------------------------------

local contents = only(_G, [[
    _VERSION assert error gcinfo ipairs next pairs rawequal rawget rawset select tonumber tostring type unpack
    getmetatable setmetatable
]])
local globals = {}
contents_of[globals] = contents
contents._G = globals

local global_rules = {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
}
setmetatable(contents, global_rules)
local rules_of_globals = {
    __index = contents, -- but while a library is loaded
    __newindex = refuse,
    __metatable = protected({ __index = global_rules.__index }),
}
setmetatable(globals, rules_of_globals)

contents.rawset = guarded("rawset", rawset)
contents.setmetatable = guarded("setmetatable", setmetatable)

function contents.getmetatable(...)
    return getmetatable(...) or nil
end

function contents.rawget(...)
    check_argument("table", "rawget", ...)
    local behind = contents_of[(...)]
    if behind then
        return rawget(behind, (select(2, ...)))
    end
    return rawget(...)
end

function contents.next(...)
    check_argument("table", "next", ...)
    local behind = contents_of[(...)]
    if behind then
        return next(behind, (select(2, ...)))
    end
    return next(...)
end

-- Lua counts the results in an int and then trusts the sum: from 0 up to the greatest int they are none to it, which it
-- writes into the stack all the same, and what is behind it, until the process dies (CVE-2025-46817).
local RESULTS_MAX = 8000 -- with the arguments
local INT_MAX = 2 ^ 31 - 1

local function as_int(value, place, default)
    if value == nil then
        return default
    end
    local number = tonumber(value)
    if type(value) ~= "number" and type(value) ~= "string" or not number then
        local given = type(value)
        error("bad argument #" .. place .. " to 'unpack' (number expected, got " .. given .. ")", 3)
    end
    if number ~= number or number >= 2 ^ 63 or number < -2 ^ 63 then
        return 0
    end
    number = (number < 0 and -floor(-number) or floor(number)) % 2 ^ 32
    return number > INT_MAX and number - 2 ^ 32 or number
end

function contents.unpack(...)
    check_argument("table", "unpack", ...)
    local list, first, last = ...
    first, last = as_int(first, 2, 1), as_int(last, 3, #list)
    if last - first + 1 > RESULTS_MAX - select("#", ...) then
        error("too many results to unpack", 2)
    end
    return unpack(...)
end

-- What lies behind a proxy is never handed out, not even as the state of a loop.
function contents.pairs(...)
    check_argument("table", "pairs", ...)
    local behind = contents_of[(...)]
    if behind then
        return next, copy(behind), nil
    end
    return raw_pairs(...)
end

-- As scripts know it from before errors were tables: who catches one gets its text.
local function caught(ok, ...)
    if not ok then
        local failure = ...
        if type(failure) == "table" then
            local text = failure.err
            if type(text) == "string" or type(text) == "number" then
                return false, text
            end
        end
    end
    return ok, ...
end

function contents.pcall(...)
    if select("#", ...) == 0 then
        return false, "attempt to call a boolean value"
    end
    return caught(pcall(...))
end

local OF_COLLECTION = { collect = true, count = true, step = true }

-- The settings of the collector are the host's: a script may only ask and hasten.
function contents.collectgarbage(...)
    local option = ...
    if option == nil or OF_COLLECTION[option] then
        return collectgarbage(...)
    end
    if option == "stop" or option == "restart" or option == "setpause" or option == "setstepmul" then
        return 0
    end
    return error("bad argument #1 to 'collectgarbage' (invalid option '" .. tostring(option) .. "')", 2)
end

-- --- code from text -------------------------------------------------------------------------------------------------

-- Compiled code could do anything: nothing in Lua 5.1 checks it well enough.
local function load_text(text, name)
    if byte(text) == 27 then
        return nil, "attempt to load chunk with wrong mode"
    end
    local loaded, failure = raw_loadstring(text, name)
    if not loaded then
        return nil, failure
    end
    return setfenv(loaded, globals)
end

function contents.loadstring(text, name)
    if type(text) == "number" then
        text = tostring(text)
    end
    check_argument("string", "loadstring", text)
    return load_text(text, name == nil and text or tostring(name))
end

function contents.load(reader, name)
    check_argument("function", "load", reader)
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == "" then
            break
        end
        if type(piece) ~= "string" then
            return nil, "reader function must return a string"
        end
        pieces[#pieces + 1] = piece
    end
    return load_text(concat(pieces), name == nil and "=(load)" or tostring(name))
end

-- --- time: the hook that sees to it that a script can be stopped ----------------------------------------------------

local tick = host.tick
local killed = false

-- It fires at every instruction once the script is to end, so that nothing it does can keep it alive; what it
-- interrupts may also be ours, which has an end by itself.
local function kill()
    if getinfo(2, "S").source ~= SANDBOX then
        error({ err = killed }, 0)
    end
end

local function hook()
    check_memory()
    local failure = killed or tick()
    if failure then
        killed = failure
        sethook(kill, "", 1)
        if getinfo(2, "S").source ~= SANDBOX then
            error({ err = failure }, 0)
        end
    end
end

sethook(hook, "", instructions)

-- A handler of errors runs at the place of the error, before anything is unwound: it must not be a way to go on.
function contents.xpcall(body, handler)
    return xpcall(body, function(failure)
        if killed then
            return failure
        end
        return handler(failure)
    end)
end

local function watched(body)
    return function(...)
        sethook(killed and kill or hook, "", killed and 1 or instructions)
        return body(...)
    end
end

-- --- the libraries of Lua -------------------------------------------------------------------------------------------

local libraries = {}

local function add_library(name, members)
    libraries[name] = members
    contents[name] = protected(members)
end

local strings = only(string, "byte char dump find format gfind gmatch gsub len lower match rep reverse sub upper")
add_library("string", strings)
local string_rules = getmetatable("")
string_rules.__index = strings
string_rules.__metatable = protected({ __index = contents.string })

local tables = only(table, "concat foreach foreachi getn insert maxn remove setn sort")
tables.insert = guarded("insert", insert)
add_library("table", tables)
add_library("os", { clock = clock })

local coroutines = only(coroutine, "create resume running status wrap yield")

local function check_body(name, body)
    if type(body) ~= "function" then
        error("bad argument #1 to '" .. name .. "' (Lua function expected)", 3)
    end
end

function coroutines.create(body)
    check_body("create", body)
    return raw_create(watched(body))
end

function coroutines.wrap(body)
    check_body("wrap", body)
    return raw_wrap(watched(body))
end

add_library("coroutine", coroutines)

local maths = only(math, [[
    abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min mod modf pi pow rad
    sin sinh sqrt tan tanh
]])

-- The same numbers on every machine, those of Redis: the 48-bit congruential generator of POSIX (drand48), of which
-- 31 bits are used. Kept in two halves of 24 bits, since a product of 48 bits would not fit a number of Lua's.
local HALF = 2 ^ 24
local random_high, random_low = 0x1234AB, 0xCD330E

local function random_bits()
    local low = random_low * 0xECE66D + 0xB -- the multiplier's halves are 0x5DE and 0xECE66D
    local high = random_high * 0xECE66D + random_low * 0x5DE + floor(low / HALF)
    random_low, random_high = low % HALF, high % HALF
    return floor((random_high * HALF + random_low) / 2 ^ 17)
end

local RANDOM_MAX = 2 ^ 31 - 1

function maths.random(...)
    local fraction = (random_bits() % RANDOM_MAX) / RANDOM_MAX
    local count = select("#", ...)
    if count == 0 then
        return fraction
    end
    local low, high = ...
    if count == 1 then
        low, high = 1, low
    elseif count > 2 then
        error("wrong number of arguments", 2)
    end
    low, high = tonumber(low), tonumber(high)
    if not low or not high then
        local at = (count == 2 and not low or count == 1) and 1 or 2
        local given = type((select(at, ...)))
        error("bad argument #" .. at .. " to 'random' (number expected, got " .. given .. ")", 2)
    end
    low, high = low < 0 and -floor(-low) or floor(low), high < 0 and -floor(-high) or floor(high)
    if low > high then
        error("bad argument #" .. count .. " to 'random' (interval is empty)", 2)
    end
    return floor(fraction * (high - low + 1)) + low
end

function maths.randomseed(...)
    local seed = tonumber((...))
    if not seed then
        local given = select("#", ...) == 0 and "no value" or type((...))
        error("bad argument #1 to 'randomseed' (number expected, got " .. given .. ")", 2)
    end
    seed = (seed < 0 and -floor(-seed) or floor(seed)) % 2 ^ 32
    random_high, random_low = floor(seed / 2 ^ 8), seed % 2 ^ 8 * 2 ^ 16 + 0x330E
end

add_library("math", maths)

-- --- redis ----------------------------------------------------------------------------------------------------------

local redis = copy(constants)

-- Where the script itself was when an error came up: neither C code nor ours.
local function position()
    local level = 2
    while true do
        local frame = getinfo(level, "Sl")
        if not frame then
            return nil
        end
        if frame.what ~= "C" and frame.what ~= "tail" and frame.source ~= SANDBOX and frame.source ~= LIBRARY then
            return frame
        end
        level = level + 1
    end
end

-- An error gets the place where it came up, unless nobody but the host will see it.
local function explained(failure)
    local frame = position()
    if type(failure) ~= "table" then
        local text = tostring(failure)
        if frame then -- a function of Lua's own, called by one of ours
            text = text:gsub("^sandbox:%d+:", frame.short_src .. ":" .. frame.currentline .. ":")
        end
        failure = { err = "ERR " .. text }
    elseif contents_of[failure] then
        failure = {}
    end
    if frame then
        rawset(failure, "source", frame.source)
        rawset(failure, "line", frame.currentline)
    end
    return failure
end

local function complain(text)
    error({ err = "ERR " .. text }, 0)
end

-- What the host's call returns: a value; or nothing and the text of an error; or neither, and that of a status.
local host_call, host_call_many = host.call, host.call_many
local ARGUMENTS_FEW = 32

local function ask(...)
    check_memory()
    local count = select("#", ...)
    if count > ARGUMENTS_FEW then
        return host_call_many({ ... }, count)
    end
    if count == 0 then
        complain("Please specify at least one argument for this redis lib call")
    end
    return host_call(...)
end

local function answer(value, failure, status)
    if failure then
        error({ err = failure, ignore_error_stats_update = true }, 0)
    end
    if status then
        return { ok = status }
    end
    return value
end

local function answer_protected(value, failure, status)
    if failure then
        return { err = failure, ignore_error_stats_update = true }
    end
    if status then
        return { ok = status }
    end
    return value
end

function redis.call(...)
    return answer(ask(...))
end

function redis.pcall(...)
    local count = select("#", ...)
    if count == 0 then
        return { err = "ERR Please specify at least one argument for this redis lib call" }
    end
    return answer_protected(ask(...))
end

local function one_field(name)
    return function(...)
        local text = ...
        if select("#", ...) ~= 1 or type(text) ~= "string" then
            return { err = "ERR wrong number or type of arguments" }
        end
        if name == "err" then
            text = text:match("^%-?(%Z*)")
            text = (text:find(" ", 1, true) and text or "ERR " .. text):gsub("^[\r\n]+", ""):gsub("[\r\n]+$", "")
        end
        return { [name] = text }
    end
end

redis.error_reply = one_field("err")
redis.status_reply = one_field("ok")

local host_sha1, host_log, host_set_resp, host_set_repl, host_acl_check =
    host.sha1, host.log, host.set_resp, host.set_repl, host.acl_check

function redis.sha1hex(...)
    if select("#", ...) ~= 1 then
        complain("wrong number of arguments")
    end
    check_memory()
    local text = ...
    return host_sha1((type(text) == "string" or type(text) == "number") and tostring(text) or "")
end

function redis.log(...)
    local count = select("#", ...)
    if count < 2 then
        complain("redis.log() requires two arguments or more.")
    end
    local level = ...
    if type(level) ~= "number" then
        complain("First argument must be a number (log level).")
    end
    level = floor(level)
    if level < 0 or level > 3 then
        complain("Invalid debug level.")
    end
    local words = {}
    for at = 2, count do
        local word = select(at, ...)
        if type(word) == "string" or type(word) == "number" then
            words[#words + 1] = tostring(word)
        end
    end
    check_memory()
    host_log(level, concat(words, " "))
end

function redis.setresp(...)
    if select("#", ...) ~= 1 then
        complain("redis.setresp() requires one argument.")
    end
    local version = tonumber((...))
    if version ~= 2 and version ~= 3 then
        complain("RESP version must be 2 or 3.")
    end
    host_set_resp(version)
end

function redis.set_repl(...)
    if select("#", ...) ~= 1 then
        complain("redis.set_repl() requires two arguments.")
    end
    local readers = floor(tonumber((...)) or 0)
    if readers < 0 or readers > 3 then
        complain("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
    end
    host_set_repl(readers)
end

function redis.acl_check_cmd(...)
    if select("#", ...) == 0 then
        complain("Please specify at least one argument for this redis lib call")
    end
    check_memory()
    local allowed, failure = host_acl_check({ ... }, select("#", ...))
    if failure then
        complain(failure)
    end
    return allowed
end

function redis.replicate_commands()
    return true
end

function redis.breakpoint()
    return false
end

function redis.debug() end

add_library("redis", redis)

-- --- replies --------------------------------------------------------------------------------------------------------

local DEPTH_MAX = 1000
local double_text = host.double_text

local function bulk(out, text)
    out[#out + 1] = format("$%d\r\n", #text)
    out[#out + 1] = text
    out[#out + 1] = "\r\n"
end

local function one_line(text)
    return (text:gsub("[\r\n]", " "))
end

-- Redis holds these texts in a form that ends at a NUL.
local function simple_text(text)
    return one_line(text:match("^%Z*"))
end

local write -- (out, value, resp3, booleans, depth): append the wire's form of a value to `out`

local function write_double(out, number, resp3)
    check_memory()
    local text = double_text(number)
    if resp3 then
        out[#out + 1] = "," .. text .. "\r\n"
    else
        bulk(out, text)
    end
end

local function write_pairs(out, members, resp3, booleans, depth, with_values)
    local at = #out + 1
    out[at] = ""
    local count = 0
    for member, value in raw_pairs(members) do
        count = count + 1
        write(out, member, resp3, booleans, depth + 1)
        if with_values then
            write(out, value, resp3, booleans, depth + 1)
        end
    end
    if with_values then
        out[at] = resp3 and format("%%%d\r\n", count) or format("*%d\r\n", 2 * count)
    else
        out[at] = format(resp3 and "~%d\r\n" or "*%d\r\n", count)
    end
end

local function write_verbatim(out, verbatim, resp3)
    local text, kind = rawget(verbatim, "string"), rawget(verbatim, "format")
    if type(text) ~= "string" or type(kind) ~= "string" then
        return false
    end
    if resp3 then
        out[#out + 1] = format("=%d\r\n%s:", #text + 4, (kind .. "   "):sub(1, 3))
        out[#out + 1] = text
        out[#out + 1] = "\r\n"
    else
        bulk(out, text)
    end
    return true
end

-- Tables that stand for something else than an array; false if this one does not.
local function write_special(out, value, resp3, booleans, depth)
    local field = rawget(value, "err")
    if type(field) == "string" then
        out[#out + 1] = "-" .. simple_text(field) .. "\r\n"
        return true
    end
    field = rawget(value, "ok")
    if type(field) == "string" then
        out[#out + 1] = "+" .. simple_text(field) .. "\r\n"
        return true
    end
    field = rawget(value, "double")
    if type(field) == "number" then
        write_double(out, field, resp3)
        return true
    end
    field = rawget(value, "big_number")
    if type(field) == "string" then
        field = one_line(field)
        if resp3 then
            out[#out + 1] = "(" .. field .. "\r\n"
        else
            bulk(out, field)
        end
        return true
    end
    field = rawget(value, "verbatim_string")
    if type(field) == "table" and write_verbatim(out, field, resp3) then
        return true
    end
    for _, name in ipairs({ "map", "set" }) do
        field = rawget(value, name)
        if type(field) == "table" then
            write_pairs(out, field, resp3, booleans, depth, name == "map")
            return true
        end
    end
    return false
end

local function write_table(out, value, resp3, booleans, depth)
    if depth > DEPTH_MAX then
        out[#out + 1] = "-ERR reached lua stack limit\r\n"
        return
    end
    if write_special(out, value, resp3, booleans, depth) then
        return
    end
    local at = #out + 1
    out[at] = ""
    local count = 0
    while true do
        local item = rawget(value, count + 1)
        if item == nil then
            break
        end
        count = count + 1
        write(out, item, resp3, booleans, depth + 1)
    end
    out[at] = format("*%d\r\n", count)
end

function write(out, value, resp3, booleans, depth)
    local kind = type(value)
    if kind == "string" then
        bulk(out, value)
    elseif kind == "number" then
        out[#out + 1] = format(":%d\r\n", value)
    elseif kind == "table" then
        write_table(out, value, resp3, booleans, depth)
    elseif kind == "boolean" and booleans and resp3 then
        out[#out + 1] = value and "#t\r\n" or "#f\r\n"
    elseif kind == "boolean" and (value or booleans) then
        out[#out + 1] = value and ":1\r\n" or ":0\r\n"
    else
        out[#out + 1] = resp3 and "_\r\n" or "$-1\r\n"
    end
end

-- --- what the host calls --------------------------------------------------------------------------------------------

local FAILED, WRITTEN = 1, 2
local speaks_resp3 = host.speaks_resp3

-- A run is over: the next one is not killed.
local function calm_down()
    if killed then
        killed = false
        sethook(hook, "", instructions)
    end
end

-- What a run returns to the host: a string, number or nil as it is; else FAILED and an error, or WRITTEN and wire bytes.
local function settled(resp3, ok, value)
    calm_down()
    if not ok then
        if type(value) ~= "table" then -- an error while an error was handled, or no memory
            return FAILED, "ERR " .. tostring(value)
        end
        local text = rawget(value, "err")
        text = (type(text) == "string" or type(text) == "number") and tostring(text) or "ERR unknown error"
        text = text:match("^%Z*")
        local source, line = rawget(value, "source"), rawget(value, "line")
        return FAILED, text, source and tostring(source), line and tostring(line), rawget(value, "ignore_error_stats_update")
    end
    local kind = type(value)
    if kind == "string" or kind == "number" then
        return value
    end
    if kind == "table" then
        local text = rawget(value, "err")
        if type(text) == "string" then
            return FAILED, text:match("^%Z*"), nil, nil, rawget(value, "ignore_error_stats_update")
        end
    elseif kind ~= "boolean" then
        return nil
    end
    local out = {}
    write(out, value, resp3, speaks_resp3(), 1)
    return WRITTEN, concat(out)
end

local function split(count, first, ...)
    if count == 0 then
        return {}, { first, ... }
    elseif count == 1 then
        return { first }, { ... }
    end
    local keys, args = { first, ... }, {}
    for at = count + 1, #keys do
        args[at - count], keys[at] = keys[at], nil
    end
    return keys, args
end

local function run_script(script, resp3, keys, args)
    contents.KEYS, contents.ARGV = keys, args
    return settled(resp3, xpcall(script, explained))
end

local function run_function(body, resp3, keys, args)
    return settled(resp3, xpcall(function()
        return body(keys, args)
    end, explained))
end

local exports = {}

-- After a run that ended in an error of the runtime itself.
function exports.recover()
    killed = killed or true
    calm_down()
    rules_of_globals.__index = contents
end

function exports.run(script, resp3, count, ...)
    return run_script(script, resp3, split(count, ...))
end

function exports.run_with(script, resp3, keys, args)
    return run_script(script, resp3, keys, args)
end

function exports.call(body, resp3, count, ...)
    return run_function(body, resp3, split(count, ...))
end

function exports.call_with(body, resp3, keys, args)
    return run_function(body, resp3, keys, args)
end

-- --- libraries of functions -----------------------------------------------------------------------------------------

local registered -- by the library that is being loaded: name, function, description, flags by commas, and so on
local names_registered

local function text_of(value, failure)
    if type(value) ~= "string" and type(value) ~= "number" then
        complain(failure)
    end
    return tostring(value)
end

local FLAGS = {
    ["no-writes"] = true,
    ["allow-oom"] = true,
    ["allow-stale"] = true,
    ["no-cluster"] = true,
    ["allow-cross-slot-keys"] = true,
}

local function flag_names(flags)
    if type(flags) ~= "table" then
        complain("flags argument to redis.register_function must be a table representing function flags")
    end
    local names = {}
    for at, name in ipairs(flags) do
        if not FLAGS[name] then
            complain("unknown flag given")
        end
        names[at] = name
    end
    return concat(names, ",")
end

-- What each named argument must be.
local named = {
    function_name = function(value)
        return text_of(value, "function_name argument given to redis.register_function must be a string")
    end,
    description = function(value)
        return text_of(value, "description argument given to redis.register_function must be a string")
    end,
    callback = function(value)
        if type(value) ~= "function" then
            complain("callback argument given to redis.register_function must be a function")
        end
        return value
    end,
    flags = flag_names,
}

local function named_arguments(arguments)
    if type(arguments) ~= "table" then
        complain(
            "calling redis.register_function with a single argument is only applicable to Lua table "
                .. "(representing named arguments)."
        )
    end
    local found = {}
    for name, value in raw_pairs(arguments) do
        if type(name) ~= "string" and type(name) ~= "number" then
            complain("named argument key given to redis.register_function is not a string")
        elseif not named[name] then
            complain("unknown argument given to redis.register_function")
        end
        found[name] = named[name](value)
    end
    if not found.function_name then
        complain("redis.register_function must get a function name argument")
    elseif not found.callback then
        complain("redis.register_function must get a callback argument")
    end
    return found
end

local function two_arguments(name, callback)
    name = text_of(name, "first argument to redis.register_function must be a string")
    if type(callback) ~= "function" then
        complain("second argument to redis.register_function must be a function")
    end
    return { function_name = name, callback = callback }
end

local function check(found)
    if not find(found.function_name, "^[%w_]+$") then
        complain(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
        )
    elseif names_registered[found.function_name] then
        complain("Function already exists in the library")
    end
end

local function register_function(...)
    if not registered then
        complain("redis.register_function can only be called on FUNCTION LOAD command")
    end
    local count = select("#", ...)
    if count < 1 or count > 2 then
        complain("wrong number of arguments to redis.register_function")
    end
    local found = count == 1 and named_arguments(...) or two_arguments(...)
    check(found)
    names_registered[found.function_name] = true
    for _, part in ipairs({ found.function_name, found.callback, found.description or false, found.flags or "" }) do
        registered[#registered + 1] = part
    end
end

-- All that a library sees while it is loaded.
local at_load = { log = redis.log, register_function = register_function }
for name, value in raw_pairs(constants) do
    if name:sub(1, 4) == "LOG_" or name:sub(1, 6) == "REDIS_" then
        at_load[name] = value
    end
end
local contents_at_load = setmetatable({ redis = protected(setmetatable(at_load, global_rules)) }, global_rules)

-- Run the body of a library: what it has registered, or FAILED and an error.
function exports.load_library(body)
    registered, names_registered = {}, {}
    rules_of_globals.__index = contents_at_load
    local ok, failure = xpcall(body, explained)
    rules_of_globals.__index = contents
    calm_down()
    local found = registered
    registered, names_registered = nil, nil
    if not ok then
        return FAILED, type(failure) == "table" and tostring(rawget(failure, "err")) or "ERR " .. tostring(failure)
    end
    return found
end

-- A chunk for the sandbox: the function, or nothing and why not.
function exports.compile(text, name)
    local loaded, failure = raw_loadstring(text, name)
    if not loaded then
        return nil, failure
    end
    return dump(loaded)
end

-- The function behind bytecode of our own making.
function exports.load(code, name)
    return setfenv(raw_loadstring(code, name), globals)
end

-- Run the trusted texts that make libraries, by their names: they find Lua's whole standard library as it was, get what
-- `shared` makes, and return tables. The places of errors pass over their frames as over the sandbox's own.
function exports.add_libraries(shared, texts)
    local function made(text, ...)
        return setfenv(raw_loadstring(text, LIBRARY), standard)(...)
    end
    sethook() -- nothing of a script's runs here
    local support = made(shared)
    for name, text in raw_pairs(texts) do
        add_library(name, made(text, support))
    end
    sethook(hook, "", instructions)
end

-- Add to or take from a library, in place: what scripts hold of it changes as well.
function exports.set_member(library, name, value)
    libraries[library][name] = value
end

-- Add or take a global name.
function exports.set_global(name, value)
    contents[name] = value
end

contents.KEYS, contents.ARGV = {}, {}
-- The name under which scripts of Redis 7 could see its handler of errors.
contents.__redis__err__handler = explained

-- What the host language put there, and what would be looked up there on its way into Lua, must not be found.
local real = _G
for name in raw_pairs(copy(real)) do
    real[name] = nil
end

return exports
