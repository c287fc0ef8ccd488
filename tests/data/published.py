"""Published data sets in small: their true layout, synthetic images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from openpyxl import Workbook
from PIL import Image

from busi.core.types import CLASSES
from busi.data.cohort import Cohort, build_cohort
from busi.data.records import Reading
from tests.data.conftest import draw, lesion, save

BREAST_IMAGES = "BrEaST-Lesions_USG-images_and_masks"
BREAST_TABLE = "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
BREAST_COLUMNS = (
    *("CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "Pixel_size", "Age"),
    *("Tissue_composition", "Signs", "Symptoms", "Shape", "Margin", "Echogenicity", "Posterior_features"),
    *("Halo", "Calcifications", "Skin_thickening", "Interpretation", "BIRADS", "Verification"),
    *("Diagnosis", "Classification"),
)
GREEN, RED = (0, 255, 0), (255, 0, 0)
SHAPE = lesion() > 0
Cells = dict[str, Any]


def split(reading: Reading, cache: Path, num_folds: int = 3, **changes: Any) -> Cohort:
    """The cohort of a data set, with the defaults of a run."""
    options: dict[str, Any] = {
        **{"cache_dir": cache, "fold": 0, "leave_out": None, "num_folds": num_folds, "split_seed": 0},
        **{"conflicts": "drop", "exclude": None, "on_bad": "error", "need_masks": False, "subset": None},
    }
    return build_cohort(reading, **(options | changes))


def paint(path: Path, color: tuple[int, int, int], shape: np.ndarray = SHAPE) -> None:
    """Write an RGB mask: the lesion in a color on black."""
    Image.fromarray((shape[..., None] * np.array(color)).astype(np.uint8)).save(path)


def rgba(path: Path, gray: np.ndarray, hidden: np.ndarray) -> None:
    """Write an RGBA file that is transparent, and white beneath, where `hidden` is."""
    color = np.where(hidden, 255, gray).astype(np.uint8)
    Image.fromarray(np.dstack([color] * 3 + [np.where(hidden, 0, 255).astype(np.uint8)])).save(path)


def write_busbra(root: Path, num_patients: int = 12) -> Path:
    """Two images of each patient, left and right, every third malignant; both tables of folds."""
    (root / "Images").mkdir(parents=True)
    (root / "Masks").mkdir()
    rows: list[str] = []
    folds: dict[int, list[str]] = {5: [], 10: []}
    for case in range(1, num_patients + 1):
        for side, name in (("l", "left"), ("r", "right")):
            number = f"{case:04d}-{side}"
            save(root / "Images" / f"bus_{number}.png", draw(2 * case + (side == "r")))
            save(root / "Masks" / f"mask_{number}.png", lesion(), "1")
            label = "malignant" if case % 3 == 0 else "benign"
            box = '"[20,20,40,30]"'
            rows.append(
                f"bus_{number},{case},cyst,{label},{2 + case % 4},GE Logiq 7 @10-14MHz,80,72,{name},{box}"
            )
            for k, lines in folds.items():
                fold = 1 + case % k
                valid = ["NaN" if n == fold else "1" for n in range(1, k + 1)]
                lines.append(f"bus_{number},{label},{fold},{','.join(valid)}")
    header = "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"
    (root / "bus_data.csv").write_text("\n".join([header, *rows]) + "\n")
    for k, lines in folds.items():
        names = ",".join(f"valid_{n}" for n in range(1, k + 1))
        (root / f"{k}-fold-cv.csv").write_text("\n".join([f"ID,Pathology,kFold,{names}", *lines]) + "\n")
    (root / "LICENSE.txt").write_text("...")
    return root


UCLM: tuple[tuple[str, str, str, str, str], ...] = (
    ("ALWI_000", "Benign", "No", "Yes", "No"),
    ("ALWI_001", "Malignant", "Yes", "No", "No"),
    ("CHCO_000", "Benign", "No", "No", "No"),
    ("CHVI_005", "Benign", "No", "No", "No"),
    ("HESN_000", "Normal", "No", "No", "No"),
    ("HESN_001", "Normal", "No", "No", "No"),
    ("HESN_002", "Benign", "No", "No", "No"),
    ("HESN_003", "Benign", "No", "No", "No"),
    ("LORA_010", "Malignant", "Y", "No", "No"),
    ("LORA_011", "Benign", "No", "No", "Yes"),
    ("LORA_012", "Normal", "No", "Yes", "No"),
)
"""Name, label, Doppler, marks, combined."""


def write_busuclm(root: Path, rows: Sequence[tuple[str, str, str, str, str]] = UCLM) -> Path:
    """HESN_* are cropped RGBA beside masks of the whole size; CHCO_000 shows CHVI_005."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = ["Image;Resolution;Label;Doppler;Marks;Combined"]
    for number, (name, label, doppler, marks, combined) in enumerate(rows):
        gray = draw(5 if name[:2] == "CH" else 50 + number)
        if name.startswith("HESN"):
            rgba(root / "images" / f"{name}.png", gray[:60, :70], np.zeros((60, 70), bool))
        else:
            save(root / "images" / f"{name}.png", gray, "RGB")
        color = {"Benign": GREEN, "Malignant": RED}.get(label, (0, 0, 0))
        paint(root / "masks" / f"{name}.png", color)
        lines.append(f"{name}.png;856x606;{label};{doppler};{marks};{combined}")
    (root / "INFO.csv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    return root


def write_workbook(path: Path, rows: Sequence[Cells], columns: Sequence[str] = BREAST_COLUMNS) -> Path:
    """Write the clinical data, with another sheet behind it."""
    book = Workbook()
    sheet = book.active
    sheet.title = "BrEaST-Lesions-USG clinical dat"
    sheet.append(list(columns))
    for row in rows:
        sheet.append([row.get(name) for name in columns])
    book.create_sheet("legend").append(["CaseID", "Classification"])
    book.save(path)
    return path


def breast_rows() -> list[Cells]:
    """Four lesions and a normal."""
    common: Cells = {"Age": 40, "Signs": "breast scar&nipple retraction", "Symptoms": "not available"}
    return [
        {**common, **row}
        for row in (
            {"CaseID": 1, "Mask_other_filename": "case001_other1.png&case001_other2.png", "Pixel_size": 0.007,
             "BIRADS": 2, "Classification": "benign"},
            {"CaseID": 5, "Pixel_size": 0.0110, "BIRADS": "4a", "Classification": "malignant"},
            {"CaseID": 45, "Mask_tumor_filename": None, "Pixel_size": 0.0052, "BIRADS": 1,
             "Classification": "normal"},
            {"CaseID": 77, "Pixel_size": "not available", "BIRADS": "not applicable",
             "Classification": "benign"},
            {"CaseID": 100, "Pixel_size": None, "BIRADS": 5, "Classification": "malignant"},
        )
    ]  # fmt: skip


def write_breast(root: Path, change: Callable[[list[Cells]], object] = len) -> Path:
    """RGBA files; of case005 the left edge is transparent white, in the image and in the mask."""
    (root / BREAST_IMAGES).mkdir(parents=True)
    rows = breast_rows()
    for row in rows:
        name = f"case{row['CaseID']:03d}"
        row["Image_filename"] = f"{name}.png"
        hidden = np.repeat((np.arange(80) < 10)[None] & (row["CaseID"] == 5), 72, axis=0)
        rgba(root / BREAST_IMAGES / f"{name}.png", draw(300 + int(name[4:])), hidden)
        if row["Classification"] != "normal":
            row["Mask_tumor_filename"] = f"{name}_tumor.png"
            rgba(root / BREAST_IMAGES / f"{name}_tumor.png", lesion(), hidden)
    for number in (1, 2):
        rgba(root / BREAST_IMAGES / f"case001_other{number}.png", lesion(), np.zeros((72, 80), bool))
    change(rows)
    write_workbook(root / BREAST_TABLE, rows)
    return root


def write_buid(root: Path, numbers: Sequence[int] = (1, 2, 12)) -> Path:
    """Images, masks, and drawings, which are no images."""
    for label, name in enumerate(CLASSES):
        if label == 0:
            continue
        folder = root / name.capitalize()
        folder.mkdir(parents=True)
        for number in numbers:
            stem = f"{number} {name.capitalize()}"
            save(folder / f"{stem} Image.bmp", draw(100 * label + number), "RGB")
            save(folder / f"{stem} Lesion.bmp", draw(7), "RGB")
            save(folder / f"{stem} Mask.tif", lesion())
    return root


def write_bus_uc(root: Path, numbers: Sequence[int] = (1, 2, 10)) -> Path:
    """Equal names in both classes, and once more in All."""
    for label, name in enumerate(CLASSES):
        if label == 0:
            continue
        for number in numbers:
            for folder in (root / name.capitalize(), root / "All"):
                for kind, image in (("images", draw(100 * label + number)), ("masks", lesion())):
                    (folder / kind).mkdir(parents=True, exist_ok=True)
                    save(folder / kind / f"{number:03d}.png", image)
    return root
