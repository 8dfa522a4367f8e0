"""A user's metrics: files that a test writes, and what is said where they fail."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import Tensor

from pmbench.metrics import Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metrics
from pmbench.metrics.selection import select_metrics
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
LADDER = ("-d", "ladder-jnd", "--limit", "1")


def write_file(path: str | Path, text: str, executable: bool = False) -> Path:
    """Write a file, unindented."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip())
    if executable:
        path.chmod(0o755)
    return path


def not_run(stdout: str) -> dict[str, str]:
    """Return why metrics did not run, by name, as the command line says it."""
    lines = [line for line in stdout.splitlines() if line.startswith("not run: ")]
    return dict(line.removeprefix("not run: ").split(": ", 1) for line in lines)


def selection_error(*texts: str) -> str:
    """Fail to choose; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        select_metrics(list(texts))
    return str(caught.value)


def loading_error(text: str) -> str:
    """Choose one metric that then cannot be loaded; return its name and the sentence."""
    (entry,) = select_metrics([text]).metrics
    loaded, failures = load_metrics([entry, registered()["l2"]], CPU, Silent())
    assert [one.metric.name for one in loaded] == ["l2"]  # it fails alone
    assert list(failures) == [entry.name]
    return f"{entry.name}: {failures[entry.name]}"


def pictures(n: int, seed: int, size: int = 8) -> Tensor:
    """Return random 8-bit images as metrics see them, (n, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator) / 255


def measure(entry: Metric, x: Tensor, y: Tensor) -> Tensor:
    with torch.inference_mode():
        return entry.load(CPU)(Images(x), Images(y))


def write_program(text: str, name: str = "my_metric") -> Path:
    """Write a shell script; $1 and $2 are the images."""
    return write_file(name, "#!/bin/sh\n" + dedent(text).lstrip(), executable=True)


ADDRESS = "cmd:./my_metric {ref} {dist}"
