"""Scores shards in parallel workers, in a memory that was planned."""
