"""Weights of a timm network in a file of somebody else: read as data, found under whatever names."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from busi.core import InputError, expand, is_file, list_some

KINDS = ".pth, .pt, .ckpt or .safetensors"
"""What a file of weights is called."""
SHOWN = 3
"""Names in an error."""


class Fit(NamedTuple):
    """Tensors of a file that have the names of a network behind one prefix.

    Attributes:
        prefix: What stands in front of the names, e.g. ``state_dict.model.encoder.``.
        tensors: Name in the network -> tensor.
    """

    prefix: str
    tensors: dict[str, Tensor]


def match_file(path: str | Path, expected: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Find the tensors of a network in a file.

    Args:
        path: PyTorch's format or safetensors; nothing in it is run.
        expected: Name -> tensor of that shape, the stem aside: it may be one for color images.
        what: The network, for errors.

    Returns:
        Name -> tensor, all of `expected` but counters of batches that the file may lack.

    Raises:
        InputError: If the file is missing or damaged, or holds another network, several that fit, or a
            number that is none.
    """
    stored = read_tensors(expand(path))
    fits = sorted(find_fits(stored, expected), key=lambda fit: -len(fit.tensors))
    if not fits:
        found = ", ".join(list(stored)[:SHOWN])
        raise InputError(
            f"encoder_weights={path}: none of the {len(expected)} names of {what} is among its {len(stored)} "
            f"tensors (e.g. {found}): give encoder= the network that they are of, or another file"
        )
    best = fits[0]
    # Files of old versions of PyTorch lack them.
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    absent = [name for name in needed if name not in best.tensors]
    there = [name for name in needed if name in best.tensors]
    wrong = [name for name in there if not fits_shape(best.tensors[name], expected[name])]
    if absent or wrong:
        parts = [f"not there: {list_some(absent, SHOWN)}"] if absent else []
        if wrong:
            name = wrong[0]
            sizes = f"{_size(best.tensors[name])} there, {_size(expected[name])} needed"
            parts.append(f"of another size: {list_some(wrong, SHOWN)} ({sizes})")
        behind = f" behind {best.prefix!r}" if best.prefix else ""
        raise InputError(
            f"encoder_weights={path}: {len(there) - len(wrong)} of {len(needed)} names of {what} "
            f"match{behind}; {'; '.join(parts)}. Give encoder= the network that they are of, or another file"
        )
    others = [fit for fit in fits[1:] if all(name in fit.tensors for name in needed) and _differ(fit, best)]
    if others:
        listed = ", ".join(repr(fit.prefix) for fit in (best, *others))
        raise InputError(
            f"encoder_weights={path} has several sets of weights of {what}, behind {listed}: save the one "
            "that you mean as a file of its own"
        )
    if broken := [name for name in there if not best.tensors[name].isfinite().all()]:
        raise InputError(
            f"encoder_weights={path} has numbers that are not finite ({list_some(broken, SHOWN)}): "
            "give another file"
        )
    return best.tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file, those of nested tables under dotted names.

    Raises:
        InputError: If it is missing or damaged, is a checkpoint of busi, or holds more than data.
    """
    if not is_file(path):
        raise InputError(f"encoder_weights={path}: there is no such file. Give one ({KINDS}), or a word")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"encoder_weights={path} cannot be read ({error}): give another file") from error
    except Exception as error:  # whatever the unpickler finds
        raise InputError(
            f"encoder_weights={path} is damaged, or holds more than tensors, and nothing else is read "
            f"({type(error).__name__}). Save them alone: torch.save(network.state_dict(), 'weights.pth')"
        ) from error
    if isinstance(content, dict) and "busi" in content:
        raise InputError(
            f"encoder_weights={path} is a checkpoint of busi. To begin with the weights of a run give "
            "start_from=RUN: then the leak guard knows what they have seen"
        )
    tensors = dict(_walk(content, ""))
    if not tensors:
        raise InputError(f"encoder_weights={path} holds no tensors: give a file of weights ({KINDS})")
    return tensors


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Digest of the names and values of tensors, however a file holds them."""
    digest = hashlib.sha256()
    for name, x in sorted(tensors.items()):
        digest.update(name.encode() + x.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def find_fits(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[Fit]:
    """Each prefix behind which stored names are those of a network, and what is there.

    timm writes ``stages.0`` or ``stages_0``, depending on what a network is for; both are the same name.
    """
    names = {plain(name): name for name in expected}
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, x in stored.items():
        text = plain(name)
        for start in [0, *(k + 1 for k, letter in enumerate(text) if letter == "_")]:
            if text[start:] in names:
                found[name[:start]][names[text[start:]]] = x
    return (Fit(prefix, tensors) for prefix, tensors in found.items())


def plain(name: str) -> str:
    """The name of a tensor, however the parts of its network are nested."""
    return name.replace(".", "_")


def fits_shape(weight: Tensor, target: Tensor) -> bool:
    """Whether a tensor fits, as it is or as the stem of a network for color or gray images."""
    same = weight.shape[:1] + weight.shape[2:] == target.shape[:1] + target.shape[2:]
    stem = weight.ndim >= 4 and weight.ndim == target.ndim and same and weight.shape[1] in (1, 3)
    stem = stem and target.shape[1] <= 2
    return weight.shape == target.shape or stem


def _walk(node: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield name, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, f"{name}.{key}" if name else str(key))


def _differ(one: Fit, other: Fit) -> bool:
    names = one.tensors.keys() & other.tensors.keys()
    return not all(torch.equal(one.tensors[name], other.tensors[name]) for name in names)


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) or "a number"
