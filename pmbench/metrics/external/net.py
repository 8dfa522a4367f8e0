"""Any network of a library as a perceptual metric: ``net:timm/resnet18@layer1+layer3?random=0``.

The unweighted formula of Zhang et al. 2018 (their rows "Net"): at each tap every position's channel
vector is divided by its length; squared difference, summed over channels, mean over positions, sum
over taps. The input is normalised as the network's authors say. On tokens a position is a patch;
class tokens and registers are none.

Taps are names of modules, or strides in pixels (``@4+8+16``): the last module's output at each.
Without ``@`` it is one tap at every stride at which the network has something to learn, and in a
network of one stride, such as a plain vision transformer, four blocks at even distances with the
last among them. ``?random=SEED`` is the network as its library draws it after that seed; ``?map=``
compares the taps as they are, in another way, and averages; see ``net_backbone``, which has the
networks of pmbench itself: ``net:vgg16@relu1_2?map=gram``.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

import torch

from pmbench.metrics import Distance, Metric, failing_metric
from pmbench.metrics.builtin.feature_losses import TapLoss
from pmbench.metrics.builtin.lpips import FeatureDistance
from pmbench.metrics.external import net_backbone
from pmbench.metrics.external.net_backbone import MapOptions, parse_map_options
from pmbench.networks.backbones import ARCHITECTURES, Form
from pmbench.networks.feature_extractor import FeatureExtractor, Tap, keep_only
from pmbench.networks.model_libraries import ModelLibrary, Timm, Torchvision
from pmbench.networks.tap_catalog import TapCatalog, examine, sizes
from pmbench.utils.errors import PmbenchError, unknown

_PAPER = "Zhang et al.: The Unreasonable Effectiveness of Deep Features, CVPR 2018"
_LIBRARIES: dict[str, ModelLibrary] = {"timm": Timm(), "torchvision": Torchvision()}
_EXTRAS = {"timm": "timm", "torchvision": ""}


@dataclass(frozen=True)
class Network:
    """A network of a library: trained, or drawn at random after a seed."""

    library: str
    name: str
    seed: int | None

    @property
    def model_library(self) -> ModelLibrary:
        """The library."""
        return _LIBRARIES[self.library]

    def __str__(self) -> str:
        return f"{self.library}/{self.name}"


@dataclass(frozen=True)
class _Load:
    """Loads the metric; equal for equal addresses, so that one asked for twice is one metric."""

    network: Network
    modules: tuple[str, ...]
    maps: MapOptions

    def __call__(self, device: torch.device) -> Distance:
        if not self.maps.map:
            net = trunk(self.network, self.modules, "unit", device)
            return FeatureDistance(net, [torch.ones(tap.channels) for tap in net.taps]).to(device)
        net = trunk(self.network, self.modules, "raw", device)
        numbers = tuple(range(len(net.taps)))
        return TapLoss(net, self.maps.comparison, numbers, self.maps.pixels)


def resolve(name: str, address: str, options: Mapping[str, str]) -> Metric:
    """Return the metric at ``LIBRARY/NETWORK[@TAP+TAP][?random=SEED&map=MAP&pixels=yes]``.

    It is called ``name``, or where that is the address, as in the first line above. Raises
    PmbenchError for a library, network, tap or option that does not exist. A network that cannot
    be examined, or whose library is not installed, is a metric that says so when it is loaded.
    """
    place, asked, options = _parse(address, options)
    if name.startswith("net?"):
        name = "net:"
    if place in ARCHITECTURES:
        return net_backbone.resolve(name, place, asked, options)
    network, maps = _network(place, address, options), parse_map_options(options)
    drawn = network.seed is not None
    if name.startswith("net:"):
        query = [f"random={network.seed}"] * drawn + [str(maps)] * bool(maps.map)
        name = f"net:{network}{'@' * bool(asked)}{'+'.join(asked)}"
        name += "?" * bool(query) + "&".join(query)
    seed = -1 if network.seed is None else network.seed
    parameters: dict[str, str | int] = {"network": str(network), "seed": seed}
    if maps.map:
        parameters["map"] = str(maps)
    entry = Metric(
        name=name,
        load=_Load(network, asked, maps),
        title=f"{maps.map or 'unweighted'} {'random ' * drawn}{network.name} features of "
        f"{network.library}",
        family=f"net: {network.library}",
        paper=_PAPER,
        code=network.model_library.code,
        parameters={**parameters, "taps": "+".join(asked)},
        symmetric=maps.comparison.symmetric if maps.map else True,
        space=maps.comparison.space if maps.map else "l2",
        extra=_EXTRAS[network.library],
    )
    if entry.not_installed() is not None:
        return entry
    try:
        info = network.model_library.info(network.name)
        taps = _taps(network, asked)
        modules = tuple(tap.module for tap in taps)
        smallest, multiple = _sizes(network.library, network.name, modules)
    except PmbenchError:
        raise
    except Exception as error:  # noqa: BLE001  foreign code fails alone
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return failing_metric(
            name, f"{network} cannot be examined ({message}); choose another network"
        )
    return replace(
        entry,
        load=_Load(network, modules, maps),
        min_size=smallest,
        multiple_of=multiple,
        weights=() if drawn else info.weights,
        licence="" if drawn else info.licence,
        # tokens are in no order
        has_map=all(tap.layout in ("NCHW", "NHWC") for tap in taps)
        and (not maps.map or maps.comparison.difference is not None),
        parameters={
            **parameters,
            "taps": "+".join(modules),
            # no tensors, and as the library has them today
            "input": str(info.preprocessing),
            "library": version(network.library),
        },
    )


@functools.cache
def trunk(
    network: Network, modules: tuple[str, ...], form: Form, device: torch.device
) -> FeatureExtractor:
    """Return the frozen network with taps at ``modules``; the same object for the same choice.

    No argument has a default: see ``pmbench.networks.backbones.backbone``.
    """
    offer = _offer(network.library, network.name)
    taps = [offer.taps[module] for module in modules]
    needed = offer.needed(taps)
    # made outside of inference mode, since it may be asked for a gradient later: it is a loss too
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        if network.seed is None:
            net = network.model_library.trained(network.name, needed)
        else:
            torch.default_generator.manual_seed(network.seed)  # a GPU's stays as it is
            net = network.model_library.build(network.name)
            keep_only(net, needed)
        preprocessing = network.model_library.info(network.name).preprocessing
        result = offer.trunk(net, preprocessing, taps, form).eval().requires_grad_(False).to(device)
        return result.to(memory_format=torch.channels_last)


@functools.cache
def _offer(library: str, name: str) -> TapCatalog:
    """Return what a network offers, whatever its weights."""
    model_library = _LIBRARIES[library]
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                network = model_library.build(name)
        except NotImplementedError:  # it computes its widths with tensors
            network = model_library.build(name).to("meta")
        return examine(
            network, model_library.run, model_library.info(name).side, model_library.heads
        )


@functools.cache
def _sizes(library: str, name: str, modules: tuple[str, ...]) -> tuple[int, int]:
    offer = _offer(library, name)
    preprocessing = _LIBRARIES[library].info(name).preprocessing
    taps = [offer.taps[module] for module in modules]
    return sizes(offer, offer.trunk(offer.network, preprocessing, taps))


def _parse(
    address: str, options: Mapping[str, str]
) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
    """Return the place of a network, its taps as they were typed, and all options."""
    place, mark, query = address.partition("?")
    place, at, typed = place.partition("@")
    taps = tuple(typed.split("+")) if at else ()
    if "" in taps:
        raise PmbenchError(
            f"net:{address}: expected modules or strides behind the @, such as @4+8+16, "
            f"got '@{typed}'"
        )
    every = dict(options)
    for part in query.split("&") if mark else []:
        key, _, value = part.partition("=")
        if key in every:
            raise PmbenchError(f"net:{address}: the option {key} is there twice; leave one out")
        every[key] = value
    return place, taps, every


def _network(place: str, address: str, options: Mapping[str, str]) -> Network:
    """Return the network of a library that an address names."""
    library, _, name = place.partition("/")
    if not (library and name):
        raise PmbenchError(
            f"net:{address}: expected a library and a network, such as net:torchvision/resnet18, "
            f"or one of {', '.join(ARCHITECTURES)}, got '{place}'"
        )
    if library not in _LIBRARIES:
        raise unknown("library of networks", library, _LIBRARIES)
    known = ("random", "map", "pixels")
    if strange := [key for key in options if key not in known]:
        raise unknown("option of a network", strange[0], known)
    seed = options.get("random")
    if seed is not None and not re.fullmatch(r"[0-9]{1,18}", seed):
        raise PmbenchError(
            f"net:{address}: expected one whole number of up to 18 digits as random=SEED, "
            f"got '{seed}'"
        )
    return Network(library, name, None if seed is None else int(seed))


def _taps(network: Network, asked: Iterable[str]) -> list[Tap]:
    """Return the taps that were asked for, or the network's own, in the order of computation."""
    offer = _offer(network.library, network.name)
    result = [_tap(network, offer, text) for text in asked] or list(offer.default)
    if not result:
        raise PmbenchError(
            f"no module of {network} gives features with positions; choose another network"
        )
    if twice := [tap.module for i, tap in enumerate(result) if tap in result[:i]]:
        raise PmbenchError(f"two taps of {network} are the module '{twice[0]}'; leave one out")
    return [tap for tap in offer.taps.values() if tap in result]


def _tap(network: Network, offer: TapCatalog, text: str) -> Tap:
    if text.isdecimal():
        if int(text) not in offer.by_stride:
            raise PmbenchError(
                f"{network} has no features at a stride of {text} pixels; it has them at "
                f"{', '.join(map(str, offer.by_stride)) or 'none'}"
            )
        return offer.by_stride[int(text)]
    if text not in offer.modules:
        close = difflib.get_close_matches(text, offer.modules, n=1, cutoff=0.5)
        first = [tap.module for tap in offer.default]
        raise unknown(f"module of {network}", text, offer.modules if close else first)
    if text not in offer.taps:
        usual = ", ".join(tap.module for tap in offer.default)
        raise PmbenchError(
            f"the module '{text}' of {network} gives no features with positions; "
            f"choose another, such as {usual}"
        )
    return offer.taps[text]
