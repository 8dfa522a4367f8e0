"""How fast metrics are, on disk: ``speed.csv`` in a folder of results, a line a measurement.

A line begins with the machine it was measured on, and lines of different machines are never put
together: whoever shows times chooses one machine, and names it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import write_text
from pmbench.utils.text import check_printable

FILE = "speed.csv"
FORWARD, BACKWARD = "forward", "forward+backward"
Status = Literal["measured", "undefined", "failed"]
_PATIENCE = 60.0  # seconds that another process may take to write its lines


@dataclass(frozen=True)
class Machine:
    """What a time depends on beside the metric."""

    processor: str  # model of the GPU, or of the CPU
    device: str  # "cpu", "cuda"
    cores: int  # of the CPU
    threads: int  # that torch computes on
    torch: str
    precision: str  # that networks compute in

    def __str__(self) -> str:
        place = "" if self.device == "cpu" else f" ({self.device})"
        cores = f"{self.threads} thread{'s' * (self.threads != 1)} on {self.cores} cores"
        return f"{self.processor}{place}, {cores}, torch {self.torch}, {self.precision}"


@dataclass(frozen=True)
class Timing:
    """One metric at one size, in one direction; NaN where nothing could be measured."""

    metric: str
    signature: str  # the metric's part of a signature: name#digest
    size: int  # pixels a side
    direction: str  # FORWARD | BACKWARD: that and the gradient in the distorted image
    status: Status
    batch: int = 0  # pairs in a call
    ms: float = math.nan  # per pair, the median of the turns
    low: float = math.nan  # the fastest turn
    high: float = math.nan
    turns: int = 0
    calls: int = 0  # in all turns
    memory_mb: float = math.nan  # peak, above what the process had before it loaded the metric
    parameters: int = -1  # parameters of its networks and filters; -1: nobody can tell
    note: str = ""
    measured: str = ""  # when: ISO 8601

    @property
    def pairs_per_second(self) -> float:
        """How many pairs are done in a second."""
        return 1000 / self.ms


Speeds = dict[Machine, list[Timing]]
_COLUMNS = [field.name for kind in (Machine, Timing) for field in fields(kind)]
_T = TypeVar("_T", Machine, Timing)


def read(results: Path) -> Speeds:
    """Return what is known of each machine; nothing where there is no file.

    Raises PmbenchError where the file is damaged.
    """
    path = results / FILE
    if not path.is_file():
        return {}
    result: Speeds = {}
    try:
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        if lines.fieldnames != _COLUMNS:
            raise ValueError(f"its columns are {', '.join(lines.fieldnames or ['none'])}")
        for line in lines:
            result.setdefault(_typed(Machine, line), []).append(_typed(Timing, line))
    except (OSError, ValueError, csv.Error) as error:
        raise PmbenchError(
            f"{path}: expected times that `pmbench speed` has written ({error}); "
            "delete it and measure again"
        ) from error
    return result


def add(results: Path, machine: Machine, timings: Sequence[Timing]) -> None:
    """Write times beside those that are there, in the place of older ones of the same kind."""
    from pmbench.utils.locks import (
        exclusive,
    )  # boards, which only read, start the sooner without it

    with exclusive(results / ".speed.lock", patience=_PATIENCE):
        speeds = read(results)
        replaced = {_what(timing) for timing in timings}
        kept = [one for one in speeds.get(machine, []) if _what(one) not in replaced]
        speeds[machine] = [*kept, *timings]
        write_text(results / FILE, _text(speeds))


def _what(timing: Timing) -> tuple[str, int, str]:
    return timing.metric, timing.size, timing.direction


def of_one_machine(
    many: Iterable[Speeds], signatures: Mapping[str, str], precision: str
) -> tuple[Machine, dict[str, Timing]] | None:
    """Return one machine, and its forward times at one size, by the names of ``signatures``.

    It is the machine that knows most of the metrics (of several the one used last), at 64 pixels
    where that was measured. None where no machine knows any, as it is and in that precision.
    """
    names = {signature: name for name, signature in signatures.items()}
    results: dict[tuple[Machine, int], dict[str, Timing]] = {}
    for speeds in many:
        for machine, timings in speeds.items():
            for one in timings:
                right = one.status == "measured" and one.direction == FORWARD
                if right and machine.precision == precision and one.signature in names:
                    results.setdefault((machine, one.size), {})[names[one.signature]] = one
    if not results:
        return None

    def rank(key: tuple[Machine, int]) -> tuple[bool, int, str]:
        return key[1] == 64, len(results[key]), max(one.measured for one in results[key].values())

    best = max(results, key=rank)
    return best[0], results[best]


def as_records(machine: Machine, timings: Iterable[Timing]) -> list[dict[str, Any]]:
    """Return times as plain values for JSON: None where there is no number."""
    return [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in {**asdict(machine), **asdict(one)}.items()
        }
        for one in timings
    ]


def _text(speeds: Speeds) -> str:
    out = io.StringIO()
    lines = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    lines.writeheader()
    for machine, timings in speeds.items():
        for one in timings:
            values = {**asdict(machine), **asdict(one)}
            lines.writerow(
                {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in values.items()}
            )
    return out.getvalue()


def _typed(kind: type[_T], line: Mapping[str, str]) -> _T:
    """Return a line's part of that kind. Raises ValueError where a number is none."""
    made: dict[str, Any] = {}
    for field in fields(kind):
        text = line[field.name]
        if text is None:
            raise ValueError("a line is cut off")
        convert = {"int": int, "float": float}.get(str(field.type), str)
        made[field.name] = convert(check_printable(text))
    return kind(**made)
