"""Memory does not grow with the number of items, and where it is not enough the work goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.factories import write_triplets
from support.laws import NOT_AT_HAND

from pmbench.metrics import registered
from pmbench.results.store import find_runs
from pmbench.utils.memory import is_out_of_memory

# of each kind of intermediate one: features of several trunks, sorted projections, cosines, float64
METRICS = "lpips-alex,lpips-vgg,vgg-loss,net-squeeze,mmdpp,window-swd-3,watson-dft,dists,dssim,fsim"


def array_memory_error() -> BaseException:
    """Return what NumPy raises for an array of 64 PiB."""
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 56, np.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        array_memory_error(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 67108864 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 67108864 b."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_what_says_that_memory_is_not_enough(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("out of memory"), OSError(12, "x")]
)
def test_what_says_something_else(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def evaluated(results: Path, weights: Path, metrics: str, *words: str, first: str = "") -> str:
    """Run an evaluation in a process of its own, after ``first``; return what it says on stderr."""
    call = f"{first}\nfrom pmbench.cli import main\nmain()"
    command = [sys.executable, "-c", call, "eval", "-m", metrics, *words]
    environment = {**os.environ, "PMBENCH_WEIGHTS": str(weights), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--results", str(results)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stderr


def peak(results: Path) -> float:
    """Return the largest memory of an evaluation, in MB."""
    return max(float(run.info.peak_memory_mb) for run in find_runs(results))


def distances(results: Path) -> dict[str, Any]:
    return {run.metric: run.distances()[1] for run in find_runs(results)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metrics", "items", "most"),
    [("lpips-vgg", 42, 1500), (METRICS, 42, 2500), ("lpips-alex,l1", 210, 1500)],
)
def test_ten_times_the_items_take_no_more_memory(
    metrics: str, items: int, most: float, tmp_path: Path, shared: Path
) -> None:
    words = write_triplets(tmp_path / "data", 10 * items)
    evaluated(tmp_path / "few", shared / "weights", metrics, *words, "--limit", str(items))
    evaluated(tmp_path / "many", shared / "weights", metrics, *words)
    few, many = peak(tmp_path / "few"), peak(tmp_path / "many")
    assert many <= 1.05 * few, f"{few:.0f} MB for {items} items, {many:.0f} MB for ten times those"
    assert many < most


@pytest.mark.slow
def test_all_metrics_together_take_little_memory(tmp_path: Path, shared: Path) -> None:
    words = write_triplets(tmp_path / "data", 42)
    there = [m for m in registered().values() if m.name not in NOT_AT_HAND]
    names = [m.name for m in there if m.not_installed() is None]
    evaluated(tmp_path / "all", shared / "weights", ",".join(names), *words)
    assert len(find_runs(tmp_path / "all")) == len(names) > 50
    assert (most := peak(tmp_path / "all")) < 2500, f"{most:.0f} MB"


@pytest.mark.slow
def test_the_peak_is_that_of_the_process_and_not_of_its_parent() -> None:
    large = np.ones(1 << 28)  # 2 GB
    call = (
        "import torch; from pmbench.evaluation.provenance import peak_memory_mb as peak; "
        "print(peak(torch.device('cpu')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", call], capture_output=True, text=True, check=True
    ).stdout
    assert large[-1] == 1
    assert 50 < float(told) < 1500


# once an item has been measured, no more than 100 MB are added to what the process has
_LIMITED = """
import resource
from pathlib import Path
import pmbench.evaluation.runner
from pmbench.evaluation.batching import halves
from pmbench.utils.memory import free_memory

measure = pmbench.evaluation.runner.measure

def limited(pack, protocol, batches, metrics_for, device):
    item = batches[0]
    while len(item.items) > 1:
        item, _ = halves(pack, item)
    list(measure(pack, protocol, [item], metrics_for, device))
    free_memory(device)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + 100 * 10**6, resource.RLIM_INFINITY))
    try:
        yield from measure(pack, protocol, batches, metrics_for, device)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

pmbench.evaluation.runner.measure = limited
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its memory")
def test_under_an_address_space_limit_batches_are_halved_and_distances_stay(
    tmp_path: Path, shared: Path
) -> None:
    words, metrics = write_triplets(tmp_path / "data", 50), "lpips-vgg,net-vgg,lpips-alex,ssim,l1"
    free, limited = tmp_path / "free", tmp_path / "limited"
    said = evaluated(free, shared / "weights", metrics, *words)
    assert "does not fit" not in said
    said = evaluated(limited, shared / "weights", metrics, *words, first=_LIMITED)
    assert "a batch of 21 items does not fit into memory for lpips-vgg, net-vgg; going on" in said
    whole, halved = distances(free), distances(limited)
    assert list(halved) == list(whole)
    assert len(whole) == 5
    for name, values in halved.items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-5, err_msg=name)
