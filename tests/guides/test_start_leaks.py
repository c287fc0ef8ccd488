"""The guard of runs that start from others, on made cohorts: what the others have seen counts as seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from busi.core.types import InputError
from busi.data.cohort import Cohort
from busi.data.splits import name_splits
from busi.guides.crossfit import check_guides
from busi.guides.leaks import check_leaks, check_start, find_seen
from busi.runs.checkpoints import Checkpoint, Metadata, ancestry
from busi.runs.seen import seen_hashes
from tests.guides.test_leaks import COMMAND, FOLDS, NOWHERE, cohort, of_fold


def checkpoint(
    train: Sequence[int] = (),
    val: Sequence[int] = (),
    *,
    start: Sequence[Checkpoint] = (),
    upstream: Checkpoint | None = None,
) -> Checkpoint:
    """One that has seen these images, and what is behind it."""
    metadata: Metadata = {
        "stage": "seg",
        "data": cohort(0).data_fingerprint,
        "train": [f"{i:032x}" for i in train],
        "val": [f"{i:032x}" for i in val],
        "start": [one.metadata for one in start],
        "upstream": upstream and upstream.metadata,
    }
    return Checkpoint(Path("start.ckpt"), metadata, {}, 0, 0)


def leaving_out(fold: int, leave_out: int) -> Cohort:
    return replace(cohort(fold), splits=name_splits(FOLDS, fold, 5, leave_out))


def test_start_of_the_same_fold_passes_with_its_shared_validation_fold() -> None:
    for fold in range(5):
        check_start(of_fold(fold), cohort(fold), None, NOWHERE)


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_start_of_every_other_fold_is_stopped(fold: int) -> None:
    with pytest.raises(InputError, match=r"leak: start_from=seg.ckpt has seen too much.*Start from a run"):
        check_start(of_fold(fold), cohort(0), None, NOWHERE)


@pytest.mark.parametrize("seed", range(20))
def test_guard_is_what_a_brute_force_says(seed: int) -> None:
    """Random chains of three models and random groups; an image counts through its whole group."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 8, len(FOLDS)).tolist()
    leave_out = 3 if seed % 2 else None
    one = replace(cohort(0, groups), splits=name_splits(FOLDS, 0, 5, leave_out))
    chain: list[Checkpoint] = []
    train: set[int] = set()
    val: set[int] = set()
    for _ in range(3):
        trained, chosen = (rng.choice(10, rng.integers(0, 3), replace=False).tolist() for _ in range(2))
        behind: dict[str, Any] = (
            {"upstream": chain[-1]} if rng.random() < 0.5 and chain else {"start": chain[-1:]}
        )
        chain.append(checkpoint(trained, chosen, **behind))
        train, val = train | set(trained), val | set(chosen)
    bad = 0
    for i, split in enumerate(one.splits):
        of_group = {j for j in range(10) if groups[j] == groups[i]}
        forbidden = {"test": train | val, "val": train, "left_out": train | val}.get(split, set())
        bad += bool(of_group & forbidden)
    if not bad:
        check_start(chain[-1], one, leave_out, NOWHERE)
        return
    with pytest.raises(InputError, match=r"leak: .* images ") as caught:
        check_start(chain[-1], one, leave_out, NOWHERE)
    counted = [int(part.split(" images")[0].split()[-1]) for part in str(caught.value).split(";")]
    assert sum(counted) == bad


def test_start_of_a_start_counts() -> None:
    first = checkpoint([0])
    third = checkpoint([6], start=[checkpoint([4], start=[first])])
    with pytest.raises(InputError, match=r"\(or what it was made from\).* 1 images that test this run"):
        check_start(third, cohort(0), None, NOWHERE)
    assert seen_hashes(third) == {f"{i:032x}" for i in (0, 4, 6)}
    assert len(ancestry(third.metadata)) == 3


def test_every_start_of_an_ensemble_counts() -> None:
    both = checkpoint([6], start=[checkpoint([7]), checkpoint([], [1])])
    assert seen_hashes(both) == {f"{i:032x}" for i in (6, 7, 1)}
    assert {k: sorted(x) for k, x in find_seen(both, cohort(0), NOWHERE)[0].items()} == {
        "train": [6, 7],
        "val": [1],
    }


def test_classifier_is_stopped_by_what_its_segmentation_model_started_from() -> None:
    seg = checkpoint([4, 5], [2, 3], start=[checkpoint([1])])
    with pytest.raises(InputError, match=r"\(or what it was made from\) has seen too much. 1 images"):
        check_leaks(seg, cohort(0), COMMAND, NOWHERE)


def test_segmentation_model_of_a_classifier_to_start_from_counts() -> None:
    cls = checkpoint([4], upstream=checkpoint([5], start=[checkpoint([], [0])]))
    with pytest.raises(InputError, match="1 images that test this run, or versions"):
        check_start(cls, cohort(0), None, NOWHERE)


@pytest.mark.parametrize("seen", [checkpoint([6]), checkpoint([], [6])])
def test_inner_fold_run_must_not_start_from_what_has_seen_the_fold_that_it_leaves_out(
    seen: Checkpoint,
) -> None:
    check_start(seen, cohort(0), None, NOWHERE)
    check_start(seen, leaving_out(0, 2), 2, NOWHERE)
    with pytest.raises(InputError, match=r"1 images that this run leaves out \(data.leave_out=3\)"):
        check_start(seen, leaving_out(0, 3), 3, NOWHERE)


def test_images_that_a_held_out_source_leaves_aside_may_have_been_seen() -> None:
    one = replace(cohort(0), splits=["left_out", "left_out", *["train"] * 6, "test", "test"])
    check_start(checkpoint([0, 1]), one, None, NOWHERE)
    with pytest.raises(InputError, match="2 images that test"):
        check_start(checkpoint([8], [9]), one, None, NOWHERE)


@pytest.mark.parametrize(
    ("seen", "leave_out", "leaks"),
    [
        (checkpoint([6]), 3, True),
        (checkpoint([], [6]), 3, True),  # it was chosen by an image that it is to guide
        (checkpoint([], [6]), None, False),  # as the run itself may be
        (checkpoint([4]), 3, False),
    ],
)
def test_guides_of_images_that_an_ancestor_has_seen_are_a_leak(
    monkeypatch: pytest.MonkeyPatch, seen: Checkpoint, leave_out: int | None, leaks: bool
) -> None:
    run = type("Run", (), {"provenance": {"leave_out": leave_out}})()
    monkeypatch.setattr("busi.guides.crossfit.open_run", lambda _: run)
    monkeypatch.setattr("busi.guides.crossfit.read_best", lambda _: checkpoint([8], start=[seen]))
    guided = {record.id: Path("inner") for record in cohort(0).records[6:8]}
    if leaks:
        with pytest.raises(InputError, match="leak: inner.* was to guide 1 images"):
            check_guides(guided, cohort(0), NOWHERE)
    else:
        starts = check_guides(guided, cohort(0), NOWHERE)
        assert starts == ([seen.metadata] if leave_out else [])


def test_start_of_an_inner_fold_run_must_not_have_seen_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run may serve another fold than its own, whose test images its start was chosen by."""
    run = type("Run", (), {"provenance": {"leave_out": 3}})()
    monkeypatch.setattr("busi.guides.crossfit.open_run", lambda _: run)
    seen = checkpoint([], [1])
    monkeypatch.setattr("busi.guides.crossfit.read_best", lambda _: checkpoint([8], start=[seen]))
    with pytest.raises(InputError, match="1 images that test this run"):
        check_guides({"benign (6)": Path("inner")}, cohort(0), NOWHERE)
