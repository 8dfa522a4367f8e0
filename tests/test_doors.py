"""A user's metric with no source edited: plug-ins, Python addresses and programs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from pmbench import metrics
from pmbench.cli import app
from pmbench.cli.common import split
from pmbench.metrics import Metric, registered
from pmbench.metrics.external import command, entry_points, python_file
from pmbench.metrics.images import Images
from pmbench.metrics.loading import Loaded, digest_of, load_metrics
from pmbench.metrics.selection import choose
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

REPOSITORY = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
LADDER = ("-d", "ladder-jnd", "--limit", "1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder; what a test imports is forgotten after it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")  # sentences on one line
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    entry_points._plugins.cache_clear()


def wrote(path: str | Path, text: str, executable: bool = False) -> Path:
    """Write a file, unindented."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip())
    if executable:
        path.chmod(0o755)
    return path


def pmbench(*words: str | Path, code: int = 0) -> tuple[str, str]:
    """Run a command in this process; return its stdout and stderr."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


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


def not_run(stdout: str) -> dict[str, str]:
    """Return why metrics did not run, by name, as the command line says it."""
    lines = [line for line in stdout.splitlines() if line.startswith("not run: ")]
    return dict(line.removeprefix("not run: ").split(": ", 1) for line in lines)


def why(*texts: str) -> str:
    """Fail to choose; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        choose(list(texts))
    return str(caught.value)


def why_not_loaded(text: str) -> str:
    """Choose one metric that then cannot be loaded; return its name and the sentence."""
    (entry,) = choose([text]).metrics
    loaded, failures = load_metrics([entry, registered()["l2"]], CPU, Silent())
    assert [one.metric.name for one in loaded] == ["l2"]  # it fails alone
    assert list(failures) == [entry.name]
    return f"{entry.name}: {failures[entry.name]}"


def pictures(n: int, seed: int, size: int = 8) -> Tensor:
    """Return random 8-bit pictures as metrics see them, (n, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator) / 255


def measured(entry: Metric, x: Tensor, y: Tensor) -> Tensor:
    with torch.inference_mode():
        return entry.load(CPU)(Images(x), Images(y))


# --- plug-ins -------------------------------------------------------------------------------------

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
        wrote(site / package / f"{name}.py", text)
    wrote(site / package / "__init__.py", "")
    lines = [f"{name} = {value}" for name, value in points.items()]
    info = site / f"{package}-1.2.dist-info"
    wrote(info / "METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    wrote(info / "entry_points.txt", "\n".join(["[pmbench.metrics]", *lines, ""]))
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
        "not-its-name": "zoo.good:ONE",
        "a-list": "zoo.good:SEVERAL",
        "plain": "zoo.good:plain",
        "net": "zoo.good:net",
        "a-module": "zoo.decorated",
    }
    modules = {"good": GOOD, "decorated": DECORATED}
    found = plugged(tmp_path, monkeypatch, modules, points)
    assert set(found) == {
        "one-metric", "first", "second", "plain", "net", "mean-color", "power-1", "power-2",
    }  # fmt: skip
    assert registered() == before  # the plug-ins are kept apart
    assert choose(["plain", "l2"]).metrics[0].title == "Largest difference of two pixels."
    x, y = pictures(3, 0), pictures(3, 1)
    expected = (x - y).abs()
    torch.testing.assert_close(measured(found["plain"], x, y), expected.amax(dim=(1, 2, 3)))
    torch.testing.assert_close(measured(found["power-2"], x, y), expected.square().mean((1, 2, 3)))
    # in eval mode: dropout would have changed it
    torch.testing.assert_close(measured(found["net"], x, y), 2 * expected.mean(dim=(1, 2, 3)))


def test_a_plug_in_that_was_imported_by_another_is_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {
        "a": "zoo.decorated:mean_color",
        "b": "zoo.decorated",
        "c": "zoo.decorated:mean_color",
    }
    found = plugged(tmp_path, monkeypatch, {"decorated": DECORATED}, points)
    assert set(found) == {"mean-color", "power-1", "power-2"}


def test_the_tensors_of_a_module_and_the_source_of_a_callable_are_in_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = plugged(tmp_path, monkeypatch, {"good": GOOD}, {"net": "zoo.good:net"})
    distance = found["net"].load(CPU)
    before = digest_of(found["net"], distance)
    assert isinstance(distance, torch.nn.Module)
    with torch.no_grad():
        next(distance.parameters()).add_(1)
    assert digest_of(found["net"], distance) != before
    written = (tmp_path / "zoo" / "good.py").read_bytes()
    only = hashlib.sha256(hashlib.sha256(written).hexdigest().encode()).hexdigest()
    assert found["net"].parameters["source"] == only[:16]


FROM = " (from the package zoo 1.2)"
NAMES = "expected a name without blanks, commas, '=' and '?', other than"
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
    "title": ("zoo.good:TITLE", "brings the metric 'x', whose title is None; expected text"),
    "size": (
        "zoo.good:SIZE",
        "brings the metric 'x', whose min_size is 0; expected a whole number from 1",
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
    found = plugged(tmp_path, monkeypatch, FAULTY_MODULES, points)
    assert registered() == before
    assert set(found) == {*BROKEN, "fine", "third", "zoo:l1"}
    loaded, failures = load_metrics([registered()["l2"], *found.values()], CPU, Silent())
    assert {one.metric.name for one in loaded} == {"l2", "fine", "third"}
    expected = {name: sentence + FROM for name, (_, sentence) in BROKEN.items()}
    expected["zoo:l1"] = "brings a metric called 'l1', which is taken; rename it" + FROM
    parameters = failures.pop("parameters", None)
    assert parameters is None
    assert {k: v.replace(str(tmp_path), "{site}") for k, v in failures.items()} == expected


def test_parameters_that_no_signature_can_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = plugged(tmp_path, monkeypatch, {"good": GOOD}, {"odd": "zoo.good:PARAMETERS"})
    _, failures = load_metrics(list(found.values()), CPU, Silent())
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
    found = plugged(tmp_path / "z", monkeypatch, {"good": GOOD}, {"plain": "zoo.good:plain"})
    assert set(found) == {"plain", "zoo:plain"}  # the packages in the order of their names
    _, failures = load_metrics(list(found.values()), CPU, Silent())
    assert failures == {
        "zoo:plain": "brings a metric called 'plain', which is taken; rename it" + FROM
    }


def test_plug_ins_are_not_imported_for_metrics_of_pmbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "zoo", {"good": GOOD}, {"plain": "zoo.good:plain"})
    monkeypatch.syspath_prepend(tmp_path)
    choose(["l2", "ssim"])
    assert "zoo.good" not in sys.modules
    choose(["plain"])
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
        "(in good.py, line 46)",
        "shape": "expected floating-point numbers of shape (6,), one a pair, got torch.float32 of "
        "shape (6, 3, 64, 64)",
        "nan": f"the distance of p0 and p1 of item {item} is nan; expected a finite number; mend "
        "the metric, or say in its `min_size` where it is not defined",
        "leaves": f"failed on the batch of item {item}: SystemExit: 3 (in good.py, line 55)",
        "lacking": BROKEN["lacking"][1] + FROM,
        "syntax": BROKEN["syntax"][1].replace("{site}", str(site)) + FROM,
    }
    assert "hello from the plug-in" in stderr
    assert "garbage while measuring" in stderr
    assert "hello" not in stdout
    assert "garbage" not in stdout


# --- Python addresses -----------------------------------------------------------------------------

MINE = """
    import torch
    from helpers import mean
    from pmbench.metrics import Metric, metric

    @metric("mean-color", title="difference of mean colours")
    def mean_color(x, y):
        return (x.pixels.mean(dim=(2, 3)) - y.pixels.mean(dim=(2, 3))).abs().amax(dim=1)

    def distance(x, y):
        x.mul_(0)  # must not reach the metrics that come after it
        return mean(y)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, x, y):
            return self.scale * (x - y).square().mean(dim=(1, 2, 3))

    net = Net()
    card = Metric(name="carded", load=lambda device: mean_color, title="as loaded")
    impostor = Metric(name="ssim", load=lambda device: mean_color, title="another")
"""
HELPERS = """
    def mean(x):
        return x.mean(dim=(1, 2, 3))
"""


@pytest.fixture
def mine(here: Path) -> Path:
    wrote("helpers.py", HELPERS)
    return wrote(here / "mine.py", MINE)


def test_an_address_names_a_metric_a_decorated_function_a_callable_or_a_module(mine: Path) -> None:
    x, y = pictures(3, 0), pictures(3, 1)
    wrote("a:b/c.py", "def f(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    addresses = {
        "./mine.py:mean_color": "mean-color",  # the Python name
        "./mine.py:mean-color": "mean-color",  # the registered name
        "./mine.py:card": "carded",
        "./mine.py:distance": "mine:distance",
        "./mine.py:net": "mine:net",
        "./mine.py": "mean-color",  # all that the file registers
        str(mine): "mean-color",
        "./a:b/c.py:f": "c:f",  # a colon in a folder's name
        "mine:distance": "mine:distance",
        "mine:mean_color": "mean-color",
        "mine:mean-color": "mean-color",
        "yours=./mine.py:distance": "yours",
        "yours=./mine.py": "yours",
        "yours=mine:card": "yours",
    }
    found = {}
    for address, name in addresses.items():
        (entry,) = choose([address]).metrics
        assert entry.name == name, address
        found[address] = measured(entry, x, y)
    mean = (x.mean(dim=(2, 3)) - y.mean(dim=(2, 3))).abs().amax(dim=1)
    torch.testing.assert_close(found["./mine.py"], mean)
    torch.testing.assert_close(found["yours=mine:card"], mean)
    torch.testing.assert_close(found["./mine.py:distance"], y.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(found["./mine.py:net"], (x - y).square().mean(dim=(1, 2, 3)))


def test_a_callable_cannot_change_the_images_that_others_see(mine: Path) -> None:
    x, y = pictures(3, 0), pictures(3, 1)
    before = x.clone()
    (entry,) = choose(["./mine.py:distance"]).metrics
    measured(entry, x, y)
    assert torch.equal(x, before)


def test_better_says_which_way(mine: Path) -> None:
    (higher,) = choose(["./mine.py:distance?better=higher"]).metrics
    (lower,) = choose(["mine:distance?better=lower"]).metrics
    assert (higher.name, higher.higher_is_better) == ("mine:distance", True)
    assert (lower.name, lower.higher_is_better) == ("mine:distance", False)
    assert higher.parameters["better"] != lower.parameters["better"]  # so the signatures differ


def test_nobody_has_said_that_a_callable_is_symmetric(mine: Path) -> None:
    (entry,) = choose(["./mine.py:distance"]).metrics
    assert not entry.symmetric


def test_a_callable_can_be_a_loss_and_its_own_parameters_are_frozen(mine: Path) -> None:
    x, y = pictures(2, 0).requires_grad_(), pictures(2, 1)
    (entry,) = choose(["./mine.py:net"]).metrics
    distance = entry.load(CPU)
    assert isinstance(distance, torch.nn.Module)
    assert not any(p.requires_grad for p in distance.parameters())
    distance(Images(x), Images(y)).sum().backward()
    assert x.grad is not None
    # one value by its derivative: the mean over 3·8·8 values of (x - y)²
    torch.testing.assert_close(x.grad, 2 * (x.detach() - y) / 192)


@pytest.mark.parametrize("what", ["distance", "mean_color"])
def test_a_file_that_changed_or_a_module_beside_it_is_another_metric(
    here: Path, tmp_path: Path, what: str
) -> None:
    """Each in a folder of its own, as a file is read once in a process."""
    digests = []
    for i, (own, beside) in enumerate([("", ""), ("", ""), ("\n#\n", ""), ("", "\n#\n")]):
        wrote(tmp_path / f"{i}" / "mine.py", dedent(MINE) + own)
        wrote(tmp_path / f"{i}" / "helpers.py", dedent(HELPERS) + beside)
        (entry,) = choose([f"{tmp_path}/{i}/mine.py:{what}"]).metrics
        digests.append(digest_of(entry, entry.load(CPU)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_file_that_is_edited_is_read_again(mine: Path) -> None:
    """As in a notebook; also twice within a second, and where only a module beside it changed."""
    x, y = pictures(2, 0), pictures(2, 1)
    sources = set()
    for i, factor in enumerate((1, 2, 3)):
        wrote("own.py", f"from besides import g\ndef f(x, y): return {factor} * g(x, y)\n")
        for j, power in enumerate((1, 2)):
            # of another length, since Python itself does not see a second edit within a second
            text = f"def g(x, y): return ((x - y).abs() ** {power}).mean(dim=(1, 2, 3))"
            wrote("besides.py", text + "\n" * (2 * i + j))
            (entry,) = choose(["./own.py:f"]).metrics
            expected = factor * ((x - y).abs() ** power).mean(dim=(1, 2, 3))
            torch.testing.assert_close(measured(entry, x, y), expected)
            sources.add(entry.parameters["source"])
    assert len(sources) == 6


def test_two_versions_of_a_file_have_helpers_of_their_own(tmp_path: Path, here: Path) -> None:
    for version, factor in (("old", 1), ("new", 2)):
        wrote(tmp_path / version / "mine.py", MINE)
        wrote(
            tmp_path / version / "helpers.py", f"def mean(x): return {factor} * x.mean((1, 2, 3))\n"
        )
    names = [f"{v}={tmp_path}/{v}/mine.py:distance" for v in ("old", "new")]
    old, new = choose(names).metrics
    x, y = pictures(2, 0), pictures(2, 1)
    torch.testing.assert_close(2 * measured(old, x, y), measured(new, x, y))


def test_the_digest_of_a_file_does_not_depend_on_what_else_was_asked_for(mine: Path) -> None:
    wrote("other.py", "from helpers import mean\ndef f(x, y): return mean(x - y)\n")
    sources = []
    for addresses in (["./other.py:f"], ["./mine.py:net", "./other.py:f"]):
        python_file._known.clear()
        sources.append(choose(addresses).metrics[-1].parameters["source"])
    assert sources[0] == sources[1]


def test_a_file_may_be_called_like_an_installed_package(here: Path) -> None:
    wrote("torch.py", "def f(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    (entry,) = choose(["./torch.py:f"]).metrics
    assert entry.name == "torch:f"
    assert sys.modules["torch"] is torch


def test_imports_inside_of_functions_still_work(here: Path) -> None:
    wrote("late.py", "def f(x, y):\n    from beside import g\n    return g(x, y)\n")
    wrote("beside.py", "def g(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    (entry,) = choose(["./late.py:f"]).metrics
    assert measured(entry, pictures(2, 0), pictures(2, 1)).shape == (2,)


def test_what_a_file_registers_is_not_registered(mine: Path) -> None:
    before = registered()
    choose(["./mine.py"])
    assert registered() == before


TWO = """
    from pmbench.metrics import metric

    for name in "ab":
        metric(name, title=name)(lambda x, y: x)
"""
ADDRESS_MISTAKES = {
    "./nowhere.py": "./nowhere.py: there is no file ./nowhere.py; expected a Python file",
    "./nowhere.py:f": "./nowhere.py:f: there is no file ./nowhere.py; expected a Python file",
    "./mine.py:distanc": "unknown name in ./mine.py: 'distanc'; did you mean distance?",
    "mine:mean-colour": "unknown name in mine: 'mean-colour'; did you mean mean-color or "
    "mean_color?",
    "./mine.py:Net": "./mine.py:Net is the class Net; expected a metric, or a function or instance "
    "that is called with two batches of images; make an instance of it, and name that",
    "./mine.py:torch": "./mine.py:torch is of type module; expected a metric, or a function of two "
    "batches of images",
    "helpers:mean": "helpers:mean takes the arguments (x); expected a function that is called with "
    "two batches of images, (x, y)",
    "./helpers.py": "./helpers.py registers no metric with @metric(…); name a function in it, such "
    "as ./helpers.py:mean",
    "./empty.py": "./empty.py holds no metric; expected a function of two batches of images, or "
    "one under @metric(…)",
    "./empty.py:f": "./empty.py holds no metric; expected a function of two batches of images, or "
    "one under @metric(…)",
    "./mine.py:impostor": "./mine.py:impostor: its metric is called 'ssim', which is the name of a "
    "registered metric; give it another with NAME=ADDRESS",
    "./mine.py:card?better=higher": "./mine.py:card says itself which way is better; leave "
    "?better=… out",
    "./mine.py:net?better=up": "./mine.py:net: better=up; expected better=higher or better=lower",
    "./mine.py:net?bettr=lower": "unknown option of ./mine.py:net 'bettr'; did you mean better?",
    "./mine.py:net?better": "./mine.py:net?better: expected options as ?key=value&key=value, got "
    "'better'",
    "Mine=./mine.py:net": "'Mine' cannot name a metric; expected lower-case letters, digits and "
    "any of ._+-, the first a letter or a digit",
    "l2=./mine.py:net": "'l2' is the name of a registered metric; choose another name",
    "all=./mine.py:net": "'all' cannot name a metric, since it means something else; choose "
    "another name",
    "human-fresh=./mine.py:net": "'human-fresh' cannot name a metric, since it means something "
    "else; choose another name",
    "mine=l2": "mine=l2: 'l2' is a metric's name already; NAME=ADDRESS is for addresses, such as "
    "./mine.py:name",
    "both=./two.py": "both=./two.py: ./two.py holds several metrics (a, b), which cannot all be "
    "called both; name one of them",
}  # fmt: skip


NO_METRICS = {"./mine.py:Net", "./mine.py:torch", "helpers:mean", "./mine.py:card?better=higher"}


@pytest.mark.parametrize("address", ADDRESS_MISTAKES)
def test_a_mistake_in_an_address_gets_a_sentence(mine: Path, address: str) -> None:
    wrote("empty.py", "import torch\n")
    wrote("two.py", TWO)
    said = why_not_loaded if address in NO_METRICS else why  # what is no metric fails alone
    assert said(address).endswith(ADDRESS_MISTAKES[address])


def test_a_name_that_is_neither_known_nor_an_address_is_answered_with_close_ones() -> None:
    assert why("mine=psnrr").startswith("unknown metric 'psnrr'; did you mean psnr")


def test_two_metrics_of_one_name_are_told_apart_by_the_user(mine: Path) -> None:
    wrote("sub/mine.py", "def distance(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    both = ["./mine.py:distance", "./sub/mine.py:distance"]
    assert why(*both) == (
        "two metrics are called 'mine:distance'; name one of them with NAME=ADDRESS"
    )
    names = [m.name for m in choose([both[0], f"other={both[1]}"]).metrics]
    assert names == ["mine:distance", "other"]
    assert len(choose([both[0], both[0], "l2", "l2"]).metrics) == 2  # each once


@pytest.mark.parametrize(
    ("address", "text", "sentence"),
    [
        (
            "./bad.py:f",
            "import nowhere_at_all\n",
            "bad:f: needs the module nowhere_at_all, which is not installed; install it beside "
            "pmbench",
        ),
        ("./bad.py:f", "x = 1\ndef f(:\n", "bad:f: {here}/bad.py, line 2: invalid syntax; mend it"),
        (
            "bad:f",
            "1 / 0\n",
            "bad:f: cannot be imported: ZeroDivisionError: division by zero ({here}/bad.py, "
            "line 1); mend it",
        ),
        (
            "./bad.py",
            "raise OSError('two\\n  lines')\n",
            "bad.py: cannot be imported: OSError: two lines ({here}/bad.py, line 1); mend it",
        ),
        ("own=./bad.py", "import sys\nsys.exit()\n", "own: cannot be imported: SystemExit: "
         "({here}/bad.py, line 2); mend it"),
        (
            "./bad.py",
            "from pmbench.metrics import metric\nmetric('ssim', title='')(id)\n",
            "bad.py: two metrics are called 'ssim'; choose another name",
        ),
        (
            "nowhere_at_all.deep:f",
            "",
            "nowhere_at_all.deep:f: there is no module nowhere_at_all, installed or in this "
            "folder; install it, or give the path of a file, ./mine.py:name",
        ),
    ],
)  # fmt: skip
def test_code_that_cannot_be_imported_fails_alone(
    here: Path, address: str, text: str, sentence: str
) -> None:
    wrote("bad.py", text)
    assert why_not_loaded(address) == sentence.replace("{here}", str(here))


# --- choosing -------------------------------------------------------------------------------------


def test_all_leaves_out_what_is_not_installed_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.EXTRAS, "nowhere", "nowhere_at_all")
    needs = [
        Metric(n, lambda device: lambda x, y: x.pixels.mean((1, 2, 3)), n, extra="nowhere")
        for n in ("one", "two")
    ]
    few = {entry.name: entry for entry in (registered()["l2"], *needs)}
    monkeypatch.setattr(metrics, "_registry", few)
    lacking = (
        "needs the package nowhere_at_all, which is not installed; "
        "run: pip install 'pmbench[nowhere]'"
    )
    choice = choose(["all"])
    assert [entry.name for entry in choice.metrics] == ["l2"]
    assert choice.left_out == {"one": lacking, "two": lacking}
    assert choose(["one", "all"]).left_out == {"two": lacking}  # what was asked for is tried
    stdout, stderr = pmbench("eval", "-m", "all", *LADDER)
    assert f"left out: one, two: {lacking}\n" in stderr
    assert "not run" not in stdout
    stdout, stderr = pmbench("eval", "-m", "all,one", *LADDER, code=1)
    assert f"left out: two: {lacking}\n" in stderr
    assert not_run(stdout) == {"one": lacking}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["a,b", " c "], ["a", "b", "c"]),
        (["a,,b,"], ["a", "b"]),
        (["cmd:./m --a=1,2 {ref} {dist}"], ["cmd:./m --a=1,2 {ref} {dist}"]),
        (["l2,cmd?jobs=2:./m 1,2", "l1"], ["l2", "cmd?jobs=2:./m 1,2", "l1"]),
        (["l2, mine=cmd:./m 1,cmd:2"], ["l2", "mine=cmd:./m 1,cmd:2"]),
        (["mine=./a.py:f,cmdpp,x"], ["mine=./a.py:f", "cmdpp", "x"]),
        ([",", ""], []),
        (None, []),
    ],
)
def test_commas_separate_names_but_not_the_words_of_a_command(
    values: list[str] | None, names: list[str]
) -> None:
    assert split(values) == names


# --- programs -------------------------------------------------------------------------------------


def program(text: str, name: str = "my_metric") -> Path:
    """Write a shell script; $1 and $2 are the pictures."""
    return wrote(name, "#!/bin/sh\n" + dedent(text).lstrip(), executable=True)


def distance_of(address: str) -> Loaded:
    (loaded,), failures = load_metrics(choose([address]).metrics, CPU, Silent())
    assert not failures
    return loaded


def failure(address: str, n: int = 1) -> str:
    """Let a program fail on some pairs; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        distance_of(address).distance(Images(pictures(n, 0)), Images(pictures(n, 1)))
    return str(caught.value)


def test_a_program_is_given_the_exact_pixels(here: Path) -> None:
    program('cp "$1" a.png; cp "$2" b.png; echo 0.125')
    x, y = pictures(1, 0, size=17), pictures(1, 1, size=17)
    value = distance_of("cmd?jobs=1:./my_metric {ref} {dist}").distance(Images(x), Images(y))
    assert value.tolist() == [0.125]
    for name, pixels in (("a", x), ("b", y)):
        stored = Image.open(f"{name}.png")
        assert (stored.format, stored.mode) == ("PNG", "RGB")
        restored = torch.from_numpy(np.array(stored)).permute(2, 0, 1).float() / 255
        assert torch.equal(restored, pixels[0])


def test_a_real_program_measures_what_the_metric_in_python_does(here: Path) -> None:
    """Mean squared difference on [-1, 1], in a Python of its own, against the registered l2."""
    wrote(
        "l2.py",
        """
        import sys
        import numpy as np
        from PIL import Image
        x, y = (np.asarray(Image.open(path)) / 127.5 for path in sys.argv[1:3])
        print(np.mean((x - y) ** 2))
        """,
    )
    address = f"prog=cmd:{sys.executable} l2.py {{ref}} {{dist}}"
    pmbench("eval", "-m", "l2", "-m", address, *LADDER)
    pmbench("export", "l2", "-o", "l2.csv")
    pmbench("export", "prog", "-o", "prog.csv")
    one, other = (np.genfromtxt(f, delimiter=",", names=True)["d"] for f in ("l2.csv", "prog.csv"))
    assert len(one) == 6
    np.testing.assert_allclose(one, other, rtol=1e-5)  # the registered one is in float32


def test_each_image_is_written_once_and_removed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    program('echo "$1" >> log; echo "$2" >> log; echo 1')
    program('echo "$1" >> log; echo "$2" >> log; echo 1', "other")
    commands = ["./my_metric", "./other"]
    words = [word for c in commands for word in ("-m", f"cmd:{c} {{ref}} {{dist}}")]
    pmbench("eval", *words, "-d", "ladder-2afc", "--limit", "2")
    paths = Path("log").read_text().split()
    items = 12
    paths = paths[-items * 2 * 2 * 2 :]  # pairs, roles, programs; before, each was tried on a few
    from pmbench.datasets.download import pack_path
    from pmbench.datasets.manifest import datasets
    from pmbench.datasets.pack import Pack
    from pmbench.datasets.resize import resize_for
    from pmbench.results.run import Selection

    entry = datasets()["ladder-2afc"]
    pack = Pack.open(pack_path(entry, resize_for(entry, None)))
    images = np.unique(pack.rows[Selection(2).index(pack)])
    assert len(set(paths)) == len(images)  # one file for each, whoever asks
    assert list(folder.iterdir()) == []
    assert command._files == {}


def test_words_are_not_read_by_a_shell(here: Path) -> None:
    program('echo "$3" > said; echo 1')
    distance = distance_of("cmd:./my_metric x{ref} {dist} '$HOME;  {other}'").distance
    distance(Images(pictures(1, 0)), Images(pictures(1, 1)))
    assert Path("said").read_text() == "$HOME;  {other}\n"


def test_pairs_run_at_once_but_no_more_than_jobs(here: Path) -> None:
    # each waits until as many as two have begun
    program("""
        touch "$(basename "$1").here"
        i=0; while [ "$(ls | grep -c here)" -lt 2 ]; do
            sleep 0.05; i=$((i+1)); [ $i -gt 40 ] && exit 9
        done
        echo 1
        """)
    x, y = Images(pictures(2, 0)), Images(pictures(2, 1))
    assert distance_of("cmd?jobs=2:./my_metric {ref} {dist}").distance(x, y).tolist() == [1, 1]
    for path in Path().glob("*.here"):
        path.unlink()
    assert "ended with exit code 9" in failure("cmd?jobs=1:./my_metric {ref} {dist}", n=2)


@pytest.mark.parametrize("text", ["3", " -1.5e-3\n\n", "+.5", "1E3", "7."])
def test_one_number_in_any_form(here: Path, text: str) -> None:
    program(f"printf '{text}'")
    x, y = Images(pictures(1, 0)), Images(pictures(1, 1))
    value = distance_of("cmd:./my_metric {ref} {dist}").distance(x, y)
    assert value.dtype == torch.float64
    assert value.tolist() == [float(text)]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo loading; echo cannot find model.bin >&2; exit 3",
            "ended with exit code 3, saying 'cannot find model.bin'; mend it, and try it on two "
            "pictures by hand",
        ),
        (
            "exit 1",
            "ended with exit code 1, saying nothing on stderr; mend it, and try it on two pictures "
            "by hand",
        ),
        (
            "kill -SEGV $$",
            "was ended by signal 11 (Segmentation fault), saying nothing on stderr; mend it, and "
            "try it on two pictures by hand",
        ),
        ("echo distance: 0.5", "printed 'distance: 0.5'"),
        ("echo 0.5 0.6", "printed '0.5 0.6'"),
        ("echo 0,5", "printed '0,5'"),
        ("echo 1_0", "printed '1_0'"),
        ("echo nan", "printed 'nan'"),
        ("echo 1e999", "printed '1e999'"),
        ("true", "printed nothing"),
        ("printf '%0100d!' 7", f"printed '{'0' * 80}…'"),
        ("yes", "printed more than a megabyte; expected one number; mend it"),
    ],
)
def test_what_a_program_does_wrong_is_said(here: Path, script: str, sentence: str) -> None:
    program(script)
    if sentence.startswith("printed") and "megabyte" not in sentence:
        sentence += (
            "; expected one finite number and nothing else on stdout; let it print remarks to "
            "stderr"
        )
    assert failure("cmd:./my_metric {ref} {dist}") == f"./my_metric {sentence}"


def test_a_program_that_cannot_be_started_is_said(here: Path) -> None:
    wrote("my_metric", "#!/nowhere/at/all\n", executable=True)
    assert failure("cmd:./my_metric {ref} {dist}") == (
        "./my_metric cannot be started: No such file or directory; a script needs a first line "
        "such as #!/bin/sh, and a program must be made for this machine"
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "cmd:nowhere-at-all {ref} {dist}",
            "cmd:nowhere-at-all: there is no program nowhere-at-all; mend the path, or install it; "
            "a program in this folder is ./nowhere-at-all",
        ),
        (
            "mine=cmd:./nowhere {ref} {dist}",
            "mine: there is no program ./nowhere; mend the path, or install it",
        ),
        (
            "cmd:./text.sh {ref} {dist}",
            "cmd:text: ./text.sh is not executable; run: chmod +x ./text.sh",
        ),
    ],
)
def test_a_program_that_is_not_there_fails_alone(here: Path, address: str, sentence: str) -> None:
    wrote("text.sh", "echo 1\n")
    assert why_not_loaded(address) == sentence


COMMAND_MISTAKES = {
    "cmd:./m {ref}": "cmd:./m {ref}: {dist} must stand where the program gets the path of a "
    "picture: cmd:./my_metric {ref} {dist}",
    "cmd:{ref} x": "cmd:{ref} x: {ref} and {dist} must stand where the program gets the path of a "
    "picture: cmd:./my_metric {ref} {dist}",
    "cmd:./m 'a {ref} {dist}": "cmd:./m 'a {ref} {dist}: No closing quotation; close the quotation "
    "mark",
    "cmd?job=2:./m {ref} {dist}": "unknown option of cmd 'job'; did you mean jobs?",
    "cmd?jobs:./m {ref} {dist}": "cmd?jobs:./m {ref} {dist}: expected options as "
    "?key=value&key=value, got 'jobs'",
    "cmd?jobs=1.5:./m {ref} {dist}": "cmd?jobs=1.5: expected a whole number from 1",
    "cmd?jobs=0:./m {ref} {dist}": "cmd?jobs=0: expected a number above 0",
    "cmd?timeout=soon:./m {ref} {dist}": "cmd?timeout=soon: expected a number above 0",
    "cmd?timeout=-1:./m {ref} {dist}": "cmd?timeout=-1: expected a number above 0",
    "cmd?better=up:./m {ref} {dist}": "cmd?better=up: expected lower or higher",
    "cmd?symmetric=1:./m {ref} {dist}": "cmd?symmetric=1: expected no or yes",
}  # fmt: skip


@pytest.mark.parametrize("address", COMMAND_MISTAKES)
def test_a_mistake_in_a_command_gets_a_sentence(address: str) -> None:
    assert why(address) == COMMAND_MISTAKES[address]


def test_options_say_what_the_numbers_mean(here: Path) -> None:
    program("echo 1")
    (entry,) = choose(["cmd:./my_metric {ref} {dist}"]).metrics
    assert entry.name == "cmd:my_metric"
    assert entry.higher_is_better is entry.symmetric is entry.differentiable is False
    (entry,) = choose(["a=cmd?better=higher&symmetric=yes:./my_metric {ref} {dist}"]).metrics
    assert (entry.name, entry.higher_is_better, entry.symmetric) == ("a", True, True)


def test_the_digest_knows_the_command_its_direction_and_its_files_but_not_its_speed(
    here: Path,
) -> None:
    def digest(address: str) -> str:
        loaded = distance_of(f"x={address}")
        return digest_of(loaded.metric, loaded.distance)

    program("echo 1")
    wrote("weights.bin", "1")
    plain = "cmd:./my_metric {ref} {dist} --weights=weights.bin"
    first = digest(plain)
    assert digest(plain) == first
    assert digest(plain.replace("cmd:", "cmd?timeout=5&jobs=1:")) == first
    others = {digest(plain + " -v"), digest(plain.replace("cmd:", "cmd?better=higher:"))}
    wrote("weights.bin", "2")
    others.add(digest(plain))
    program("echo 2")
    others.add(digest(plain))
    assert len(others - {first}) == 4


def test_a_changed_program_is_measured_anew(here: Path) -> None:
    words = ("eval", "-m", "cmd:./my_metric {ref} {dist}", *LADDER)
    program("echo 1")
    pmbench(*words)
    assert "kept as measured before: cmd:my_metric" in pmbench(*words)[1]
    program("echo 2")
    assert "kept" not in pmbench(*words)[1]
    pmbench("export", "cmd:my_metric", "-o", "d.csv")
    assert set(np.genfromtxt("d.csv", delimiter=",", names=True)["d"]) == {2.0}


def alive(pid: int) -> bool:
    """Return whether a process runs (one that nobody has waited for yet does not)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def gone(file: Path) -> bool:
    """Return whether the processes in a file have all ended, waiting for it a while."""
    pids = [int(line) for line in file.read_text().split()]
    assert pids
    for _ in range(100):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.05)
    return False


# a program with a child, neither of which ends by itself
HANGING = "echo $$ >> pids\nsleep 300 &\necho $! >> pids\nwait\n"


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc whether processes run")
def test_a_program_that_hangs_is_killed_with_its_children(here: Path) -> None:
    program(HANGING)
    assert failure("cmd?timeout=0.5:./my_metric {ref} {dist}", n=3) == (
        "./my_metric had not ended after 0.5 seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…"
    )
    assert gone(here / "pids")


def test_programs_that_fail_leave_the_others_alone(here: Path) -> None:
    """One that works among those that do not: it finishes, and the exit code is 1."""
    program("sleep 300", "hangs")
    program("echo nonsense", "garbage")
    program("echo 1", "works")
    program("echo 'out of luck' >&2; exit 2", "raises")
    addresses = ["l2,cmd?timeout=0.3:./hangs {ref} {dist}"] + [
        f"cmd:./{name} {{ref}} {{dist}}" for name in ("garbage", "raises", "works", "absent")
    ]
    words = [word for address in addresses for word in ("-m", address)]
    stdout, _ = pmbench("eval", *words, *LADDER, code=1)
    assert not_run(stdout) == {
        "cmd:hangs": "./hangs had not ended after 0.3 seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…",
        "cmd:garbage": "./garbage printed 'nonsense'; expected one finite number and nothing else "
        "on stdout; let it print remarks to stderr",
        "cmd:raises": "./raises ended with exit code 2, saying 'out of luck'; mend it, and try it "
        "on two pictures by hand",
        "cmd:absent": "there is no program ./absent; mend the path, or install it",
    }
    assert {path.parent.name[:9] for path in Path("results").glob("*/*/run.json")} == {
        "l2", "cmd_works",
    }  # fmt: skip
