"""Metrics as what is optimised: lower is better, targets are prepared once, sums have weights.

import pmbench

loss = pmbench.loss("vgg-loss + 0.1*l2", targets=photographs)
loss(generated).mean().backward()
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pmbench.metrics import Metric
from pmbench.metrics.api import Perceptual, metric, not_compiled
from pmbench.metrics.global_state import usual_defaults
from pmbench.metrics.images import Images, Portions
from pmbench.metrics.inputs import OutOfRange
from pmbench.utils.errors import PmbenchError, unknown

Redraw = Literal["never", "step"]
_CHECKPOINTED = 4 * 64 * 64  # pixels whose graph is there at a time
_TERM = re.compile(r"(?:([0-9.]+(?:[eE]-?[0-9]+)?)\s*\*\s*)?(.*)", re.DOTALL)  # fits any text


@dataclass(frozen=True)
class LossOptions:
    """How metrics are used as a loss; see ``loss``."""

    out_of_range: OutOfRange = "refuse"
    redraw: Redraw = "never"
    shift: int = 0
    seed: int = 0
    checkpoint: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("out_of_range", self.out_of_range, get_args(OutOfRange)),
            ("redraw", self.redraw, get_args(Redraw)),
        ):
            if value not in known:
                raise unknown(name, str(value), known)
        if self.shift < 0 or self.seed < 0:
            raise PmbenchError(
                f"shift={self.shift}, seed={self.seed}: expected whole numbers from 0"
            )


def loss(
    name: str | Metric,
    targets: Tensor | None = None,
    *,
    device: str | torch.device = "cpu",
    range: str = "[0,1]",
    out_of_range: OutOfRange = "refuse",
    redraw: Redraw = "never",
    shift: int = 0,
    seed: int = 0,
    checkpoint: bool = False,
    progress: bool = True,
) -> Loss:
    """Return metrics as a loss: smaller is better, whatever the direction of a metric.

    ``name`` is what ``pmbench.metric`` takes, or a sum of such names, with a plus between blanks
    and weights: "vgg-loss + 0.1*l2". A similarity counts as minus its number. ``targets``, (N, 3,
    H, W) in ``range`` on ``device``, are prepared once; without them each call names its own.

    ``out_of_range`` is what happens to values outside of ``range``: "refuse"; "clamp", where the
    gradient is 0; or "pass", with which the formula is used beyond its range, as authors do who
    optimise pixels without a bound. The last two look at no value, so a GPU is never waited for.
    ``redraw="step"`` draws random filters and directions anew at each call, for metrics that have
    some: ``seed`` and ``Loss.step`` say which. ``shift=n`` moves target and image by the same
    random offset below n pixels at each call, at the border as at the next pixel: for metrics with
    a grid of blocks, such as Watson's (Czolbe et al. 2020 use 8).
    ``checkpoint=True`` computes features again for the gradient, of a few images at a time, which
    bounds the memory of the graph.

    Raises PmbenchError for what ``pmbench.metric`` refuses, for metrics without a gradient, for
    unknown options, and where ``redraw`` finds nothing to draw.
    """
    options = LossOptions(out_of_range, redraw, shift, seed, checkpoint)
    terms = []
    for weight, each in [(1.0, name)] if isinstance(name, Metric) else parse_sum(name):
        distance = metric(each, device, range=range, progress=progress)
        if not distance.differentiable:
            raise PmbenchError(
                f"{distance.name} has no gradient, so it can be no loss; choose another metric: "
                "`pmbench list metrics` names those with a gradient"
            )
        terms.append(Term(weight, distance))
    return Loss(terms, options, targets)


def parse_sum(text: str) -> list[tuple[float, str]]:
    """Return weights and names of "NAME + WEIGHT*NAME". Raises PmbenchError for a weight of none.

    An address may have pluses too, so only those between blanks are of the sum.
    """
    terms = []
    for part in re.split(r"\s\+\s", text):
        number, name = _TERM.fullmatch(part.strip()).groups()  # type: ignore[union-attr]
        try:
            terms.append((float(number or 1), name))
        except ValueError as error:
            raise PmbenchError(f"'{text}': the weight {number} is no number") from error
    return terms


@dataclass(frozen=True)
class Term:
    """One metric of a loss."""

    weight: float
    metric: Perceptual

    def __str__(self) -> str:
        return f"{self.weight:g}*" * (self.weight != 1) + self.metric.name

    @property
    def factor(self) -> float:
        """Its weight, with a sign so that smaller is better."""
        return -self.weight if self.metric.higher_is_better else self.weight


class Loss:
    """Metrics as a loss. Made by ``pmbench.loss``.

    Like ``pmbench.metric``'s, it is no ``nn.Module``, its networks are frozen and shared, and it
    computes in float32. A copy has the same targets and a ``step`` of its own. A pickle holds
    targets, options and names, and no weights.
    """

    def __init__(
        self, terms: Sequence[Term], options: LossOptions, targets: Tensor | None = None
    ) -> None:
        names = [str(term) for term in terms]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PmbenchError(f"{min(twice)} is twice in the sum; give it one weight")
        self._terms, self._options = tuple(terms), options
        #: calls so far; with the seed it determines what ``redraw`` and ``shift`` draw
        self.step = 0
        self._random: list[Any] = []
        if options.redraw == "step":
            # drawn in place, and the networks of pmbench.metric are shared
            self._terms = tuple(
                replace(term, metric=_with_own_modules(term.metric)) for term in terms
            )
            modules = [module for term in self._terms for module in term.metric.loaded.modules]
            self._random = [module for module in modules if getattr(module, "is_random", False)]
            if not self._random:
                raise PmbenchError(
                    f"redraw='step': {self.name} has no random filters or directions; leave "
                    "redraw out"
                )
        self._targets: Tensor | None = None
        if targets is not None:
            self._targets = self._pixels("target", targets).detach().clone()
        self._prepared: Portions | None = None

    @property
    def name(self) -> str:
        """The sum, as ``pmbench.loss`` takes it."""
        return " + ".join(map(str, self._terms))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._terms[0].metric.device

    @property
    def signature(self) -> str:
        """The sum, of signatures of metrics."""
        signatures = (term.metric.signature for term in self._terms)
        return " + ".join(
            str(term).replace(term.metric.name, signature)
            for term, signature in zip(self._terms, signatures, strict=True)
        )

    def __repr__(self) -> str:
        count = 0 if self._targets is None else len(self._targets)
        targets = f", {count} targets" * bool(count)
        return f"pmbench.loss({self.name!r}{targets}, device='{self.device}')"

    @not_compiled
    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the loss of each pair: (N,) float32, smaller is better.

        ``images``, and ``targets`` where ``pmbench.loss`` had none, are as ``pmbench.metric`` takes
        them; a single image is compared with each target. Whether the numbers are finite is not
        looked at. Raises PmbenchError for other shapes, types and sizes, and for values outside of
        the range where they are refused.
        """
        return torch.stack(list(self.terms(images, targets).values())).sum(dim=0)

    @not_compiled
    def terms(self, images: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        """Return each metric's part of the loss, with weight and sign, by name: (N,) each.

        It counts as a step, as a call does.
        """
        with usual_defaults(self.device.type), _outside_of_inference_mode():
            x = self._pixels("image", images)
            y = self._targets if targets is None else self._pixels("target", targets)
            if y is None or (targets is not None and self._targets is not None):
                raise PmbenchError(
                    f"{self.name}: expected targets, in pmbench.loss(…, targets=…) or in the call, "
                    "and not in both"
                )
            self._check_sizes(x, y)
            n = max(len(x), len(y))
            draws = np.random.default_rng((self._options.seed, self.step))
            self.step += 1
            for module in self._random:
                module.redraw(draws)
            if self._options.shift:
                x, y = _shifted(self._options.shift, draws, x, y)
            if self._random or self._options.shift or targets is not None:
                prepared = Portions(y, n)
            elif self._prepared is None or self._prepared.n != n:
                prepared = self._prepared = Portions(y, n)
            else:
                prepared = self._prepared
            compute = self._checkpointed if self._options.checkpoint else self._at_once
            once = Portions(x, n)  # what several metrics derive of it is computed once
            return {
                str(term): term.factor * torch.cat(list(compute(term.metric, once, prepared)))
                for term in self._terms
            }

    def _at_once(self, metric: Perceptual, x: Portions, y: Portions) -> Iterator[Tensor]:
        height, width = x.pixels.shape[2:]
        size = metric.loaded.metric.portion(height, width, x.n)
        for target, image in zip(y.of(size), x.of(size), strict=True):
            yield metric.compute(target, image)

    def _checkpointed(self, metric: Perceptual, x: Portions, y: Portions) -> Iterator[Tensor]:
        height, width = x.pixels.shape[2:]
        some = max(1, _CHECKPOINTED // (height * width))
        size = min(some, metric.loaded.metric.portion(height, width, x.n))
        targets = y.of(size)
        single = len(x.pixels) == 1
        parts = [x.pixels] * len(targets) if single else torch.split(x.pixels, size)
        for target, pixels in zip(targets, parts, strict=True):

            def compute(pixels: Tensor, target: Images = target) -> Tensor:
                (images,) = Portions(pixels, len(target)).of(len(target))
                return metric.compute(target, images)

            yield checkpoint(compute, pixels, use_reentrant=False, preserve_rng_state=False)

    def _check_sizes(self, x: Tensor, y: Tensor) -> None:
        if x.shape[2:] != y.shape[2:] or (len(x) != len(y) and 1 not in (len(x), len(y))):
            raise PmbenchError(
                f"{self.name}: the images are of shape {tuple(x.shape)}, the targets of shape "
                f"{tuple(y.shape)}; expected the same height and width, and as many of each or one "
                "of either"
            )
        for term in self._terms:
            term.metric.check_size(x)

    def _pixels(self, role: str, images: object) -> Tensor:
        return self._terms[0].metric.pixels(role, images, self._options.out_of_range)

    def __copy__(self) -> Loss:
        parts = [(term.weight, term.metric) for term in self._terms]
        return _unpickle(parts, self._options, self._targets, self.step)

    def __deepcopy__(self, memo: object) -> Loss:
        return copy.copy(self)

    def __reduce__(self) -> tuple[Callable[..., Loss], tuple[object, ...]]:
        parts = [(term.weight, term.metric) for term in self._terms]
        return _unpickle, (parts, self._options, self._targets, self.step)


def _with_own_modules(distance: Perceptual) -> Perceptual:
    """Return the metric with networks and filters that nothing else computes with."""
    loaded = replace(distance.loaded, distance=copy.deepcopy(distance.loaded.distance))
    return Perceptual(loaded, distance.device, distance.range)


def _shifted(shift: int, draws: np.random.Generator, *images: Tensor) -> list[Tensor]:
    """Return all images moved by one offset, of 0 to ``shift`` - 1 pixels less half of that."""
    height, width = images[0].shape[2:]
    down, across = (int(offset) for offset in draws.integers(0, shift, 2))
    before = shift // 2
    padded = (F.pad(one, (before, shift - before) * 2, mode="replicate") for one in images)
    return [one[..., down : down + height, across : across + width] for one in padded]


def _outside_of_inference_mode() -> AbstractContextManager[object]:
    """Return a context in which features of targets can be used for a gradient later on."""
    inside = torch.is_inference_mode_enabled()
    return torch.inference_mode(False) if inside else nullcontext()


def _unpickle(
    terms: list[tuple[float, Perceptual]],
    options: LossOptions,
    targets: Tensor | None,
    step: int,
) -> Loss:
    result = Loss([Term(*each) for each in terms], options)
    result._targets, result.step = targets, step
    return result
