"""How well a predicted mask agrees with the annotation: metrics of single images, and their averages.

Everything here is measured on masks at the size of the original image. BUSI states no pixel spacing,
so distances are in pixels.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import distance_transform_edt

from busi.core import BENIGN, MALIGNANT
from busi.metrics.bootstrap import Weights, mean_of
from busi.metrics.estimates import Values


def dice(pred: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Dice similarity coefficient, ``2 |P & M| / (|P| + |M|)`` (Dice, Ecology 26, 1945).

    Args:
        pred: Predicted mask.
        mask: Annotation.

    Returns:
        Between 0 and 1; 1 when both are empty: the prediction is then right everywhere.
    """
    total = np.count_nonzero(pred) + np.count_nonzero(mask)
    return 2 * np.count_nonzero(pred & mask) / total if total else 1.0


def iou(pred: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union, ``|P & M| / |P | M|`` (Jaccard, New Phytologist 11, 1912).

    Args:
        pred: Predicted mask.
        mask: Annotation.

    Returns:
        Between 0 and 1; 1 when both are empty.
    """
    union = np.count_nonzero(pred | mask)
    return np.count_nonzero(pred & mask) / union if union else 1.0


def hd95(pred: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """95th-percentile Hausdorff distance between the boundaries of two masks.

    The larger of the two directed distances, each the 95th percentile (linear interpolation) of the
    distances from the pixels of one boundary to the other boundary: the partial Hausdorff distance of
    Huttenlocher, Klanderman and Rucklidge (IEEE TPAMI 15, 1993), as MONAI computes it. MedPy pools the
    two sets of distances before it takes the percentile, which gives smaller values. A boundary pixel
    lies in the mask and has a 4-neighbor that does not, or that is off the image.

    Args:
        pred: Predicted mask.
        mask: Annotation.

    Returns:
        Pixels, at least 0. The image's diagonal when only `pred` is empty, so that predicting nothing is
        not rewarded. NaN when `mask` is empty: there is nothing to measure from.
    """
    if not mask.any():
        return float("nan")
    if not pred.any():
        return float(np.hypot(*mask.shape))
    # Both boundaries lie in the bounding box of the union: the rest of the image only costs time.
    left, top, width, height = cv2.boundingRect((pred | mask).view(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    edge_pred, edge_mask = _boundary(pred[box]), _boundary(mask[box])
    to_mask = np.percentile(_distance_to(edge_mask)[edge_pred], 95)
    to_pred = np.percentile(_distance_to(edge_pred)[edge_mask], 95)
    return float(max(to_mask, to_pred))


def measure_mask(
    pred: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"] | None
) -> dict[str, float | int]:
    """What ``predictions.csv`` says of a mask: `dice`, `iou`, `hd95`, and the pixels of both.

    Args:
        pred: Predicted mask.
        mask: Annotation; if there is none, `pred_area` alone is a number, the others are NaN.
    """
    if mask is None:
        return {**dict.fromkeys(("dice", "iou", "hd95", "area"), float("nan")), "pred_area": int(pred.sum())}
    return {
        "dice": dice(pred, mask),
        "iou": iou(pred, mask),
        "hd95": hd95(pred, mask),
        "area": int(mask.sum()),
        "pred_area": int(pred.sum()),
    }


def segmentation_metrics(columns: Mapping[str, Shaped[np.ndarray, " n"]], weights: Weights) -> Values:
    """Average the metrics of single images over a set of annotated images.

    A model can trade false masks on normal images against missed lesions, so both rates are given. `dice_all`
    depends on the share of normal images in the set; `dice` does not.

    Args:
        columns: Of equal length, by name: `label` (position in `CLASSES`); `dice`, `iou` and `hd95` as the
            functions here give them; `area` and `pred_area`, the annotated and the predicted pixels.
            Other columns are ignored. Every image must have been annotated.
        weights: How often each image stands in each of d resamples.

    Returns:
        `dice`, `iou`, `hd95` (pixels) over the images with a lesion (`area > 0`); `dice_benign` and
        `dice_malignant`, the same by class; `dice_all` over all images; `normal_fp_rate`, the share of
        images without a lesion that get any mask; `lesion_miss_rate`, the share of images with a
        lesion whose predicted mask does not touch it. NaN where a resample has no such image.
    """
    label, scores = columns["label"], columns["dice"]
    lesion = columns["area"] > 0
    parts = {
        "dice": (scores, lesion),
        "dice_benign": (scores, lesion & (label == BENIGN)),
        "dice_malignant": (scores, lesion & (label == MALIGNANT)),
        "dice_all": (scores, np.ones_like(lesion)),
        "iou": (columns["iou"], lesion),
        "hd95": (columns["hd95"], lesion),
        "normal_fp_rate": (columns["pred_area"] > 0, ~lesion),
        "lesion_miss_rate": (scores == 0, lesion),
    }
    return {name: mean_of(values, kept, weights) for name, (values, kept) in parts.items()}


def _boundary(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # OpenCV's default border never erodes; a zero border makes the image's edge part of the boundary.
    inner = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & ~inner.astype(np.bool_)


def _distance_to(points: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    # Exact in double precision: OpenCV's transform differs in the last digits from call to call.
    return np.asarray(distance_transform_edt(~points), np.float64)
