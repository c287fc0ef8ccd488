"""Sections of an audit about what is known of the images: their origin, patients, and published folds."""

from collections.abc import Mapping, Sequence

from busi.core import CLASSES
from busi.figures import Block, Cell, PageFigure, Section, Table
from busi.reporting.audit import Audit, Findings
from busi.reporting.audit_figures import draw_clusters

NUM_SHOWN = 6
"""Number of clusters that are drawn."""
NUM_FOLDS = 5
"""Of training, unless asked otherwise."""


def show_origin(findings: Findings) -> Section:
    """Classes by source, scanner and BI-RADS category."""
    blocks: list[Block] = []
    if len(findings["sources"]) > 1:
        blocks.append(_table("source", findings["sources"]))
    if scanners := findings["scanners"]:
        blocks.append(_table("scanner", scanners))
    if len(findings["sources"]) > 1 or len(scanners) > 1:
        blocks.append(
            "Where the shares of the classes differ between rows, a network can learn the class from how an "
            "image looks that has nothing to do with the lesion. Evaluate each row separately."
        )
    if findings["birads"]:
        blocks.append(_table("BI-RADS", findings["birads"]))
    return Section("Origin", blocks or ["No scanner and no BI-RADS category is known."])


def show_patients(audit: Audit, findings: Findings) -> Section:
    """How many patients there are, and the near-duplicates that cross them."""
    found = findings["patients"]
    blocks: list[Block] = []
    if found is None:
        blocks.append("No patient is known: other frames of a patient may lie in another fold.")
    else:
        without = found["images_without_patient"]
        text = f"{found['patients']} patients" + (
            f"; of {without} images it is not known." if without else "."
        )
        if several := found["several_classes"]:
            text += f" {several} of them have images of several classes."
        blocks.append(text)
        sizes = [[int(size), number] for size, number in found["images_a_patient"].items()]
        blocks.append(Table(["images", "patients"], sizes, "Images a patient"))
        if leak := found["random_split_leak"]:
            blocks.append(
                f"In a random 80/20 split of the images, {leak['mean']:.1%} of the test images have another "
                "image of their patient among the training images."
            )
    counts = {"images": findings["images"], "groups": findings["groups_of_class"]}
    if found is not None:
        counts = {"patients": found["patients_of_class"], **counts}
    present = [name for name, number in findings["images"].items() if number]
    rows: list[list[Cell]] = [[name, *(count[name] for count in counts.values())] for name in present]
    about = "A group is all images that one patient or near-duplicates join"
    blocks.append(Table(["class", *counts], rows, about))
    lacking = {name: counts["groups"][name] for name in present if counts["groups"][name] < NUM_FOLDS}
    if lacking:
        listed = ", ".join(f"{name} ({number})" for name, number in lacking.items())
        blocks.append(
            f"Too few groups for {NUM_FOLDS} folds, each of which needs one of each class: {listed}. "
            "Training needs more patients, or a lower data.num_folds."
        )
    if found is not None:
        about = "Near-duplicates under different patients, which training keeps in one fold"
        blocks.append(_list_clusters(audit, found["crossing"], about))
        if found["crossing"]:
            shown = [[audit.positions[one] for one in ids] for ids in found["crossing"][:NUM_SHOWN]]
            few = f"The first {len(shown)} of them" if len(found["crossing"]) > NUM_SHOWN else "All of them"
            figure = draw_clusters(audit, shown)
            blocks.append(PageFigure("crossing_patients", figure, f"{few}, one cluster in each row"))
    return Section("Patients", blocks)


def show_published_folds(audit: Audit, findings: Findings) -> list[Section]:
    """What crosses the folds that the data set has published; nothing if it has none."""
    blocks: list[Block] = []
    for number, found in findings["published_folds"].items():
        sizes = found["images"]
        text = f"{number} folds of {min(sizes)} to {max(sizes)} images"
        text += f", and {found['without']} images in none. " if found["without"] else ". "
        blocks.append(text + f"Patients with images in several of them: {found['patients']}.")
        about = f"Near-duplicates in several of the {number} folds"
        blocks.append(_list_clusters(audit, found["crossing"], about))
    return [Section("Published folds", blocks)] if blocks else []


def _list_clusters(audit: Audit, found: Sequence[Sequence[str]], about: str) -> Block:
    """A table of near-duplicates."""
    rows: list[list[Cell]] = [
        [", ".join(ids), ", ".join(sorted({CLASSES[audit.labels[audit.positions[one]]] for one in ids}))]
        for ids in found
    ]
    return Table(["images", "classes"], rows, about) if rows else f"{about}: none."


def _table(title: str, counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Classes by a value, with the share of malignant among lesions."""
    rows: list[list[Cell]] = []
    for value, found in counts.items():
        lesions = found["benign"] + found["malignant"]
        rows.append([value, *found.values(), found["malignant"] / lesions if lesions else None])
    return Table([title, *CLASSES, "malignant share of lesions"], rows)
