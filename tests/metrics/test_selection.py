"""Which metrics are meant."""

from __future__ import annotations

import pytest
from support.cli import pmbench
from support.user_metrics import LADDER, not_run

from pmbench import metrics
from pmbench.cli.common import split
from pmbench.metrics import Metric, registered
from pmbench.metrics.selection import select_metrics

pytestmark = pytest.mark.usefixtures("import_folder")


def test_all_leaves_out_what_is_not_installed_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.EXTRAS, "nowhere", "nowhere_at_all")
    needs = [
        Metric(n, lambda device: lambda x, y: x.pixels.mean((1, 2, 3)), n, extra="nowhere")
        for n in ("one", "two")
    ]
    few = {entry.name: entry for entry in (registered()["l2"], *needs)}
    monkeypatch.setattr(metrics, "_registry", few)
    lacking = (
        "needs the package nowhere_at_all, which is not installed; "
        "run: pip install 'pmbench[nowhere]'"
    )
    choice = select_metrics(["all"])
    assert [entry.name for entry in choice.metrics] == ["l2"]
    assert choice.left_out == {"one": lacking, "two": lacking}
    assert select_metrics(["one", "all"]).left_out == {
        "two": lacking
    }  # what was asked for is tried
    result = pmbench("eval", "-m", "all", *LADDER)
    stdout, stderr = result.stdout, result.stderr
    assert f"left out: one, two: {lacking}\n" in stderr
    assert "not run" not in stdout
    result = pmbench("eval", "-m", "all,one", *LADDER, code=1)
    stdout, stderr = result.stdout, result.stderr
    assert f"left out: two: {lacking}\n" in stderr
    assert not_run(stdout) == {"one": lacking}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["a,b", " c "], ["a", "b", "c"]),
        (["a,,b,"], ["a", "b"]),
        (["cmd:./m --a=1,2 {ref} {dist}"], ["cmd:./m --a=1,2 {ref} {dist}"]),
        (["l2,cmd?jobs=2:./m 1,2", "l1"], ["l2", "cmd?jobs=2:./m 1,2", "l1"]),
        (["l2, mine=cmd:./m 1,cmd:2"], ["l2", "mine=cmd:./m 1,cmd:2"]),
        (["mine=./a.py:f,cmdpp,x"], ["mine=./a.py:f", "cmdpp", "x"]),
        ([",", ""], []),
        (None, []),
    ],
)
def test_commas_separate_names_but_not_the_words_of_a_command(
    values: list[str] | None, names: list[str]
) -> None:
    assert split(values) == names
