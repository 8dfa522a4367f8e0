"""One table: what pmbench is to reach, and how far it is from that on this machine.

    make bench
    python -m benchmarks [--quick] [--only NAME] [--list] [--json FILE]

Every row is measured on two cores in float32 (unless it says bf16), both sides in turn in one run:
quote the ratio, since machines drift. Networks have trained weights where PMBENCH_WEIGHTS names a
folder of them. Inputs are made in build/bench, and stay there for the next time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # before torch counts the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import torch
from rich.console import Console
from rich.text import Text

from benchmarks.inputs import Setting
from benchmarks.turns import Measured, Row, shown, verdict
from pmbench.evaluation.provenance import processor
from pmbench.reporting.tables import bare_table
from pmbench.utils.devices import use_exact_arithmetic

_MODULES = (
    "startup", "against_lpips", "trunks", "patches", "losses", "sharing", "packing", "everything"
)  # fmt: skip
_BUILD = Path(__file__).parent.parent / "build"


def main() -> None:
    """Measure the rows that were asked for, print the table, and write JSON."""
    choices = _choices()
    torch.set_num_threads(2)
    use_exact_arithmetic()
    folder = choices.folder.resolve()
    os.environ["PMBENCH_HOME"] = str(folder / "home")
    if weights := os.environ.get("PMBENCH_WEIGHTS"):
        os.environ["PMBENCH_WEIGHTS"] = str(Path(weights).resolve())
    quick = {"turns": 2, "part": 0.2} if choices.quick else {"turns": choices.turns}
    setting = Setting(folder, choices.triplets, **quick)
    rows = [row for row in _rows(setting) if _wanted(row, choices.only)]
    if choices.list:
        print("\n".join(f"{row.name:<32}{row.what}" for row in rows))
        return
    terminal = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    choices.json.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Measured] = {}
    begun = time.perf_counter()
    failed: dict[str, str] = {}
    for at, row in enumerate(rows, 1):
        since = time.perf_counter()
        try:
            found[row.name] = row.measure()
        except Exception as error:  # noqa: BLE001  one row that fails must not lose the others
            failed[row.name] = f"{type(error).__name__}: {error}"
        _tell(row, found, failed, time.perf_counter() - since)
        taken = time.perf_counter() - begun  # written at once: minutes are lost with a later row
        facts = _facts(setting, rows[:at], found, failed, taken)
        choices.json.write_text(json.dumps(facts, indent=1))
    _print(terminal, setting, rows, found, failed, time.perf_counter() - begun)
    if failed:
        sys.exit(1)


def _choices() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="rows whose names begin so; repeat it")
    parser.add_argument("--quick", action="store_true", help="two turns, a fifth of the triplets")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure none")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--triplets", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=_BUILD / "bench", help="of the inputs")
    parser.add_argument("--json", type=Path, default=_BUILD / "bench.json")
    return parser.parse_args()


def _rows(setting: Setting) -> Iterator[Row]:
    for name in _MODULES:
        yield from importlib.import_module(f"benchmarks.{name}").rows(setting)


def _wanted(row: Row, only: list[str] | None) -> bool:
    return not only or any(row.name.startswith(name) for name in only)


def _tell(row: Row, found: dict[str, Measured], failed: dict[str, str], seconds: float) -> None:
    unit = row.goal.unit if row.goal else "s"
    came = failed.get(row.name) or shown(statistics.median(found[row.name].values), unit)
    print(f"{row.name}: {came} (took {seconds:.0f} s)", file=sys.stderr, flush=True)


def _print(
    terminal: Console,
    setting: Setting,
    rows: Iterable[Row],
    found: dict[str, Measured],
    failed: dict[str, str],
    taken: float,
) -> None:
    table = bare_table()
    for head in ("what", "against", "goal", "median", "low – high", "verdict"):
        right = head in ("goal", "median", "low – high")
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    for row in rows:
        if row.name in failed:
            table.add_row(row.what, row.against, str(row.goal or ""), "", "", Text("failed"))
            continue
        values, unit = found[row.name].values, row.goal.unit if row.goal else "s"
        table.add_row(
            Text(row.what),
            Text(row.against),
            str(row.goal or ""),
            shown(statistics.median(values), unit),
            f"{shown(min(values), unit)} – {shown(max(values), unit)}" if len(values) > 1 else "",
            Text(verdict(row, found[row.name])),
        )
    terminal.print(table)
    for row in rows:
        for note in found[row.name].notes if row.name in found else [f"failed: {failed[row.name]}"]:
            terminal.print(f"{row.name}: {note}", markup=False, style="dim")
    weights = "trained" if setting.trained else "random (PMBENCH_WEIGHTS names a folder of trained)"
    terminal.print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}; weights: "
        f"{weights}; {setting.turns} turns after one that warms up; {taken / 60:.0f} minutes",
        markup=False,
    )


def _facts(
    setting: Setting,
    rows: Iterable[Row],
    found: dict[str, Measured],
    failed: dict[str, str],
    taken: float,
) -> dict[str, object]:
    return {
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "trained_weights": setting.trained,
        "turns": setting.turns,
        "seconds": round(taken, 1),
        "rows": [
            {
                "name": row.name,
                "what": row.what,
                "against": row.against,
                "goal": None if row.goal is None else row.goal.value,
                "at_least": None if row.goal is None else row.goal.at_least,
                "unit": "s" if row.goal is None else row.goal.unit,
                **_outcome(row, found, failed),
            }
            for row in rows
        ],
    }


def _outcome(row: Row, found: dict[str, Measured], failed: dict[str, str]) -> dict[str, object]:
    if row.name in failed:
        return {"failed": failed[row.name]}
    its = found[row.name]
    return {
        "median": statistics.median(its.values),
        "values": its.values,
        "verdict": verdict(row, its),
        "sides": dict(its.sides),
        "notes": list(its.notes),
    }


if __name__ == "__main__":
    main()
