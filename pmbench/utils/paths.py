"""Where pmbench lies, and where it keeps what it downloads and packs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent.parent
DATA = PACKAGE / "data"


def home() -> Path:
    """Return PMBENCH_HOME, or the platform's cache directory for pmbench."""
    chosen = os.environ.get("PMBENCH_HOME")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("pmbench"))


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
