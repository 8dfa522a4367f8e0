"""Runs held against a baseline or published scores: did a score move?"""
