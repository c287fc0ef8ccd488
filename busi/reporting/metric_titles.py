"""What pages call the metrics, and which of them a table has room for."""

from collections.abc import Iterable, Mapping

from busi.core import CLASSES
from busi.metrics import OPERATING_POINTS

POINTS = {name: f"{100 * level:.0f} % {rate}" for name, (rate, level) in OPERATING_POINTS.items()}
"""Name of an operating point -> its title."""
TITLES = {
    "dice": "lesion Dice",
    "iou": "lesion IoU",
    "hd95": "HD95, pixels",
    "lesion_miss_rate": "lesions missed",
    "normal_fp_rate": "normals with a false mask",
    "dice_all": "Dice of all images",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    **{f"{rate}_{name}": f"{rate}, {name}" for rate in ("recall", "precision") for name in CLASSES},
    **{f"f1_{name}": f"F1, {name}" for name in CLASSES},
    **{f"auroc_{name}": f"AUROC, {name} against the rest" for name in CLASSES},
    "auroc": "AUROC, mean of the classes",
    "brier": "Brier score (0 to 2)",
    "log_loss": "log loss, nats",
    "calibration_slope": "calibration slope, malignant",
    "calibration_error": "calibration error, debiased",
    **{
        f"{rate}_at_{x}": f"{rate}, threshold for {title}"
        for x, title in POINTS.items()
        for rate in ("sensitivity", "specificity")
    },
    **{f"coverage_{name}": f"sets that contain the class, {name}" for name in CLASSES},
    "set_size": "classes in a set",
}
"""Name of a metric -> its title."""
SHORT = {
    **TITLES,
    **{f"auroc_{name}": f"AUROC, {name}" for name in CLASSES},
    "brier": "Brier score",
}
"""The same as heads of columns, which are narrow."""
MASK_METRICS = ("dice", "iou", "hd95", "lesion_miss_rate", "normal_fp_rate", "dice_all")
"""Metrics of the masks."""
KEY_MASK_METRICS = ("dice", "lesion_miss_rate", "normal_fp_rate")
"""Those that tell the most."""
CALIBRATION = ("brier", "log_loss", "calibration_slope", "calibration_error")
"""Metrics that are given before and after the temperature."""
CLASS_METRICS = (
    *("accuracy", "balanced_accuracy", "macro_f1"),
    *(f"recall_{name}" for name in CLASSES),
    *(f"auroc_{name}" for name in CLASSES),
    *("auroc", *CALIBRATION),
)
"""Metrics of the classes."""


def entitle(names: Iterable[str], titles: Mapping[str, str] = TITLES) -> dict[str, str]:
    """Names of metrics -> their titles, in this order."""
    return {name: titles[name] for name in names}
