"""Journals: cut off, damaged, of another run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cli import pmbench
from support.measured import EVAL, RUNS, run_files

from pmbench.evaluation.batching import BatchLimits
from pmbench.evaluation.checkpoint import Checkpoint, CheckpointHeader, read_header

HEAD = CheckpointHeader("a || b#1", {"torch": "2"}, BatchLimits(pixels=1024))
SIZES = [4, 2, 6]


def journal(path: Path) -> list[np.ndarray]:
    values = [np.arange(size, dtype=float) + size for size in SIZES]
    made = Checkpoint(path, HEAD, SIZES)
    for some in values:
        made.append(some, 0.5)
    made.close()
    return values


def taken_up(path: Path) -> tuple[list[np.ndarray], int]:
    again = Checkpoint(path, HEAD, SIZES)
    again.close()
    return again.values, again.lost


def test_a_journal_cut_off_anywhere_goes_on_after_its_last_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    values = journal(path)
    whole = path.read_bytes()
    start = len(HEAD.to_line())
    ends = [start + sum(16 + 8 * size for size in SIZES[:k]) for k in range(4)]
    for length in [0, 1, *range(start - 2, len(whole) + 1)]:
        path.write_bytes(whole[:length])
        back, lost = taken_up(path)
        batches = sum(end <= length for end in ends[1:])
        assert [one.tolist() for one in back] == [one.tolist() for one in values[:batches]]
        assert lost == (length - ends[batches] if length >= start else 0)
        assert path.read_bytes() == whole[: ends[batches]]


def test_a_journal_with_any_byte_changed_gives_no_wrong_distance(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    values = journal(path)
    whole = path.read_bytes()
    start = len(HEAD.to_line())
    for place in [*range(0, start, 9), *range(start, len(whole))]:
        broken = bytearray(whole)
        broken[place] ^= 0x41
        path.write_bytes(broken)
        back, _ = taken_up(path)
        assert [one.tolist() for one in back] == [one.tolist() for one in values[: len(back)]]
        assert (len(back) < 3) == (place >= start or len(back) == 0)


@pytest.mark.parametrize("sizes", [[4, 2, 5], [4, 2], [5, 2, 6], [4, 2, 6, 1]])
def test_records_that_do_not_fit_the_batches_do_not_count(tmp_path: Path, sizes: list[int]) -> None:
    journal(tmp_path / "journal.bin")
    again = Checkpoint(tmp_path / "journal.bin", HEAD, sizes)
    fitting = [size for size, there in zip(sizes, SIZES, strict=False) if size == there]
    fitting = [] if sizes[0] != SIZES[0] else fitting
    assert [len(one) for one in again.values] == fitting
    assert (again.lost > 0) == (len(fitting) < 3)
    again.close()


def test_a_record_with_absurd_seconds_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    made = Checkpoint(path, HEAD, [1, 1])
    made.append(np.ones(1), 1.0)
    made.append(np.ones(1), float("nan"))
    made.close()
    assert len(taken_up_with(path, [1, 1])) == 1


def taken_up_with(path: Path, sizes: list[int]) -> list[np.ndarray]:
    again = Checkpoint(path, HEAD, sizes)
    again.close()
    return again.values


def test_a_head_may_limit_items_alone(tmp_path: Path) -> None:
    path, head = tmp_path / "journal.bin", replace(HEAD, limits=BatchLimits(None, 512))
    path.write_bytes(head.to_line())
    assert read_header(path) == head


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\x00" * 2000,
        b"[" * 100_000 + b"\n",
        b'{"journal": 1, "signature": "a", "environment": {}, "bounds": {}}\n',
        b'{"journal": 3, "signature": "a", "environment": [], "limits": {}}\n',
        b'{"journal": 3, "signature": "a", "environment": {}, "limits": {"pixels": 0}}\n',
        b'{"journal": 3, "signature": "a", "environment": {}, "limits": {"pixels": "9"}}\n',
        b'{"journal": 3, "signature": "a", "environment": {}, "limits": {"items": 2.5}}\n',
        b'{"journal": 3, "signature": "a", "environment": {}, "limits": {"more": 1}}\n',
        b'{"journal": 3, "signature": "a", "environment": {}, "limits": {}}',  # no end of line
    ],
)
def test_a_head_that_is_none_begins_anew(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.bin"
    path.write_bytes(line)
    assert read_header(path) is None
    assert taken_up(path) == ([], 0)
    assert read_header(path) == HEAD


def test_a_journal_full_of_garbage_is_told_and_the_run_completes(results_on_disk: Path) -> None:
    before = run_files(results_on_disk)
    for metric in ("l1", "grad"):
        (RUNS / metric / "run.json").unlink()
    (RUNS / "l1" / "journal.bin").write_bytes(b"garbage")
    result = pmbench(*EVAL)
    assert (
        "ladder-2afc: what there was of an interrupted run of l1 cannot be read; beginning anew"
    ) in result.stderr
    assert "interrupted run of grad" not in result.stderr
    assert run_files(results_on_disk) == before
