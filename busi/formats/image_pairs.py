"""Images and their masks as PNG files in two folders, as most frameworks want them."""

from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from busi.data import SharedSplit, file_name, read_gray, read_mask
from busi.figures import write_png


def write_pairs(
    split: SharedSplit, image_of: Callable[[str], Path], mask_of: Callable[[str], Path]
) -> dict[int, str]:
    """Write each annotated image of a fold as 8-bit gray, and its mask with the values 0 and 1.

    Args:
        split: The split.
        image_of: From the name of an image to its file.
        mask_of: The same of its mask.

    Returns:
        Position in the cohort -> name: the id as the name of a file.
    """
    cohort = split.cohort
    names = {
        i: file_name(record.id)
        for i, record in enumerate(cohort.records)
        if cohort.folds[i] >= 0 and record.annotated
    }
    for i, name in track(names.items(), "writing images", transient=True):
        gray = read_gray(cohort.records[i].image)
        write_png(image_of(name), gray, durable=False)
        write_png(mask_of(name), read_mask(cohort.records[i], *gray.shape), durable=False)
    return names
