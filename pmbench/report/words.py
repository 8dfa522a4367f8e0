"""Words that depend on a number."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 metric", "1,200 metrics"."""
    return f"{number:,} {noun}" + "s" * (number != 1)
