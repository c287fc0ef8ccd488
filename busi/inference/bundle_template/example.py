"""Lesion mask and class probabilities of one picture: python example.py PICTURE. For research only."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

model = json.loads(Path(__file__).with_name("model.json").read_text())
size, picture = model["image_size"], Image.open(sys.argv[1]).convert("L")
width, height = (max(1, round(side * size / max(picture.size))) for side in picture.size)
left, top = (size - width) // 2, (size - height) // 2
squares = np.zeros((1, size, size), np.uint8)
inside = (0, slice(top, top + height), slice(left, left + width))
squares[inside] = picture.resize((width, height), Image.Resampling.BILINEAR)
session = onnxruntime.InferenceSession(Path(__file__).with_name(model["graph"]["file"]))
mask_probs, class_probs = session.run(["mask_probs", "class_probs"], {"squares": squares})
lesion = np.asarray(Image.fromarray(mask_probs[inside]).resize(picture.size, Image.Resampling.BILINEAR))
mask = (lesion >= model["mask_rule"]["threshold"]) & (lesion.max() >= model["mask_rule"]["peak"])
Image.fromarray(mask).save("mask.png")
for name, p, most in zip(model["classes"], map(float, class_probs[0]), model["quantiles"], strict=True):
    print(f"{name:10}{p:6.3f}{'  cannot be excluded' if 1 - p <= most else ''}")
print(f"lesion of {mask.sum()} pixels: mask.png")
