"""The checkpoint of a run under way: its distances, batch by batch.

A file that is only ever appended to survives being killed at any moment: what follows the last
whole record is cut off when the run goes on. The header names everything that must be the same for
the run to go on with bit-identical distances, and the limits that its batches were made with.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmbench.evaluation.batching import BatchLimits
from pmbench.utils.files import writing

FORMAT = 3
_CHECKSUM = struct.Struct("<I")  # of all that follows in the record
_FACTS = struct.Struct("<Id")  # number of values, seconds
_BEFORE = _CHECKSUM.size + _FACTS.size  # bytes of a record before its values


@dataclass(frozen=True)
class CheckpointHeader:
    """What a run is, and how its batches were made."""

    signature: str
    environment: dict[str, str]  # device, threads, versions: another one may round differently
    limits: BatchLimits

    def to_line(self) -> bytes:
        """Return the first line of the file."""
        return json.dumps({"journal": FORMAT, **asdict(self)}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> CheckpointHeader | None:
        """Return the header, or None where the line is none (a run killed while it began)."""
        try:
            content = json.loads(line)
            if content["journal"] != FORMAT or not line.endswith(b"\n"):
                return None
            environment = {str(k): str(v) for k, v in content["environment"].items()}
            limits = BatchLimits(**content["limits"])
            made = cls(str(content["signature"]), environment, limits)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        sound = all(
            most is None or (type(most) is int and most > 0)
            for most in (limits.pixels, limits.items)
        )
        return made if sound else None


def read_header(path: Path) -> CheckpointHeader | None:
    """Return the header of the checkpoint at ``path``, or None where there is no sound one."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return CheckpointHeader.from_line(file.readline(1 << 20))


class Checkpoint:
    """The distances of one metric's run, a record for each finished batch, in order."""

    def __init__(self, path: Path, header: CheckpointHeader, sizes: Sequence[int]) -> None:
        """Go on with the checkpoint at ``path`` if it has this very header, else begin a new one.

        ``sizes`` are the numbers of distances in each batch; records that do not fit them, or are
        damaged, are cut off. Raises PmbenchError where the file cannot be written.
        """
        self.values: list[NDArray[np.float64]] = []
        self.seconds: list[float] = []  # of each batch
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with writing(path):
            if read_header(path) != header:
                path.write_bytes(header.to_line())
            whole = path.read_bytes()
            self._end = self._take(whole, whole.index(b"\n") + 1, sizes)
            self.lost = len(whole) - self._end  # bytes that were no records of this run
            # without a buffer, so that what the disk does not take is known at once
            self._file = path.open("r+b", buffering=0)
            self._file.truncate(self._end)
        self.before = self.batches  # done by other processes

    def _take(self, whole: bytes, end: int, sizes: Sequence[int]) -> int:
        """Take the sound records that begin at ``end``; return where they end."""
        for size in sizes:
            if len(whole) < end + _BEFORE + 8 * size:
                break
            (checksum,) = _CHECKSUM.unpack_from(whole, end)
            count, seconds = _FACTS.unpack_from(whole, end + _CHECKSUM.size)
            record = whole[end + _CHECKSUM.size : end + _BEFORE + 8 * size]
            if count != size or zlib.crc32(record) != checksum or not 0 <= seconds < math.inf:
                break
            self.values.append(np.frombuffer(record, "<f8", size, _FACTS.size).astype(np.float64))
            self.seconds.append(seconds)
            end += _BEFORE + 8 * size
        return end

    @property
    def batches(self) -> int:
        """How many batches are done."""
        return len(self.values)

    def append(self, values: NDArray[np.float64], seconds: float) -> None:
        """Add the distances of the next batch, and the seconds they took.

        Raises PmbenchError where the file cannot be written; the batches before it are kept.
        """
        flat = np.ascontiguousarray(values, "<f8").ravel()
        data = _FACTS.pack(len(flat), seconds) + flat.tobytes()
        record = memoryview(_CHECKSUM.pack(zlib.crc32(data)) + data)
        with writing(self._path):
            self._file.seek(self._end)
            while len(record):
                record = record[self._file.write(record) :]
        self._end = self._file.tell()
        self.values.append(flat)
        self.seconds.append(seconds)

    def close(self) -> None:
        """Keep the file, for another time."""
        with suppress(OSError):  # half a record is cut off when the run goes on, too
            self._file.truncate(self._end)
        self._file.close()

    def discard(self) -> None:
        """Remove the file: the run is complete and stands elsewhere."""
        self._file.close()
        self._path.unlink(missing_ok=True)
