"""The records of BUS-BRA: 1,875 images of 1,064 patients, with folds that were published."""

from collections.abc import Mapping
from pathlib import Path

from busi.core import CLASSES, InputError, Record
from busi.data.layouts import (
    NO_MASK,
    Layout,
    Rows,
    list_images,
    match_rows,
    read_label,
    read_rows,
    stray_masks,
    unknown_label,
)
from busi.data.records import Problem, Reading

LAYOUT = Layout(
    "busbra",
    "BUS-BRA",
    ("Images", "Masks", "bus_data.csv"),
    "BUSBRA_ROOT",
    "https://zenodo.org/records/8231412",
)
FOLDS = (5, 10)
"""Of the splits that come with it."""


def read_busbra(root: Path) -> Reading:
    """Read BUS-BRA as it was published.

    Args:
        root: The folder with ``Images``, ``Masks`` and ``bus_data.csv``, and the tables ``5-fold-cv.csv`` and
            ``10-fold-cv.csv``, without which there are no published folds; or one that holds it alone.

    Returns:
        Records and problems. Each record has its patient (``Case``), device, BI-RADS category and published
        folds, which count from 0.

    Raises:
        WrongLayout: If the folder holds something else.
        InputError: If a table is damaged, or a table of folds does not fit ``bus_data.csv``.

    Source: Gómez-Flores et al., "BUS-BRA: a breast ultrasound dataset for assessing computer-aided diagnosis
    systems", Medical Physics 51 (2024).
    """
    folder = LAYOUT.find(root)
    images, problems = list_images(folder / "Images")
    masks, more = list_images(folder / "Masks")
    rows = read_rows(folder / "bus_data.csv", "ID", ("Case", "Pathology", "BIRADS", "Device"))
    folds = {k: read_folds(folder / f"{k}-fold-cv.csv", k, rows) for k in FOLDS}
    matched, unmatched = match_rows(images, rows, "bus_data.csv")
    problems += [*more, *unmatched, *stray_masks(masks, {name_mask(name) for name in images})]
    records = []
    for name, path, row in matched:
        mask, label = masks.get(name_mask(name)), read_label(row["Pathology"], CLASSES[1:])
        if label is None:
            problems.append(unknown_label(name, row["Pathology"], "bus_data.csv"))
        elif mask is None:
            problems.append(Problem(name, NO_MASK, path.name))
        elif not row["Case"]:
            problems.append(Problem(name, "image without a patient (Case) in bus_data.csv", path.name))
        else:
            records.append(
                Record(
                    name,
                    path,
                    (mask,),
                    label,
                    patient=row["Case"],
                    source=LAYOUT.name,
                    scanner=row["Device"] or None,
                    birads=row["BIRADS"].casefold() or None,
                    published_folds={k: found[name] for k, found in folds.items() if name in found},
                )
            )
    return LAYOUT.finish(folder, records, problems)


def name_mask(image: str) -> str:
    """The name of the mask of an image: ``mask_0001-l`` of ``bus_0001-l``."""
    return f"mask_{image.removeprefix('bus_')}"


def read_folds(path: Path, num_folds: int, rows: Rows) -> Mapping[str, int]:
    """Read the published fold of each image.

    Args:
        path: Of the table; one that is missing has no folds.
        num_folds: The number of folds.
        rows: Of ``bus_data.csv``.

    Returns:
        Image -> fold, from 0.

    Raises:
        InputError: If the table is damaged, does not have the images and labels of ``bus_data.csv``, or
            splits a patient.
    """
    if not path.is_file():
        return {}
    listed = read_rows(path, "ID", ("Pathology", "kFold"))
    wrong = f"{path} does not fit bus_data.csv: "
    again = "get both files again, or move this one away (then it has no published folds)"
    if strangers := sorted(listed.keys() ^ rows.keys()):
        raise InputError(f"{wrong}only one of them has {', '.join(strangers[:5])}; {again}")
    found: dict[str, int] = {}
    fold_of: dict[str, int] = {}
    for name, (row, *others) in listed.items():
        text, case = row["kFold"], rows[name][0]["Case"]
        if others or not text.isdecimal() or not 1 <= int(text) <= num_folds:
            raise InputError(
                f"{path}: kFold of {name} is {text or '(empty)'}, not one of 1 to {num_folds}, once; {again}"
            )
        if row["Pathology"].casefold() != rows[name][0]["Pathology"].casefold():
            raise InputError(f"{wrong}{name} is {row['Pathology'] or '(empty)'} there; {again}")
        found[name] = int(text) - 1
        if case and fold_of.setdefault(case, found[name]) != found[name]:
            raise InputError(f"{path}: patient {case} is in several folds ({name} in {text}); {again}")
    return found
