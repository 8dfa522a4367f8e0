"""Types of the fields of manifests: names, lines of text, counts, digests, addresses."""

from __future__ import annotations

import re
from functools import partial
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from pmbench.utils.text import check_printable


def _a_pattern(text: str) -> str:
    """Refuse what would make a path of any length; what else may be wrong the reader tells."""
    try:
        specs = [spec or "" for _, _, spec, _ in Formatter().parse(text)]
    except ValueError:
        specs = []
    if any(re.search(r"[0-9]{4}|[{]", spec) for spec in specs):
        raise ValueError("a column is padded to at most 999 characters, by a number of its own")
    return text


Line = Annotated[str, AfterValidator(check_printable)]
Prose = Annotated[str, AfterValidator(partial(check_printable, lines=True))]
Pattern = Annotated[Line, AfterValidator(_a_pattern)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Size = Annotated[float, Field(gt=0, le=1e9)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/\x00-\x1f]+/[^\s\x00-\x1f\x7f]+$")]


class Entry(BaseModel):
    """A table of a manifest: keys that are not known are refused, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
