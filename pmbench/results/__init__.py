"""A run on disk and a folder of runs: written, read, imported, exported, merged, reproduced.

``run`` is one metric on one dataset, ``schema`` what its run.json says, ``store`` a folder of runs.
May import datasets, scoring, utils; never torch.
"""
