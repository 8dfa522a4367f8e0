"""From a manifest to a pack: fetched, verified, decoded and resized once.

``manifest`` says what a dataset is, ``layouts`` what its files mean, ``download`` walks from one to
the other, ``pack`` is the file that metrics are measured on. May import scoring, networks, utils;
never torch.
"""
