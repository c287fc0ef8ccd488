from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool, UInt8

from busi.core.types import BENIGN, CLASSES, MALIGNANT, NORMAL, InputError
from busi.data import synthetic
from busi.data.duplicates import find_duplicates
from busi.data.files import read_gray
from busi.data.masks import read_mask
from busi.data.synthetic import make_sample, make_synthetic, read_synthetic

COUNTS = (14, 21, 16)
HEIGHT = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic(tmp_path_factory.mktemp("synthetic") / "data", COUNTS, HEIGHT, seed=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_folder_reads_as_busi_does(tmp_path: Path) -> None:
    records, problems = read_synthetic(tmp_path, COUNTS[BENIGN], COUNTS[MALIGNANT], COUNTS[NORMAL], HEIGHT, 0)
    assert problems == []
    labels = [record.label for record in records]
    assert [labels.count(label) for label in range(len(CLASSES))] == list(COUNTS)
    for record in records:
        image = read_gray(record.image)
        mask = read_mask(record, *image.shape)
        assert mask.any() == (record.label != NORMAL)


def test_normal_images_have_an_empty_mask_file(folder: Path) -> None:
    masks = list((folder / "normal").glob("*_mask.png"))
    assert len(masks) == COUNTS[NORMAL]
    assert not any(read_gray(path).any() for path in masks)


def test_same_arguments_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = make_synthetic(tmp_path / "again", COUNTS, HEIGHT, seed=0)
    assert contents(again) == contents(folder)
    other = make_synthetic(tmp_path / "other", COUNTS, HEIGHT, seed=1)
    assert contents(other).keys() & contents(folder).keys()
    assert contents(other)["benign/benign (1).png"] != contents(folder)["benign/benign (1).png"]


def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    make_synthetic(tmp_path / "mine", COUNTS, HEIGHT, seed=0)
    assert list((tmp_path / "mine").iterdir()) == []


def test_failure_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_late(label: int, number: int, *_: object) -> synthetic.Sample:
        if label == BENIGN:
            raise RuntimeError("disk is full")
        return make_sample(label, number, COUNTS, HEIGHT, 0)

    monkeypatch.setattr(synthetic, "make_sample", fail_late)
    with pytest.raises(RuntimeError, match="disk is full"):
        make_synthetic(tmp_path / "data", COUNTS, HEIGHT, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_near_duplicates_are_found_and_nothing_else_is(folder: Path) -> None:
    places = [(label, number) for label in range(3) for number in range(1, COUNTS[label] + 1)]
    paths = [folder / CLASSES[label] / f"{CLASSES[label]} ({number}).png" for label, number in places]
    expected = {((label, number - 1), (label, number)) for label, number in places if number % 7 == 0}
    conflict = COUNTS[BENIGN] - COUNTS[BENIGN] % 7
    expected -= {((BENIGN, conflict - 1), (BENIGN, conflict))}
    expected |= {((BENIGN, conflict), (MALIGNANT, 1))}
    found = find_duplicates([read_gray(path) for path in paths])
    assert {(places[i], places[j]) for i, j in found} == expected


def width_to_height(mask: Bool[np.ndarray, "h w"]) -> float:
    rows, columns = np.nonzero(mask)
    return float(np.ptp(columns) / np.ptp(rows))


def behind_to_beside(image: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Mean gray behind the lesion, relative to that at the same depth beside it."""
    rows, columns = np.nonzero(mask)
    below = image[rows.max() + 1 :].astype(float)
    shadow = np.zeros(mask.shape[1], bool)
    shadow[int(np.percentile(columns, 20)) : int(np.percentile(columns, 80))] = True
    beside = np.ones(mask.shape[1], bool)
    beside[columns.min() : columns.max()] = False
    return float(below[:, shadow].mean() / below[:, beside].mean())


def test_classes_differ_as_lesions_do() -> None:
    shapes: dict[int, list[float]] = {}
    shadows: dict[int, list[float]] = {}
    for label in (BENIGN, MALIGNANT):
        for seed in range(25):
            sample = synthetic.draw_sample(label, np.random.default_rng(seed), 128)
            if len(sample.masks) == 1:
                shapes.setdefault(label, []).append(width_to_height(sample.masks[0]))
                shadows.setdefault(label, []).append(behind_to_beside(sample.image, sample.masks[0]))
    assert np.median(shapes[BENIGN]) > 1.2
    assert np.median(shapes[MALIGNANT]) < 1.05
    assert np.median(shadows[BENIGN]) > 1.02
    assert np.median(shadows[MALIGNANT]) < 0.9


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 10 images a class and 64 pixels"):
        make_synthetic(tmp_path / "x", (10, 9, 10), HEIGHT, seed=0)
    with pytest.raises(InputError, match="at least 10 images a class and 64 pixels"):
        make_synthetic(tmp_path / "x", COUNTS, 63, seed=0)
