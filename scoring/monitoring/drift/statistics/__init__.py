"""Drift statistics, one file each. `statistic_catalog.py` lists them; nothing else does.

`shared/` has what several of them need.
"""
