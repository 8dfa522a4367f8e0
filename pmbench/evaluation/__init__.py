"""Datasets × metrics -> runs: batches, the loop, checkpoints, provenance, speed, verification.

``loop`` measures, ``runner`` measures and saves a group of metrics, ``evaluator`` decides what is
still to be measured. May import results and all below; not analysis.
"""
