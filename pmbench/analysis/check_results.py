"""What a check finds, against a baseline or papers: plain values that ``reporting`` draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# "stale": the code of the metric was edited after the run was made
Verdict = Literal[
    "worse", "better", "changed", "same", "new", "missing", "not comparable", "stale",
    "reproduced", "differs", "not run", "not checked",
]  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One metric on one dataset, then and now. Scores are in percent, changes in points."""

    dataset: str
    name: str
    verdict: Verdict
    fails: bool
    message: str = ""  # a sentence; "" where there is nothing to say
    before: float | None = None  # the overall score
    now: float | None = None
    change: float | None = None
    low: float | None = None  # 95 % interval of the change, paired
    high: float | None = None
    moved: float | None = None  # largest relative move of a distance; infinite: it came or went
    allowed: float | None = None  # what another machine may cause of that

    @property
    def label(self) -> str:
        """What it is called in lists."""
        return self.name


@dataclass(frozen=True)
class Reproduction:
    """One row of a paper beside the run that computes the same. Scores are in percent."""

    dataset: str
    name: str  # the metric, or the row about people
    paper: str  # the paper's name for it
    source: str
    number: int  # of the source, in what is told of all
    verdict: Verdict
    fails: bool
    message: str = ""
    published: Mapping[str, float] | None = None  # by place
    measured: Mapping[str, float] | None = None
    tolerance: float | None = None  # points
    worst: str | None = None  # the place with the largest difference
    difference: float | None = None  # there, measured minus published

    @property
    def label(self) -> str:
        """What it is called in lists."""
        return f"{self.name} [{self.number}: {self.paper}]"


Finding = Change | Reproduction


@dataclass(frozen=True)
class Findings:
    """All that one check found, and what it comes to."""

    against: str  # what was compared with
    findings: tuple[Finding, ...]
    messages: tuple[str, ...]  # in words: what failed and what to do, and remarks
    failed: bool
