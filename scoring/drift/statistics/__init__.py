"""Drift statistics, one file each. `catalog.py` lists them; nothing else does."""
