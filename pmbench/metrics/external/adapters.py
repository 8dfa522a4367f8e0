"""Other people's Python: imported apart from everything else, and made into metrics."""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pmbench.metrics import (
    EXTRAS,
    Distance,
    Metric,
    OnPixels,
    collect_registrations,
    metric_of_function,
)
from pmbench.metrics.global_state import preserve_global_state, usual_defaults
from pmbench.metrics.images import Images
from pmbench.networks.manifest import weight_files
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.utils.errors import PmbenchError, one_line_of
from pmbench.utils.files import sha256_of
from pmbench.utils.text import printable

T = TypeVar("T")

# what stands for something else in commands and tables
RESERVED = {"all"} | {human.name for kind in PROTOCOLS.values() for human in kind.humans}
_TYPEABLE = re.compile(r"[^\s,=?]+")

# module -> what was registered while it was first imported
_brought: dict[str, list[Metric]] = {}


def run_import(load: Callable[[], T]) -> T:
    """Return ``load()``, which imports modules; ``registered_by`` returns what these register.

    What they print goes to stderr; what they change of settings that all share is put back.
    Whatever they raise passes.
    """
    before = set(sys.modules)
    collected: dict[str, Metric] = {}
    try:
        with (
            collect_registrations() as collected,
            redirect_stdout(sys.stderr),
            usual_defaults(),
            preserve_global_state(),
        ):
            return load()
    finally:
        for module in set(sys.modules) - before:
            _brought[module] = list(collected.values())


def registered_by(module: str) -> list[Metric]:
    """Return the metrics that were registered when a module was first imported."""
    return _brought.get(module, [])


def why_not(error: BaseException) -> str:
    """Return in a sentence why code could not be imported."""
    if isinstance(error, PmbenchError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"needs the module {error.name}, which is not installed; install it beside pmbench"
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}; mend it"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"cannot be imported: {one_line_of(error)} ({last.filename}, line {last.lineno}); mend it"
    )


def metrics_of(
    value: object, name: str, files: Iterable[Path] = (), higher_is_better: bool | None = None
) -> list[Metric]:
    """Return the metrics that an object is: one or several ``Metric``, or a callable.

    A callable maps two float RGB tensors (N, 3, H, W) in [0, 1] to (N,); its metric is called
    ``name``. Such a metric has no version that somebody keeps, so a digest of ``files`` and of the
    callable's own file stands in its signature. Raises PmbenchError, a sentence without a
    subject, for anything else.
    """
    cards = [value if isinstance(value, Metric) else metric_of_function(value)]
    if isinstance(value, list | tuple):
        cards = [one if isinstance(one, Metric) else metric_of_function(one) for one in value]
    entries = [card for card in cards if card is not None]
    if entries and len(entries) == len(cards):
        if higher_is_better is not None:
            raise PmbenchError("says itself which way is better; leave ?better=… out")
        for entry in entries:
            _check(entry)
        return entries
    if isinstance(value, type):
        raise PmbenchError(
            f"is the class {value.__name__}; expected a metric, or a function or instance that is "
            "called with two batches of images; make an instance of it, and name that"
        )
    if not callable(value):
        raise PmbenchError(
            f"is of type {type(value).__name__}; expected a metric, or a function of two batches "
            "of images"
        )
    _check_arguments(value)
    function: Callable[[Tensor, Tensor], Tensor] = value
    entry = Metric(
        name=name,
        load=lambda device: _ready(function, device),
        title=_title(value) or name,
        higher_is_better=bool(higher_is_better),
        symmetric=False,  # nobody says so
        parameters={
            "source": digest_of_files([*files, *_own_file(value)]),
            "better": "higher" if higher_is_better else "lower",
        },
    )
    _check(entry)
    return [entry]


def _ready(function: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> Distance:
    if isinstance(function, nn.Module):  # its owner's stays as it is, and where it is
        function = copy.deepcopy(function)
    return _OnCopies(function).to(device).eval().requires_grad_(False)


def digest_of_files(files: Iterable[Path]) -> str:
    """Return a digest of what files hold, whatever they are called; missing ones do not count."""
    contents = sorted({sha256_of(path) for path in files if path.is_file()})
    return hashlib.sha256("\0".join(contents).encode()).hexdigest()[:16]


class _OnCopies(OnPixels):
    """A callable on copies of the images: what it does to them must not reach other metrics."""

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        return self.function(x.pixels.clone(), y.pixels.clone())


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value == printable(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _are_parameters(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(one, str | int | float) for key, one in value.items()
    )


# fields of a card -> what they must be; another kind would stop everybody
_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(
        ("title", "family", "paper", "code", "licence", "extra"),
        (_is_printable, "text that can be shown"),
    ),
    **dict.fromkeys(("min_size", "multiple_of", "version"), (_is_count, "a whole number from 1")),
    **dict.fromkeys(
        ("higher_is_better", "symmetric", "differentiable", "has_map"),
        (lambda value: isinstance(value, bool), "True or False"),
    ),
    "seconds": (_is_amount, "a number from 0"),
    "space": (lambda value: value in ("", "l1", "l2"), '"l1", "l2" or ""'),
    "tolerance": (_is_share, "a number from 0 to below 1"),
    "pixels_at_once": (lambda value: value is None or _is_count(value), "a whole number or None"),
    "weights": (lambda value: isinstance(value, tuple), "a tuple of names"),
    "parameters": (_are_parameters, "texts and numbers by name"),
}


def _check(entry: Metric) -> None:
    """Raise PmbenchError for a card that pmbench cannot work with."""
    name: object = entry.name  # whatever its author put there
    if not _is_printable(name) or not _TYPEABLE.fullmatch(entry.name) or name in RESERVED:
        raise PmbenchError(
            f"brings a metric called {name!r}; expected a name that can be shown, without blanks, "
            f"commas, '=' and '?', other than {', '.join(sorted(RESERVED))}; rename it"
        )
    for field, (fits, expected) in _FIELDS.items():
        if not fits(value := getattr(entry, field)):
            raise PmbenchError(
                f"brings the metric '{name}', whose {field} is {value!r}; expected {expected}"
            )
    if entry.extra and entry.extra not in EXTRAS:
        raise PmbenchError(
            f"brings the metric '{name}', which names the extra '{entry.extra}'; those of pmbench "
            f"are {', '.join(EXTRAS)}; leave `extra` out, and import what it needs in `load`"
        )
    if strange := [weight for weight in entry.weights if weight not in weight_files()]:
        raise PmbenchError(
            f"brings the metric '{name}', which names the weights '{strange[0]}'; pmbench knows no "
            "such file; leave `weights` out, and read them in `load`"
        )


def _check_arguments(value: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # compiled code may have none that can be read
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise PmbenchError(
            f"takes the arguments {signature}; expected a function that is called with two batches "
            "of images, (x, y)"
        ) from error


def _title(value: object) -> str:
    text = (value if inspect.isroutine(value) else type(value)).__doc__ or ""
    return text.strip().partition("\n")[0][:80]


def _own_file(value: object) -> list[Path]:
    """Return the file in which a callable is written, where there is one."""
    while isinstance(value, partial):
        value = value.func
    try:
        result = inspect.getsourcefile(value if inspect.isroutine(value) else type(value))
    except (TypeError, OSError):
        return []
    return [Path(result)] if result else []
