"""Begins a project: files that work at once, filled in with what a model and data tell."""
