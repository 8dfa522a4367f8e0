"""What a dataset is: a TOML file -> frozen, checked values.

It says where the dataset comes from, how its files lie, which protocol scores it, and what others
have published about it. Nothing here touches the network or the images.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pmbench.scoring.protocols import PROTOCOLS
from pmbench.utils import paths
from pmbench.utils.errors import PmbenchError, unknown
from pmbench.utils.manifest_fields import (
    Count,
    Entry,
    FileName,
    Line,
    Name,
    Pattern,
    Prose,
    Sha256,
    Size,
    Url,
)
from pmbench.utils.text import preview
from pmbench.utils.validation import read_toml, validate

ROUNDING = 0.05  # percentage points: papers print one decimal
_EPSILON = 1e-9  # what adding up floats may cost


class Source(Entry):
    """Where a dataset's files are: an archive at a URL, or a local archive or folder."""

    url: Url | None = None
    path: Line | None = None  # relative to the manifest
    sha256: Sha256 | None = None
    sha256_origin: Prose = ""  # who says so, where it is not the authors
    gigabytes: Size | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.url is None) == (self.path is None):
            raise ValueError("a source needs either 'url' or 'path', and not both")
        return self


class Folders(Entry):
    """Layout of BAPPS: ``<root>/<sub-dataset>/<role folder>/<id>.<ext>``, votes as .npy files."""

    root: Line = ""  # e.g. "val"; what lies above it in an archive or a tree does not matter
    roles: dict[str, Line]  # role -> folder name
    votes: Line  # folder of .npy files, each the judgement of one item

    @model_validator(mode="after")
    def _apart(self) -> Folders:
        if len({*self.roles.values(), self.votes}) <= len(self.roles):
            raise ValueError("'roles' and 'votes' must name a folder of its own for each")
        return self


class Table(Entry):
    """A CSV or JSON-lines file with one item a row; patterns name columns in braces."""

    file: Line
    item: Pattern  # pattern of the item's id, e.g. "{id}"
    roles: dict[str, Pattern]  # role -> path pattern, e.g. "images/{ref}.png"
    sub_dataset: str | None = None  # column; without it all items are in "whole"
    cluster: str | None = None  # column; items of one cluster are not independent
    vote: str | None = None  # column: the judgement that the protocol asks for
    vote_counts: Annotated[tuple[str, str] | None, Field(strict=False)] = None
    votes: str | None = None  # column: how many people were asked; else votes_per_item

    @model_validator(mode="after")
    def _one_vote(self) -> Table:
        if (self.vote is None) == (self.vote_counts is None):
            raise ValueError(
                "a table needs either 'vote' (a column with the share) or 'vote_counts' "
                "(two columns with counts: against, for), and not both"
            )
        return self


class Enlargement(Entry):
    """The stored images are corner-aligned nearest-neighbour enlargements of smaller ones."""

    factor: Annotated[int, Field(ge=2, le=64)]
    patch: Annotated[int, Field(ge=1, le=100_000)]  # the side that the "legacy" resize gives


class Published(Entry):
    """One row of somebody's table: scores of one system on this dataset, in percent.

    ``scores`` is by place: a sub-dataset, "macro", "pooled", or sub-datasets joined by +, such as
    "traditional+cnn": pooled over the items of those. ``trained_on`` is in a few words.
    """

    label: Line
    source: Line
    metric: Name | None = None  # the registered metric that computes the same thing
    human: Name | None = None  # or the row about people that is the same thing
    trained_on: Line = ""
    scores: dict[str, Annotated[float, Field(strict=False)]]
    tolerance: Annotated[float, Field(strict=False, ge=0)] = 0.2  # percentage points
    note: Prose = ""  # among others, why the tolerance is what it is

    @model_validator(mode="after")
    def _one_counterpart(self) -> Published:
        if self.metric is not None and self.human is not None:
            raise ValueError("a published row is the same as a 'metric' or a 'human' row, not both")
        return self

    def allows(self, points: float) -> bool:
        """Say whether a score may be so many percentage points off: its tolerance, and rounding."""
        return abs(points) <= self.tolerance + ROUNDING + _EPSILON


class Manifest(Entry):
    """One dataset."""

    name: Name
    title: Line
    protocol: str  # the name of one of PROTOCOLS
    groups: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    licence: Prose = "not stated"
    homepage: Line = ""
    citation: Prose = ""
    human_votes: bool = True
    votes_per_item: Count | None = None
    sub_datasets: dict[Line, Count] = Field(default={})  # expected counts, in display order
    published_size: Line = ""  # what papers say where nobody publishes counts
    short_names: dict[Line, Line] = Field(default={})  # for narrow tables
    built_in: FileName | None = None  # a pack inside this package
    source: Source | None = None
    folders: Folders | None = None
    table: Table | None = None
    enlarged: Enlargement | None = None
    size: Annotated[int, Field(ge=1, le=100_000)] | None = None  # resize the shorter side to this
    raw_pixels: bool = False  # neither apply the orientation of EXIF, nor lay alpha on white
    published: Annotated[tuple[Published, ...], Field(strict=False)] = ()
    file: Path = Field(default=Path(), strict=False)  # set by load()

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, name: str) -> str:
        if name not in PROTOCOLS:
            expected = " or ".join(f"'{known}'" for known in PROTOCOLS)
            raise ValueError("Input should be " + expected + ", got " + preview(name, "'"))
        return name

    @model_validator(mode="after")
    def _complete(self) -> Manifest:
        if self.built_in is None:
            if (self.folders is None) == (self.table is None):
                raise ValueError("a dataset needs either [folders] or [table], and not both")
            if self.source is None:
                raise ValueError("a dataset needs a [source] with 'url' or 'path'")
        layout = self.folders or self.table
        protocol = PROTOCOLS[self.protocol]
        if layout is not None and set(layout.roles) != set(protocol.roles):
            raise ValueError(
                f"'roles' must name {', '.join(sorted(protocol.roles))} for the protocol "
                f"{protocol.name}; "
                f"got {', '.join(sorted(layout.roles)) or 'none'}"
            )
        if self.table is not None and self.table.vote_counts and not protocol.judgement.is_share:
            raise ValueError(
                f"'vote_counts' makes a share of people, and the protocol {protocol.name} takes "
                f"{protocol.judgement.range}; name its column with 'vote'"
            )
        for row in self.published:
            strange = {place for place in row.scores if not self._is_place(place)}
            if self.sub_datasets and strange:
                raise ValueError(
                    f"the published row '{row.label}' has a score for '{min(strange)}'; "
                    f"expected {', '.join(self.sub_datasets)}, several of them joined by + "
                    "(pooled), macro or pooled"
                )
        if self.enlarged is not None and self.size is not None:
            raise ValueError("'enlarged' and 'size' exclude each other")
        return self

    def _is_place(self, name: str) -> bool:
        """Say whether there is a score of that name: of a sub-dataset, or of several together."""
        if name in {*self.sub_datasets, "macro", "pooled"}:
            return True
        parts = name.split("+")
        return len(set(parts)) == len(parts) > 1 and set(parts) <= set(self.sub_datasets)

    @property
    def expected(self) -> int | None:
        """How many items the whole dataset has, or None where the manifest names no counts."""
        return sum(self.sub_datasets.values()) or None

    @property
    def comes_with_pmbench(self) -> bool:
        """Whether it is one of pmbench's own datasets."""
        return self.file.parent == (paths.manifests() / "datasets").resolve()

    @property
    def local_source(self) -> Path | None:
        """The local folder or archive of the dataset, absolute, or None for a URL."""
        if self.source is None or self.source.path is None:
            return None
        return (self.file.parent / self.source.path).resolve()


@cache
def _all(folders: tuple[Path, ...]) -> dict[str, Manifest]:
    results: dict[str, Manifest] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            manifest = load(path)
            if (earlier := results.get(manifest.name)) is not None:
                raise PmbenchError(
                    f"{path}: key 'name': '{manifest.name}' is already taken by {earlier.file}; "
                    "choose another name"
                )
            results[manifest.name] = manifest
    return results


def datasets() -> dict[str, Manifest]:
    """Return every known dataset by name: the built-in ones and those in PMBENCH_MANIFESTS.

    PMBENCH_MANIFESTS is a folder of TOML files, or several separated as in PATH.
    """
    folders = [paths.manifests() / "datasets"]
    for entry in filter(None, os.environ.get("PMBENCH_MANIFESTS", "").split(os.pathsep)):
        folder = paths.expand(entry).resolve()
        if not folder.is_dir():
            state = "is a file" if folder.exists() else "does not exist"
            raise PmbenchError(
                f"the manifests folder {folder} {state}; "
                "name a folder that holds .toml files with --manifests or PMBENCH_MANIFESTS"
            )
        folders.append(folder)
    return _all(tuple(folders))


def groups() -> dict[str, list[Manifest]]:
    """Return the datasets of each group."""
    results: dict[str, list[Manifest]] = {}
    for manifest in datasets().values():
        for group in manifest.groups:
            results.setdefault(group, []).append(manifest)
    return results


def resolve(names: list[str]) -> list[Manifest]:
    """Return the manifests that the names of datasets or groups stand for, each once, in order."""
    known, sets = datasets(), groups()
    chosen: dict[str, Manifest] = {}
    for name in names:
        members = [known[name]] if name in known else sets.get(name)
        if members is None:
            raise unknown("dataset", name, [*known, *sets])
        chosen.update({manifest.name: manifest for manifest in members})
    return list(chosen.values())


def load(path: Path) -> Manifest:
    """Read one dataset manifest.

    Raises PmbenchError, naming the file and the key, for whatever is wrong with it.
    """
    content = read_toml(path)
    if "file" in content:
        raise PmbenchError(f"{path}: key 'file': not a key of a manifest; remove it")
    return validate(Manifest, {**content, "file": path.resolve()}, path)
