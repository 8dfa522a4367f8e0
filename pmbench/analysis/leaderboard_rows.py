"""What a leaderboard is made of: plain values, which ``reporting`` draws."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pmbench.scoring.protocols import Statistic

if TYPE_CHECKING:
    from pmbench.analysis.ranking import RankRange


@dataclass(frozen=True)
class Cell:
    """One number, on the scale it is computed on, and its interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    part: bool = False  # it covers less than it seems to; the note says why
    unreliable: bool = False  # the interval rests on too few independent items
    difference: float = math.nan  # of a published number: measured here minus published
    off: bool = False  # by more than the published number's tolerance


@dataclass(frozen=True)
class Row:
    """One line of a board; ``cells`` by column."""

    name: str
    kind: str  # "metric" | "human" | "published"
    cells: dict[str, Cell]
    n: int | None = None
    of: int | None = None
    speed: float | None = None  # items/s
    family: str = ""  # what it is grouped with
    other_setup: bool = False  # measured in another way than the latest run
    rank_range: RankRange | None = (
        None  # by the overall score, among rows measured in the latest way
    )
    # of the process, which may have measured several metrics; of the metric alone where there is ms
    peak_memory_mb: float | None = None
    ms: float | None = None  # of a pair, on the one machine that the board names
    parameters_count: int | None = None
    weights_mb: float | None = None
    beside: str = ""  # of a published row: the measured one that it stands below
    counterpart: str = ""  # of a published row: the metric, or row about people, that is the same
    trained_on: str = ""  # of a published row
    overall: str = "macro"  # the column that counts

    @property
    def score(self) -> Cell:
        """The overall score; NaN where there is none."""
        return self.cells.get(self.overall, Cell(math.nan))


@dataclass(frozen=True)
class Board:
    """One table. ``columns`` are the overall score, perhaps the other one, sub-datasets, "a+b"."""

    dataset: str
    title: str
    warnings: list[str]  # what must be known before any number is believed
    statistic: Statistic
    unit: str  # "triplets" | "pairs" | …
    columns: list[str]
    headers: dict[str, str]  # short names of columns, for narrow tables
    rows: list[Row]
    overall: str = "macro"  # the column that counts: "macro" | "pooled"
    legend: list[str] = field(default_factory=list)
    signature: str = ""  # the protocol part, of the latest run
    grouped: bool = False  # rows of one family stand together, under its name
    intervals: bool | None = None  # of all columns, or of none; None: of those that have room
    cost: bool = False  # with columns for time, memory and weights
    timed_on: str = ""  # the size and the machine that ``ms`` is of

    @property
    def measured(self) -> bool:
        """Whether anything on it was measured, and is not from papers alone."""
        return any(row.kind != "published" for row in self.rows)


@dataclass(frozen=True)
class View:
    """What a leaderboard shows."""

    dataset: str | None = None  # a dataset or a group; None: all there are
    statistic: str | None = None  # None: each protocol's main one
    pooled: bool = False
    published: bool = False
    sort: str = ""  # "": the overall score
    grouped: bool | None = None  # by family; None: where there are many metrics
    variants: bool = True  # a dataset's name stands for its variants, such as …@exact4, too
    intervals: bool | None = None
    cost: bool = False
    strict: bool = False  # rows measured in different ways are refused
    metrics: tuple[str, ...] = ()  # only these, and ranks are among them; none: all there are
