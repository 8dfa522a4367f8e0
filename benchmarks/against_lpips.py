"""pmbench's loop over a pack beside the usual way of doing the same: see ``reference``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from benchmarks import reference
from benchmarks.inputs import Setting, loop, ready
from benchmarks.processes import ended
from benchmarks.turns import Measured, Row, at_least, times_as_fast
from pmbench.results.store import find_runs
from pmbench.utils.devices import network_precision

_USUAL = "PNG, PIL, DataLoader, lpips"
_OURS = {
    "alex": ("lpips-alex", "net-alex-random"),
    "vgg": ("lpips-vgg", "net-vgg-random"),
    "squeeze": ("lpips-squeeze", "net-squeeze-random"),
}


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each network, one in bfloat16, and one with all that a process takes."""
    for net, precision, goal, usual in (
        ("alex", "fp32", 5.0, 2000),
        ("vgg", "fp32", 2.2, 200),
        ("vgg", "bf16", 3.5, 200),
        ("squeeze", "fp32", 6.0, 600),
    ):
        name, count = setting.named(*_OURS[net]), setting.count(usual)
        yield Row(
            f"reference/{name}" + f"@{precision}" * (precision != "fp32"),
            f"{name}{', bf16' * (precision == 'bf16')}: loop over a pack, {count} triplets",
            _USUAL + ", fp32" * (precision != "fp32"),
            at_least(goal),
            lambda net=net, precision=precision, count=count: _in_process(  # type: ignore[misc]
                setting, net, precision, count
            ),
        )
    name, count = setting.named(*_OURS["alex"]), setting.count(2000)
    yield Row(
        f"reference/{name}/process",
        f"{name}: `pmbench eval`, whole process, {count} triplets",
        "the same, whole process",
        at_least(2.5),
        lambda: _whole_process(setting, name, count),
    )


def _in_process(setting: Setting, net: str, precision: str, count: int) -> Measured:
    model = reference.model(net)
    metrics = ready([setting.named(*_OURS[net])])

    def ours() -> None:
        with network_precision(precision):
            loop(setting.pack, metrics, count)

    return times_as_fast(lambda: reference.score(model, setting.root, count), ours, setting.turns)


def _whole_process(setting: Setting, name: str, count: int) -> Measured:
    """Compare two programs that print the score of a folder; the pack is there already."""
    assert setting.pack is not None
    results = setting.folder / "results"
    printed: list[str] = []

    def usual() -> None:
        command = [sys.executable, "-m", "benchmarks.reference"]
        printed.append(ended([*command, str(setting.root), "alex", str(count)]).out.strip())

    def ours() -> None:
        shutil.rmtree(results, ignore_errors=True)
        setting.evaluate(name, count, results)

    found = times_as_fast(usual, ours, setting.turns)
    scores = find_runs(results)[0].scores().set_index(["kind", "statistic", "sub_dataset"])["value"]
    score = float(scores["metric", "2afc", "macro"])
    note = f"the usual way prints {printed[-1]}, `pmbench eval` has {score:.6f}"
    return Measured(found.values, found.sides, (note,))
