"""What the page of a run says of a picture: words, evidence, and a file to keep."""

import json
import tempfile
import zipfile
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib import colormaps
from PIL import Image

from busi.data import Frame
from busi.inference.bundle import Facts
from busi.inference.predictor import Prediction


@dataclass(frozen=True)
class View:
    """What the page shows.

    Attributes:
        name: Of the file, and the number of the frame if there are several.
        frame: The picture.
        prediction: Of it.
    """

    name: str
    frame: Frame
    prediction: Prediction


def name_model(facts: Facts, explained: bool) -> str:
    """Which model the page shows, and what the page lacks if nothing explains it."""
    words = f"Model: `{facts.origin['name']}`, {facts.image_size} px, guide `{facts.origin['guide']}`."
    return words if explained else f"{words} A bundle has no Grad-CAM and no answer with the guide blank."


def describe(view: View, level: float) -> str:
    """The class, and whether it can be relied on, in words."""
    found = view.prediction
    lines = [f"<h2>{found.class_name}: {found.probs[found.class_name]:.0%}</h2>"]
    if found.conformal_set is None:
        lines.append("Not calibrated: take the numbers as scores.")
    else:
        names = ", ".join(found.conformal_set) or "none"
        lines.append(f"Classes that cannot be excluded at {level:.0%}: <b id='set'>{names}</b>.")
        lines.append("<b>A person should decide.</b>" if found.refer else "One class is left.")
    return f"<p>{escape(view.name)}</p>" + "<br>".join(lines)


def measure(found: Prediction) -> str:
    """The mask, in words."""
    if found.box is None:
        return f"No lesion at threshold {found.threshold:.2f}."
    square_mm = "" if found.area_mm2 is None else f" ({found.area_mm2:.1f} mm²)"
    parts = f"{found.num_components} part{'s' if found.num_components > 1 else ''}"
    return (
        f"Lesion of {found.area} pixels{square_mm} in {parts}, inside {found.box.width} x {found.box.height} "
        f"pixels from ({found.box.left}, {found.box.top}), at threshold {found.threshold:.2f}."
    )


def draw_heat(gray: UInt8[np.ndarray, "h w"], heat: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a map from 0 to 1 over a picture; where it is 0 the picture is as it was."""
    colours = colormaps["inferno"](heat)[..., :3] * 255
    share = 0.6 * heat[..., None]
    drawn: UInt8[np.ndarray, "h w 3"] = ((1 - share) * gray[..., None] + share * colours).astype(np.uint8)
    return drawn


def pack(folder: Path, name: str, drawn: UInt8[np.ndarray, "h w 3"], found: Prediction) -> Path:
    """Write mask, overlay and numbers of a picture into one file to download."""
    path = Path(tempfile.mkdtemp(dir=folder)) / f"{name}.zip"
    numbers = {
        "class": found.class_name,
        "probs": found.probs,
        "calibrated": found.calibrated,
        "conformal_set": found.conformal_set,
        "refer": found.refer,
        "threshold": found.threshold,
        "area_px": found.area,
        "area_mm2": found.area_mm2,
        "box": found.box and found.box._asdict(),
        "num_components": found.num_components,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for kind, picture in (("mask", found.mask * np.uint8(255)), ("overlay", drawn)):
            with archive.open(f"{kind}.png", "w") as file:
                Image.fromarray(picture).save(file, format="PNG")
        archive.writestr("result.json", json.dumps(numbers, indent=2))
    return path
