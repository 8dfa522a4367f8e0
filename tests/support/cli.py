"""A command in this process, as a user types it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from pmbench.cli import app


def pmbench(*words: str | Path, code: int = 0, columns: int | None = None) -> Result:
    """Run a command, on a terminal of that width, and expect that exit code."""
    environment = {} if columns is None else {"COLUMNS": str(columns)}
    result = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def one_line(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())
