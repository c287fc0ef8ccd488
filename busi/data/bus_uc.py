"""The records of BUS-UC: 811 images, of which no patients are known."""

from pathlib import Path

from busi.core import CLASSES, NORMAL, Record
from busi.data.layouts import NO_MASK, Layout, list_images, stray_masks
from busi.data.records import Problem, Reading

LAYOUT = Layout(
    "bus_uc",
    "BUS-UC",
    ("Benign/images", "Benign/masks", "Malignant/images", "Malignant/masks"),
    "BUS_UC_ROOT",
    "https://data.mendeley.com/datasets/3ksd7w7jkx",
    ignored=("All",),
)


def read_bus_uc(root: Path) -> Reading:
    """Read BUS-UC as it was published.

    Args:
        root: The folder with ``Benign`` and ``Malignant``, each with ``images`` and ``masks`` of the same
            names; or one that holds it alone.

    Returns:
        Records and problems. The folder ``All``, which repeats the images without their classes, is not read.

    Raises:
        WrongLayout: If the folder holds something else, or images in other folders.

    Source: Iqbal and Sharif, "Memory-efficient transformer network with feature fusion for breast tumor
    segmentation and classification task", Engineering Applications of Artificial Intelligence 127 (2024).
    """
    folder = LAYOUT.find(root)
    LAYOUT.refuse_strangers(folder)
    records, problems = [], []
    for label, name in list(enumerate(CLASSES))[NORMAL + 1 :]:
        images, unread = list_images(folder / name.capitalize() / "images")
        masks, more = list_images(folder / name.capitalize() / "masks")
        found = [*unread, *more, *stray_masks(masks, images.keys())]
        found += [Problem(one, NO_MASK, path.name) for one, path in images.items() if one not in masks]
        for one in found:  # the two classes count alike
            problems.append(Problem(f"{name} {one.id}", one.kind, f"{name.capitalize()}: {one.file}"))
        records += [
            Record(f"{name} {one}", path, (masks[one],), label, source=LAYOUT.name)
            for one, path in images.items()
            if one in masks
        ]
    return LAYOUT.finish(folder, records, problems)
