"""The metrics that come with pmbench, a file for each paper or family; found by themselves.

A metric file imports ``pmbench.metrics``, ``pmbench.networks`` and ``pmbench.utils``, and nothing
of datasets, protocols, runs or other metrics.
"""
