"""Networks as feature extractors: backbones with taps, their weights, other libraries' models.

May import utils.
"""
