"""The guard on made cohorts: which images of which folds a segmentation checkpoint has seen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busi.core.tables import read_table
from busi.core.types import InputError, Record
from busi.data.cohort import Cohort
from busi.data.contents import Content
from busi.data.datamodule import BUSIDataModule
from busi.data.files import read_gray
from busi.data.splits import name_splits
from busi.data.synthetic import make_synthetic
from busi.guides.leaks import check_leaks, check_same_data, find_seen, list_seen
from busi.guides.prepare import PredictedGuide
from busi.runs.checkpoints import Checkpoint
from busi.runs.predictions import find_records
from busi.runs.run import open_run

FOLDS = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
COMMAND = "python -m busi.train stage=seg data.fold=0"
NOWHERE = Path("no cache is used")


def cohort(fold: int, groups: list[int] | None = None) -> Cohort:
    """Ten images in five folds, each a group of its own unless said otherwise."""
    size = len(FOLDS)
    return Cohort(
        records=[Record(f"benign ({i})", Path(f"{i}.png"), (), 1) for i in range(size)],
        contents=[Content(pixel_hash=f"{i:032x}") for i in range(size)],
        groups=np.array(groups or range(size)),
        folds=FOLDS,
        splits=name_splits(FOLDS, fold, 5),
        reasons=[""] * size,
        unusable=[],
        split_fingerprint="s",
    )


def checkpoint(trained: list[int], validated: list[int], **metadata: object) -> Checkpoint:
    hashes = {"train": [f"{i:032x}" for i in trained], "val": [f"{i:032x}" for i in validated]}
    return Checkpoint(
        Path("seg.ckpt"), {"stage": "seg", "data": cohort(0).data_fingerprint, **hashes, **metadata}, {}, 0, 0
    )


def of_fold(fold: int) -> Checkpoint:
    splits = np.array(name_splits(FOLDS, fold, 5))
    return checkpoint(np.flatnonzero(splits == "train").tolist(), np.flatnonzero(splits == "val").tolist())


def test_the_same_fold_passes_with_its_shared_validation_fold() -> None:
    for fold in range(5):
        check_leaks(of_fold(fold), cohort(fold), COMMAND, NOWHERE)


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_every_other_fold_is_stopped(fold: int) -> None:
    with pytest.raises(
        InputError, match="leak: seg.ckpt has seen too much.*Make one with: python -m busi.train"
    ):
        check_leaks(of_fold(fold), cohort(0), COMMAND, NOWHERE)


def test_test_image_in_validation_of_the_segmentation_is_a_leak() -> None:
    with pytest.raises(InputError, match=r"1 images .* in its validation \(e.g. benign \(1\)\)"):
        check_leaks(checkpoint([4, 5], [1, 2]), cohort(0), COMMAND, NOWHERE)


def test_near_duplicate_of_a_test_image_in_training_is_a_leak() -> None:
    """Image 4 trained the segmentation; image 0 of the test fold is a copy of it with other pixels."""
    groups = [9, 1, 2, 3, 9, 5, 6, 7, 8, 0]
    with pytest.raises(InputError, match=r"1 images .* in its training \(e.g. benign \(0\)\)"):
        check_leaks(checkpoint([4, 5], [2]), cohort(0, groups), COMMAND, NOWHERE)


def test_copy_that_was_dropped_from_the_folds_still_counts() -> None:
    one = cohort(0, [9, 1, 2, 3, 9, 5, 6, 7, 8, 0])
    one.splits[4] = "dropped"
    groups, missing = find_seen(checkpoint([4], []), one, NOWHERE)
    assert [record.id for record in list_seen(groups["train"], one, ("test",))] == ["benign (0)"]
    assert (groups["val"], missing) == (set(), "")


def test_group_numbers_of_the_checkpoint_do_not_matter() -> None:
    numbers = np.random.default_rng(0).permutation(10).tolist()
    check_leaks(of_fold(0), cohort(0, numbers), COMMAND, NOWHERE)


def test_other_data_is_an_error_unless_allowed() -> None:
    other = checkpoint([], [], data="x")
    with pytest.raises(InputError, match="another data set.*allow_other_data=true"):
        check_same_data(other, cohort(0), allow_other_data=False)
    check_same_data(other, cohort(0), allow_other_data=True)


def test_altered_version_of_an_image_of_other_data_is_a_leak(
    trained: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seg = open_run(trained.parents[1] / "seg" / "run")
    root = make_synthetic(tmp_path / "other", (10, 10, 10), 96, 5)
    guide = PredictedGuide(seg.folder, allow_other_data=True)
    guide.find(BUSIDataModule(root, cache_dir=cache, num_folds=3, fold=0))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    path = root / "benign" / "benign (1).png"
    split = {row["id"]: row["split"] for row in read_table(seg.folder / "split.csv")}
    source = next(r for r in find_records(seg).values() if r.label == 1 and split[r.id] == "train")
    image = read_gray(source.image)
    for changed in (image[:, ::-1], (image * 0.5 + 60).astype(np.uint8)):
        Image.fromarray(changed).save(path)
        for name in (path.with_name("benign (1)_mask.png"), path):
            with Image.open(name) as mask:
                mask.resize(image.shape[::-1]).save(name)
        data = BUSIDataModule(root, cache_dir=cache, num_folds=3, fold=0)
        (position,) = (i for i, r in enumerate(data.cohort.records) if r.id == "benign (1)")
        fold = int(data.cohort.folds[position])
        for test in (fold, (fold - 1) % 3):  # where it tests, and where it validates
            data = BUSIDataModule(root, cache_dir=cache, num_folds=3, fold=test)
            with pytest.raises(InputError, match=r"leak: .* in its training \(e.g. benign \(1\)\)"):
                guide.find(data)
        guide.find(BUSIDataModule(root, cache_dir=cache, num_folds=3, fold=(fold + 1) % 3))


def test_classifier_is_no_segmentation_checkpoint() -> None:
    with pytest.raises(InputError, match="is of stage cls: seg_ckpt needs one of stage=seg"):
        check_same_data(checkpoint([], [], stage="cls"), cohort(0), allow_other_data=True)
