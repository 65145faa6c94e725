"""Profiles: what the values of columns are, counted once while they are scored."""
