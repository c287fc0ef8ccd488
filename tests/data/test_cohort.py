import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from busi.core.types import InputError
from busi.data.class_folders import read_busi
from busi.data.cohort import Cohort, build_cohort, describe_cohort
from busi.data.contents import read_contents
from busi.data.external import PATIENT_SEEN, SEEN, build_external_cohort
from busi.data.manifest import read_csv
from busi.data.records import Reading
from tests.data.conftest import PER_CLASS, draw, lesion, save

Build = Callable[..., Cohort]


@pytest.fixture
def build(cache: Path) -> Build:
    def built(reading: Reading, **changes: Any) -> Cohort:
        options: dict[str, Any] = {
            "cache_dir": cache,
            "fold": 0,
            "leave_out": None,
            "num_folds": 5,
            "split_seed": 0,
            "conflicts": "drop",
            "exclude": None,
            "on_bad": "error",
            "need_masks": False,
            "subset": None,
        }
        return build_cohort(reading, **(options | changes))

    return built


def reasons(cohort: Cohort) -> dict[str, str]:
    return {str(row["id"]): str(row["reason"]) for row in cohort.rows() if row["reason"]}


def add_conflict(root: Path) -> None:
    """Put ``benign (1)`` into another class too, as ``twin``: a label conflict."""
    save(root / "malignant" / "twin.png", draw(101))
    save(root / "malignant" / "twin_mask.png", lesion())


def test_label_conflict_is_dropped_kept_or_an_error(root: Path, build: Build) -> None:
    add_conflict(root)
    assert reasons(build(read_busi(root))) == {"benign (1)": "conflict", "twin": "conflict"}
    assert reasons(build(read_busi(root), conflicts="keep")) == {}
    with pytest.raises(InputError, match=r"benign \(1\) is benign, twin is malignant.*data.conflicts=drop"):
        build(read_busi(root), conflicts="error")


def test_excluding_the_mislabeled_image_resolves_a_conflict(root: Path, build: Build, tmp_path: Path) -> None:
    add_conflict(root)
    (tmp_path / "out.csv").write_text("id,why\ntwin,mislabeled\n")
    assert reasons(build(read_busi(root), exclude=tmp_path / "out.csv")) == {"twin": "excluded"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist: give a CSV file with the column id"),
        ("name\nx\n", r"unknown columns: 'name' \(did you mean id\?\)"),
        ("id\nbenign (1)\nx\n", "names 1 unknown images: x"),
    ],
)
def test_unusable_list_of_exclusions_is_an_error(
    root: Path, build: Build, tmp_path: Path, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "out.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        build(read_busi(root), exclude=tmp_path / "out.csv")


@pytest.mark.parametrize("on_bad", ["error", "skip"])
def test_an_image_that_cannot_be_used_may_be_excluded(
    root: Path, build: Build, tmp_path: Path, on_bad: str
) -> None:
    (root / "normal" / "normal (1).png").write_text("no image")
    (tmp_path / "out.csv").write_text("id\nnormal (1)\nbenign (1)\n")
    cohort = build(read_busi(root), exclude=tmp_path / "out.csv", on_bad=on_bad)
    rows = {row["id"]: row["reason"] for row in cohort.rows() if row["reason"]}
    assert rows == {"benign (1)": "excluded", "normal (1)": "excluded"}
    assert "2 dropped (excluded)" in describe_cohort(cohort)
    (root / "normal" / "normal (2).png").write_text("no image")
    if on_bad == "error":
        with pytest.raises(InputError, match=r"normal \(2\)") as caught:
            build(read_busi(root), exclude=tmp_path / "out.csv", on_bad=on_bad)
        assert "normal (1)" not in str(caught.value)


def break_files(root: Path) -> None:
    """Twelve masks of another size, and one of each other problem."""
    for number in range(1, 13):
        save(root / "benign" / f"benign ({number})_mask.png", lesion(70, 80))
    (root / "malignant" / "malignant (1)_mask.png").unlink()
    save(root / "malignant" / "malignant (2)_mask.png", draw(0))
    save(root / "malignant" / "malignant (3)_mask.png", lesion() * np.uint8(0))
    path = root / "malignant" / "malignant (4).png"
    path.write_bytes(path.read_bytes()[:300])
    (root / "normal" / "normal (1).png").write_text("no image")
    for number in range(20, 30):
        save(root / "benign" / f"benign ({number}).png", draw(500 + number))
        save(root / "benign" / f"benign ({number})_mask.png", lesion())


def test_bad_files_are_one_error_that_counts_and_lists_ten(root: Path, build: Build) -> None:
    break_files(root)
    with pytest.raises(InputError) as caught:
        build(read_busi(root))
    text = str(caught.value)
    for words in (
        "12 x mask of another size than its image: benign (1)_mask.png",
        "benign (10)_mask.png and 2 more",
        "1 x lesion without a mask: malignant (1).png",
        "1 x mask with more than two values: malignant (2)_mask.png",
        "1 x lesion with an empty mask: malignant (3)_mask.png",
        "2 x unreadable or truncated file: normal (1).png, malignant (4).png",
        "data.on_bad=skip",
    ):
        assert words in text
    assert "\n" not in text


def test_bad_files_can_be_skipped_and_are_recorded(root: Path, build: Build) -> None:
    break_files(root)
    cohort = build(read_busi(root), on_bad="skip")
    assert len(cohort.records) == 3 * PER_CLASS + 10 - 17
    rows = [row for row in cohort.rows() if row["split"] == "dropped"]
    assert len(rows) == 17
    assert {row["reason"] for row in rows} >= {"lesion without a mask", "unreadable or truncated file"}


def test_where_no_image_can_be_used_it_is_said_why(root: Path, build: Build, tmp_path: Path) -> None:
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no image")
    number = len(read_busi(root)[0])
    with pytest.raises(InputError, match=rf"no usable image is left \({number} x unreadable .*\): mend"):
        build(read_busi(root), on_bad="skip")
    options: dict[str, Any] = {"known": ([], []), "seen": [], "fold": 0, "need_masks": False, "exclude": None}
    why = rf"none of {number} images is left \({number} dropped: unreadable or truncated file\)"
    with pytest.raises(InputError, match=why):
        build_external_cohort(read_busi(root), **options, on_bad="skip", cache_dir=tmp_path / "kept")


def test_other_images_of_a_patient_that_the_model_has_seen_are_no_test(root: Path, tmp_path: Path) -> None:
    records, problems = read_busi(root)
    records = [replace(record, patient=f"p{k // 2}") for k, record in enumerate(records)]
    contents = read_contents((records, problems), tmp_path / "kept")[1]
    options: dict[str, Any] = {"known": ([], []), "fold": 0, "need_masks": False, "exclude": None}
    options |= {"seen": [contents[0].pixel_hash], "on_bad": "skip", "cache_dir": tmp_path / "kept"}
    cohort, _ = build_external_cohort((records, problems), **options)
    beside = [k for k, why in enumerate(cohort.reasons) if why == PATIENT_SEEN]
    assert cohort.reasons[0] == SEEN
    assert 1 in beside
    assert not {cohort.groups[0]} & {cohort.groups[k] for k in cohort.indices("test")}


def test_contents_are_remembered_until_a_byte_changes(root: Path, tmp_path: Path) -> None:
    reading = read_busi(root)
    first = read_contents(reading, tmp_path / "cache")
    (remembered,) = (tmp_path / "cache" / "contents").iterdir()
    stamp = remembered.stat().st_mtime_ns
    assert read_contents(reading, tmp_path / "cache") == first
    assert remembered.stat().st_mtime_ns == stamp
    save(root / "benign" / "benign (1).png", draw(999))
    changed = read_contents(reading, tmp_path / "cache")[1]
    different = [i for i, (a, b) in enumerate(zip(first[1], changed, strict=True)) if a != b]
    assert [reading[0][i].id for i in different] == ["benign (1)"]


@pytest.mark.parametrize("split_seed", range(3))
def test_near_duplicates_never_cross_a_fold(root: Path, build: Build, split_seed: int) -> None:
    for number in range(1, 7):
        image = draw(100 + number)
        save(root / "benign" / f"again ({number}).png", np.clip(image * 0.9 + 9, 0, 255).astype(np.uint8))
        save(root / "benign" / f"again ({number})_mask.png", lesion())
    cohort = build(read_busi(root), split_seed=split_seed)
    folds = {record.id: fold for record, fold in zip(cohort.records, cohort.folds.tolist(), strict=True)}
    assert all(folds[f"again ({number})"] == folds[f"benign ({number})"] for number in range(1, 7))


def test_fingerprints_are_of_the_data_and_not_of_its_place(
    root: Path, build: Build, write_busi: Callable[[], Path], tmp_path: Path
) -> None:
    cohort = build(read_busi(root))
    root.rename(tmp_path / "moved")
    moved = build(read_busi(tmp_path / "moved"))
    assert (moved.data_fingerprint, moved.split_fingerprint) == (
        cohort.data_fingerprint,
        cohort.split_fingerprint,
    )
    mask = lesion()
    mask[0, 0] = 255
    save(write_busi() / "benign" / "benign (3)_mask.png", mask)
    assert build(read_busi(root)).data_fingerprint != cohort.data_fingerprint
    assert build(read_busi(root)).split_fingerprint == cohort.split_fingerprint


def test_stages_share_the_split_even_where_one_needs_masks(root: Path, build: Build, tmp_path: Path) -> None:
    rows = ["image,mask,label,patient"]
    for record in read_busi(root)[0]:
        mask = record.masks[0] if record.masks and not record.id.endswith("(5)") else ""
        rows.append(f"{record.image},{mask},{('normal', 'benign', 'malignant')[record.label]},")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows))
    seg, cls = (build(read_csv(manifest), need_masks=need) for need in (True, False))
    assert seg.split_fingerprint == cls.split_fingerprint
    assert sorted(reasons(seg).values()) == ["no mask", "no mask"]
    assert reasons(cls) == {}


@pytest.mark.parametrize("column", ["patient", "group"])
def test_patients_of_a_manifest_stay_together(root: Path, build: Build, tmp_path: Path, column: str) -> None:
    lines = [
        f"{record.image},{('normal', 'benign', 'malignant')[record.label]},p{i % 7 + 7 * record.label}"
        for i, record in enumerate(read_busi(root)[0])
    ]
    (tmp_path / "m.csv").write_text("\n".join([f"image,label,{column}", *lines]))
    cohort = build(read_csv(tmp_path / "m.csv"))
    folds: dict[str | None, set[int]] = {}
    for record, fold in zip(cohort.records, cohort.folds.tolist(), strict=True):
        folds.setdefault(record.patient, set()).add(fold)
    assert len(folds) == 21
    assert all(len(found) == 1 for found in folds.values())


def test_subset_keeps_some_of_each_class_in_each_split(root: Path, build: Build) -> None:
    cohort = build(read_busi(root), subset=2)
    labels = cohort.labels()
    for split in ("train", "val", "test"):
        kept = labels[cohort.indices(split)]
        assert [np.sum(kept == label) for label in range(3)] == [2, 2, 2]
    assert set(reasons(cohort).values()) == {"subset"}


def test_missing_file_of_a_manifest_is_a_problem(tmp_path: Path, build: Build) -> None:
    (tmp_path / "m.csv").write_text("image,label\ngone.png,benign\n")
    with pytest.raises(InputError, match=r"no such file: \S+/gone.png \(row 2\)"):
        build(read_csv(tmp_path / "m.csv"))
    save(tmp_path / "there.png", draw(1))
    (tmp_path / "m.csv").write_text("image,label\ngone.png,benign\nthere.png,benign\n")
    with pytest.raises(InputError, match=r"1 x no such file: \S+/gone.png \(row 2\)"):
        build(read_csv(tmp_path / "m.csv"))


def test_normal_image_with_a_lesion_is_a_problem(root: Path, build: Build, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "image,mask,label\n"
        f"{root}/normal/normal (1).png,{root}/normal/normal (1)_mask.png,normal\n"
        f"{root}/normal/normal (2).png,{root}/benign/benign (2)_mask.png,normal\n"
    )
    with pytest.raises(InputError, match=r"1 x normal image with a lesion in its mask: benign \(2\)_mask"):
        build(read_csv(tmp_path / "m.csv"))


def test_files_of_one_name_are_told_apart_by_their_paths(root: Path, build: Build, tmp_path: Path) -> None:
    for folder in ("p1", "p2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scan.png").write_text("no image")
    (tmp_path / "m.csv").write_text(
        f"image,label\np1/scan.png,benign\np2/scan.png,benign\n{root}/benign/benign (1).png,benign\n"
    )
    with pytest.raises(InputError, match=rf"2 x [\w ]+: {tmp_path}/p1/scan.png, {tmp_path}/p2/scan.png\."):
        build(read_csv(tmp_path / "m.csv"))


@pytest.mark.parametrize("text", ["id;_note\r\n twin ;x\r\n;\r\n", "id,reason\ntwin,why not\n", "id\ntwin\n"])
def test_list_of_exclusions_may_come_from_a_spreadsheet(
    root: Path, build: Build, tmp_path: Path, text: str
) -> None:
    add_conflict(root)
    (tmp_path / "out.csv").write_bytes(text.encode("utf-16"))
    assert reasons(build(read_busi(root), exclude=tmp_path / "out.csv")) == {"twin": "excluded"}


def test_rows_say_where_every_image_went(root: Path, build: Build, tmp_path: Path) -> None:
    cohort = build(read_busi(root), fold=3)
    rows = cohort.rows()
    assert list(rows[0]) == ["id", "source", "label", "group", "fold", "split", "reason", "has_patient"]
    assert {(row["fold"], row["split"]) for row in rows} == {
        (3, "test"),
        (4, "val"),
        (0, "train"),
        (1, "train"),
        (2, "train"),
    }
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.DictWriter(file, list(rows[0])).writerows(rows)


def test_color_twin_of_an_image_is_the_same_image(root: Path, build: Build) -> None:
    before = build(read_busi(root))
    for path in root.rglob("*.png"):
        if "_mask" not in path.name:
            with Image.open(path) as image:
                image.convert("RGB").save(path)
    assert build(read_busi(root)).data_fingerprint == before.data_fingerprint


@pytest.mark.real
def test_real_data_loses_its_nineteen_conflicts_and_stays_balanced(build: Build) -> None:
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the real data is not here")
    cohort = build(read_busi(Path(os.environ["BUSI_ROOT"])))
    assert list(reasons(cohort).values()) == ["conflict"] * 19
    kept = cohort.folds >= 0
    assert kept.sum() == 761
    labels = cohort.labels()
    for fold in range(5):
        inside = cohort.folds == fold
        assert 140 <= inside.sum() <= 165
        shares = np.bincount(labels[inside], minlength=3) / inside.sum()
        assert np.abs(shares - np.bincount(labels[kept]) / kept.sum()).max() < 0.03
        assert not set(cohort.groups[inside]) & set(cohort.groups[kept & ~inside])
