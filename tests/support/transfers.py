"""A file to fetch, and what comes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pmbench.utils.errors import PmbenchError
from pmbench.utils.http import RetryPolicy
from pmbench.utils.progress import Silent
from pmbench.utils.verified_download import RemoteFile, fetch

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = DATA[::-1]
DIGEST = hashlib.sha256(DATA).hexdigest()
PATIENCE = RetryPolicy(tries=3, wait=0.01, silence=2)
HURRIED = replace(PATIENCE, window=0.25, slowest=10_000)
REST = "bytes=100000-"


def fetch_data(wanted: RemoteFile, folder: Path, patience: RetryPolicy = PATIENCE) -> bytes:
    return fetch(wanted, folder, Silent(), patience).read_bytes()


def refusal(wanted: RemoteFile, folder: Path, patience: RetryPolicy = PATIENCE) -> str:
    """Fail to fetch, leaving nothing under the final name; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        fetch_data(wanted, folder, patience)
    assert not (folder / wanted.name).exists()
    return str(caught.value)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"data.bin.lock"}
