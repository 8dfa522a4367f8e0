"""The baseline: scores and distances of runs in one text file, to be kept and compared with later.

It is JSON, made to be committed and read in a diff: one block a run, its scores in percent, and its
distances as one line. Votes are not in it: the signature names the items, and the runs that are
compared with it bring them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)  # fmt: skip

from pmbench import __version__
from pmbench.results.run import Run
from pmbench.results.signature import Signature
from pmbench.scoring.items import Items
from pmbench.scoring.joint_scores import places
from pmbench.scoring.protocols import PROTOCOLS, Protocol
from pmbench.scoring.scores import defined, score_at
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError, unknown
from pmbench.utils.files import write_text
from pmbench.utils.source_code import edited_files
from pmbench.utils.text import check_all_printable, one_line, preview
from pmbench.utils.validation import validate

FORMAT = 1
_MOST = 10**8  # rows, so that their size can be counted
_KEY = "pmbench_baseline"  # of the format; no other JSON file has it


@dataclass(frozen=True)
class RunScores:
    """What a baseline keeps of a run: one metric's distances, items in the order of their ids."""

    dataset: str  # with its variant after an @
    metric: str
    signature: str
    tolerance: float | None  # relative, of one distance; None where the run does not say
    made_with: str
    protocol: Protocol
    items: Items
    distances: Array  # (n, pairs); NaN where the metric is not defined
    edited: tuple[str, ...] = ()  # files of the metric's code that are other than the run's

    @property
    def ids(self) -> str:
        """A digest of which items there are."""
        return hashlib.sha256("\n".join(_keys(self.items)).encode()).hexdigest()[:16]

    @property
    def defined(self) -> int:
        """On how many items the metric is defined."""
        return int(defined(self.distances).sum())

    def scores(self) -> dict[str, float]:
        """Return the main statistic by place, as ``intervals`` names them; only where defined."""
        values = {
            place: score_at(self.items, self.distances, self.protocol.main, place)
            for place in places(self.items)
        }
        return {place: value for place, value in values.items() if not math.isnan(value)}


def run_scores(run: Run) -> RunScores:
    """Return what of a run is compared with a baseline."""
    items, distances = run.distances()
    order = np.argsort(np.array(_keys(items), str), kind="stable")
    environment, metric = run.info.environment, run.info.metric
    torch = f"torch {environment.torch}, " if environment.torch else ""
    return RunScores(
        dataset=run.dataset,
        metric=run.metric,
        signature=run.signature,
        tolerance=metric.tolerance,
        made_with=f"{torch}{environment.device or 'an unknown device'}",
        protocol=run.protocol,
        items=items.take(order),
        distances=distances[order],
        edited=tuple(edited_files(metric.source_files)),
    )


def _keys(items: Items) -> list[str]:
    """Return a name for each item that no other one has."""
    subs = np.array(items.sub_names, object)[items.sub]
    return [f"{sub}\0{item}" for sub, item in zip(subs, items.id, strict=True)]


# --- the file -------------------------------------------------------------------------------------


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stored(_Block):
    """Distances (n, pairs) as text: base64 of zlib of little-endian numbers, row by row."""

    dtype: Literal["float32", "float64"]
    shape: Annotated[tuple[int, int], Field(strict=False)]
    zlib: str

    @classmethod
    def of(cls, distances: Array) -> Stored:
        """Store numbers as float32 where that loses nothing, as what torch computes; else float64.

        Nothing is rounded: a pair of equal distances scores a half, and almost equal ones do not.
        """
        short = distances.astype("<f4")
        lossless = np.array_equal(short, distances, equal_nan=True)
        packed = zlib.compress((short if lossless else distances.astype("<f8")).tobytes(), 9)
        n, pairs = distances.shape
        kind: Literal["float32", "float64"] = "float32" if lossless else "float64"
        return cls(dtype=kind, shape=(n, pairs), zlib=base64.b64encode(packed).decode("ascii"))

    def array(self) -> Array:
        """Return the distances (n, pairs). Raises ValueError where they are damaged."""
        size = math.prod(self.shape) * (4 if self.dtype == "float32" else 8)
        if min(self.shape) < 1 or max(self.shape) > _MOST:
            raise ValueError(f"a shape of {self.shape}; expected rows and columns")
        try:
            unpacking = zlib.decompressobj()
            # no more than what is expected: a damaged file must not fill the memory
            data = unpacking.decompress(base64.b64decode(self.zlib, validate=True), size + 1)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"expected base64 of zlib, and it is damaged ({error})") from error
        if len(data) != size or not unpacking.eof:
            raise ValueError(f"expected {self.dtype} numbers of shape {self.shape}, not this many")
        kind = "<f4" if self.dtype == "float32" else "<f8"
        return np.frombuffer(data, kind).reshape(self.shape).astype(np.float64)

    @model_validator(mode="after")
    def _sound(self) -> Stored:
        if np.isinf(self.array()).any():
            raise ValueError("expected finite distances, or NaN where the metric is not defined")
        return self


class Entry(_Block):
    """One run."""

    dataset: str
    metric: str
    signature: Annotated[str, StringConstraints(pattern=r".+ \|\| .+")]
    statistic: str
    scores: dict[str, float]  # percent, by place; those that are undefined are not there
    n: Annotated[int, Field(ge=0)]  # items that the metric is defined on
    tolerance: Annotated[float, Field(ge=0)] | None
    made_with: str
    ids: str
    distances: Stored

    @property
    def overall(self) -> float | None:
        """The score over the whole dataset, in percent; None where it is undefined."""
        return self.scores.get(Signature.parse(self.signature).overall)

    @field_validator("statistic")
    @classmethod
    def _known(cls, name: str) -> str:
        known = [protocol.main.name for protocol in PROTOCOLS.values()]
        if name not in known:
            raise ValueError(str(unknown("statistic", one_line(name, 80), known)))
        return name


class Baseline(_Block):
    """The whole file, as far as what is in it has a meaning now."""

    pmbench_baseline: int  # the format
    pmbench: str
    runs: Annotated[tuple[Entry, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _each_once(self) -> Baseline:
        seen = set()
        for entry in self.runs:
            if (entry.dataset, entry.metric) in seen:
                raise ValueError(f"{entry.metric} on {entry.dataset} stands in it twice")
            seen.add((entry.dataset, entry.metric))
        return self


def to_entry(run: RunScores) -> Entry:
    """Return the block of one run."""
    return Entry(
        dataset=run.dataset,
        metric=run.metric,
        signature=run.signature,
        statistic=run.protocol.main.name,
        scores={place: round(100 * value, 4) for place, value in run.scores().items()},
        n=run.defined,
        tolerance=run.tolerance,
        made_with=run.made_with,
        ids=run.ids,
        distances=Stored.of(run.distances),
    )


def write(path: Path, runs: Sequence[Run]) -> Baseline:
    """Write the baseline of runs, in an order that does not depend on when they were made.

    Raises PmbenchError where two runs are of one metric on one dataset, or where ``path`` is a file
    that is no baseline; then ``path`` is as it was.
    """
    if path.exists() and not _is_one(path):
        raise PmbenchError(
            f"{path} is there, and is no baseline; it is left as it is: name another file with -o, "
            "or delete it"
        )
    ordered = sorted(runs, key=lambda run: (run.dataset, run.metric))
    for run, other in pairwise(ordered):
        if (run.dataset, run.metric) == (other.dataset, other.metric):
            raise PmbenchError(
                f"{run.folder} and {other.folder} are both runs of {run.metric} on {run.dataset}, "
                "and a baseline holds one; move the one that is not meant out of the results"
            )
    entries = [to_entry(run_scores(run)) for run in ordered]
    content = {
        _KEY: FORMAT,
        "pmbench": __version__,
        "runs": [entry.model_dump() for entry in entries],
    }
    made = Baseline.model_validate(content)  # before a good file is replaced
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return made


def _is_one(path: Path) -> bool:
    """Say whether a file begins as baselines do: one that is damaged may be replaced."""
    with path.open("rb") as file:
        return f'"{_KEY}"'.encode() in file.read(200)


def read(path: Path) -> Baseline:
    """Read a baseline. Raises PmbenchError, naming the file and the key, for what is wrong."""
    again = "write one with `pmbench baseline -o FILE`"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        check_all_printable(content)
    except FileNotFoundError as error:
        raise PmbenchError(f"{path}: there is no such baseline; {again}") from error
    except OSError as error:
        raise PmbenchError(
            f"{path}: expected the JSON text of a baseline, and it cannot be read "
            f"({error.strerror}); {again}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise PmbenchError(
            f"{path}: expected the JSON text of a baseline, and it is not valid ({error}); {again}"
        ) from error
    if not isinstance(content, dict) or _KEY not in content:
        raise PmbenchError(
            f"{path}: key '{_KEY}': no such key, so this is some other JSON file; {again}"
        )
    if content[_KEY] != FORMAT:
        other, by = preview(content[_KEY]), preview(content.get("pmbench", "unknown"))
        raise PmbenchError(
            f"{path}: key '{_KEY}': a baseline of format {other}, written by pmbench {by}; "
            f"this pmbench {__version__} reads format {FORMAT}; install that version, or {again}"
        )
    return validate(Baseline, content, path)
