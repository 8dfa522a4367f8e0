"""What commands share: the application, options that recur, and how errors and progress look."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pmbench.cli.completion import complete_datasets, complete_metrics, dataset_names
from pmbench.cli.signals import (
    closing_message,
    handle_signals,
    raise_if_interrupted,
    received_signal,
)
from pmbench.utils.errors import PmbenchError, describe
from pmbench.utils.text import printable

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from pmbench.cli.progress import RichReporter
    from pmbench.evaluation.batching import BatchLimits
    from pmbench.scoring.bootstrap import Resampling

CHECK_FAILED, USERS_MISTAKE, SIGNAL = 1, 2, 128


class _Commands(TyperGroup):
    """Turns what the user can put right into one red line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            _check_folder()
            with handle_signals():
                return super().invoke(ctx)
        except PmbenchError as error:
            print_error(str(error))
            raise typer.Exit(USERS_MISTAKE) from error
        except OSError as error:  # a full disk, a folder that is a file, a missing permission
            if (sentence := _refused(error)) is None:
                raise
            print_error(sentence)
            raise typer.Exit(USERS_MISTAKE) from error
        except KeyboardInterrupt as error:
            with suppress(OSError):  # the terminal may be gone
                print_error(closing_message() if received_signal() else _unasked(error))
            raise typer.Exit(
                SIGNAL + received_signal() if received_signal() else CHECK_FAILED
            ) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        what = args[0].removesuffix("s") + "s"
        if args[0] not in self.commands and what in ("metrics", "datasets"):
            raise PmbenchError(
                f"there is no command '{args[0]}'; did you mean `pmbench list {what}`?"
            )
        return super().resolve_command(ctx, args)


def _check_folder() -> None:
    """Raise PmbenchError where the current folder is gone: nothing can be found or loaded then."""
    try:
        Path.cwd()
    except OSError as error:
        raise PmbenchError(
            "the folder that you are in was removed or is out of reach; go to another one with cd"
        ) from error


class MetricCommand(TyperCommand):
    """A command whose metrics are an option: who leaves its -m out is shown where it belongs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, extra, _ = self.make_parser(ctx).parse_args(list(args))
        if extra and not ctx.resilient_parsing:
            takes_datasets = any(parameter.name == "dataset" for parameter in self.params)
            is_dataset = takes_datasets and {*extra} <= {*dataset_names()}
            name = "dataset" if is_dataset else "metric"
            value = shlex.quote(",".join([*given.pop(name, ()), *extra]))
            others = " …" * bool(given)
            raise PmbenchError(
                f"'{extra[0]}' has no option in front of it; did you mean "
                f"`pmbench {ctx.info_name}{others} -{name[0]} {value}`?"
            )
        return super().parse_args(ctx, args)


def _refused(error: OSError) -> str | None:
    """Return a sentence about what the system refuses, None where that is no mistake of a user."""
    from pmbench.utils.files import no_room, refusal

    if isinstance(error, BrokenPipeError):
        return None
    if error.filename is None:  # files that pmbench writes have a name: see ``files.writing``
        return refusal(error, "the output, or a temporary file") if no_room(error) else None
    return refusal(error, error.filename)


def _unasked(error: KeyboardInterrupt) -> str:
    return (
        f"{describe(error)}, but nobody asked for it; a metric must not raise that: mend it, or "
        "leave it out"
    )


def print_failures(failures: Mapping[str, str], color: str = "red", err: bool = False) -> None:
    """Print which metrics did not run, each reason once."""
    for why, names in by_reason(failures).items():
        typer.secho(printable(f"not run: {', '.join(names)}: {why}"), fg=color, err=err)


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each reason once, with the names that it is of."""
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(without_name(why, name), []).append(name)
    return names


def without_name(why: str, name: str) -> str:
    """Return a sentence about a metric without the name that it begins with, if it does."""
    if why.startswith((f"{name}: ", f"{name} failed")):
        return why.removeprefix(name).removeprefix(":").lstrip()
    return why


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Which perceptual image metric agrees with people, by how much, and at what cost?",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from pmbench import __version__

        typer.echo(f"pmbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        help="Dataset or group; repeat, or separate by commas.",
        autocompletion=complete_datasets,
    ),
]
ResultsOption = Annotated[Path, typer.Option(help="Folder of the runs.")]
MetricNames = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-m",
        help="Only these; repeat, or separate by commas.",
        autocompletion=complete_metrics,
    ),
]
Manifests = Annotated[
    Path | None, typer.Option(help="Folder of your own dataset manifests (PMBENCH_MANIFESTS).")
]
Weights = Annotated[
    Path | None, typer.Option(help="Folder with local copies of weights (PMBENCH_WEIGHTS).")
]
Resamples = Annotated[
    int,
    typer.Option(
        "--resamples", help="Resamples of scores of more than 1,000 clusters: 100 to 10,000."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Random stream that resamples are drawn from.")]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size", help="Items in a batch, however large; auto: as the device has room."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For a machine.")]


# where a command line begins, which may have commas in it: cmd:…, cmd?…:…, NAME=cmd:…
_COMMAND = re.compile(r"(?:^|,)\s*((?:[^,=]+=)?cmd(?:\?[^,:]*)?:.*)", re.DOTALL)


def split(values: list[str] | None) -> list[str]:
    """Return names that were repeated, separated by commas, or both.

    What follows ``cmd:`` is one command line to the end of the value.
    """
    parts: list[str] = []
    for value in values or []:
        command = _COMMAND.search(value)
        names = value[: command.start()] if command else value
        parts += [*names.split(","), *([command[1]] if command else [])]
    return [part.strip() for part in parts if part.strip()]


def batch_limits(batch_size: str, device: torch.device) -> BatchLimits:
    """Return how large batches may be. Raises PmbenchError for no number from 1, nor auto."""
    from pmbench.evaluation.batching import limits_for
    from pmbench.utils.memory import free_bytes

    if batch_size == "auto":
        return limits_for(None, free_bytes(device))
    if not (batch_size.isascii() and batch_size.isdigit()) or int(batch_size) < 1:
        raise PmbenchError(f"--batch-size {batch_size}: expected auto or a whole number from 1")
    return limits_for(int(batch_size), None)


def check_resampling(count: int, seed: int) -> Resampling:
    """Return how intervals are to be drawn. Raises PmbenchError where that makes no sense."""
    from pmbench.scoring.bootstrap import Resampling

    if not 100 <= count <= 10_000:
        raise PmbenchError(
            f"--resamples {count}: expected 100 to 10,000; an end of a 95 % interval rests on the "
            "outermost 2.5 % of the resamples, and more than 10,000 hardly move it"
        )
    if not 0 <= seed < 2**32:
        raise PmbenchError(f"--seed {seed}: expected a whole number from 0 to {2**32 - 1:,}")
    return Resampling(count, seed)


def set_env_default(variable: str, value: object) -> None:
    """Let an option speak for the environment variable of the same meaning."""
    if value is not None:
        os.environ[variable] = str(value)


def print_error(text: str) -> None:
    """Write what went wrong to stderr, in red; what could steer a terminal is escaped."""
    typer.secho(printable(text), fg="red", err=True)


def print_warning(text: str) -> None:
    """Write what is to be known to stderr, in yellow; what could steer a terminal is escaped."""
    typer.secho(printable(text), fg="yellow", err=True)


def console(stderr: bool = False) -> Console:
    """Return a terminal, or what stands in its place."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


@contextmanager
def progress_reporter() -> Iterator[RichReporter]:
    """Yield a Reporter that draws on stderr; bars only on a terminal."""
    from pmbench.cli.progress import RichReporter

    with RichReporter(console(stderr=True), raise_if_interrupted) as reporter:
        yield reporter
