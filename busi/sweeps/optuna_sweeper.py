"""A Hydra sweeper that searches with Optuna: ``python -m busi.train -m search=optuna_seg``.

Optuna's plugin for Hydra 1.3 needs a version of Optuna from 2021, and its successor another Hydra; neither
goes on with a study, prunes, or keeps the folders of several workers apart.
"""

import contextlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import InputError, expand, hold, is_whole, write_json
from busi.sweeps.jobs import PRUNED, folder_of
from busi.sweeps.search_space import Space, check_search, split_overrides
from busi.sweeps.study import TRIAL, claim, draw_study, open_study, sqlite_url

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

NAME = "hydra_plugins.busi.OptunaSweeper"
FOLDER = "folder"
"""What a trial says of the sweep folder in which it lies."""
"""As the config calls the sweeper: Hydra takes plugins from a package of this name alone."""


class OptunaSweeper(Sweeper):
    """Searches for the best monitored validation value; see ``conf/hydra/sweeper/optuna.yaml``.

    A trial is an ordinary job of a sweep, in the folder with its number, started by any launcher. Trials
    that fail are recorded and skipped. Processes with the same storage and study share the work: each
    takes what a dead one left, then new trials, until the study has enough.

    Args:
        study: Its name.
        storage: See `busi.sweeps.study.open_storage`; None is ``study.db`` in the folder of the sweep.
        num_trials: That the study is to have, those of earlier and other processes included.
        num_parallel: Trials that the launcher gets at once.
        sampler: Config of one of Optuna's.
        params: Name -> Hydra's grammar of sweeps; the command line goes before it.
    """

    def __init__(
        self,
        study: str,
        storage: str | None,
        num_trials: Any,
        num_parallel: Any,
        sampler: Any,
        params: DictConfig,
    ) -> None:
        self.study, self.storage, self.sampler = study, storage, sampler
        self.num_trials, self.num_parallel = num_trials, num_parallel
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember the config, and make the launcher."""
        self.hydra_context: HydraContext = hydra_context
        self.config: DictConfig = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search; what the user gave wrong ends with one line."""
        try:
            self.search(arguments)
        except (InputError, OmegaConfBaseException) as error:
            raise SystemExit(f"error: {' '.join(str(error).split())}") from None

    def search(self, arguments: Sequence[str]) -> None:
        """Run trials until the study has enough of them, then draw it.

        Args:
            arguments: Overrides of the command line.

        Raises:
            InputError: If Optuna is missing, trials would not be comparable, or none of them finished.
        """
        try:
            import optuna  # noqa: F401
        except ModuleNotFoundError as error:
            raise InputError(f"a search needs the package {error.name}: pip install '.[search]'") from error
        for name in ("num_trials", "num_parallel"):
            if not is_whole(value := getattr(self, name)) or value < 1:
                raise InputError(f"hydra.sweeper.{name}={value}: give a whole number, at least 1")
        if not isinstance(self.sampler, DictConfig):
            raise InputError(
                f"hydra.sweeper.sampler={self.sampler}: give its options, e.g. hydra.sweeper.sampler.seed=1"
            )
        cfg = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        given = [f"{name!s}={text}" for name, text in self.params.items()]
        parser = OverridesParser.create(self.hydra_context.config_loader)
        space, fixed = split_overrides(parser.parse_overrides([*given, *arguments]))
        check_search(cfg, space)
        self.try_to_compose(space, fixed)
        folder = Path(self.config.hydra.sweep.dir).resolve()
        storage = self.storage or sqlite_url(folder / "study.db")
        if "://" not in storage:  # jobs may run in another folder
            storage = str(expand(storage).resolve())
        with hold(folder, wait=True):  # tables are made once
            study = open_study(storage, self.study, cfg, space, instantiate(self.sampler))
        while self.run_trials(study, storage, space, fixed, folder):
            pass
        conclude(study, folder)

    def run_trials(
        self, study: "optuna.Study", storage: str, space: Space, fixed: Sequence[str], folder: Path
    ) -> bool:
        """Run as many trials as the launcher gets at once; False if nothing is left to try."""
        with contextlib.ExitStack() as claims:
            with hold(folder, wait=True):
                trials = self.take_trials(study, space, folder, claims)
            if not trials:
                return False
            jobs = []
            for number, params in trials.items():
                place = {"storage": storage, "study": self.study, "trial": number}
                write_json(folder / str(number) / TRIAL, place)
                values = [f"{name}={value}" for name, value in params.items()]
                jobs.append([*fixed, *values, f"hydra.sweep.subdir={number}"])
            results = self.launcher.launch(jobs, initial_job_idx=min(trials))
            told = zip(trials, results, strict=True)
            exhausted = [tell(study, number, folder / str(number), result) for number, result in told]
        return not any(exhausted)

    def try_to_compose(self, space: Space, fixed: Sequence[str]) -> None:
        """Compose every choice once, before anything is written: a typing error would fail in all trials.

        A range is set to 1, which shows whether its setting exists.
        """
        choices = {name: getattr(values, "choices", (1,)) for name, values in space.items()}
        first = {name: options[0] for name, options in choices.items()}
        trials = [first | {name: option} for name, options in choices.items() for option in options[1:]]
        jobs = [[*fixed, *(f"{name}={value}" for name, value in trial.items())] for trial in (first, *trials)]
        self.validate_batch_is_legal(jobs)

    def take_trials(
        self, study: "optuna.Study", space: Space, folder: Path, claims: contextlib.ExitStack
    ) -> dict[int, dict[str, Any]]:
        """What to run next, number -> parameters: trials that a dead worker left, then new ones."""
        from optuna.trial import TrialState

        taken: dict[int, dict[str, Any]] = {}
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            place = folder / str(trial.number)
            if trial.user_attrs.get(FOLDER, str(folder)) != str(folder):
                continue  # whether its worker lives can be seen in its own folder alone
            if len(taken) == self.num_parallel:
                break
            if trial.state != TrialState.RUNNING or not claim(place, claims):
                continue
            # Its worker may have ended it, and let it go, since the trials were listed.
            if study.get_trials(deepcopy=False)[trial.number].state != TrialState.RUNNING:
                continue
            if trial.params.keys() != space.keys():  # killed before it had its parameters
                study.tell(trial.number, state=TrialState.FAIL)
            elif (place / PRUNED).is_file():
                study.tell(trial.number, state=TrialState.PRUNED)
            else:
                taken[trial.number] = trial.params
        wanted = min(self.num_parallel - len(taken), self.num_trials - len(trials))
        for _ in range(wanted):
            new = study.ask(space)
            new.set_user_attr(FOLDER, str(folder))
            claim(folder / str(new.number), claims)
            taken[new.number] = new.params
        return taken


def tell(study: "optuna.Study", number: int, folder: Path, result: JobReturn) -> bool:
    """Tell the study what became of a trial; True if its sampler has tried everything there is."""
    from optuna.trial import TrialState

    try:
        value = result.return_value
    except Exception as error:  # whatever the job raised: Hydra hands it on here
        log.info("Trial %d failed: %s", number, error)
        value = None
    state = TrialState.COMPLETE
    if value is None or not math.isfinite(value):
        value, state = None, TrialState.PRUNED if (folder / PRUNED).is_file() else TrialState.FAIL
    try:
        study.tell(number, value, state)
    except RuntimeError:  # such a sampler stops Optuna's own loop, which is not there
        if not study.trials[number].state.is_finished():
            raise
        return True
    return False


def conclude(study: "optuna.Study", folder: Path) -> None:
    """Draw a study, and say which trial is the best.

    Raises:
        InputError: If none finished.
    """
    from optuna.trial import TrialState

    if not study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        raise InputError(f"no trial of the study {study.study_name} has finished: see {folder}/summary.md")
    best = study.best_trial
    for path in draw_study(study, folder):
        log.info("Drew %s", path)
    log.info("Best trial: %d, %.3f. To score its test fold:", best.number, best.value)
    from busi.runs import resume_command

    log.info("%s", resume_command(folder_of(folder / str(best.number)), "test=true"))


def register_sweeper() -> None:
    """Let Hydra find the sweeper."""
    # Under its own name Hydra would refuse it; under another module's it could not be sent to workers.
    Plugins.instance().class_name_to_class[NAME] = OptunaSweeper
