"""Which of the files of a folder are masks, and of which images, by their names."""

import re
from collections.abc import Iterable

from busi.formats.images import IMAGE_FOLDER, MASK_FOLDER, WORDS, stem_of

MASK = re.compile(rf"(?:^|[ ._-])(?:{WORDS})(?:[ _-]?\d+| ?\(\d+\))?$", re.IGNORECASE)
"""What the name of a mask ends with: ``a_mask``, ``a.seg``, ``a-label``, ``Segmentation``."""
CHANNEL = re.compile(r"_0000$")
"""What nnU-Net adds to the name of an image."""


def find_masks(names: Iterable[str]) -> set[str]:
    """Which files are masks: by the folder above them, or else by their own names.

    ``left_roi.nrrd`` is none if there is ``left_roi.seg.nrrd``.
    """
    masks, bases = set(), set()
    for name in names:
        above, _, last = name.rpartition("/")
        kinds = [MASK_FOLDER.fullmatch(part) is not None for part in above.split("/") if is_kind(part)]
        if kinds[-1] if kinds else MASK.search(plain_name(last)):
            masks.add(name)
            bases.add((above, strip_mask(plain_name(last))))
    return {
        name
        for name in masks
        if is_kind(name.rpartition("/")[0].rpartition("/")[2])
        or (name.rpartition("/")[0], plain_name(name)) not in bases
    }


def is_kind(folder: str) -> bool:
    """Whether the name of a folder says that it holds images, or masks."""
    return MASK_FOLDER.fullmatch(folder) is not None or IMAGE_FOLDER.fullmatch(folder) is not None


def plain_name(name: str) -> str:
    """The last part of a name, without suffix; that of ``a.seg.nrrd`` ends with ``.seg``."""
    last = name.rpartition("/")[2]
    return last[: -len(".nrrd")] if last.lower().endswith((".nrrd", ".nhdr")) else stem_of(last)


def strip_mask(stem: str) -> str:
    """The name of a mask without what says that it is one; empty for ``Segmentation``."""
    return MASK.sub("", stem)


def place_of(name: str) -> str:
    """The folders of a file but for those that say what it is."""
    return "/".join(part for part in name.split("/")[:-1] if not is_kind(part))


def image_keys(name: str) -> tuple[str, str]:
    """One is among the `mask_keys` of its masks: the name of an image, and that without nnU-Net's channel."""
    stem = plain_name(name)
    exact, channel = (f"{place_of(name)}/{one}".casefold() for one in (stem, CHANNEL.sub("", stem)))
    return exact, channel


def index_images(names: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Images by their names, and those with a channel by their names without it."""
    exact: dict[str, list[str]] = {}
    channels: dict[str, list[str]] = {}
    for name in names:
        key, shorter = image_keys(name)
        exact.setdefault(key, []).append(name)
        if shorter != key:
            channels.setdefault(shorter, []).append(name)
    return exact, channels


def mask_keys(name: str) -> list[str]:
    """What the image of a mask may be called, the likeliest first."""
    return [f"{place_of(name)}/{stem}".casefold() for stem in list_stems(name) if stem]


def list_stems(name: str) -> list[str]:
    """The name of a mask, and shorter ones until nothing says that it is a mask."""
    stems = [plain_name(name)]
    while (shorter := strip_mask(stems[-1])) != stems[-1]:
        stems.append(shorter)
    return stems
