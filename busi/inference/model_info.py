"""``model.json`` of a bundle: what must be known of a model beside its graph, checked field by field."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from busi.core import (
    CLASSES,
    MAX_SIZE,
    InputError,
    Rule,
    file_hash,
    number,
    one_of,
    or_null,
    whole,
    write_json,
)
from busi.inference.schema import (
    COUNT,
    FINITE,
    HASH,
    PIXEL_HASH,
    SHARE,
    TEXT,
    Each,
    Schema,
    find_wrong,
    several,
    show,
)
from busi.models import Postprocess

FORMAT = 5
"""Of ``model.json``; a later one that older code cannot read has a higher number."""
OLDEST = 3
"""The oldest format that is read: 3 lacks ``seen``, and 4 has no models of masks alone."""
GRAPH_FILE, INFO_FILE = "model.onnx", "model.json"
PRECISIONS = ("float32", "f16", "int8")
MAX_BYTES = 8_000_000
"""Of ``model.json``."""
MAX_SEEN = 100_000
"""Images that a model may have seen."""
AGAIN = "copy the bundle again, or export its run again"


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model beside its networks.

    Attributes:
        image_size: Side of the letterboxed images, in pixels.
        postprocess: Turns lesion probabilities into a mask.
        temperature: Divides the logits; 1 where there was no validation fold to fit it on.
        biases: Added to the logits after that, one a class; None unless the model was recalibrated.
        quantiles: The largest ``1 - probability`` with which each class is in the conformal set; None if the
            model is not calibrated.
        level: Share of each class that the conformal sets are meant to contain.
        malignant_thresholds: Probability of malignant from which an image is predicted malignant, for each
            sensitivity or specificity that this reaches on the validation fold, e.g. ``sensitivity_95``.
        fingerprints: Of data, split and checkpoint.
        metrics: Of the test fold: value, and both ends of the 95 % interval, None where undefined.
        origin: The run: its name, data, guide, encoder, fold and settings; ``told_source``, how classes were
            balanced if the run knew the source of each image that it was measured on; ``started_from``, other
            data that the models behind it have seen; ``unknown``, why nobody knows all; ``recalibrated``
            where its calibration is not of its own validation fold but of images of another hospital.
        seen: Pixel hashes of the images that trained, chose or calibrated the model; None if it was exported
            before they were kept.
        local_metrics: Of a recalibrated model: ``before`` and ``after``, on images of that hospital which
            took no part in it; as `metrics`.
        classes: Those that it tells; none of a segmentation model alone.
    """

    image_size: int
    postprocess: Postprocess
    temperature: float
    quantiles: tuple[float, ...] | None
    level: float
    malignant_thresholds: dict[str, float | None]
    fingerprints: dict[str, str]
    metrics: dict[str, list[float | None]]
    origin: dict[str, Any]
    seen: tuple[str, ...] | None = None
    local_metrics: dict[str, dict[str, list[float | None]]] | None = None
    classes: tuple[str, ...] = CLASSES
    biases: tuple[float, ...] | None = None

    @property
    def added_biases(self) -> tuple[float, ...]:
        """`biases`, or as many zeros."""
        return self.biases or (0.0,) * len(CLASSES)

    @property
    def has_classes(self) -> bool:
        """Whether the model tells classes, beside masks."""
        return bool(self.classes)


ESTIMATES = Each(several(or_null(FINITE), "a value and both ends of its interval", [3]))
QUALITY: Schema = {"num_images": COUNT, "dice": SHARE, "macro_f1": or_null(SHARE)}
SCHEMA: dict[str, Schema] = {
    "format": whole(OLDEST, FORMAT),
    "classes": Rule(f"{', '.join(CLASSES)}, in this order, or none", lambda x: x in (list(CLASSES), [])),
    "image_size": whole(1, MAX_SIZE),
    "postprocess": {"threshold": SHARE, "high_threshold": SHARE},
    "temperature": number(1e-6, 1e6),
    "biases?": several(number(-100.0, 100.0), "one number for each class", [len(CLASSES)]),
    "quantiles": or_null(several(SHARE, "one number from 0 to 1 for each class", [len(CLASSES)])),
    "level": SHARE,
    # One that no image reaches may lie just above 1.
    "malignant_thresholds": Each(or_null(number(0.0, 1.001, "a number from 0 to 1"))),
    "fingerprints": {"data": TEXT, "split": TEXT, "checkpoint": TEXT},
    "metrics": ESTIMATES,
    "seen?": several(PIXEL_HASH, f"1 to {MAX_SEEN} times {PIXEL_HASH.words}", range(1, MAX_SEEN + 1)),
    "local_metrics?": {"before": ESTIMATES, "after": ESTIMATES},
    "origin": {
        **{"name": TEXT, "data": TEXT, "guide": TEXT, "encoder": TEXT, "fold": COUNT},
        **{"recipe?": TEXT, "settings?": TEXT, "finished?": TEXT},
        "seeds?": several(whole(0, 2**64), "1 to 1000 whole numbers", range(1, 1001)),
        "sources?": several(TEXT, "1 to 1000 names of data sets", range(1, 1001)),
        "told_source?": TEXT,
        "started_from?": several(TEXT, "1 to 1000 names of data sets", range(1, 1001)),
        "unknown?": TEXT,
        "recalibrated?": {
            **{"data": TEXT, "fingerprint": TEXT, "num_images": COUNT, "date": TEXT},
            "kept": several(TEXT, "what was not fitted, in words", range(101)),
        },
    },
    "graph": {
        **{"file": one_of(GRAPH_FILE), "sha256": HASH, "precision": one_of(*PRECISIONS)},
        **{
            "num_checked": COUNT,
            "largest_difference": SHARE,
            "temperature?": number(1e-6, 1e6),
            "float32?": QUALITY,
            "reduced?": QUALITY,
        },
    },
}
"""Of ``model.json``, which may come from anywhere."""


def write_model_info(folder: Path, info: ModelInfo, about_graph: dict[str, Any]) -> Path:
    """Write ``model.json`` beside the graph, which must be there.

    Args:
        folder: Of the bundle.
        info: Of the model.
        about_graph: Its precision, and how it was checked.

    Raises:
        InputError: If the file could not be read again, because a value is out of its range.
    """
    content = {
        "format": FORMAT,
        **{name: value for name, value in asdict(info).items() if value is not None or name == "quantiles"},
        "graph": {"file": GRAPH_FILE, "sha256": file_hash(folder / GRAPH_FILE), **about_graph},
    }
    read_content(json.dumps(content).encode(), folder / INFO_FILE)
    return write_json(folder / INFO_FILE, content)


def read_model_info(folder: Path) -> ModelInfo:
    """Read ``model.json``; see `read_model_json`."""
    return read_model_json(folder)[0]


def read_model_json(folder: Path) -> tuple[ModelInfo, dict[str, Any]]:
    """Read ``model.json``: the model, and the graph that it describes (its SHA-256, how it was checked).

    Raises:
        InputError: If it is missing, damaged, of another format or program, or a field breaks its rule.
    """
    path = folder / INFO_FILE
    content = read_content(read_part(path, MAX_BYTES), path)
    fields: dict[str, Any] = {name: content.get(name) for name in ModelInfo.__dataclass_fields__}
    thresholds = {name: float(value) for name, value in fields["postprocess"].items()}
    fields["postprocess"] = Postprocess(**thresholds)
    fields["quantiles"] = fields["quantiles"] and tuple(map(float, fields["quantiles"]))
    fields["classes"] = tuple(fields["classes"])
    fields["biases"] = fields["biases"] and tuple(map(float, fields["biases"]))
    fields["seen"] = None if fields["seen"] is None else tuple(fields["seen"])
    fields |= {name: float(fields[name]) for name in ("temperature", "level")}
    return ModelInfo(**fields), content["graph"]


def read_content(text: bytes, path: Path) -> dict[str, Any]:
    """Decode and check the content of ``model.json``.

    Raises:
        InputError: See `read_model_json`.
    """
    try:
        content = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): {AGAIN}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is not int:
        raise InputError(f"{path} is not of busi: it names no format. Give the folder of a bundle of busi")
    if version > FORMAT:
        raise InputError(f"{path} is of a newer busi (format {show(version)}, not {FORMAT}): update busi")
    if version < OLDEST:
        formats = f"format {show(version)}, not {FORMAT}"
        raise InputError(f"{path} is of an older busi ({formats}): export its run again")
    wrong = find_wrong(content, SCHEMA)
    if not wrong and content["quantiles"] and not content["classes"]:
        wrong = "quantiles are of classes, and it has none"
    if not wrong and content.get("biases") and not content["classes"]:
        wrong = "biases are of classes, and it has none"
    if wrong:
        raise InputError(f"{path} is damaged: {wrong}. {AGAIN.capitalize()}")
    return content  # type: ignore[no-any-return]


def read_part(path: Path, most: int) -> bytes:
    """Read a file of a bundle.

    Args:
        path: Of the file.
        most: The most bytes that it may have.

    Raises:
        InputError: If it is missing, no file, empty, larger, or cannot be read.
    """
    if not os.path.lexists(path):
        raise InputError(f"{path} is missing: {AGAIN}")
    if not path.is_file():  # nor anything that would wait for ever, like a pipe
        raise InputError(f"{path} is no file: {AGAIN}")
    try:
        size = path.stat().st_size
        if not 0 < size <= most:
            what = "is empty" if not size else f"has {size} bytes, over {most}"
            raise InputError(f"{path} {what}: {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}. {AGAIN.capitalize()}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{show(next(key for key in keys if keys.count(key) > 1))} stands there twice")
    return content
