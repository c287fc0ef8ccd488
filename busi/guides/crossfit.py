"""Cross-fitted guides: what guides a training picture is a model that did not train on its fold."""

import logging
import os
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path

from omegaconf import DictConfig

from busi.core import InputError, read_table
from busi.data import SPLITS, Cohort, train_folds
from busi.guides.leaks import find_seen_groups
from busi.runs import (
    FOLD_SETTINGS,
    SEED_SETTINGS,
    Checkpoint,
    Run,
    find_runs,
    open_run,
    read_checkpoint,
    read_overrides,
    settings_fingerprint,
)

log = logging.getLogger(__name__)


def find_guide_runs(cfg: DictConfig, parent: Checkpoint, cohort: Cohort) -> dict[str, Path]:
    """Find the run that guides each picture that is used.

    A training picture of fold j is guided by a run of the same recipe, of the same seed if there is one, that
    trained on the other training folds (``data.leave_out=j``); validation and test pictures by the run
    without ``leave_out``.

    Args:
        cfg: Of the classifier.
        parent: Checkpoint of the segmentation run without ``leave_out``.
        cohort: Of the classifier.

    Returns:
        Id -> run folder.

    Raises:
        InputError: If runs are missing; the message has the command that makes them.
    """
    outer = open_run(parent.path.parents[1])
    if outer.members:
        raise InputError(
            f"guide=crossfit: {outer.folder} is an ensemble, and nothing was trained like it. Train a "
            f"classifier with each of its members, as seg_ckpt={outer.members[0]}, and an ensemble of them"
        )
    can_train = train_folds(cfg.data.fold, cfg.data.num_folds)
    inner = find_inner_runs(cfg, outer, can_train, read_guide_runs(Path(cfg.run_dir)))
    if missing := [fold for fold in can_train if fold not in inner]:
        raise InputError(
            f"guide=crossfit found no finished run in {cfg.guide_runs} that trained like {outer.folder} but "
            f"without fold {' or '.join(map(str, missing))}. Make them with: "
            f"{inner_command(cfg, outer, missing)}"
        )
    for fold, run in inner.items():
        if run.config.seed != outer.config.seed:
            log.info("Guides of fold %d come from seed %d: %s", fold, run.config.seed, run.folder)
    used = cohort.indices(*SPLITS).tolist()
    guided_by = {cohort.records[i].id: inner.get(int(cohort.folds[i]), outer).folder for i in used}
    check_guides(guided_by, cohort)
    return guided_by


def find_inner_runs(
    cfg: DictConfig, outer: Run, can_train: list[int], before: Collection[Path] = ()
) -> dict[int, Run]:
    """Fold -> run of the outer run's recipe, data and split that trained on the other folds.

    The newest of the outer run's seed; where there is none, the newest of another; but those `before`, which
    guided a classifier that goes on, first of all.
    """
    found: dict[int, Run] = {}
    inner = [
        run for run in find_runs(Path(cfg.guide_runs), "seg") if run.provenance.get("leave_out") is not None
    ]
    inner.sort(key=lambda run: (run.folder.resolve() not in before, run.config.seed != outer.config.seed))
    for run in inner:
        for fold in can_train:
            others = [other for other in can_train if other != fold]
            if fold not in found and run.provenance["trained_on"] == others and is_like(run, outer):
                found[fold] = run
    return found


def is_like(run: Run, outer: Run) -> bool:
    """Whether a run has data, split and recipe of another, whatever its seed."""
    names, chance = ("data", "split", "debug"), (*FOLD_SETTINGS, *SEED_SETTINGS)
    return all(run.provenance[name] == outer.provenance[name] for name in names) and (
        settings_fingerprint(run.config, chance) == settings_fingerprint(outer.config, chance)
    )


def inner_command(cfg: DictConfig, outer: Run, folds: list[int]) -> str:
    """The command that makes the inner runs of these folds."""
    ours = ("stage=", "data.fold=", "data.leave_out=", "test=", "reuse=", "resume=")
    same = [text for text in read_overrides(outer.folder) if not text.startswith(ours)]
    folds_left_out = ",".join(map(str, folds))
    these = [f"data.fold={cfg.data.fold}", f"data.leave_out={folds_left_out}"]
    return shlex.join(["python", "-m", "busi.train", "-m", "stage=seg", *same, *these])


def check_guides(guided_by: Mapping[str, Path], cohort: Cohort) -> None:
    """Raise `InputError` if a picture, or a near-duplicate of it, trained the model that guides it."""
    for folder in set(guided_by.values()):
        card = read_checkpoint(open_run(folder).best_checkpoint).card
        trained = find_seen_groups(card, "train", cohort)
        guided = zip(cohort.records, cohort.groups.tolist(), strict=True)
        if seen := [r.id for r, group in guided if group in trained and guided_by.get(r.id) == folder]:
            raise InputError(
                f"leak: {folder} was to guide {len(seen)} pictures that it trained on, or near-duplicates "
                f"of them (e.g. {', '.join(seen[:3])}): remove that run, and make it again"
            )


def guide_rows(guided_by: Mapping[str, Path], folder: Path) -> list[dict[str, object]]:
    """The table ``guides.csv`` of a run folder; runs are paths relative to it."""
    return [{"id": name, "run": os.path.relpath(run, folder)} for name, run in guided_by.items()]


def read_guide_runs(folder: Path) -> set[Path]:
    """The runs in ``guides.csv`` of a run folder; none where there is no such table."""
    path = folder / "guides.csv"
    return {(folder / row["run"]).resolve() for row in read_table(path)} if path.exists() else set()
