"""Python addresses: a metric in a user's file."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from support.user_metrics import CPU, loading_error, measure, pictures, selection_error, write_file

from pmbench.metrics import registered
from pmbench.metrics.external import python_file
from pmbench.metrics.images import Images
from pmbench.metrics.loading import metric_digest
from pmbench.metrics.selection import select_metrics

pytestmark = pytest.mark.usefixtures("import_folder")

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
def mine(import_folder: Path) -> Path:
    write_file("helpers.py", HELPERS)
    return write_file(import_folder / "mine.py", MINE)


def test_an_address_names_a_metric_a_decorated_function_a_callable_or_a_module(mine: Path) -> None:
    x, y = pictures(3, 0), pictures(3, 1)
    write_file("a:b/c.py", "def f(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
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
        (entry,) = select_metrics([address]).metrics
        assert entry.name == name, address
        found[address] = measure(entry, x, y)
    mean = (x.mean(dim=(2, 3)) - y.mean(dim=(2, 3))).abs().amax(dim=1)
    torch.testing.assert_close(found["./mine.py"], mean)
    torch.testing.assert_close(found["yours=mine:card"], mean)
    torch.testing.assert_close(found["./mine.py:distance"], y.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(found["./mine.py:net"], (x - y).square().mean(dim=(1, 2, 3)))


def test_a_callable_cannot_change_the_images_that_others_see(mine: Path) -> None:
    x, y = pictures(3, 0), pictures(3, 1)
    before = x.clone()
    (entry,) = select_metrics(["./mine.py:distance"]).metrics
    measure(entry, x, y)
    assert torch.equal(x, before)


def test_a_tolerance_may_be_stated(mine: Path) -> None:
    (usual,) = select_metrics(["./mine.py:distance"]).metrics
    (stated,) = select_metrics(["./mine.py:distance?better=lower&tolerance=3e-4"]).metrics
    (card,) = select_metrics(["./mine.py:mean-color?tolerance=0"]).metrics
    assert (usual.tolerance, stated.tolerance, card.tolerance) == (1e-5, 3e-4, 0)
    assert usual.parameters == stated.parameters  # it changes no number, and no signature
    (program,) = select_metrics(["cmd?tolerance=1e-3:python3 x.py {ref} {dist}"]).metrics
    assert program.tolerance == 1e-3


def test_better_says_which_way(mine: Path) -> None:
    (higher,) = select_metrics(["./mine.py:distance?better=higher"]).metrics
    (lower,) = select_metrics(["mine:distance?better=lower"]).metrics
    assert (higher.name, higher.higher_is_better) == ("mine:distance", True)
    assert (lower.name, lower.higher_is_better) == ("mine:distance", False)
    assert higher.parameters["better"] != lower.parameters["better"]  # so the signatures differ


def test_nobody_has_said_that_a_callable_is_symmetric(mine: Path) -> None:
    (entry,) = select_metrics(["./mine.py:distance"]).metrics
    assert not entry.symmetric


def test_a_callable_can_be_a_loss_and_its_own_parameters_are_frozen(mine: Path) -> None:
    x, y = pictures(2, 0).requires_grad_(), pictures(2, 1)
    (entry,) = select_metrics(["./mine.py:net"]).metrics
    distance = entry.load(CPU)
    assert isinstance(distance, torch.nn.Module)
    assert not any(p.requires_grad for p in distance.parameters())
    distance(Images(x), Images(y)).sum().backward()
    assert x.grad is not None
    # one value by its derivative: the mean over 3·8·8 values of (x - y)²
    torch.testing.assert_close(x.grad, 2 * (x.detach() - y) / 192)


@pytest.mark.parametrize("what", ["distance", "mean_color"])
def test_a_file_that_changed_or_a_module_beside_it_is_another_metric(
    import_folder: Path, tmp_path: Path, what: str
) -> None:
    """Each in a folder of its own, as a file is read once in a process."""
    digests = []
    for i, (own, beside) in enumerate([("", ""), ("", ""), ("\n#\n", ""), ("", "\n#\n")]):
        write_file(tmp_path / f"{i}" / "mine.py", dedent(MINE) + own)
        write_file(tmp_path / f"{i}" / "helpers.py", dedent(HELPERS) + beside)
        (entry,) = select_metrics([f"{tmp_path}/{i}/mine.py:{what}"]).metrics
        digests.append(metric_digest(entry, entry.load(CPU)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_file_that_is_edited_is_read_again(mine: Path) -> None:
    """As in a notebook; also twice within a second, and where only a module beside it changed."""
    x, y = pictures(2, 0), pictures(2, 1)
    sources = set()
    for i, factor in enumerate((1, 2, 3)):
        write_file("own.py", f"from besides import g\ndef f(x, y): return {factor} * g(x, y)\n")
        for j, power in enumerate((1, 2)):
            # of another length, since Python itself does not see a second edit within a second
            text = f"def g(x, y): return ((x - y).abs() ** {power}).mean(dim=(1, 2, 3))"
            write_file("besides.py", text + "\n" * (2 * i + j))
            (entry,) = select_metrics(["./own.py:f"]).metrics
            expected = factor * ((x - y).abs() ** power).mean(dim=(1, 2, 3))
            torch.testing.assert_close(measure(entry, x, y), expected)
            sources.add(entry.parameters["source"])
    assert len(sources) == 6


def test_two_versions_of_a_file_have_helpers_of_their_own(
    tmp_path: Path, import_folder: Path
) -> None:
    for version, factor in (("old", 1), ("new", 2)):
        write_file(tmp_path / version / "mine.py", MINE)
        write_file(
            tmp_path / version / "helpers.py", f"def mean(x): return {factor} * x.mean((1, 2, 3))\n"
        )
    names = [f"{v}={tmp_path}/{v}/mine.py:distance" for v in ("old", "new")]
    old, new = select_metrics(names).metrics
    x, y = pictures(2, 0), pictures(2, 1)
    torch.testing.assert_close(2 * measure(old, x, y), measure(new, x, y))


def test_the_digest_of_a_file_does_not_depend_on_what_else_was_asked_for(mine: Path) -> None:
    write_file("other.py", "from helpers import mean\ndef f(x, y): return mean(x - y)\n")
    sources = []
    for addresses in (["./other.py:f"], ["./mine.py:net", "./other.py:f"]):
        python_file._known.clear()
        sources.append(select_metrics(addresses).metrics[-1].parameters["source"])
    assert sources[0] == sources[1]


def test_a_file_may_be_called_like_an_installed_package(import_folder: Path) -> None:
    write_file("torch.py", "def f(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    (entry,) = select_metrics(["./torch.py:f"]).metrics
    assert entry.name == "torch:f"
    assert sys.modules["torch"] is torch


def test_imports_inside_of_functions_still_work(import_folder: Path) -> None:
    write_file("late.py", "def f(x, y):\n    from beside import g\n    return g(x, y)\n")
    write_file("beside.py", "def g(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    (entry,) = select_metrics(["./late.py:f"]).metrics
    assert measure(entry, pictures(2, 0), pictures(2, 1)).shape == (2,)


def test_what_a_file_registers_is_not_registered(mine: Path) -> None:
    before = registered()
    select_metrics(["./mine.py"])
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
    "./mine.py:net?tolerance=some": "./mine.py:net: tolerance=some; expected a relative change of "
    "a distance that another machine may cause, from 0 to below 1, such as tolerance=1e-4",
    "./mine.py:net?tolerance=-1": "./mine.py:net: tolerance=-1; expected a relative change of a "
    "distance that another machine may cause, from 0 to below 1, such as tolerance=1e-4",
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
    write_file("empty.py", "import torch\n")
    write_file("two.py", TWO)
    said = (
        loading_error if address in NO_METRICS else selection_error
    )  # what is no metric fails alone
    assert said(address).endswith(ADDRESS_MISTAKES[address])


def test_a_name_that_is_neither_known_nor_an_address_is_answered_with_close_ones() -> None:
    assert selection_error("mine=psnrr").startswith("unknown metric 'psnrr'; did you mean psnr")


def test_two_metrics_of_one_name_are_told_apart_by_the_user(mine: Path) -> None:
    write_file("sub/mine.py", "def distance(x, y): return (x - y).abs().mean(dim=(1, 2, 3))\n")
    both = ["./mine.py:distance", "./sub/mine.py:distance"]
    assert selection_error(*both) == (
        "two metrics are called 'mine:distance'; name one of them with NAME=ADDRESS"
    )
    names = [m.name for m in select_metrics([both[0], f"other={both[1]}"]).metrics]
    assert names == ["mine:distance", "other"]
    assert len(select_metrics([both[0], both[0], "l2", "l2"]).metrics) == 2  # each once


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
    import_folder: Path, address: str, text: str, sentence: str
) -> None:
    write_file("bad.py", text)
    assert loading_error(address) == sentence.replace("{here}", str(import_folder))
