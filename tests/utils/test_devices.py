"""Devices: which are chosen, and what is said of those that are not there."""

from __future__ import annotations

import pytest
import torch
from support.evaluations import CPU

from pmbench.utils.devices import choose_device
from pmbench.utils.errors import PmbenchError


def test_devices_that_are_not_there_are_refused_with_a_sentence() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(PmbenchError, match="unknown device 'gpu'; expected auto, cpu, cuda"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(PmbenchError, match="torch finds no cuda on this machine"):
            choose_device("cuda")
