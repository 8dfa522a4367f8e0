"""Foreign text: what may be stored and shown is taken as it is, everything else is refused.

A name may come from a manifest, a CSV file, somebody's metric or another machine's results. A
terminal, a table, a page and a chart show it; ``check_printable`` is the one rule for all of them.
"""

from __future__ import annotations

import re

# What may make a terminal do or show something else, or what no page or chart can hold: control
# characters, further ends of lines, marks that turn the direction of writing, halves of pairs, and
# what Unicode says is no character.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 17 << 16, 1 << 16)
    )
    + "]"
)


def check_printable(text: str, lines: bool = False) -> str:
    """Return a text that can be stored, shown and typed; with ``lines``, of several lines.

    Raises ValueError, with the characters escaped, for any other.
    """
    if _UNPRINTABLE.search(re.sub("[\n\t]", " ", text) if lines else text):
        raise ValueError(
            f"{text[:80]!a} has characters that cannot be shown as they are; rename it"
        )
    return text


def check_all_printable(content: object) -> None:
    """Check every text in lists and dicts, such as those of a JSON file; lines may end in them.

    Raises ValueError for one that cannot be shown.
    """
    if isinstance(content, str):
        check_printable(content, lines=True)
    elif isinstance(content, dict):
        check_all_printable([*content.keys(), *content.values()])
    elif isinstance(content, list | tuple):
        for value in content:
            check_all_printable(value)


def printable(text: str) -> str:
    """Return a text as a terminal may show it: everything but its ends of lines escaped."""
    return "\n".join(map(_escaped, text.split("\n")))


def one_line(text: str, longest: int = 1000) -> str:
    """Return a text as a terminal may show it: in one line, and not too long."""
    return _escaped(text if len(text) <= longest else f"{text[:longest]}…")


def preview(value: object, quote: str = "") -> str:
    """Return the beginning of any value, as a sentence may name it."""
    try:
        return f"{quote}{one_line(str(value), 80)}{quote}"
    except (ValueError, RecursionError):  # an integer of 5,000 digits, or a value in a value in …
        return f"a {type(value).__name__} too long to print"


def _escaped(text: str) -> str:
    return _UNPRINTABLE.sub(lambda c: c[0].encode("unicode_escape").decode("ascii"), text)
