"""Compiled forms: what a model is as data, and predictors in machine code that follow it.

They give the library's own predictions, many times faster.
"""
