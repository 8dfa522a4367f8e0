"""The resampled scores that a run's intervals are made of, and the file they are kept in."""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pmbench.scoring.bootstrap import BootstrapSamples, Resampling
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import replacing

_VALUES = "values/"


def write_bootstrap_samples(path: Path, draws: BootstrapSamples) -> None:
    """Write resampled scores, whole or not at all.

    They are kept as float32: what that rounds, 6e-8 of a value, is a thousandth of what another
    seed changes at the ends of an interval.
    """
    columns = {_VALUES + name: values.astype(np.float32) for name, values in draws.values.items()}
    drawn_by = np.array([draws.resampling.count, draws.resampling.seed])
    places = np.array(draws.places, np.str_)
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, how=drawn_by, places=places, **columns)


def read_bootstrap_samples(path: Path) -> BootstrapSamples:
    """Return what was written. Raises PmbenchError where the file is damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            count, seed = (int(number) for number in file["how"])
            places = tuple(str(place) for place in file["places"])
            values = {
                name.removeprefix(_VALUES): file[name].astype(np.float64)
                for name in file.files
                if name.startswith(_VALUES)
            }
        if bad := [name for name, v in values.items() if v.shape != (len(places), count)]:
            raise ValueError(f"{bad[0]} of shape {values[bad[0]].shape}")
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise PmbenchError(
            f"{path}: expected the resampled scores of a run, got a file that is none or is "
            f"damaged ({error}); delete it, and `pmbench eval` makes it anew from the distances"
        ) from error
    return BootstrapSamples(Resampling(count, seed), places, values)
