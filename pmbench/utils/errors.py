"""The one exception for everything that the person at the keyboard can put right."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

from pmbench.utils.text import one_line

_FEW = 12  # names that are listed whole
_LONGEST = 300  # characters of somebody's message in a sentence
# what a name may be of -> the commands that list all there are
_LISTS = {
    "metric": "`pmbench list metrics` shows them",
    "dataset": "`pmbench list datasets` shows them",
    "run": "`pmbench list runs` shows them",
    "metric or run": "`pmbench list metrics` and `pmbench list runs` show them",
    "dataset, group or metric": "`pmbench list datasets` and `pmbench list metrics` show them",
}
# where code lies that is not the user's own
_NOT_USER_CODE = [Path(__file__).resolve().parents[1]] + [
    Path(sysconfig.get_path(kind)).resolve()
    for kind in ("stdlib", "platstdlib", "purelib", "platlib")
]


class PmbenchError(Exception):
    """A sentence for the user: what happened, what was expected, what was found, what to do.

    The command line prints it as one red line, without a traceback. Anything else that is
    raised is a bug of pmbench and keeps its traceback.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> PmbenchError:
    """Return the error for a name that does not exist, naming the closest ones that do.

    ``kind`` is a singular noun ("metric"); ``known`` are the names that would have been right.
    Where none is close, and there are many, the first are named, or how to list them.
    """
    names = sorted(set(known))
    close = closest(name, names)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif len(names) <= _FEW:
        hint = f"known are: {', '.join(names)}."
    elif kind in _LISTS:
        hint = f"{len(names):,} are known; {_LISTS[kind]}."
    else:
        hint = f"{len(names):,} are known: {', '.join(names[:_FEW])}, …"
    return PmbenchError(f"unknown {kind} '{name}'; {hint}")


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three names that ``name`` may be a slip of, upper and lower case being alike."""
    by_folded: dict[str, list[str]] = {}
    for one in known:
        by_folded.setdefault(one.casefold(), []).append(one)
    result = difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)
    return [one for folded in result for one in by_folded[folded]][:3]


def describe(error: BaseException) -> str:
    """Return what an exception says, and the line of the user's own code that it came from."""
    lines = [
        f" (in {Path(frame.filename).name}, line {frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_user_code(Path(frame.filename))
    ]
    return one_line_of(error) + "".join(lines[-1:])


def one_line_of(error: BaseException) -> str:
    """Return an exception's kind and message in one line, cut where it is long.

    Foreign code may raise one whose message cannot be had.
    """
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  whatever it raises, its kind is known
        message = "it has no message that could be shown"
    return one_line(" ".join(f"{type(error).__name__}: {message}".split()), _LONGEST)


def _is_user_code(file: Path) -> bool:
    place = file.resolve()
    return place.is_file() and not any(place.is_relative_to(other) for other in _NOT_USER_CODE)
