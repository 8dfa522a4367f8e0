"""Output streams that cannot show every sign, such as of a console that is not UTF-8."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

# signs of pmbench's own -> what stands for them in ASCII, of the same width where tables have them
_STAND_IN = {
    "↑": "^", "↓": "v", "→": ">", "↳": ">", "×": "x", "·": ".", "–": "-", "…": ".", "†": "+",
    "±": "+-", "∞": "inf", "’": "'", "“": "'", "”": "'",
}  # fmt: skip


def show_every_sign() -> None:
    """Let stdout and stderr write a stand-in for a sign that they cannot show.

    ``↑`` becomes ``^`` and ``×`` becomes ``x``; anything else is escaped as in JSON, so that a
    document stays one.
    """
    codecs.register_error("stand-in", _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="stand-in")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    return "".join(_STAND_IN.get(sign) or _plain(sign) for sign in signs), error.end


def _plain(sign: str) -> str:
    plain = unicodedata.normalize("NFKD", sign)  # ² and ½
    if plain.isascii():
        return plain
    code = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))
