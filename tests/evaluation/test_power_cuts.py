"""A power cut at any moment: the same command, run again, comes to the same bits.

The disk is a real file system, which loses what was not synced; see ``support.power``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.forked import ForkServer
from support.http_server import Server, serving
from support.kills import Download, Eval, Pack, Scene, Shown, Survival, baseline, export, report
from support.power import Cut, Disk, mounted_disk

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(params=Cut, ids=lambda cut: cut.name.lower())
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with mounted_disk(tmp_path / "disk", request.param) as disk:
        yield disk


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.mark.parametrize("what", ["eval", pytest.param("report", marks=pytest.mark.slow)])
def test_what_a_command_has_made_outlasts_a_power_cut(
    what: str, disk: Disk, parent: ForkServer
) -> None:
    scene: Scene = (
        report(parent, disk.folder)
        if what == "report"
        else Eval(parent, disk.folder, (), limit=1, metrics=("l1",))
    )
    ended = scene.start().wait()
    assert ended.code == 0, ended.stderr
    made = scene.content()
    disk.cut()
    assert scene.content() == made


@pytest.mark.slow
@pytest.mark.parametrize("what", ["eval", "pack", "download"])
def test_a_power_cut_before_every_single_change_of_a_file(
    what: str, disk: Disk, parent: ForkServer, server: Server
) -> None:
    scene = {
        "eval": lambda: Eval(parent, disk.folder, (), limit=1, metrics=("l1", "ssim"), disk=disk),
        "pack": lambda: Pack(parent, disk.folder, disk=disk),
        "download": lambda: Download(parent, disk.folder, server=server, disk=disk),
    }[what]()
    disk.sync()  # what the command is given
    Survival(scene).kill_before_every_change(what)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "stride"), [(report, 6), (baseline, 1), (export, 1)])
def test_what_is_made_of_runs_is_whole_or_not_there(
    make: Callable[[ForkServer, Path], Shown], stride: int, disk: Disk, parent: ForkServer
) -> None:
    scene = make(parent, disk.folder)
    disk.sync()  # what the command is given
    scene.disk = disk
    survival = Survival(scene)
    step = 0
    while survival.kill(step):
        whole = {name for name in survival.scene.names() if ".tmp" not in name}
        assert whole in (set(), survival.names)
        if whole:
            assert survival.scene.content() == survival.expected
        step += stride
        survival.finish()
    print(f"{make.__name__}: {survival.tally}")  # noqa: T201
    assert survival.tally.kills > 1
