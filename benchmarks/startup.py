"""How long the command line takes to answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.inputs import Setting
from benchmarks.processes import ended
from benchmarks.turns import Measured, Row, at_most

_QUICK = "l1,l2,psnr,ssim,dssim-lab,l2-lab,grad,grad-rgb,lap1,mmdpp"


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for the help, and one for a leaderboard of ten metrics on the built-in data."""
    yield Row(
        "start/help", "`pmbench --help`", "–", at_most(0.3, "s"), lambda: _time(setting, ["--help"])
    )
    yield Row(
        "start/leaderboard",
        "`pmbench leaderboard`, 10 metrics on the ladder",
        "–",
        at_most(1.0, "s"),
        lambda: _leaderboard(setting),
    )


def _leaderboard(setting: Setting) -> Measured:
    results = str(setting.folder / "ladder")
    eval_ = ["eval", "-m", _QUICK, "-d", "ladder", "--results", results]
    ended([sys.executable, "-m", "pmbench", *eval_])
    return _time(setting, ["leaderboard", "--results", results])


def _time(setting: Setting, arguments: list[str]) -> Measured:
    command = [sys.executable, "-m", "pmbench", *arguments]
    ended(command)  # brings the files into memory
    seconds = [ended(command).seconds for _ in range(2 * setting.turns)]
    return Measured(seconds, {"what": seconds})
