"""Networks of other people's libraries, by name: torchvision's and timm's.

Each knows what a network is called, what its input looks like, how it is built, and where its
weights come from.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import re
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pmbench.networks import weights
from pmbench.networks.backbones import Preprocessing
from pmbench.networks.feature_extractor import keep_only
from pmbench.networks.manifest import WeightFile
from pmbench.utils.errors import PmbenchError, unknown
from pmbench.utils.http_client import check_reachable


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is built."""

    preprocessing: Preprocessing
    side: int  # of the images that it is made for
    licence: str  # of its weights
    weights: tuple[str, ...] = ()  # names for pmbench.networks.weights, where they come from there


class ModelLibrary(Protocol):
    """A library of networks."""

    run: str  # what its networks are called by
    heads: tuple[str, ...]  # modules behind the features that are run nevertheless
    code: str

    def info(self, name: str) -> NetworkInfo:
        """Return what is known of a network. Raises PmbenchError where there is none."""

    def build(self, name: str) -> nn.Module:
        """Return the network as its library draws it at random."""

    def trained(self, name: str, needed: Collection[str]) -> nn.Module:
        """Return the network with trained weights, and only with the tensors ``needed``.

        Raises PmbenchError where its weights cannot be had, or lack one of them.
        """


class Torchvision:
    """Classification networks of torchvision, with the weights that torchvision calls DEFAULT."""

    run = "forward"
    heads: tuple[str, ...] = ("classifier", "fc", "head", "heads")
    code = "https://github.com/pytorch/vision"

    def info(self, name: str) -> NetworkInfo:
        """Return what is known of a network. Raises PmbenchError where there is none."""
        from torchvision import models

        if name not in (known := models.list_models(module=models)):
            raise unknown("network of torchvision", name, known)
        default = models.get_model_weights(name).DEFAULT
        seen = default.transforms()
        digest = re.search(r"-([0-9a-f]{8,})\.pth$", default.url)
        weights.announce(
            name,
            WeightFile(
                url=default.url,
                sha256_prefix=digest.group(1) if digest else None,
                licence="BSD-3-Clause (torchvision)",
                megabytes=default.meta.get("_file_size"),
            ),
        )
        preprocessing = Preprocessing(False, tuple(seen.mean), tuple(seen.std))
        return NetworkInfo(preprocessing, seen.crop_size[0], "BSD-3-Clause", (name,))

    def build(self, name: str) -> nn.Module:
        """Return the network as torchvision draws it at random."""
        return self._build(name, learned=False)

    def trained(self, name: str, needed: Collection[str]) -> nn.Module:
        """Return the network with torchvision's weights, and only with the tensors ``needed``."""
        network = self._build(name, learned=True)
        keep_only(network, needed)
        # DenseNet's files have names from a time when a module's might hold dots
        layer = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
        tensors = {layer.sub(r"\1\2", key): value for key, value in weights.load(name).items()}
        fit(network, tensors, name, weights.find(name))
        return network

    def _build(self, name: str, learned: bool) -> nn.Module:
        options: dict[str, Any] = {}
        if name.startswith("vit_"):  # whose weights are for one size
            options["image_size"] = self.info(name).side
        if name in ("googlenet", "inception_v3"):
            # their weights were learned with another normalisation, into which they turn
            # torchvision's if told to; drawing filters as these two do takes a minute
            options |= {"transform_input": learned, "init_weights": not learned}
        from torchvision.models import get_model  # seconds, and most runs need none of it

        network: nn.Module = get_model(name, weights=None, **options)
        return network


class Timm:
    """Networks of timm, with their default weights or those of the tag in the name.

    The weights are a file of PMBENCH_WEIGHTS that is called as the network, with its tag or
    without, and names tensors as timm does; else what timm has fetched from the hub or fetches now.
    """

    run = "forward_features"
    heads: tuple[str, ...] = ()
    code = "https://github.com/huggingface/pytorch-image-models"

    def info(self, name: str) -> NetworkInfo:
        """Return what is known of a network. Raises PmbenchError where there is none."""
        timm = _timm()
        known = timm.list_models() + (timm.list_pretrained() if "." in name else [])
        if name not in known:
            if difflib.get_close_matches(name, known, n=1, cutoff=0.5):
                raise unknown("network of timm", name, known)
            raise PmbenchError(f"unknown network of timm '{name}'; see timm.list_models()")
        given = timm.get_pretrained_cfg(name)
        channels, side, _ = given.input_size
        if channels != 3:
            raise PmbenchError(
                f"timm/{name} is for images of {channels} channels; expected a network for 3"
            )
        preprocessing = Preprocessing(False, tuple(given.mean), tuple(given.std))
        return NetworkInfo(preprocessing, side, given.license or "")

    def build(self, name: str) -> nn.Module:
        """Return the network as timm draws it at random."""
        return self._build(name, learned=False)

    def trained(self, name: str, needed: Collection[str]) -> nn.Module:
        """Return the network with timm's weights, and only with the tensors ``needed``."""
        timm = _timm()
        given = timm.get_pretrained_cfg(name)
        full = f"{given.architecture}.{given.tag}" if given.tag and given.has_weights else name
        names = dict.fromkeys((full, name))
        path = weights.in_folder(f"{n}.{kind}" for n in names for kind in ("safetensors", "pth"))
        if path is not None:
            network = self._build(name, learned=False)
            keep_only(network, needed)
            fit(network, weights.read(path, name), name, path)
            return network
        ways_out = (
            f"put {full}.safetensors into a folder and name it with --weights or PMBENCH_WEIGHTS, "
            "or add ?random=0 for a network that has learned nothing"
        )
        if not given.has_weights:
            raise PmbenchError(f"timm has no trained weights of {name}; {ways_out}")
        absent = f"the weights of timm/{full} are not on this machine"
        offline = os.environ.get("PMBENCH_OFFLINE", "0") not in ("", "0")
        cached = given.hf_hub_id and _in_hub_cache(given.hf_hub_id)
        if offline and not cached:
            raise PmbenchError(f"{absent} and PMBENCH_OFFLINE is set; {ways_out}")
        if given.hf_hub_id and not cached:
            try:
                _ask_the_hub()
            except PmbenchError as error:
                raise PmbenchError(
                    f"{absent} and cannot be fetched ({error}); {ways_out}"
                ) from error
        try:
            with _hub(asked=not cached):
                network = self._build(name, learned=True)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            raise PmbenchError(
                f"timm cannot load the weights of {full} ({message}); {ways_out}"
            ) from error
        keep_only(network, needed)
        return network

    def _build(self, name: str, learned: bool) -> nn.Module:
        timm = _timm()
        network: nn.Module = timm.create_model(name, pretrained=learned, **_of_any_size(name))
        return network


def _timm() -> Any:
    return importlib.import_module("timm")  # so that its absence, or its types, trouble nobody


@functools.cache
def _of_any_size(name: str) -> dict[str, bool]:
    """Return the options that make a network of timm take images of any size, if it has them."""
    timm = _timm()
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        kind = type(timm.create_model(name, pretrained=False))
    accepted = inspect.signature(kind.__init__).parameters
    options = {"dynamic_img_size": True, "strict_img_size": False}  # newer and older Swins
    return next(({key: value} for key, value in options.items() if key in accepted), {})


def _in_hub_cache(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def _ask_the_hub() -> None:
    """Raise PmbenchError where nobody answers: the hub's own client would ask a dozen times."""
    from huggingface_hub import constants

    url = constants.ENDPOINT
    weights.ask(url, lambda: check_reachable(url, silence=10))


@contextmanager
def _hub(asked: bool) -> Iterator[None]:
    """Keep the hub's client from asking the network, unless ``asked``."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not asked
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fit(network: nn.Module, tensors: Mapping[str, Tensor], name: str, path: Path | None) -> None:
    """Copy the tensors of a weight file into a network, which must find all of its own there.

    Raises PmbenchError where one is missing, has another shape, or is not sound.
    """
    own = network.state_dict()
    wanted = {key: value.shape for key, value in own.items()}
    fitting: OrderedDict[str, Tensor] = OrderedDict(
        (key, value)
        for key, value in tensors.items()
        if value.shape == wanted.get(key, value.shape)
    )
    for key, value in fitting.items():
        if key in wanted and own[key].is_floating_point():
            weights.sound(value, key, name, path)
    # some networks judge by this version what older files call otherwise; safetensors lack it
    fitting._metadata = {"": {"version": getattr(network, "_version", None)}}  # type: ignore[attr-defined]
    for key in network.load_state_dict(fitting, strict=False).missing_keys:
        if key in wanted:
            weights.take(tensors, key, wanted[key], name, path)
