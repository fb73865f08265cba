"""The smart proxy: one Redis in front of a cluster, for clients that know no cluster."""
