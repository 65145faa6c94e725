"""Challengers of a run."""
