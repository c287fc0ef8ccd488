"""A split as a manifest: the files of the data set where they are, with their group and fold."""

import shlex
from dataclasses import replace
from pathlib import Path

from busi.core import InputError, Record, write_table
from busi.data import SharedSplit, read_csv, to_row


def write_manifest(split: SharedSplit, folder: Path, output: Path) -> str:
    """Write ``manifest.csv``, which ``data=csv data.folds=published`` trains on with the same folds.

    It has a row for each image that is in a fold. Patients are numbered: their names are written nowhere.

    Args:
        split: The split.
        folder: Empty.
        output: The folder that it becomes.

    Returns:
        What a user does next.

    Raises:
        InputError: If a name of an image or a file cannot stand in a manifest.
    """
    cohort = split.cohort
    places = [i for i in range(len(cohort.records)) if cohort.folds[i] >= 0]
    patients: dict[tuple[str, str], str] = {}
    rows = []
    for i in places:
        record = cohort.records[i]
        patient = None
        if record.patient is not None:
            key = (record.source, record.patient)
            patient = patients.setdefault(key, f"patient-{len(patients) + 1}")
        masks = tuple(path.absolute() for path in record.masks)
        row = to_row(replace(record, image=record.image.absolute(), masks=masks, patient=patient))
        rows.append({**row, "fold": int(cohort.folds[i]), "_group": int(cohort.groups[i])})
    path = write_table(folder / "manifest.csv", rows)
    check_round_trip([cohort.records[i] for i in places], path)
    number = [f"data.num_folds={split.num_folds}"] * (split.num_folds != 5)
    root = f"data.root={output / 'manifest.csv'}"
    words = ["stage=seg", "data=csv", root, "data.folds=published", *number, "data.fold=0"]
    return f"Next: {shlex.join(['python', '-m', 'busi.train', *words])}, and so on"


def check_round_trip(records: list[Record], path: Path) -> None:
    """Raise `InputError` if a manifest does not give back the images that it was made of."""
    try:
        read = {one.id: one for one in read_csv(path)[0]}
    except InputError as error:
        text = str(error).replace(str(path), "a manifest of these images")
        raise InputError(f"{text}. Rename the image or its file") from error
    for one in records:
        other = read.get(one.id)
        same = other is not None and all(
            [path.absolute() for path in (mine.image, *mine.masks)]
            == [path.absolute() for path in (one.image, *one.masks)]
            and mine.label == one.label
            and mine.spacing == one.spacing
            for mine in (other,)
        )
        if not same:
            raise InputError(
                f"{one.id}: its name, or that of a file ({one.image}), cannot stand in a manifest: rename it"
            )
