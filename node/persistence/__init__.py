"""The data set on disk: written from a snapshot while the node serves, read when it starts."""
