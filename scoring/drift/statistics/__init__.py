"""Drift statistics, one file each. `registry.py` lists them; nothing else does."""
