"""Lesion mask of an image, and class probabilities if any: python example.py IMAGE. For research only.

The mask goes into the current folder, as IMAGE_mask.png.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # or opening the graph would call a server
import onnxruntime

FOLDER = Path(__file__).resolve().parent
MODEL = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))


def read_gray(path: str) -> np.ndarray:
    """An 8-bit gray or RGB image as gray (h, w), upright as its EXIF orientation says."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
            other = ";16" in str(image.tile) or getattr(image, "is_animated", False)
            if other or image.mode not in ("L", "RGB") or "transparency" in image.info:
                sys.exit(f"{path} is not 8-bit gray or RGB: python -m busi.predict reads such images")
            gray = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        sys.exit(f"cannot read {path} as PNG, JPEG or BMP: {error}")
    if gray.min() == gray.max():
        sys.exit(f"{path} shows nothing: every pixel has the same gray level")
    return gray


def predict(
    gray: np.ndarray, model: dict[str, Any], session: onnxruntime.InferenceSession
) -> tuple[np.ndarray, np.ndarray]:
    """Mask (h, w) and probability of each class; of none if the model tells none."""
    size, (height, width) = model["image_size"], gray.shape
    scale = size / max(height, width)
    inner_height, inner_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - inner_height) // 2, (size - inner_width) // 2
    inside = (0, slice(top, top + inner_height), slice(left, left + inner_width))
    letterboxed = np.zeros((1, size, size), np.uint8)
    letterboxed[inside] = Image.fromarray(gray).resize((inner_width, inner_height), Image.Resampling.BILINEAR)
    mask_probs, *rest = session.run(None, {"images": letterboxed})
    inner = Image.fromarray(np.ascontiguousarray(mask_probs[inside]))
    probs = np.asarray(inner.resize((width, height), Image.Resampling.BILINEAR))
    class_probs = calibrate(rest[0][0].astype(float), model) if rest else np.empty(0)
    return find_lesions(probs, **model["postprocess"]), class_probs


def calibrate(probs: np.ndarray, model: dict[str, Any]) -> np.ndarray:
    """Probabilities under temperature and biases of the model, where the graph has others inside."""
    inside, biases = model.get("graph", {}).get("temperature"), model.get("biases")
    if inside is None and biases is None:
        return probs
    raised = probs ** ((inside or model["temperature"]) / model["temperature"]) * np.exp(biases or 0)
    return np.asarray(raised / raised.sum())


def find_lesions(probs: np.ndarray, threshold: float, high_threshold: float) -> np.ndarray:
    """Connected parts, also by a corner, of probs >= threshold, that reach high_threshold somewhere."""
    mask = np.asarray(probs >= threshold)
    if high_threshold <= threshold:
        return mask
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    return mask & np.isin(parts, parts[mask & (probs.astype(float) >= high_threshold)])


def main() -> None:
    """Predict the image that the command names."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if (target := Path(f"{Path(sys.argv[1]).stem}_mask.png")).exists():
        sys.exit(f"{target} is here already: move it, or go to another folder")
    graph, options = FOLDER / MODEL["graph"]["file"], onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 as exact on older processors
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    mask, probs = predict(read_gray(sys.argv[1]), MODEL, session)
    Image.fromarray(mask).save(target)
    quantiles = MODEL["quantiles"] or [-1] * len(probs)
    for name, p, most in zip(MODEL["classes"], probs, quantiles, strict=True):
        print(f"{name:10}{p:6.3f}{'  cannot be excluded' if 1 - p <= most else ''}")
    print(f"lesion of {mask.sum()} pixels: {target}")


if __name__ == "__main__":
    main()
