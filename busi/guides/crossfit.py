"""Cross-fitted guides: what guides a training image is a model that did not train on its fold."""

import contextlib
import logging
import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from busi.core import InputError
from busi.data import SPLITS, BUSIDataModule, Cohort, train_folds
from busi.guides.leaks import check_start, find_seen, name_ancestors
from busi.guides.prepare import PredictedGuide
from busi.runs import (
    FOLD_SETTINGS,
    SEED_SETTINGS,
    Checkpoint,
    Metadata,
    Run,
    find_runs,
    knows_overrides,
    open_finished,
    open_run,
    read_best,
    read_guide_runs,
    read_overrides,
    settings_fingerprint,
)

log = logging.getLogger(__name__)


class CrossfitGuide(PredictedGuide):
    """Out-of-fold masks: what guides a training image is a model that did not train on its fold.

    A training image of fold j is guided by a run of the same recipe, of the same seed if there is one, that
    trained on the other training folds (``data.leave_out=j``, an inner-fold run); validation and test images
    by the run without ``leave_out``.

    Args:
        seg_ckpt: Of the run without ``leave_out``; see `PredictedGuide`.
        guide_runs: Where the inner-fold runs lie.
        run_dir: Folder of the classifier; one that goes on keeps the runs that guided it.
        name: The option of the command line.
        output_dir: See `PredictedGuide`.
        allow_other_data: See `PredictedGuide`.
        debug: See `PredictedGuide`.
    """

    def __init__(
        self,
        seg_ckpt: str | Path = "auto",
        *,
        guide_runs: str | Path = "outputs",
        run_dir: str | Path | None = None,
        name: str = "crossfit",
        output_dir: str | Path = "outputs",
        allow_other_data: bool = False,
        debug: bool = False,
    ) -> None:
        super().__init__(
            seg_ckpt, name=name, output_dir=output_dir, allow_other_data=allow_other_data, debug=debug
        )
        self.guide_runs = Path(guide_runs)
        self.before = read_guide_runs(Path(run_dir)) if run_dir else set()

    def assign(self, data: BUSIDataModule, upstream: Checkpoint) -> dict[Path, Int[np.ndarray, " _"]]:
        """Checkpoint of a run -> positions of the images that it guides.

        Raises:
            InputError: If runs are missing; the message has the command that makes them.
        """
        outer = find_outer(upstream.path)
        if outer.members:
            raise InputError(
                f"guide=crossfit: {outer.folder} is an ensemble, and nothing was trained like it. Train a "
                f"classifier with each of its members, as seg_ckpt={outer.members[0]}, and an ensemble of "
                "them"
            )
        can_train = train_folds(data.fold, data.num_folds)
        inner = find_inner_runs(self.guide_runs, outer, can_train, self.before)
        if missing := [fold for fold in can_train if fold not in inner]:
            typed = outer.folder / ".hydra" / "overrides.yaml"
            more = "" if knows_overrides(outer.folder) else f", and the settings of {typed} that it lacks"
            raise InputError(
                f"guide=crossfit found no finished run in {self.guide_runs} that trained like {outer.folder} "
                f"but without fold {' or '.join(map(str, missing))}. Make them with{more}: "
                f"{inner_command(data.fold, outer, missing)}"
            )
        for fold, run in inner.items():
            if run.config.seed != outer.config.seed:
                log.info("Guides of fold %d come from seed %d: %s", fold, run.config.seed, run.folder)
        cohort = data.cohort
        used = cohort.indices(*SPLITS).tolist()
        self.guided_by = {cohort.records[i].id: inner.get(int(cohort.folds[i]), outer).folder for i in used}
        starts = check_guides(self.guided_by, cohort, data.cache_dir)
        self.behind = [one for one in starts if one not in upstream.metadata.get("start", [])]
        return group_by_run(self.guided_by, cohort)


def find_outer(checkpoint: Path) -> Run:
    """The finished run of which a checkpoint is the one that guides others.

    Raises:
        InputError: If there is none around it.
    """
    path = checkpoint.resolve()
    place = next(iter(path.parents[1:2]), path.parent)
    if not (place / "provenance.json").is_file():
        raise InputError(
            f"guide=crossfit: {checkpoint} lies in no run folder, and nobody knows how it was trained. Give "
            "seg_ckpt=RUN_FOLDER"
        )
    run = open_finished(place)
    if path != run.best_checkpoint.resolve():
        raise InputError(
            f"guide=crossfit guides with {run.best_checkpoint}, not with {checkpoint.name}: give "
            f"seg_ckpt={run.folder}"
        )
    return run


def group_by_run(guided_by: Mapping[str, Path], cohort: Cohort) -> dict[Path, Int[np.ndarray, " _"]]:
    """Best checkpoint of each run -> positions of the images in the cohort that it guides.

    Args:
        guided_by: Id -> run folder.
        cohort: Of the classifier.
    """
    folders = [guided_by.get(record.id) for record in cohort.records]
    return {
        open_run(folder).best_checkpoint: np.flatnonzero([other == folder for other in folders])
        for folder in dict.fromkeys(folder for folder in folders if folder)
    }


def find_inner_runs(
    guide_runs: Path, outer: Run, can_train: list[int], before: Collection[Path] = ()
) -> dict[int, Run]:
    """Fold -> run of the outer run's recipe, data and split that trained on the other folds.

    The newest of the outer run's seed; where there is none, the newest of another; but those `before`, which
    guided a classifier that goes on, first of all.
    """
    seed, inner = outer.config.seed, []
    for run in find_runs(guide_runs, "seg"):
        with contextlib.suppress(InputError):  # of an older busi, whose config nobody can read
            if run.provenance.get("leave_out") is not None and is_like(run, outer):
                inner.append(run)
    inner.sort(key=lambda run: (run.folder.resolve() not in before, run.config.seed != seed))
    found: dict[int, Run] = {}
    for run in inner:
        for fold in can_train:
            others = [other for other in can_train if other != fold]
            if fold not in found and run.provenance["trained_on"] == others:
                found[fold] = run
    return found


def is_like(run: Run, outer: Run) -> bool:
    """Whether a run has data, split and recipe of another, whatever its seed.

    Where sources only train, their images move to the folds that train, so the fold must be the same too.
    """
    names, chance = ["data", "split", "debug"], (*FOLD_SETTINGS, *SEED_SETTINGS)
    if outer.config.data.train_only:
        names.append("fold")
    return all(run.provenance[name] == outer.provenance[name] for name in names) and (
        settings_fingerprint(run.config, chance) == settings_fingerprint(outer.config, chance)
    )


def inner_command(fold: int, outer: Run, folds: list[int]) -> str:
    """The command that makes the inner runs of these folds."""
    ours = ("stage=", "data.fold=", "data.leave_out=", "test=", "reuse=", "resume=", "start_from=")
    same = [text for text in read_overrides(outer.folder) if not text.startswith(ours)]
    folds_left_out = ",".join(map(str, folds))
    these = [f"data.fold={fold}", f"data.leave_out={folds_left_out}"]
    if start := outer.provenance["upstream"].get("start"):
        these.append(f"start_from={start}")
    return shlex.join(["python", "-m", "busi.train", "-m", "stage=seg", *same, *these])


def check_guides(guided_by: Mapping[str, Path], cohort: Cohort, cache_dir: Path) -> list[Metadata]:
    """Raise `InputError` if an image, or a version of it, trained the model that guides it.

    Returns:
        What the inner-fold runs among the models started from.
    """
    starts: list[Metadata] = []
    for folder in set(guided_by.values()):
        run = open_run(folder)
        seen = find_seen(checkpoint := read_best(run), cohort, cache_dir)[0]["train"]
        if run.provenance["leave_out"] is not None:  # what it started from may have been chosen by some
            for start in checkpoint.metadata.get("start", []):
                behind = replace(checkpoint, metadata=start)
                check_start(behind, cohort, None, cache_dir)
                seen |= find_seen(behind, cohort, cache_dir)[0]["val"]
                starts += [start] if start not in starts else []
        guided = zip(cohort.records, cohort.groups.tolist(), strict=True)
        if leaks := [r.id for r, group in guided if group in seen and guided_by.get(r.id) == folder]:
            raise InputError(
                f"leak: {folder}{name_ancestors(checkpoint)} was to guide {len(leaks)} images that it "
                f"trained on, or versions of them (e.g. {', '.join(leaks[:3])}): remove that run, and make "
                "it again"
            )
    return starts


def guide_rows(guided_by: Mapping[str, Path], folder: Path) -> list[dict[str, object]]:
    """The table ``guides.csv`` of a run folder; runs are paths relative to it."""
    return [{"id": name, "run": os.path.relpath(run, folder)} for name, run in guided_by.items()]
