"""Foreign text -> checked values: TOML and JSON that somebody wrote, or a sentence about it.

Whatever the bytes are, reading them ends soon, in a value of the expected form or in a PmbenchError
that names the file and the key, and that a terminal can show.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line, preview

_LONGEST = 1_000_000  # bytes of a TOML file; the largest that comes with pmbench has 22,000
_PARTS = 100  # of a dotted key; reading one takes time that grows with their square
_PART = r"""(?:(?<![\w-])[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_TOO_MANY_PARTS = re.compile(rf"(?:{_PART}){{{_PARTS}}}", re.ASCII)

_Model = TypeVar("_Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Return what stands in a TOML file. Raises PmbenchError where it is none."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise PmbenchError(f"{path}: cannot be read: it is a device or a pipe; expected a file")
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise PmbenchError(
                f"{path}: more than {_LONGEST:,} bytes; expected the TOML text of a manifest, "
                "which is far shorter"
            )
        text = data.decode("utf-8").replace("\r\n", "\n")
        if result := _TOO_MANY_PARTS.search(text):
            line = text.count("\n", 0, result.start()) + 1
            raise PmbenchError(
                f"{path}: key in line {line}: more than {_PARTS} names joined by dots; expected "
                "a few"
            )
        return tomllib.loads(text)
    except OSError as error:
        raise PmbenchError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PmbenchError(
            f"{path}: key at byte {error.start}: not UTF-8 text; save it as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of 5,000 digits
        raise PmbenchError(f"{path}: not valid TOML: {one_line(str(error))}") from error


def validate(model: type[_Model], content: object, path: Path, prefix: str = "") -> _Model:
    """Return the content of a file as a checked value.

    Raises PmbenchError, naming the file and the key, which ``prefix`` stands before.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        fields = sorted(model.model_fields.keys() - {"file"})
        raise PmbenchError(f"{path}: {first_error(error, prefix, fields)}") from error


def first_error(error: ValidationError, prefix: str = "", fields: Sequence[str] = ()) -> str:
    """Return one thing that pydantic found wrong: the key, which ``prefix`` stands before,
    what was expected (one of ``fields`` where the key is unknown) and what was there.

    An unknown key comes first: it may be the slip that lets another one be missing.
    """
    errors = error.errors(include_url=False)
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    key = ".".join([prefix] * bool(prefix) + [str(part) for part in first["loc"]])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = (
            f"no such key; expected one of {', '.join(fields)}"
            if len(first["loc"]) == 1
            else "no such key here"
        )
    elif first["type"] not in ("missing", "value_error", "json_invalid"):
        message += ", got " + preview(first["input"], "'")
    where = f"key '{one_line(key, 200)}'" if key else "the whole file"
    return f"{where}: {one_line(message)}"
