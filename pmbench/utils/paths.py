"""Where pmbench lies, and where it keeps what it downloads and packs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from pmbench.utils.errors import PmbenchError

PACKAGE = Path(__file__).resolve().parent.parent
DATA = PACKAGE / "data"


def expand(path: str) -> Path:
    """Return a path that a user wrote, with ~ replaced by the home folder.

    Raises PmbenchError where there is none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PmbenchError(
            f"{path}: this user has no home folder for ~ to stand for; write the whole path"
        ) from error


def home() -> Path:
    """Return PMBENCH_HOME, or the platform's cache directory for pmbench.

    Raises PmbenchError where the user has no home folder, and has set neither.
    """
    if chosen := os.environ.get("PMBENCH_HOME"):
        return expand(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("pmbench"))
    except RuntimeError:  # of recent versions; earlier ones keep the ~
        folder = Path("~")
    if not folder.is_absolute():
        raise PmbenchError(
            "this user has no home folder, so there is no place for what pmbench downloads; set "
            "PMBENCH_HOME to a folder"
        )
    return folder


def downloads() -> Path:
    """Archives as they came."""
    return home() / "downloads"


def packs() -> Path:
    """One HDF5 for each dataset and resize mode."""
    return home() / "packs"


def weights() -> Path:
    """Network weights as they came."""
    return home() / "weights"


def manifests() -> Path:
    """Manifests of datasets and weights that come with pmbench."""
    inside = PACKAGE / "data_manifests"  # in a wheel
    return inside if inside.is_dir() else PACKAGE.parent / "data_manifests"
