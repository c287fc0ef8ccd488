"""Lesion mask and class probabilities of one image: python example.py IMAGE. For research only."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

model = json.loads(Path(__file__).with_name("model.json").read_text())
size, image = model["image_size"], Image.open(sys.argv[1]).convert("L")
width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
left, top = (size - width) // 2, (size - height) // 2
letterboxed = np.zeros((1, size, size), np.uint8)
inside = (0, slice(top, top + height), slice(left, left + width))
letterboxed[inside] = image.resize((width, height), Image.Resampling.BILINEAR)
session = onnxruntime.InferenceSession(Path(__file__).with_name(model["graph"]["file"]))
mask_probs, class_probs = session.run(["mask_probs", "class_probs"], {"images": letterboxed})
probs = np.asarray(Image.fromarray(mask_probs[inside]).resize(image.size, Image.Resampling.BILINEAR))
mask = (probs >= model["postprocess"]["threshold"]) & (probs.max() >= model["postprocess"]["high_threshold"])
Image.fromarray(mask).save("mask.png")
for name, p, most in zip(model["classes"], map(float, class_probs[0]), model["quantiles"], strict=True):
    print(f"{name:10}{p:6.3f}{'  cannot be excluded' if 1 - p <= most else ''}")
print(f"lesion of {mask.sum()} pixels: mask.png")
