"""What of a config shapes the weights: its fingerprint, and what two configs do not share."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from busi.data import train_folds

# Where things lie, and how many processes load them: the same run may find them elsewhere.
PLACES = (
    "run_dir",
    "output_dir",
    "cache_dir",
    "sweep_name",
    "data.root",
    "data.sources",
    "data.cache_dir",
    "data.cache_gb",
    "data.num_workers",
    "guide.output_dir",
    "guide.run_dir",
)
# What does not shape the weights: places, how things are shown, and what fingerprints say already.
NOT_SETTINGS = (
    *PLACES,
    "resume",
    "start_from",  # `start` says what its content is
    "test",
    "trust",
    "logger",
    "callbacks.learning_rate",
    "callbacks.figures",
    "callbacks.progress",
    "callbacks.prune",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
    "seg_ckpt",
    "guide_runs",
    "guide.seg_ckpt",
    "guide.guide_runs",
    "reuse",
    "score",
    "data.read",
    "data.download",
)

EXCLUDE = "data.exclude"

# What repeats other values, which are compared themselves.
REPEATED = (
    "score",
    "start",
    "guide._target_",
    "guide.seg_ckpt",
    "guide.allow_other_data",
    "guide.debug",
    "guide.guide_runs",
)
# What differs between the runs of one recipe in cross-validation and cross-fitting.
FOLD_SETTINGS = (
    *("data.fold", "data.leave_out", "callbacks.checkpoint.monitor"),
    *("start.fold", "start.weights"),
)
# What differs between runs that chance alone sets apart.
SEED_SETTINGS = ("seed", "data.seed", "start.seed", "start.weights")


def folds_that_train(cfg: DictConfig) -> list[int]:
    """The folds that a run trains on."""
    folds = train_folds(cfg.data.fold, cfg.data.num_folds)
    return [fold for fold in folds if fold != cfg.data.leave_out]


def flatten(cfg: DictConfig, leave_out: Sequence[str]) -> dict[str, object]:
    """All values of a config by their dotted names, as text where they name a place in the run folder.

    Args:
        cfg: Resolved or resolvable.
        leave_out: Dotted names that are left out, with all below them.
    """
    run_dir = str(cfg.run_dir)

    def walk(node: Any, name: str) -> Iterator[tuple[str, object]]:
        if name in leave_out:
            return
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from walk(value, f"{name}.{key}" if name else key)
        else:
            yield name, node.replace(run_dir, "") if isinstance(node, str) else node

    return dict(walk(OmegaConf.to_container(cfg, resolve=True), ""))


def find_differences(
    there: DictConfig, other: DictConfig, leave_out: Sequence[str]
) -> dict[str, tuple[object, object]]:
    """Which values two configs do not share: name -> value there, value in the other.

    Args:
        there: One config.
        other: Another.
        leave_out: Dotted names that do not matter.
    """
    before, after = (flatten(cfg, leave_out) for cfg in (there, other))
    return compare_values(before, after, dict.fromkeys([*before, *after]))


def compare_values(
    before: Mapping[str, object], after: Mapping[str, object], names: Iterable[str]
) -> dict[str, tuple[object, object]]:
    """Which of some values of two flat configs differ; see `find_differences`."""
    different: dict[tuple[str, str], tuple[str, tuple[object, object]]] = {}
    for name in names:
        values = before.get(name, "not there"), after.get(name, "not there")
        if values[0] != values[1] and set(map(repr, values)) != {"None", "'not there'"}:
            # An interpolated value is in several places: the first is where it was set.
            different.setdefault((name.rsplit(".", 1)[-1], repr(values)), (name, values))
    return dict(different.values())


def not_settings(*configs: DictConfig) -> tuple[str, ...]:
    """`NOT_SETTINGS`, and what says nothing more about these configs.

    This is the path of a file of weights where `start` says in all of them what is in it; `start` where none
    of them started from trained weights; and the path of a list of images that are left out: the split says
    which they are.
    """
    started = [bool(OmegaConf.select(cfg, "start.weights")) for cfg in configs]
    more = ["encoder_weights"] * all(started) + ["start"] * (not any(started))
    more += [EXCLUDE] * any(OmegaConf.select(cfg, EXCLUDE) for cfg in configs)
    return (*NOT_SETTINGS, *more)


def fits_settings(fingerprint: object, cfg: DictConfig) -> bool:
    """Whether a stored fingerprint is that of settings; an older one has the path of ``data.exclude``."""
    if fingerprint == settings_fingerprint(cfg):
        return True
    left_out = [name for name in not_settings(cfg) if name != EXCLUDE]
    return fingerprint == _hash(flatten(cfg, left_out))


def settings_fingerprint(cfg: DictConfig, leave_out: Sequence[str] = ()) -> str:
    """Fingerprint of all that shapes the weights, 16 hexadecimal digits.

    Args:
        cfg: Resolved or resolvable.
        leave_out: Dotted names that are left out as well.
    """
    return _hash(flatten(cfg, (*not_settings(cfg), *leave_out)))


def _hash(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
