"""Near-duplicates: exports of one frame are found, other images are not, and the frozen table stands."""

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from jaxtyping import UInt8

from busi.data.described import Description
from busi.data.duplicates import find_duplicates
from busi.data.files import read_gray
from busi.data.groups import cluster, published_groups
from busi.data.images import pixel_hash
from busi.data.kept_searches import KeptSearches
from busi.data.proposed import propose
from tests.data.conftest import burn_in, scan

GrayImage = UInt8[np.ndarray, "_ _"]
Change = Callable[[GrayImage], GrayImage]

CONFLICTS = (  # the clusters of BUSI whose members carry different labels
    {"benign (42)", "benign (131)", "malignant (51)"},
    {"benign (85)", "benign (164)", "malignant (52)"},
    {"benign (333)", "malignant (77)", "malignant (78)"},
    {"benign (399)", "malignant (93)"},
    {"benign (406)", "malignant (94)"},
    {"benign (433)", "malignant (145)"},
    {"benign (269)", "normal (1)"},
    {"benign (437)", "normal (34)"},
)


def resized(image: GrayImage, factor: float) -> GrayImage:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def gained(image: GrayImage) -> GrayImage:
    return (255 * (image / 255.0) ** 0.7 * 0.9).astype(np.uint8)


def all_pairs(groups: Iterable[int]) -> set[tuple[int, int]]:
    numbers = list(groups)
    return {(i, j) for i, a in enumerate(numbers) for j, b in enumerate(numbers) if i < j and a == b}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image, id="same"),
        pytest.param(lambda image: image[40:390, 60:470], id="crop"),
        pytest.param(lambda image: image[60:360, 110:410], id="tight crop"),
        pytest.param(lambda image: resized(image, 0.6), id="smaller"),
        pytest.param(lambda image: resized(image, 1.5), id="larger"),
        pytest.param(gained, id="gain"),
        pytest.param(burn_in, id="burned in"),
        pytest.param(lambda image: burn_in(gained(resized(image, 0.8)[20:, 25:])), id="everything"),
    ],
)
def test_exports_of_one_frame_are_found_among_others(change: Change) -> None:
    images = [scan(0), *(scan(seed) for seed in range(2, 10)), change(scan(0))]
    assert find_duplicates(images) == [(0, 9)]


@pytest.mark.parametrize(
    "change", [np.fliplr, np.flipud, np.rot90], ids=["mirrored", "upside down", "turned"]
)
def test_mirrored_and_turned_images_are_other_images(change: Change) -> None:
    assert find_duplicates([scan(0), np.ascontiguousarray(change(scan(0)))]) == []


def test_equal_text_and_shading_do_not_make_two_images_one() -> None:
    assert find_duplicates([burn_in(scan(seed)) for seed in range(12)]) == []


def test_many_exports_come_out_as_one_group() -> None:
    images = [np.ascontiguousarray(scan(0)[top:, top:]) for top in range(0, 60, 5)] + [scan(1), scan(2)]
    groups = cluster(len(images), find_duplicates(images))
    assert groups.tolist() == [0] * 12 + [1, 2]


def test_order_does_not_matter() -> None:
    images = [scan(seed) for seed in range(5)] + [burn_in(scan(1)), scan(3)[30:, 30:], scan(3)[:, :450]]
    expected = set(find_duplicates(images))
    assert {(1, 5), (3, 6), (3, 7)} <= expected
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(images))
        pairs = find_duplicates([images[i] for i in order])
        assert pairs == sorted(pairs)
        assert {(min(order[i], order[j]), max(order[i], order[j])) for i, j in pairs} == expected


def test_constant_and_tiny_images() -> None:
    tiny = scan(0)[100:132, 100:132]
    constant = [np.full((64, 64), 7, np.uint8), np.full((64, 64), 7, np.uint8), np.zeros((1, 1), np.uint8)]
    other = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    strip = np.random.default_rng(1).integers(0, 255, (3, 900), np.uint8)
    assert find_duplicates([*constant, tiny, other, tiny.copy(), strip]) == [(3, 5)]


@pytest.mark.parametrize("num_images", [0, 1, 2])
def test_few_images(num_images: int) -> None:
    assert find_duplicates([scan(seed) for seed in range(num_images)]) == []


def test_a_handful_of_smooth_images_is_searched_whole() -> None:
    """In a thread that has searched nothing larger, the trees of OpenCV fail at some such sets."""
    nothing, none, small = np.zeros(0, np.float32), np.zeros((0, 128), np.uint8), np.zeros((8, 8), np.uint8)
    with ThreadPoolExecutor(1) as fresh, ThreadPoolExecutor(1) as pool:
        for seed in range(20):
            thumbnails = np.random.default_rng(seed).standard_normal((8, 256)).astype(np.float32)
            thumbnails /= np.linalg.norm(thumbnails, axis=1, keepdims=True)
            thumbnails[7] = thumbnails[seed % 7]
            descriptions = [Description(small, nothing.reshape(0, 2), nothing, none, x) for x in thumbnails]
            assert fresh.submit(propose, descriptions, pool).result() == {(seed % 7, 7)}


def test_smooth_images_are_compared_too() -> None:
    y, x = np.mgrid[:80, :100]
    wave = (128 + 90 * np.sin(x / 9.0) * np.cos(y / 7.0)).astype(np.uint8)
    slope = (2 * x).astype(np.uint8)
    assert find_duplicates([wave, slope, wave.copy()]) == [(0, 2)]


class Lazy(Sequence[GrayImage]):
    """Draws an image when asked for it."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self.asked.append(index)
        return scan(index % 3)


def test_images_may_be_lazy_and_progress_sees_each() -> None:
    seen: list[int] = []

    def progress(indices: Iterable[int]) -> Iterable[int]:
        for index in indices:
            seen.append(index)
            yield index

    lazy = Lazy()
    assert find_duplicates(lazy, progress) == [(0, 3)]
    assert seen == [0, 1, 2, 3]
    assert len(lazy.asked) <= 8  # four, and some by the type checker


def test_a_later_search_looks_at_the_new_images_alone_and_answers_alike(tmp_path: Path) -> None:
    images = [scan(seed, 160, 200) for seed in range(7)]
    images += [burn_in(images[1]), images[3][15:, 15:].copy(), images[5], images[6][:, 20:].copy()]
    names, expected = [pixel_hash(image) for image in images], find_duplicates(images)
    assert len(expected) == 4
    asked: list[int] = []

    class Kept(KeptSearches):
        def keep_description(self, index: int, description: Description) -> None:
            asked.append(index)
            super().keep_description(index, description)

    def search(number: int) -> list[tuple[int, int]]:
        asked.clear()
        return find_duplicates(images[:number], kept=Kept(tmp_path, names[:number]))

    assert search(8) == [pair for pair in expected if max(pair) < 8]
    assert set(asked) == set(range(8))
    assert search(11) == expected
    assert set(asked) == {8, 10}  # 9 has the pixels of 5
    verdicts = json.loads(next(tmp_path.glob("duplicates/verdicts-*.json")).read_text())
    assert sum(verdicts.values()) == 4
    for path in tmp_path.glob(f"described/{names[0]}*"):
        path.write_bytes(path.read_bytes()[:500])
    for path in tmp_path.glob("duplicates/*"):
        path.write_text("{")
    assert search(11) == expected
    assert set(asked) == {0}


def test_a_description_that_is_read_is_in_use_and_verdicts_go_with_descriptions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [character * 32 for character in "abcd"]
    kept = KeptSearches(tmp_path, names)
    for index in range(4):
        kept.keep_description(index, Description(*(rng.random((2, 2)) for _ in Description._fields)))
    every = {f"{one} {other}": True for one in names for other in names if one < other}
    kept.keep_verdicts(every)
    for path in tmp_path.glob("described/*"):
        os.utime(path, (0, 0))
    kept.read_description(2)
    assert [path.name[0] for path in tmp_path.glob("described/*") if path.stat().st_atime] == ["c"]
    for name in "bd":
        next(tmp_path.glob(f"described/{name}*")).unlink()
    later = KeptSearches(tmp_path, names[:2])
    later.keep_verdicts({f"{names[0]} {names[1]}": False})
    searches = [(names[0], f"{number:032d}") for number in range(20)]
    expected = {pair: True for pair in every if names[3] not in pair}
    expected[f"{names[0]} {names[1]}"] = False
    assert later.read_verdicts() == expected
    # Of searches that end at once, each keeps its own beside those of the others.
    empty = Description(*(np.zeros((2, 2)) for _ in Description._fields))
    for pair in searches:
        KeptSearches(tmp_path, pair).keep_description(1, empty)
    with ThreadPoolExecutor(8) as pool:
        keep = [KeptSearches(tmp_path, pair).keep_verdicts for pair in searches]
        list(pool.map(lambda k: keep[k]({" ".join(searches[k]): True}), range(20)))
    kept_pairs = {pair: same for pair, same in expected.items() if names[1] not in pair}
    assert later.read_verdicts() == kept_pairs | {" ".join(pair): True for pair in searches}


def test_cluster_is_the_transitive_closure() -> None:
    assert cluster(6, [(4, 2), (0, 5), (5, 2)]).tolist() == [0, 1, 0, 2, 0, 0]
    assert cluster(3, []).tolist() == [0, 1, 2]
    assert cluster(0, []).shape == (0,)


def test_cluster_agrees_with_a_loop_and_numbers_by_first_appearance() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pairs = [(int(i), int(j)) for i, j in rng.integers(0, 30, (15, 2))]
        groups = cluster(30, pairs)
        sets = [{i} for i in range(30)]
        for i, j in pairs:
            joined = sets[i] | sets[j]
            for k in joined:
                sets[k] = joined
        assert all_pairs(groups) == {(i, j) for i in range(30) for j in sets[i] if i < j}
        _, first = np.unique(groups, return_index=True)
        assert (np.diff(first) > 0).all()
        assert set(groups) == set(range(len(first)))
        assert (cluster(30, [pair[::-1] for pair in reversed(pairs)]) == groups).all()


@pytest.mark.parametrize("pair", [(0, 3), (-1, 0)])
def test_cluster_refuses_images_that_do_not_exist(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        cluster(3, [pair])


def frozen_rows() -> list[dict[str, str]]:
    text = resources.files("busi.data").joinpath("busi_groups.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_frozen_table_covers_busi() -> None:
    rows = frozen_rows()
    assert len(rows) == len({row["id"] for row in rows}) == 780
    assert Counter(row["id"].split()[0] for row in rows) == {"benign": 437, "malignant": 210, "normal": 133}
    assert len(published_groups()) >= 779  # one pair of files is identical
    groups = [int(row["group"]) for row in rows]
    assert list(dict.fromkeys(groups)) == list(range(max(groups) + 1))


def test_frozen_table_has_the_known_conflicts_and_no_other() -> None:
    members: dict[str, set[str]] = defaultdict(set)
    for row in frozen_rows():
        members[row["group"]].add(row["id"])
    conflicts = [ids for ids in members.values() if len({name.split()[0] for name in ids}) > 1]
    assert sorted(map(sorted, conflicts)) == sorted(map(sorted, CONFLICTS))
    assert 780 - sum(map(len, conflicts)) == 761


@pytest.mark.slow
@pytest.mark.real
def test_frozen_table_is_what_the_method_finds() -> None:
    if "BUSI_ROOT" not in os.environ:
        pytest.skip("BUSI_ROOT is not set: the BUSI files are needed")
    rows = frozen_rows()
    root = Path(os.environ["BUSI_ROOT"])
    images = [read_gray(root / row["id"].split()[0] / f"{row['id']}.png") for row in rows]
    assert [pixel_hash(image) for image in images] == [row["pixel_hash"] for row in rows]
    groups = cluster(len(images), find_duplicates(images))
    assert groups.tolist() == [int(row["group"]) for row in rows]


@pytest.mark.skipif("BUSBRA_ROOT" not in os.environ, reason="BUSBRA_ROOT is not set")
def test_equal_words_on_other_tissue_are_no_near_duplicates() -> None:
    """Two pairs of BUS-BRA with nearly the same words, and one that shows a frame twice."""
    names = ("0077-s", "0086-l", "0199-r", "0218-l", "0044-l", "0065-l")
    folder = Path(os.environ["BUSBRA_ROOT"]) / "Images"
    assert find_duplicates([read_gray(folder / f"bus_{name}.png") for name in names]) == [(4, 5)]


def test_large_equal_words_do_not_make_two_images_one() -> None:
    images = [scan(seed, 300, 280) // 3 for seed in range(6)]
    for image in images:
        cv2.putText(image, "MAMA ESQ. QSE", (40, 200), cv2.FONT_HERSHEY_DUPLEX, 0.7, 255, 2)
    assert find_duplicates(images) == []
