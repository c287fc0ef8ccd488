from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from busi.core.types import BENIGN, InputError
from busi.data.catalog import DataSet, find_data, name_sources, read_with
from busi.data.groups import join_patients
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


def test_column_group_is_read_as_patient(root: Path) -> None:
    rows = "benign/benign (1).png,benign,g1\nbenign/benign (2).png,benign,\n"
    records, _ = read_csv(write_manifest(root, f"image,label,group\n{rows}"))
    assert [record.patient for record in records] == ["g1", None]


def test_neither_case_nor_spaces_tell_patients_apart(root: Path) -> None:
    rows = "".join(
        f"benign/benign ({k + 1}).png,benign,{name}\n" for k, name in enumerate(("P7", " p7 ", "p8"))
    )
    records, _ = read_csv(write_manifest(root, f"image,label,patient\n{rows}"))
    assert [record.patient for record in records] == ["p7", "p7", "p8"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs the columns image and label"),
        ("image,label\n", "needs the columns image and label"),
        (
            "file,label\na.png,benign\n",
            r"did you mean image\?\). It needs the columns image and label",
        ),
        ("image,label,Group\na.png,benign,g1\n", r"'Group' \(did you mean patient\?\)"),
        ("image,label,patient_id\na.png,benign,g1\n", r"'patient_id' \(did you mean patient\?\)"),
        ("image,label,Mask\na.png,benign,m.png\n", r"'Mask' \(did you mean mask\?\)"),
        ("image,label,mask_path\na.png,benign,m.png\n", r"'mask_path' \(did you mean mask\?\)"),
        ("image,label,segmentation\na.png,benign,m.png\n", r"'segmentation' \(did you mean mask\?\)"),
        ("image,label,age\na.png,benign,50\n", r"unknown columns: 'age'. .*'_age'"),
        ("image,label,hospital\na.png,benign,x\n", r"'hospital' \(did you mean source\?\)"),
        ("image,label,BI-RADS\na.png,benign,4\n", r"'BI-RADS' \(did you mean birads\?\)"),
        ("image,label,pixel spacing\na.png,benign,4\n", r"'pixel spacing' \(did you mean spacing\?\)"),
        ("image,label,Device\na.png,benign,4\n", r"'Device' \(did you mean scanner\?\)"),
        ("image,label,patient,group\na.png,benign,p,g\n", r"patient 2 times \(group is the same\)"),
        ("image,label\na.png,benign\na.jpg,benign\n", "two images have the id 'a'"),
        ("image,label\na/b.png,benign\na_b.png,benign\n", "two images have the id"),
        ("image,label\n,benign\n", "row 2 has no image"),
        ("image,label\na.png,benign\n~nobody-here/b.png,benign\n", "there is no such home folder"),
        (
            "image,label\na.png,benign\nb.png,benign\n",
            r"no such file: \S+/a.png \(row 2\), \S+/b.png",
        ),
    ],
)
def test_unusable_manifest_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_csv(write_manifest(tmp_path, text))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_manifest_of_a_spreadsheet_is_read(root: Path, encoding: str) -> None:
    (root / "benign" / "benign (1).png").rename(root / "ärm.png")
    text = (
        "image;mask;label;patient;;\r\n"
        "ärm.png ;benign\\benign (1)_mask.png; BENIGN ;p1 ;;\r\n"
        ";;;;;\r\n"
        'benign\\benign (2).png;"benign/benign (2)_mask.png;benign/benign (3)_mask.png";Benign;p1;;\r\n'
        f"{root}/normal/normal (1).png;;Normal;;;\r\n"
        ";;;;;\r\n"
    )
    (root / "manifest.csv").write_bytes(text.encode(encoding))
    records, problems = read_csv(root / "manifest.csv")
    assert problems == []
    found = {record.id: record for record in records}
    assert set(found) == {"ärm", "benign/benign (2)", f"{root}/normal/normal (1)"}
    assert [len(found[name].masks) for name in ("ärm", "benign/benign (2)")] == [1, 2]
    assert {found[name].patient for name in ("ärm", "benign/benign (2)")} == {"p1"}
    assert all(path.is_file() for record in records for path in (record.image, *record.masks))


def test_home_folder_may_stand_in_a_manifest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    records, _ = read_csv(write_manifest(root / "normal", "image,label\n~/normal/normal (1).png,normal\n"))
    assert [record.image for record in records] == [root / "normal" / "normal (1).png"]


def test_wrong_paths_are_problems_with_their_rows(root: Path) -> None:
    text = (
        "image,mask,label\n"
        "benign/benign (1).png,masks/gone.png,benign\n"
        "benign/Benign (2).PNG,,benign\n"
        "benign,,benign\n"
        f"{'x' * 300}.png,,benign\n"
        "benign/benign (3).png,,benign\n"
    )
    records, problems = read_csv(write_manifest(root, text))
    assert [record.id for record in records] == ["benign/benign (3)"]
    assert {problem.kind for problem in problems} == {"no such file"}
    wrong = ["masks/gone.png", "benign/Benign (2).PNG", "benign", f"{'x' * 300}.png"]
    assert [one.file for one in problems] == [f"{root / x} (row {k})" for k, x in enumerate(wrong, 2)]


def test_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest at"):
        read_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="no manifest at"):
        read_csv(tmp_path / ("x" * 300))


def test_unknown_label_is_a_problem_of_its_row(root: Path) -> None:
    text = "image,label\nbenign/benign (1).png,benign\nbenign/benign (2).png,begnin\n"
    records, (problem,) = read_csv(write_manifest(root, text))
    assert len(records) == 1
    assert problem.kind.startswith(
        "label is none of normal, benign, malignant (other words are mapped by --labels "
    )
    assert problem.file == "begnin (row 3)"


def test_other_words_mean_the_classes(root: Path) -> None:
    words = ("Cancer", "FIBROADENOMA", "0", "malignant")
    rows = "".join(f"benign/benign ({k + 1}).png,{word}\n" for k, word in enumerate(words))
    labels = {"cancer": "malignant", "fibroadenoma": "Benign", 0: "normal"}
    records, problems = read_csv(write_manifest(root, f"image,label\n{rows}"), labels)  # type: ignore[arg-type]
    assert not problems
    assert [record.label for record in records] == [2, 1, 0, 2]
    # As the command line gives them, where a class name must stay what it is.
    manifest = str(root / "manifest.csv")
    read = {"_target_": "busi.data.read_csv", "labels": labels}
    assert read_with(read, Path(manifest))[0] == records
    # As `busi.evaluate` and `busi.audit` are told, and in a pool.
    said = {str(word): name for word, name in labels.items()}
    one = find_data(manifest).map_labels(said)
    assert one.open()[0] == records
    pool = OmegaConf.create({"mine": {"root": manifest, "labels": said}})
    data: dict[str, object] = {"sources": pool, "train_only": [], "hold_out": None, "download": False}
    sources = name_sources(OmegaConf.create(data)).sources
    assert read_with(sources.mine.read, Path(manifest))[0] == records
    with pytest.raises(InputError, match="labels are for the words of a CSV manifest"):
        DataSet("busbra", root, {"_target_": "busi.data.read_busbra"}).map_labels(said)
    for wrong, named in (
        ({"cancer": "bad"}, "cancer cannot mean bad"),
        ({"Benign": "malignant"}, "Benign cannot mean malignant"),
    ):
        with pytest.raises(InputError, match=named):
            read_csv(root / "manifest.csv", wrong)


def read_one(root: Path, column: str, *cells: str) -> tuple[list[object], list[str]]:
    """Values of a column in the records of a manifest, and the problems."""
    rows = "".join(f'benign/benign ({k}).png,benign,"{cell}"\n' for k, cell in enumerate(cells, 1))
    records, problems = read_csv(write_manifest(root, f"image,label,{column}\n{rows}"))
    return [getattr(record, column) for record in records], [f"{x.kind}: {x.file}" for x in problems]


@pytest.mark.parametrize(
    ("column", "cells", "values"),
    [
        ("source", ["Husf", "husf", "", "b-2.x"], ["Husf", "Husf", "manifest", "b-2.x"]),
        ("scanner", ["GE Logiq  7", "ge logiq 7", "", "Ä" * 100], ["GE Logiq 7"] * 2 + [None, "Ä" * 100]),
        ("birads", ["0", "4A", "4.0", "4,0", "BI-RADS 4c", "birads:2"], ["0", "4a", "4", "4", "4c", "2"]),
        (
            "spacing",
            ["0.1", "0.1;0.08", "0,2", " 1e-1 ; 0.2 ", ""],
            [(0.1, 0.1), (0.1, 0.08), (0.2, 0.2), (0.1, 0.2), None],
        ),
    ],
)
def test_columns_fill_the_record(root: Path, column: str, cells: list[str], values: list[object]) -> None:
    assert read_one(root, column, *cells) == (values, [])


@pytest.mark.parametrize(
    ("column", "cells", "rule"),
    [
        ("source", ["a/b", "-a", ".", "x" * 41, "a b", "a;b"], "a short name of letters"),
        ("scanner", ["x" * 101], "a text of at most 100 characters"),
        ("birads", ["7", "4d", "-4", "IV", "4.5", "4 a", "3a"], "one of 0 to 6, 4a, 4b, 4c"),
        (
            "spacing",
            ["0", "-0.1", "inf", "0.1;nan", "1e-9", "52", "0.1;0.1;0.1", "0.1;", "0.1 mm"],
            "millimeters a pixel, one number or two",
        ),
    ],
)
def test_values_that_mean_nothing_are_problems_of_their_rows(
    root: Path, column: str, cells: list[str], rule: str
) -> None:
    records, problems = read_one(root, column, *cells)
    assert records == []
    assert len(problems) == len(cells)
    for number, (cell, problem) in enumerate(zip(cells, problems, strict=True), 2):
        assert problem.startswith(f"{column} is not {rule}")
        assert problem.endswith(f": {cell[:40]} (row {number})")


def test_the_name_of_the_manifest_is_the_source_of_its_images(root: Path) -> None:
    path = root / "our hospital (2).csv"
    path.write_text("image,label\nbenign/benign (1).png,benign\n")
    assert read_csv(path)[0][0].source == "our_hospital__2_"


def test_patients_of_two_sources_are_two(root: Path) -> None:
    rows = "".join(
        f"benign/benign ({k}).png,benign,P1,{source}\n" for k, source in enumerate(("a", "A", "b"), 1)
    )
    records, _ = read_csv(write_manifest(root, f"image,label,patient,source\n{rows}"))
    assert join_patients(np.arange(3), records).tolist() == [0, 0, 1]
