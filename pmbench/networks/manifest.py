"""What a weight file is: ``weights.toml`` -> frozen, checked values."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from pmbench.utils import paths
from pmbench.utils.manifest_fields import Entry, FileName, Line, Prose, Sha256, Size, Url
from pmbench.utils.validation import read_toml, validate


class WeightFile(Entry):
    """One file of network weights."""

    url: Url | None = None
    sha256: Sha256 | None = None
    sha256_prefix: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    # other official names of a file with the same tensors
    aliases: Annotated[tuple[FileName, ...], Field(strict=False)] = ()
    package: FileName | None = None  # an installed package that ships the file
    path: Line | None = None  # inside that package
    licence: Prose = "not stated"
    megabytes: Size | None = None

    @model_validator(mode="after")
    def _one_place(self) -> WeightFile:
        if (self.url is None) == (self.package is None or self.path is None):
            raise ValueError("a weight file needs either 'url', or 'package' with 'path'")
        return self


@cache
def weight_files() -> dict[str, WeightFile]:
    """Return every known weight file by name, from ``weights.toml``."""
    path = paths.manifests() / "weights.toml"
    return {
        name: validate(WeightFile, table, path, name) for name, table in read_toml(path).items()
    }
