"""Versions that score the rows of a run beside the job's own model, into tables of their own."""
