"""Shards on other machines: what is sent to them, and the processes there that run it."""
