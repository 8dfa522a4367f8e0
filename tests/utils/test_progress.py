"""Bars of tqdm: on a terminal they are drawn, elsewhere nothing is."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr

import pytest
import torch
from support.http_server import serving

import pmbench
from pmbench.metrics import Metric
from pmbench.networks.manifest import WeightFile, weight_files
from pmbench.utils.progress import TqdmReporter


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Make stderr a terminal; yield a function that returns what was written there since."""
    reader, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    with os.fdopen(reader), os.fdopen(end, "w") as stderr:

        def read() -> str:
            print("end", file=stderr, flush=True)  # there is something to read in any case
            text = ""
            while not text.endswith("end\r\n"):
                text += os.read(reader, 4096).decode()
            return text.removesuffix("end\r\n")

        with redirect_stderr(stderr):
            yield read


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metric]:
    """Return a metric whose weights have to be fetched."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        url = server.add("/toy.pth", b"x" * 3_000_000)
        monkeypatch.setitem(weight_files(), "toy", WeightFile(url=url))
        yield Metric("toy", lambda device: torch.nn.Identity(), title="", weights=("toy",))


def test_weights_are_fetched_under_a_bar_on_a_terminal(toy: Metric) -> None:
    with terminal() as written:
        pmbench.metric(toy)
        text = written()
        assert "fetching toy.pth:   0%" in text
        assert "/3.00M [" in text
        assert text.endswith("\r")  # the bar is gone
        pmbench.metric(toy)
        assert written() == ""  # at hand


def test_no_bar_is_drawn_where_none_is_wanted(toy: Metric) -> None:
    with terminal() as written:
        pmbench.metric(toy, progress=False)
        assert written() == ""


def test_a_log_has_no_bar(toy: Metric, capsys: pytest.CaptureFixture[str]) -> None:
    pmbench.metric(toy)
    assert capsys.readouterr() == ("", "")


def test_a_bar_goes_on_where_a_fetch_is_resumed() -> None:
    with terminal() as written:
        with TqdmReporter().task("fetching", None, "B") as task:
            task.describe("resumed")
            task.expect(4e6, 1e6)
            assert "resumed:  25%" in written()
            task.advance(3e6)
        with TqdmReporter().task("measuring", 3, "items"):
            assert "| 0/3 [00:00<?, ?items/s]" in written()
