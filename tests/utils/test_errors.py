"""What is said of a name that does not exist, and of an exception in somebody's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pmbench.metrics import registered
from pmbench.utils.errors import closest, describe, unknown

METRICS = [f"metric-{i:02}" for i in range(40)]


@pytest.mark.parametrize(
    ("kind", "name", "known", "sentence"),
    [
        ("metric", "lpips-alx", ["lpips-alex", "ssim"], "did you mean lpips-alex?"),
        ("metric", "LPIPS-Alex", ["lpips-alex", "ssim"], "did you mean lpips-alex?"),
        ("run", "mine", ["Mine", "MINE"], "did you mean MINE or Mine?"),
        ("option", "x", ["b", "a", "a"], "known are: a, b."),
        ("metric", "x", METRICS, "40 are known; `pmbench list metrics` shows them."),
        ("dataset", "x", METRICS, "40 are known; `pmbench list datasets` shows them."),
        ("run", "x", METRICS, "40 are known; `pmbench list runs` shows them."),
        ("dataset, group or metric", "x", METRICS,
         "40 are known; `pmbench list datasets` and `pmbench list metrics` show them."),
        ("module of a network", "x", METRICS, f"40 are known: {', '.join(METRICS[:12])}, …"),
    ],
)  # fmt: skip
def test_an_unknown_name(kind: str, name: str, known: list[str], sentence: str) -> None:
    assert str(unknown(kind, name, known)) == f"unknown {kind} '{name}'; {sentence}"


def test_no_more_than_three_names_are_close() -> None:
    assert closest("LPIPS-ALEX", registered())[0] == "lpips-alex"
    assert len(closest("lpips", registered())) == 3
    assert len(str(unknown("metric", "no-such-thing-at-all", registered()))) < 200


def raised(code: str, file: Path) -> str:
    """Return what is told of the exception that a file's code raises."""
    file.write_text(code)
    try:
        exec(compile(code, file, "exec"), {})
    except (ArithmeticError, RuntimeError, ValueError, SystemExit) as error:
        return describe(error)
    pytest.fail("it raises nothing")


def test_an_exception_names_the_users_own_line(tmp_path: Path) -> None:
    here = f"{Path(__file__).name}, line "
    file = tmp_path / "mine.py"
    assert (
        raised("x = 1\n\n1 / 0\n", file)
        == "ZeroDivisionError: division by zero (in mine.py, line 3)"
    )
    assert raised("import sys\nsys.exit(2)\n", file) == "SystemExit: 2 (in mine.py, line 2)"
    # deep inside a library, it is the line that called it
    code = "import torch\n\ndef f(x):\n    return torch.cat(x)\n\nf([])\n"
    assert raised(code, file).endswith(" (in mine.py, line 4)")
    assert here not in raised(code, file)


def test_an_exception_without_a_line_of_the_users_is_told_as_it_is() -> None:
    assert describe(ValueError("no")) == "ValueError: no"
