"""Machine code: kernels over columns of numbers, and how they are compiled, kept and loaded.

It knows nothing of models: what a kernel works on are arrays and numbers.
"""
