"""The bytes of values: DUMP payloads, RDB files, full synchronisations. Pure codecs: no files, no sockets, no clock."""
