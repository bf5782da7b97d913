"""Slow references: one object, cell or pair at a time, in float64.

They state the rules of the papers and of the original implementation in plain Python. Nothing
here imports the package, so that a reference cannot share its errors.
"""
