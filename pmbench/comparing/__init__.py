"""Metrics compared with one another on the same items: differences, ranks, letters, words."""
