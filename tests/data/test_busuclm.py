"""BUS-UCLM: colors of its masks, its table, its cropped images, and the patient with two names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core import BENIGN, MALIGNANT, NORMAL, InputError
from busi.data.busuclm import read_busuclm
from busi.data.contents import read_contents
from busi.data.masks import read_mask
from tests.data.conftest import lesion, save
from tests.data.published import GREEN, RED, SHAPE, UCLM, paint, split, write_busuclm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_busuclm(tmp_path / "BUS-UCLM")


def test_red_masks_are_not_empty_and_green_ones_are_equal(folder: Path) -> None:
    records = {record.id: record for record in read_busuclm(folder)[0]}
    for name, label in (("ALWI_000", BENIGN), ("ALWI_001", MALIGNANT), ("LORA_010", MALIGNANT)):
        assert records[name].label == label
        assert np.array_equal(read_mask(records[name], 72, 80) > 0, lesion() > 0)


def test_patients_are_the_first_letters_and_two_of_them_are_one(folder: Path) -> None:
    patients = {record.id: record.patient for record in read_busuclm(folder)[0]}
    assert patients["ALWI_000"] == patients["ALWI_001"] == "ALWI"
    assert patients["CHCO_000"] == patients["CHVI_005"]
    assert len(set(patients.values())) == 4
    assert {record.scanner for record in read_busuclm(folder)[0]} == {"Siemens ACUSON S2000"}


def test_the_patient_with_two_names_stays_in_one_fold(tmp_path: Path) -> None:
    more = [(f"AB{x}{y}_000", "Benign", "No", "No", "No") for x in "AB" for y in "ABCD"]
    more += [(f"CD{x}{y}_000", "Malignant", "No", "No", "No") for x in "AB" for y in "ABCD"]
    twice = [("CHCO_001", "Benign", "No", "No", "No"), ("CHVI_099", "Benign", "No", "No", "No")]
    folder = write_busuclm(tmp_path / "data", [*more, *twice])
    paths = [folder / "images" / f"{name}.png" for name in ("ABAA_000", "CHVI_099")]
    save(paths[1], np.flipud(np.asarray(Image.open(paths[0]).convert("L"))))  # no near-duplicate
    cohort = split(read_busuclm(folder), tmp_path / "cache")
    of = {record.id: int(group) for record, group in zip(cohort.records, cohort.groups, strict=True)}
    assert of["CHCO_001"] == of["CHVI_099"]
    assert len(set(of.values())) == len(of) - 1


def test_cropped_normals_are_used_and_cropped_lesions_are_a_problem_each(
    folder: Path, tmp_path: Path
) -> None:
    records, contents, problems = read_contents(read_busuclm(folder), tmp_path / "cache")
    assert [(problem.id, problem.kind) for problem in problems] == [
        (name, "mask of another size than its image") for name in ("HESN_002", "HESN_003")
    ]
    found = {record.id: content for record, content in zip(records, contents, strict=True)}
    assert (found["HESN_000"].height, found["HESN_000"].width) == (60, 70)
    assert {record.label for record in records if record.id.startswith("HESN")} == {NORMAL}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({}, set()),
        ({"doppler": False}, {"ALWI_001", "LORA_010"}),  # one of them says Y
        ({"combined": False}, {"LORA_011"}),
        ({"doppler": False, "combined": False}, {"ALWI_001", "LORA_010", "LORA_011"}),
    ],
)
def test_doppler_and_combined_images_are_left_out_if_asked_for(
    folder: Path, options: dict[str, bool], gone: set[str]
) -> None:
    records, problems = read_busuclm(folder, **options)
    assert problems == []
    assert {record.id for record in records} == {row[0] for row in UCLM} - gone


def test_flags_that_are_no_yes_or_no_are_problems_if_they_are_needed(folder: Path) -> None:
    table = folder / "INFO.csv"
    table.write_text(table.read_text(encoding="utf-8-sig").replace("Benign;No", "Benign;?", 1), "utf-8-sig")
    assert read_busuclm(folder)[1] == []
    (problem,) = read_busuclm(folder, doppler=False)[1]
    assert (problem.kind, problem.file) == ("neither yes nor no in INFO.csv", "ALWI_000: Doppler '?'")


def test_nothing_left_is_one_error(tmp_path: Path) -> None:
    folder = write_busuclm(tmp_path / "data", [("ALWI_000", "Benign", "Yes", "No", "No")])
    with pytest.raises(InputError, match=r"every image .*left out \(data.read.doppler"):
        read_busuclm(folder, doppler=False)


@pytest.mark.parametrize(
    ("name", "color", "kind"),
    [
        ("ALWI_000", RED, "label that disagrees with the color of its mask"),
        ("ALWI_001", GREEN, "label that disagrees with the color of its mask"),
        ("HESN_000", GREEN, "label that disagrees with the color of its mask"),
        ("ALWI_000", (0, 0, 255), "mask that is not green (benign) or red (malignant) on black"),
        ("ALWI_000", (0, 254, 0), "mask that is not green (benign) or red (malignant) on black"),
        ("ALWI_000", (0, 0, 0), "lesion with an empty mask"),
    ],
)
def test_a_label_that_the_color_denies_is_a_problem(
    folder: Path, tmp_path: Path, name: str, color: tuple[int, int, int], kind: str
) -> None:
    paint(folder / "masks" / f"{name}.png", color)
    *_, problems = read_contents(read_busuclm(folder), tmp_path / "cache")
    assert (name, kind) in [(problem.id, problem.kind) for problem in problems]


def test_a_mask_of_both_colors_is_a_problem(folder: Path) -> None:
    both = np.zeros((72, 80, 3), np.uint8)
    both[SHAPE] = RED
    both[:5, :5] = GREEN
    Image.fromarray(both).save(folder / "masks" / "ALWI_001.png")
    (problem,) = read_busuclm(folder)[1]
    assert problem.kind.startswith("mask that is not green")


def test_color_under_transparent_pixels_says_nothing(folder: Path) -> None:
    hidden = np.dstack([SHAPE * 0, SHAPE * 255, SHAPE * 0, np.where(SHAPE, 255, 0)]).astype(np.uint8)
    hidden[:5, :5] = (255, 0, 0, 0)
    Image.fromarray(hidden).save(folder / "masks" / "ALWI_000.png")
    assert read_busuclm(folder)[1] == []


def test_a_normal_needs_no_mask(folder: Path) -> None:
    (folder / "masks" / "LORA_012.png").unlink()
    records, problems = read_busuclm(folder)
    assert problems == []
    assert next(record for record in records if record.id == "LORA_012").annotated


@pytest.mark.parametrize("name", ["ALW_000", "0000_001", "ALWI", "ALWI_000b"])
def test_a_name_without_a_patient_is_a_problem(folder: Path, name: str) -> None:
    for kind in ("images", "masks"):
        (folder / kind / "LORA_011.png").rename(folder / kind / f"{name}.png")
    table = folder / "INFO.csv"
    table.write_text(table.read_text(encoding="utf-8-sig").replace("LORA_011", name), "utf-8-sig")
    (problem,) = read_busuclm(folder)[1]
    assert problem.kind == "name that does not begin with the four letters of a patient"


def test_a_table_with_commas_without_a_mark_or_suffixes_is_read(folder: Path) -> None:
    expected = read_busuclm(folder)
    text = (folder / "INFO.csv").read_text(encoding="utf-8-sig")
    (folder / "INFO.csv").write_text(text.replace(";", ",").replace(".png", "").replace("Benign", "benign"))
    assert read_busuclm(folder) == expected


def test_an_unknown_label_is_a_problem(folder: Path) -> None:
    table = folder / "INFO.csv"
    table.write_text(table.read_text(encoding="utf-8-sig").replace("Benign", "Cyst", 1), "utf-8-sig")
    (problem,) = read_busuclm(folder)[1]
    assert (problem.kind, problem.file) == (
        "label that the data set does not have",
        "Cyst (ALWI_000 in INFO.csv)",
    )
