"""HELP of the commands that have subcommands: CLIENT HELP, CONFIG HELP and so on.

The form is Redis's: a head line, then for each subcommand its syntax as a line of its own and its meaning in lines
indented by four spaces, last HELP itself; every line a simple string. `describe` gives what stands between the head and
the end; it takes the names that the node has, so that HELP never offers what is not there.

In the texts an entry begins with a line that is not indented; its first word is the subcommand. An entry whose first
word is in brackets speaks of the command without a subcommand.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType


def help_lines(container: str, lines: Iterable[str]) -> list[str]:
    """The whole reply to `<container> HELP`, with `lines` between its head and the entry of HELP itself."""
    head = f"{container.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    return [head, *lines, "HELP", "    Print this help."]


def describe(container: str, subcommands: Container[str] | None = None) -> list[str]:
    """The lines on the subcommands of `container` (any case) that are in `subcommands` (lower case; None: all of them).

    Raises KeyError where there is no text on `container`.
    """
    lines: list[str] = []
    shown = True
    for line in TEXTS[container.lower()].strip("\n").split("\n"):
        if not line.startswith(" "):
            name = line.split(" ", 1)[0].lower()
            shown = subcommands is None or name.startswith("(") or name in subcommands
        if shown:
            lines.append(line)
    return lines


TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "acl": """
CAT [<category>]
    Names the categories, or the commands in <category>.
DELUSER <username> [<username> ...]
    Removes users and closes their connections.
DRYRUN <username> <command> [<arg> ...]
    Tells whether the user might run the command, and runs nothing.
GETUSER <username>
    Shows what the user may do.
GENPASS [<bits>]
    Draws a password of 256 bits, or of as many as given.
LIST
    Shows all users as lines of an ACL file.
LOAD
    Reads the ACL file anew.
LOG [<count> | RESET]
    Shows what was refused lately, or forgets it.
SAVE
    Writes all users to the ACL file.
SETUSER <username> <attribute> [<attribute> ...]
    Makes the user or changes its rights.
USERS
    Names all users.
WHOAMI
    Names the user of this connection.
""",
        "client": """
CACHING (YES|NO)
    Chooses in OPTIN or OPTOUT mode whether the next command's keys are tracked.
GETREDIR
    Tells which client gets this connection's invalidations.
GETNAME
    Tells the name that this connection was given.
ID
    Tells the number of this connection.
INFO
    Describes this connection in one line.
KILL <ip:port>
    Closes the connection that comes from <ip:port>.
KILL <option> <value> [<option> <value> [...]]
    Closes all connections that every option fits:
    * ID <client-id>
      The one with this number.
    * ADDR (<ip:port>|<unixsocket>:0)
      Those that come from this address.
    * LADDR (<ip:port>|<unixsocket>:0)
      Those that came to this address of the server.
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Those of this type.
    * USER <username>
      Those that logged in as this user.
    * SKIPME (YES|NO)
      Whether to spare this connection; YES unless given.
LIST [options ...]
    Describes the connections, a line each. Options:
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Only those of this type.
    * ID <client-id> [<client-id> ...]
      Only those with these numbers.
UNPAUSE
    Ends a pause.
PAUSE <timeout> [WRITE|ALL]
    Holds back all commands, or only writes, for <timeout> milliseconds.
REPLY (ON|OFF|SKIP)
    Chooses whether this connection gets replies.
SETNAME <name>
    Gives this connection the name <name>.
SETINFO <option> <value>
    Notes what library the client uses. Options:
    * LIB-NAME: its name.
    * LIB-VER: its version.
UNBLOCK <clientid> [TIMEOUT|ERROR]
    Wakes a client from a command that waits, as if its time was over or with an error.
TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]
         [OPTIN] [OPTOUT] [NOLOOP]
    Chooses whether and how this client hears that keys it caches have changed.
TRACKINGINFO
    Shows how this connection's keys are tracked.
NO-EVICT (ON|OFF)
    Spares this connection when clients are dropped for memory.
NO-TOUCH (ON|OFF)
    Lets this connection's commands leave the access clocks of keys alone.
""",
        "cluster": """
ADDSLOTS <slot> [<slot> ...]
    Takes slots that nobody owns.
ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]
    Takes ranges of slots that nobody owns; both ends belong to a range.
BUMPEPOCH
    Raises this node's configuration epoch unless it is the highest.
COUNT-FAILURE-REPORTS <node-id>
    Tells how many nodes hold <node-id> for failing.
COUNTKEYSINSLOT <slot>
    Tells how many keys this node holds in <slot>.
DELSLOTS <slot> [<slot> ...]
    Forgets who owns these slots.
DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]
    Forgets who owns the slots in these ranges.
FAILOVER [FORCE|TAKEOVER]
    Has this replica take its primary's place: hand in hand with it, by the votes of the
    other primaries alone (FORCE), or without asking anybody (TAKEOVER).
FORGET <node-id>
    Drops a node from this node's table.
GETKEYSINSLOT <slot> <count>
    Names up to <count> keys that this node holds in <slot>.
FLUSHSLOTS
    Gives up all slots of this node.
INFO
    Shows the state of the cluster.
KEYSLOT <key>
    Tells which slot <key> belongs to.
MEET <ip> <port> [<bus-port>]
    Introduces this node to another one.
MYID
    Tells this node's name.
MYSHARDID
    Tells the name of this node's shard.
NODES
    Shows the nodes that this one knows, a line each:
    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...
REPLICATE <node-id>
    Makes this node a replica of <node-id>.
RESET [HARD|SOFT]
    Forgets the cluster; HARD gives this node a new name too. SOFT unless given.
SET-CONFIG-EPOCH <epoch>
    Gives a fresh node its configuration epoch.
SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)
    Begins or ends the move of a slot, or settles whose it is.
REPLICAS <node-id>
    Shows the replicas of <node-id>.
SAVECONFIG
    Writes nodes.conf now.
SLOT-STATS SLOTSRANGE <start slot> <end slot>
SLOT-STATS ORDERBY <metric> [LIMIT <count>] [ASC|DESC]
    Tells what the slots of this node's shard hold and cost: a range of them, or the ones with
    the most of key-count, cpu-usec, network-bytes-in or network-bytes-out.
SLOTS
    Shows ranges of slots, each with its first and last slot and with the address, port and
    name of its primary and replicas.
SHARDS
    Shows the shards with their slots and nodes.
LINKS
    Shows the bus connections to and from the other nodes, a map each.
MIGRATION IMPORT <start slot> <end slot> [<start slot> <end slot> ...]
    Gets these slots from the node that owns them, with all keys at one moment.
MIGRATION (STATUS [ID <task-id>|ALL]|CANCEL (ID <task-id>|ALL))
    Shows, or ends, the migrations that this node takes part in.
MIGRATESLOTS SLOTSRANGE <start slot> <end slot> [...] NODE <node-id> [...]
    Has <node-id> get these slots of ours, with all keys at one moment.
GETSLOTMIGRATIONS
    Shows the migrations that this node takes part in, a map each.
CANCELSLOTMIGRATIONS
    Ends the migrations of slots that leave this node.
SYNCSLOTS <word> [<word> ...]
    What two nodes say to each other while slots move between them.
""",
        "command": """
(no subcommand)
    Describes all commands of this server.
COUNT
    Tells how many commands this server has.
LIST
    Names the commands of this server.
INFO [<command-name> ...]
    Describes commands: arity, flags, keys. Without a name, describes all.
DOCS [<command-name> ...]
    Tells what commands are for and which arguments they take. Without a
    name, tells it of all.
GETKEYS <full-command>
    Tells which arguments of a command line are keys.
GETKEYSANDFLAGS <full-command>
    Tells which arguments of a command line are keys, and what is done to each.
""",
        "config": """
GET <pattern>
    Shows the parameters that <pattern> fits.
SET <directive> <value>
    Changes a parameter of the running server.
RESETSTAT
    Sets the counters of INFO back to zero.
REWRITE
    Brings the configuration file up to date.
""",
        "debug": """
AOF-FLUSH-SLEEP <microsec>
    Waits so long before each write to the append-only file; for tests.
ASSERT
    Ends the server by a failed assertion.
CHANGE-REPL-ID
    Draws new replication ids. Replicas will then sync in full: only for tests.
CONFIG-REWRITE-FORCE-ALL
    Writes every parameter to the configuration file, those with default
    values too.
CRASH-AND-RECOVER [<milliseconds>]
    Ends the server at once and starts it anew, after <milliseconds> if given.
DIGEST
    Shows a checksum of all data.
DIGEST-VALUE <key> [<key> ...]
    Shows a checksum of the value of each key.
ERROR <string>
    Replies with the error <string>, for the tests of clients.
LEAK <string>
    Loses the memory of <string>.
LOG <message>
    Puts <message> into the log.
HTSTATS <dbid>
    Tells how the keys of a database are laid out.
HTSTATS-KEY <key>
    Tells how the elements of one key are laid out.
LOADAOF
    Writes out the append-only file and loads it again.
REPLICATE <string>
    Sends <string> to the replicas only, which then differ from this server.
MALLCTL <key> [<val>]
    Shows or sets a number of the allocator.
MALLCTL-STR <key> [<val>]
    Shows or sets a text of the allocator.
OBJECT <key>
    Shows how the value of `key` is kept.
DROP-CLUSTER-PACKET-FILTER <packet-type>
    Ignores the bus packets of this type; -1 ignores none.
OOM
    Ends the server as if memory had run out.
PANIC
    Ends the server by a panic.
POPULATE <count> [<prefix>] [<size>]
    Makes <count> string keys key:<num>, with <prefix> in place of key if given
    and values of <size> bytes. Replicas hear nothing of it, and in a cluster the
    keys of foreign slots are made too.
PROTOCOL <type>
    Replies with a sample of <type>: string, integer, double, bignum, null, array,
    set, map, attrib, push, verbatim, true or false.
RELOAD [option ...]
    Saves all data and loads it again. Options:
    * MERGE: where a key is there already, the one in the file wins.
    * NOFLUSH: what is in memory stays; a key that is in memory and in the file
      ends the server, but for MERGE.
    * NOSAVE: nothing is saved first, the file that is there is loaded.
RESTART [<milliseconds>]
    Saves and starts the server anew, after <milliseconds> if given.
SDSLEN <key>
    Shows how the strings of `key` and its value are kept.
SEGFAULT
    Ends the server by a bad memory access.
SET-ACTIVE-EXPIRE <0|1>
    With 0, keys whose time is over go only when they are accessed; with 1, as
    usual, in the background too.
SET-DISABLE-DENY-SCRIPTS <0|1>
    With 1, scripts may use the commands that are closed to them; for tests.
QUICKLIST-PACKED-THRESHOLD <size>
    From which size on a list keeps an element on its own; up to 4GB, 0 for the
    default of 1GB.
SET-SKIP-CHECKSUM-VALIDATION <0|1>
    With 1, the checksums of RDB files and of RESTORE are not looked at.
SLEEP <seconds>
    Does nothing for <seconds>, which may have decimals.
STRINGMATCH-TEST
    Tries random patterns on random strings.
STRUCTSIZE
    Shows how big the server's structures are.
LISTPACK <key>
    Shows the packed form of <key>.
QUICKLIST <key> [<0|1>]
    Shows the nodes of a list, with 1 their elements too.
CLIENT-EVICTION
    Shows the clients by the memory that they take (maxmemory-clients).
PAUSE-CRON <0|1>
    With 1, the regular work in the background rests.
REPLYBUFFER PEAK-RESET-TIME <NEVER||RESET|time>
    After how many milliseconds the highest use of a reply buffer is forgotten;
    NEVER keeps it, RESET means as usual.
REPLYBUFFER RESIZING <0|1>
    Chooses whether reply buffers are fitted to their use.
DICT-RESIZING <0|1>
    Chooses whether tables of keys and elements are fitted to their use.
CLUSTERLINK KILL <to|from|all> <node-id>
    Closes the bus connections to a node, from it, or both.
""",
        "function": """
LOAD [REPLACE] <FUNCTION CODE>
    Makes a library from its source, in place of the one of its name with REPLACE.
DELETE <LIBRARY NAME>
    Removes a library with its functions.
LIST [LIBRARYNAME PATTERN] [WITHCODE]
    Describes the libraries, or those that the pattern fits: name, engine, functions, and
    with WITHCODE the source.
STATS
    Tells which function runs, by what command and for how many milliseconds, nil where none
    does; and which engines there are.
KILL
    Stops the function that runs, unless it has written.
FLUSH [ASYNC|SYNC]
    Removes every library, in the background or at once; without a word for it, as
    lazyfree-lazy-user-flush says.
DUMP
    Gives all libraries in the form that FUNCTION RESTORE takes.
RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]
    Makes libraries from what FUNCTION DUMP gave:
    * FLUSH: all others are removed first.
    * APPEND: the others stay, and a name that is taken is an error. The usual way.
    * REPLACE: a library takes the place of the one with its name; a function name that is
      taken by another library is still an error.
""",
        "latency": """
DOCTOR
    Explains the delays in words.
GRAPH <event>
    Draws the delays of <event>.
HISTORY <event>
    Lists the delays of <event> with their times.
LATEST
    Lists the latest and the worst delay of every event.
RESET [<event> ...]
    Forgets the delays of these events, or of all.
HISTOGRAM [COMMAND ...]
    Shows how long commands ran, by how many calls took up to how many microseconds: these
    commands, or all that were called.
""",
        "memory": """
DOCTOR
    Explains in words what is odd about memory.
MALLOC-STATS
    Shows what the allocator tells about itself.
PURGE
    Asks the allocator to give back what it does not need.
STATS
    Shows what memory is used for.
USAGE <key> [SAMPLES <count>]
    Tells the bytes that <key> and its value take, judged by <count> elements of a
    container (5 unless given, 0 for all).
""",
        "module": """
LIST
    Describes the modules.
LOAD <path> [<arg> ...]
    Loads the module at <path> with these arguments.
LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]
    Loads the module at <path> with parameters and arguments.
UNLOAD <name>
    Lets a module go.
""",
        "object": """
ENCODING <key>
    Tells in which form the value of <key> is kept.
FREQ <key>
    Tells how often <key> was used of late, as the logarithm that the LFU
    policies keep.
IDLETIME <key>
    Tells for about how many seconds nobody has used <key>.
REFCOUNT <key>
    Tells how many owners the value of <key> has.
""",
        "pubsub": """
CHANNELS [<pattern>]
    Names the channels with subscribers that <pattern> fits, or all.
NUMPAT
    Tells how many patterns have subscribers.
NUMSUB [<channel> ...]
    Tells how many subscribers each channel has, not counting patterns.
SHARDCHANNELS [<pattern>]
    Names the shard channels with subscribers that <pattern> fits, or all.
SHARDNUMSUB [<shardchannel> ...]
    Tells how many subscribers each shard channel has.
""",
        "script": """
DEBUG (YES|SYNC|NO)
    Chooses how the next scripts of this connection are debugged.
EXISTS <sha1> [<sha1> ...]
    Tells which of these scripts the server knows.
FLUSH [ASYNC|SYNC]
    Forgets all scripts, in the background or at once; without a word for it, as
    lazyfree-lazy-user-flush says. Clients that count on EVALSHA will have to send them anew.
KILL
    Stops the script that runs, unless it has written.
LOAD <script>
    Takes in <script> and runs nothing.
""",
        "sentinel": """
CKQUORUM <master-name>
    Tells whether the Sentinels in reach are enough to hold this primary for down
    and to agree on a failover.
CONFIG SET <param> <value>
    Changes one of Sentinel's own parameters.
CONFIG GET <param>
    Shows Sentinel's own parameters.
DEBUG [<param> <value> ...]
    Shows Sentinel's time limits in milliseconds, or changes them.
GET-MASTER-ADDR-BY-NAME <master-name>
    Tells the address and port of this primary at this time.
FAILOVER <master-name>
    Fails this primary over without asking the others.
FLUSHCONFIG
    Writes Sentinel's configuration file, with its state, now.
INFO-CACHE <master-name>
    Shows the latest INFO of this primary and of its replicas.
IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>
    Tells whether this Sentinel holds the primary at ip:port for down; with a
    run id, asks for its vote.
MASTER <master-name>
    Describes this primary.
MASTERS
    Describes all primaries under watch.
MONITOR <name> <ip> <port> <quorum>
    Begins to watch a primary.
MYID
    Tells the name of this Sentinel.
PENDING-SCRIPTS
    Lists the scripts that run or wait.
REMOVE <master-name>
    Ends the watch over this primary.
REPLICAS <master-name>
    Describes the replicas of this primary.
RESET <pattern>
    Learns anew all about the primaries that <pattern> fits.
SENTINELS <master-name>
    Describes the other Sentinels of this primary.
SET <master-name> <option> <value> [<option> <value> ...]
    Changes how this primary is watched.
SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]
    Ends this Sentinel at a step of its next failover, for tests.
""",
        "slowlog": """
GET [<count>]
    Shows the latest <count> entries (10 unless given, -1 for all), each with its
    id, Unix time, duration in microseconds, command line, client address
    and client name.
LEN
    Tells how many entries there are.
RESET
    Forgets all entries.
""",
        "xgroup": """
CREATE <key> <groupname> <id|$> [option]
    Makes a group that begins to read after this id. Options:
    * MKSTREAM
      Makes the stream too where there is none.
    * ENTRIESREAD entries_read
      How many entries the group counts as read.
CREATECONSUMER <key> <groupname> <consumer>
    Makes a consumer in the group.
DELCONSUMER <key> <groupname> <consumer>
    Removes the consumer with what waits for it.
DESTROY <key> <groupname>
    Removes the group with its consumers.
SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]
    Lets the group go on reading after this id.
""",
        "xinfo": """
CONSUMERS <key> <groupname>
    Describes the consumers of the group.
GROUPS <key>
    Describes the groups of the stream.
STREAM <key> [FULL [COUNT <count>]
    Describes the stream, in FULL with up to <count> entries.
""",
    }
)
