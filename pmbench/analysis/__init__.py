"""Runs -> what they say: leaderboards, comparisons, ranks, regressions, published scores.

Plain values, which ``reporting`` draws. May import results, datasets, scoring, utils; not
evaluation, and never torch.
"""
