"""The face of Hexad: the `hexad` command and local topologies."""
