"""Metrics of predictions whose labels are known, with 95 % intervals, of arrays in memory."""
