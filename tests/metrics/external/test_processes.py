"""Programs that do what none should: floods, children left behind, signals ignored."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import torch
from support.refusals import message_of
from support.user_metrics import ADDRESS, CPU, write_program

from pmbench.metrics.images import Images
from pmbench.metrics.loading import load_metrics
from pmbench.metrics.selection import select_metrics
from pmbench.utils.errors import PmbenchError
from pmbench.utils.processes import Processes
from pmbench.utils.progress import Silent

pytestmark = pytest.mark.usefixtures("import_folder")


def value_of(address: str = ADDRESS, n: int = 1) -> list[float]:
    """Measure pairs of random images with a program."""
    (loaded,), failures = load_metrics(select_metrics([address]).metrics, CPU, Silent())
    assert not failures
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (n, 3, 8, 8), generator=generator) / 255 for _ in range(2))
    result: list[float] = loaded.distance(Images(x), Images(y)).tolist()
    return result


def refused(address: str = ADDRESS) -> str:
    with pytest.raises(PmbenchError) as caught:
        value_of(address)
    return str(caught.value)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_flood_on_stderr_takes_no_memory_and_does_not_matter(import_folder: Path) -> None:
    write_program("head -c 200000000 /dev/zero >&2; echo 0.5")
    before = peak_mb()
    assert value_of() == [0.5]
    assert peak_mb() - before < 20


def test_a_flood_on_stdout_is_cut_off_in_bounded_memory(import_folder: Path) -> None:
    write_program("head -c 4000000000 /dev/zero")
    before, started = peak_mb(), time.monotonic()
    assert "printed more than a megabyte; expected one number; mend it" in refused()
    assert peak_mb() - before < 20
    assert time.monotonic() - started < 20


SLOW = "cmd?timeout=20:./my_metric {ref} {dist}"  # so long a test would not wait


def test_a_program_that_leaves_another_behind_holding_its_pipes_is_not_waited_for(
    import_folder: Path,
) -> None:
    write_program("sleep 300 & echo $! > pid; echo 0.5")
    started = time.monotonic()
    assert value_of(SLOW) == [0.5]
    assert time.monotonic() - started < 10
    assert has_ended(int(Path("pid").read_text()))


def test_also_where_it_has_a_session_of_its_own(import_folder: Path) -> None:
    """That one is nobody's child any more, and goes on; a program may have its reasons."""
    write_program("setsid sleep 3 & echo 0.5")
    started = time.monotonic()
    assert value_of(SLOW) == [0.5]
    assert time.monotonic() - started < 2.5


def test_a_program_that_ignores_sigterm_is_ended(import_folder: Path) -> None:
    write_program("trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done")
    assert "had not ended after 0.3 seconds" in refused("cmd?timeout=0.3:./my_metric {ref} {dist}")
    assert has_ended(int(Path("pid").read_text()))


def test_a_program_that_closes_its_pipes_has_the_rest_of_its_time(import_folder: Path) -> None:
    write_program("echo 0.5; exec >&- 2>&- <&-; sleep 0.2")
    assert value_of() == [0.5]
    write_program("echo 0.5; exec >&- 2>&-; sleep 300")
    assert "had not ended after 0.3 seconds" in refused("cmd?timeout=0.3:./my_metric {ref} {dist}")


def test_a_program_reads_nothing_from_our_stdin(import_folder: Path) -> None:
    write_program("cat; echo 0.5")
    assert value_of() == [0.5]


@pytest.mark.parametrize("said", ["0.5 and more", "0.5\\n0.6", "0.5x", "'0.5'", "\\0330.5"])
def test_a_number_with_anything_else_is_none(import_folder: Path, said: str) -> None:
    write_program(f"printf '%b' \"{said}\"")
    assert "expected one finite number and nothing else on stdout" in refused()


def test_a_program_that_is_deleted_midway_is_said(import_folder: Path) -> None:
    write_program('rm "$0"; echo 0.5')
    (loaded,), _ = load_metrics(
        select_metrics(["cmd?jobs=1:./my_metric {ref} {dist}"]).metrics, CPU, Silent()
    )
    images = Images(torch.zeros(2, 3, 8, 8))
    assert message_of(loaded.distance, images, images) == (
        "./my_metric cannot be started: No such file or directory; it was there; put it back"
    )


def test_what_is_started_once_all_is_to_end_is_killed(import_folder: Path) -> None:
    write_program("sleep 300")
    with Processes() as processes:
        processes.kill()
        assert processes.run(["./my_metric"], 20).code == -9


def has_ended(pid: int) -> bool:
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
