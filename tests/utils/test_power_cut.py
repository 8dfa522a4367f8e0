"""A power cut while a file is written: afterwards it is the old one, or the whole new one."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY, TESTS
from support.power import Cut, mounted_disk

OLD, NEW = b"old" * 5000, b"new" * 6000

# cuts the power before anything is opened, moved or removed for the n-th time
BEGIN = """
import os, sys
from pathlib import Path
from support.power import Cut, cut_power

path, new, left, lost = Path("file"), sys.argv[1], int(sys.argv[2]), Cut(int(sys.argv[3]))

def look(event, facts):
    global left
    if event in ("open", "os.rename", "os.remove"):
        left -= 1
        if left == 0:
            cut_power(Path.cwd(), lost)
            os._exit(1)

sys.addaudithook(look)
"""
WRITERS = {
    "replacing": (
        "from pmbench.utils.files import replacing",
        """
with replacing(path) as draft, draft.open("w") as file:
    file.write(new[:9000])
    file.flush()
    file.write(new[9000:])
""",
    ),
    "writing_hdf5": (
        "from pmbench.utils.hdf5 import writing_hdf5",
        """
with writing_hdf5(path) as file:
    file["new"] = new
""",
    ),
    "publish": (
        "from pmbench.utils.files import publish",
        """
part = Path("part")
part.write_text(new)
publish(part, path)
""",
    ),
}


@pytest.mark.parametrize("lost", Cut, ids=lambda cut: cut.name.lower())
@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_is_the_old_one_or_the_whole_new_one(writer: str, lost: Cut, tmp_path: Path) -> None:
    program = BEGIN.join(WRITERS[writer])
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TESTS}"}
    with mounted_disk(tmp_path / "disk", lost) as disk:
        file = disk.folder / "file"
        found = []
        for step in itertools.count(1):
            file.write_bytes(OLD)
            disk.sync()
            words = [sys.executable, "-c", program, NEW, str(step), str(lost)]
            ended = subprocess.run(words, cwd=disk.folder, env=environment, check=False)
            if ended.returncode == 0:
                disk.cut()
            else:
                disk.restart()
            found.append(file.read_bytes())
            if ended.returncode == 0:
                break
        *before, last = found
        assert len(before) >= 4
        assert before[0] == OLD
        assert set(before) <= {OLD, last}
        assert NEW in last  # HDF5 writes more than that
