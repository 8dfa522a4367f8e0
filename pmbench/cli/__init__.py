"""The command line: the only part of pmbench that prints or exits.

Commands are thin: they read what the user asked for, call the library, and show what came of it.
Heavy imports happen inside them, so that ``pmbench --help`` answers at once.
"""

from __future__ import annotations

from pmbench.cli import cards, data, distance, exchange, measure, show, verify
from pmbench.cli.common import app

__all__ = [
    "app",
    "cards",
    "data",
    "distance",
    "exchange",
    "main",
    "measure",
    "show",
    "verify",
]


def main() -> None:
    """Run the command line."""
    app()
