"""Drift statistics, one file each. `catalog.py` lists them; nothing else does.

`shared/` has what several of them need.
"""
