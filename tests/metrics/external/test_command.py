"""Programs as metrics: what they are given, what they answer, and how they end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.cli import pmbench
from support.user_metrics import (
    CPU,
    LADDER,
    loading_error,
    not_run,
    pictures,
    selection_error,
    write_file,
    write_program,
)

from pmbench.metrics.external import command
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, load_metrics, metric_digest
from pmbench.metrics.selection import select_metrics
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("import_folder")


def distance_of(address: str) -> LoadedMetric:
    (loaded,), failures = load_metrics(select_metrics([address]).metrics, CPU, Silent())
    assert not failures
    return loaded


def failure(address: str, n: int = 1) -> str:
    """Let a program fail on some pairs; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        distance_of(address).distance(Images(pictures(n, 0)), Images(pictures(n, 1)))
    return str(caught.value)


def test_a_program_is_given_the_exact_pixels(import_folder: Path) -> None:
    write_program('cp "$1" a.png; cp "$2" b.png; echo 0.125')
    x, y = pictures(1, 0, size=17), pictures(1, 1, size=17)
    value = distance_of("cmd?jobs=1:./my_metric {ref} {dist}").distance(Images(x), Images(y))
    assert value.tolist() == [0.125]
    for name, pixels in (("a", x), ("b", y)):
        stored = Image.open(f"{name}.png")
        assert (stored.format, stored.mode) == ("PNG", "RGB")
        restored = torch.from_numpy(np.array(stored)).permute(2, 0, 1).float() / 255
        assert torch.equal(restored, pixels[0])


def test_a_real_program_measures_what_the_metric_in_python_does(import_folder: Path) -> None:
    """Mean squared difference on [-1, 1], in a Python of its own, against the registered l2."""
    write_file(
        "l2.py",
        """
        import sys
        import numpy as np
        from PIL import Image
        x, y = (np.asarray(Image.open(path)) / 127.5 for path in sys.argv[1:3])
        print(np.mean((x - y) ** 2))
        """,
    )
    address = f"prog=cmd:{sys.executable} l2.py {{ref}} {{dist}}"
    pmbench("eval", "-m", "l2", "-m", address, *LADDER)
    pmbench("export", "l2", "-o", "l2.csv")
    pmbench("export", "prog", "-o", "prog.csv")
    one, other = (np.genfromtxt(f, delimiter=",", names=True)["d"] for f in ("l2.csv", "prog.csv"))
    assert len(one) == 6
    np.testing.assert_allclose(one, other, rtol=1e-5)  # the registered one is in float32


def test_each_image_is_written_once_and_removed(
    import_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = import_folder / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    write_program('echo "$1" >> log; echo "$2" >> log; echo 1')
    write_program('echo "$1" >> log; echo "$2" >> log; echo 1', "other")
    commands = ["./my_metric", "./other"]
    words = [word for c in commands for word in ("-m", f"cmd:{c} {{ref}} {{dist}}")]
    pmbench("eval", *words, "-d", "ladder-2afc", "--limit", "2")
    paths = Path("log").read_text().split()
    items = 12
    paths = paths[-items * 2 * 2 * 2 :]  # pairs, roles, programs; before, each was tried on a few
    from pmbench.datasets.download import pack_path
    from pmbench.datasets.manifest import datasets
    from pmbench.datasets.pack import Pack
    from pmbench.datasets.resize import resize_for
    from pmbench.results.run import Subset

    entry = datasets()["ladder-2afc"]
    pack = Pack.open(pack_path(entry, resize_for(entry, None)))
    images = np.unique(pack.rows[Subset(2).index(pack)])
    assert len(set(paths)) == len(images)  # one file for each, whoever asks
    assert list(folder.iterdir()) == []
    assert command._files == {}


def test_words_are_not_read_by_a_shell(import_folder: Path) -> None:
    write_program('echo "$3" > said; echo 1')
    distance = distance_of("cmd:./my_metric x{ref} {dist} '$HOME;  {other}'").distance
    distance(Images(pictures(1, 0)), Images(pictures(1, 1)))
    assert Path("said").read_text() == "$HOME;  {other}\n"


def test_pairs_run_at_once_but_no_more_than_jobs(import_folder: Path) -> None:
    # each waits until as many as two have begun
    write_program("""
        touch "$(basename "$1").here"
        i=0; while [ "$(ls | grep -c here)" -lt 2 ]; do
            sleep 0.05; i=$((i+1)); [ $i -gt 40 ] && exit 9
        done
        echo 1
        """)
    x, y = Images(pictures(2, 0)), Images(pictures(2, 1))
    assert distance_of("cmd?jobs=2:./my_metric {ref} {dist}").distance(x, y).tolist() == [1, 1]
    for path in Path().glob("*.here"):
        path.unlink()
    assert "ended with exit code 9" in failure("cmd?jobs=1:./my_metric {ref} {dist}", n=2)


@pytest.mark.parametrize("text", ["3", " -1.5e-3\n\n", "+.5", "1E3", "7."])
def test_one_number_in_any_form(import_folder: Path, text: str) -> None:
    write_program(f"printf '{text}'")
    x, y = Images(pictures(1, 0)), Images(pictures(1, 1))
    value = distance_of("cmd:./my_metric {ref} {dist}").distance(x, y)
    assert value.dtype == torch.float64
    assert value.tolist() == [float(text)]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo loading; echo cannot find model.bin >&2; exit 3",
         "ended with exit code 3, saying 'cannot find model.bin'; mend it, and try it on two "
         "images by hand"),
        ("exit 1",
         "ended with exit code 1, saying nothing on stderr; mend it, and try it on two images "
         "by hand"),
        ("kill -SEGV $$",
         "was ended by signal 11 (Segmentation fault), saying nothing on stderr; mend it, and "
         "try it on two images by hand"),
        ("echo distance: 0.5", "printed 'distance: 0.5'"),
        ("echo 0.5 0.6", "printed '0.5 0.6'"),
        ("echo 0,5", "printed '0,5'"),
        ("echo 1_0", "printed '1_0'"),
        ("echo nan", "printed 'nan'"),
        ("echo 1e999", "printed '1e999'"),
        ("true", "printed nothing"),
        ("printf '%0100d!' 7", f"printed '{'0' * 80}…'"),
        ("yes", "printed more than a megabyte; expected one number; mend it"),
    ],
)  # fmt: skip
def test_what_a_program_does_wrong_is_said(import_folder: Path, script: str, sentence: str) -> None:
    write_program(script)
    if sentence.startswith("printed") and "megabyte" not in sentence:
        sentence += (
            "; expected one finite number and nothing else on stdout; let it print remarks to "
            "stderr"
        )
    assert failure("cmd:./my_metric {ref} {dist}") == f"./my_metric {sentence}"


def test_a_program_that_cannot_be_started_is_said(import_folder: Path) -> None:
    write_file("my_metric", "#!/nowhere/at/all\n", executable=True)
    assert failure("cmd:./my_metric {ref} {dist}") == (
        "./my_metric cannot be started: No such file or directory; a script needs a first line "
        "such as #!/bin/sh, and a program must be made for this machine"
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("cmd:nowhere-at-all {ref} {dist}",
         "cmd:nowhere-at-all: there is no program nowhere-at-all; mend the path, or install it; "
         "a program in this folder is ./nowhere-at-all"),
        ("mine=cmd:./nowhere {ref} {dist}",
         "mine: there is no program ./nowhere; mend the path, or install it"),
        ("cmd:./text.sh {ref} {dist}",
         "cmd:text: ./text.sh is not executable; run: chmod +x ./text.sh"),
    ],
)  # fmt: skip
def test_a_program_that_is_not_there_fails_alone(
    import_folder: Path, address: str, sentence: str
) -> None:
    write_file("text.sh", "echo 1\n")
    assert loading_error(address) == sentence


COMMAND_MISTAKES = {
    "cmd:./m {ref}": "cmd:./m {ref}: {dist} must stand where the program gets the path of "
    "an image: cmd:./my_metric {ref} {dist}",
    "cmd:{ref} x": "cmd:{ref} x: {ref} and {dist} must stand where the program gets the path of "
    "an image: cmd:./my_metric {ref} {dist}",
    "cmd:./m 'a {ref} {dist}": "cmd:./m 'a {ref} {dist}: No closing quotation; close the quotation "
    "mark",
    "cmd?job=2:./m {ref} {dist}": "unknown option of cmd 'job'; did you mean jobs?",
    "cmd?jobs:./m {ref} {dist}": "cmd?jobs:./m {ref} {dist}: expected options as "
    "?key=value&key=value, got 'jobs'",
    "cmd?jobs=1.5:./m {ref} {dist}": "cmd?jobs=1.5: expected a whole number from 1",
    "cmd?jobs=0:./m {ref} {dist}": "cmd?jobs=0: expected a number above 0",
    "cmd?timeout=soon:./m {ref} {dist}": "cmd?timeout=soon: expected a number above 0",
    "cmd?timeout=-1:./m {ref} {dist}": "cmd?timeout=-1: expected a number above 0",
    "cmd?better=up:./m {ref} {dist}": "cmd?better=up: expected lower or higher",
    "cmd?symmetric=1:./m {ref} {dist}": "cmd?symmetric=1: expected no or yes",
}  # fmt: skip


@pytest.mark.parametrize("address", COMMAND_MISTAKES)
def test_a_mistake_in_a_command_gets_a_sentence(address: str) -> None:
    assert selection_error(address) == COMMAND_MISTAKES[address]


def test_options_say_what_the_numbers_mean(import_folder: Path) -> None:
    write_program("echo 1")
    (entry,) = select_metrics(["cmd:./my_metric {ref} {dist}"]).metrics
    assert entry.name == "cmd:my_metric"
    assert entry.higher_is_better is entry.symmetric is entry.differentiable is False
    (entry,) = select_metrics(
        ["a=cmd?better=higher&symmetric=yes:./my_metric {ref} {dist}"]
    ).metrics
    assert (entry.name, entry.higher_is_better, entry.symmetric) == ("a", True, True)


def test_the_digest_knows_the_command_its_direction_and_its_files_but_not_its_speed(
    import_folder: Path,
) -> None:
    def digest(address: str) -> str:
        loaded = distance_of(f"x={address}")
        return metric_digest(loaded.metric, loaded.distance)

    write_program("echo 1")
    write_file("weights.bin", "1")
    plain = "cmd:./my_metric {ref} {dist} --weights=weights.bin"
    first = digest(plain)
    assert digest(plain) == first
    assert digest(plain.replace("cmd:", "cmd?timeout=5&jobs=1:")) == first
    others = {digest(plain + " -v"), digest(plain.replace("cmd:", "cmd?better=higher:"))}
    write_file("weights.bin", "2")
    others.add(digest(plain))
    write_program("echo 2")
    others.add(digest(plain))
    assert len(others - {first}) == 4


def test_a_changed_program_is_measured_anew(import_folder: Path) -> None:
    words = ("eval", "-m", "cmd:./my_metric {ref} {dist}", *LADDER)
    write_program("echo 1")
    pmbench(*words)
    assert "kept as measured before: cmd:my_metric" in pmbench(*words).stderr
    write_program("echo 2")
    assert "kept" not in pmbench(*words).stderr
    pmbench("export", "cmd:my_metric", "-o", "d.csv")
    assert set(np.genfromtxt("d.csv", delimiter=",", names=True)["d"]) == {2.0}


def alive(pid: int) -> bool:
    """Return whether a process runs (one that nobody has waited for yet does not)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def have_ended(file: Path) -> bool:
    """Return whether the processes in a file have all ended, waiting for it a while."""
    pids = [int(line) for line in file.read_text().split()]
    assert pids
    for _ in range(100):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.05)
    return False


# a program with a child, neither of which ends by itself
HANGING = "echo $$ >> pids\nsleep 300 &\necho $! >> pids\nwait\n"


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc whether processes run")
def test_a_program_that_hangs_is_killed_with_its_children(import_folder: Path) -> None:
    write_program(HANGING)
    assert failure("cmd?timeout=0.5:./my_metric {ref} {dist}", n=3) == (
        "./my_metric had not ended after 0.5 seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…"
    )
    assert have_ended(import_folder / "pids")


def test_programs_that_fail_leave_the_others_alone(import_folder: Path) -> None:
    """One that works among those that do not: it finishes, and the exit code is 1."""
    write_program("sleep 300", "hangs")
    write_program("echo nonsense", "garbage")
    write_program("echo 1", "works")
    write_program("echo 'out of luck' >&2; exit 2", "raises")
    addresses = ["l2,cmd?timeout=0.3:./hangs {ref} {dist}"] + [
        f"cmd:./{name} {{ref}} {{dist}}" for name in ("garbage", "raises", "works", "absent")
    ]
    words = [word for address in addresses for word in ("-m", address)]
    stdout = pmbench("eval", *words, *LADDER, code=1).stdout
    assert not_run(stdout) == {
        "cmd:hangs": "./hangs had not ended after 0.3 seconds; mend it, or give it more time: "
        "cmd?timeout=SECONDS:…",
        "cmd:garbage": "./garbage printed 'nonsense'; expected one finite number and nothing else "
        "on stdout; let it print remarks to stderr",
        "cmd:raises": "./raises ended with exit code 2, saying 'out of luck'; mend it, and try it "
        "on two images by hand",
        "cmd:absent": "there is no program ./absent; mend the path, or install it",
    }
    assert {path.parent.name[:9] for path in Path("results").glob("*/*/run.json")} == {
        "l2", "cmd_works",
    }  # fmt: skip
