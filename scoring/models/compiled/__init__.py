"""Predictors in machine code that give the library's own predictions, many times faster."""
