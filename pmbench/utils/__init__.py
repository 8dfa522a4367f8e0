"""What every package uses and no metric science is in: files, downloads, HDF5, locks, checks.

Imports nothing else of pmbench.
"""
