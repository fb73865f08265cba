"""HELP of SENTINEL, in the form of `node.commands.help`."""

HELP = """
CKQUORUM <master-name>
    Tell whether enough Sentinels can be reached to agree that the primary
    is down (its quorum) and to authorize a failover (a majority).
CONFIG SET <param> <value> [<param> <value> ...]
    Change parameters of this Sentinel that concern all primaries.
CONFIG GET <param> [<param> ...]
    Show those whose names match a pattern.
DEBUG [<param> <value> ...]
    Show this Sentinel's periods and timeouts (milliseconds), or change them.
GET-MASTER-ADDR-BY-NAME <master-name>
    Return address and port of the node that is the primary now.
FAILOVER <master-name>
    Promote a replica without asking other Sentinels for agreement.
FLUSHCONFIG
    Write the configuration file, with all that Sentinel remembers.
INFO-CACHE <master-name> [<master-name> ...]
    Return what INFO said last of the primary and of each replica.
IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>
    Tell another Sentinel whether this one finds a primary down, and vote
    for it unless <runid> is *.
MASTER <master-name>
    Show what is known of a primary.
MASTERS
    Show what is known of all watched primaries.
MONITOR <name> <ip> <port> <quorum>
    Watch one more primary.
MYID
    Return the id of this Sentinel.
PENDING-SCRIPTS
    Show the scripts that run or wait to be run.
REMOVE <master-name>
    Watch a primary no longer.
REPLICAS <master-name>
    Show what is known of the replicas of a primary.
RESET <pattern>
    Forget replicas, Sentinels and failovers of the primaries that match.
SENTINELS <master-name>
    Show what is known of the other Sentinels of a primary.
SET <master-name> <option> <value> [<option> <value> ...]
    Change how a primary is watched.
SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]
    End this process in the midst of its next failover.
"""
