"""Plug-ins: metrics of installed packages."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.paths import REPOSITORY
from support.user_metrics import CPU, LADDER, measure, not_run, pictures, write_file

from pmbench import metrics
from pmbench.metrics import Metric, registered
from pmbench.metrics.external import entry_points
from pmbench.metrics.loading import load_metrics, metric_digest
from pmbench.metrics.selection import select_metrics
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("import_folder")


def terminal(*words: str | Path, code: int, path: Path | None = None) -> tuple[str, str]:
    """Run a command in a process of its own; return its stdout and stderr."""
    where = os.pathsep.join(map(str, filter(None, [path, REPOSITORY])))
    done = subprocess.run(
        [sys.executable, "-m", "pmbench", *map(str, words)],
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


GOOD = """
    import torch
    from pmbench.metrics import Metric

    print("hello from the plug-in")

    def _mean(x, y):
        return (x.pixels - y.pixels).abs().mean(dim=(1, 2, 3))

    def _metric(name, **card):
        return Metric(name=name, load=lambda device: _mean, title="mean difference", **card)

    ONE = _metric("one-metric")
    SEVERAL = [_metric("first"), _metric("second")]
    NUMBER = 3
    TAKEN = [_metric("l2"), _metric("third")]
    BLANK = _metric("a b")
    EXTRA = _metric("x", extra="nowhere")
    WEIGHTS = _metric("x", weights=("nowhere",))
    TITLE = Metric(name="x", load=lambda device: _mean, title=None)
    SIZE = _metric("x", min_size=0)
    VERSION = _metric("x", version=True)
    DIRECTION = _metric("x", higher_is_better=1)
    TOLERANCE = _metric("x", tolerance="1e-3")
    PARAMETERS = _metric("x", parameters={"path": object()})

    def plain(x, y):
        '''Largest difference of two pixels.

        More words.
        '''
        print("garbage while measuring")
        return (x - y).abs().amax(dim=(1, 2, 3))

    def one_image(x):
        return x.mean(dim=(1, 2, 3))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))
            self.drop = torch.nn.Dropout()

        def forward(self, x, y):
            return self.drop(self.scale * (x - y).abs()).mean(dim=(1, 2, 3))

    net = Net()

    def raises(x, y):
        raise ZeroDivisionError("division by zero")

    def shape(x, y):
        return (x - y).abs()

    def nan(x, y):
        return (x - y).abs().mean(dim=(1, 2, 3)) * float("nan")

    def leaves(x, y):
        raise SystemExit(3)
"""
DECORATED = """
    from pmbench.metrics import metric

    @metric("mean-color", title="difference of mean colours", higher_is_better=True)
    def mean_color(x, y):
        return -(x.pixels.mean(dim=(2, 3)) - y.pixels.mean(dim=(2, 3))).abs().amax(dim=1)

    for power in (1, 2):
        @metric(f"power-{power}", title=f"power {power}")
        def _(x, y, power=power):
            return ((x.pixels - y.pixels).abs() ** power).mean(dim=(1, 2, 3))
"""


def installed(site: Path, package: str, modules: dict[str, str], points: dict[str, str]) -> Path:
    """Install a package as pip does: its modules, and a .dist-info with its entry points."""
    for name, text in modules.items():
        write_file(site / package / f"{name}.py", text)
    write_file(site / package / "__init__.py", "")
    lines = [f"{name} = {value}" for name, value in points.items()]
    info = site / f"{package}-1.2.dist-info"
    write_file(info / "METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    write_file(info / "entry_points.txt", "\n".join(["[pmbench.metrics]", *lines, ""]))
    return site


def plugged(
    site: Path, monkeypatch: pytest.MonkeyPatch, modules: dict[str, str], points: dict[str, str]
) -> dict[str, Metric]:
    """Install a package into this process; return what the plug-ins bring."""
    installed(site, "zoo", modules, points)
    monkeypatch.syspath_prepend(site)
    entry_points._plugins.cache_clear()
    return {entry.name: entry for entry in entry_points.installed(registered())}


def test_an_entry_point_may_be_a_metric_several_a_callable_or_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = registered()
    points = {
        "not-its-name": "zoo.good:ONE", "a-list": "zoo.good:SEVERAL", "plain": "zoo.good:plain",
        "net": "zoo.good:net", "a-module": "zoo.decorated",
    }  # fmt: skip
    modules = {"good": GOOD, "decorated": DECORATED}
    result = plugged(tmp_path, monkeypatch, modules, points)
    assert set(result) == {
        "one-metric", "first", "second", "plain", "net", "mean-color", "power-1", "power-2",
    }  # fmt: skip
    assert registered() == before  # the plug-ins are kept apart
    assert select_metrics(["plain", "l2"]).metrics[0].title == "Largest difference of two pixels."
    x, y = pictures(3, 0), pictures(3, 1)
    expected = (x - y).abs()
    torch.testing.assert_close(measure(result["plain"], x, y), expected.amax(dim=(1, 2, 3)))
    torch.testing.assert_close(measure(result["power-2"], x, y), expected.square().mean((1, 2, 3)))
    # in eval mode: dropout would have changed it
    torch.testing.assert_close(measure(result["net"], x, y), 2 * expected.mean(dim=(1, 2, 3)))


def test_a_plug_in_that_was_imported_by_another_is_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {
        "a": "zoo.decorated:mean_color", "b": "zoo.decorated", "c": "zoo.decorated:mean_color",
    }  # fmt: skip
    result = plugged(tmp_path, monkeypatch, {"decorated": DECORATED}, points)
    assert set(result) == {"mean-color", "power-1", "power-2"}


def test_the_tensors_of_a_module_and_the_source_of_a_callable_are_in_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = plugged(tmp_path, monkeypatch, {"good": GOOD}, {"net": "zoo.good:net"})
    distance = result["net"].load(CPU)
    before = metric_digest(result["net"], distance)
    assert isinstance(distance, torch.nn.Module)
    with torch.no_grad():
        next(distance.parameters()).add_(1)
    assert metric_digest(result["net"], distance) != before
    written = (tmp_path / "zoo" / "good.py").read_bytes()
    only = hashlib.sha256(hashlib.sha256(written).hexdigest().encode()).hexdigest()
    assert result["net"].parameters["source"] == only[:16]


FROM = " (from the package zoo 1.2)"
NAMES = "expected a name that can be shown, without blanks, commas, '=' and '?', other than"
BROKEN = {
    "lacking": (
        "zoo.lacking:f",
        "needs the module nowhere_at_all, which is not installed; install it beside pmbench",
    ),
    "syntax": ("zoo.syntax:f", "{site}/zoo/syntax.py, line 2: '(' was never closed; mend it"),
    "raising": (
        "zoo.raising:f",
        "cannot be imported: KeyError: 'no such key' ({site}/zoo/raising.py, line 1); mend it",
    ),
    "leaving": (
        "zoo.leaving:f",
        "cannot be imported: SystemExit: 3 ({site}/zoo/leaving.py, line 2); mend it",
    ),
    "same": ("zoo.same:f", "two metrics are called 'ssim'; choose another name"),
    "absent": (
        "zoo.good:absent",
        "its entry point is 'zoo.good:absent', but zoo.good has no such name; mend it",
    ),
    "number": (
        "zoo.good:NUMBER",
        "is of type int; expected a metric, or a function of two batches of images",
    ),
    "a-class": (
        "zoo.good:Net",
        "is the class Net; expected a metric, or a function or instance that is called with two "
        "batches of images; make an instance of it, and name that",
    ),
    "one-image": (
        "zoo.good:one_image",
        "takes the arguments (x); expected a function that is called with two batches of images, "
        "(x, y)",
    ),
    "two-of-three": ("zoo.good:TAKEN", "brings a metric called 'l2', which is taken; rename it"),
    "blank": (
        "zoo.good:BLANK",
        f"brings a metric called 'a b'; {NAMES} all, human-fresh, human-majority, human-paper; "
        "rename it",
    ),
    "extra": (
        "zoo.good:EXTRA",
        "brings the metric 'x', which names the extra 'nowhere'; those of pmbench are "
        f"{', '.join(metrics.EXTRAS)}; leave `extra` out, and import what it needs in `load`",
    ),
    "weights": (
        "zoo.good:WEIGHTS",
        "brings the metric 'x', which names the weights 'nowhere'; pmbench knows no such file; "
        "leave `weights` out, and read them in `load`",
    ),
    "title": (
        "zoo.good:TITLE",
        "brings the metric 'x', whose title is None; expected text that can be shown",
    ),
    "size": (
        "zoo.good:SIZE",
        "brings the metric 'x', whose min_size is 0; expected a whole number from 1",
    ),
    "version": (
        "zoo.good:VERSION",
        "brings the metric 'x', whose version is True; expected a whole number from 1",
    ),
    "direction": (
        "zoo.good:DIRECTION",
        "brings the metric 'x', whose higher_is_better is 1; expected True or False",
    ),
    "tolerance": (
        "zoo.good:TOLERANCE",
        "brings the metric 'x', whose tolerance is '1e-3'; expected a number from 0 to below 1",
    ),
    "empty": (
        "zoo",
        "its entry point is the module zoo, which registers no metric; expected functions under "
        "@metric(…) in it",
    ),
    "odd": (
        "!! odd",
        "its entry point is '!! odd'; expected 'package.module:name'; mend it",
    ),
}  # fmt: skip
FAULTY_MODULES = {
    "good": GOOD,
    "decorated": DECORATED,
    "lacking": "import nowhere_at_all\n",
    "syntax": "import sys\nf = (\n",
    "raising": "{}['no such key']\n",
    "leaving": "import sys\nsys.exit(3)\n",
    "same": "from pmbench.metrics import metric\n@metric('ssim', title='')\ndef f(x, y): ...\n",
}


def test_every_broken_plug_in_fails_alone_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {name: value for name, (value, _) in BROKEN.items()} | {"fine": "zoo.good:plain"}
    points["l1"] = "zoo.good:plain"  # the name of a registered metric is not displaced
    before = registered()
    result = plugged(tmp_path, monkeypatch, FAULTY_MODULES, points)
    assert registered() == before
    assert set(result) == {*BROKEN, "fine", "third", "zoo:l1"}
    loaded, failures = load_metrics([registered()["l2"], *result.values()], CPU, Silent())
    assert {one.metric.name for one in loaded} == {"l2", "fine", "third"}
    expected = {name: sentence + FROM for name, (_, sentence) in BROKEN.items()}
    expected["zoo:l1"] = "brings a metric called 'l1', which is taken; rename it" + FROM
    parameters = failures.pop("parameters", None)
    assert parameters is None
    assert {k: v.replace(str(tmp_path), "{site}") for k, v in failures.items()} == expected


def test_parameters_that_no_signature_can_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = plugged(tmp_path, monkeypatch, {"good": GOOD}, {"odd": "zoo.good:PARAMETERS"})
    _, failures = load_metrics(list(result.values()), CPU, Silent())
    assert re.fullmatch(
        r"brings the metric 'x', whose parameters is \{'path': <object object at 0x[0-9a-f]+>\}; "
        r"expected texts and numbers by name \(from the package zoo 1\.2\)",
        failures["odd"],
    )


def test_two_packages_may_not_bring_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "a", "ark", {"good": GOOD}, {"plain": "ark.good:plain"})
    monkeypatch.syspath_prepend(tmp_path / "a")
    result = plugged(tmp_path / "z", monkeypatch, {"good": GOOD}, {"plain": "zoo.good:plain"})
    assert set(result) == {"plain", "zoo:plain"}  # the packages in the order of their names
    _, failures = load_metrics(list(result.values()), CPU, Silent())
    assert failures == {
        "zoo:plain": "brings a metric called 'plain', which is taken; rename it" + FROM
    }


def test_plug_ins_are_not_imported_for_metrics_of_pmbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "zoo", {"good": GOOD}, {"plain": "zoo.good:plain"})
    monkeypatch.syspath_prepend(tmp_path)
    select_metrics(["l2", "ssim"])
    assert "zoo.good" not in sys.modules
    select_metrics(["plain"])
    assert "zoo.good" in sys.modules


def test_installed_plug_ins_at_the_terminal(tmp_path: Path) -> None:
    """Every fault at once, in a process of its own: sound metrics finish, the exit code is 1."""
    measuring = ("raises", "shape", "nan", "leaves", "plain", "net")
    points = {name: f"zoo.good:{name}" for name in measuring} | {
        "lacking": "zoo.lacking:f", "syntax": "zoo.syntax:f", "colors": "zoo.decorated",
    }  # fmt: skip
    site = installed(tmp_path / "site", "zoo", FAULTY_MODULES, points)
    names = ",".join(["l2", *measuring, "lacking", "syntax", "mean-color"])
    stdout, stderr = terminal("eval", "-m", names, *LADDER, code=1, path=site)
    results = Path("results/ladder-jnd@first1")
    assert {path.parent.name for path in results.glob("*/run.json")} == {
        "l2", "plain", "net", "mean-color",
    }  # fmt: skip
    about = json.loads((results / "plain/run.json").read_text())["metric"]
    assert f" (from the package {about['package']})" == FROM
    item = "noise/astronaut-03-below"
    assert not_run(stdout) == {
        "raises": f"failed on the batch of item {item}: ZeroDivisionError: division by zero "
        "(in good.py, line 49)",
        "shape": "expected floating-point numbers of shape (6,), one a pair, got torch.float32 of "
        "shape (6, 3, 64, 64)",
        "nan": f"the distance of p0 and p1 of item {item} is nan; expected a finite number; the "
        "metric is not defined on such images: leave them out, or choose another metric (if it "
        "is yours: mend it, or say in its `min_size` where it is not defined)",
        "leaves": f"failed on the batch of item {item}: SystemExit: 3 (in good.py, line 58)",
        "lacking": BROKEN["lacking"][1] + FROM,
        "syntax": BROKEN["syntax"][1].replace("{site}", str(site)) + FROM,
    }
    assert "hello from the plug-in" in stderr
    assert "garbage while measuring" in stderr
    assert "hello" not in stdout
    assert "garbage" not in stdout
