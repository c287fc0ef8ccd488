"""Titles of pages: the models and the data, in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from busi.core import to_plain
from busi.reporting.left_out import trained_on
from busi.reporting.pooling import join, rows_by_source
from busi.reporting.sources import name_folds
from busi.runs import Variant

NETWORKS = {
    "Unet": "U-Net",
    "UnetPlusPlus": "U-Net++",
    "DeepLabV3Plus": "DeepLabV3+",
    "Segformer": "SegFormer",
    "PlainUNet": "five-level U-Net",
    "EarlyGuide": "classifier with early guide",
    "LateGuide": "classifier with late guide",
    "TwoViews": "classifier with two views",
    "DescribedViews": "classifier with two views and descriptors",
}
"""Class of a network -> what a title calls it; another one has the name of its class."""
DATA = {
    "busi": "BUSI",
    "busbra": "BUS-BRA",
    "busuclm": "BUS-UCLM",
    "breast": "BrEaST-Lesions-USG",
    "buid": "BUID",
    "bus_uc": "BUS-UC",
    "synthetic": "synthetic data",
}
"""Name of a data set -> what a title calls it; another one has its own name."""


def title_of(variants: Sequence[Variant]) -> str:
    """The title of a report on one setting, which says which folds are missing."""
    first, config = variants[0], variants[0].seeds[0][0].config
    models = name_models(variants)
    if first.held_out:
        return (
            f"Report: {models}, trained on {name_data(trained_on(first))}, tested on "
            f"{name_data([first.held_out])}, which was held out"
        )
    number = config.data.num_folds
    whole = f", {number} folds" if number > 1 else ""
    return f"Report: {models} on {name_tested(first)}{about_missing(variants) or whole}"


def about_missing(variants: Sequence[Variant]) -> str:
    """The end of a title that says which folds there are, where some are missing; else empty."""
    number = variants[0].seeds[0][0].config.data.num_folds
    some = [
        f"{one.name} {name_folds(one.folds)}"
        for one in variants
        if len(one.folds) < number and not one.held_out
    ]
    return f" - partial, not all of {number} folds ({'; '.join(dict.fromkeys(some))})" if some else ""


def name_tested(variant: Variant) -> str:
    """The data set of the test images, or the sources of a pool."""
    data = variant.seeds[0][0].config.data
    named = data.sources or data.name == "csv"
    return name_data(rows_by_source(join(variant.seeds[0])) if named else [data.name])


def name_data(names: Iterable[str]) -> str:
    """Data sets in words."""
    return enumerate_words([DATA.get(name, name) for name in names])


def name_models(variants: Sequence[Variant]) -> str:
    """The networks of some variants in words, each once, and an encoder once if it is that of all."""
    found = [name_model(variant) for variant in variants]
    encoders = {encoder for _, encoder in found}
    if len(encoders) > 1:
        return enumerate_words(kind + _in_brackets(encoder) for kind, encoder in found)
    return enumerate_words(kind for kind, _ in found) + _in_brackets(*encoders)


def name_model(variant: Variant) -> tuple[str, str]:
    """The kind of the network of a variant, with the number of an ensemble's trainings; and its encoder."""
    network: Mapping[str, Any] = to_plain(variant.seeds[0][0].config.model)["network"]
    if not variant.num_members:
        return name_network(network)
    parts = [name_network(member["network"]) for member in network["members"]]
    kinds, encoders = (enumerate_words(filter(None, words)) for words in zip(*parts, strict=True))
    return f"ensemble of {variant.num_members} trainings of {kinds}", encoders


def name_network(network: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of a network in words, and its encoder; that is empty where it has none."""
    kind = str(network["_target_"]).rpartition(".")[2]
    encoder = network.get("encoder") or network.get("encoder_name") or ""
    return NETWORKS.get(kind, kind), str(encoder).removeprefix("tu-")


def enumerate_words(words: Iterable[str]) -> str:
    """Different words as a list: ``a, b and c``."""
    *front, last = dict.fromkeys(words) or [""]
    return f"{', '.join(front)} and {last}" if front else last


def _in_brackets(encoder: str) -> str:
    return f" ({encoder})" if encoder else ""
