"""Atomic slot migration: slots go to another primary with all their keys, in one copy, the journal, one short pause.

The story.  The target's `Import` dials the source and sends CLUSTER SYNCSLOTS SYNC.  The source's `Export` takes a
snapshot of these slots alone and sends it as commands, long values in pieces, then what its journal has told of them
since (`moving.stream`).  The target runs the commands on a database of its own (`Keyspace.arriving`), which no client
sees and nothing expires or evicts, and journals them, so that its replicas and its file have them, too.  When little
is left, writes to the slots are held back, the rest follows, and the target takes the slots: `gossip.handover` has the
rule for that moment and says why it holds.

Two machines without I/O decide (`moving.arrival`, `moving.departure`); `moving.imports` and `moving.exports` carry
it out, `moving.mover` keeps the tasks and speaks with clients.  Whatever fails before the slots are taken leaves them
where they were: the target drops what it got, in slices, and tries again if that can help.

Between the two nodes, over one connection of the target to the source's client port:

    target: CLUSTER SYNCSLOTS SYNC <task> <target id> <first> <last> ...     source: +OK, or an error
    source: commands of the snapshot; CLUSTER SYNCSLOTS COPIED <keys>; commands of the journal
    target: CLUSTER SYNCSLOTS ACK <bytes> <keys>                             how much of the stream it has run
    source: CLUSTER SYNCSLOTS READY                                          it lags behind by little
    target: CLUSTER SYNCSLOTS PAUSE <epoch>
    source: the rest; CLUSTER SYNCSLOTS FINAL
    target: takes the slots, or CLUSTER SYNCSLOTS GIVEUP <why>
    source, at any time: CLUSTER SYNCSLOTS FAIL <again|never> <why>

    a source that was told CLUSTER MIGRATESLOTS asks the target: CLUSTER SYNCSLOTS PULL <task> <first> <last> ...
"""
