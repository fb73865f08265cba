"""The wire: RESP, client sessions, the reactor that serves them, and a RESP client."""
