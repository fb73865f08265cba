# ruff: noqa: E501, W291 (programs of one line)
"""Small programs for the script engine: each is run here and by a real server, and must say the same."""

PROGRAMS = r"""
return 1
return 3.9999
return -3.9999
return 1e100
return "a"
return true
return false
return nil
return {1,2,nil,3}
return {1,{2,{3,"x"}},true,false}
return {ok="fine"}
return {err="MY err"}
return {err="no\r\nline"}
return {ok="no\r\nline"}
return {double=3.0}
return {double=1/0}
return {map={a=1}}
return {set={a=true}}
return {big_number="123"}
return {verbatim_string={string="hello",format="txt"}}
return {verbatim_string={string="hello",format="markdown"}}
return {map=1}
return {ok=1}
return {err=1}
return {double="x"}
redis.setresp(3) return true
redis.setresp(3) return false
redis.setresp(3) return {true,false,nil}
redis.setresp(3) return redis.call("hgetall","h")
redis.setresp(3) local t=redis.call("hgetall","h") return t.map.f
redis.setresp(3) return redis.call("smembers","s1")
redis.setresp(3) local t=redis.call("smembers","s1") return type(t.set.a)
redis.setresp(3) return redis.call("zscore","z","a")
redis.setresp(3) local t=redis.call("zscore","z","a") return type(t)..tostring(t.double)
redis.setresp(3) return redis.call("get","nosuch")
redis.setresp(3) return tostring(redis.call("get","nosuch"))
redis.setresp(3) return redis.call("zrange","z",0,-1,"withscores")
redis.setresp(3) local t=redis.call("debug","protocol","bignum") return type(t)..tostring(t.big_number)
redis.setresp(3) local t=redis.call("debug","protocol","verbatim") return type(t)..tostring(t.verbatim_string.string)..t.verbatim_string.format
redis.setresp(3) local t=redis.call("debug","protocol","true") return type(t)
redis.setresp(3) local t=redis.call("debug","protocol","double") return type(t)..tostring(t.double)
redis.setresp(3) return redis.call("debug","protocol","null")
redis.setresp(3) return redis.call("debug","protocol","map")
redis.setresp(3) return redis.call("debug","protocol","set")
return redis.call("debug","protocol","bignum")
return redis.call("debug","protocol","double")
return redis.call("debug","protocol","map")
return redis.call("debug","protocol","true")
return redis.call("debug","protocol","verbatim")
return redis.call("hgetall","h")
return redis.call("get","nosuch")
return tostring(redis.call("get","nosuch"))
return redis.call("ping")
return redis.call("ping").ok
return redis.call("set","a","b").ok
return redis.call("config","get","maxmemory")
return redis.pcall("set","a","b","c")
return redis.call("set","a","b","c")
return redis.call("incr","str")
return redis.call("lpush","str","x")
return redis.pcall("lpush","str","x").err
local e=redis.pcall("lpush","str","x") local k={} for a,b in pairs(e) do k[#k+1]=a..tostring(b) end table.sort(k) return k
local ok,e=pcall(redis.call,"lpush","str","x") return e
local ok,e=pcall(function() redis.call("lpush","str","x") end) return {tostring(ok),e}
local ok,e=xpcall(function() redis.call("lpush","str","x") end,function(e) return type(e)..e.err end) return {tostring(ok),e}
return redis.call("nosuch")
return redis.call("get")
return redis.call("eval","return 1",0)
return redis.call("multi")
return redis.call("client","nosuch")
return redis.call("client")
return redis.call("object","encoding","str")
return redis.call("select",1)
redis.call("select",1) redis.call("set","in1","x") return redis.call("get","in1")
return redis.call("get","in1")
return redis.call()
return redis.pcall()
return redis.call({})
return redis.call("get",{})
return redis.call("get",nil)
return redis.call("get",true)
return redis.pcall("get",true)
return redis.call("echo",1)
return redis.call("echo",1.5)
return redis.call("echo",100000000000000)
return redis.call("echo","\0bin\255")
return #redis.call("echo","\0bin\255")
return redis.sha1hex("x")
return redis.sha1hex(1)
return redis.sha1hex()
return redis.sha1hex("a","b")
return redis.sha1hex({})
return redis.error_reply("x")
return redis.error_reply("-x")
return redis.error_reply("A b")
return redis.error_reply("-A b")
return redis.error_reply("--A b")
return redis.error_reply("A b\r\n")
return redis.error_reply("")
return redis.error_reply("-")
return redis.error_reply(" x")
return redis.error_reply(1)
return redis.error_reply({})
return redis.status_reply("x y")
return redis.status_reply()
return redis.status_reply(1)
return redis.log(1)
return redis.log("a","b")
return redis.log(9,"b")
return redis.log(redis.LOG_DEBUG,"b")
return redis.log(-1,"b")
return redis.setresp()
return redis.setresp(4)
return redis.setresp("x")
return redis.set_repl()
return redis.set_repl(9)
return redis.set_repl(redis.REPL_ALL)
return redis.set_repl("x")
return redis.replicate_commands()
return redis.breakpoint()
return redis.debug("x")
return redis.acl_check_cmd("get","x")
return redis.acl_check_cmd()
return redis.acl_check_cmd("nosuch")
return redis.acl_check_cmd("get",{})
return {redis.LOG_DEBUG,redis.LOG_WARNING,redis.REPL_NONE,redis.REPL_ALL,redis.REPL_AOF,redis.REPL_SLAVE,redis.REPL_REPLICA}
x=1
return x
local x=y
KEYS=1
return #KEYS
redis.x=1
redis=nil
string.x=1
math.pi=3
_G.x=1
_G.redis=1
_G._G=1
rawset(_G,"a",1)
rawset(redis,"a",1)
rawset(string,"sub",1)
table.insert(redis,1)
table.remove(redis)
table.sort(redis)
setmetatable(_G,{})
setmetatable(redis,{})
setmetatable("",{})
getmetatable(_G).__index=1
return tostring(getmetatable(redis))
return type(getmetatable(_G))
return type(_G)
return _VERSION
return print
print(1)
return require
return dofile
return loadfile
return io
return debug
return package
return newproxy
return getfenv
return setfenv
return module
return jit
return python
error("x")
error("x",0)
error("x",2)
error(5)
error({err="A b"})
error({err="A b",line=5,source="x"})
error(redis.error_reply("A b"))
local function f() error("deep") end f()
local function f() return redis.call("nosuch") end return f()
local f=function() local r=redis.call("nosuch") return r end return f()
local c=redis.call return c("nosuch")
return pcall(error)
return {pcall(error,"x")}
return {pcall(error,{err="x y"})}
return {pcall(function() return 1,2 end)}
return {pcall()}
return {xpcall(function() error("x") end, function(e) return "H:"..e end)}
return assert(false)
return assert(false,"msg")
return assert(nil,{err="A b"})
assert(redis.call("get","nosuch"))
return loadstring("return 1+1")()
return loadstring("x y")
return select(2,loadstring("x y"))
return loadstring("return y")()
return loadstring("y=1")()
return load(function() return nil end)
local n=0 return load(function() n=n+1 return ({"return ","7"})[n] end)()
return tostring(1/0)
return tostring(0/0)
return 2^53
return 2^63
return -2^63
return 10/3
return tostring(10/3)
return "a".."b"..1
return 1 .. ""
return #{1,2,3}
return #"abc"
return string.format("%5.2f|%d|%s|%q",1.234,5,"x","y")
return ("x"):upper()
return string.rep("ab",3)
return {string.find("hello","l+")}
return {string.byte("abc",1,-1)}
return table.concat({1,2,3},",")
return table.getn({1,2})
return {unpack({1,2,3})}
local a = {unpack({1,2,3}, 0, 2147483647)} return #a
local a = {unpack({1,2,3}, -2147483648, 2147483647)} return #a
local a = {unpack({1,2,3}, -2, 2147483647)} return #a
local a = {unpack({1,2,3}, 2, 4294967299)} return a
local a = {unpack({1,2,3}, "2")} return a
local a = {unpack({1,2,3}, 2.9)} return a
local a = {unpack({1,2}, nil, {})} return a
local a = {unpack()} return a
local a = {unpack(redis)} return #a
local t = {} for i=1,7999 do t[i]=i end local a = {unpack(t)} return #a
local t = {} for i=1,8000 do t[i]=i end local a = {unpack(t)} return #a
local t = {} for i=1,7998 do t[i]=i end local a = {unpack(t,1,7998)} return #a
return unpack({1,2})
return select("#",1,2,3)
return {select(-1,1,2,3)}
return {math.floor(1.5),math.ceil(1.5),math.max(1,5),math.fmod(7,3)}
return math.random(1,0)
return math.random(1,2,3)
return math.random("x")
return math.random({})
return math.randomseed()
return tostring(nil)
return type(nil)
return tostring(tonumber("0x10"))
return tonumber("z",36)
return next({})
return {next({5})}
return rawget(_G,"nosuch")
return type(rawget(_G,"redis"))
return rawequal("a","a")
return {ipairs({})}
for i,v in ipairs({1,2,3}) do if i==2 then return v end end
local s=0 for i=1,100 do s=s+i end return s
local t={} for i=1,10 do t[i]=i*i end return t
local t=setmetatable({},{__index=function(t,k) return k.."!" end}) return t.foo
local t=setmetatable({},{__call=function(t,k) return k end}) return t(7)
local t={1,2} t.x=3 return t
return {[1]=1,[3]=3}
return {1,function() end,2}
return function() end
return coroutine.wrap(function() return 5 end)()
local co=coroutine.create(function(a) local b=coroutine.yield(a+1) return b*2 end) local _,x=coroutine.resume(co,1) local _,y=coroutine.resume(co,10) return {x,y,coroutine.status(co)}
coroutine.yield(1)
return coroutine.wrap(function() error("in co") end)()
return coroutine.wrap(function() error({err="A b"}) end)()
return coroutine.create(1)
return coroutine.running()
goto = 1
a b
return 
if
return "unfinished
return [[x
--comment
#!lua
return string.rep()
return ("x"):nosuch()
return nil + 1
return {} .. "x"
return {} < {}
local t=nil return t.x
local t=nil t.x=1
return #5
return redis.nosuch()
return string.sub()
return tostring()
return setmetatable()
return collectgarbage("count")>0
return collectgarbage("nosuch")
return type(collectgarbage())
return gcinfo()>0
return KEYS[1]
return {KEYS[1],ARGV[1],ARGV[2]}
return {#KEYS,#ARGV}
KEYS[1]="z" return KEYS
return redis.call("mget","str","nosuch")
return redis.call("lrange","l",0,-1)
return redis.call("exists","str")
return redis.call("type","str")
return redis.call("type","str").ok
return redis.call("ttl","str")
return redis.call("zrange","z",0,-1,"withscores")
return redis.call("xadd","st","1-1","f","v")
return redis.call("xrange","st","-","+")
return redis.call("command","count")>0
return redis.call("hmget","h","f","g")
return redis.call("time")[1]>"0"
return redis.call("srandmember","s1",0)
return redis.call("sort","l","alpha")
return redis.call("spop","s9")
return redis.call("bitcount","str")
return redis.call("GET","str")
return redis.call("gEt","str")
local t={} for k in pairs(string) do t[#t+1]=k end table.sort(t) return t
local t={} for k in pairs(table) do t[#t+1]=k end table.sort(t) return t
local t={} for k in pairs(math) do t[#t+1]=k end table.sort(t) return t
local t={} for k in pairs(coroutine) do t[#t+1]=k end table.sort(t) return t
local t={} for k in pairs(redis) do t[#t+1]=k end table.sort(t) return t
local t={} for k in pairs(_G) do if not ({os=1,bit=1,cjson=1,cmsgpack=1,struct=1})[k] then t[#t+1]=k end end table.sort(t) return t
pairs(nil)
local a a.b=1
next(nil)
rawget(1,2)
rawset(nil,1,2)
table.insert(nil,1)
for k in pairs(nil) do end
for k in nil do end
local function f() for k in pairs(nil) do end end f()
return pairs()
return table.concat({{}})
return string.format('%d','x')
""".strip("\n").split("\n")
