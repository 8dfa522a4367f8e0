"""The command line: the only part of pmbench that prints or exits.

Commands are thin: they read what the user asked for, call the library, and show what came of it.
Heavy imports happen inside them, so that ``pmbench --help`` answers at once.
"""

from __future__ import annotations

from pmbench.cli import (
    cache,
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
    speed,
    verify,
)
from pmbench.cli.common import app
from pmbench.cli.leaving import leave

__all__ = [
    "app",
    "cache",
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
    "speed",
    "verify",
]


def main() -> None:
    """Run the command line, and exit."""
    try:
        app()
    except SystemExit as error:
        leave(error.code if isinstance(error.code, int) else 0)
