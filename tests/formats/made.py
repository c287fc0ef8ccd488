"""Small data sets whose masks are hard to keep: with holes, at borders, in parts, of one pixel."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from busi.core.types import CLASSES
from busi.data.files import read_gray
from busi.data.manifest import read_csv
from busi.data.masks import read_mask

HEIGHT, WIDTH = 36, 50
Masks = dict[str, Bool[np.ndarray, "h w"]]


def draw_masks() -> Masks:
    """A mask for each name, whose first word is the class."""
    masks = {name: np.zeros((HEIGHT, WIDTH), bool) for name in ("benign a", "benign b", "malignant (1)")}
    masks["benign a"][5:20, 8:30] = True
    masks["benign a"][9:12, 12:20] = False  # a hole
    masks["benign a"][25, 40] = True  # a pixel
    masks["benign b"][0:7, 30:] = True  # in a corner
    masks["malignant (1)"] = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3
    masks["normal x"] = np.zeros((HEIGHT, WIDTH), bool)
    return masks


def write_images(folder: Path, masks: Masks) -> None:
    """An image of noise for each mask, as ``NAME.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, mask) in enumerate(masks.items()):
        noise = np.random.default_rng(number).integers(0, 256, mask.shape, np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")


def write_manifest(folder: Path, masks: Masks | None = None) -> Path:
    """A manifest of images and masks, with a patient and a spacing."""
    masks = masks or draw_masks()
    write_images(folder / "scans", masks)
    (folder / "drawn").mkdir()
    rows = [["image", "mask", "label", "patient", "spacing", "birads"]]
    for name, mask in masks.items():
        label = name.split()[0]
        drawn = f"drawn/{name}.png" if label != "normal" else ""
        if drawn:
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / drawn)
        rows.append([f"scans/{name}.png", drawn, label, f"who {name}", "0.1;0.08", "4a"])
    with (folder / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "m.csv"


def read_back(folder: Path) -> Masks:
    """The masks that a manifest names, by the last part of the id; labels are checked on the way."""
    records, problems = read_csv(folder / "manifest.csv")
    assert not problems
    masks = {}
    for record in records:
        name = record.id.rsplit("/", 1)[-1].removeprefix("scans_")
        assert CLASSES[record.label] == name.split()[0]
        masks[name] = read_mask(record, *read_gray(record.image).shape).astype(bool)
    return masks


def same(one: Masks, other: Masks) -> bool:
    """Whether two sets of masks are equal pixel by pixel."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def problems_of(folder: Path) -> dict[str, str]:
    """What ``problems.csv`` says of each image or file."""
    with (folder / "problems.csv").open(newline="") as file:
        return {row["id"]: row["problem"] for row in csv.DictReader(file)}
