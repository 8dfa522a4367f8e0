"""What every metric is, and what some of them give, as it was when the table was written.

The table holds the signature of every registered metric that can be loaded here, and distances on
items of the built-in ladder. A signature that moves makes every kept run stale; a distance that
moves by more than a millionth is another computation. Only what users import is imported.
"""

from __future__ import annotations

import functools
import json
from importlib.metadata import packages_distributions, version
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import pmbench
from pmbench.metrics import EXTRAS, registered
from pmbench.networks.manifest import weight_files

TESTS = next(folder for folder in Path(__file__).resolve().parents if folder.name == "tests")
TABLE = json.loads((TESTS / "golden" / "signatures.json").read_text())
LADDER = Path(pmbench.__file__).parent / "data" / "ladder-2afc.h5"
installed = functools.cache(packages_distributions)  # a second each time
NOT_AT_HAND = {"dreamsim", "pieapp", "watson-vgg"}  # their weights, or their package


def test_the_table_names_every_metric_there_is() -> None:
    assert set(TABLE["signatures"]) | NOT_AT_HAND == set(registered())


@pytest.mark.parametrize("name", sorted(TABLE["signatures"]))
def test_a_metric_has_the_signature_it_had(name: str, request: pytest.FixtureRequest) -> None:
    metric = registered()[name]
    if any(weight_files()[file].url for file in metric.weights):
        request.getfixturevalue("reference_weights")
    if metric.extra:  # the package's version is a part of the signature
        (package,) = set(installed()[EXTRAS[metric.extra]])
        if (here := version(package)) != (then := TABLE["packages"][package]):
            pytest.skip(f"the table is of {package} {then}, and {here} is installed")
    assert pmbench.metric(metric).signature == TABLE["signatures"][name]


@pytest.mark.parametrize("name", sorted(TABLE["distances"]))
def test_a_metric_gives_the_distances_it_gave(name: str, reference_weights: Path) -> None:
    np.testing.assert_allclose(distances(name), TABLE["distances"][name], rtol=1e-6, atol=0)


def distances(name: str) -> list[list[float]]:
    """Return a metric's distances of ref to p0 and to p1, of an item of each sub-dataset."""
    with h5py.File(LADDER) as file:
        rows = file["items/rows"][:: TABLE["every"]]  # all of one size
        pixels = file["images/64x64"][:][rows]
    ref, p0, p1 = torch.from_numpy(pixels).permute(1, 0, 4, 2, 3).float() / 255
    metric = pmbench.metric(name)
    with torch.inference_mode():
        return torch.stack([metric(ref, p0), metric(ref, p1)], 1).double().tolist()
