"""The command line: the only part of pmbench that prints or exits.

Commands are thin: they read what the user asked for, call the library, and show what came of it.
Heavy imports happen inside them, so that ``pmbench --help`` answers at once.
"""

from __future__ import annotations

import signal

# each module adds its commands to ``app``
from pmbench.cli import (  # noqa: F401
    cache,
    catalog,
    check,
    cite,
    compare,
    distance,
    download,
    evaluate,
    leaderboard,
    report,
    runs,
    scores,
    speed,
    verify,
)
from pmbench.cli.common import SIGNAL, app
from pmbench.cli.signals import exit_process
from pmbench.cli.streams import show_every_sign

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line, and exit."""
    show_every_sign()
    try:
        app()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
        if isinstance(error.__context__, BrokenPipeError):  # its reader had enough, as `head` has
            code = SIGNAL + signal.SIGPIPE
        exit_process(code)
