"""The record of a run under way: distances batch by batch, as they come.

A file that is only ever appended to survives being killed at any moment: what follows the last
whole record is cut off when the run goes on. The head names everything that must be the same for
the run to go on with bit-identical distances, and the bounds that its batches were made with.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmbench.batches import Bounds

_RECORD = struct.Struct("<IId")  # checksum, number of values, seconds


@dataclass(frozen=True)
class Head:
    """What a run is, and how its batches were made."""

    signature: str
    environment: dict[str, str]  # device, threads, versions: another one may round differently
    bounds: Bounds

    def to_line(self) -> bytes:
        """Return the first line of the file."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Head | None:
        """Return the head, or None where the line is none (a run killed while it began)."""
        try:
            content = json.loads(line)
            environment = {str(k): str(v) for k, v in content["environment"].items()}
            return cls(content["signature"], environment, Bounds(**content["bounds"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def head_of(path: Path) -> Head | None:
    """Return the head of the journal at ``path``, or None where there is no sound one."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return Head.from_line(file.readline())


class Journal:
    """The distances of one metric's run, a record for each finished batch, in order."""

    def __init__(self, path: Path, head: Head) -> None:
        """Go on with the journal at ``path`` if it has this very head, else begin a new one."""
        self.values: list[NDArray[np.float64]] = []
        self.seconds = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        if head_of(path) != head:
            path.write_bytes(head.to_line())
        self._file = path.open("r+b")
        self._file.readline()
        self._read()

    def _read(self) -> None:
        sound = self._file.tell()
        while len(record := self._file.read(_RECORD.size)) == _RECORD.size:
            checksum, count, seconds = _RECORD.unpack(record)
            data = self._file.read(8 * count)
            if len(data) != 8 * count or zlib.crc32(data) != checksum:
                break
            self.values.append(np.frombuffer(data, "<f8").astype(np.float64))
            self.seconds += seconds
            sound = self._file.tell()
        self._file.seek(sound)
        self._file.truncate()

    @property
    def batches(self) -> int:
        """How many batches are done."""
        return len(self.values)

    def append(self, values: NDArray[np.float64], seconds: float) -> None:
        """Add the distances of the next batch, and the seconds they took."""
        flat = np.ascontiguousarray(values, "<f8").ravel()
        data = flat.tobytes()
        self._file.write(_RECORD.pack(zlib.crc32(data), len(flat), seconds) + data)
        self._file.flush()
        self.values.append(flat)
        self.seconds += seconds

    def close(self) -> None:
        """Keep the file, for another time."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file: the run is complete and stands elsewhere."""
        self._file.close()
        self._path.unlink(missing_ok=True)
