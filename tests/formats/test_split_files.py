"""The files of other frameworks hold exactly our split, and a manifest gives it back."""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from busi import data
from busi import split as split_command
from busi.core.tables import read_table, write_table
from busi.core.types import CLASSES, InputError
from busi.data.cohort import build_cohort
from busi.data.files import read_gray
from busi.data.manifest import read_csv
from busi.data.masks import read_mask
from busi.data.shared_split import SharedSplit
from busi.formats.splitting import write_split

AS_TRAINED: dict[str, Any] = {
    **{"leave_out": None, "num_folds": 3, "split_seed": 0, "conflicts": "drop", "exclude": None},
    **{"on_bad": "error", "need_masks": False, "subset": None},
}


@pytest.fixture
def split(shared_split: SharedSplit) -> SharedSplit:
    """With a lesion that nobody annotated, and a patient whose name is known."""
    records = [
        replace(one, annotated=one.id != "benign (2)", patient="Smith" if one.id == "benign (3)" else None)
        for one in shared_split.cohort.records
    ]
    return replace(shared_split, cohort=replace(shared_split.cohort, records=records))


def annotated(split: SharedSplit, wanted: Callable[[int], bool]) -> set[str]:
    records = split.cohort.records
    return {one.id for i, one in enumerate(records) if wanted(i) and one.annotated}


def test_nnunet_gets_images_masks_and_folds(split: SharedSplit, tmp_path: Path) -> None:
    out = write_split(split, "nnunet", tmp_path / "Dataset501_Synthetic")
    described = json.loads((out / "dataset.json").read_text())
    every = annotated(split, lambda i: split.cohort.folds[i] >= 0)
    assert described["numTraining"] == len(every) == len(list((out / "imagesTr").iterdir()))
    parts = json.loads((out / "splits_final.json").read_text())
    for fold, part in enumerate(parts):
        assert set(part["val"]) == annotated(split, lambda i, fold=fold: split.cohort.folds[i] == fold)
        outside = split.outside(fold)
        assert set(part["train"]) == annotated(split, lambda i, outside=outside: outside[i])
    for record in split.cohort.records:
        if record.id in every:
            image = Image.open(out / "imagesTr" / f"{record.id}_0000.png")
            mask = np.array(Image.open(out / "labelsTr" / f"{record.id}.png"))
            gray = read_gray(record.image)
            assert image.mode == "L"
            assert np.array_equal(np.array(image), gray)
            assert np.array_equal(mask, read_mask(record, *gray.shape))
    left_out = {row["id"]: row["reason"] for row in read_table(out / "split.csv") if row["reason"]}
    assert left_out["benign (2)"] == "no mask"
    assert len(left_out) + len(every) == len(split.cohort.records)


def test_monai_gets_a_datalist_for_each_fold(split: SharedSplit, tmp_path: Path) -> None:
    out = write_split(split, "monai", tmp_path / "monai")
    for fold in range(3):
        lists = json.loads((out / f"fold_{fold}.json").read_text())
        splits = split.splits(fold)
        for ours, theirs in (("train", "training"), ("val", "validation"), ("test", "test")):
            assert {entry["id"] for entry in lists[theirs]} == annotated(
                split, lambda i, splits=splits, ours=ours: splits[i] == ours
            )
            assert all((out / entry[key]).is_file() for entry in lists[theirs] for key in ("image", "label"))
    assert lists["labels"] == {"0": "background", "1": "lesion"}


def test_training_on_the_manifest_has_the_same_folds(
    split: SharedSplit, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        out = write_split(split, "csv", tmp_path / "my folds")
    manifest = out / "manifest.csv"
    typed = shlex.split(caplog.messages[-1].removeprefix("Next: ").removesuffix(", and so on"))
    assert f"data.root={manifest}" in typed
    assert "Smith" not in manifest.read_text()
    assert {row["patient"] for row in read_table(manifest)} == {"", "patient-1"}
    for fold in range(3):
        cohort = build_cohort(
            read_csv(manifest), **{**AS_TRAINED, "fold": fold, "published": True}, cache_dir=cache
        )
        found = {one.id: part for one, part in zip(cohort.records, cohort.splits, strict=True)}
        ours = zip(split.cohort.records, split.splits(fold), strict=True)
        assert found == {one.id: part for one, part in ours if part != "dropped"}
        groups = dict(zip([one.id for one in cohort.records], cohort.groups.tolist(), strict=True))
        own = dict(zip([one.id for one in split.cohort.records], split.cohort.groups.tolist(), strict=True))
        assert len({(groups[name], own[name]) for name in groups}) == len(set(groups.values()))


def test_a_folder_that_is_there_or_has_no_name_for_nnunet_is_one_line(
    split: SharedSplit, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not empty: give a new folder"):
        write_split(split, "csv", tmp_path)
    with pytest.raises(InputError, match="is not empty"):
        write_split(split, "csv", tmp_path / "file")
    for name in ("nnunet", "Dataset5_x", "Dataset000_x", "Dataset501_a b"):
        with pytest.raises(InputError, match="nnU-Net wants a folder named DatasetNNN_NAME"):
            write_split(split, "nnunet", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_wrong_output_is_said_before_the_data_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(data, "share_split", None)
    for to, name, wrong in (("nnunet", "x", "DatasetNNN_NAME"), ("csv", ".", "is not empty")):
        arguments = ["--data", "synthetic", "--to", to, "--output", str(tmp_path / name)]
        monkeypatch.setattr("sys.argv", ["split", *arguments])
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=wrong):
            split_command.main()


def test_words_of_a_manifest_are_mapped(
    split: SharedSplit, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {"image": one.image, "label": ("healthy", "benign", "cancer")[one.label]}
        for one in split.cohort.records
    ]
    write_table(tmp_path / "words.csv", rows)
    arguments = ["--data", str(tmp_path / "words.csv"), "--to", "csv", "--output", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["split", *arguments, "--num-folds", "3", "--cache", str(cache)])
    with pytest.raises(InputError, match="--labels"):
        split_command.main()
    monkeypatch.setattr("sys.argv", [*sys.argv, "--labels", "cancer=malignant,healthy=normal"])
    split_command.main()
    found = {Path(row["image"]): row["label"] for row in read_table(tmp_path / "out" / "manifest.csv")}
    classes = {one.image: CLASSES[one.label] for one in split.cohort.records}
    assert found.items() <= classes.items()
    assert set(found.values()) == set(CLASSES)


def test_a_name_that_no_manifest_holds_is_refused(split: SharedSplit, tmp_path: Path) -> None:
    for name, path in (("none", "a.png"), ("a", "semi;colon.png")):
        records = [*split.cohort.records]
        places = [i for i in range(len(records)) if split.cohort.folds[i] >= 0]
        mask = tmp_path / path
        mask.write_bytes(records[places[-1]].image.read_bytes())
        records[places[-1]] = replace(records[places[-1]], id=name, masks=(mask,))
        changed = replace(split, cohort=replace(split.cohort, records=records))
        with pytest.raises(InputError, match=r"[Rr]ename"):
            write_split(changed, "csv", tmp_path / "out")
        assert not (tmp_path / "out").exists()
