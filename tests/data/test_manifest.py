from pathlib import Path

import pytest

from busi.core.types import BENIGN, InputError
from busi.data.manifest import read_csv


def write_manifest(root: Path, text: str) -> Path:
    path = root / "manifest.csv"
    path.write_text(text)
    return path


def test_manifest_paths_are_relative_to_it(root: Path) -> None:
    manifest = write_manifest(
        root,
        "image,mask,label,patient\n"
        "benign/benign (1).png,benign/benign (1)_mask.png; benign/benign (2)_mask.png,Benign,p7\n"
        "normal/normal (1).png,,normal,\n"
        "malignant/malignant (1).png,,malignant,p8\n",
    )
    records, problems = read_csv(manifest)
    assert problems == []
    found = {record.id: record for record in records}
    benign = found["benign/benign (1)"]
    assert (benign.label, benign.patient, len(benign.masks)) == (BENIGN, "p7", 2)
    assert all(path.is_file() for record in records for path in (record.image, *record.masks))
    assert found["normal/normal (1)"].annotated
    assert not found["malignant/malignant (1)"].annotated


def test_manifest_needs_no_masks_and_no_patients(root: Path) -> None:
    records, _ = read_csv(write_manifest(root, "image,label\nbenign/benign (1).png,benign\n"))
    assert (records[0].masks, records[0].patient) == ((), None)


def test_column_group_is_read_as_patient_where_there_is_no_patient(root: Path) -> None:
    rows = "benign/benign (1).png,benign,g1\nbenign/benign (2).png,benign,\n"
    records, _ = read_csv(write_manifest(root, f"image,label,group\n{rows}"))
    assert [record.patient for record in records] == ["g1", None]
    both = "benign/benign (1).png,benign,g1,p1\nbenign/benign (2).png,benign,g1,\n"
    records, _ = read_csv(write_manifest(root, f"image,label,group,patient\n{both}"))
    assert [record.patient for record in records] == ["p1", "g1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs the columns image and label"),
        ("image,label\n", "needs the columns image and label"),
        ("file,label\na.png,benign\n", "needs the columns image and label"),
        ("image,label\na.png,benign\na.jpg,benign\n", "two images have the id 'a'"),
        ("image,label\na/b.png,benign\na_b.png,benign\n", "two images have the id"),
    ],
)
def test_unusable_manifest_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_csv(write_manifest(tmp_path, text))


def test_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest at"):
        read_csv(tmp_path / "x.csv")


def test_unknown_label_is_a_problem_of_its_row(root: Path) -> None:
    text = "image,label\nbenign/benign (1).png,benign\nbenign/benign (2).png,begnin\n"
    records, (problem,) = read_csv(write_manifest(root, text))
    assert len(records) == 1
    assert (problem.kind, problem.file) == ("label is none of normal, benign, malignant", "begnin")
