"""What stands in ``run.json``, as typed records: the one place that reads and writes it.

``run.json`` says what was measured, on what, with what and when. A file that was cut off, or edited
by hand, is refused here with the key that is wrong; whoever has a ``RunInfo`` takes it for granted.
What earlier versions did not write has a default, and stays absent where a file is written again.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pmbench.scoring.protocols import PROTOCOLS, Protocol
from pmbench.scoring.scores import COLUMNS
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import check_all_printable
from pmbench.utils.validation import first_error

FORMAT: Literal[1] = 1
MEASURE_AGAIN = "delete its folder and run `pmbench eval` again"
_NUMBERS = ("value", "low", "high", "n", "of")

Named = Annotated[str, Field(min_length=1)]
Scalar = str | bool | int | float | None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)


class DatasetInfo(_Record):
    """What was measured: which items, of which files, in which form."""

    name: str
    title: str
    protocol: str  # the name of one of PROTOCOLS
    human_votes: bool
    resize: str
    selection: str
    items: Annotated[int, Field(ge=1)]
    of: int  # items of the whole dataset
    partial: bool
    pack_partial: bool | None = None
    source: str
    source_sha256: str
    pack_digest: str
    sub_datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    short_names: dict[str, str]
    manifest: str = ""  # of a dataset that does not come with pmbench
    citation: str | None = None
    clusters: str = ""  # which items count as independent, in a sentence

    @field_validator("protocol")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PROTOCOLS:
            raise ValueError(f"unknown protocol '{name}'")
        return name

    @model_validator(mode="after")
    def _has_no_more_than_all(self) -> DatasetInfo:
        if self.items > self.of:
            raise ValueError(f"{self.items} items of {self.of}")
        return self


class MetricInfo(_Record):
    """What it was measured with."""

    name: Named
    title: str
    family: str = "other"
    paper: str
    code: str
    licence: str
    higher_is_better: bool
    symmetric: bool
    version: int
    parameters: dict[str, Any]
    digest: str
    source: str = ""  # a digest of its code
    source_files: dict[str, str] = Field(default_factory=dict)  # name -> digest of its code
    weights: dict[str, str]  # name -> file and digest
    parameters_count: int | None = None  # parameters of its networks and filters; None: not known
    weights_mb: float | None = None  # 10⁶ bytes in memory
    tolerance: float | None = None  # relative change of a distance that another machine may cause
    address: str | None = None  # what it was asked for by, "" where that is its registered name
    package: str = ""
    undefined_on: dict[str, str]  # "W×H" -> why

    @model_validator(mode="after")
    def _is_weighed(self) -> MetricInfo:
        if self.parameters_count is not None and self.weights_mb is None:
            raise ValueError("parameters_count without weights_mb")
        return self


class Environment(_Record):
    """What may make another machine's distances differ in their last digits.

    Of distances that were computed elsewhere ``imported`` is the file they came in.
    """

    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    python: str | None = None
    torch: str | None = None
    torchvision: str | None = None
    numpy: str | None = None
    pillow: str | None = None
    platform: str | None = None
    processor: str | None = None
    device: str | None = None
    threads: int | None = None
    imported: str | None = None
    sha256: str | None = None  # of that file

    @model_validator(mode="after")
    def _names_file(self) -> Environment:
        if self.imported and self.sha256 is None:
            raise ValueError("imported from a file without sha256")
        return self


class Batches(_Record):
    """How items were put together."""

    pixels: int | None  # at most; None: any
    items: int | None  # at most; None: as many as fit
    count: int


class Rate(_Record):
    """What ``items_per_second`` rests on; nothing of imported distances."""

    items: int | None = None
    batches: int | None = None
    seconds: float | None = None
    warm: bool | None = None


class Bootstrap(_Record):
    """How intervals were drawn."""

    resamples: int
    seed: int


class RunInfo(_Record):
    """One run.

    ``seconds`` are those of the metric alone; ``peak_memory_mb`` (10⁶ bytes) is of the process,
    which may have measured all of ``measured_together``.
    """

    format: Literal[1]
    pmbench: str  # its version
    signature: Named
    dataset: DatasetInfo
    metric: MetricInfo
    environment: Environment
    command: str
    started: str
    finished: str
    seconds: float | None
    items_per_second: float | None
    rate: Rate | None = None
    peak_memory_mb: float | None
    batches: Batches | None  # None: imported
    measured_together: tuple[str, ...]
    bootstrap: Bootstrap | None = None
    files: dict[str, str] = Field(default_factory=dict)  # name -> sha256 of the run's other files

    @model_validator(mode="after")
    def _was_measured_or_imported(self) -> RunInfo:
        if self.batches is None and not self.environment.imported:
            raise ValueError("no batches, and not imported")
        return self

    @property
    def protocol(self) -> Protocol:
        """The protocol that its dataset is scored by."""
        return PROTOCOLS[self.dataset.protocol]

    def with_metric_name(self, name: str) -> RunInfo:
        """Return the record of a metric of another name, where several of one name are shown."""
        metric = self.metric.model_copy(update={"name": name})
        return self.model_copy(update={"metric": metric})

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON has it, without keys that nobody has set."""
        unknown = {"bootstrap"} if self.bootstrap is None else None
        return self.model_dump(mode="json", exclude_unset=True, exclude=unknown)

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def read_run_info(path: Path) -> RunInfo:
    """Read ``run.json``. Raises PmbenchError, naming the file and the key, for what is wrong."""
    try:
        info = RunInfo.model_validate_json(path.read_bytes())
        check_all_printable(info.to_dict())
        return info
    except (OSError, ValueError) as error:  # ValidationError is a ValueError
        why = first_error(error) if isinstance(error, ValidationError) else str(error)
        raise PmbenchError(
            f"{path}: expected a run written by pmbench ({why}); {MEASURE_AGAIN}"
        ) from error


def check_scores(table: pd.DataFrame, dataset: DatasetInfo) -> None:
    """Raise ValueError unless a table has each score of a run once, and numbers as numbers."""
    # a run written before there was the last column says nothing about its intervals
    if missing := [name for name in COLUMNS if name not in table and name != "unreliable"]:
        raise ValueError(f"no column {missing[0]}")
    for name in _NUMBERS:
        if pd.api.types.is_numeric_dtype(table[name]):
            continue
        bad = pd.to_numeric(table[name], errors="coerce").isna() & table[name].notna()
        if bad.any():
            raise ValueError(f"{name} is '{table[name][bad].iloc[0]}', expected a number")
    counts = table[["n", "of"]].to_numpy(float)
    if (counts % 1 != 0).any():  # as with NaN
        raise ValueError("n and of: expected whole numbers in every row")
    if "unreliable" in table and len(table) and table["unreliable"].dtype != bool:
        raise ValueError("unreliable: expected True or False in every row")
    _check_rows(table, dataset)


def _check_rows(table: pd.DataFrame, dataset: DatasetInfo) -> None:
    """Raise ValueError unless every statistic, and every row about people, has every place."""
    protocol = PROTOCOLS[dataset.protocol]
    if len(names := table["name"][table["kind"] == "metric"].unique()) > 1:
        raise ValueError(f"several metrics, {' and '.join(map(str, names))}")
    expected = [("metric", statistic.name) for statistic in protocol.statistics]
    people = table["kind"] == "human"  # who are told apart by name, and have one statistic
    if people.any():
        expected += [("human", human.name) for human in protocol.humans]
    what = table["statistic"].where(~people, table["name"])
    counts = Counter(zip(table["kind"], what, table["sub_dataset"], strict=True))
    for kind, name in expected:
        for place in (*dataset.sub_datasets, "macro", "pooled"):
            if (times := counts[kind, name, place]) != 1:
                raise ValueError(f"{times or 'no'} rows of {name}, {place}; expected one")
