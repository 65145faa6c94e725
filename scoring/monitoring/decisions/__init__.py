"""Decides between two models that have scored the same rows, under nightly looks."""
