"""Machines that are set up in another way: streams, home folders, current folders, encodings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import pmbench
from support.runs import save_run

COMMAND = [sys.executable, "-m", "pmbench"]
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "encoding", ["cp1252", *(pytest.param(name, marks=SLOW) for name in ("ascii", "shift_jis"))]
)
def test_a_stream_that_cannot_show_a_sign_has_one_that_stands_for_it(
    empty_folder: Path, encoding: str
) -> None:
    save_run(empty_folder / "results", metric="größe-1")
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    result = subprocess.run([*COMMAND, "leaderboard"], env=environment, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    table = result.stdout.decode(encoding)
    name = "größe-1" if encoding == "cp1252" else r"gr\u00f6\u00dfe-1"
    assert name in table
    words = [*COMMAND, "list", "runs", "--json"]
    document = subprocess.run(words, env=environment, capture_output=True, check=True).stdout
    # click takes a stream of ASCII for one that nobody has set up, and writes UTF-8 to it
    (record,) = json.loads(document.decode("utf-8" if encoding == "ascii" else encoding))
    assert record["metric"] == "größe-1"  # a document says it all the same


@pytest.mark.parametrize(
    ("sign", "plain"),
    [("↑", "^"), ("×", "x"), ("½", r"\u00bd"), ("²", "2"), ("“", "'"), ("…", "."), ("∞", "inf"),
     ("👩", r"\ud83d\udc69"), ("\udcff", r"\udcff"), ("ö", r"\u00f6")],
)  # fmt: skip
def test_what_stands_for_a_sign(sign: str, plain: str) -> None:
    from pmbench.cli.streams import _stand_in

    error = UnicodeEncodeError("ascii", f"a{sign}b", 1, 1 + len(sign), "")
    assert _stand_in(error) == (plain, 1 + len(sign))
    assert json.loads(f'"{plain}"') in (sign, plain)


NO_HOME = "this user has no home folder, so there is no place for what pmbench downloads; "


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs to be root")
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, f"{NO_HOME}set PMBENCH_HOME to a folder\n"),
        ({"PMBENCH_HOME": "~/x"},
         "~/x: this user has no home folder for ~ to stand for; write the whole path\n"),
        ({"PMBENCH_HOME": "/x"}, ""),
    ],
)  # fmt: skip
def test_a_user_without_a_home_is_told_what_to_set(
    variables: dict[str, str], sentence: str
) -> None:
    script = """
import os, pwd  # before this user cannot read them any more
from pmbench.utils.errors import PmbenchError
from pmbench.utils.paths import home
os.setuid(54321)
try:
    home()
except PmbenchError as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "PMBENCH_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == sentence


def test_a_folder_that_was_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert pmbench("leaderboard", code=2).stderr == (
        "the folder that you are in was removed or is out of reach; go to another one with cd\n"
    )


def test_a_metric_file_may_be_of_any_encoding_that_it_names(empty_folder: Path) -> None:
    text = "# -*- coding: latin-1 -*-\ndef f(x, y):\n    return (x - y).abs().mean(dim=(1, 2, 3))\n"
    Path("mine.py").write_bytes(text.replace("def", "# größe\ndef").encode("latin-1"))
    pmbench("eval", "-m", "./mine.py:f", "-d", "ladder-jnd", "--limit", "1")
    Path("mine.py").write_bytes("x = 'größe'\n".encode("latin-1"))
    output = pmbench("eval", "-m", "./mine.py:f", "-d", "ladder-jnd", "--limit", "1", code=1).output
    # Python 3.14 says it in other words
    assert "codec can't decode byte 0xf6" in output or "Non-UTF-8 code" in output
