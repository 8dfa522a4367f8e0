"""How fast metrics are: what is measured, what is kept, and what a leaderboard makes of it.

How long anything takes is never held against a limit here.
"""

from __future__ import annotations

import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.boards import everywhere, only_board, row_of, run_2afc
from support.cli import one_line, pmbench
from support.refusals import message_of

from pmbench.evaluation import speed as apart
from pmbench.evaluation import speed_worker
from pmbench.evaluation.speed_worker import Cell, Trial
from pmbench.metrics import registered
from pmbench.networks import weights
from pmbench.reporting import speeds_to_rich, to_plain
from pmbench.reporting.site.charts import Figure
from pmbench.reporting.site.figures import against_cost
from pmbench.reporting.site.sections import sections
from pmbench.results import timings
from pmbench.results.timings import BACKWARD, FORWARD, Machine, Timing
from pmbench.utils.memory import keep_freed_memory

HERE = Machine("Quick 3000", "cpu", 2, 2, "2.9", "fp32")
THERE = replace(HERE, processor="Slow 1000")
BOTH = (Cell(8, FORWARD), Cell(16, FORWARD), Cell(8, BACKWARD), Cell(16, BACKWARD))

MINE = """
import os, signal, time
import torch
from pmbench.metrics import metric

@metric("large", title="takes 240 MB for 16 pixels", differentiable=False)
def large(x, y):
    rows = torch.ones(60_000_000 if x.pixels.shape[-1] == 16 else 1)
    return (x.pixels - y.pixels).mean((1, 2, 3)) + rows.mean()

@metric("slow", title="takes its time", differentiable=False)
def slow(x, y):
    time.sleep(0.03)
    return (x.pixels - y.pixels).mean((1, 2, 3))

@metric("wrong", title="raises")
def wrong(x, y):
    raise ValueError("no such thing")

@metric("shapeless", title="of another shape")
def shapeless(x, y):
    return x.pixels.mean()

@metric("full", title="needs more than there is")
def full(x, y):
    raise MemoryError

@metric("killed", title="is killed on 16 pixels")
def killed(x, y):
    if x.pixels.shape[-1] == 16:
        os.kill(os.getpid(), signal.SIGKILL)
    return (x.pixels - y.pixels).square().mean((1, 2, 3))

@metric("stuck", title="never comes back on 16 pixels")
def stuck(x, y):
    time.sleep(1000 if x.pixels.shape[-1] == 16 else 0)
    return (x.pixels - y.pixels).square().mean((1, 2, 3))
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """Return the address of a file of metrics that behave in ways of their own."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return str(file)


def measured(metric: str, *cells: Cell, **choices: object) -> list[Timing]:
    given = {"seconds": 0.01, "batch": 2} | choices
    return list(speed_worker.run(Trial(metric, cells or BOTH, **given)))  # type: ignore[arg-type]


# --- what is measured -----------------------------------------------------------------------------


def test_a_metric_is_measured_in_both_directions_at_each_size() -> None:
    times = measured("l1")
    assert [(one.size, one.direction) for one in times] == [
        (8, FORWARD), (16, FORWARD), (8, BACKWARD), (16, BACKWARD)
    ]  # fmt: skip
    for one in times:
        assert (one.metric, one.status, one.batch, one.parameters) == ("l1", "measured", 2, 0)
        assert one.signature.startswith("l1#")
        assert 0 < one.low <= one.ms <= one.high
        assert one.pairs_per_second == pytest.approx(1000 / one.ms)
        assert 1 <= one.turns <= speed_worker.TURNS
        assert one.calls >= one.turns


def test_without_a_number_of_pairs_they_are_as_many_as_in_an_evaluation() -> None:
    blank = Trial("l1", ())
    assert [blank.pairs(size) for size in (64, 256, 512)] == [32, 2, 1]
    assert [replace(blank, pixels=1 << 21).pairs(size) for size in (64, 2048)] == [512, 1]
    assert [replace(blank, batch=3).pairs(size) for size in (64, 256)] == [3, 3]


def test_where_a_metric_is_not_defined_or_has_no_gradient_that_is_said() -> None:
    small, large, loss = measured("l2-lab", Cell(8, FORWARD), Cell(16, FORWARD), Cell(8, BACKWARD))
    assert (small.status, large.status) == ("measured", "measured")
    assert (loss.status, loss.note) == ("undefined", "not differentiable")
    assert math.isnan(loss.ms)
    (tiny,) = measured("ssim", Cell(8, FORWARD))
    assert (tiny.status, tiny.note) == (
        "undefined", "needs at least 11 pixels a side, got 8×8"
    )  # fmt: skip


def test_a_metric_that_cannot_be_loaded_fails_in_every_cell(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')")
    times = measured(str(tmp_path / "broken.py"))
    assert [(one.status, one.size) for one in times] == [
        ("failed", 8), ("failed", 16), ("failed", 8), ("failed", 16)
    ]  # fmt: skip
    assert "RuntimeError: not today" in times[0].note


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("wrong", "failed: ValueError: no such thing (in mine.py, line 18)"),
        ("shapeless",
         "expected floating-point numbers of shape (2,), one a pair, got torch.float32 of "
         "shape ()"),
        ("full", "2 pairs in a call do not fit into memory"),
    ],
)  # fmt: skip
def test_a_metric_that_fails_says_why(mine: str, name: str, why: str) -> None:
    (one,) = measured(f"{mine}:{name}", Cell(8, FORWARD))
    assert (one.status, one.note) == ("failed", why)


def test_a_slow_metric_says_how_often_it_was_measured(mine: str) -> None:
    (once,) = measured(f"{mine}:slow", Cell(8, FORWARD), seconds=0.01)
    assert (once.turns, once.calls, once.note) == (1, 1, "one call, the first, without a warm-up")
    (some,) = measured(f"{mine}:slow", Cell(8, FORWARD), seconds=0.15)
    assert 1 <= some.turns < speed_worker.TURNS
    assert some.note == f"{some.turns} of 7 turns in 0.15 s"


def test_a_peak_is_that_of_the_cell_and_not_of_the_one_before(mine: str) -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system cannot forget a peak")
    keep_freed_memory()  # as a process does that has evaluated something
    used = [torch.ones(10_000_000) for _ in range(10)]  # 0.4 GB
    used.clear()
    cells = (Cell(16, FORWARD), Cell(8, FORWARD))
    large, small = measured(f"{mine}:large", *cells)
    assert 200 < large.memory_mb < 400  # 60 million float32
    assert small.memory_mb < 100


@pytest.mark.slow
def test_what_never_comes_back_is_ended(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_LEAST", 2.0)
    cells = (Cell(8, FORWARD), Cell(16, FORWARD))
    result = list(apart.timings(Trial(f"{mine}:stuck", cells, batch=2, seconds=0.05), "stuck"))
    assert [one.status for one in result] == ["measured", "failed"]
    assert result[1].note == "took longer than 2 s, and was ended"


# --- what is kept ---------------------------------------------------------------------------------


def timing(metric: str, ms: float, size: int = 64, **facts: object) -> Timing:
    one = Timing(metric, f"{metric}#1f9c0000", size, FORWARD, "measured", 32, ms, ms, ms, 7, 7, 50)
    return replace(one, **facts)  # type: ignore[arg-type]


def test_times_are_kept_by_machine_and_replaced_where_measured_again(tmp_path: Path) -> None:
    a, b = timing("a", 1.5, note="2 of 7 turns, in 5 s"), timing("b", 2)
    timings.add(tmp_path, HERE, [a, b])
    timings.add(tmp_path, THERE, [timing("a", 40)])
    timings.add(tmp_path, HERE, [replace(a, ms=1.25, note="")])
    assert timings.read(tmp_path) == {
        HERE: [b, replace(a, ms=1.25, note="")],
        THERE: [timing("a", 40)],
    }
    assert timings.read(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("metric,ms\n", "its columns are metric, ms"),
        ("", "its columns are none"),
        (None, "a line is cut off"),
        ("x", "could not convert string to float: 'x'"),
        (
            "\x1b]0;x\x07",
            r"'\x1b]0;x\x07' has characters that cannot be shown as they are; rename it",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str | None, why: str) -> None:
    timings.add(tmp_path, HERE, [timing("a", 1.5)])
    path = tmp_path / "speed.csv"
    whole = path.read_text()
    damaged = {None: whole[:-60], "": "", "metric,ms\n": "metric,ms\n"}
    path.write_text(damaged[text] if text in damaged else whole.replace("1.5", str(text)))
    assert message_of(timings.read, tmp_path) == (
        f"{path}: expected times that `pmbench speed` has written ({why}); "
        "delete it and measure again"
    )


def test_one_machine_is_chosen_and_none_where_it_knows_nothing() -> None:
    signatures = {name: f"{name}#1f9c0000" for name in "ab"}
    one = {HERE: [timing("a", 1)], THERE: [timing("a", 30), timing("b", 40)]}
    result = timings.of_one_machine([one], signatures, "fp32")
    assert result == (THERE, {"a": timing("a", 30), "b": timing("b", 40)})
    # 64 pixels before others; a changed metric, and another precision, count for nothing
    few = {HERE: [timing("a", 1)], THERE: [timing("a", 9, 256), timing("b", 9, 256)]}
    assert timings.of_one_machine([few], signatures, "fp32") == (HERE, {"a": timing("a", 1)})
    assert timings.of_one_machine([one], {"a": "a#0000"}, "fp32") is None
    assert timings.of_one_machine([one], signatures, "bf16") is None


# --- what a leaderboard makes of it ---------------------------------------------------------------


def test_a_board_has_the_times_of_one_machine_and_names_it(tmp_path: Path) -> None:
    for name in "abc":
        run_2afc(tmp_path, name, everywhere(2))
    timings.add(tmp_path, HERE, [timing("a", 1.5), timing("b", 2.5, memory_mb=math.nan)])
    timings.add(tmp_path, THERE, [timing("c", 70)])
    board = only_board(tmp_path, cost=True)
    a, b, c = (row_of(board, name) for name in "abc")
    assert (a.ms, a.peak_memory_mb) == (1.5, 50)
    assert (b.ms, b.peak_memory_mb, c.ms) == (2.5, None, None)  # c was timed on another machine
    assert (
        "ms/pair, peak MB: of the metric alone, forward, 64×64, Quick 3000, 2 threads on 2 cores, "
        "torch 2.9, fp32; params, weights: of the metric"
    ) in board.legend
    assert "/pair" in to_plain(board)
    assert "/pair" not in to_plain(only_board(tmp_path))


def test_a_report_compares_speeds_of_one_machine_only(tmp_path: Path) -> None:
    for name in "ab":
        run_2afc(tmp_path, name, everywhere(2), speed=25.0)
    (section,) = sections(tmp_path, ["bapps-2afc-val"])
    assert (section.speeds, section.timed) == ({"a": 25.0, "b": 25.0}, "items")
    timings.add(tmp_path, HERE, [timing("a", 2)])
    (section,) = sections(tmp_path, ["bapps-2afc-val"])
    assert (section.speeds, section.timed) == ({"a": 500.0}, "pairs")
    figure = against_cost(section)
    assert isinstance(figure, Figure)
    assert (
        "Speeds are of 64×64, Quick 3000, 2 threads on 2 cores, torch 2.9, fp32. 1 metric not "
        "timed there is missing."
    ) in figure.caption


def test_without_times_a_board_shows_what_the_runs_say(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(2))
    timings.add(tmp_path, HERE, [timing("a", 1.5, signature="a#00000000")])  # of another version
    board = only_board(tmp_path, cost=True)
    assert row_of(board, "a").ms is None
    assert "/pair" not in to_plain(board)


def test_damaged_times_are_no_reason_to_show_no_scores(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(2))
    (tmp_path / "speed.csv").write_text("metric\n")
    board = only_board(tmp_path, cost=True)
    assert row_of(board, "a").cells["macro"].value == pytest.approx(0.5)
    assert any(
        line.startswith(f"left out: {tmp_path / 'speed.csv'}: expected times that")
        for line in board.legend
    )


# --- as a user types it ---------------------------------------------------------------------------


def test_what_kills_a_process_costs_only_what_is_not_smaller(
    tmp_path: Path, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--size", "16,8", "--seconds", "0.05", "--batch-size", "2", "--json")
    ended = pmbench("speed", "-m", f"{mine}:killed", *words, code=1)
    assert ended.stderr.startswith("this takes about 4.2 s; 1 metric of unknown time, with 0.05 s")
    result = json.loads(ended.stdout)
    by_cell = {(one["size"], one["direction"]): one for one in result}
    assert len(result) == len(by_cell) == 4
    assert by_cell[8, FORWARD]["status"] == by_cell[8, BACKWARD]["status"] == "measured"
    assert by_cell[8, FORWARD]["device"] == "cpu"
    assert (by_cell[16, FORWARD]["status"], by_cell[16, FORWARD]["ms"]) == ("failed", None)
    assert by_cell[16, FORWARD]["note"] == (
        "its process was ended by signal 9, as the system does where memory runs out"
    )
    assert by_cell[16, BACKWARD]["note"] == "not tried, since 16 pixels forward failed"
    (kept,) = timings.read(Path("results")).values()
    assert {(one.size, one.direction) for one in kept} == set(by_cell)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_a_line_for_each_size_and_the_reasons_below(width: int) -> None:
    gone = timing("lpips-squeeze-watson", math.nan, 512, status="failed", note="does not fit")
    loss = replace(gone, direction=BACKWARD)
    some = [timing("a", 1.5), timing("a", 6, direction=BACKWARD, note="2 of 7"), gone, loss]
    out = io.StringIO()
    Console(file=out, width=width).print(speeds_to_rich(HERE, some, width))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert ("low–high" in out.getvalue()) == (width == 120)
    first, second = (["1.5–1.5"], ["6–6"]) if width == 120 else ([], [])
    (row,) = (line.split() for line in lines if line.startswith("a  "))
    assert row == ["a", "64", "667", "1.5", *first, "50", "6", *second, "50"]
    assert "measured on Quick 3000, 2 threads on 2 cores, torch 2.9, fp32" in lines
    assert "a (64 as a loss): 2 of 7" in lines
    assert "lpips-squeeze-watson (512, 512 as a loss): does not fit" in lines


def test_a_size_is_a_whole_number() -> None:
    for text in ("0", "64x64", "²"):
        message = pmbench("speed", "-m", "l1", "--size", text, code=2).stderr
        assert one_line(message) == f"--size {text}: expected a whole number of pixels from 1"


@pytest.mark.slow
def test_every_registered_metric_can_be_timed(tmp_path: Path, reference_weights: Path) -> None:
    here = [
        name
        for name, metric in registered().items()
        if metric.not_installed() is None and all(map(weights.find, metric.weights))
    ]
    words = ("--size", "64", "--seconds", "0.01", "--batch-size", "1", "--json")
    result = json.loads(
        pmbench("speed", "-m", ",".join(here), *words, "--results", tmp_path).stdout
    )
    by_metric = {one["metric"]: one["status"] for one in result if one["direction"] == FORWARD}
    assert by_metric.keys() == set(here)
    assert {name for name, status in by_metric.items() if status == "undefined"} == {
        "iw-ssim", "ms-ssim"
    }  # fmt: skip
