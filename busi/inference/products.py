"""Whether a processor computes the products of int8 graphs exactly."""

import base64
from functools import cache

import numpy as np

GRAPH = base64.b64decode(
    "CAg6rAEKKQoBeAoBcwoBegoBdwoBcwoCencKAXQKAXoSAXkiC1FMaW5lYXJDb252EgFnKgsQAUIBc0oEAACAPyoIEAJCAXpKAQAqEwgBCAQI"
    "AQgBEANCAXdKBH9/f38qCRADQgJ6d0oBACoLEAFCAXRKBAAAgERaGwoBeBIWChQIAhIQCgIIAQoCCAQKAggBCgIIAWIbCgF5EhYKFAgCEhAK"
    "AggBCgIIAQoCCAEKAggBQgQKABAN"
)
"""A convolution of one pixel: the sum of four products of an unsigned and a signed byte, by 1024."""
LARGEST = np.full((1, 4, 1, 1), 255, np.uint8)
EXACT = round(4 * 255 * 127 / 1024)


@cache
def overflow() -> bool:
    """Whether pairs of products are added in 16 bits here, which do not hold them.

    x86 processors do that which lack VNNI, such as those with AVX2 alone (``vpmaddubsw``). An int8 graph then
    answers something else, and says nothing.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(GRAPH, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": LARGEST})
    return int(answer.item()) != EXACT
