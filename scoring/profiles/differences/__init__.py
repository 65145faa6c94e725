"""Counting how two models' predictions of the same rows differ, in a worker."""
