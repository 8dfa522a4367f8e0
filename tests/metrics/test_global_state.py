"""Other people's metrics that do what no metric should: each fails alone, and says why.

What is wrong with addresses and cards is in external/, and with outputs in evaluation/test_loop.py;
here is what code does beside computing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cli import pmbench
from support.factories import write_triplets
from support.user_metrics import ADDRESS, CPU, not_run, write_file, write_program

from pmbench.metrics.global_state import _HAS_KINDS, _device, preserve_global_state
from pmbench.metrics.loading import load_metrics, to_float64
from pmbench.metrics.selection import select_metrics
from pmbench.utils.errors import one_line_of
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("import_folder")

LADDER = ("-d", "ladder-jnd", "--limit", "1", "--resamples", "100")
ITEM = "noise/astronaut-03-below"


# --- what a call does -----------------------------------------------------------------------------

MINE = """
    import asyncio
    import os
    import sys

    import numpy as np
    import torch

    def right(x, y):
        return (x - y).abs().mean((1, 2, 3))

    def deep(x, y):
        return deep(x, y)

    class Mute(Exception):
        def __str__(self):
            raise ValueError("no words")

    def mute(x, y):
        raise Mute

    def stops(x, y):
        raise StopIteration

    def cancelled(x, y):
        raise asyncio.CancelledError("not an Exception")

    def endless(x, y):
        raise ValueError("word " * 100_000)

    def several(x, y):
        return right(x, y), None

    def away(x, y):
        return right(x, y).to("meta")

    def sparse(x, y):
        return right(x, y).to_sparse()

    def imaginary(x, y):
        return right(x, y).to(torch.complex64)

    def floods(x, y):
        for _ in range(1000):
            print("x" * 999)
        return right(x, y)

    def learns(x, y):
        with torch.enable_grad(), torch.inference_mode(False):
            w = torch.ones(1, requires_grad=True)
            return w * right(x.clone(), y.clone())

    def negated(x, y):
        value = torch.complex(right(x, y).double(), -right(x, y).double())
        return value.conj().imag

    one = torch.empty(6, dtype=torch.float64)

    def same_memory(x, y):
        return one[: len(x)].copy_(right(x, y))
"""
FAIL = {
    "deep": f"failed on the batch of item {ITEM}: RecursionError: maximum recursion depth exceeded",
    "mute": f"failed on the batch of item {ITEM}: Mute: it has no message that could be shown (in "
    "mine.py, line 19)",
    "stops": f"failed on the batch of item {ITEM}: StopIteration: (in mine.py, line 22)",
    "cancelled": f"failed on the batch of item {ITEM}: CancelledError: not an Exception (in mine.p",
    "endless": f"failed on the batch of item {ITEM}: ValueError: word word word",
    "several": "expected a tensor of shape (6,), got tuple",
    "away": "expected a tensor with a number for each of 6 pairs, got one of layout torch.strided "
    "on meta that cannot be read (NotImplementedError: ",
    "sparse": "expected a tensor with a number for each of 6 pairs, got one of layout "
    "torch.sparse_coo on cpu that cannot be read (TypeError: ",
    "imaginary": "expected floating-point numbers of shape (6,), one a pair, got torch.complex64 "
    "of shape (6,)",
}  # fmt: skip


def test_whatever_a_metric_raises_or_returns_it_fails_alone(import_folder: Path) -> None:
    write_file("mine.py", MINE)
    sound = ["right", "floods", "learns", "negated"]
    names = [f"{name}=./mine.py:{name}" for name in (*FAIL, *sound)]
    result = pmbench("eval", "-m", ",".join(names), *LADDER, code=1)
    stdout, stderr = result.stdout, result.stderr
    told = not_run(stdout)
    assert set(told) == set(FAIL)
    for name, sentence in FAIL.items():
        assert told[name].startswith(sentence), told[name]
        assert len(told[name]) < 500
    assert "xxx" in stderr
    assert "xxx" not in stdout
    runs = {path.parent.name for path in Path("results").glob("*/*/run.json")}
    assert runs == set(sound)


def test_a_metric_that_writes_its_output_into_the_same_memory_gets_both_pairs_right() -> None:
    memory = torch.empty(2, dtype=torch.float64)
    first = to_float64(memory.fill_(1), 2)
    second = to_float64(memory.fill_(2), 2)
    assert (first.tolist(), second.tolist()) == ([1, 1], [2, 2])


def test_an_error_without_words_or_with_too_many_is_one_short_line() -> None:
    assert one_line_of(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line_of(ValueError("x" * 1000)) == "ValueError: " + "x" * 288 + "…"


def test_a_metric_that_changes_its_input_through_numpy_is_caught(import_folder: Path) -> None:
    text = """
        from pmbench.metrics import metric
        @metric("rude", title="writes into its input")
        def rude(x, y):
            value = (x.pixels - y.pixels).abs().mean((1, 2, 3))
            x.pixels.numpy()[:] = 0
            return value
    """
    write_file("mine.py", text)
    words = ("-d", "ladder-jnd", "--limit", "1", "--resamples", "100", "--batch-size", "1")
    pmbench("eval", "-m", "l2", *words, "--results", "alone")
    stdout = pmbench("eval", "-m", "./mine.py:rude,l2", *words, code=1).stdout
    assert not_run(stdout) == {
        "rude": "changes its input images, which are other metrics' too; let it compute on "
        "x.pixels.clone()"
    }
    one, other = (Path(f"{folder}/ladder-jnd@first1/l2/distances.h5").read_bytes()
                  for folder in ("results", "alone"))  # fmt: skip
    assert one == other


# --- numbers that could not be had again ----------------------------------------------------------

DOUBTFUL = """
    import random
    import numpy as np
    import torch

    def by_torch(x, y):
        return (x - y).abs().mean((1, 2, 3)) * (1 + torch.rand(len(x)))

    def by_numpy(x, y):
        return (x - y).abs().mean((1, 2, 3)) * (1 + np.random.rand())

    def by_python(x, y):
        return (x - y).abs().mean((1, 2, 3)) * (1 + random.random())

    def by_counting(x, y, calls=[0]):
        calls[0] += 1
        return (x - y).abs().mean((1, 2, 3)) * calls[0]

    def seeded(x, y):
        draws = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(1))
        return ((x - y) * draws).abs().mean((1, 2, 3))

    def normed(x, y):
        value = (x - y).abs().mean((1, 2, 3))
        return value / value.sum()

    trained = torch.nn.BatchNorm2d(3)

    def in_training(x, y):
        return (trained(x) - trained(y)).abs().mean((1, 2, 3))
"""


def test_a_metric_that_depends_on_chance_or_on_its_batch_is_refused(import_folder: Path) -> None:
    write_file("mine.py", DOUBTFUL)
    names = ("by_torch", "by_numpy", "by_python", "by_counting", "normed", "in_training", "seeded")
    words = ",".join(f"{name}=./mine.py:{name}" for name in names)
    stdout = pmbench("eval", "-m", words, *LADDER, code=1).stdout
    told = not_run(stdout)
    assert set(told) == set(names) - {"seeded"}
    for name in names[:4]:
        assert told[name].startswith("depends on chance: the distance of p0 and p1 of item ")
        assert told[name].endswith(
            " the second time; let it draw random numbers from a generator that is seeded at each "
            "call"
        )
    for name in ("normed", "in_training"):
        assert told[name].startswith("depends on what else is in the batch: the distance of p0 and")
        assert told[name].endswith(" alone; let it treat each pair by itself")


def test_a_program_that_depends_on_chance_is_refused(import_folder: Path) -> None:
    write_program("od -An -N2 -tu2 /dev/urandom | tr -d ' '")
    stdout = pmbench("eval", "-m", ADDRESS, *LADDER, code=1).stdout
    assert "depends on chance: the distance of p0 and p1" in not_run(stdout)["cmd:my_metric"]


# --- what is shared -------------------------------------------------------------------------------

LEAKY = """
    import os
    import sys
    import numpy as np
    import torch

    def change():
        torch.set_num_threads(3)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.set_grad_enabled(not torch.is_grad_enabled())
        torch.backends.cudnn.benchmark = True
        np.seterr(all="ignore")
        os.chdir("/")
        sys.argv[:] = ["other"]

    def far(x, y):
        value = (x - y).abs().mean((1, 2, 3))
        change()
        return value

    IMPORT
"""


def shared() -> list[object]:
    return [
        torch.get_num_threads(), torch.get_default_dtype(), _device(),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(), torch.backends.cudnn.benchmark, np.geterr(), Path.cwd(), sys.argv,
    ]  # fmt: skip


@pytest.mark.parametrize("when", ["", "change()"], ids=["at each call", "at import"])
def test_settings_that_all_share_are_put_back(import_folder: Path, when: str) -> None:
    write_file("leaky.py", LEAKY.replace("IMPORT", when))
    pmbench("eval", "-m", "mmdpp", *LADDER, "--results", "alone")
    before = shared()
    pmbench("eval", "-m", "./leaky.py:far,mmdpp", *LADDER)
    assert shared() == before
    one, other = (Path(f"{folder}/ladder-jnd@first1/mmdpp/distances.h5").read_bytes()
                  for folder in ("results", "alone"))  # fmt: skip
    assert one == other


def test_what_was_changed_is_named() -> None:
    with preserve_global_state() as changed:
        torch.set_num_threads(torch.get_num_threads() + 1)
        sys.argv = [*sys.argv, "more"]
    assert changed == ["torch's number of threads", "sys.argv"]


def _rounds(kind: object) -> None:
    kind.fp32_precision = "tf32"  # type: ignore[attr-defined]


CHANGES = {
    "rounding everywhere": (lambda: _rounds(torch.backends), "how torch rounds float32"),
    "of cuDNN": (lambda: _rounds(torch.backends.cudnn.conv), "how torch rounds float32"),
    "of oneDNN": (lambda: _rounds(torch.backends.mkldnn.matmul), "how torch rounds float32"),
    "the older way": (
        lambda: torch.set_float32_matmul_precision("medium"), "how torch rounds float32",
    ),
    "small numbers": (
        lambda: torch.set_flush_denormal(True), "whether the smallest numbers are zero",
    ),
    "oneDNN": (
        lambda: setattr(torch.backends.mkldnn, "enabled", False), "whether oneDNN computes",
    ),
    "cuDNN": (lambda: setattr(torch.backends.cudnn, "enabled", False), "the settings of cuDNN"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "torch's autocast"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_setting_of_torch_is_put_back(change: str) -> None:
    do, told = CHANGES[change]
    if change in ("rounding everywhere", "of cuDNN", "of oneDNN") and not _HAS_KINDS:
        pytest.skip("this torch has only the older setting")
    with preserve_global_state() as changed:
        do()
    assert changed == [told]
    assert torch.get_float32_matmul_precision() == "highest"
    with preserve_global_state() as changed:
        pass
    assert changed == []


def test_a_metric_that_sets_how_torch_rounds_stops_no_other(import_folder: Path) -> None:
    text = """
        import torch
        def modern(x, y):
            torch.backends.fp32_precision = "tf32"
            return (x - y).abs().mean((1, 2, 3))
    """
    write_file("modern.py", text)
    assert not_run(pmbench("eval", "-m", "./modern.py:modern,l1", *LADDER).stdout) == {}


VANDAL = """
    from pmbench.networks.backbones import LPIPS, Initialization, backbone
    from pmbench.metrics import Metric

    def load(device):
        net = backbone("alexnet", LPIPS, Initialization("torchvision", 0), "relu", device)

        def far(x, y):
            for features in (*x.derive(net), *y.derive(net)):
                features.fill_(1)
            return (x.pixels - y.pixels).abs().mean((1, 2, 3))

        return far

    card = Metric(name="vandal", load=load, title="writes into what others look at")
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_metric_that_writes_into_shared_features_changes_no_others_numbers(
    import_folder: Path, first: bool
) -> None:
    write_file("vandal.py", VANDAL)
    words = write_triplets(import_folder / "data", 1)  # of one item: what is derived are views
    pmbench("eval", "-m", "net-alex-random", *words, "--results", "alone")
    names = ["./vandal.py:card", "net-alex-random"]
    pmbench("eval", "-m", ",".join(names if first else names[::-1]), *words)
    assert Path("results/many/vandal").is_dir()
    one, other = (Path(f"{folder}/many/net-alex-random/distances.h5").read_bytes()
                  for folder in ("results", "alone"))  # fmt: skip
    assert one == other


def test_what_a_metric_changes_while_it_is_loaded_is_put_back_and_said(import_folder: Path) -> None:
    text = """
        import torch
        from pmbench.metrics import Metric
        def load(device):
            torch.set_default_dtype(torch.float64)
            return lambda x, y: (x.pixels - y.pixels).abs().mean((1, 2, 3))
        card = Metric(name="mine", load=load, title="changes a default")
    """
    write_file("mine.py", text)
    reporter = Silent()
    load_metrics(select_metrics(["./mine.py:card"]).metrics, CPU, reporter)
    assert torch.get_default_dtype() == torch.float32
    assert reporter.notes == ["mine changed what is not its own: torch's default dtype; put back"]
