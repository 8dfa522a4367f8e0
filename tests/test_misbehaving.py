"""Other people's metrics that do what no metric should: each fails alone, and says why.

What is wrong with addresses, cards and outputs is in test_doors and test_evaluate; here is what
code and programs do beside computing.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from test_doors import pmbench
from test_memory import dataset

from pmbench.metrics.external import command
from pmbench.metrics.external.command import Processes
from pmbench.metrics.images import Images
from pmbench.metrics.isolation import put_back
from pmbench.metrics.loading import load_metrics, numbers_of
from pmbench.metrics.selection import choose
from pmbench.utils.errors import PmbenchError, words_of
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
ITEM = "noise/astronaut-03-below"
LADDER = ("-d", "ladder-jnd", "--limit", "1", "--resamples", "100")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")  # sentences on one line
    monkeypatch.setenv("PMBENCH_OFFLINE", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def wrote(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(dedent(text).lstrip())
    return path


def not_run(stdout: str) -> dict[str, str]:
    lines = [line for line in stdout.splitlines() if line.startswith("not run: ")]
    return dict(line.removeprefix("not run: ").split(": ", 1) for line in lines)


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


def test_whatever_a_metric_raises_or_returns_it_fails_alone(here: Path) -> None:
    wrote("mine.py", MINE)
    sound = ["right", "floods", "learns", "negated"]
    names = [f"{name}=./mine.py:{name}" for name in (*FAIL, *sound)]
    stdout, stderr = pmbench("eval", "-m", ",".join(names), *LADDER, code=1)
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
    first = numbers_of(memory.fill_(1), 2)
    second = numbers_of(memory.fill_(2), 2)
    assert (first.tolist(), second.tolist()) == ([1, 1], [2, 2])


def test_an_error_without_words_or_with_too_many_is_one_short_line() -> None:
    assert words_of(ValueError("a\n  b")) == "ValueError: a b"
    assert words_of(ValueError("x" * 1000)) == "ValueError: " + "x" * 288 + "…"


def test_a_metric_that_changes_its_input_through_numpy_is_caught(here: Path) -> None:
    text = """
        from pmbench.metrics import metric
        @metric("rude", title="writes into its input")
        def rude(x, y):
            value = (x.pixels - y.pixels).abs().mean((1, 2, 3))
            x.pixels.numpy()[:] = 0
            return value
    """
    wrote("mine.py", text)
    words = ("-d", "ladder-jnd", "--limit", "1", "--resamples", "100", "--batch-size", "1")
    pmbench("eval", "-m", "l2", *words, "--results", "alone")
    stdout, _ = pmbench("eval", "-m", "./mine.py:rude,l2", *words, code=1)
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


def test_a_metric_that_depends_on_chance_or_on_its_batch_is_refused(here: Path) -> None:
    wrote("mine.py", DOUBTFUL)
    names = ("by_torch", "by_numpy", "by_python", "by_counting", "normed", "in_training", "seeded")
    words = ",".join(f"{name}=./mine.py:{name}" for name in names)
    stdout, _ = pmbench("eval", "-m", words, *LADDER, code=1)
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


def test_a_program_that_depends_on_chance_is_refused(here: Path) -> None:
    program("od -An -N2 -tu2 /dev/urandom | tr -d ' '")
    stdout, _ = pmbench("eval", "-m", ADDRESS, *LADDER, code=1)
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
        torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(), torch.backends.cudnn.benchmark, np.geterr(), Path.cwd(), sys.argv,
    ]  # fmt: skip


@pytest.mark.parametrize("when", ["", "change()"], ids=["at each call", "at import"])
def test_settings_that_all_share_are_put_back(here: Path, when: str) -> None:
    wrote("leaky.py", LEAKY.replace("IMPORT", when))
    pmbench("eval", "-m", "mmdpp", *LADDER, "--results", "alone")
    before = shared()
    pmbench("eval", "-m", "./leaky.py:far,mmdpp", *LADDER)
    assert shared() == before
    one, other = (Path(f"{folder}/ladder-jnd@first1/mmdpp/distances.h5").read_bytes()
                  for folder in ("results", "alone"))  # fmt: skip
    assert one == other


def test_what_was_changed_is_named() -> None:
    with put_back() as changed:
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
    with put_back() as changed:
        do()
    assert changed == [told]
    assert torch.get_float32_matmul_precision() == "highest"
    with put_back() as changed:
        pass
    assert changed == []


def test_a_metric_that_sets_how_torch_rounds_stops_no_other(here: Path) -> None:
    text = """
        import torch
        def modern(x, y):
            torch.backends.fp32_precision = "tf32"
            return (x - y).abs().mean((1, 2, 3))
    """
    wrote("modern.py", text)
    assert not_run(pmbench("eval", "-m", "./modern.py:modern,l1", *LADDER)[0]) == {}


VANDAL = """
    from pmbench.networks.backbones import LPIPS, Filters, trunk
    from pmbench.metrics import Metric

    def load(device):
        net = trunk("alexnet", LPIPS, Filters("torchvision", 0), "relu", device)

        def far(x, y):
            for features in (*x.derive(net), *y.derive(net)):
                features.fill_(1)
            return (x.pixels - y.pixels).abs().mean((1, 2, 3))

        return far

    card = Metric(name="vandal", load=load, title="writes into what others look at")
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_metric_that_writes_into_shared_features_changes_no_others_numbers(
    here: Path, first: bool
) -> None:
    wrote("vandal.py", VANDAL)
    words = dataset(here / "data", 1)  # of one item: what is derived are views
    pmbench("eval", "-m", "net-alex-random", *words, "--results", "alone")
    names = ["./vandal.py:card", "net-alex-random"]
    pmbench("eval", "-m", ",".join(names if first else names[::-1]), *words)
    assert Path("results/many/vandal").is_dir()
    one, other = (Path(f"{folder}/many/net-alex-random/distances.h5").read_bytes()
                  for folder in ("results", "alone"))  # fmt: skip
    assert one == other


def test_what_a_metric_changes_while_it_is_loaded_is_put_back_and_said(here: Path) -> None:
    text = """
        import torch
        from pmbench.metrics import Metric
        def load(device):
            torch.set_default_dtype(torch.float64)
            return lambda x, y: (x.pixels - y.pixels).abs().mean((1, 2, 3))
        card = Metric(name="mine", load=load, title="changes a default")
    """
    wrote("mine.py", text)
    reporter = Silent()
    load_metrics(choose(["./mine.py:card"]).metrics, CPU, reporter)
    assert torch.get_default_dtype() == torch.float32
    assert reporter.notes == ["mine changed what is not its own: torch's default dtype; put back"]


# --- programs -------------------------------------------------------------------------------------

ADDRESS = "cmd:./my_metric {ref} {dist}"


def program(text: str) -> Path:
    path = wrote("my_metric", "#!/bin/sh\n" + dedent(text).lstrip())
    path.chmod(0o755)
    return path


def value_of(address: str = ADDRESS, n: int = 1) -> list[float]:
    """Measure pairs of random pictures with a program."""
    (loaded,), failures = load_metrics(choose([address]).metrics, CPU, Silent())
    assert not failures
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (n, 3, 8, 8), generator=generator) / 255 for _ in range(2))
    found: list[float] = loaded.distance(Images(x), Images(y)).tolist()
    return found


def refused(address: str = ADDRESS) -> str:
    with pytest.raises(PmbenchError) as caught:
        value_of(address)
    return str(caught.value)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_flood_on_stderr_takes_no_memory_and_does_not_matter(here: Path) -> None:
    program("head -c 200000000 /dev/zero >&2; echo 0.5")
    before = peak_mb()
    assert value_of() == [0.5]
    assert peak_mb() - before < 20


def test_a_flood_on_stdout_is_cut_off_in_bounded_memory(here: Path) -> None:
    program("head -c 4000000000 /dev/zero")
    before, started = peak_mb(), time.monotonic()
    assert "printed more than a megabyte; expected one number; mend it" in refused()
    assert peak_mb() - before < 20
    assert time.monotonic() - started < 20


SLOW = "cmd?timeout=20:./my_metric {ref} {dist}"  # so long a test would not wait


def test_a_program_that_leaves_another_behind_holding_its_pipes_is_not_waited_for(
    here: Path,
) -> None:
    program("sleep 300 & echo $! > pid; echo 0.5")
    started = time.monotonic()
    assert value_of(SLOW) == [0.5]
    assert time.monotonic() - started < 10
    assert gone(int(Path("pid").read_text()))


def test_also_where_it_has_a_session_of_its_own(here: Path) -> None:
    """That one is nobody's child any more, and goes on; a program may have its reasons."""
    program("setsid sleep 3 & echo 0.5")
    started = time.monotonic()
    assert value_of(SLOW) == [0.5]
    assert time.monotonic() - started < 2.5


def test_a_program_that_ignores_sigterm_is_ended(here: Path) -> None:
    program("trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done")
    assert "had not ended after 0.3 seconds" in refused("cmd?timeout=0.3:./my_metric {ref} {dist}")
    assert gone(int(Path("pid").read_text()))


def test_a_program_that_closes_its_pipes_has_the_rest_of_its_time(here: Path) -> None:
    program("echo 0.5; exec >&- 2>&- <&-; sleep 0.2")
    assert value_of() == [0.5]
    program("echo 0.5; exec >&- 2>&-; sleep 300")
    assert "had not ended after 0.3 seconds" in refused("cmd?timeout=0.3:./my_metric {ref} {dist}")


def test_a_program_reads_nothing_from_our_stdin(here: Path) -> None:
    program("cat; echo 0.5")
    assert value_of() == [0.5]


@pytest.mark.parametrize("said", ["0.5 and more", "0.5\\n0.6", "0.5x", "'0.5'", "\\0330.5"])
def test_a_number_with_anything_else_is_none(here: Path, said: str) -> None:
    program(f"printf '%b' \"{said}\"")
    assert "expected one finite number and nothing else on stdout" in refused()


def test_a_program_that_is_deleted_midway_is_said(here: Path) -> None:
    program('rm "$0"; echo 0.5')
    (loaded,), _ = load_metrics(
        choose(["cmd?jobs=1:./my_metric {ref} {dist}"]).metrics, CPU, Silent()
    )
    images = Images(torch.zeros(2, 3, 8, 8))
    with pytest.raises(PmbenchError) as caught:
        loaded.distance(images, images)
    assert str(caught.value) == (
        "./my_metric cannot be started: No such file or directory; it was there; put it back"
    )


def test_pictures_that_a_killed_process_left_are_removed_and_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("echo 0.5")
    temporary = here / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    left, mine, young = (temporary / f"pmbench-pictures-{name}" for name in ("a", "b", "c"))
    for folder, name in ((left, "1.png"), (mine, "notes.txt"), (young, "1.png")):
        folder.mkdir()
        (folder / name).touch()
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.png").touch()
    (temporary / "pmbench-pictures-link").symlink_to(elsewhere)
    for folder in (left, mine):
        os.utime(folder, (0, 0))
    command._remove_left.cache_clear()
    assert value_of() == [0.5]
    assert not left.exists()
    assert (mine / "notes.txt").exists()
    assert (young / "1.png").exists()
    assert (elsewhere / "1.png").exists()


def test_what_is_started_once_all_is_to_end_is_killed(here: Path) -> None:
    program("sleep 300")
    with Processes() as processes:
        processes.kill()
        assert processes.run(["./my_metric"], 20).code == -9


def gone(pid: int) -> bool:
    """Return whether a process has ended, waiting for it a while."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
