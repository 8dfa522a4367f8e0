"""``pmbench cache``: what lies in the cache, complete or corrupt, and what can go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pmbench.cli.common import (
    CHECK_FAILED,
    AsJson,
    Manifests,
    app,
    console,
    print_warning,
    set_env_default,
)

if TYPE_CHECKING:
    from pmbench.datasets.cache import CacheEntry

cache = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show what lies in the cache (PMBENCH_HOME), and remove what can go.",
)
app.add_typer(cache, name="cache")

Verify = Annotated[
    bool, typer.Option("--verify", help="Compute checksums and digests: reads everything.")
]


@cache.command()
def info(verify: Verify = False, as_json: AsJson = False, manifests: Manifests = None) -> None:
    """Show every file of the cache: what it is, whether it is complete, and what uses it.

    Packs are opened. With --verify all checksums are computed, and the exit code is 1 where
    something is corrupt.

    Examples:

    `pmbench cache info`

    `pmbench cache info --verify`

    `pmbench cache info --json`
    """
    from pmbench.datasets.cache import CleanOptions, entries_to_remove
    from pmbench.utils import paths

    set_env_default("PMBENCH_MANIFESTS", manifests)
    things = _things(verify)
    if as_json:
        _print_json({"home": str(paths.home()), "things": [*map(_record, things)]})
    elif not things:
        typer.echo(f"{paths.home()}: nothing there")
    else:
        console().print(_table(things))
        _print_totals(things)
        if can_go := entries_to_remove(things, CleanOptions()):
            total = sum(thing.bytes for thing in can_go)
            typer.echo(f"`pmbench cache clean` removes {_counted(can_go)}, {total:,} bytes")
    if verify and any(thing.state == "corrupt" for thing in things):
        raise typer.Exit(CHECK_FAILED)


@cache.command()
def clean(
    downloads: Annotated[
        bool, typer.Option("--downloads", help="Also archives whose pack is complete.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that pmbench put there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    verify: Verify = False,
    as_json: AsJson = False,
    manifests: Manifests = None,
) -> None:
    """Remove what is corrupt or stale: parts of downloads, spools, drafts, locks.

    What another process works on stays, and so does every file that pmbench does not know. Links
    are not followed.

    Examples:

    `pmbench cache clean --dry-run`

    `pmbench cache clean --downloads` (the packs are enough to measure)

    `pmbench cache clean --all`
    """
    from pmbench.datasets.cache import CleanOptions, entries_to_remove, remove
    from pmbench.utils import paths

    set_env_default("PMBENCH_MANIFESTS", manifests)
    things = _things(verify)
    chosen = entries_to_remove(things, CleanOptions(downloads, everything))
    gone = chosen if dry_run else remove(chosen, print_warning)
    left = [thing for thing in things if thing.state in ("in use", "unknown")]
    total = sum(thing.bytes for thing in gone)
    if as_json:
        messages = {"would_remove" if dry_run else "removed": [*map(_record, gone)]}
        _print_json({"home": str(paths.home()), **messages, "left": [*map(_record, left)]})
        return
    for thing in gone:
        verb = "would remove" if dry_run else "removed"
        why = f"{thing.state}: {thing.why}" if thing.why else thing.state
        typer.echo(f"{verb} {_place(thing)}: {thing.bytes:,} bytes, {thing.kind} ({why})")
    for thing in left:
        print_warning(f"left {_place(thing)}: {thing.bytes:,} bytes ({thing.why})")
    verb = "would be freed" if dry_run else "freed"
    typer.echo(f"{_counted(gone)}, {total:,} bytes {verb} in {paths.home()}")


def _things(verify: bool) -> list[CacheEntry]:
    from pmbench.datasets.cache import survey

    return survey(_metrics_by_file(), verify)


def _metrics_by_file() -> dict[str, str]:
    """Return which metrics use a weight file, by its name in the cache."""
    from pathlib import PurePosixPath

    from pmbench.utils import paths

    folder = paths.weights()
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}  # metrics take a while to import
    from pmbench.metrics.selection import catalogue
    from pmbench.networks.manifest import weight_files

    results: dict[str, list[str]] = {}
    for metric in catalogue().values():
        for name in metric.weights:
            entry = weight_files().get(name)
            if entry is not None and entry.url is not None:
                results.setdefault(PurePosixPath(entry.url).name, []).append(metric.name)
    return {file: ", ".join(names) for file, names in results.items()}


def _place(thing: CacheEntry) -> str:
    from pmbench.utils import paths

    return thing.path.relative_to(paths.home()).as_posix()


def _record(thing: CacheEntry) -> dict[str, Any]:
    return {
        "path": _place(thing), "kind": thing.kind, "bytes": thing.bytes, "status": thing.state,
        "why": thing.why, "used_by": thing.used_by,
        "state": _FORMER_WORDS.get(thing.state, thing.state),
    }  # fmt: skip


# what 0.1 called a status, under the key "state"; kept for one version
_FORMER_WORDS = {"complete": "whole", "corrupt": "broken", "stale": "left over"}


def _print_json(content: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(content, indent=1))


def _table(things: list[CacheEntry]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("kind")
    table.add_column("bytes", justify="right")
    table.add_column("state")
    table.add_column("used by, or why", overflow="fold")
    colours = {"corrupt": "red", "stale": "yellow", "in use": "cyan"}
    for thing in things:
        names = thing.used_by.split(", ")
        more = f"{names[0]} and {len(names) - 1} other metrics"
        users = thing.used_by if len(names) < 4 else more
        message = "; ".join(filter(None, [users, thing.why]))
        colour = colours.get(thing.state, "")
        state = f"[{colour}]{thing.state}[/]" if colour else thing.state
        table.add_row(
            _escaped(_place(thing)), thing.kind, f"{thing.bytes:,}", state, _escaped(message)
        )
    return table


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_totals(things: list[CacheEntry]) -> None:
    from pmbench.utils import paths

    total = sum(thing.bytes for thing in things)
    states = {
        state: [thing for thing in things if thing.state == state]
        for state in ("complete", "corrupt", "stale", "in use", "unknown")
    }
    parts = ", ".join(f"{len(some):,} {state}" for state, some in states.items() if some)
    typer.echo(f"{_counted(things)}, {total:,} bytes in {paths.home()}: {parts}")


def _counted(things: list[CacheEntry]) -> str:
    return f"{len(things):,} file{'s' * (len(things) != 1)}"
