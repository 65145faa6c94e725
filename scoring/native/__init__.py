"""Machine code: kernels over columns of numbers, and how they are compiled, cached and loaded.

It knows nothing of models: kernels work on arrays and numbers.
"""
