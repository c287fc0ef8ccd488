"""What the demo says of an image: texts, a heatmap, and a file to keep.

Names come from anywhere: texts are HTML in which they are escaped.
"""

import json
import zipfile
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image

from busi.core import write_whole
from busi.data import Frame
from busi.inference.model_info import ModelInfo
from busi.inference.prediction import Prediction


@dataclass(frozen=True)
class View:
    """What the page shows.

    Attributes:
        name: Of the file, and the number of the frame if there are several.
        frame: The image.
        prediction: Of it.
    """

    name: str
    frame: Frame
    prediction: Prediction


def describe_model(info: ModelInfo, explained: bool) -> str:
    """Which model the page shows, and what the page lacks if nothing explains the model."""
    name, guide = (f"<code>{escape(info.origin[key])}</code>" for key in ("name", "guide"))
    if not info.has_classes:
        return f"Model: {name}, {info.image_size} px. It gives masks alone, and tells no class."
    text = f"Model: {name}, {info.image_size} px, guide {guide}."
    return text if explained else f"{text} A bundle has no Grad-CAM and no answer with an empty guide."


def describe_diagnosis(view: View, level: float) -> str:
    """The predicted class, and whether it can be relied on."""
    prediction = view.prediction
    if prediction.pred is None:
        return f"<p>{escape(view.name)}</p>"
    lines = [f"<h2>{prediction.pred}: {prediction.probs[prediction.pred]:.0%}</h2>"]
    if prediction.conformal_set is None:
        lines.append("Not calibrated: take the numbers as scores.")
    else:
        names = ", ".join(prediction.conformal_set) or "none"
        lines.append(f"Classes that cannot be excluded at {level:.0%}: <b id='set'>{names}</b>.")
        lines.append("<b>A person should decide.</b>" if prediction.refer else "One class is left.")
    return f"<p>{escape(view.name)}</p>" + "<br>".join(lines)


def describe_mask(prediction: Prediction) -> str:
    """Size and place of the mask."""
    box, area_mm2, count = prediction.box, prediction.pred_area_mm2, prediction.num_components
    if box is None:
        return f"No lesion at threshold {prediction.threshold:.2f}."
    millimeters = "" if area_mm2 is None else f" ({area_mm2:.1f} mm²)"
    return (
        f"Lesion of {prediction.pred_area} pixels{millimeters} in {count} part{'s' if count > 1 else ''}, "
        f"inside {box.width} x {box.height} pixels from ({box.left}, {box.top}), "
        f"at threshold {prediction.threshold:.2f}."
    )


def draw_heatmap(
    gray: UInt8[np.ndarray, "h w"], heatmap: Float32[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a map from 0 to 1 over an image; where it is 0 the image is as it was."""
    colors = colormaps["inferno"](heatmap)[..., :3] * 255
    opacity = 0.6 * heatmap[..., None]
    drawn: UInt8[np.ndarray, "h w 3"] = ((1 - opacity) * gray[..., None] + opacity * colors).astype(np.uint8)
    return drawn


def describe_scale() -> str:
    """The color bar of the heatmap."""
    stops = ", ".join(to_hex(color) for color in colormaps["inferno"](np.linspace(0, 1, 9)))
    bar = f"height:0.8rem;background:linear-gradient(to right, {stops})"
    ends = "display:flex;justify-content:space-between;gap:1rem"
    return (
        f"<div style='{bar}'></div><div style='{ends}'><span>0: does not speak for the class</span>"
        "<span>1: speaks for it most</span></div>"
    )


def write_results(
    folder: Path, name: str, overlay: UInt8[np.ndarray, "h w 3"], prediction: Prediction
) -> Path:
    """Write mask, overlay and numbers of an image into one file to download.

    Args:
        folder: Of this image, made if it is not there; the file takes the place of an earlier one.
        name: Of the file.
        overlay: RGB.
        prediction: What the file says.
    """
    numbers = {
        "pred": prediction.pred,
        "probs": prediction.probs,
        "calibrated": prediction.calibrated,
        "conformal_set": prediction.conformal_set,
        "refer": prediction.refer,
        "threshold": prediction.threshold,
        "pred_area": prediction.pred_area,
        "pred_area_mm2": prediction.pred_area_mm2,
        "box": prediction.box and prediction.box._asdict(),
        "num_components": prediction.num_components,
    }

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w") as archive:
            for kind, image in (("mask", prediction.mask * np.uint8(255)), ("overlay", overlay)):
                with archive.open(f"{kind}.png", "w") as file:
                    Image.fromarray(image).save(file, format="PNG")
            archive.writestr("result.json", json.dumps(numbers, indent=2))

    folder.mkdir(exist_ok=True)
    return write_whole(folder / f"{name}.zip", write, durable=False)
