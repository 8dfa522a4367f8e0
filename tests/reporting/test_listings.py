"""What an evaluation or a measurement of speed would take, in words."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

from support.terminal import terminal_lines

from pmbench.evaluation.estimate import SpeedEstimate
from pmbench.reporting import estimate_to_rich, speed_forecast


def test_a_forecast_says_how_long_where_from_and_what_lacks() -> None:
    here = SimpleNamespace(
        dataset="ladder", items=216, images=192, passes=200, batches=3, sizes={(64, 64): 216},
        gigabytes=None,
    )  # fmt: skip
    far = SimpleNamespace(
        dataset="bapps", items=None, images=None, passes=2000, batches=None,
        sizes={(64, 64): 1000}, counted=1000, gigabytes=1.1,
    )  # fmt: skip
    blank = SimpleNamespace(**vars(far) | {"dataset": "new", "sizes": {}, "gigabytes": None})
    seconds = {
        "l2": (0.123, 75.4, math.nan), "vgg": (1234.0, 7200.0, math.nan),
        "mine": (math.nan, math.nan, math.nan), "large": (0.0, 0.0, 0.0),
    }  # fmt: skip
    origins = {"l2": "recorded", "vgg": "elsewhere", "mine": "unknown", "large": "undefined"}
    told: Any = SimpleNamespace(
        workloads=[here, far, blank],
        seconds={name: dict(zip(("ladder", "bapps", "new"), some, strict=True))
                 for name, some in seconds.items()},
        together={"ladder": (1234.0, 1234.1), "bapps": (7200.0, 14400.0), "new": (math.nan,) * 2},
        times={name: SimpleNamespace(origin=origin, note="a reason")
               for name, origin in origins.items()},
        elsewhere="Slow 1000",
        missing=[SimpleNamespace(name="vgg16", megabytes=528, metrics=["vgg"] * 18),
                 SimpleNamespace(name="pieapp", megabytes=None, metrics=["pieapp"])],
    )  # fmt: skip
    lines = terminal_lines(estimate_to_rich(told), 200)
    assert lines[:3] == [
        "ladder: 216 items, 192 different images in 3 batches; each network passes over each image "
        "once, over 8 again",
        "bapps: its manifest does not say how many items it has; times are of 1,000",
        "new: its manifest does not say how many items it has",
    ]
    assert [re.split(r"\s{2,}", line) for line in lines[4:11] if "─" not in line] == [
        ["metric", "ladder", "bapps", "new", "from"],
        ["l2", "0.12 s", "75 s", "unknown", "recorded"],
        ["vgg", "21 min", "2.0 h", "unknown", "elsewhere"],
        ["mine", "unknown", "unknown", "unknown", "unknown"],
        ["large", "n/a", "n/a", "n/a", "undefined"],
        ["in one pass", "21 min", "2.0 h to 4.0 h", "unknown"],
    ]
    assert lines[11:] == [
        "about, each metric alone; reading and scoring not included",
        "in one pass: all of known time; those with the same weights may share a network's work",
        "recorded: by `pmbench speed` on this machine",
        "elsewhere: not measured here, but on a machine of Slow 1000",
        "`pmbench speed -m METRIC --size 64` records what is unknown",
        "bapps: not on this machine (1.1 GB); get it with `pmbench download bapps`",
        "new: not on this machine; get it with `pmbench download new`",
        "new: nobody knows yet how large its images are",
        "to be fetched: vgg16, 528 MB: for 18 metrics",
        "to be fetched: pieapp, of unknown size: for pieapp",
        "unknown: mine: a reason",
        "undefined: large: a reason",
    ]


def test_a_forecast_of_speed_says_what_it_rests_on() -> None:
    assert speed_forecast(SpeedEstimate(30, 0, 0), 5) == "this takes about 30 s"
    assert speed_forecast(SpeedEstimate(900, 41, 1), 0.5) == (
        "this takes about 15 min; 41 metrics by the times of another machine or setup; 1 metric of "
        "unknown time, with 0.5 s for each number"
    )
