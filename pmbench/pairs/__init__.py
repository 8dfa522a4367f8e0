"""Distances of pictures that belong to no dataset."""
