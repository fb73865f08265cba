"""`hexad cluster backup` and `restore`: one consistent set of RDB files of all shards, and the way back.

A backup is a directory: an RDB file for each shard, and `manifest.json`, which is written last. So a directory without
a manifest is no backup, whatever else lies in it.

What makes the set consistent: writes are paused on all primaries (CLIENT PAUSE), and each goes on only when its own
snapshot has begun and all others are paused. So there is an instant at which every shard stands still, and each file
holds its shard as it is then: if somebody has seen the reply to one write before he sends another, on whatever shards,
no set holds the second without the first. Files are what a full synchronisation sends; it is streamed after the pause.
"""
