"""The command line: the only part of pmbench that prints or exits.

Commands are thin: they read what the user asked for, call the library, and show what came of it.
Heavy imports happen inside them, so that ``pmbench --help`` answers at once.
"""

from __future__ import annotations

from pmbench.cli import (
    cards,
    check,
    cite,
    compare,
    data,
    distance,
    exchange,
    measure,
    report,
    show,
    verify,
)
from pmbench.cli.common import app

__all__ = [
    "app",
    "cards",
    "check",
    "cite",
    "compare",
    "data",
    "distance",
    "exchange",
    "main",
    "measure",
    "report",
    "show",
    "verify",
]


def main() -> None:
    """Run the command line."""
    app()
