"""The one exception for everything that the person at the keyboard can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PmbenchError(Exception):
    """A sentence for the user: what happened, what was expected, what was found, what to do.

    The command line prints it as one red line, without a traceback. Anything else that is
    raised is a bug of pmbench and keeps its traceback.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> PmbenchError:
    """Return the error for a name that does not exist, naming the closest ones that do.

    ``kind`` is a singular noun ("metric"); ``known`` are the names that would have been right.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are: {', '.join(names)}."
    return PmbenchError(f"unknown {kind} '{name}'; {hint}")
