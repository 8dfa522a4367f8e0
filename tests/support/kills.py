"""Commands that are killed, or whose disk loses its power, again and again; what they must make."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from support.factories import FOLDERS, npy, picture, png, tar, toml
from support.forked import Completed, ForkServer, Running
from support.http_server import Server, drip
from support.power import Disk

# --- what is killed -------------------------------------------------------------------------------


@dataclass
class Scene(ABC):
    """A command in a folder of its own, and how to see what it has made."""

    parent: ForkServer
    folder: Path
    words: tuple[str, ...]
    disk: Disk | None = field(default=None, kw_only=True)  # where ``folder`` is one

    @property
    def made(self) -> Path:
        """The folder that holds all that the command makes."""
        return self.folder / "made"

    @property
    def environment(self) -> dict[str, str]:
        return {"PMBENCH_HOME": str(self.made), "TMPDIR": str(self.made)}

    def start(self, die_at: int | None = None) -> Running:
        self.made.mkdir(exist_ok=True)
        cut = self.disk and self.disk.lost
        return self.parent.start(
            *self.words, cwd=self.folder, die_at=die_at, cut=cut, **self.environment
        )

    def clear(self) -> None:
        shutil.rmtree(self.made, ignore_errors=True)
        if self.disk:
            self.disk.sync()

    def names(self) -> set[str]:
        """Return what lies there but for locks, which stay."""
        files = (path.relative_to(self.made) for path in self.made.rglob("*") if path.is_file())
        return {str(path) for path in files if path.suffix != ".lock" and path.name != ".lock"}

    @abstractmethod
    def content(self) -> dict[str, object]:
        """Return everything that must come out the same."""

    @abstractmethod
    def phase(self) -> str:
        """Return what a killed process was about, from what it left."""

    @abstractmethod
    def reused(self, ended: Completed) -> bool:
        """Return whether a complete run went on with what a killed one had done."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


METRICS = ("l1", "mmdpp", "net-squeeze-random", "ssim")


@dataclass
class Eval(Scene):
    limit: int = 8
    metrics: tuple[str, ...] = METRICS

    def __post_init__(self) -> None:
        self.words = (
            "eval", "-m", ",".join(self.metrics), "-d", "ladder-2afc", "--batch-size", "2",
            "--limit", str(self.limit), "--resamples", "100", "--results", "made",
        )  # fmt: skip

    @property
    def runs(self) -> list[Path]:
        return [self.made / f"ladder-2afc@first{self.limit}" / name for name in self.metrics]

    def content(self) -> dict[str, object]:
        content: dict[str, object] = {}
        for run in self.runs:
            for name in ("distances.h5", "scores.csv", "draws.npz"):
                content[f"{run.name}/{name}"] = digest(run / name)
            info = json.loads((run / "run.json").read_text())
            content[run.name] = (info["signature"], info["bootstrap"], info["batches"])
        board = pd.read_csv(self.made / "leaderboard.csv")
        timeless = board.drop(columns=["items_per_second", "peak_memory_mb"])
        content["leaderboard.csv"] = timeless.to_csv()
        lines = (self.made / "leaderboard.md").read_text().splitlines()
        content["leaderboard.md"] = [line.rsplit("|", 2)[0] for line in lines]
        return content

    def phase(self) -> str:
        journals = [run / "journal.bin" for run in self.runs]
        if all((run / "run.json").exists() for run in self.runs):
            whole = (self.made / "leaderboard.md").exists()
            return "after the tables" if whole else "writing tables"
        if any((run / "distances.h5").exists() for run in self.runs):
            return "saving runs"
        return "measuring" if any(map(has_records, journals)) else "starting"

    def reused(self, ended: Completed) -> bool:
        return "went on where it was left" in ended.stderr or "kept as measured" in ended.stderr


def has_records(journal: Path) -> bool:
    """Return whether a journal holds a head and more."""
    return journal.exists() and bool(journal.read_bytes().partition(b"\n")[2])


def archive(items: int) -> bytes:
    """Return a dataset in BAPPS' layout as tar.gz, of noise, which does not compress."""
    files = {}
    for i in range(items):
        sub = ("cnn", "color")[i % 2]
        for r, role in enumerate(("ref", "p0", "p1")):
            files[f"val/{sub}/{role}/{i:06d}.png"] = png(picture(10 * i + r, 48, 48))
        files[f"val/{sub}/judge/{i:06d}.npy"] = npy(np.float32(i % 6 / 5))
    return tar(files)


def described(folder: Path, items: int, **source: str) -> None:
    """Write the manifest of the dataset "toy"."""
    content = {
        "name": "toy", "title": "Toy", "protocol": "2afc", "votes_per_item": 5, "source": source,
        "folders": FOLDERS, "sub_datasets": {"cnn": (items + 1) // 2, "color": items // 2},
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "toy.toml").write_text(toml(content))


@dataclass
class Pack(Scene):
    items: int = 60
    words: tuple[str, ...] = ("download", "toy", "--manifests", "manifests")

    def __post_init__(self) -> None:
        data = archive(self.items)
        (self.folder / "toy.tar.gz").write_bytes(data)
        checksum = hashlib.sha256(data).hexdigest()
        described(self.folder / "manifests", self.items, path="../toy.tar.gz", sha256=checksum)

    @property
    def pack(self) -> Path:
        return self.made / "packs" / "toy.none.h5"

    def content(self) -> dict[str, object]:
        return {"pack": digest(self.pack)}

    def phase(self) -> str:
        packs = self.pack.parent
        if self.pack.exists():
            return "after the pack"
        if list(packs.glob("*.tmp")):
            return "writing the pack"
        return "packing" if list(packs.glob("*.lock")) else "starting"

    def start(self, die_at: int | None = None) -> Running:
        self._kept = digest(self.pack) if self.pack.exists() else None
        self._inode = self.pack.stat().st_ino if self.pack.exists() else None
        return super().start(die_at)

    def reused(self, ended: Completed) -> bool:
        return self._inode is not None and self.pack.stat().st_ino == self._inode


@dataclass
class Download(Pack):
    server: Server = field(default_factory=lambda: Server(""))
    seconds: float = 0.4  # that the transfer takes

    def __post_init__(self) -> None:
        data = archive(self.items)
        self.url = self.server.add("/toy.tar.gz", data)
        self.drip = drip(len(data) // 40, self.seconds / 40)
        checksum = hashlib.sha256(data).hexdigest()
        described(self.folder / "manifests", self.items, url=self.url, sha256=checksum)

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PMBENCH_OFFLINE": "0"}

    def content(self) -> dict[str, object]:
        (whole,) = self.made.glob("downloads/toy/*/toy.tar.gz")
        return super().content() | {"archive": digest(whole)}

    def phase(self) -> str:
        if self.pack.exists() or list(self.pack.parent.glob("*.tmp")):
            return super().phase()
        if list(self.made.glob("downloads/toy/*/toy.tar.gz")):
            return "packing"
        if list(self.made.glob("downloads/toy/*/*.unverified")):
            return "verifying"
        return "transfer" if list(self.made.glob("downloads/toy/*/*.part")) else "starting"

    def start(self, die_at: int | None = None) -> Running:
        self.server.behaviours[:] = [self.drip] * 4
        self.server.requests.clear()
        return super().start(die_at)

    def reused(self, ended: Completed) -> bool:
        asked = self.server.ranges
        return not asked or asked[0] is not None


@dataclass
class Shown(Scene):
    """What is made of runs: nothing of it can be resumed, and all of it is whole or not there."""

    def content(self) -> dict[str, object]:
        return {name: digest(self.made / name) for name in sorted(self.names())}

    def phase(self) -> str:
        drafts = list(self.made.glob("*.tmp"))
        return "writing" if drafts else "after it" if self.names() else "starting"

    def reused(self, ended: Completed) -> bool:
        return False


def report(parent: ForkServer, folder: Path) -> Shown:
    _measured(parent, folder)
    return Shown(parent, folder, ("report", "-o", "made/report", "--no-gallery"))


def baseline(parent: ForkServer, folder: Path) -> Shown:
    _measured(parent, folder)
    return Shown(parent, folder, ("baseline", "-o", "made/baseline.json"))


def export(parent: ForkServer, folder: Path) -> Shown:
    _measured(parent, folder)
    return Shown(parent, folder, ("export", "l1", "-o", "made/l1.csv"))


def _measured(parent: ForkServer, folder: Path) -> None:
    words = ("eval", "-m", "l1,l2", "-d", "ladder-jnd", "--limit", "2", "--resamples", "100")
    assert parent.run(*words, cwd=folder).code == 0


# --- killing --------------------------------------------------------------------------------------


@dataclass
class Tally:
    """How many kills a command survived, and what came of running it again."""

    kills: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    complete: int = 0
    reused: int = 0

    def __str__(self) -> str:
        where = ", ".join(f"{phase} {n}" for phase, n in self.phases.most_common())
        return (
            f"{self.kills} kills ({where}); {self.complete} reruns to the end, "
            f"{self.reused} of which reused work"
        )


class Survival:
    """One command that is killed again and again, and what must be so when it is let live."""

    def __init__(self, scene: Scene, runs: int = 1) -> None:
        self.scene, self.tally = scene, Tally()
        self.duration = np.inf  # seconds; the shortest, on a busy machine
        for _ in range(runs):
            scene.clear()
            started = time.monotonic()
            ended = scene.start().wait()
            self.duration = min(self.duration, time.monotonic() - started)
            assert ended.code == 0, ended.stderr
        self.expected, self.names = scene.content(), scene.names()
        assert scene.start().wait().code == 0
        assert (scene.content(), scene.names()) == (self.expected, self.names)
        scene.clear()
        self._killed = False

    def kill(self, moment: Callable[[Running], None] | int) -> bool:
        """Start the command, kill it at a moment or before a change; return whether it was killed.

        Where it comes to its end, everything is compared, and it begins anew.
        """
        if isinstance(moment, int):
            ended = self.scene.start(die_at=moment).wait()
        else:
            running = self.scene.start()
            moment(running)
            if running.running():
                running.send(signal.SIGKILL)
            ended = running.wait()
        if ended.code == -signal.SIGKILL:
            if self.scene.disk:
                self.scene.disk.restart()
            self._killed = True
            self.tally.kills += 1
            self.tally.phases[self.scene.phase()] += 1
            return True
        self._see(ended)
        return False

    def kill_before_every_change(self, what: str) -> None:
        """Kill the command before each change of a file, and let it come to its end each time."""
        step = 0
        while self.kill(step):
            self.finish()
            step += 1
        print(f"{what}: each of {step} changes: {self.tally}")  # noqa: T201
        assert self.tally.complete == step > 10
        assert self.tally.reused > 0

    def finish(self) -> None:
        """Let the command come to its end, and compare."""
        if self._killed:
            self._see(self.scene.start().wait())

    def _see(self, ended: Completed) -> None:
        assert ended.code == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        if self.scene.disk:  # what was made is on the disk
            self.scene.disk.cut()
        assert self.scene.content() == self.expected
        assert self.scene.names() == self.names
        if self._killed:
            self.tally.complete += 1
            self.tally.reused += self.scene.reused(ended)
        self._killed = False
        self.scene.clear()
