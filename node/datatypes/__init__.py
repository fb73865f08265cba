"""Values and what is done with them, pure: no keys, no clients, no clock."""
