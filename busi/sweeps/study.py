"""Studies of Optuna: opened, compared with what is asked for, claimed trial by trial, and drawn.

Optuna is an extra, and imported where it is needed: every command knows the sweeper.
"""

import contextlib
import functools
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from busi.core import InputError, hold, write_whole
from busi.sweeps.search_space import Space

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

STYLE: list[str | dict[str, Any]] = ["default", {"text.parse_math": False}]
"""Of drawings: names and choices are shown as they are, whatever dollar signs they have."""
TRIAL = "trial.json"
"""In the folder of a trial: the study that it belongs to, and its number there."""


def open_storage(text: str) -> "optuna.storages.BaseStorage":
    """Open what holds studies.

    Args:
        text: Any URL of Optuna (``sqlite:///study.db``, ``postgresql://...``), or the path of a journal file.

    Raises:
        InputError: If it cannot be opened.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    try:
        if "://" in text:
            return optuna.storages.get_storage(text)
        return optuna.storages.JournalStorage(JournalFileBackend(text))
    # Drivers of databases have errors of their own, and may be missing.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot open hydra.sweeper.storage={text} ({reason})") from error


def sqlite_url(path: Path) -> str:
    """The URL of a database in a file, whatever signs its path has: in a plain one, ``?`` ends the path."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


def open_study(storage: str, name: str, cfg: DictConfig, space: Space, sampler: Any) -> "optuna.Study":
    """Begin a study, or go on with the one of this name.

    Args:
        storage: See `open_storage`.
        name: Of the study.
        cfg: What all its trials share, without Hydra's own part.
        space: What is searched.
        sampler: Of Optuna.

    Raises:
        InputError: If the study was started with other settings or choices, or its config is damaged.
    """
    import optuna

    from busi.runs import NOT_SETTINGS, find_differences

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=open_storage(storage),
        direction="maximize" if cfg.monitor_mode == "max" else "minimize",
        sampler=sampler,
        load_if_exists=True,
    )
    shared: DictConfig = OmegaConf.merge(cfg, {"run_dir": "RUN_DIR"})  # type: ignore[assignment]
    if "config" in study.user_attrs:
        stored = study.user_attrs["config"]
        if not isinstance(stored, dict) or "${" in json.dumps(stored):
            raise InputError(
                f"the study {name} has no config of plain values: begin another with hydra.sweeper.study=NAME"
            )
        before: DictConfig = OmegaConf.create(stored)
        if different := find_differences(before, shared, [x for x in NOT_SETTINGS if x != "start_from"]):
            listed = "; ".join(f"{key} {was} (asked: {now})" for key, (was, now) in different.items())
            raise InputError(
                f"the study {name} was started with {listed}: leave that out, or begin another with "
                "hydra.sweeper.study=NAME"
            )
    else:
        study.set_user_attr("config", OmegaConf.to_container(shared, resolve=True))
    for trial in study.get_trials(deepcopy=False):
        # One whose worker died may lack some of its parameters.
        keys = trial.distributions.keys() | (space.keys() if trial.value is not None else set())
        if other := sorted(key for key in keys if trial.distributions.get(key) != space.get(key)):
            raise InputError(
                f"the study {name} was started with other choices of {', '.join(other)}: take those, or "
                "begin another with hydra.sweeper.study=NAME"
            )
    return study


def claim(folder: Path, claims: contextlib.ExitStack) -> bool:
    """Keep a trial from other workers until `claims` closes; False if one of them, or its run, is alive.

    Args:
        folder: Of the trial.
        claims: Takes the lock.
    """
    try:
        claims.enter_context(hold(folder, ".claim.lock"))
        with hold(folder):
            return True
    except InputError:
        return False


def draw_study(study: "optuna.Study", folder: Path) -> list[Path]:
    """Draw the history of a study, the weight of each parameter, and the value along each of them.

    Importances need two finished trials that differ.

    Returns:
        ``history.png``, ``importances.png`` and ``slice.png``, as far as there is something to draw.
    """
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots

    drawings: dict[str, Callable[..., Any]] = {
        "history": plots.plot_optimization_history,
        "importances": plots.plot_param_importances,
        "slice": plots.plot_slice,
    }
    drawn = []
    for name, draw in drawings.items():
        # Optuna sets a style for all that the process draws later, and warns of where it may change.
        with warnings.catch_warnings(action="ignore"), plt.style.context(STYLE):
            try:
                draw(study, target_name=study.user_attrs["config"]["monitor"])
            except (RuntimeError, ValueError) as error:
                log.info("No %s.png: %s", name, error)
                continue
            figure = plt.gcf()
            for axis in figure.axes:
                if axis.get_xscale() == "log":  # whose numbers are written as formulas
                    for label in axis.get_xticklabels(which="both"):
                        label.set_parse_math(True)
                axis.tick_params("x", labelrotation=30)
                axis.xaxis.label.set_fontsize("small")
            write = functools.partial(figure.savefig, dpi=110, bbox_inches="tight")
            drawn.append(write_whole(folder / f"{name}.png", write))
            plt.close("all")
    return drawn
