"""Sufficient statistics of a column of numbers, one module each. Each declares `STATISTIC`."""
