"""A metric as a Python callable, also as a training loss.

import pmbench

distance = pmbench.metric("mmdpp", device="cuda")
loss = distance(reference, generated).mean()
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from pmbench.metrics import Metric, registered
from pmbench.metrics.global_state import usual_defaults
from pmbench.metrics.images import Images, portions
from pmbench.metrics.inputs import UNIT, OutOfRange, ValueRange, parse_range, to_pixels
from pmbench.metrics.loading import LoadedMetric, load_metric, not_finite, output_error
from pmbench.metrics.selection import select_metrics
from pmbench.utils.devices import choose_device
from pmbench.utils.errors import PmbenchError, one_line_of
from pmbench.utils.memory import is_out_of_memory
from pmbench.utils.progress import Silent, TqdmReporter
from pmbench.utils.tracking import is_tracked, is_transformed

_Method = TypeVar("_Method", bound=Callable[..., Any])


def metric(
    name: str | Metric,
    device: str | torch.device = "cpu",
    *,
    range: str = "[0,1]",
    progress: bool = True,
) -> Perceptual:
    """Return a metric, ready to be called on images on ``device``.

    ``name`` is whatever `pmbench eval --metric` takes: a name ("lpips-vgg"), an address
    ("./mine.py:distance"), or a Metric. ``device`` is "cpu", "cuda", "cuda:1", "mps" or "auto".
    ``range`` says what stands for black and white in the images: "[0,1]", "[-1,1]" or "[0,255]".
    Weights that are not on this machine are fetched; ``progress`` shows a bar meanwhile, on a
    terminal or in a notebook. Raises PmbenchError for an unknown name or range, for a device that
    is not there, and where something cannot be loaded.
    """
    value_range = parse_range(range)
    entries = [name] if isinstance(name, Metric) else select_metrics([name]).metrics
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries[:5])
        more = ", …" * (len(entries) > 5)
        raise PmbenchError(f"'{name}' stands for {len(entries)} metrics ({names}{more}); name one")
    where = choose_device(str(device))
    reporter = TqdmReporter() if progress else Silent()
    return Perceptual(load_metric(entries[0], where, reporter), where, value_range)


def not_compiled(method: _Method) -> _Method:
    """Keep torch.compile out of a method."""
    disable: Any = torch.compiler.disable  # it has no types
    with usual_defaults():  # torch 2.7 cannot import its compiler under another default device
        return cast(_Method, disable(method))


class Perceptual:
    """A metric that is called with two batches of images and returns one number per pair.

    Made by ``pmbench.metric``. It is no ``nn.Module``, so it never becomes part of the parameters
    or the state of a model that holds it; its own networks are frozen. A copy shares them. A pickle
    holds the metric's name or address, device and signature, and no weights: it is loaded where it
    is read, which raises PmbenchError where it then has another signature.

    It computes in float32 also under autocast, whatever torch's defaults are (where the default
    dtype is another, it is float32 meanwhile, for other threads too), and outside of what
    torch.compile compiles: a compiled training step runs it as it is, between two compiled parts
    (``fullgraph=True`` does not allow that). On a GPU, TF32 is as the program has set it; the
    numbers are exactly those of `pmbench eval` after
    ``pmbench.utils.devices.use_exact_arithmetic()``.
    """

    def __init__(
        self, loaded: LoadedMetric, device: torch.device, value_range: ValueRange = UNIT
    ) -> None:
        #: the metric's card, and what computes it
        self.loaded = loaded
        #: what stands for black and white
        self.range = value_range
        # "cuda" alone means the current one
        self._place = torch.zeros(0, device=device)

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.loaded.metric.name

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._place.device

    @property
    def higher_is_better(self) -> bool:
        """Whether larger numbers mean more alike; a loss is then minus the number."""
        return self.loaded.metric.higher_is_better

    @property
    def differentiable(self) -> bool:
        """Whether it has a gradient in both images."""
        return self.loaded.metric.differentiable

    @property
    def has_map(self) -> bool:
        """Whether it says where two images differ."""
        return self.loaded.metric.has_map

    @property
    def space(self) -> str:
        """Of which vectors the distance is one: "l2" squared Euclidean, "l1", or "" for none.

        See ``embed``.
        """
        return self.loaded.metric.space

    @property
    def signature(self) -> str:
        """Name and digest of everything that defines it, as in the signature of a run."""
        return self.loaded.signature

    def __repr__(self) -> str:
        values = "" if self.range == UNIT else f", range='{self.range.name}'"
        return f"pmbench.metric({self.name!r}, device='{self.device}'{values})"

    @not_compiled
    def __call__(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return the distance of every pair: (N,) float32, in the metric's own direction.

        Both are RGB (N, 3, H, W) or grey (N, 1, H, W), of any floating-point type, with values in
        ``range``, on ``device``; one of them may be a single image, which is then compared with
        each of the other's. Values up to 1e-3 of the range outside of it count as its end, with the
        gradient there.

        Raises PmbenchError for anything else, for sizes on which the metric is not defined, where a
        gradient is asked of a metric that has none or a transform that torch cannot follow, and
        where the metric has no finite number for a pair.
        """
        return self._compute("distance", self.compute, reference, distorted)

    @not_compiled
    def map(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Return where the images of every pair differ: (N, H, W) float32, of the images' size.

        Values are in the metric's own direction. Their mean over all places is the distance, or
        near it where the metric adds maps of several sizes; where it has windows that lie inside of
        the images, the border repeats what is next to it, and is no part of the distance. Takes
        what a call takes, and raises what it raises; also PmbenchError where the metric has no map.
        """
        if not self.has_map:
            raise PmbenchError(
                f"{self.name} does not say where images differ; `pmbench list metrics --json` "
                "names those that do, under has_map"
            )
        return self._compute("map", self._maps, reference, distorted)

    @not_compiled
    def terms(self, reference: Tensor, distorted: Tensor) -> dict[str, Tensor]:
        """Return what each pair's distance is the sum of, by name: (N,) float32 each.

        A tap of a network is a term, and a part of a formula such as those of MMD++; factors and
        means are in the terms. A metric that is no sum has one term, of its own name. Takes what a
        call takes, and raises what it raises.
        """
        names: list[str] = []

        def stacked(x: Images, y: Images) -> Tensor:
            compute = getattr(self.loaded.distance, "terms", None)
            terms = {self.name: self.compute(x, y)} if compute is None else compute(x, y)
            names[:] = terms
            return torch.stack(list(terms.values()), dim=1).float()

        table = self._compute("terms", stacked, reference, distorted)
        return dict(zip(names, table.unbind(dim=1), strict=True))

    @not_compiled
    def embed(self, images: Tensor) -> Tensor:
        """Return the vectors in which the metric is a distance: (N, D) float32.

        ``space`` says which: "l2" is the squared Euclidean distance Σ (a - b)², "l1" is
        Σ abs(a - b). D grows with the images' size, unless the metric compares only what is
        averaged over it.
        ``images`` are as a call takes them. Raises PmbenchError for images that a call refuses, and
        where the metric is no such distance (``space`` is "").
        """
        metric, compute = self.loaded.metric, getattr(self.loaded.distance, "embed", None)
        if not metric.space or compute is None:
            raise PmbenchError(
                f"{self.name} is not the distance of two vectors; `pmbench list metrics --json` "
                "names those that are, under space"
            )
        with usual_defaults(self.device.type):
            x = self.pixels("embedded", images)
            self.check_size(x)
            self._check_tracked(x)
            size = metric.portion(x.shape[2], x.shape[3], len(x))
            vectors = torch.cat([compute(part) for part in portions(x, len(x), size)]).float()
        self._check_finite("vector of image", vectors)
        return vectors

    def check_size(self, pixels: Tensor) -> None:
        """Raise PmbenchError where the metric is not defined on images of that size."""
        if (why := self.loaded.metric.undefined_on(*pixels.shape[2:])) is not None:
            raise PmbenchError(f"{self.name} {why}")

    def _check_tracked(self, *pixels: Tensor) -> None:
        if not self.differentiable and is_tracked(*pixels):
            raise PmbenchError(
                f"{self.name} has no gradient, so it can be no loss; to measure with it, give "
                "it x.detach(), or call it under torch.no_grad(), outside of torch.func"
            )

    def _compute(
        self,
        what: str,
        function: Callable[[Images, Images], Tensor],
        reference: Tensor,
        distorted: Tensor,
    ) -> Tensor:
        """Return ``function`` of all pairs, as many at a time as the metric takes."""
        metric = self.loaded.metric
        with usual_defaults(self.device.type):
            x, y = self.pixels("reference", reference), self.pixels("distorted", distorted)
            if x.shape[2:] != y.shape[2:] or (len(x) != len(y) and 1 not in (len(x), len(y))):
                raise PmbenchError(
                    f"{self.name}: the reference images are of shape {tuple(reference.shape)}, the "
                    f"distorted ones of shape {tuple(distorted.shape)}; expected the same height "
                    "and width, and as many of each or one of either"
                )
            self.check_size(x)
            self._check_tracked(x, y)
            n = max(len(x), len(y))
            size = metric.portion(x.shape[2], x.shape[3], n)
            pairs = zip(portions(x, n, size), portions(y, n, size), strict=True)
            try:
                values = torch.cat([function(*pair) for pair in pairs])
            except (RuntimeError, ValueError, TypeError) as error:
                if is_out_of_memory(error) or not is_transformed(x, y):
                    raise
                raise PmbenchError(
                    f"{self.name}: torch cannot follow it through this transform "
                    f"({one_line_of(error).partition('. ')[0]}); take gradients by backward() or "
                    "torch.autograd.grad, and give many pairs as one batch"
                ) from error
        self._check_finite(f"{what} of pair", values)
        return values

    def _check_finite(self, what: str, values: Tensor) -> None:
        plain = torch.func.debug_unwrap(values.detach())
        if not plain.isfinite().all():
            bad = plain.isfinite().logical_not()
            number = int(bad.nonzero()[0, plain.ndim - values.ndim])  # after what vmap adds
            raise not_finite(self.loaded.metric, f"{what} {number}", float(plain[bad][0]))

    def compute(self, reference: Images, distorted: Images) -> Tensor:
        """Return the distances of images that are known to fit: (N,) float32, finite or not."""
        value = self.loaded.distance(reference, distorted)
        if (wrong := output_error(value, len(reference))) is not None:
            raise PmbenchError(f"{self.name}: {wrong}")
        return value.float()

    def _maps(self, x: Images, y: Images) -> Tensor:
        compute = getattr(self.loaded.distance, "map", None)
        value = None if compute is None else compute(x, y)
        expected = (len(x), *x.pixels.shape[2:])
        if not isinstance(value, Tensor) or value.shape != expected:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else "none"
            raise PmbenchError(
                f"{self.name} says that it has a map: expected a method map(x, y) that returns a "
                f"tensor of shape {expected}, got {got}; mend the metric"
            )
        return value.float()

    def pixels(self, role: str, images: object, out_of_range: OutOfRange = "refuse") -> Tensor:
        """Return images as the metric sees them: float32 RGB (N, 3, H, W) in [0, 1].

        Raises PmbenchError for what it does not take; see ``to_pixels``.
        """
        who = f"{self.name}: the {role} images"
        if not isinstance(images, Tensor):
            raise PmbenchError(
                f"{who} are of type {type(images).__name__}; expected a torch.Tensor"
            )
        if images.device != self.device:
            raise PmbenchError(
                f"{who} are on {images.device}, the metric is on {self.device}; move one of them, "
                f"as in pmbench.metric('{self.name}', device='{images.device}')"
            )
        return to_pixels(images, self.range, who, out_of_range)

    def __copy__(self) -> Perceptual:
        return self

    def __deepcopy__(self, memo: object) -> Perceptual:
        return self

    def __reduce__(self) -> tuple[Callable[..., Perceptual], tuple[object, ...]]:
        entry = self.loaded.metric
        has_name = entry.package or registered().get(entry.name) == entry
        source = entry.address or (entry.name if has_name else entry)
        try:
            pickle.dumps(source)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PmbenchError(
                f"{self.name} cannot be pickled ({one_line_of(error)}); register it in a module, "
                "or name it by an address such as ./mine.py:name"
            ) from error
        # the device as a tensor: torch.load(…, map_location=…) moves it
        return _unpickle, (source, self._place, self.range.name, self.signature)


def _unpickle(source: str | Metric, place: Tensor, range: str, signature: str) -> Perceptual:
    result = metric(source, place.device, range=range)
    if result.signature != signature:
        raise PmbenchError(
            f"the pickle is of {signature}, and here the metric is {result.signature}; use the "
            "weights and versions of where it was made, or make it anew with "
            f"pmbench.metric('{result.name}')"
        )
    return result
