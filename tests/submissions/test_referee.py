"""Predictions of any tool: scored at their size and by group, and each way to get them wrong is one line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from busi.core.command import check_there
from busi.core.tables import write_table
from busi.core.types import CLASSES, InputError, Record
from busi.data.catalog import find_data
from busi.data.masks import read_mask
from busi.data.records import Problem
from busi.data.shared_split import SharedSplit
from busi.metrics.segmentation import dice
from busi.reporting.estimates import estimate
from busi.reporting.pooling import score
from busi.runs.rows import describe_image
from busi.runs.run import start_run
from busi.submissions.case_names import CaseNames
from busi.submissions.mask_files import read_predicted
from busi.submissions.measured import Measured, measure_submission
from busi.submissions.own_runs import open_submissions, read_own
from busi.submissions.scores import (
    check_names,
    check_output,
    check_same_folds,
    fit_submitted,
    score_submissions,
)
from busi.submissions.submission import Said, Submission, open_submission
from busi.submissions.submitted import Truth, write_variants

Rows = list[dict[str, Any]]
Theirs = Callable[..., Path]


@pytest.fixture
def split(shared_split: SharedSplit) -> SharedSplit:
    return shared_split


@pytest.fixture(scope="module")
def masks(shared_split: SharedSplit) -> dict[str, np.ndarray]:
    """A mask an image that is nearly right."""
    found = {}
    for record, content in zip(shared_split.cohort.records, shared_split.cohort.contents, strict=True):
        found[record.id] = np.roll(read_mask(record, content.height, content.width), 2, axis=1)
    return found


def folds_of(split: SharedSplit) -> dict[str, int]:
    places = zip(split.cohort.records, split.cohort.folds.tolist(), strict=True)
    return {record.id: fold for record, fold in places if fold >= 0}


def table_of(split: SharedSplit) -> Rows:
    rng = np.random.default_rng(0)
    labels = {record.id: record.label for record in split.cohort.records}
    rows: Rows = []
    for name, fold in folds_of(split).items():
        probs = rng.dirichlet(np.ones(3) + 3 * (np.arange(3) == labels[name]))
        rows.append(
            {"id": name, "fold": fold, **dict(zip((f"prob_{x}" for x in CLASSES), probs, strict=True))}
        )
    return rows


@pytest.fixture
def theirs(split: SharedSplit, masks: dict[str, np.ndarray], tmp_path: Path) -> Theirs:
    """Write a submission as nnU-Net does, with a table of classes."""

    def write(with_masks: bool = True, rows: Rows | None = None, **said: Any) -> Path:
        folder = tmp_path / "theirs"
        for name, fold in folds_of(split).items() if with_masks else ():
            path = folder / f"fold_{fold}" / "validation" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(masks[name]).save(path)
        folder.mkdir(exist_ok=True)
        write_table(folder / "classes.csv", table_of(split) if rows is None else rows)
        if said:
            (folder / "submission.json").write_text(json.dumps(said))
        return folder

    return write


def test_predictions_of_images_that_cannot_be_used_are_not_scored(
    theirs: Theirs, split: SharedSplit, own_runs: Path
) -> None:
    lost = [Problem("c3", "cannot be read", "c3.png"), Problem("case 4", "excluded", "/scans/c4.png")]
    some = replace(split, cohort=replace(split.cohort, unusable=lost))
    names = ("c3", "C3.PNG", "c3.png", "case 4", "/else/where/c4.png")
    rows = table_of(split)
    path = theirs(rows=[*rows, *({**rows[0], "id": name} for name in names)])
    masks = [path / "fold_0" / "validation" / f"{name}.png" for name in ("c3", "c4")]
    for mask in masks:
        shutil.copy(next(mask.parent.glob("*.png")), mask)
    cases = CaseNames(some.cohort.records, lost)
    found = measure_submission(open_submission(path), some, cases, False)
    assert found.not_scored == [
        "images that cannot be used, 6: c3, C3.PNG, c3.png, case 4, /else/where/c4.png, c4"
    ]
    assert len(found.classes) == len(rows)
    with pytest.raises(InputError, match="mask of no image of the data"):
        measured(path, split)
    # Nor those of runs of our own that could still read them.
    (name, *_) = [one for one, fold in folds_of(split).items() if fold == 1]
    gone = {one.id: i for i, one in enumerate(split.cohort.records)}[name]
    keep = [i for i in range(len(split.cohort.records)) if i != gone]
    fewer = replace(
        split.cohort,
        records=[split.cohort.records[i] for i in keep],
        contents=[split.cohort.contents[i] for i in keep],
        groups=split.cohort.groups[keep],
        folds=split.cohort.folds[keep],
        splits=[split.cohort.splits[i] for i in keep],
        reasons=[split.cohort.reasons[i] for i in keep],
        unusable=[Problem(name, "cannot be read", f"{name}.png")],
    )
    without = replace(split, cohort=fewer)
    cases = CaseNames(fewer.records, fewer.unusable)
    (variant,) = read_own(own_runs, Truth(without), cases, False)
    assert sum(len(run.part("test")["id"]) for run in variant.seeds[0]) == len(folds_of(split)) - 1


def named(*paths: str) -> list[Record]:
    return [Record(Path(path).with_suffix("").as_posix().strip("/"), Path(path), (), 0) for path in paths]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a/x", "a/x"),
        ("A\\X.PNG", "a/x"),
        ("top/a/x.png", "a/x"),
        ("x.png", "a/x"),
        ("c/x.png", None),
        ("b/x.png", None),
        ("/else/d/x.png", "a/x"),
        ("/else/c/x.png", None),
        ("/else/b/x.png", None),
        ("C:\\scans\\x.png", "a/x"),
        ("C:\\scans\\b\\x.png", None),
        ("z.png", None),
        ("/else/z.png", None),
        ("/else/b/z.png", "b/z"),
        ("D:\\c\\z.png", "c/z"),
        ("/", None),
        ("", None),
    ],
)
def test_a_name_with_folders_is_that_of_no_image_of_another_folder(text: str, found: str | None) -> None:
    records = named("/top/a/x.png", "/top/b/y.png", "/top/b/z.png", "/top/c/z.png")
    records = [replace(one, id=one.id.removeprefix("top/")) for one in records]
    place = CaseNames(records).find(text)
    assert (None if place is None else records[place].id) == found


def test_decimal_commas_and_paths_of_windows_in_a_table(theirs: Theirs, split: SharedSplit) -> None:
    rows = table_of(split)
    lines = ["id;fold;prob_normal;prob_benign;prob_malignant"]
    for row in rows:
        probs = [f"{row[f'prob_{name}']:.4f}".replace(".", ",") for name in CLASSES]
        lines.append(";".join([f"C:\\scans\\{row['id']}.png", str(row["fold"]), *probs]))
    path = theirs()
    before = measured(path, split).classes
    (path / "classes.csv").write_text("\n".join(lines))
    after = measured(path, split).classes
    for one, other in zip(before, after, strict=True):
        assert one.image == other.image
        np.testing.assert_allclose(np.exp(one.logits), np.exp(other.logits), atol=1e-4)


def measured(path: Path, split: SharedSplit, partial: bool = False) -> Measured:
    return measure_submission(open_submission(path), split, CaseNames(split.cohort.records), partial)


def test_a_submission_is_measured_on_every_image_once(
    theirs: Theirs, split: SharedSplit, masks: dict[str, np.ndarray]
) -> None:
    found = measured(theirs(trained_on=["ImageNet"], name="Theirs"), split)
    ids = [one.id for one in split.cohort.records]
    assert {ids[i]: fold for i, fold in found.folds.of.items()} == folds_of(split)
    assert found.folds.stated
    assert found.name == "Theirs"
    for i, row in found.masks.items():
        record, content = split.cohort.records[i], split.cohort.contents[i]
        truth = read_mask(record, content.height, content.width).astype(bool)
        assert row["dice"] == dice(masks[record.id] > 0, truth)
    assert len(found.classes) == len(found.masks) == len(found.folds.of)
    assert not found.calibrates


# What it is called, the values, and what is said of them -> where a pixel is lesion.
PROBS = np.array([[0.0, 0.2, 0.5], [0.51, 0.9, 1.0]])
LESION = PROBS >= 0.5
KINDS = [
    ("a.png", LESION.astype(np.uint8), {}),
    ("a.png", LESION.astype(np.uint8) * 255, {}),
    ("a.png", LESION, {}),
    ("a.png", LESION.astype(np.uint16) * 7, {}),
    ("a.png", np.array([[0, 0, 1], [2, 1, 1]], np.uint8), {"values": "labels"}),
    ("a.png", np.rint(PROBS * 255).astype(np.uint8), {"values": "probabilities"}),
    ("a.png", np.rint(PROBS * 65535).astype(np.uint16), {"values": "probabilities"}),
    ("a.npy", np.rint(PROBS * 65535).astype(">u2"), {"values": "probabilities"}),
    ("a.npy", PROBS.astype(">f4"), {}),
    ("a.npy", PROBS, {}),
    ("a.npy", PROBS.astype(np.float16)[None], {}),
    ("a.npy", LESION[..., None], {}),
    ("a.npy", LESION.astype(np.int64), {}),
    ("a.npy", LESION.astype(np.float32) * 3, {}),
    ("a.nii.gz", PROBS.T.astype(np.float32), {}),
    ("a.nii", LESION.T.astype(np.uint8)[..., None], {}),
    ("a.nii.gz", LESION.astype(np.uint8), {"orientation": "numpy"}),
]


def save(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".png":
        Image.fromarray(values).save(path)
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        nibabel = pytest.importorskip("nibabel")
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-0.1, -0.1, 1, 1])), path)
    return path


@pytest.mark.parametrize(("name", "values", "said"), KINDS)
def test_masks_and_probabilities_of_every_kind_say_the_same(
    tmp_path: Path, name: str, values: np.ndarray, said: dict[str, Any]
) -> None:
    found = read_predicted(save(tmp_path / name, values), Said(**said))
    assert np.array_equal(found.mask, LESION)
    assert found.shown.dtype == np.uint8
    if not np.isin(values, (0, values.max())).all() and said.get("values") != "labels":
        assert np.abs(found.shown - PROBS * 255).max() <= 0.51
        higher = read_predicted(tmp_path / name, Said(**said, threshold=0.8))
        assert np.array_equal(higher.mask, PROBS >= 0.8)


def colored(path: Path, *colors: tuple[int, int, int]) -> Path:
    """A mask with a color for each value of `LESION`, and another one for its last pixel."""
    values = LESION.astype(int)
    values[-1, -1] = 2
    Image.fromarray(np.array(colors, np.uint8)[values]).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "values", "said", "wrong"),
    [
        ("a.png", np.array([[0, 1, 2]], np.uint8), {}, "say in submission.json whether"),
        ("a.npy", np.array([[0.0, 1.5]]), {}, "probabilities outside of 0 to 1"),
        ("a.npy", np.array([[-0.1, 0.5]]), {}, "probabilities outside of 0 to 1"),
        ("a.npy", np.array([[0.0, np.nan]]), {}, "not finite"),
        ("a.npy", np.array([[0.5, 1.0]]), {"values": "labels"}, "no whole numbers"),
        ("a.npy", np.array([[0, -1]]), {}, "labels below 0"),
        ("a.npy", np.array([["a"]]), {}, "give numbers"),
        ("a.npy", np.zeros((2, 3, 4)), {}, "2 x 3 x 4 values: give height x width"),
        ("a.npy", np.zeros((0, 4)), {}, "0 x 4 values"),
        ("a.npy", np.array([[3, 5]]), {"values": "probabilities"}, "neither 8 nor 16 bits"),
        ("a.npy", np.array([[{}]], object), {}, "damaged file"),
        ("a.npy", b"PK\x03\x04", {}, "damaged file"),
        ("a.png", b"\x89PNG\r\n\x1a\n", {}, "unreadable or truncated file"),
        ("a.nii", b"nothing", {}, "damaged or truncated NIfTI file"),
        ("a.nii.gz", b"\x1f\x8bnothing", {}, "damaged or truncated file"),
        ("a.nii", np.zeros((2, 3, 4)), {}, "volume of 2 slices"),
        ("a.npy", np.array([[3, 5]], np.int16), {"values": "probabilities"}, "neither 8 nor 16 bits"),
        ("a.npy", b"", {}, "damaged file"),
    ],
)
def test_what_is_no_mask_is_refused_in_words(
    tmp_path: Path, name: str, values: np.ndarray | bytes, said: dict[str, Any], wrong: str
) -> None:
    path = tmp_path / name
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif values.dtype == object:
        np.save(path, values, allow_pickle=True)
    else:
        save(path, values)
    with pytest.raises(InputError, match=wrong):
        read_predicted(path, Said(**said))


def test_a_color_is_a_value_as_in_any_mask(tmp_path: Path) -> None:
    black, red, green = (0, 0, 0), (200, 0, 0), (0, 9, 0)
    one, two = colored(tmp_path / "a.png", black, red, red), colored(tmp_path / "e.png", black, red, green)
    assert np.array_equal(read_predicted(one, Said()).mask, LESION)
    assert np.array_equal(read_predicted(two, Said(values="labels")).mask, LESION)
    with pytest.raises(InputError, match="labels or probabilities"):
        read_predicted(two, Said())
    for path, said in ((one, "probabilities"), (colored(tmp_path / "f.png", green, red, red), "labels")):
        with pytest.raises(InputError, match="in color"):
            read_predicted(path, Said.model_validate({"values": said}))
    gray = np.dstack([LESION.astype(np.uint8) * 255] * 3)
    Image.fromarray(gray).save(tmp_path / "b.png")
    assert np.array_equal(read_predicted(tmp_path / "b.png", Said()).mask, LESION)
    indexed = Image.fromarray(LESION.astype(np.uint8)).convert("P")
    indexed.putpalette([0, 0, 0, 255, 0, 0])
    indexed.save(tmp_path / "c.png")
    assert np.array_equal(read_predicted(tmp_path / "c.png", Said()).mask, LESION)
    indexed.putpalette([255, 255, 255, 0, 0, 0])
    indexed.save(tmp_path / "d.png")
    with pytest.raises(InputError, match="first color is not black"):
        read_predicted(tmp_path / "d.png", Said())


def first(folder: Path, fold: int = 0) -> Path:
    return sorted((folder / f"fold_{fold}" / "validation").iterdir())[0]


def damage(folder: Path, how: str) -> None:
    path = first(folder)
    if how == "missing":
        path.unlink()
    elif how == "size":
        image = Image.open(path)
        image.resize((image.width + 1, image.height)).save(path)
    elif how == "twice":
        shutil.copy(path, first(folder, 1).parent / path.name)
    elif how == "two kinds":
        np.save(path.with_suffix(".npy"), np.array(Image.open(path)))
    elif how == "unknown":
        path.rename(path.with_name("stranger.png"))
    elif how == "damaged":
        path.write_bytes(b"\x89PNG")
    elif how == "empty fold":
        for one in path.parent.iterdir():
            one.unlink()


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("missing", r"theirs lacks the mask of 1 image \(.*\), of \d+ images: predict them too$"),
        ("size", "1 x mask of another size than its image: .*, the image"),
        ("twice", "1 x image with several masks: "),
        ("two kinds", "1 x image with several masks: .*npy.*png"),
        (
            "unknown",
            r"1 x mask of no image of the data: .*stranger.png. Images are called by their ids",
        ),
        ("damaged", "1 x unreadable or truncated file"),
        ("empty fold", "fold_0/validation has no masks"),
    ],
)
def test_a_wrong_folder_of_masks_is_one_line(
    theirs: Theirs, split: SharedSplit, how: str, wrong: str
) -> None:
    folder = theirs()
    damage(folder, how)
    with pytest.raises(InputError, match=wrong):
        measured(folder, split)


def find_pair(split: SharedSplit) -> tuple[str, str]:
    """Two images of one group that are in a fold."""
    groups, folds = split.cohort.groups.tolist(), folds_of(split)
    ids = [record.id for record in split.cohort.records]
    return next(
        (ids[i], ids[j])
        for i in range(len(ids))
        for j in range(i)
        if groups[i] == groups[j] and ids[i] in folds
    )


def change(rows: Rows, how: str, split: SharedSplit) -> Rows:
    one = rows[0]
    if how == "missing":
        return rows[1:]
    if how == "twice":
        return [*rows, one]
    if how == "sum":
        one["prob_benign"] += 0.01
    elif how == "nan":
        one["prob_benign"] = ""
    elif how == "unknown":
        one["id"] = "stranger"
    elif how == "fold":
        one["fold"] = "first"
    elif how == "some folds":
        one["fold"] = ""
    elif how == "other fold":
        one["fold"] = (one["fold"] + 1) % 3
    elif how == "split":
        return [{**row, "split": "train"} for row in rows]
    elif how == "both":
        return [{**row, "split": part} for row in rows for part in ("val", "test")]
    elif how == "some val":
        return [{**row, "split": "test"} for row in rows] + [
            {**row, "split": "val", "fold": 0} for row in rows if row["fold"] == 1
        ]
    elif how == "from one":
        return [{**row, "fold": row["fold"] + 1} for row in rows]
    elif how == "val is test":
        return [
            {**row, "split": part, "fold": fold}
            for row in rows
            for part, fold in (("test", ""), ("val", row["fold"]))
        ]
    elif how == "no normal":
        return [{name: x for name, x in row.items() if name != "prob_normal"} for row in rows]
    elif how == "torn":
        fold = {row["id"]: row for row in rows}
        one = fold[find_pair(split)[0]]
        one["fold"] = (one["fold"] + 1) % 3
    return rows


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("missing", r"theirs lacks the row of 1 image \(.*predict them too"),
        ("twice", r"classes.csv has 1 image \(.*\) twice: keep one row of each"),
        ("sum", r"has 1 image \(row 2 .*with wrong numbers: give numbers from 0 to 1 that sum to 1"),
        ("nan", r"has 1 image \(row 2 .*nothing"),
        ("unknown", r"names 1 image \(row 2 \(stranger\)\) that the data does not have"),
        ("fold", "fold is 'first': give a whole number"),
        ("some folds", r"says the fold of some predictions, and not that of 1 image"),
        ("split", "split is 'train': give test, val"),
        ("both", "both as val and as test of one fold"),
        ("some val", "fold 1 has no rows of the split val, and others have"),
        ("no normal", "no prob_normal, and normal images are scored"),
        ("torn", r"fold \d trained on near-duplicates, or other images of the patient, of \d+ images"),
        ("from one", "predictions of the folds 1, 2, 3: count folds from 0, and leave none out$"),
        ("val is test", r"fold 0 was chosen by validation images, among them \d+ images? \(.*\), which"),
    ],
)
def test_a_wrong_table_is_one_line(theirs: Theirs, split: SharedSplit, how: str, wrong: str) -> None:
    folder = theirs(with_masks=False, rows=change(table_of(split), how, split))
    with pytest.raises(InputError, match=wrong):
        measured(folder, split)


def test_probabilities_come_back_and_a_zero_stays_finite(theirs: Theirs, split: SharedSplit) -> None:
    rows = table_of(split)
    rows[0] |= {"prob_normal": 0, "prob_benign": 1, "prob_malignant": 0}
    found = measured(theirs(with_masks=False, rows=rows), split)
    logits = np.stack([row.logits for row in found.classes])
    assert np.isfinite(logits).all()
    given = np.array([[row[f"prob_{name}"] for name in CLASSES] for row in rows])
    assert np.allclose(softmax(logits, axis=1), given, rtol=1e-12)


def test_without_validation_images_nothing_is_set_and_nothing_claimed(
    theirs: Theirs, split: SharedSplit, tmp_path: Path
) -> None:
    found = measured(theirs(with_masks=False), split)
    (variant,) = write_variants(found, Truth(split), tmp_path / "out", tmp_path)
    scored = score(variant.seeds[0], fit_submitted)
    assert np.array_equal(scored.raw, scored.probs)
    values = estimate([scored], num_resamples=0)["hospital"]
    for name in ("sensitivity_at_specificity_90", "coverage_benign", "set_size"):
        assert np.isnan(values[name].value)
    assert 0 < values["brier"].value < 1


def test_masks_and_table_of_other_folds_contradict_each_other(theirs: Theirs, split: SharedSplit) -> None:
    folder = theirs(rows=change(table_of(split), "other fold", split))
    with pytest.raises(InputError, match="by its mask, and in fold .* by its row: correct one"):
        measured(folder, split)


def test_a_fold_that_trained_on_what_it_predicts_is_refused(theirs: Theirs, split: SharedSplit) -> None:
    rows = table_of(split)
    folds = folds_of(split)
    parts = [
        {
            "train": [name for name, at in folds.items() if at != fold],
            "val": [name for name, at in folds.items() if at == fold],
        }
        for fold in range(3)
    ]
    folder = theirs(with_masks=False, rows=rows, splits="splits_final.json")
    (folder / "splits_final.json").write_text(json.dumps(parts))
    found = measured(folder, split)
    assert found.folds.words.startswith("No fold trained on an image that it predicts")
    stranger = parts[1]["val"][0]
    parts[1]["train"] = [*parts[1]["train"], stranger, "elsewhere"]
    (folder / "splits_final.json").write_text(json.dumps(parts))
    with pytest.raises(InputError, match=r"theirs: fold 1 trained on 1 image \(.*\), which it predicts"):
        measured(folder, split)
    # Of a group, another image is enough.
    mine, other = find_pair(split)
    fold = folds[mine]
    for part in parts:
        part["train"] = [name for name in part["train"] if name not in (mine, other, stranger)]
    parts[fold]["train"].append(other)
    parts[fold]["val"].remove(other)
    parts[(fold + 1) % 3]["val"].append(other)
    (folder / "splits_final.json").write_text(json.dumps(parts))
    write_table(folder / "classes.csv", [{**row, "fold": ""} for row in rows])
    with pytest.raises(InputError, match=f"fold {fold} trained on near-duplicates, or other images of"):
        measured(folder, split)


def test_without_folds_those_of_the_data_are_taken(theirs: Theirs, split: SharedSplit) -> None:
    rows = [{name: x for name, x in row.items() if name != "fold"} for row in table_of(split)]
    found = measured(theirs(with_masks=False, rows=rows), split)
    assert not found.folds.stated
    assert sorted(found.folds.of.values()) == sorted(folds_of(split).values())
    assert "nothing here can find that out" in found.folds.words


def test_whole_folds_may_be_missing_if_that_is_said(theirs: Theirs, split: SharedSplit) -> None:
    rows = [row for row in table_of(split) if row["fold"] != 2]
    folder = theirs(with_masks=False, rows=rows)
    with pytest.raises(InputError, match="predict them too, or say --partial to score the other folds"):
        measured(folder, split)
    assert set(measured(folder, split, partial=True).folds.of.values()) == {0, 1}
    folder = theirs(with_masks=False, rows=rows[1:])
    with pytest.raises(InputError, match=r"lacks the row of 1 image .*predict them too$"):
        measured(folder, split, partial=True)


def test_what_is_not_scored_is_said(theirs: Theirs, split: SharedSplit, masks: dict[str, np.ndarray]) -> None:
    folder = theirs()
    dropped = [one.id for one, x in zip(split.cohort.records, split.cohort.reasons, strict=True) if x]
    Image.fromarray(masks[dropped[0]]).save(folder / "fold_0" / "validation" / f"{dropped[0]}.png")
    (folder / "notes.txt").write_text("mine")
    (folder / "fold_1" / "validation" / "summary.json").write_text("{}")
    Image.new("L", (9, 9)).save(folder / "fold_0" / "progress.png")
    unannotated = first(folder, 1).stem
    records = [replace(one, annotated=one.id != unannotated) for one in split.cohort.records]
    found = measured(folder, replace(split, cohort=replace(split.cohort, records=records)))
    assert sorted(found.not_scored) == [
        f"left out of the data (conflict), 1: {dropped[0]}",
        f"masks of lesions that nobody annotated, 1: {unannotated}",
    ]
    beside = ("notes.txt", "fold_0/progress.png", "fold_1/validation/summary.json")
    assert found.submission.passed_over == beside
    assert len(found.masks) == len(found.folds.of) - 1


def test_submissions_of_other_folds_are_not_compared(
    theirs: Theirs, split: SharedSplit, tmp_path: Path
) -> None:
    one, cases = measured(theirs(), split), CaseNames(split.cohort.records)
    shifted = replace(one, folds=replace(one.folds, of={i: (k + 1) % 3 for i, k in one.folds.of.items()}))
    run = write_variants(shifted, Truth(split), tmp_path / "b", tmp_path)
    check_same_folds({"theirs": one, "same": one}, cases)
    for other in (shifted, run, replace(shifted, classes=[]), replace(shifted, masks={})):
        with pytest.raises(InputError, match=r"is in fold \d of theirs, and in fold \d of other: "):
            check_same_folds({"theirs": one, "other": other}, cases)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"nam": "x"}', r"nam: Extra inputs are not permitted \(it may have name, masks"),
        ('{"threshold": 0}', "threshold: Input should be greater than 0"),
        ('{"threshold": "high"}', "threshold: "),
        ('{"masks": "../other"}', "name files relative to it, beside or below it"),
        ('{"masks": "/etc"}', "name files relative to it, beside or below it"),
        ('{"classes": "none.csv"}', "there is no "),
        ('{"values": "mask"}', "values: Input should be 'labels' or 'probabilities'"),
        ("[]", "the whole: "),
        ("{", "damaged JSON: write it again"),
        ('{"splits": "' + "x" * 300 + '.json"}', "there is no "),
        ('{"folds": "a\\u0000b"}', "there is no "),
        ('{"orientation": "xy"}', "orientation: Input should be 'header', 'itk' or 'numpy'"),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "submission.json").write_text(text)
    with pytest.raises(InputError, match=wrong):
        open_submission(tmp_path)


def test_folders_with_nothing_and_outputs_in_the_way_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has nothing to score"):
        open_submission(tmp_path)
    with pytest.raises(InputError, match="lies in the submission"):
        check_output(tmp_path / "out", [tmp_path])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("mine")
    for name, wrong in (("mine", "is not empty"), ("x" * 300, "cannot write to ")):
        with pytest.raises(InputError, match=wrong):
            check_output(tmp_path / name, [tmp_path / "theirs"])
    with pytest.raises(InputError, match="no data at xxx"):
        find_data("x" * 300)
    with pytest.raises(InputError, match="does not exist: give predictions"):
        check_there([Path("x" * 300)], "predictions")
    for names in (["a", "A"], ["a", "a"], ["a/b", "a_b"]):
        with pytest.raises(InputError, match="two submissions are called "):
            check_names(names)
    for name in ("..", ".", " ", ". .", "a\nb"):
        with pytest.raises(InputError, match="give it a name with letters or digits"):
            check_names(["a", name])


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ([], "is no splits_final.json of nnU-Net.*the whole: List should have at least 1"),
        ({}, "is no splits_final.json of nnU-Net.*the whole: "),
        ([{"train": "all", "val": []}], "0.train: "),
        ([{"train": ["a"], "val": "all"}], "0.val: "),
        ([{"train": [], "val": []}], "0.train: List should have at least 1"),
        ([{"val": []}], "0.train: Field required"),
        ([["a"], ["b"]], "splits_final.json of nnU-Net"),
        ("two of three", "fold 2 trained on near-duplicates, or other images of the patient, .*say what"),
    ],
)
def test_splits_that_do_not_say_what_trained_a_fold_switch_no_check_off(
    theirs: Theirs, split: SharedSplit, content: Any, wrong: str
) -> None:
    rows = table_of(split)
    if content == "two of three":
        mine = find_pair(split)[0]
        folds = {row["id"]: row["fold"] for row in rows}
        for row in rows:  # the pair is in fold 2 and another
            if row["fold"] in (2, folds[mine]):
                row["fold"] = 2 + folds[mine] - row["fold"] if folds[mine] != 2 else row["fold"]
            if row["id"] == mine:
                row["fold"] = 0
        content = [
            {"train": [one["id"] for one in rows if one["fold"] == 1], "val": []},
            {"train": ["elsewhere"], "val": []},
        ]
    folder = theirs(with_masks=False, rows=rows, splits="splits.json")
    (folder / "splits.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=wrong):
        measured(folder, split)


def test_splits_of_some_folds_certify_no_others(theirs: Theirs, split: SharedSplit) -> None:
    rows = table_of(split)
    folder = theirs(with_masks=False, rows=rows, splits="splits.json")
    train = [row["id"] for row in rows if row["fold"] == 1]
    (folder / "splits.json").write_text("\ufeff" + json.dumps([{"train": train, "val": []}]))
    words = measured(folder, split).folds.words
    assert words.endswith(
        "Of folds 1, 2 it does not say what trained: taken for all images of the other folds."
    )


def test_validation_images_that_the_data_leaves_out_calibrate_nothing(
    theirs: Theirs, split: SharedSplit
) -> None:
    rows = table_of(split)
    dropped = [one.id for one, x in zip(split.cohort.records, split.cohort.reasons, strict=True) if x]
    vals = [{**rows[0], "id": dropped[0], "fold": fold, "split": "val"} for fold in range(3)]
    found = measured(theirs(with_masks=False, rows=[{**row, "split": ""} for row in rows] + vals), split)
    assert not found.calibrates
    assert found.not_scored == [f"left out of the data (conflict), 1: {dropped[0]}"]


def test_folds_of_a_part_are_counted_with_those_that_are_missing(theirs: Theirs, split: SharedSplit) -> None:
    rows = [row for row in table_of(split) if row["fold"] != 2]
    assert measured(theirs(with_masks=False, rows=rows), split, partial=True).folds.number == 3
    rows = [{**row, "fold": row["fold"] + 3} for row in rows]
    with pytest.raises(InputError, match=r"of the folds 3, 4: count folds from 0, .*the data has 3"):
        measured(theirs(with_masks=False, rows=rows), split, partial=True)


@pytest.mark.parametrize(
    ("signs", "turned", "said"),
    [
        ((-1, -1), lambda mask: mask.T, {}),
        ((1, 1), lambda mask: mask.T[::-1, ::-1], {}),
        ((1, -1), lambda mask: mask.T[::-1], {}),
        ((1, 1), lambda mask: mask.T, {"orientation": "itk"}),
        ((1, 1), lambda mask: mask, {"orientation": "numpy"}),
    ],
)
def test_nifti_is_turned_as_its_header_says(
    tmp_path: Path, signs: tuple[int, int], turned: Callable[[np.ndarray], np.ndarray], said: dict[str, Any]
) -> None:
    nibabel = pytest.importorskip("nibabel")
    for spacing in (0.2, 1.0):
        affine = np.diag([*(spacing * sign for sign in signs), 1, 1])
        path = tmp_path / "a.nii.gz"
        nibabel.save(nibabel.Nifti1Image(turned(LESION.astype(np.uint8)), affine), path)
        if signs == (1, 1) and spacing == 1 and not said:
            with pytest.raises(
                InputError, match='header is the unit matrix.*say "orientation" in submission'
            ):
                read_predicted(path, Said())
            said = {"orientation": "header"}
        assert np.array_equal(read_predicted(path, Said(**said)).mask, LESION)


def test_nothing_is_written_unless_all_is(
    theirs: Theirs, split: SharedSplit, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = theirs(with_masks=False, name="index.html")
    other = tmp_path / "other"
    shutil.copytree(one, other)
    (other / "submission.json").write_text(json.dumps({"name": "tables"}))
    write_table(other / "classes.csv", [{**row, "fold": (row["fold"] + 1) % 3} for row in table_of(split)])
    out = tmp_path / "score"
    before = sorted(tmp_path.iterdir())

    def score_both() -> Path:
        return score_submissions([one, other], split.data, out, cache_dir=cache, num_folds=3)

    with pytest.raises(InputError, match="submissions are compared on the same folds"):
        score_both()
    assert sorted(tmp_path.iterdir()) == before
    write_table(other / "classes.csv", table_of(split))
    with monkeypatch.context() as patched:
        patched.setattr("busi.submissions.scores.compare", None)
        patched.setattr("busi.submissions.scores.report", lambda one, *_: check_names([one.name] * 2))
        with pytest.raises(InputError, match="two submissions are called"):
            score_both()
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def own_runs(split: SharedSplit, compose: Callable[..., Any], tmp_path: Path) -> Path:
    """Finished runs of three folds, whose predictions are made up."""
    for fold in range(3):
        cfg = compose("stage=cls", "guide=empty", "data.num_folds=3", f"data.fold={fold}")
        cfg.data.name, cfg.data.root = split.data.name, str(split.data.root)
        cfg.run_dir = str(tmp_path)
        cohort = replace(split.cohort, splits=split.splits(fold))
        run = start_run(tmp_path / "runs" / f"fold{fold}", cfg, cohort, {})
        rows = [
            {
                **describe_image(cohort, i),
                **{"fold": int(cohort.folds[i]), "split": cohort.splits[i], "pred": "benign"},
                **{f"logit_{name}": 0.0 for name in CLASSES},
                **{f"prob_{name}": 1 / 3 for name in CLASSES},
            }
            for i in cohort.indices("val", "test").tolist()
        ]
        write_table(run.folder / "predictions.csv", rows)
        facts: dict[str, Any] = {"epoch": 0, "monitor": "val/x", "monitored": 0.5, "tested": True}
        run.finish({}, **facts, seconds=1.0, device="cpu")
    return tmp_path / "runs"


def test_runs_of_our_own_are_refereed_as_others_are(own_runs: Path, split: SharedSplit) -> None:
    cases = CaseNames(split.cohort.records)
    (variant,) = read_own(own_runs, Truth(split), cases, False)
    assert sum(len(run.part("test")["id"]) for run in variant.seeds[0]) == len(folds_of(split))
    read_own(own_runs / "fold1", Truth(split), cases, True)
    # The data knows patients that the runs did not know.
    groups = split.cohort.groups.copy()
    mine, other = (int(np.flatnonzero(split.cohort.folds == fold)[0]) for fold in (0, 2))
    groups[other] = groups[mine]
    known = replace(split, cohort=replace(split.cohort, groups=groups))
    with pytest.raises(
        InputError, match=r"fold0: fold 0 trained on near-duplicates, or other images of the p"
    ):
        read_own(own_runs / "fold0", Truth(known), cases, True)
    # More is in the data than they tested.
    folds = split.cohort.folds.copy()
    (left_out, *_) = np.flatnonzero(folds < 0)
    folds[left_out] = 1
    more = replace(split, cohort=replace(split.cohort, folds=folds))
    for path in (own_runs, own_runs / "fold1"):
        with pytest.raises(InputError, match="lacks the prediction of 1 image"):
            read_own(path, Truth(more), cases, True)
    # What --exclude names is scored of nobody.
    (name, *_) = [one for one, fold in folds_of(split).items() if fold == 1]
    folds, reasons = split.cohort.folds.copy(), [*split.cohort.reasons]
    place = [record.id for record in split.cohort.records].index(name)
    folds[place], reasons[place] = -1, "excluded"
    less = replace(split, cohort=replace(split.cohort, folds=folds, reasons=reasons))
    (variant,) = read_own(own_runs, Truth(less), cases, False)
    tested = [one for run in variant.seeds[0] for one in run.part("test")["id"].tolist()]
    assert sorted(tested) == sorted({*folds_of(split)} - {name})


def test_what_is_given_twice_counts_once(theirs: Theirs, own_runs: Path, tmp_path: Path) -> None:
    folder = theirs(with_masks=False, name="a")
    for name, target in (("again", folder), ("runs again", own_runs)):
        (tmp_path / name).symlink_to(target)
    ways = [folder, folder / "submission.json", tmp_path / "again", folder / ".." / folder.name]
    one, runs = open_submissions([*ways, own_runs, tmp_path / "runs again"])
    assert isinstance(one, Submission)
    assert (one.path, runs) == (folder, own_runs)
    assert len(open_submissions([folder, folder / "classes.csv"])) == 2  # a table alone is another one
    with pytest.raises(InputError, match=r"fold1 is in .*runs and in .*fold1: give the runs of each setting"):
        open_submissions([own_runs, own_runs / "fold1"])
