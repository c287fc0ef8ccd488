"""Several sources together: groups, folds, what is held out, and how often each is drawn."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from busi.core import BENIGN, CLASSES, MALIGNANT, NORMAL, InputError, to_plain
from busi.data.balance import balance_draws, class_balance, logit_shift, source_corrections
from busi.data.catalog import find_data, name_sources
from busi.data.class_folders import read_busi
from busi.data.cohort import Cohort, build_cohort
from busi.data.composing import list_data
from busi.data.datamodule import BUSIDataModule
from busi.data.dataset import draw_epoch
from busi.data.pool import read_sources
from busi.data.records import Reading
from tests.conftest import Compose
from tests.data.conftest import draw, lesion, save

Counts = tuple[int, int, int]


def write(root: Path, counts: Counts, seed: int) -> Path:
    """A folder in the layout of BUSI with so many images of each class, unlike those of another seed."""
    for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
        (root / name).mkdir(parents=True)
        for number in range(1, count + 1):
            save(root / name / f"{name} ({number}).png", draw(seed + 100 * label + number))
            if label != NORMAL:
                save(root / name / f"{name} ({number})_mask.png", lesion())
    return root


def pool(**roots: Path) -> Reading:
    return read_sources({name: {"root": str(root), "read": read_busi} for name, root in roots.items()})


@pytest.fixture
def build(cache: Path) -> Callable[..., Cohort]:
    def built(reading: Reading, **changes: Any) -> Cohort:
        options: dict[str, Any] = {
            **{"cache_dir": cache, "fold": 0, "leave_out": None, "num_folds": 3, "split_seed": 0},
            **{"conflicts": "drop", "exclude": None, "on_bad": "error", "need_masks": False, "subset": None},
        }
        return build_cohort(reading, **(options | changes))

    return built


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write(tmp_path / "ours", (9, 12, 9), 0)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return write(tmp_path / "theirs", (0, 15, 10), 5000)


def by_source(cohort: Cohort, split: str) -> Counter[str]:
    return Counter(cohort.sources_of(cohort.indices(split)))


def folds_of(cohort: Cohort, source: str) -> dict[str, int]:
    return {
        content.pixel_hash: int(fold)
        for record, content, fold in zip(cohort.records, cohort.contents, cohort.folds, strict=True)
        if record.source == source
    }


@pytest.mark.parametrize("fold", [0, 2])
def test_each_source_keeps_the_folds_that_it_has_alone(
    ours: Path, theirs: Path, build: Callable[..., Cohort], fold: int
) -> None:
    together = build(pool(busi=ours, other=theirs), fold=fold)
    assert together.sources == ["busi", "other"]
    for name, root in (("busi", ours), ("other", theirs)):
        alone = build(pool(**{name: root}), fold=fold)
        assert folds_of(together, name) == folds_of(alone, name)
    assert all(by_source(together, split).keys() == {"busi", "other"} for split in ("train", "val", "test"))
    assert together.split_fingerprint != build(pool(busi=ours)).split_fingerprint


def test_equal_ids_are_told_apart_by_their_source(ours: Path, theirs: Path) -> None:
    ids = [record.id for record in pool(busi=ours, other=theirs)[0]]
    assert len(set(ids)) == len(ids)
    assert {"busi/benign (1)", "other/benign (1)", "other/benign (15)"} < set(ids)


def test_pools_whose_sources_have_swapped_names_are_other_data(
    ours: Path, theirs: Path, build: Callable[..., Cohort]
) -> None:
    """With hold_out=a they differ in what tests, and in nothing else that a run is found again by."""
    one = build(pool(a=ours, b=theirs), hold_out="a")
    other = build(pool(b=ours, a=theirs), hold_out="a")
    assert by_source(one, "test")["a"] != by_source(other, "test")["a"]
    assert one.data_fingerprint != other.data_fingerprint
    assert one.data_fingerprint == build(pool(a=ours, b=theirs), fold=1).data_fingerprint
    # Images of one source are the same data, whatever it is called.
    assert build(pool(a=ours)).data_fingerprint == build(pool(b=ours)).data_fingerprint


def test_equal_images_of_other_sources_are_other_data(ours: Path, build: Callable[..., Cohort]) -> None:
    """A manifest whose column source was changed: the draws of an epoch are others then."""

    def read(names: tuple[str, ...]) -> Reading:
        records = read_busi(ours)[0]
        return [replace(one, source=names[i % len(names)]) for i, one in enumerate(records)], []

    prints = [build(read(names)).data_fingerprint for names in (("a",), ("a", "b"), ("a", "a", "b"))]
    assert len(set(prints)) == 3


def test_names_in_front_of_ids_leave_the_folds_of_a_manifest_of_two_sources(
    ours: Path, theirs: Path, build: Callable[..., Cohort]
) -> None:
    def read(root: Path) -> Reading:
        records = read_busi(root)[0]
        # The last images of each class have ids of their own; one source has no name.
        return [replace(one, source="s1" if i % 2 else "") for i, one in enumerate(records)], []

    two = {"two": {"root": str(theirs), "read": read}}
    alone = build(read_sources(two))
    assert alone.sources == ["two", "s1"]
    together = build(read_sources({"busi": {"root": str(ours), "read": read_busi}, **two}))
    for name in alone.sources:
        assert folds_of(together, name) == folds_of(alone, name)


def test_near_duplicates_across_sources_share_the_fold_of_the_first(
    ours: Path, theirs: Path, build: Callable[..., Cohort]
) -> None:
    brighter = {n: np.clip(draw(100 + n) * 0.9 + 9, 0, 255).astype(np.uint8) for n in range(1, 7)}
    for n, image in brighter.items():
        save(theirs / "benign" / f"copy ({n}).png", image)
        save(theirs / "benign" / f"copy ({n})_mask.png", lesion())
    cohort = build(pool(busi=ours, other=theirs))
    alone, place = folds_of(build(pool(busi=ours)), "busi"), {r.id: i for i, r in enumerate(cohort.records)}
    for n in brighter:
        first, copy = place[f"busi/benign ({n})"], place[f"other/copy ({n})"]
        assert cohort.groups[first] == cohort.groups[copy]
        assert cohort.folds[first] == cohort.folds[copy] == alone[cohort.contents[first].pixel_hash]
    for members in groups_of(cohort).values():
        assert len({cohort.splits[i] for i in members}) == 1


def groups_of(cohort: Cohort) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for i, group in enumerate(cohort.groups.tolist()):
        if cohort.folds[i] >= 0:
            members.setdefault(group, []).append(i)
    return members


def test_near_duplicates_of_other_labels_across_sources_are_a_conflict(
    ours: Path, theirs: Path, build: Callable[..., Cohort]
) -> None:
    save(theirs / "malignant" / "twin.png", draw(101))
    save(theirs / "malignant" / "twin_mask.png", lesion())
    cohort = build(pool(busi=ours, other=theirs))
    dropped = {str(row["id"]): row["reason"] for row in cohort.rows() if row["reason"]}
    assert dropped == {"busi/benign (1)": "conflict", "other/twin": "conflict"}


@pytest.mark.parametrize("fold", [0, 1])
def test_source_that_is_held_out_tests_alone_and_whole(
    ours: Path, theirs: Path, build: Callable[..., Cohort], fold: int
) -> None:
    save(theirs / "benign" / "copy.png", np.clip(draw(102) * 0.9 + 9, 0, 255).astype(np.uint8))
    save(theirs / "benign" / "copy_mask.png", lesion())
    reading = pool(busi=ours, other=theirs)
    cohort = build(reading, hold_out="other", fold=fold)
    assert by_source(cohort, "test") == {"other": 26}
    assert by_source(cohort, "train").keys() == by_source(cohort, "val").keys() == {"busi"}
    rows = {str(row["id"]): row for row in cohort.rows()}
    twin = rows["busi/benign (2)"]
    assert twin["split"] in ("dropped", "left_out")
    held_out = {row["group"] for row in rows.values() if row["split"] == "test"}
    assert not held_out & {row["group"] for row in rows.values() if row["split"] in ("train", "val")}
    # What trains is what trains without the others, but for what is near to their images.
    plain = build(pool(busi=ours), fold=fold)
    trained = {cohort.contents[i].pixel_hash for i in cohort.indices("train")}
    usual = {plain.contents[i].pixel_hash for i in plain.indices("train")}
    assert trained <= usual
    assert len(usual - trained) <= 1


def test_source_that_is_held_out_twice_over_is_an_error_that_says_so(
    ours: Path, tmp_path: Path, build: Callable[..., Cohort]
) -> None:
    again = shutil.copytree(ours, tmp_path / "again")
    with pytest.raises(InputError, match=r"train split, 30 dropped \(near-duplicate of a held-out image\)"):
        build(pool(a=ours, b=again), hold_out="b")


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_source_that_only_trains_is_in_no_other_split(
    ours: Path, theirs: Path, build: Callable[..., Cohort], fold: int
) -> None:
    cohort = build(pool(busi=ours, other=theirs), train_only=["other"], fold=fold)
    assert by_source(cohort, "train")["other"] == 25
    assert by_source(cohort, "val").keys() == by_source(cohort, "test").keys() == {"busi"}
    assert folds_of(cohort, "busi") == folds_of(build(pool(busi=ours), fold=fold), "busi")
    # Every image that trains lies in a fold that trains: models that leave one out can guide it.
    assert set(cohort.folds[cohort.indices("train")].tolist()) == {(fold + 2) % 3}
    assert (
        len({build(pool(a=ours, b=theirs), train_only=["b"], fold=k).split_fingerprint for k in range(3)})
        == 1
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hold_out": "gone"}, "no image is of the source gone: the sources are busi, other"),
        ({"train_only": ["gone"]}, "no image is of the source gone"),
        ({"hold_out": "other", "train_only": ["other"]}, "it is in data.train_only too"),
        ({"hold_out": "other", "train_only": ["busi"]}, "no other source is left to train on"),
        ({"train_only": ["busi", "other"]}, "no other source is left to validate and test on"),
        ({"published": True}, r"normal \(1\) is in no published split of 3 folds \(none\)"),
        ({"num_folds": 10}, "class normal has 9 groups of images, fewer than the 10 folds"),
    ],
)
def test_impossible_choice_of_sources_is_one_error(
    ours: Path, theirs: Path, build: Callable[..., Cohort], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        build(pool(busi=ours, other=theirs), **changes)


def test_small_source_joins_a_pool_that_it_could_not_be_alone(
    ours: Path, tmp_path: Path, build: Callable[..., Cohort]
) -> None:
    few = write(tmp_path / "few", (0, 2, 1), 9000)
    cohort = build(pool(busi=ours, few=few))
    assert sum(by_source(cohort, split)["few"] for split in ("train", "val", "test")) == 3
    with pytest.raises(InputError, match="class benign has 2 groups of images, fewer than the 3 folds"):
        build(pool(few=few))


@pytest.mark.parametrize("changes", [{"hold_out": "few"}, {"train_only": ["few"]}])
def test_source_in_one_split_needs_no_folds(
    tmp_path: Path, build: Callable[..., Cohort], changes: dict[str, Any]
) -> None:
    root, few = write(tmp_path / "p", (0, 9, 9), 0), write(tmp_path / "few", (1, 1, 0), 9000)
    records = [replace(one, published_folds={3: i % 3}) for i, one in enumerate(read_busi(root)[0])]
    sources = {"p": {"root": str(root), "read": lambda _: (records, [])}}
    reading = read_sources({**sources, "few": {"root": str(few), "read": read_busi}})
    for published in (False, True):
        cohort = build(reading, published=published, **changes)
        assert by_source(cohort, "test" if "hold_out" in changes else "train")["few"] == 2
        assert by_source(cohort, "val") == {"p": 6}
    with pytest.raises(InputError, match="class normal has 1 groups of images, fewer than the 3 folds"):
        build(reading)


def test_published_folds_are_taken_and_near_duplicates_do_not_cross_them(
    tmp_path: Path, build: Callable[..., Cohort]
) -> None:
    root = write(tmp_path / "p", (0, 9, 9), 0)
    again = np.clip(draw(101) * 0.9 + 9, 0, 255).astype(np.uint8)
    save(root / "benign" / "benign (2).png", again)  # of the first image, in the next fold
    records = [replace(one, published_folds={3: i % 3}) for i, one in enumerate(read_busi(root)[0])]
    for fold in range(3):
        cohort = build((records, []), published=True, fold=fold)
        assert cohort.folds.tolist() == [i % 3 for i in range(18)]
        splits = [cohort.splits[0], cohort.splits[1]]
        assert "dropped" in splits
        assert [split for split in splits if split != "dropped"] == [["test"], ["test"], ["val"]][fold]
        assert Counter(cohort.splits)["dropped"] == 1
        assert "near-duplicate of a held-out image" in cohort.reasons


def test_patients_of_two_sources_may_have_one_name(
    ours: Path, theirs: Path, build: Callable[..., Cohort]
) -> None:
    def read(root: Path) -> Reading:
        records = read_busi(root)[0]
        return [replace(one, patient=f"{i // 2}") for i, one in enumerate(records)], []

    sources = {name: {"root": str(root), "read": read} for name, root in (("a", ours), ("b", theirs))}
    cohort = build(read_sources(sources))
    names = np.array([record.source for record in cohort.records])
    assert not set(cohort.groups[names == "a"]) & set(cohort.groups[names == "b"])
    patients = {(r.source, r.patient): set() for r in cohort.records}  # type: ignore[var-annotated]
    for record, split in zip(cohort.records, cohort.splits, strict=True):
        patients[record.source, record.patient].add(split)
    assert all(len(found) == 1 for found in patients.values())


def test_one_name_for_two_data_sets_is_an_error(ours: Path, theirs: Path) -> None:
    def read(root: Path) -> Reading:
        records = read_busi(root)[0]
        return [replace(one, source=f"s{i % 2}") for i, one in enumerate(records)], []

    sources = {name: {"root": str(root), "read": read} for name, root in (("a", ours), ("b", theirs))}
    with pytest.raises(InputError, match="a and b both have images of the source 's0'"):
        read_sources(sources)


def test_one_folder_under_two_names_is_an_error(ours: Path, theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ours)
    with pytest.raises(InputError, match=r"a and c both have the image .*\.png: give each image once"):
        pool(a=ours, b=theirs, c=tmp_path / "link")
    assert len(pool(a=ours, b=theirs)[0]) == 55


# The shares of an epoch.

LABELS = np.repeat([NORMAL, BENIGN, MALIGNANT, BENIGN, MALIGNANT], [80, 260, 120, 760, 360])
SOURCES = ["busi"] * 460 + ["other"] * 1120


def shares(balance: str, size: int, epoch: int = 0) -> dict[tuple[str, int], int]:
    draws = balance_draws(balance, LABELS, SOURCES)
    drawn = draw_epoch(np.random.default_rng([7, epoch]), len(LABELS), size, draws)
    assert len(drawn) == size
    return dict(Counter((SOURCES[i], int(LABELS[i])) for i in drawn))


@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize("size", [200, 956, 3000])
def test_balance_by_sources_holds_the_share_of_normals_in_each_epoch(size: int, epoch: int) -> None:
    drawn = shares("sources", size, epoch)
    assert drawn["busi", NORMAL] == pytest.approx(size * 80 / 460, abs=1)
    lesions = [drawn[name, BENIGN] + drawn[name, MALIGNANT] for name in ("busi", "other")]
    assert lesions == pytest.approx([size * 380 / 460 / 2] * 2, abs=2)
    assert drawn["other", MALIGNANT] / lesions[1] == pytest.approx(360 / 1120, abs=0.02)


def test_balance_by_sampler_draws_classes_and_then_sources_evenly() -> None:
    drawn = shares("sampler", 1200)
    assert drawn["busi", NORMAL] == pytest.approx(400, abs=1)
    for name in ("busi", "other"):
        for label in (BENIGN, MALIGNANT):
            assert drawn[name, label] == pytest.approx(200, abs=1)


@pytest.mark.parametrize("size", [5, 50, 123])
def test_epoch_without_balance_draws_each_image_as_often_as_any_other(size: int) -> None:
    counts = np.bincount(draw_epoch(np.random.default_rng(3), 50, size, None), minlength=50)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


def test_no_image_is_drawn_more_often_than_its_expectation_rounded_up() -> None:
    draws = balance_draws("sources", LABELS, SOURCES)
    assert draws is not None
    drawn = np.bincount(draw_epoch(np.random.default_rng(0), len(LABELS), 956, draws), minlength=len(LABELS))
    expected = 956 * draws.chances / draws.chances.sum()
    assert (np.abs(drawn - expected) < 1 + 1e-9).all()


def test_every_class_of_every_source_is_drawn_equally_often_and_known() -> None:
    draws = balance_draws("own_classes", LABELS, SOURCES)
    assert draws is not None
    pairs = list(zip(SOURCES, LABELS.tolist(), strict=True))
    for pair in set(pairs):
        there = np.array([one == pair for one in pairs])
        assert draws.chances[there].sum() / draws.chances.sum() == pytest.approx(1 / len(set(pairs)))
    known = class_balance("own_classes", LABELS, SOURCES, ["other", "busi", "held out"])
    assert known["source_classes"] == [[False, True, True], [True, True, True], [True, True, True]]
    assert known["logit_correction"] == class_balance("sampler", LABELS, SOURCES, [])["logit_correction"]


def test_prior_of_the_judged_source_comes_out() -> None:
    unknown, own = source_corrections(LABELS, SOURCES)
    even = np.log([1 / 3] * 3)  # a network that was trained with classes balanced, and sees nothing
    probs = {name: softmax(even + np.array(one)) for name, one in own.items()}
    assert probs["busi"] == pytest.approx([80 / 460, 260 / 460, 120 / 460])
    assert probs["other"] == pytest.approx(np.array([1, 760, 360]) / 1121)
    assert softmax(even + np.array(unknown)) == pytest.approx(probs["busi"])  # it alone has every class
    shift = logit_shift("sampler", LABELS, SOURCES, ["other", "busi", "nobody"])
    correction = class_balance("sampler", LABELS, SOURCES, [])["logit_correction"]
    assert softmax(even + np.array(correction) + shift[0]) == pytest.approx(probs["other"])
    assert not shift[1:].any()
    assert not logit_shift("sources", LABELS, SOURCES, ["other"]).any()


@pytest.mark.parametrize("balance", ["sampler", "weights", "none"])
def test_two_classes_are_balanced_and_a_warning_names_the_third(
    balance: str, caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.repeat([1, 2], [30, 10])
    found = class_balance(balance, labels, ["busi"] * 40, ["busi"])
    assert caplog.messages == ["No training image is normal: the classifier does not learn it"]
    assert found["logit_correction"][0] == 0
    assert found["class_weights"][1:] == pytest.approx([2 / 3, 2] if balance == "weights" else [1, 1])
    if balance != "none":
        # Balanced over the two that are there, and corrected to how often they are.
        assert softmax(np.log([0.5, 0.5]) + found["logit_correction"][1:]) == pytest.approx([0.75, 0.25])


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


# Names.


def test_names_of_sources_are_looked_up_once(
    compose: Compose, tmp_path: Path, ours: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUSI_ROOT", str(ours))
    cfg = compose("data=busi", f"data.train_only=[{theirs}]")
    data = name_sources(cfg.data)
    assert list(data.sources) == ["busi", "theirs"]
    assert list(data.train_only) == ["theirs"]
    assert data.sources.theirs.read["_target_"] == "busi.data.read_busi"
    assert name_sources(data) == data
    assert name_sources(compose("data=busi").data).sources is None
    rows = ["image,label", *(f"{path},benign" for path in (theirs / "benign").glob("*).png"))]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    held = name_sources(
        compose("data=pooled", "data.sources=[busi]", f"data.hold_out={tmp_path}/mine.csv").data
    )
    assert (list(held.sources), held.hold_out) == (["busi", "mine"], "mine")
    twice = compose("data=pooled", f"data.sources=[{theirs},{theirs}]").data
    with pytest.raises(InputError, match="two data sets called theirs"):
        name_sources(twice)


def test_sources_are_named_by_the_user_or_by_a_manifest(
    compose: Compose, tmp_path: Path, ours: Path, theirs: Path
) -> None:
    named = name_sources(compose(f"data.sources={{a: {ours}, b: {theirs}}}", "data.hold_out=b").data)
    assert {name: one.root for name, one in named.sources.items()} == {"a": str(ours), "b": str(theirs)}
    assert named.sources.a.read["_target_"] == "busi.data.read_busi"
    images = sorted((theirs / "benign").glob("*).png"))
    rows = ["image,label,source", *(f"{path},benign,s{i % 2}" for i, path in enumerate(images))]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    for data in (f"data.root={tmp_path}/mine.csv", f"data.sources=[{ours},{tmp_path}/mine.csv]"):
        held = name_sources(
            compose("data=csv" if "root" in data else "data=pooled", data, "data.hold_out=s1").data
        )
        assert held.hold_out == "s1"
        assert "s1" not in held.sources


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["data=csv", "data.train_only=[{theirs}]"], "data=csv has no root: say where the data is"),
        (["data.sources={{a: {ours}, ..: {theirs}}}"], "'..' is no name of letters, digits"),
        (["data.sources={{a: {{roots: {ours}}}}}"], "give the name or path of a, or its root with read, or"),
        (["data.sources={{a: {{root: {ours}, labels: cancer}}}}"], "labels of a is no mapping"),
        (["data.sources={{a: {{root: {ours}, read: busi}}}}"], "read of a needs a _target_"),
        (["data.root={ours}", "data.hold_out={theirs}/../again/busi"], "are both called busi"),
        (["data.root={ours}", "data.hold_out=gone"], "gone is none of the sources busi, and no data at"),
        (["data.download=true", "data.train_only=[busbra]"], "download it in a run of its own first"),
    ],
)
def test_wrong_name_of_a_source_is_one_error(
    compose: Compose, tmp_path: Path, ours: Path, theirs: Path, options: list[str], words: str
) -> None:
    write(tmp_path / "again" / "busi", (1, 1, 1), 77)
    filled = [text.format(ours=ours, theirs=theirs) for text in options]
    with pytest.raises(InputError, match=words):
        name_sources(compose(*filled).data)


def test_class_folders_of_other_names_are_recognized_by_their_labels(ours: Path, tmp_path: Path) -> None:
    folder = ours.rename(tmp_path / "klinik")
    words = {"ohne": "normal", "gutartig": "benign", "krebs": "malignant"}
    before = read_busi(folder)[0]
    for word, name in words.items():
        (folder / name).rename(folder / word)
    with pytest.raises(InputError, match=r"klinik is in no layout that is known: list its images in a CSV"):
        find_data(str(folder))
    found = find_data(str(folder), words)
    assert found.name == "klinik"
    assert [(one.id, one.label) for one in found.open()[0]] == [(one.id, one.label) for one in before]
    with pytest.raises(InputError, match="labels are for the words of"):
        find_data("synthetic", words)
    assert find_data("synthetic", words, optional=True) == find_data("synthetic")
    pool = {"mine": {"root": str(folder), "labels": words}}
    data = OmegaConf.create({"sources": pool, "train_only": [], "hold_out": None, "download": False})
    records, _ = read_sources(to_plain(name_sources(data).sources))
    assert [(one.id, one.label, one.source) for one in records] == [(x.id, x.label, "mine") for x in before]
    # What is wrong with data that is read alone needs no name in front.
    (folder / "krebs").rename(folder / "fraglich")
    with pytest.raises(InputError, match=rf"^{folder} has images in folders that are no class: 'fraglich'"):
        read_sources({"mine": {"root": str(folder), "read": found.read}})


def test_data_is_found_by_name_by_layout_and_by_manifest(ours: Path, tmp_path: Path) -> None:
    assert {"busi", "csv", "pooled", "synthetic"} <= set(list_data())
    assert find_data(str(ours)).open() == read_busi(ours)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"in no layout that is known: .*busi looks for normal, benign, malignant"
    ):
        find_data(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="nor data of that name: give a folder, a CSV manifest, or one of"):
        find_data(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="data=pooled is made of several data sets"):
        find_data("pooled")
    with pytest.raises(InputError, match="data=csv has no root"):
        find_data("csv")


def test_data_module_of_a_pool_draws_the_epoch_that_is_asked_for(
    ours: Path, theirs: Path, cache: Path, tmp_path: Path
) -> None:
    sources = {name: {"root": str(root), "read": read_busi} for name, root in (("busi", ours), ("b", theirs))}
    options: dict[str, Any] = {"image_size": 32, "num_folds": 3, "cache_dir": cache, "batch_size": 8}
    data = BUSIDataModule(None, sources=sources, balance="sources", epoch_size=48, **options)
    batches = list(data.train_dataloader())
    assert len(batches) == 6
    labels = np.concatenate([batch["label"].numpy() for batch in batches])
    origin = np.concatenate([batch["source"].numpy() for batch in batches])
    assert (labels == NORMAL).sum() == pytest.approx(48 * 9 / 30, abs=1.5)
    assert (origin[labels != NORMAL] == 1).mean() == pytest.approx(0.5, abs=0.05)
    rows = data.cohort.rows()
    with (tmp_path / "split.csv").open("w", newline="") as file:
        csv.DictWriter(file, list(rows[0])).writerows(rows)
    assert {row["source"] for row in rows} == {"busi", "b"}
