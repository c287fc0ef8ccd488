"""The records of BUID, also called QAMEBI: 232 images, one a patient."""

import re
from pathlib import Path

from busi.core import CLASSES, NORMAL, Record
from busi.data.layouts import NO_MASK, Layout, list_images
from busi.data.records import Problem, Reading

LAYOUT = Layout(
    "buid",
    "BUID (QAMEBI)",
    ("Benign/* Benign Image.*", "Malignant/* Malignant Image.*"),
    "BUID_ROOT",
    "https://qamebi.com/breast-ultrasound-images-database",
)
NAME = re.compile(r"\s*0*(\d+)\s+(benign|malignant)\s+(image|mask|lesion)\s*", re.IGNORECASE)


def read_buid(root: Path) -> Reading:
    """Read BUID as it was published.

    Args:
        root: The folder with ``Benign`` and ``Malignant``, each with files ``N Benign Image.bmp`` and
            ``N Benign Mask.tif``; or one that holds it alone.

    Returns:
        Records and problems. Drawings (``N Benign Lesion.bmp``) are not read. The number is the patient's,
        within a class.

    Raises:
        WrongLayout: If the folder holds something else, or images in other folders.

    Source: Abbasian Ardakani et al., "An open-access breast lesion ultrasound image database", Computers in
    Biology and Medicine 152 (2023).
    """
    folder = LAYOUT.find(root)
    LAYOUT.refuse_strangers(folder)
    records, problems = [], []
    for label, name in list(enumerate(CLASSES))[NORMAL + 1 :]:
        found, unread = list_images(folder / name.capitalize())
        problems += unread
        parts: dict[tuple[str, str], list[Path]] = {}
        for stem, path in found.items():
            match = NAME.fullmatch(stem)
            if match is None:
                problems.append(Problem(stem, f"name that is no 'N {name.capitalize()} Image'", path.name))
            elif match[2].casefold() != name:
                problems.append(Problem(stem, f"name of another class than its folder {name}", path.name))
            else:
                parts.setdefault((f"{name} {match[1]}", match[3].casefold()), []).append(path)
        for one in dict.fromkeys(one for one, part in parts if part != "lesion"):
            images, masks = parts.get((one, "image"), []), parts.get((one, "mask"), [])
            if not images:
                problems.append(Problem(one, "mask without an image", masks[0].name))
            elif not masks:
                problems.append(Problem(one, NO_MASK, images[0].name))
            elif len(images) + len(masks) > 2:
                names = ", ".join(path.name for path in (*images, *masks))
                problems.append(Problem(one, "several files of one number", names))
            else:
                source = LAYOUT.name
                records.append(Record(one, images[0], (masks[0],), label, patient=one, source=source))
    return LAYOUT.finish(folder, records, problems)
