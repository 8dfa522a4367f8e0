"""All registered metrics in one run: how long, whose time it is, and how much memory it takes.

    python -m benchmarks.everything FOLDER TRIPLETS COUNT

measures COUNT of the triplets and prints JSON: a process of its own, since its memory is asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from benchmarks.inputs import CPU, Setting, loop
from benchmarks.processes import Ended, ended
from benchmarks.turns import Measured, Row, at_most
from pmbench.metrics import registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, load_metrics
from pmbench.networks.backbones import Backbone
from pmbench.networks.feature_extractor import FeatureExtractor
from pmbench.utils.progress import Silent

_FEW, _TIMES = 22, 10  # fewer triplets than a batch holds would need less memory than any more


def rows(setting: Setting) -> Iterator[Row]:
    """Yield rows for time and memory of all metrics, and for memory of lpips-vgg."""
    most = setting.triplets // _TIMES
    few = min(_FEW, most)
    many = _TIMES * few

    @cache
    def run(count: int) -> Ended:
        assert setting.pack is not None
        command = [sys.executable, "-m", "benchmarks.everything"]
        return ended([*command, str(setting.folder), str(setting.triplets), str(count)])

    yield Row(
        "all/time", f"all registered metrics, {many} triplets, one run", "–", None,
        lambda: _time(run(many)),
    )  # fmt: skip
    yield Row(
        "all/memory", f"all metrics, {many} triplets", "–", at_most(2500, "MB"),
        lambda: _peak([run(many)]),
    )  # fmt: skip
    yield Row(
        "all/memory-growth", f"all metrics, {many} triplets: memory", f"{few} triplets",
        at_most(1.05), lambda: _growth([run(few)], [run(many)]),
    )  # fmt: skip
    name, some = (
        setting.named("lpips-vgg", "net-vgg-random"),
        min(max(_FEW, setting.count(50)), most),
    )

    @cache
    def deep(count: int) -> list[Ended]:
        return [setting.evaluate(name, count, setting.folder / "memory") for _ in range(2)]

    yield Row(
        f"memory/{name}", f"`pmbench eval -m {name}`, {_TIMES * some} triplets", "–",
        at_most(1500, "MB"), lambda: _peak(deep(_TIMES * some)),
    )  # fmt: skip
    yield Row(
        f"memory-growth/{name}", f"{name}, {_TIMES * some} triplets: memory", f"{some} triplets",
        at_most(1.05), lambda: _growth(deep(some), deep(_TIMES * some)),
    )  # fmt: skip


def _peak(runs: list[Ended]) -> Measured:
    peaks = [run.peak_mb for run in runs]
    return Measured(peaks, {"what": peaks})


def _growth(few: list[Ended], many: list[Ended]) -> Measured:
    sides = {"against": [run.peak_mb for run in few], "what": [run.peak_mb for run in many]}
    pairs = zip(sides["against"], sides["what"], strict=True)
    return Measured([more / less for less, more in pairs], sides)


def _time(run: Ended) -> Measured:
    told = json.loads(run.out)
    total, seconds = told["total"], told["seconds"]
    shares = sorted(seconds.items(), key=lambda item: -item[1])
    lines = [f"{name} {took:.1f} s, {100 * took / total:.1f} %" for name, took in shares]
    left_out = [f"not run: {name}: {why}" for name, why in told["left_out"].items()]
    return Measured([total], {"what": [total], **{k: [v] for k, v in shares}}, (*lines, *left_out))


class Clock:
    """Whose time it is: a network's while it computes, else the metric's that called it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack: list[str] = []
        self._since = time.perf_counter()

    def enter(self, name: str) -> None:
        self._book()
        self._stack.append(name)

    def leave(self) -> None:
        self._book()
        self._stack.pop()

    def _book(self) -> None:
        now = time.perf_counter()
        name = self._stack[-1] if self._stack else "reading, checking"
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


class Timed(nn.Module):
    """A metric whose calls are timed."""

    def __init__(self, inner: LoadedMetric, clock: Clock) -> None:
        super().__init__()
        self.inner = inner.distance
        self._name, self._clock = inner.metric.name, clock

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        self._clock.enter(self._name)
        try:
            return self.inner(x, y)
        finally:
            self._clock.leave()


def timed(loaded: list[LoadedMetric], clock: Clock) -> list[LoadedMetric]:
    """Return metrics whose calls are timed, and those of their networks apart from them."""
    users: dict[nn.Module, list[str]] = {}
    for one in loaded:
        for module in one.modules:
            if isinstance(module, Backbone | FeatureExtractor):
                users.setdefault(module, []).append(one.metric.name)
    for module, names in users.items():
        name = f"network of {names[0]}" + f" and {len(names) - 1} more" * (len(names) > 1)
        module.register_forward_pre_hook(lambda *_, name=name: clock.enter(name))  # type: ignore[misc]
        module.register_forward_hook(lambda *_: clock.leave())
    return [
        LoadedMetric(one.metric, Timed(one, clock), one.digest, one.source_files) for one in loaded
    ]


def main() -> None:
    """Measure all metrics on so many triplets, after a few that warm up, and print whose time."""
    folder, triplets, count = sys.argv[1:]
    pack = Setting(Path(folder), int(triplets)).pack
    entries = registered().values()
    left_out = {one.name: why for one in entries if (why := one.not_installed()) is not None}
    here = [one for one in entries if one.name not in left_out]
    loaded, failures = load_metrics(here, CPU, Silent())
    undefined = {one.metric.name: one.metric.undefined_on(*pack.sizes[0]) for one in loaded}
    left_out |= failures | {name: why for name, why in undefined.items() if why is not None}
    loop(pack, loaded, 2)
    clock = Clock()
    metrics = timed(loaded, clock)
    start = time.perf_counter()
    loop(pack, metrics, int(count))
    total = time.perf_counter() - start
    print(json.dumps({"total": total, "seconds": clock.seconds, "left_out": left_out}))


if __name__ == "__main__":
    main()
